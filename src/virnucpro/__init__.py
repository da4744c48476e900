"""Find viral sequences in sequencing reads and contigs with language models.

>>> import virnucpro
>>> summary = virnucpro.predict("reads.fastq.gz", "out")  # doctest: +SKIP
>>> summary.calls  # doctest: +SKIP
{'other': 180, 'virus': 160, 'unscored': 60}
"""

# Nothing is imported here: `python -m virnucpro` runs this file while a user's directory is still
# the first place that modules come from (importing.py).
TYPE_CHECKING = False

if TYPE_CHECKING:
    from virnucpro.api import predict
    from virnucpro.bundles import load_bundle
    from virnucpro.calibration import calibrate
    from virnucpro.embedding import embed, embed_sequences, read_embeddings
    from virnucpro.evaluation import evaluate
    from virnucpro.fitting import train
    from virnucpro.reporting import report
    from virnucpro.results.samples import SampleSummaries
    from virnucpro.results.summary import Summary
    from virnucpro.samples import predict_samples

__all__ = [
    "SampleSummaries",
    "Summary",
    "calibrate",
    "embed",
    "embed_sequences",
    "evaluate",
    "load_bundle",
    "predict",
    "predict_samples",
    "read_embeddings",
    "report",
    "train",
]

# Imported on first use: PyTorch takes seconds to load, `--help` and `--version` do without.
_HOMES = {
    "SampleSummaries": "virnucpro.results.samples",
    "Summary": "virnucpro.results.summary",
    "calibrate": "virnucpro.calibration",
    "embed": "virnucpro.embedding",
    "embed_sequences": "virnucpro.embedding",
    "evaluate": "virnucpro.evaluation",
    "load_bundle": "virnucpro.bundles",
    "predict": "virnucpro.api",
    "predict_samples": "virnucpro.samples",
    "read_embeddings": "virnucpro.embedding",
    "report": "virnucpro.reporting",
    "train": "virnucpro.fitting",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_HOMES[name]), name)
