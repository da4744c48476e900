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
    from virnucpro.bundles import load_bundle
    from virnucpro.calibration.api import calibrate
    from virnucpro.embedding.api import embed, embed_sequences, read_embeddings
    from virnucpro.evaluation.api import evaluate
    from virnucpro.prediction.api import predict
    from virnucpro.prediction.outputs.sheet_tables import SampleSummaries
    from virnucpro.prediction.outputs.summary import Summary
    from virnucpro.prediction.report.api import report
    from virnucpro.prediction.samples import predict_samples
    from virnucpro.training.api import train

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
    "SampleSummaries": "virnucpro.prediction.outputs.sheet_tables",
    "Summary": "virnucpro.prediction.outputs.summary",
    "calibrate": "virnucpro.calibration.api",
    "embed": "virnucpro.embedding.api",
    "embed_sequences": "virnucpro.embedding.api",
    "evaluate": "virnucpro.evaluation.api",
    "load_bundle": "virnucpro.bundles",
    "predict": "virnucpro.prediction.api",
    "predict_samples": "virnucpro.prediction.samples",
    "read_embeddings": "virnucpro.embedding.api",
    "report": "virnucpro.prediction.report.api",
    "train": "virnucpro.training.api",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_HOMES[name]), name)
