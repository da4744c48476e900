"""Cut the example reads: how reads.fastq.gz, contigs.fasta and truth.tsv were made.

    python examples/cut_examples.py DIRECTORY

DIRECTORY holds one FASTA file a class, named virus* or other*. Half of the short reads and contigs
are viral; short reads are 150 and 250 bp, contigs 300 to 2,000 bp, from either strand.
"""

import gzip
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from virnucpro.sequences import Nucleotides, Record, SequenceFile

HERE = Path(__file__).parent
READ_LENGTHS, CONTIG_LENGTHS = (150, 250), (300, 500, 800, 1200, 2000)
READS, CONTIGS = 200, 96
SEED = 11


class Cut(NamedTuple):
    """A piece of a record and where it comes from."""

    letters: str
    kind: str
    source: str


def cut(
    random: np.random.Generator,
    classes: dict[str, list[Record]],
    number: int,
    lengths: tuple[int, ...],
) -> list[Cut]:
    """Cut pieces, classes in turn."""
    cuts = []
    for i in range(number):
        kind = sorted(classes)[i % len(classes)]
        length = lengths[i // len(classes) % len(lengths)]
        long_enough = [r for r in classes[kind] if len(r.sequence) >= length]
        record = long_enough[int(random.integers(len(long_enough)))]
        start = int(random.integers(len(record.sequence) - length + 1))
        piece = Nucleotides.join([record.sequence[start : start + length]])
        reverse = random.random() < 0.5
        letters = piece.reverse_text() if reverse else piece.forward_text()
        strand = "-" if reverse else "+"
        cuts.append(Cut(letters, kind, f"{record.id}:{start}-{start + length}{strand}"))
    return [cuts[i] for i in random.permutation(len(cuts))]


def main() -> None:
    """Write the three files into the directory of this script."""
    classes = {}
    for path in sorted(Path(sys.argv[1]).iterdir()):
        with SequenceFile(str(path)) as file:
            classes[path.name.split(".")[0]] = list(file)
    random = np.random.default_rng(SEED)
    reads = cut(random, classes, READS, READ_LENGTHS)
    contigs = cut(random, classes, CONTIGS, CONTIG_LENGTHS)
    truth = ["record\tis_virus\tclass\tsource"]
    fastq, fasta = [], []
    for i, (letters, kind, source) in enumerate(reads, 1):
        fastq.append(f"@read_{i:03d}\n{letters}\n+\n{'I' * len(letters)}\n")
        truth.append(f"read_{i:03d}\t{int(kind.startswith('virus'))}\t{kind}\t{source}")
    for i, (letters, kind, source) in enumerate(contigs, 1):
        lines = "\n".join(letters[j : j + 70] for j in range(0, len(letters), 70))
        fasta.append(f">contig_{i:03d}\n{lines}\n")
        truth.append(f"contig_{i:03d}\t{int(kind.startswith('virus'))}\t{kind}\t{source}")
    with (HERE / "reads.fastq.gz").open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, 0) as packed:
        packed.write("".join(fastq).encode())
    (HERE / "contigs.fasta").write_text("".join(fasta))
    (HERE / "truth.tsv").write_text("\n".join(truth) + "\n")


if __name__ == "__main__":
    main()
