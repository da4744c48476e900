"""RNA: U is read as T, whatever reads it, and what is written keeps the letters of the file."""

from pathlib import Path

import numpy as np
import pytest

import virnucpro
from processes import contents
from sequence_files import fasta, random_reads
from virnucpro import read_embeddings
from virnucpro.bundles import Bundle
from virnucpro.sequences import Record
from virnucpro.training.labelled import read_classes

CALLS = ("virus", "other", "unscored")
READS = random_reads(12, 160) + random_reads(1, 1400)
AS_RNA = str.maketrans("TtAC", "UuAc")  # some of it in small letters


def spelled(folder: Path) -> tuple[Path, Path]:
    """Write the same records as DNA and as RNA."""
    dna, rna = folder / "dna.fa", folder / "rna.fa"
    dna.write_bytes(fasta(READS))
    rna.write_bytes(fasta([Record(name, letters.translate(AS_RNA)) for name, letters in READS]))
    return dna, rna


@pytest.mark.parametrize("frames", ["all", "open"])
def test_tables_are_the_same_bytes(frames: str, tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle = tiny_bundle.path if frames == "open" else "compact"
    found = []
    for path in spelled(tmp_path):
        out = tmp_path / path.stem
        virnucpro.predict(path, out, bundle=bundle, write=CALLS, report=False, device="cpu")
        files = contents(out)
        reads = [files.pop(f"{call}.fasta").decode() for call in ("viral", *CALLS[1:])]
        found.append((files, "".join(reads).split()))
    (tables, _), (same, written) = found
    assert same == tables
    assert "p_virus" in tables["records.tsv"].decode()
    letters = sorted(line for line in written if not line.startswith((">", "r")))
    assert letters == sorted(record.sequence.translate(AS_RNA) for record in READS)


def test_vectors_of_dna_are_the_same(tiny_bundle: Bundle, tmp_path: Path) -> None:
    values = []
    for path in spelled(tmp_path):
        out, model = tmp_path / path.stem, f"{tiny_bundle.path}:dna"
        virnucpro.embed(path, out, model=model, device="cpu")
        values.append(np.stack([vector for _, vector in read_embeddings(out)]))
    one, other = values
    assert np.array_equal(one, other)


def test_training_takes_one_sequence_spelled_twice_as_one(tmp_path: Path) -> None:
    dna, rna = spelled(tmp_path)
    other = tmp_path / "other.fa"
    other.write_bytes(fasta(random_reads(1, 90)))
    found = read_classes([f"virus={dna}", f"virus={rna}", f"other={other}"])
    assert [record.class_name for record in found.records] == ["other"] + ["virus"] * len(READS)
    assert {letter for record in found.records for letter in record.letters} == set("ACGT")
