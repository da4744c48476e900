"""Labelled sequences: read from FASTA, FASTQ and GenBank, without repeats and contradictions."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from virnucpro.errors import InputError
from virnucpro.sequences import Nucleotides, SequenceFile
from virnucpro.sequences.labels import label_of
from virnucpro.sequences.nucleotides import as_dna
from virnucpro.sequences.records import foreign_problem
from virnucpro.training.genbank import Exon, is_genbank, read_genbank
from virnucpro.training.sources import (
    Label,
    Source,
    class_sources,
    few,
    files_of,
    labels_by_record,
)


@dataclass(frozen=True, slots=True)
class LabelledRecord:
    """A labelled sequence.

    Attributes:
        id: first word of the header; of a GenBank record, accession and version.
        class_name: its class, such as `virus_phage`.
        is_virus: its label.
        genome: the genome that it was cut from, by the labels; empty if unknown.
        letters: the sequence, in upper case, with T for U.
        exons: coding exons of a GenBank record; None for other formats.
    """

    id: str
    class_name: str
    is_virus: bool
    genome: str
    letters: str
    exons: tuple[Exon, ...] | None


@dataclass(frozen=True)
class Labelled:
    """Labelled sequences, each once.

    Attributes:
        records: the sequences, in an order that does not depend on the order of the files.
        notes: lines for the user.
    """

    records: list[LabelledRecord]
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, sorted."""
        return sorted({record.class_name for record in self.records})


def read_classes(
    inputs: Sequence[str | os.PathLike[str]], labels: str | os.PathLike[str] | None = None
) -> Labelled:
    """Read labelled FASTA, FASTQ and GenBank files, plain or compressed.

    Records without a sequence or with letters that are not nucleotides are left out. A sequence
    that occurs several times under one label, on either strand, is kept once; a sequence that
    occurs under both labels is left out.

    Args:
        inputs: without `labels`, files and directories of files named after their class, and
            `CLASS=FILE`; with `labels`, any files and directories of files.
        labels: label file (`sequences.labels`) with the class of each record.

    Raises:
        InputError: a file cannot be read, or a class or a label is missing.
        SettingsError: a file is GenBank and Biopython is not installed.
    """
    if not inputs:
        raise InputError("no input: give files named virus* and other*, CLASS=FILE, or --labels")
    notes: list[str] = []
    if labels is None:
        records = list(_read(class_sources(inputs, notes), notes))
    else:
        table = labels_by_record(labels, notes)
        sources = [Source(file, None) for given in inputs for file in files_of(os.fspath(given))]
        records = list(_matched(_read(sources, notes), table, os.fspath(labels), notes))
    if not records:
        raise InputError(
            "the input holds no labelled nucleotide record; give DNA as FASTA, FASTQ or GenBank"
        )
    _require_both_labels(records, "the input holds only")
    records.sort(key=lambda r: (r.class_name, r.exons is None, r.id, r.genome, r.letters))
    cleaned = _each_once(records, notes)
    if not cleaned.records:
        raise InputError("every sequence has both labels; give each sequence one")
    _require_both_labels(cleaned.records, "without sequences of both labels there is only")
    return cleaned


def _read(sources: Sequence[Source], notes: list[str]) -> Iterator[LabelledRecord]:
    """Yield the nucleotide records of all files."""
    for path, class_name in sources:
        bad: list[str] = []
        unannotated = 0
        name = class_name or ""
        for identifier, letters, exons in _records_of(path):
            if not letters or foreign_problem(letters, "dna"):
                bad.append(identifier)
                continue
            unannotated += exons == ()
            yield LabelledRecord(identifier, name, bool(label_of(name)), "", letters, exons)
        if bad:
            notes.append(
                f"{path}: {len(bad)} records without a sequence, or with letters that are not "
                f"nucleotides, are left out ({few(bad)})"
            )
        if unannotated:
            notes.append(f"{path}: {unannotated} records have no annotated coding sequence")


def _records_of(path: str) -> Iterator[tuple[str, str, tuple[Exon, ...] | None]]:
    if is_genbank(path):
        yield from read_genbank(path)
        return
    with SequenceFile(path) as file:
        for record in file:
            yield record.id, as_dna(record.sequence), None


def _matched(
    records: Iterator[LabelledRecord], table: dict[str, Label], name: str, notes: list[str]
) -> Iterator[LabelledRecord]:
    """Yield the records that have a label, with their labels."""
    found: set[str] = set()
    unnamed: list[str] = []
    for record in records:
        label = table.get(record.id)
        if label is None:
            unnamed.append(record.id)
            continue
        found.add(record.id)
        is_virus = bool(label_of(label.class_name))
        yield LabelledRecord(
            record.id, label.class_name, is_virus, label.genome, record.letters, record.exons
        )
    missing = [identifier for identifier in table if identifier not in found]
    if not found:
        raise InputError(
            f"{name}: labels no record of the input; are ids the same (labels: "
            f"{few(missing, 2)}; input: {few(unnamed, 2) or 'no record'})?"
        )
    if missing:
        notes.append(
            f"{name}: {len(missing)} of {len(table)} labelled records are not in the input: "
            f"{few(missing)}"
        )
    if unnamed:
        notes.append(
            f"{name}: {len(unnamed)} records have no label and are left out: {few(unnamed)}"
        )


def _require_both_labels(records: Sequence[LabelledRecord], problem: str) -> None:
    for label, missing in ((True, "other"), (False, "virus")):
        if all(record.is_virus == label for record in records):
            names = few(sorted({record.class_name for record in records}))
            raise InputError(f"{problem} {names}; give sequences of a class {missing}* as well")


def _digest(letters: str) -> bytes:
    """Return a digest of 16 bytes that a sequence and its reverse complement share."""
    strands = Nucleotides.join([letters])
    either = min(letters, strands.reverse_text())
    return hashlib.blake2b(either.encode(), digest_size=16).digest()


def _each_once(records: Sequence[LabelledRecord], notes: list[str]) -> Labelled:
    """Keep each sequence once, and no sequence that has both labels."""
    same: dict[bytes, list[LabelledRecord]] = {}
    for record in records:
        same.setdefault(_digest(record.letters), []).append(record)
    kept = [found[0] for found in same.values() if len({r.is_virus for r in found}) == 1]
    conflicts = [
        [f"{r.class_name}:{r.id}" for r in found]
        for found in same.values()
        if len({r.is_virus for r in found}) == 2
    ]
    excluded = sum(map(len, conflicts))
    repeated = len(records) - excluded - len(kept)
    if repeated:
        notes.append(f"{repeated} records repeat a sequence of their label and are left out")
    if conflicts:
        pairs = [" = ".join(found[:3]) for found in conflicts]
        notes.append(
            f"{len(conflicts)} sequences have both labels, {excluded} records are left out: "
            f"{few(pairs)}"
        )
    return Labelled(kept, notes)
