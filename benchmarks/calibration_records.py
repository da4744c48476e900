"""Pairs and contigs that `compact`'s calibration is fitted on beside the dev reads.

    python benchmarks/calibration_records.py DIRECTORY OUT

DIRECTORY holds FASTA files named virus* or other*, one a class. OUT gets `pairs150_1.fasta`,
`pairs150_2.fasta`, the same of mates of 250 bp, `contigs.fasta` and `labels.tsv`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from virnucpro.sequences import Nucleotides, Record, SequenceFile

#: Pairs of each class and read length; bases between the outer ends, mean and standard deviation.
_PAIRS, _READS, _INSERT = 800, (150, 250), (400, 60)
#: Contigs of each class and range of lengths: of 2, 3 or 4, 5 to 8, and 9 to 40 chunks of 500 bp.
_CONTIGS, _RANGES = 400, ((501, 1_000), (1_001, 2_000), (2_001, 4_000), (4_001, 20_000))
#: Nothing is cut that is longer than all but so many records of its class, so that no genome
#: stands for a class.
_LEAST_RECORDS = 10


class Cut(NamedTuple):
    """A stretch of a genome.

    Attributes:
        name: of the record that it is to be.
        forward: its letters, of either strand.
        reverse: those of the other one.
        label: its line of the table of labels.
    """

    name: str
    forward: str
    reverse: str
    label: str


class Genomes:
    """The records of a class.

    Args:
        path: FASTA file; its name up to the first dot is the class.
        drawn: where chance comes from.
    """

    def __init__(self, path: Path, drawn: np.random.Generator) -> None:
        self._kind, self._drawn = path.name.split(".")[0], drawn
        with SequenceFile(str(path)) as file:
            self._records = sorted(file, key=lambda record: len(record.sequence))
        self._lengths = np.array([len(record.sequence) for record in self._records])

    def cut(self, what: str, lengths: np.ndarray) -> Iterator[Cut]:
        """Cut stretches of some lengths.

        Left out are those that hardly a record is long enough for, and those of unknown bases.
        """
        for number, length in enumerate(lengths.tolist()):
            first = int(np.searchsorted(self._lengths, length))
            if len(self._records) - first < _LEAST_RECORDS:
                continue
            shares = self._lengths[first:] / self._lengths[first:].sum()
            record = self._records[first + int(self._drawn.choice(len(shares), p=shares))]
            start = int(self._drawn.integers(len(record.sequence) - length + 1))
            letters = record.sequence[start : start + length].upper()
            if set(letters) - set("ACGT"):
                continue
            piece = Nucleotides.join([letters])
            strands = [piece.forward_text(), piece.reverse_text()]
            forward, reverse = strands if self._drawn.random() < 0.5 else strands[::-1]
            name = f"{what}_{self._kind}_{number:04}"
            virus = int(self._kind.startswith("virus"))
            label = f"{name}\t{virus}\t{self._kind}\t{genome_of(record)}\n"
            yield Cut(name, forward, reverse, label)


def genome_of(record: Record) -> str:
    """Return the genome's name, which headers begin with; `gi|NUMBER|` comes before some."""
    parts = record.id.split("|")
    return parts[3] if parts[0] == "gi" else parts[0]


def main() -> None:
    """Cut and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    drawn = np.random.default_rng(1)
    classes = [Genomes(path, drawn) for path in sorted(options.directory.glob("*.fa*"))]
    options.out.mkdir(parents=True, exist_ok=True)
    labels = ["id\tis_virus\tclass\tsource\n"]
    for length in _READS:
        mates: tuple[list[str], list[str]] = [], []
        for genomes in classes:
            inserts = np.maximum(drawn.normal(*_INSERT, _PAIRS).astype(np.int64), length)
            for cut in genomes.cut(f"pair{length}", inserts):
                for mate, strand in zip(mates, (cut.forward, cut.reverse), strict=True):
                    mate.append(f">{cut.name}\n{strand[:length]}\n")
                labels.append(cut.label)
        for number, mate in enumerate(mates, start=1):
            (options.out / f"pairs{length}_{number}.fasta").write_text("".join(mate))
    contigs = []
    for low, high in _RANGES:
        for genomes in classes:
            lengths = np.exp(drawn.uniform(np.log(low), np.log(high + 1), _CONTIGS))
            for cut in genomes.cut(f"contig{low}", lengths.astype(np.int64)):
                contigs.append(f">{cut.name}\n{cut.forward}\n")
                labels.append(cut.label)
    (options.out / "contigs.fasta").write_text("".join(contigs))
    (options.out / "labels.tsv").write_text("".join(labels))


if __name__ == "__main__":
    main()
