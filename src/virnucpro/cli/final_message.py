"""The message that `predict` prints when it ends."""

from virnucpro.prediction.outputs.paths import Outputs, SheetOutputs
from virnucpro.prediction.outputs.sheet_tables import SampleSummaries
from virnucpro.prediction.outputs.summary import Summary


def final_message(summary: Summary | SampleSummaries, outputs: Outputs) -> str:
    """Return the result of a run, or of the runs of a sheet, in a few lines.

    Args:
        summary: summary of the run or the sheet.
        outputs: files of the run.
    """
    if isinstance(summary, SampleSummaries):
        tables = SheetOutputs(outputs.directory, outputs.compressed)
        damaged = f"{len(summary.damaged):,} damaged, " if summary.damaged else ""
        return (
            f"{len(summary.samples):,} samples, {damaged}{_calls(summary)}\n"
            f"look first at {_page(outputs)}{tables.path('samples')}"
        )
    return (
        f"{_calls(summary)}; {summary.records_per_second:,.0f} records/s\n"
        f"{_expected(summary)}"
        f"look first at {_page(outputs)}{outputs.path('records')} (calls, how sure they are)\n"
        f"again: virnucpro predict --config {outputs.path('config')}\n"
        f"for a paper ({outputs.path('methods')}; virnucpro cite names references):\n"
        f"  {outputs.path('methods').read_text('utf-8').strip()}"
    )


def _page(outputs: Outputs) -> str:
    return f"{outputs.path('report')} and " if outputs.report else ""


def _calls(summary: Summary | SampleSummaries) -> str:
    calls, unscored = summary.calls, summary.unscored
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in unscored.items() if count)
    return (
        f"{summary.records:,} records: {calls['virus']:,} virus, {calls['other']:,} other, "
        f"{calls['unscored']:,} unscored{f' ({reasons})' if reasons else ''}"
    )


def _expected(summary: Summary) -> str:
    """Return the expected number of viruses; empty without a calibration."""
    if summary.records_expected_viral is None or summary.prevalence is None:
        return ""
    origin = "estimated from the scores" if summary.prevalence_estimated else "as you gave it"
    return (
        f"{summary.records_expected_viral:,.0f} viruses expected for a prevalence of "
        f"{summary.prevalence:.2%}, {origin}\n"
    )
