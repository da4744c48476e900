"""scores.bedgraph: what chunks cover, once each, whatever shards they are in."""

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_shards import Chunk, Frame, Piece, merge, scored
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.tracks import ScoreTrack
from virnucpro.sequences import chunk_records

Line = tuple[str, int, int, float]


def lines_of(shards: list[list[Piece]]) -> list[Line]:
    """Return the lines of the track of some shards."""
    file = io.BytesIO()
    track = ScoreTrack(file)
    for part in scored(shards):
        track.add(part)
    track.finish()
    rows = [line.split("\t") for line in file.getvalue().decode().splitlines()]
    return [(record, int(start), int(end), float(score)) for record, start, end, score in rows]


def record(number: int, length: int, chunk_length: int, scores: list[float | None]) -> Piece:
    """Return a record cut as any is; chunks without a score have no open frame."""
    cut = chunk_records(np.array([length]), chunk_length)
    places = zip(cut.start.tolist(), cut.end.tolist(), scores, strict=False)
    chunks = [Chunk(a, b, [] if p is None else [Frame("F1", 9, 1 - p, p)]) for a, b, p in places]
    return Piece(number, f"r{number}", length, chunks, "")


def slow_track(piece: Piece) -> dict[int, float]:
    """Return the score of each base: that of the chunk on whose side of the overlap it lies."""
    if len(piece.chunks) < 2:
        return {}
    scored = [chunk for chunk in piece.chunks if chunk.frames]
    of_base: dict[int, float] = {}
    for chunk in scored:
        shared = [base for base in range(chunk.start, chunk.end) if base in of_base]
        kept = shared[: len(shared) // 2]
        score = round(chunk.frames[0].p_virus, 6)
        of_base |= {b: score for b in range(chunk.start, chunk.end) if b not in kept}
    return of_base


def spread(pieces: list[Piece], cuts: list[int]) -> list[list[Piece]]:
    """Put pieces into shards that end after `cuts` chunks of each record in turn."""
    shards: list[list[Piece]] = [[]]
    for piece, cut in zip(pieces, cuts, strict=True):
        total = len(piece.chunks)
        if not 0 < cut < total:
            shards[-1].append(piece)
            continue
        shards[-1].append(piece._replace(chunks=piece.chunks[:cut], chunks_of_record=total))
        shards.append([piece._replace(chunks=piece.chunks[cut:], first=cut)])
    return shards


@st.composite
def records(draw: st.DrawFn) -> list[Piece]:
    share = st.one_of(st.none(), st.integers(0, 64).map(lambda k: k / 64))
    chunk_length = draw(st.sampled_from([5, 9, 30]))
    lengths = draw(st.lists(st.integers(1, 150), min_size=1, max_size=4))
    return [
        record(n, length, chunk_length, draw(st.lists(share, min_size=30, max_size=30)))
        for n, length in enumerate(lengths)
    ]


@settings(deadline=None, max_examples=80)
@given(records(), st.data())
def test_each_base_is_covered_once_by_its_nearest_chunk(
    pieces: list[Piece], data: st.DataObject
) -> None:
    cuts = [data.draw(st.integers(0, len(piece.chunks))) for piece in pieces]
    found = lines_of(spread(pieces, cuts))
    assert all(start < end for _, start, end, _ in found)
    assert [name for name, *_ in found] == [
        piece.id
        for piece in pieces
        if len(piece.chunks) > 1
        for chunk in piece.chunks
        if chunk.frames
    ]
    for piece in pieces:
        mine = [line for line in found if line[0] == piece.id]
        assert all(a[2] <= b[1] for a, b in pairwise(mine))
        covered = {base: score for _, start, end, score in mine for base in range(start, end)}
        assert covered == pytest.approx(slow_track(piece), abs=1e-6)


def test_a_record_over_four_shards_by_hand(tmp_path: Path) -> None:
    chunks = [
        Chunk(0, 500, [Frame("F1", 99, 0.25, 0.75)]),
        Chunk(400, 900, [Frame("F1", 99, 1.0, 0.5), Frame("R1", 99, 0.5, 0.9)]),
        Chunk(800, 1300, []),
        Chunk(1201, 1700, [Frame("F3", 99, 0.0, 1.0)]),
    ]
    pieces = [[Piece(0, "c", 1700, [chunk], "", k, 4)] for k, chunk in enumerate(chunks)]
    merge(pieces, Outputs(tmp_path))
    assert (tmp_path / "scores.bedgraph").read_text().splitlines() == [
        "c\t0\t450\t0.750000",
        "c\t450\t900\t0.450000",
        "c\t1201\t1700\t1.000000",
    ]


def test_records_with_the_same_id_stay_apart() -> None:
    chunks = [Chunk(k, k + 300, [Frame("F1", 99, 0.5, 0.5)]) for k in (0, 200)]
    spans = [line[1:3] for line in lines_of([[Piece(n, "same", 500, chunks, "")] for n in (0, 1)])]
    assert spans == [(0, 250), (250, 500)] * 2
