"""The command `virnucpro` and its exit status.

Exit status: 0 done; 1 failed, with one line that says why and what to do; 2 wrong usage; 3 done,
but some records, which are listed, could not be processed; 130 stopped from the keyboard; 143
stopped by SIGTERM.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli.bench import bench
from virnucpro.cli.calibrate import calibrate
from virnucpro.cli.cite import cite
from virnucpro.cli.console import FAILED, leave, say
from virnucpro.cli.doctor import doctor
from virnucpro.cli.embed import embed
from virnucpro.cli.evaluate import evaluate
from virnucpro.cli.models import models
from virnucpro.cli.option_sources import CommandGroup, ConfiguredCommand
from virnucpro.cli.predict import predict
from virnucpro.cli.report import report
from virnucpro.cli.schema import schema
from virnucpro.cli.train import train
from virnucpro.errors import VirnucproError, one_line
from virnucpro.system.caches import ready_caches
from virnucpro.system.threads import is_no_thread, no_thread

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: virnucpro predict reads.fastq.gz -o results, then look at "
    "results/records.tsv and results/viral.fasta. Rerun the same command to resume an interrupted "
    "run.",
)
for command in (predict, embed, train, evaluate, calibrate, report, bench, schema, doctor, cite):
    app.command(cls=ConfiguredCommand)(command)
app.add_typer(models, name="models")


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version  # noqa: PLC0415 (slow to import)

        say(f"virnucpro {version('virnucpro')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Find viral sequences in sequencing reads and contigs with language models.

    Each record is cut into chunks and translated in six frames; networks read the frames, and a
    small classifier tells viruses from other sequences. The default, `compact`, reads the six
    frames of a chunk together. The published weights of VirNucPro read each frame without a stop
    as protein and as DNA.
    """


def main() -> None:
    """Run the command line and report failures as one line."""
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"  # also no bold text and no redrawn lines
    try:
        Path.cwd()
    except FileNotFoundError:
        _fail("the current directory no longer exists; change to another")
    try:
        ready_caches()
        app(prog_name="virnucpro")
    except VirnucproError as error:
        _fail(str(error))
    except OSError as error:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        _fail(f"{where}{error.strerror or error}; fix this, then rerun to resume")
    except ImportError as error:
        _fail(f"the installation is broken ({error}); pip install --force-reinstall virnucpro")
    except MemoryError:
        _fail("out of memory; free or request more memory, then rerun to resume")
    except Exception as error:
        if os.environ.get("VIRNUCPRO_TRACEBACK"):
            raise
        if is_no_thread(error):
            _fail(no_thread())
        _fail(
            f"{type(error).__name__}: {error}; this is a bug in virnucpro; report it with the "
            "traceback that VIRNUCPRO_TRACEBACK=1 prints"
        )


def _fail(message: str) -> None:
    say(f"virnucpro: error: {one_line(message)}", err=True)
    leave(FAILED)
