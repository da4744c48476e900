"""The outputs of `embed`: a file of embeddings, merged from shards, and a summary."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np

from virnucpro.embedding.formats.any_format import FORMATS, Part, Shape, write_embeddings
from virnucpro.embedding.shard import EmbeddingShard
from virnucpro.errors import RunError
from virnucpro.runs.binding import Binding
from virnucpro.runs.block_loop import Progress
from virnucpro.runs.run import RunManifest
from virnucpro.runs.shard_store import ShardStore
from virnucpro.runs.shard_text import PROBLEMS_LISTED, lines_of
from virnucpro.sequences.repeated_ids import (
    UInt64,
    id_hashes,
    id_in_note,
    repeated_hashes,
    repeated_ids_note,
)

FORMAT = 1
_NO_RECORDS = "the input has no records: no vector is written"


@dataclass(frozen=True)
class EmbeddingOutputs:
    """The files of one run.

    Attributes:
        directory: the output directory.
        format: format of the embeddings, a key of `FORMATS`.
    """

    directory: Path
    format: str

    def path(self, name: str) -> Path:
        """Return the path of a file: `embeddings`, `summary` or `run`."""
        files = {"embeddings": FORMATS[self.format], "summary": "summary.json", "run": "run.json"}
        return self.directory / files[name]

    def described(self) -> list[tuple[Path, str]]:
        """Return the path and a description of every file of the run."""
        return [
            (self.path("embeddings"), "id, length and embedding of each record, in their order"),
            (self.path("summary"), "counts and speed"),
            (self.path("run"), "what was run, with what"),
        ]

    def are_complete(self) -> bool:
        """Tell whether every file is there."""
        return all(path.is_file() for path, _ in self.described())


class EmbeddingSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `summary.json` of `embed`.

    Attributes:
        format: version of this format.
        model: name of the encoder.
        device: kind of device.
        precision: precision of the encoder.
        records: number of records.
        embedded: number of records with an embedding.
        letters: number of residues or bases of all records.
        vectors: number of vectors.
        width: numbers in a vector.
        problems: a line for each of the first 1,000 records without an embedding.
        resumed_records: number of records that an earlier attempt embedded.
        packs_cut: packs of this attempt that did not fit into memory and were halved.
        sequences_redone: sequences of this attempt whose vectors were not finite and were
            recomputed in fp32.
        seconds: time of each stage in the attempt that finished, as for `predict`.
        records_per_second: records of this attempt per second of `scoring`.
        tokens_per_second: tokens of this attempt per second of `scoring`.
        notes: remarks on the records.
    """

    format: int
    model: str
    device: str
    precision: str
    records: int
    embedded: int
    letters: int
    vectors: int
    width: int
    problems: list[str]
    resumed_records: int
    packs_cut: int
    sequences_redone: int
    seconds: dict[str, float]
    records_per_second: float
    tokens_per_second: float
    notes: list[str] = []


@dataclass
class EmbeddingCounts:
    """Counts over all shards."""

    records: int = 0
    embedded: int = 0
    letters: int = 0
    vectors: int = 0
    longest_id: int = 1
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, shard: EmbeddingShard) -> None:
        """Count a shard."""
        letters_P, rows_P = shard.record_P2.T
        self.records += len(rows_P)
        self.letters += int(letters_P.sum())
        self.vectors += int(rows_P.sum())
        problems = lines_of(shard.problems)
        self.embedded += problems.count("")
        self.longest_id = max([self.longest_id, *map(len, lines_of(shard.ids))])
        listed = [problem for problem in problems if problem]
        self.problems += listed[: PROBLEMS_LISTED - len(self.problems)]


@dataclass(frozen=True)
class EmbeddingFiles:
    """The `Product` of `embed`.

    Attributes:
        outputs: paths of the files.
        width: numbers in a vector.
        dtype: type of the vectors.
        is_ragged: whether a record has a vector for each token.
        metadata: metadata of the file of embeddings.
    """

    outputs: EmbeddingOutputs
    width: int
    dtype: str
    is_ragged: bool
    metadata: dict[str, str]
    summary_type: ClassVar[type[EmbeddingSummary]] = EmbeddingSummary

    def merge(self, store: ShardStore, shards: int) -> EmbeddingCounts:
        """Write the embeddings; reads the shards twice, one at a time."""
        counts, hashes = EmbeddingCounts(), []
        for shard in _shards(store, shards):
            counts.add(shard)
            hashes.append(id_hashes(lines_of(shard.ids)))
        again, further = repeated_hashes(hashes)
        if further:
            counts.notes.append(repeated_ids_note(further, self._first_of(again, store, shards)))
        if not counts.records:
            counts.notes.append(_NO_RECORDS)
        shape = Shape(
            sequences=counts.embedded,
            rows=counts.vectors,
            width=self.width,
            longest_id=counts.longest_id,
            dtype=np.dtype(self.dtype),
            is_ragged=self.is_ragged,
        )
        path, parts = self.outputs.path("embeddings"), map(part_of, _shards(store, shards))
        write_embeddings(path, self.outputs.format, shape, self.metadata, parts)
        return counts

    def _first_of(self, again: UInt64, store: ShardStore, shards: int) -> str:
        """Return the first id with one of the repeated hashes."""
        for shard in _shards(store, shards):
            ids = lines_of(shard.ids)
            places = np.flatnonzero(np.isin(id_hashes(ids), again))
            if len(places):
                return id_in_note(ids[places[0]])
        raise RunError(f"{store.directory}: damaged since it was written; run again")

    def summary(
        self,
        found: EmbeddingCounts,
        progress: Progress,
        seconds: dict[str, float],
        binding: Binding,
    ) -> EmbeddingSummary:
        """Return the summary of counts and times."""
        scoring, work = max(seconds["scoring"], 1e-9), progress.work
        return EmbeddingSummary(
            format=FORMAT,
            model=binding.bundle,
            device=binding.device,
            precision=binding.precision,
            records=found.records,
            embedded=found.embedded,
            letters=found.letters,
            vectors=found.vectors,
            width=self.width,
            problems=found.problems,
            resumed_records=progress.resumed_records,
            packs_cut=work.packs_cut,
            sequences_redone=work.frames_redone,
            seconds={stage: round(time, 3) for stage, time in seconds.items()},
            records_per_second=round(work.records / scoring, 1),
            tokens_per_second=round(work.tokens / scoring, 1),
            notes=found.notes,
        )

    def conclude(self, _manifest: RunManifest, _summary: EmbeddingSummary) -> None:
        """Write nothing more."""


def part_of(shard: EmbeddingShard) -> Part:
    """Return the records of a shard that have an embedding."""
    has_one = [not problem for problem in lines_of(shard.problems)]
    ids = [id_ for id_, is_there in zip(lines_of(shard.ids), has_one, strict=True) if is_there]
    lengths_S, counts_S = shard.record_P2[has_one].T
    return Part(ids, lengths_S, counts_S, shard.values_RD)


def _shards(store: ShardStore, shards: int) -> Iterator[EmbeddingShard]:
    return (EmbeddingShard.decode(store.load(index)) for index in range(shards))
