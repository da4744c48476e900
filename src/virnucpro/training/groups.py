"""Splits by group: held-out sequences and their relatives are never trained on."""

import hashlib
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from virnucpro.training.labelled import LabelledRecord
from virnucpro.training.sketches import clusters
from virnucpro.training.sources import few

Int64 = NDArray[np.int64]

#: What a split keeps together: a record and its mate, a genome, or similar sequences.
Grouping = Literal["record", "genome", "clusters"]

#: An accession in NCBI's older headers: `gi|560603813|gb|KF562100.1|`.
_NCBI = re.compile(r"(?:gi\|\d+\|)?(?:gb|ref|emb|dbj|tpg|tpe|tpd)\|([^|]+)")
#: Coordinates of a piece of a sequence: `NC_010002.1:c5236-4481`.
_COORDINATES = re.compile(r":c?\d+-\d+.*")
#: A contig of a draft genome: project and version, then the number of the contig.
_DRAFT = re.compile(r"((?:NZ_)?[A-Z]{4,6}\d{2})\d{6,}")


class Split(NamedTuple):
    """Indices of records, ascending.

    Attributes:
        train: records to train on.
        dev: records held back.
        notes: lines for the user.
    """

    train: Int64
    dev: Int64
    notes: list[str]


def group_by(records: Sequence[LabelledRecord], how: Grouping) -> Int64:
    """Return the number of each record's group.

    Args:
        records: the records.
        how: `record` groups records of one id and class, including mates (`/1` and `/2`);
            `genome` groups records of one genome, by the labels or else by `genome_of` the id;
            `clusters` groups sequences that share k-mers (`virnucpro.training.sketches`).
    """
    if how == "clusters":
        return clusters([record.letters for record in records])
    if how == "genome":
        names = [record.genome or genome_of(record.id) for record in records]
    else:
        names = [f"{r.class_name} {re.sub('/[12]$', '', r.id)}" for r in records]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int64)


def genome_of(record_id: str) -> str:
    """Return the genome that a record's id names.

    This is the accession in NCBI's `gi|...|gb|ACCESSION|`, or else the part before the first `|`,
    without coordinates, version, and the contig number of a draft genome.

    >>> [genome_of(x) for x in ("gi|56|gb|KF562100.1|", "NC_7.1:c9-5", "GCF_1|NC_2.1", "read:7")]
    ['KF562100', 'NC_7', 'GCF_1', 'read:7']
    >>> genome_of("NZ_ADEZ01000026.1")
    'NZ_ADEZ01'
    """
    ncbi = _NCBI.match(record_id)
    name = _COORDINATES.sub("", ncbi[1] if ncbi else record_id.partition("|")[0])
    name = re.sub(r"\.\d+$", "", name)
    draft = _DRAFT.fullmatch(name)
    return (draft[1] if draft else name) or record_id


def split(
    records: Sequence[LabelledRecord], groups: Int64, share: float = 0.1, seed: int = 1
) -> Split:
    """Hold back whole groups, about `share` of the bases of each class.

    The seed and the content of the groups decide their order. A group is held back unless one of
    its classes would then exceed its share. A class of which nothing was held back then gives its
    smallest group, even if it exceeds the share. Each class keeps a group to train on.

    Args:
        records: the records.
        groups: the group of each (`group_by`).
        share: share of the bases of each class to hold back, between 0 and 1.
        seed: seed of the order of groups.
    """
    names = sorted({record.class_name for record in records})
    class_R = np.array([names.index(record.class_name) for record in records], dtype=np.int64)
    group_R = np.unique(groups, return_inverse=True)[1]
    bases_GC = np.zeros((int(group_R.max(initial=-1)) + 1, len(names)), dtype=np.int64)
    np.add.at(bases_GC, (group_R, class_R), [len(record.letters) for record in records])
    is_dev_G = _held_back(bases_GC, _drawn_order(records, group_R, seed), share)
    is_dev = is_dev_G[group_R]
    notes = _notes(bases_GC > 0, is_dev_G, names)
    return Split(np.flatnonzero(~is_dev), np.flatnonzero(is_dev), notes)


def _drawn_order(records: Sequence[LabelledRecord], group_R: Int64, seed: int) -> list[int]:
    """Return the groups in an order that depends on the seed and their records alone."""
    lowest: dict[int, bytes] = {}
    for record, group in zip(records, group_R.tolist(), strict=True):
        digest = _digest(f"{record.class_name} {record.id} {record.letters}".encode())
        lowest[group] = min(digest, lowest.get(group, digest))
    return sorted(lowest, key=lambda group: _digest(f"{seed} ".encode() + lowest[group]))


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _held_back(bases_GC: Int64, order: list[int], share: float) -> NDArray[np.bool_]:
    """Return for each group whether it is held back."""
    wanted_C = share * bases_GC.sum(axis=0)
    held_C = np.zeros_like(wanted_C)
    left_C = (bases_GC > 0).sum(axis=0)
    is_dev_G = np.zeros(len(bases_GC), dtype=np.bool_)

    def hold_back(group: int) -> None:
        is_dev_G[group] = True
        held_C[:] += bases_GC[group]
        left_C[:] -= bases_GC[group] > 0

    def can_spare(group: int) -> bool:
        return not is_dev_G[group] and bool((left_C[bases_GC[group] > 0] > 1).all())

    for group in order:
        has_C = bases_GC[group] > 0
        if (held_C + bases_GC[group] <= wanted_C)[has_C].all() and can_spare(group):
            hold_back(group)
    for c in np.flatnonzero(held_C == 0).tolist():
        spare = [g for g in order if bases_GC[g, c] > 0 and can_spare(g)]
        if held_C[c] == 0 and spare:
            hold_back(min(spare, key=lambda g: int(bases_GC[g].sum())))
    return is_dev_G


def _notes(has_GC: NDArray[np.bool_], is_dev_G: NDArray[np.bool_], names: list[str]) -> list[str]:
    alone = has_GC.sum(axis=0) == 1
    unheld = ~has_GC[is_dev_G].any(axis=0) & ~alone
    reasons = (
        (alone, "has one group, which is trained on, so nothing is measured on it"),
        (unheld, "shares its groups with other classes, so all of it is trained on"),
    )
    return [
        f"{few([names[c] for c in np.flatnonzero(which)], len(names))}: {what}"
        for which, what in reasons
        if which.any()
    ]
