"""What every command does that makes a run: signals, progress, what could not be processed."""

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

#: Records named on the terminal that could not be processed; summary.json lists more.
_PROBLEMS_SHOWN = 10


class _Summary(Protocol):
    @property
    def problems(self) -> list[str]: ...


SummaryT = TypeVar("SummaryT", bound=_Summary)
AnyT = TypeVar("AnyT")


def run_and_report(
    run: "Callable[[Observer], SummaryT]",
    told: Callable[[SummaryT], str],
    not_processed: Callable[[SummaryT], int],
    out: Path,
    *,
    executor: str,
    quiet: bool,
) -> None:
    """Make a run and say what came of it.

    Args:
        run: does it, telling an observer.
        told: the summary in a line.
        not_processed: how many records were not.
        out: the output directory.
        executor: of several launched processes the first one speaks.
        quiet: whether to say only what is wrong.
    """
    summary, is_first = run_with_progress(run, executor=executor, quiet=quiet)
    if is_first and not quiet:
        say(told(summary), err=True)
    if summary.problems and is_first:
        _list_problems(summary.problems, not_processed(summary), out)
    if summary.problems:
        raise typer.Exit(SOME_NOT_PROCESSED)


def run_with_progress(
    run: "Callable[[Observer], AnyT]", *, executor: str, quiet: bool
) -> tuple[AnyT, bool]:
    """Make a run, answer signals, and show how it goes.

    Returns:
        what `run` returns, and whether this is the first of several launched processes.
    """
    from virnucpro.runs.executors.launched import Rank  # noqa: PLC0415 (loads PyTorch)
    from virnucpro.runs.progress import Reporter  # noqa: PLC0415

    import_module("virnucpro.cli.config_file")  # is needed at the end, and must be there

    signal.signal(signal.SIGTERM, _terminate)
    is_first = executor != "launched" or Rank.here().index == 0
    quiet = quiet or not is_first
    reporter = Reporter(quiet=quiet)
    try:
        summary = run(reporter)
    except KeyboardInterrupt as stop:
        reporter.close()
        say("virnucpro: stopped; the same command continues the run", err=True)
        leave(TERMINATED if isinstance(stop, _Terminated) else STOPPED)
    finally:
        reporter.close()
    return summary, is_first


class _Terminated(KeyboardInterrupt):
    """SIGTERM came, as from Slurm; answered as a stop from the keyboard."""


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise _Terminated


def _list_problems(problems: list[str], records: int, out: Path) -> None:
    """Name what could not be processed: so many records, or mates of pairs that are called."""
    count = max(records, len(problems))
    for problem in problems[:_PROBLEMS_SHOWN]:
        say(f"virnucpro: not processed: {one_line(problem)}", err=True)
    if count > _PROBLEMS_SHOWN:
        say(
            f"virnucpro: {count - _PROBLEMS_SHOWN:,} more not processed; see {out}/summary.json",
            err=True,
        )
