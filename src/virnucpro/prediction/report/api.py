"""report.html of finished runs, drawn at the end of a run or later."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from virnucpro.bundles import Bundle, load_bundle
from virnucpro.bundles.foreign import read_short
from virnucpro.errors import BundleError, RunError, SettingsError, require
from virnucpro.files import as_text, check_place, write_whole
from virnucpro.prediction.outputs.paths import Outputs, SheetOutputs
from virnucpro.prediction.report.finished_runs import read_sample
from virnucpro.prediction.report.run_findings import Findings
from virnucpro.runs.run import MANIFEST_FILE, read_run
from virnucpro.sequences.inputs import AnyPath
from virnucpro.system.directories import checked_out
from virnucpro.system.forking import check_fork

_CARD_FILE = "README.md"
#: Largest card that is shown, in bytes; a hostile one would make drawing slow. `compact` has 9 kB.
_LONGEST_CARD = 1 << 15
#: A file in the directory of the runs of a sheet.
_SHEET_FILE = "samples.tsv"
#: A report drawn by virnucpro has this mark in its first bytes.
_BEGINNING, _MADE_BY = 4096, b'<meta name="generator" content="virnucpro '


def report(
    runs: Sequence[AnyPath] | AnyPath,
    out: AnyPath | None = None,
    *,
    bundle: AnyPath | None = None,
) -> Path:
    """Draw the report of a finished run of `predict`, or of several side by side.

    Args:
        runs: output directories, or the output directory of a sheet, with a `samples.tsv`.
        out: the page (default: `report.html` in the directory, if there is only one).
        bundle: directory of the bundle whose card is shown, if it cannot be found by name.

    Returns:
        the page.

    Raises:
        RunError: a directory holds no finished run of `predict`, or `out` exists and is not a
            report.
        SettingsError: there are several runs and no `out`.
        BundleError: `bundle` is not a bundle.
    """
    check_fork()
    given = [Path(runs)] if isinstance(runs, str | os.PathLike) else [Path(run) for run in runs]
    if not given:
        raise SettingsError("no run: give the output directory of virnucpro predict")
    if out is None and len(given) > 1:
        raise SettingsError("several runs: give -o FILE, where their report is to be written")
    page = given[0] / "report.html" if out is None else checked_out(out)
    runs_in = [_runs_in(place) for place in given]
    directories = [directory for whole, _ in runs_in for directory in whole]
    damaged = [directory.name for _, others in runs_in for directory in others]
    asked_for = None if bundle is None else load_bundle(bundle, is_checked=True)
    if out is not None or given[0].is_dir():  # else there is no run, and reading it fails below
        check_place(page)
    check_page(page)
    _draw(page, directories, asked_for, damaged)
    return page


def check_show() -> None:
    """Load the code that draws a report.

    Raises:
        SettingsError: it cannot be loaded.
    """
    to_do = "pip install --force-reinstall virnucpro, or give --no-report"
    require("the report", to_do, "virnucpro.prediction.report.page")


def show(outputs: Outputs, bundle: Bundle, found: Findings) -> None:
    """Draw the report of a finished run, if it is wanted and missing.

    Args:
        outputs: files of the run.
        bundle: bundle of the run.
        found: filled by the merge, if this process has merged the run.
    """
    page = outputs.path("report")
    if outputs.report and not page.is_file():
        _draw(page, [outputs.directory], bundle, found=found if found.is_complete else None)


def show_samples(
    outputs: SheetOutputs, samples: Iterable[str], damaged: Iterable[str], bundle: Bundle
) -> None:
    """Draw the page that compares the samples of a sheet and names the damaged ones."""
    runs = [outputs.directory / name for name in samples]
    _draw(outputs.path("report"), runs, bundle, list(damaged))


def _draw(
    page: Path,
    directories: Sequence[Path],
    bundle: Bundle | None,
    damaged: Sequence[str] = (),
    found: Findings | None = None,
) -> None:
    """Draw a page.

    Args:
        page: the file.
        directories: output directories of the runs.
        bundle: a bundle that some of the runs may have used.
        damaged: names of samples that are left out, because their files are damaged.
        found: what the merge found, if there is one run and this process has merged it.
    """
    from virnucpro.prediction.report.page import page_of  # noqa: PLC0415 (loads Altair)

    names = _names(directories)
    samples = [
        read_sample(directory, name, _card(directory, bundle), found)
        for directory, name in zip(directories, names, strict=True)
    ]
    content = page_of(samples, methods=_methods(directories), damaged=damaged)
    write_whole(page, content)


def _methods(directories: Sequence[Path]) -> str | None:
    """Return the methods paragraph of a run; None for several runs."""
    path = Outputs(directories[0]).path("methods")
    return path.read_text("utf-8") if len(directories) == 1 and path.is_file() else None


def _runs_in(place: Path) -> tuple[list[Path], list[Path]]:
    """Return the directory of a run, or those of the samples of a sheet: whole and damaged ones."""
    if (place / MANIFEST_FILE).exists() or not (place / _SHEET_FILE).is_file():
        return [place], []
    found: tuple[list[Path], list[Path]] = [], []
    for path in sorted(place.glob(f"*/{MANIFEST_FILE}")):
        manifest = read_run(path.parent)
        found[bool(manifest and manifest.problem)].append(path.parent)
    if not found[0]:
        raise RunError(f"{place}: has a {_SHEET_FILE} but no run; run virnucpro predict on it")
    return found


def _names(directories: Sequence[Path]) -> list[str]:
    """Return the name of each directory, or its path if another has the same name."""
    short = [as_text(directory.resolve().name) for directory in directories]
    counts = Counter(short)
    return [
        name if counts[name] == 1 else as_text(directory)
        for name, directory in zip(short, directories, strict=True)
    ]


def _card(directory: Path, bundle: Bundle | None) -> str:
    """Return the card of the bundle of a run; empty if it is not on this machine."""
    manifest = read_run(directory)
    if manifest is None:
        return ""
    wanted = manifest.binding.bundle_sha256
    if bundle is None or bundle.sha256 != wanted:
        try:
            bundle = load_bundle(manifest.binding.bundle.rsplit(" ", 1)[0], is_checked=True)
        except BundleError:
            return ""
    card = bundle.path / _CARD_FILE
    if bundle.sha256 != wanted or not card.is_file():
        return ""
    try:
        return read_short(card, _LONGEST_CARD).decode("utf-8", errors="replace")
    except OSError as error:
        return f"The card, {_CARD_FILE}, is not shown: {error.strerror}."


def check_page(page: Path) -> None:
    """Refuse to replace a file that is not a report.

    Raises:
        RunError: there is another file.
    """
    if page.is_file():
        with page.open("rb") as file:
            is_report = _MADE_BY in file.read(_BEGINNING)
    else:
        is_report = not page.exists()
    if not is_report:
        raise RunError(
            f"{page}: exists and is not a report of virnucpro; give another file with -o"
        )
