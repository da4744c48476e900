"""Shards made by hand, for tests of the tables."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from virnucpro.classify import score_chunks
from virnucpro.prediction.outputs.counts import Counts
from virnucpro.prediction.outputs.first_pass import WholeRun
from virnucpro.prediction.outputs.merge import merge_shards
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.probabilities import Calibrating
from virnucpro.prediction.outputs.scored_shards import ScoredShard, ShardScorer
from virnucpro.prediction.report.run_findings import Findings
from virnucpro.prediction.shard import Shard, encode_shard
from virnucpro.runs.shard_store import ShardStore
from virnucpro.sequences import DRAWN_NAMES

LEGACY_FRAMES = "prediction_results.txt"
LEGACY_CHUNKS = "prediction_results_highestscore.csv"
TABLES = ("frames.tsv", "chunks.tsv", "records.tsv", "scores.bedgraph", "viral.fasta")
REGIONS = ("regions.gff3", "regions.bed")


class Frame(NamedTuple):
    """An open frame and its scores."""

    name: str
    protein_length: int
    p_other: float
    p_virus: float


class Chunk(NamedTuple):
    """A chunk and its open frames."""

    start: int
    end: int
    frames: list[Frame]


class Piece(NamedTuple):
    """Some chunks of a record or mate, from number `first`, and its part of the FASTA text.

    `gc` holds how many of its letters are G or C, and how many A, C, G or T.
    """

    record: int
    id: str
    length: int
    chunks: list[Chunk]
    fasta: str
    first: int = 0
    chunks_of_record: int | None = None
    problem: str = ""
    mate: int = 0
    chunks_before: int = 0
    gc: tuple[int, int] = (0, 0)
    qualities: str = ""

    @property
    def header(self) -> str:
        """The header in the FASTA text; empty where another piece begins the record."""
        return self.fasta.partition("\n")[0][1:] if self.fasta.startswith(">") else ""

    @property
    def letters(self) -> str:
        """The letters in the FASTA text."""
        text = self.fasta.partition("\n")[2] if self.fasta.startswith(">") else self.fasta
        return text.removesuffix("\n")


def text_of(content: str) -> NDArray[np.uint8]:
    return np.frombuffer(content.encode(), dtype=np.uint8)


def piece_row(piece: Piece) -> tuple[int, ...]:
    last = piece.first + len(piece.chunks)
    chunks = last if piece.chunks_of_record is None else piece.chunks_of_record
    kept = len(piece.letters.encode())
    return piece.record, piece.length, chunks, piece.first, last, piece.mate, *piece.gc, kept


def shard_of(pieces: list[Piece]) -> Shard:
    chunks = [(i, piece, k) for i, piece in enumerate(pieces) for k in range(len(piece.chunks))]
    frames = [(c, f) for c, (_, piece, k) in enumerate(chunks) for f in piece.chunks[k].frames]
    chunk_rows = [(i, p.chunks_before + p.first + k + 1, *p.chunks[k][:2]) for i, p, k in chunks]
    frame_rows = []
    for c, f in frames:
        frame, (_, _, start, end) = DRAWN_NAMES.index(f.name), chunk_rows[c]
        frame_rows.append((c, frame, f.protein_length, 0, (end - start - frame % 3) // 3))
    frame_S5 = np.array(frame_rows, dtype=np.int32).reshape(-1, 5)
    scores_S2 = np.array([f[2:] for _, f in frames], dtype=np.float32).reshape(-1, 2)
    best = score_chunks(frame_S5[:, 0].astype(np.int64), scores_S2, len(chunk_rows))
    return Shard(
        text_of("\n".join(piece.id for piece in pieces)),
        text_of("\n".join(piece.problem for piece in pieces)),
        np.array([piece_row(piece) for piece in pieces], dtype=np.int64),
        np.array(chunk_rows, dtype=np.int64).reshape(-1, 4),
        np.column_stack([best.p_other, best.p_virus]).astype(np.float32),
        frame_S5,
        scores_S2,
        text_of("\n".join(piece.header for piece in pieces)),
        text_of("".join(piece.letters for piece in pieces)),
        text_of("".join(piece.qualities for piece in pieces)),
    )


def scored(shards: list[list[Piece]]) -> Iterator[ScoredShard]:
    """Yield what sinks get from the shards, whose ids must be unique."""
    scorer = ShardScorer(WholeRun(np.empty(0, np.uint64), 0, None), 0.5)
    for index, pieces in enumerate(shards):
        yield scorer.add(index, shard_of(pieces))


def merge(
    shards: list[list[Piece]],
    outputs: Outputs,
    calibrating: Calibrating | None = None,
    findings: Findings | None = None,
) -> Counts:
    """Write shards and merge them into the output directory."""
    outputs.directory.mkdir(parents=True, exist_ok=True)
    store = ShardStore(outputs.directory / "shards")
    for index, pieces in enumerate(shards):
        store.write(index, bytes(32), encode_shard(shard_of(pieces)))
    counts = merge_shards(store, len(shards), outputs, 0.5, calibrating, findings=findings)
    store.remove()
    return counts
