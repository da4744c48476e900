"""`virnucpro models`: bundles and lone encoders of this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from virnucpro.cli import completion, parameters
from virnucpro.cli.console import say
from virnucpro.cli.option_sources import ConfiguredCommand
from virnucpro.cli.verify import verify
from virnucpro.errors import BundleError, printable

if TYPE_CHECKING:
    from virnucpro.bundles import Bundle, Model

models = typer.Typer(
    no_args_is_help=True,
    help="Bundles and lone encoders of this machine: list, fetch, add, path, verify.",
)


@models.command("list", cls=ConfiguredCommand)
def list_() -> None:
    """List the names for `predict --bundle` and `embed --model`, and what can be fetched."""
    from virnucpro.bundles import Bundle  # noqa: PLC0415 (loads PyTorch)
    from virnucpro.bundles.bundle_files import check_sizes  # noqa: PLC0415
    from virnucpro.bundles.registry import ENCODERS, PUBLISHED  # noqa: PLC0415
    from virnucpro.bundles.store import EMBEDDED, directories  # noqa: PLC0415
    from virnucpro.bundles.stored_encoder import load  # noqa: PLC0415

    here = [*EMBEDDED, *directories()]
    for name in here:
        try:
            found = load(name, is_checked=True)
            if isinstance(found, Bundle):
                check_sizes(found.path, found.manifest.files)
                lengths = ", ".join(map(str, found.manifest.chunk_lengths))
                about = f"{found.manifest.version}, chunks of {lengths} bp"
                _say(name, "bundle", about, found.path)
            else:
                check_sizes(found.path, found.files)
                about = f"{found.config.layers} layers, width {found.config.width}"
                _say(name, found.kind, about, found.path)
        except BundleError as error:
            _say(name, "damaged", error)
    kinds = dict.fromkeys(PUBLISHED, "bundle") | {name: x.kind for name, x in ENCODERS.items()}
    for name, kind in kinds.items():
        if name not in here:
            _say(name, kind, f"not here: virnucpro models fetch {name}")


def _say(*columns: object) -> None:
    widths = (20, 9, 36, 0)
    line = " ".join(
        f"{printable(str(column)):<{width}}" for column, width in zip(columns, widths, strict=False)
    )
    say(line.rstrip())


@models.command(cls=ConfiguredCommand)
def path(
    name: Annotated[
        str,
        typer.Argument(help="Name of the bundle or encoder.", autocompletion=completion.everything),
    ],
) -> None:
    """Check the digests of a bundle or encoder and show its directory."""
    from virnucpro.bundles.stored_encoder import load  # noqa: PLC0415 (loads PyTorch)

    say(load(name).path)


@models.command(cls=ConfiguredCommand)
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            help="virnucpro-300, virnucpro-500, or an encoder such as esmc-300m (see list)."
        ),
    ],
    quiet: parameters.Quiet = False,
) -> None:
    """Fetch a published bundle or encoder; an interrupted download resumes."""
    from virnucpro.bundles.fetch import fetch as fetch_published  # noqa: PLC0415 (loads PyTorch)

    def on_wait(what: str) -> None:
        if not quiet:
            say(what, err=True)

    _say_made(name, fetch_published(name, on_wait), quiet=quiet)


@models.command(cls=ConfiguredCommand)
def add(
    name: Annotated[str, typer.Argument(help="Name of the new bundle or encoder.")],
    files: Annotated[
        list[Path],
        typer.Argument(
            help="In any order: an ESM-2 or ESM C (directory as published, or a file), the "
            "directory of a DNABERT-S with tokenizer.json, and a head (500_model.pth); or one of "
            "the encoders alone. An encoder that is already here can be given by its name."
        ),
    ],
    chunk_length: Annotated[
        int | None,
        typer.Option(help="Bases in a chunk of this head (default: known for published heads)."),
    ] = None,
    quiet: parameters.Quiet = False,
) -> None:
    """Make a bundle or a separate encoder from published files; nothing in them is executed."""
    from virnucpro.bundles.assemble import add_bundle, add_encoder  # noqa: PLC0415 (PyTorch)

    if len(files) == 1 and chunk_length is None:
        _say_made(name, add_encoder(name, files[0]), quiet=quiet)
    else:
        _say_made(name, add_bundle(name, files, chunk_length), quiet=quiet)


def _say_made(name: str, made: "Bundle | Model", *, quiet: bool) -> None:
    if quiet:
        return
    from virnucpro.bundles import Bundle  # noqa: PLC0415 (loads PyTorch)
    from virnucpro.bundles.bundle_files import read_manifest  # noqa: PLC0415

    for part, origin in read_manifest(made.path)[0].provenance.items():
        say(f"{part}: {origin}")
    use = "predict --bundle" if isinstance(made, Bundle) else "embed --model"
    say(f"use it with virnucpro {use} {name} ({made.path})")


models.command(cls=ConfiguredCommand)(verify)
