"""Six-frame translation of many chunks at once.

The genetic code is NCBI translation table 1. `Nucleotides.join` has already replaced U by T. A
codon that contains a letter other than A, C, G and T is dropped from the protein.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from virnucpro.sequences.codons import RESIDUE_OF_CODON, RESIDUES
from virnucpro.sequences.nucleotides import BASE_NUMBERS, Nucleotides

FRAME_NAMES = ("F1", "F2", "F3", "R1", "R2", "R3")
#: What can be drawn from a chunk: one frame, or all six as one unit.
DRAWN_NAMES = (*FRAME_NAMES, "all")
_ALL = DRAWN_NAMES.index("all")

_DROPPED = 0
_STOP = ord("*")


def _codon_tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the residue of each codon number on the forward and on the reverse strand."""
    forward = np.full(125, _DROPPED, dtype=np.uint8)
    for codon, residue in enumerate(RESIDUE_OF_CODON):
        forward[25 * (codon // 16) + 5 * (codon // 4 % 4) + codon % 4] = ord(RESIDUES[residue])
    reverse = np.full(125, _DROPPED, dtype=np.uint8)
    for a in range(4):
        for b in range(4):
            for c in range(4):
                reverse[25 * a + 5 * b + c] = forward[25 * (3 - c) + 5 * (3 - b) + (3 - a)]
    return forward, reverse


_FORWARD_CODON, _REVERSE_CODON = _codon_tables()


#: `open`: the frames whose protein is not empty and contains no stop (the rule of the original).
#: `segments`: the longest stretch of each frame without a stop. `whole`: each whole frame with its
#: stops. `all`: the six frames of a chunk as one unit, for networks that read them together.
FrameKind = Literal["open", "segments", "whole", "all"]


class FrameRule(NamedTuple):
    """Which frames are drawn from a chunk.

    Attributes:
        kind: see `FrameKind`.
        least_residues: minimum number of residues of a stretch or of a whole frame; for `all`, of
            codons on the forward strand. It is 1 for open frames.
    """

    kind: FrameKind = "open"
    least_residues: int = 1


#: The rule of the original.
OPEN_FRAMES = FrameRule()


class Frames(NamedTuple):
    """Frames of several chunks, ordered by chunk and then F1 to R3; `all` has no protein.

    Attributes:
        chunk: index of the chunk, int64.
        frame: index into `DRAWN_NAMES`, uint8.
        first_codon: number of the first codon within the frame, in its direction, int64.
        codons: number of codons, including those dropped from the protein, int64.
        residues: amino-acid letters of all proteins end to end, stops as `*`, uint8.
        protein_offsets: start of each protein in `residues`, with one more entry than frames.
        dna: nucleotides of each frame. For an open frame these are `strand[offset : offset + 3 *
            len(protein) + 1]`, as the original cuts them; for other kinds, those of the codons.
    """

    chunk: NDArray[np.int64]
    frame: NDArray[np.uint8]
    first_codon: NDArray[np.int64]
    codons: NDArray[np.int64]
    residues: NDArray[np.uint8]
    protein_offsets: NDArray[np.int64]
    dna: list[str]

    def protein(self, index: int) -> str:
        """Return one protein as text."""
        start, end = self.protein_offsets[index : index + 2]
        return self.residues[start:end].tobytes().decode("ascii")


def _sums_by_three(flags_N: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return s with s[p + 3] = flags[p] + s[p]: running counts in each of the three phases."""
    padded = np.zeros((len(flags_N) // 3 + 3) * 3, dtype=np.int32)
    padded[3 : 3 + len(flags_N)] = flags_N
    by_phase = padded.reshape(-1, 3)
    np.cumsum(by_phase, axis=0, out=by_phase)
    return padded


def _translate(letters_N: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the residue of the codon on bases p, p+1, p+2 for every p, on either strand."""
    code_N = BASE_NUMBERS[letters_N]
    codon = 25 * code_N[:-2] + 5 * code_N[1:-1] + code_N[2:]
    return _FORWARD_CODON[codon], _REVERSE_CODON[codon]


def find_frames(
    sequences: Nucleotides,
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    rule: FrameRule = OPEN_FRAMES,
) -> Frames:
    """Translate the chunks `start[i]:end[i]` of `sequences.letters_N` and draw frames.

    Args:
        sequences: the records' letters; chunk borders are positions in `letters_N`.
        start: first base of each chunk.
        end: one past the last base of each chunk.
        rule: which frames to draw.
    """
    letters_N = sequences.letters_N
    if len(letters_N) < 3:
        letters_N = np.concatenate([letters_N, np.zeros(3, dtype=np.uint8)])
    strands = _translate(letters_N)
    if rule.kind == "all":
        return _all_frames(strands[0], start, end, rule)
    offset = np.array([0, 1, 2, 0, 1, 2])
    codons_CF = np.maximum(end[:, None] - start[:, None] - offset, 0) // 3
    # Position of the leftmost codon of a frame on the forward strand; a reverse frame ends there.
    left_CF = np.where(
        np.arange(6) < 3, start[:, None] + offset, end[:, None] - offset - 3 * codons_CF
    )
    draw = _open_frames if rule.kind == "open" else _drawn_frames
    found = draw(strands, codons_CF, left_CF, rule)
    bases = 3 * np.diff(found.protein_offsets) + 1 if rule.kind == "open" else 3 * found.codons
    chunk = found.chunk
    skipped = found.frame.astype(np.int64) % 3 + 3 * found.first_codon
    dna = _cut_dna(sequences, found.frame >= 3, skipped, start[chunk], end[chunk], bases)
    return found._replace(dna=dna)


def codon_span(
    frame: NDArray[np.integer],
    first_codon: NDArray[np.integer],
    codons: NDArray[np.integer],
    chunk_start: NDArray[np.int64],
    chunk_end: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return start and end, on the forward strand, of the bases covered by the codons of frames."""
    skipped, bases = frame % 3 + 3 * first_codon, 3 * codons
    start = np.where(frame < 3, chunk_start + skipped, chunk_end - skipped - bases)
    is_all = frame == _ALL
    return np.where(is_all, chunk_start, start), np.where(is_all, chunk_end, start + bases)


def _all_frames(
    forward: NDArray[np.uint8],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    rule: FrameRule,
) -> Frames:
    """Draw each chunk with enough codons that are not dropped."""
    known = np.concatenate([[0], np.cumsum(forward != _DROPPED)])
    first = np.minimum(start, len(forward))  # a chunk that is only the last letter has no codon
    codons = known[np.maximum(end - 2, first)] - known[first]
    chunk = np.flatnonzero(codons >= max(1, rule.least_residues))
    none = np.zeros(len(chunk) + 1, dtype=np.int64)
    frame = np.full(len(chunk), _ALL, dtype=np.uint8)
    empty = np.empty(0, dtype=np.uint8)
    codons = (end - start)[chunk] // 3
    return Frames(chunk, frame, none[1:], codons, empty, none, [""] * len(chunk))


def _open_frames(
    strands: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    codons_CF: NDArray[np.int64],
    left_CF: NDArray[np.int64],
    _rule: FrameRule,
) -> Frames:
    """Draw the frames without a stop; only their codons are gathered."""
    open_CF = np.zeros(codons_CF.shape, dtype=np.bool_)
    length_CF = np.zeros(codons_CF.shape, dtype=np.int64)
    for strand, columns in ((0, slice(0, 3)), (1, slice(3, 6))):
        left, right = left_CF[:, columns], (left_CF + 3 * codons_CF)[:, columns]
        stops = _sums_by_three(strands[strand] == _STOP)
        coded = _sums_by_three(strands[strand] != _DROPPED)
        length_CF[:, columns] = coded[right] - coded[left]
        open_CF[:, columns] = (stops[right] == stops[left]) & (length_CF[:, columns] > 0)
    chunk, frame = np.nonzero(open_CF)
    codons = codons_CF[chunk, frame]
    residues = _gather_residues(strands, frame, left_CF[chunk, frame], codons)
    offsets = _offsets(length_CF[chunk, frame])
    kept = residues[residues != _DROPPED]
    first = np.zeros_like(codons)
    return Frames(chunk, frame.astype(np.uint8), first, codons, kept, offsets, [])


def _drawn_frames(
    strands: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    codons_CF: NDArray[np.int64],
    left_CF: NDArray[np.int64],
    rule: FrameRule,
) -> Frames:
    """Draw one stretch of codons from each frame: the longest without a stop, or the whole frame.

    A run is a stretch between two stops. The R runs of all frames lie end to end.
    """
    chunk, frame = np.nonzero(codons_CF)
    codons = codons_CF[chunk, frame]
    residues = _gather_residues(strands, frame, left_CF[chunk, frame], codons)
    frame_starts = _offsets(codons)
    begins = np.zeros(len(residues), dtype=np.bool_)
    begins[frame_starts[:-1]] = True
    is_cut = (residues == _STOP) if rule.kind == "segments" else np.zeros_like(begins)
    run = np.cumsum(begins | is_cut) - 1
    runs = int(run[-1]) + 1 if len(run) else 0
    counted = (residues != _DROPPED) & (residues != _STOP)
    length_R = np.bincount(run[counted], minlength=runs)
    starts_R = np.flatnonzero(begins | is_cut)
    owner_R = np.searchsorted(frame_starts, starts_R, side="right") - 1
    order = np.lexsort((np.arange(runs), -length_R, owner_R))
    best = order[np.concatenate([[True], np.diff(owner_R[order]) > 0])] if runs else order
    best = best[length_R[best] >= max(1, rule.least_residues)]
    is_chosen_R = np.zeros(runs, dtype=np.bool_)
    is_chosen_R[best] = True
    chosen = is_chosen_R[run] & ~is_cut
    which = owner_R[best]
    first = starts_R[best] + is_cut[starts_R[best]] - frame_starts[which]
    kept = chosen & (residues != _DROPPED)
    return Frames(
        chunk[which],
        frame[which].astype(np.uint8),
        first,
        np.bincount(run[chosen], minlength=runs)[best],
        residues[kept],
        _offsets(np.bincount(run[kept], minlength=runs)[best]),
        [],
    )


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _gather_residues(
    strands: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    frame: NDArray[np.int64],
    left: NDArray[np.int64],
    codons: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """Return the residues of each frame in its own direction; dropped codons are zeros."""
    reverse = frame >= 3
    first = np.where(reverse, left + 3 * (codons - 1), left) + len(strands[0]) * reverse
    step = np.where(reverse, -3, 3)
    within = np.arange(codons.sum()) - np.repeat(np.cumsum(codons) - codons, codons)
    where = np.repeat(first, codons) + np.repeat(step, codons) * within
    gathered: NDArray[np.uint8] = np.concatenate(strands)[where]
    return gathered


def _cut_dna(
    sequences: Nucleotides,
    is_reverse: NDArray[np.bool_],
    skipped: NDArray[np.int64],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    bases: NDArray[np.int64],
) -> list[str]:
    """Return `strand[skipped : skipped + bases]` of the chunk of each frame."""
    forward = sequences.forward_text()
    reverse = sequences.reverse_text()
    # The reverse strand of chunk start:end begins at position total - end of the reversed text.
    strand_start = np.where(is_reverse, len(forward) - end, start)
    cut_start = strand_start + skipped
    cut_end = np.minimum(cut_start + bases, strand_start + end - start)
    return [
        reverse[a:b] if backward else forward[a:b]
        for a, b, backward in zip(
            cut_start.tolist(), cut_end.tolist(), is_reverse.tolist(), strict=True
        )
    ]
