"""The report of a benchmark."""

import msgspec

FORMAT = 1


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the parts of a report."""


class ProteinRate(_Part, frozen=True, kw_only=True):
    """Speed of the protein encoder on one sample.

    Attributes:
        sample: key of `random_inputs.SAMPLES`.
        tokens_per_second: tokens that the encoder computes per second, without padding.
        floor_tokens_per_second: the same for its matrix products alone, measured alternately.
        share_of_floor: `tokens_per_second` divided by `floor_tokens_per_second`.
    """

    sample: str
    tokens_per_second: float
    floor_tokens_per_second: float
    share_of_floor: float


class DnaRate(_Part, frozen=True, kw_only=True):
    """Speed of the DNA encoder on one sample, including tokenizing on the host.

    Attributes:
        sample: key of `random_inputs.SAMPLES`.
        sequences_per_second: frames per second.
        tokens_per_sequence: mean number of tokens of a frame.
    """

    sample: str
    sequences_per_second: float
    tokens_per_sequence: float


class WorkerRate(_Part, frozen=True, kw_only=True):
    """Speed of the whole worker, from reads in memory to scores.

    Attributes:
        sample: key of `random_inputs.SAMPLES`.
        frames_per_second: open frames scored per second.
        reads_per_second: reads scored per second.
        encoders_frames_per_second: frames per second of the two encoders alone, measured
            alternately.
        share_of_encoders: `frames_per_second` divided by `encoders_frames_per_second`.
        hours_for_a_million_reads: hours that a million reads of this sample would take.
    """

    sample: str
    frames_per_second: float
    reads_per_second: float
    encoders_frames_per_second: float
    share_of_encoders: float
    hours_for_a_million_reads: float


class PrecisionReport(_Part, frozen=True, kw_only=True):
    """All measurements in one precision.

    Attributes:
        precision: name of the encoders' arithmetic.
        notes: how the networks are computed, and why no faster backend is used.
        start_seconds: seconds to choose backends and compile, with the weights already in memory.
        protein: speed of the protein encoder, one entry per sample.
        dna: speed of the DNA encoder, one entry per sample.
        worker: speed of the whole worker, one entry per sample.
        peak_memory_bytes: peak memory of a GPU, or of the process on a CPU.
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
        date: start of the benchmark, in UTC.
        virnucpro: version of virnucpro.
        torch: version of PyTorch.
        python: version of Python.
        device: kind of device.
        sizes: name of the bundle with networks of these sizes; the weights are random.
        budgets: largest number of tokens of a forward pass, by encoder.
        precisions: measurements, one entry per precision.
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
