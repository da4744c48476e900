"""The report of a verification."""

import msgspec

FORMAT = 1


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the parts of a report."""


class Comparison(_Part, frozen=True, kw_only=True):
    """One output in one precision, compared with the published one.

    Attributes:
        precision: name of the encoders' arithmetic.
        what: encoder or head, and which of its outputs.
        cosine: the smallest cosine over sequences or tokens; None for scores.
        largest_difference: largest absolute difference of two numbers.
        relative_error: norm of the difference, divided by the norm of the published numbers after
            their mean is subtracted. The vectors of an encoder share large parts, which tell
            nothing about a sequence.
        labels_agreeing: number of calls that are the original's; None if the output has no calls.
        labels: number of calls; None if the output has no calls.
        fault: what is out of bounds, or an empty string.
    """

    precision: str
    what: str
    cosine: float | None
    largest_difference: float
    relative_error: float
    labels_agreeing: int | None = None
    labels: int | None = None
    fault: str = ""


class Skipped(_Part, frozen=True, kw_only=True):
    """A precision that was not computed, and why."""

    precision: str
    reason: str


class VerificationReport(_Part, frozen=True, kw_only=True):
    """The content of the JSON file.

    Attributes:
        format: version of this format.
        date: time of the verification, in UTC.
        virnucpro: version of virnucpro.
        torch: version of PyTorch.
        python: version of Python.
        device: kind of device.
        name: name of the bundle or encoder.
        sha256: digest of its manifest.
        notes: outputs that were not compared, and how the networks were computed.
        comparisons: one comparison for each output and precision.
        skipped: precisions that were not computed.
        is_as_published: whether something was compared and nothing is out of bounds.
        verdict: the same in words.
    """

    format: int
    date: str
    virnucpro: str
    torch: str
    python: str
    device: str
    name: str
    sha256: str
    notes: list[str]
    comparisons: list[Comparison]
    skipped: list[Skipped]
    is_as_published: bool
    verdict: str
