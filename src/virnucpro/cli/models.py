"""`virnucpro models`: bundles of this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from virnucpro.bundles import Bundle

models = typer.Typer(no_args_is_help=True, help="Bundles of this machine: list, fetch, add, path.")

Name = Annotated[str, typer.Argument(help="Name of the bundle.")]


@models.command("list")
def list_() -> None:
    """List the bundles that `predict --bundle` takes by name."""
    from virnucpro.bundles import load_bundle  # noqa: PLC0415 (loads PyTorch)
    from virnucpro.bundles.registry import PUBLISHED  # noqa: PLC0415
    from virnucpro.bundles.store import EMBEDDED, added_bundles  # noqa: PLC0415

    present = [*EMBEDDED, *added_bundles()]
    for name in present:
        bundle = load_bundle(name, is_checked=True)
        lengths = ", ".join(map(str, bundle.manifest.chunk_lengths))
        typer.echo(f"{name:<16}{bundle.manifest.version:<10}chunks of {lengths} bp  {bundle.path}")
    for name in PUBLISHED:
        if name not in present:
            typer.echo(f"{name:<16}{'-':<10}not here: virnucpro models fetch {name}")


@models.command()
def path(name: Name) -> None:
    """Say where a bundle lies; its files are compared with their digests first."""
    from virnucpro.bundles import load_bundle  # noqa: PLC0415 (loads PyTorch)

    typer.echo(load_bundle(name).path)


@models.command()
def fetch(
    name: Annotated[str, typer.Argument(help="virnucpro-300 or virnucpro-500.")],
) -> None:
    """Fetch the files of a published bundle; an interrupted one goes on where it stopped."""
    from virnucpro.bundles.fetch import fetch_bundle  # noqa: PLC0415 (loads PyTorch)

    _say_added(fetch_bundle(name))


@models.command()
def add(
    name: Name,
    files: Annotated[
        list[Path],
        typer.Argument(
            help="In any order: an ESM-2 (directory in Hugging Face's layout, or a file), the "
            "directory of a DNABERT-S with tokenizer.json, and a head (500_model.pth)."
        ),
    ],
    chunk_length: Annotated[
        int | None,
        typer.Option(help="Bases of a chunk that the head was trained for; known of published."),
    ] = None,
) -> None:
    """Make a bundle of published files; nothing in them is executed."""
    from virnucpro.bundles.assemble import add_bundle  # noqa: PLC0415 (loads PyTorch)

    _say_added(add_bundle(name, files, chunk_length))


def _say_added(bundle: "Bundle") -> None:
    for part, said in bundle.manifest.provenance.items():
        typer.echo(f"{part}: {said}")
    typer.echo(f"virnucpro predict --bundle {bundle.manifest.name} takes it now ({bundle.path})")
