"""Compare outputs with the published ones, within bounds for each precision."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from virnucpro.bundles.reference import Frame
from virnucpro.verification.verification_report import Comparison

#: A call may differ where the original's P(virus) is no further than this from one half.
UNCERTAIN = 0.05


class Bounds(NamedTuple):
    """Largest allowed distance of a precision from the published numbers.

    Attributes:
        means: minimum cosine of a mean with the original's, which was computed in fp32.
        tokens: minimum cosine of a token's hidden states with those computed in bf16.
        scores: largest difference of a P(virus); None if only calls are compared.
    """

    means: float
    tokens: float
    scores: float | None

    @property
    def bf16_means(self) -> float:
        """Minimum cosine of a mean with one of hidden states that were computed in bf16."""
        return min(self.means, BOUNDS["bf16"].means)


#: A cosine c is an error of sqrt(2 (1 - c)) of a vector's length: 0.99999 is 0.4 %, 0.9995 3 %,
#: 0.998 6 %, 0.98 20 %. fp32 differs from fp32 by the order of sums alone, 1e-6 in tests. bf16
#: keeps 8 bits: an ESM-2 of 36 layers (640 wide, outliers of benchmarks/outliers.py) in bf16
#: against itself in bf16 with sums in fp32, as the published hidden states are, has at least
#: 0.99997 for means and 0.9998 for tokens; the trained one of `compact-pair` has more. Without the
#: embedding's x 0.88 they have 0.995 to 0.9992 and 0.989 to 0.996, with queries and keys exchanged
#: 0.55 and 0.06. fp8 has 0.9992 for means in the sizes of the 3B (docs/log.md). A score may
#: differ by as much as makes a call uncertain, in fp32 by a fifth of that.
BOUNDS = {
    "fp32": Bounds(0.99999, 0.998, UNCERTAIN / 5),
    "bf16": Bounds(0.9995, 0.998, UNCERTAIN),
    "fp16": Bounds(0.9995, 0.998, UNCERTAIN),
    "fp8": Bounds(0.995, 0.98, None),
    "int8": Bounds(0.995, 0.98, None),
    "int4": Bounds(0.97, 0.9, None),
}


def compare_vectors(
    precision: str, what: str, found_RD: Tensor, expected_RD: Tensor, least: float
) -> Comparison:
    """Compare vectors row by row.

    Args:
        precision: precision in which they were computed.
        what: description of the vectors.
        found_RD: vectors computed on this machine, fp32, on any device.
        expected_RD: published vectors, fp32.
        least: minimum cosine.
    """
    found, expected = found_RD.cpu().double(), expected_RD.double()
    cosine = float(cosine_similarity(found, expected, dim=1).min())
    return Comparison(
        precision=precision,
        what=what,
        cosine=cosine,
        largest_difference=float((found - expected).abs().max()),
        relative_error=_relative_error(found, expected),
        fault="" if cosine >= least else f"{precision}: {what}: cosine {cosine:.6f} under {least}",
    )


def compare_scores(
    precision: str, what: str, found_S: Tensor, frames: Sequence[Frame], most: float | None
) -> Comparison:
    """Compare P(virus) of frames, and the calls.

    Args:
        precision: precision in which they were computed.
        what: description of the scores.
        found_S: scores computed on this machine, fp32, on any device.
        frames: frames with the original's scores and calls.
        most: largest allowed difference; None if only calls are compared.
    """
    found = found_S.cpu().double()
    expected = torch.tensor([frame.p_virus for frame in frames], dtype=torch.float64)
    largest = float((found - expected).abs().max())
    other = [
        frame
        for frame, p_virus in zip(frames, found.tolist(), strict=True)
        if (p_virus > 0.5) != (frame.call == "virus")
    ]
    wrong = [frame.id for frame in other if abs(frame.p_virus - 0.5) > UNCERTAIN]
    fault = f"calls of {', '.join(wrong)} differ" if wrong else ""
    if not fault and not largest <= (1 if most is None else most):
        fault = f"a score differs by {largest:.4f}, more than {most or 1}"
    return Comparison(
        precision=precision,
        what=what,
        cosine=None,
        largest_difference=largest,
        relative_error=_relative_error(found, expected),
        labels_agreeing=len(frames) - len(other),
        labels=len(frames),
        fault=f"{precision}: {what}: {fault}" if fault else "",
    )


def _relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / (expected - expected.mean(dim=0)).norm())
