"""What `predict` says at its end."""

from virnucpro.results.paths import Outputs
from virnucpro.results.samples import SampleSummaries
from virnucpro.results.summary import Summary


def told(summary: Summary | SampleSummaries, outputs: Outputs, *, has_prevalence: bool) -> str:
    """Return what a run, or those of a sheet, came to, in a few lines.

    Args:
        summary: of the run or the sheet.
        outputs: the run's files.
        has_prevalence: whether the user said which share of viruses to expect.
    """
    if isinstance(summary, SampleSummaries):
        return f"{len(summary.samples):,} samples, {_calls(summary)}"
    return (
        f"{_calls(summary)}; {summary.records_per_second:,.0f} records/s\n"
        f"{_expected(summary, has_prevalence=has_prevalence)}"
        f"look first at {outputs.path('records')} (calls and how sure they are)\n"
        f"again: virnucpro predict --config {outputs.path('config')}\n"
        f"for a paper ({outputs.path('methods')}; virnucpro cite names references):\n"
        f"  {outputs.path('methods').read_text().strip()}"
    )


def _calls(summary: Summary | SampleSummaries) -> str:
    calls, unscored = summary.calls, summary.unscored
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in unscored.items() if count)
    return (
        f"{summary.records:,} records: {calls['virus']:,} virus, {calls['other']:,} other, "
        f"{calls['unscored']:,} unscored{f' ({reasons})' if reasons else ''}"
    )


def _expected(summary: Summary, *, has_prevalence: bool) -> str:
    """Say what probabilities say of all records; nothing without a calibration."""
    if summary.records_expected_viral is None:
        return ""
    if has_prevalence:
        what = f"for a prevalence of {summary.prevalence:.2%}"
    else:
        what = (
            f"if probabilities are for samples with {summary.prevalence:.0%} viruses; "
            "--prevalence takes the share that you expect, or auto to estimate it"
        )
    return f"{summary.records_expected_viral:,.0f} viruses expected {what}\n"
