"""What a benchmark found."""

import msgspec

FORMAT = 1


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything in a report."""


class ProteinRate(_Part, frozen=True, kw_only=True):
    """The protein encoder on one sample.

    Attributes:
        sample: key of `samples.SAMPLES`.
        tokens_per_second: of the encoder, padding not counted.
        floor_tokens_per_second: of its matrix products alone, measured in turn with it.
        share_of_floor: one over the other.
    """

    sample: str
    tokens_per_second: float
    floor_tokens_per_second: float
    share_of_floor: float


class DnaRate(_Part, frozen=True, kw_only=True):
    """The DNA encoder on one sample, tokenizing on the host included.

    Attributes:
        sample: key of `samples.SAMPLES`.
        sequences_per_second: frames.
        tokens_per_sequence: mean.
    """

    sample: str
    sequences_per_second: float
    tokens_per_sequence: float


class WorkerRate(_Part, frozen=True, kw_only=True):
    """The whole worker, reads in memory to scores.

    Attributes:
        sample: key of `samples.SAMPLES`.
        frames_per_second: open frames scored.
        reads_per_second: reads they came from.
        encoders_frames_per_second: of the two encoders alone, in turn with it.
        share_of_encoders: one over the other.
        hours_for_a_million_reads: what a million such reads would take.
    """

    sample: str
    frames_per_second: float
    reads_per_second: float
    encoders_frames_per_second: float
    share_of_encoders: float
    hours_for_a_million_reads: float


class PrecisionReport(_Part, frozen=True, kw_only=True):
    """Everything measured in one precision.

    Attributes:
        precision: the encoders' arithmetic.
        notes: how the networks are computed, and why nothing faster.
        start_seconds: choosing how and compiling, weights in memory.
        protein: one entry a sample.
        dna: one entry a sample.
        worker: one entry a sample.
        peak_memory_bytes: of the device; of the process on a CPU.
    """

    precision: str
    notes: list[str]
    start_seconds: float
    protein: list[ProteinRate]
    dna: list[DnaRate]
    worker: list[WorkerRate]
    peak_memory_bytes: int


class BenchReport(_Part, frozen=True, kw_only=True):
    """The content of the JSON file.

    Attributes:
        format: version of this format.
        date: when, UTC.
        virnucpro: its version.
        torch: its version.
        python: its version.
        device: kind of device.
        sizes: whose networks' sizes; weights are random.
        budgets: most tokens of a forward pass, by encoder.
        precisions: one entry each.
    """

    format: int
    date: str
    virnucpro: str
    torch: str
    python: str
    device: str
    sizes: str
    budgets: dict[str, int]
    precisions: list[PrecisionReport]
