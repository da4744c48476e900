"""A finished run as the report needs it."""

from dataclasses import dataclass
from pathlib import Path

from virnucpro.errors import RunError
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.summary import Summary
from virnucpro.prediction.report.aggregate import Found, aggregate
from virnucpro.prediction.report.reading import TO_DO
from virnucpro.runs.run import RunManifest, read_json, read_run


@dataclass(frozen=True)
class Sample:
    """A finished run of `predict`.

    Attributes:
        name: what the report calls it.
        manifest: its run.json.
        summary: its summary.json.
        found: what its tables hold.
        card: what its bundle says of itself, in Markdown; empty where it is not at hand.
    """

    name: str
    manifest: RunManifest
    summary: Summary
    found: Found
    card: str = ""


def finished_run(directory: Path) -> RunManifest:
    """Return the run.json of a finished run of `predict`.

    Raises:
        RunError: when the directory holds none.
    """
    manifest = read_run(directory)
    if manifest is None:
        raise RunError(
            f"{directory}: holds no run of virnucpro (there is no run.json); give the output "
            "directory of virnucpro predict"
        )
    if manifest.binding.command != "predict":
        raise RunError(
            f"{directory}: a run of virnucpro {manifest.binding.command}, of which there is no "
            "report; give one of virnucpro predict"
        )
    if manifest.status != "finished":
        raise RunError(
            f"{directory}: is not finished; the command that made it continues it, then ask again"
        )
    return manifest


def read_sample(directory: Path, name: str, card: str = "") -> Sample:
    """Read a finished run of `predict`.

    Args:
        directory: its output directory.
        name: what to call it.
        card: what its bundle says of itself, in Markdown.

    Raises:
        RunError: when the directory holds none, or a file of it is missing or damaged.
    """
    manifest = finished_run(directory)
    outputs = Outputs(directory, compressed=bool(manifest.binding.settings.get("compressed")))
    summary = read_json(outputs.path("summary"), Summary, TO_DO)
    return Sample(name, manifest, summary, aggregate(outputs), card)
