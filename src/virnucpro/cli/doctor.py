"""`virnucpro doctor`."""

from typing import TYPE_CHECKING, Annotated

import typer

from virnucpro.cli import parameters
from virnucpro.cli.console import FAILED, say
from virnucpro.errors import SettingsError

if TYPE_CHECKING:
    from rich.table import Table

    from virnucpro.doctor import Report

#: Width of the tables in columns if the output is not a terminal.
_FILE_WIDTH = 130
_GIB = 2**30


def doctor(
    json: Annotated[
        bool, typer.Option("--json", help="Print the whole report as JSON instead.")
    ] = False,
    quiet: parameters.Quiet = False,
) -> None:
    """Check this machine and installation, and show how to fix problems.

    Exit status 0 means that predict runs here with the bundle compact, 1 that it does not.
    """
    from virnucpro.files import as_json  # noqa: PLC0415
    from virnucpro.system.terminal import Terminal  # noqa: PLC0415 (Rich, which --help does without)

    try:
        from virnucpro.doctor import doctor as look  # noqa: PLC0415 (loads PyTorch)
    except (ImportError, OSError) as error:
        raise SettingsError(
            f"the installation is broken ({error}); pip install --force-reinstall virnucpro"
        ) from error

    report = look()
    console = Terminal(_FILE_WIDTH, soft_wrap=True, quiet=quiet or json)
    if json:
        say(as_json(report).decode(), end="")
    console.print(f"virnucpro {report.virnucpro} on {report.platform}")
    console.print(
        f"{report.cores} CPU cores ({report.instructions}); extras: {_extras(report)}\n",
    )
    for table in (_packages(report), _devices(report), _weights(report), _places(report)):
        console.print(table)
    for problem in report.problems:
        if not json:
            say(f"problem: {problem.what}; to do: {problem.to_do}", err=quiet)
    can = "runs here" if report.can_predict else "does not run here"
    console.print(f"virnucpro predict {can}")
    if not report.can_predict:
        raise typer.Exit(FAILED)


def _extras(report: "Report") -> str:
    return ", ".join(
        name if is_installed else f"{name} is not installed (pip install 'virnucpro[{name}]')"
        for name, is_installed in report.extras.items()
    )


def _packages(report: "Report") -> "Table":
    table = _table("", "version", "")
    for package in report.packages:
        verdict = "" if package.is_supported else "too old"
        table.add_row(package.name, package.version or "none", verdict)
    return table


def _devices(report: "Report") -> "Table":
    table = _table("device", "kind", "GiB", "free", "precisions (auto first)", "computed with")
    for found in report.devices:
        others = [name for name in found.precisions if name != found.default]
        table.add_row(
            found.name,
            found.kind,
            f"{found.memory / _GIB:.1f}",
            f"{found.free / _GIB:.1f}",
            ", ".join([found.default, *others]),
            ", else ".join(found.ways),
        )
    return table


def _weights(report: "Report") -> "Table":
    table = _table("bundle or encoder", "where", "")
    for found in report.weights:
        intact = "intact" if found.checked == "digests" else "sizes are right"
        table.add_row(found.name, found.path, "damaged" if found.fault else intact)
    return table


def _places(report: "Report") -> "Table":
    table = _table("", "where", "GiB", "free on disk")
    for found in report.places:
        size = "" if found.bytes is None else f"{found.bytes / _GIB:.2f}"
        more = "more than " if found.is_partial else ""
        table.add_row(found.what, found.path, more + size, f"{found.free / _GIB:,.0f}")
    return table


def _table(*names: str) -> "Table":
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=SIMPLE_HEAD)
    for name in names:
        table.add_column(name, overflow="fold")
    return table
