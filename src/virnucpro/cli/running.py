"""Carries out a run: signals, progress, and records that could not be processed."""

import signal
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar

import typer

from virnucpro.cli.console import SOME_NOT_PROCESSED, STOPPED, TERMINATED, leave, say
from virnucpro.errors import one_line

if TYPE_CHECKING:
    from virnucpro.runs.job import Observer

#: Maximum number of unprocessed records named on the terminal; summary.json lists more.
_PROBLEMS_SHOWN = 10


class _Summary(Protocol):
    @property
    def problems(self) -> list[str]: ...


SummaryT = TypeVar("SummaryT", bound=_Summary)
AnyT = TypeVar("AnyT")


def run_and_report(
    run: "Callable[[Observer], SummaryT]",
    final_message: Callable[[SummaryT], str],
    not_processed: Callable[[SummaryT], int],
    out: Path,
    *,
    executor: str,
    quiet: bool,
) -> None:
    """Carry out a run and report its result.

    Args:
        run: carries out the run and reports to an observer.
        final_message: returns the message printed at the end.
        not_processed: returns the number of records that could not be processed.
        out: the output directory.
        executor: the executor; if processes are launched, only the first one prints.
        quiet: whether to print problems only.

    Raises:
        Exit: some records could not be processed.
    """
    summary, is_first = run_with_progress(run, executor=executor, quiet=quiet)
    if is_first and not quiet:
        say(final_message(summary), err=True)
    if summary.problems and is_first:
        _list_problems(summary.problems, not_processed(summary), out)
    if summary.problems:
        raise typer.Exit(SOME_NOT_PROCESSED)


def run_with_progress(
    run: "Callable[[Observer], AnyT]", *, executor: str, quiet: bool
) -> tuple[AnyT, bool]:
    """Carry out a run, handle signals, and show progress.

    Returns:
        the result of `run`, and whether this is the first, or only, launched process.
    """
    from virnucpro.runs.executors.launched import Rank  # noqa: PLC0415 (loads PyTorch)
    from virnucpro.runs.progress import Reporter  # noqa: PLC0415

    import_module("virnucpro.cli.config_file")  # fail now, not at the end, if it is missing

    signal.signal(signal.SIGTERM, _terminate)
    is_first = executor != "launched" or Rank.here().index == 0
    quiet = quiet or not is_first
    reporter = Reporter(quiet=quiet)
    try:
        summary = run(reporter)
    except KeyboardInterrupt as stop:
        reporter.close()
        say("virnucpro: stopped; rerun the same command to resume", err=True)
        leave(TERMINATED if isinstance(stop, _Terminated) else STOPPED)
    finally:
        reporter.close()
    return summary, is_first


class _Terminated(KeyboardInterrupt):
    """SIGTERM was received, for example from Slurm; handled like a stop from the keyboard."""


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise _Terminated


def _list_problems(problems: list[str], records: int, out: Path) -> None:
    """List records, or mates of called pairs, that could not be processed."""
    count = max(records, len(problems))
    for problem in problems[:_PROBLEMS_SHOWN]:
        say(f"virnucpro: not processed: {one_line(problem)}", err=True)
    if count > _PROBLEMS_SHOWN:
        say(
            f"virnucpro: {count - _PROBLEMS_SHOWN:,} more not processed; see {out}/summary.json",
            err=True,
        )
