"""What a verification found."""

import msgspec

FORMAT = 1


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything in a report."""


class Comparison(_Part, frozen=True, kw_only=True):
    """One output in one precision against what was published.

    Attributes:
        precision: the encoders' arithmetic.
        what: encoder or head, and which of its outputs.
        cosine: the smallest over sequences or tokens; None for scores.
        largest_difference: of any number.
        relative_error: norm of the difference over that of the published numbers about their
            mean: vectors of an encoder share large parts, which say nothing of a sequence.
        labels_agreeing: how many calls are the original's; None where there are no calls.
        labels: how many calls there are.
        fault: what is out of bounds, empty if nothing.
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
        date: when, UTC.
        virnucpro: its version.
        torch: its version.
        python: its version.
        device: kind of device.
        name: of the bundle or encoder.
        sha256: digest of its manifest.
        notes: what was not compared, and how the networks were computed.
        comparisons: one for each output and precision.
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
