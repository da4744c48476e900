"""methods.txt: what a run did, as a paragraph for a paper."""

from virnucpro.errors import printable
from virnucpro.prediction.options import share_of_text
from virnucpro.prediction.outputs.summary import Summary
from virnucpro.runs.run import RunManifest

#: Rule for frames -> clause about the six translations of a chunk.
_FRAMES = {
    "open": "each of whose six translations without a stop codon was scored",
    "segments": "of each of whose six translations the longest stretch without a stop codon was "
    "scored",
    "whole": "each of whose six translations was scored, stop codons included",
    "all": "all six reading frames of which were scored together",
}


def methods(manifest: RunManifest, summary: Summary) -> str:
    """Return one paragraph without line breaks.

    Args:
        manifest: manifest of a run of `predict`.
        summary: summary of the same run.
    """
    bound = manifest.binding
    settings = bound.settings
    drawn = _FRAMES[str(settings["frames"])]
    return printable(
        f"Viral sequences were identified with virnucpro {bound.version} and the model "
        f"{bound.bundle} (SHA-256 {bound.bundle_sha256[:12]}) among {summary.records:,} records "
        f"of {summary.bases:,} bases. Records were cut into chunks of "
        f"{settings['chunk_length']} bases, {drawn}. Scores were computed in {bound.precision} on "
        f"{bound.device} with PyTorch {bound.torch}. {_rule(manifest, summary)} {_counts(summary)}"
    )


def _rule(manifest: RunManifest, summary: Summary) -> str:
    """Return the rule by which records were called viral."""
    max_fdr = share_of_text(manifest.binding.settings["max_fdr"])
    if max_fdr is None:
        what = "probability" if summary.calibrated else "score"
        called = f"Records with a {what} above {summary.threshold:g} were called viral"
    else:
        called = (
            "Records were called viral in the order of their probabilities up to an expected "
            f"false discovery rate of {float(max_fdr):g}"
        )
    if not summary.calibrated:
        return f"{called}; scores were not calibrated."
    if summary.prevalence is None:
        return f"{called}; no record had a score."
    origin = "estimated from the records" if summary.prevalence_estimated else "assumed"
    return (
        f"{called}; probabilities are those of the model's calibration for a prevalence of "
        f"viruses of {summary.prevalence:.4g} ({origin})."
    )


def _counts(summary: Summary) -> str:
    calls = summary.calls
    reasons = ", ".join(f"{count:,} {why}" for why, count in summary.unscored.items() if count)
    return (
        f"{calls['virus']:,} records were called virus and {calls['other']:,} other; "
        f"{calls['unscored']:,} could not be scored{f' ({reasons})' if reasons else ''}."
    )
