"""`calibrate`: make a calibrated bundle from a finished run and labels."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl

from virnucpro.bundles import Bundle, load_bundle
from virnucpro.bundles.assemble import bundle_with_head, place_for_calibrated, with_calibration
from virnucpro.bundles.manifest import Calibration
from virnucpro.calibration.fit import PREVALENCE, Fit, fit
from virnucpro.errors import InputError, RunError, SettingsError, reading
from virnucpro.runs.binding import Binding
from virnucpro.runs.run import read_run
from virnucpro.sequences.labels import label_paths, read_labels
from virnucpro.sequences.tsv import quoted
from virnucpro.system.directories import checked_out
from virnucpro.system.forking import check_fork

if TYPE_CHECKING:
    from virnucpro.sequences.frames import FrameKind


def calibrate(
    run: str | os.PathLike[str],
    labels: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    bundle: str | os.PathLike[str] = "compact",
    head: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    name: str | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Fit a calibration on a finished run, and make a copy of its bundle with that calibration.

    Args:
        run: output directory of `predict`.
        labels: a table with the columns `record` (or `id`), `is_virus` or `class`, and optionally
            `source` (the genome that a record was cut from; cross-validation leaves out all
            records of a genome together); or sequence files named virus* and other*, or their
            directory (docs/evaluate.md).
        bundle: bundle of the run; its files are linked.
        head: head of the run, if it replaced the bundle's own.
        out: directory of the new bundle; or
        name: name of the new bundle, for `predict --bundle`.
        on_note: called with each line that the user should know.

    Returns:
        the new bundle; `manifest.calibration.metrics` holds how well the calibration fits.

    Raises:
        InputError: labels cannot be read, or are too few.
        RunError: the run is not finished, or was made with another bundle.
        BundleError: the bundle is damaged, or the place of the new one is taken.
        SettingsError: not exactly one of `out` and `name` is given.
    """
    check_fork()
    if (out is None) == (name is None):
        raise SettingsError("give either a directory (-o) or a name (--name) for the new bundle")
    directory = None if out is None else checked_out(out)
    place_for_calibrated(name, directory)
    if head is not None:
        bundle = bundle_with_head(os.fspath(bundle), Path(head))
    loaded = load_bundle(bundle, is_checked=True)  # linking compares its files
    binding = _binding_of(Path(run), loaded)
    rows, notes = labelled_scores(Path(run), binding, label_paths(labels))
    try:
        fitted = fit(
            rows["p_virus"].to_numpy(),
            rows["scored_chunks"].to_numpy(),
            rows["chunk_bases"].to_numpy(),
            rows["is_virus"].to_numpy(),
            rows["source"].rank("dense").to_numpy().astype(np.int64),
        )
    except ValueError as error:
        raise InputError(f"{run}: {error}; label more records") from error
    for note in notes:
        on_note(note)
    calibration = _calibration(fitted, binding)
    return with_calibration(loaded, calibration, name=name, directory=directory)


def _binding_of(run: Path, bundle: Bundle) -> Binding:
    """Return the binding of a finished run that was made with this bundle."""
    manifest = read_run(run)
    if manifest is None or manifest.binding.command != "predict":
        raise RunError(f"{run}: holds no run of predict; give the output directory of predict")
    if manifest.status != "finished":
        raise RunError(f"{run}: is not finished; rerun its command, then calibrate")
    binding = manifest.binding
    if binding.bundle_sha256 != bundle.sha256:
        raise RunError(
            f"{run}: was made with {binding.bundle} (manifest {binding.bundle_sha256[:12]}), not "
            f"with {bundle.path} ({bundle.sha256[:12]}); give the bundle of the run"
        )
    return binding


def labelled_scores(
    run: Path, binding: Binding, labels: Sequence[Path]
) -> tuple[pl.DataFrame, list[str]]:
    """Return the records that have a score and a label, and notes on those that lack one.

    Columns are `p_virus`, `scored_chunks`, `chunk_bases` (the mean), `is_virus` and `source`.
    """
    suffix = ".tsv.gz" if binding.settings["compressed"] else ".tsv"
    columns = {"record": pl.String, "chunks": pl.Int64, "p_virus": pl.Float64}
    records = _columns(run / f"records{suffix}", columns)
    columns = {"start": pl.Int64, "end": pl.Int64, "call": pl.String}
    chunks = _columns(run / f"chunks{suffix}", columns)
    if records["chunks"].sum() != len(chunks):
        raise RunError(f"{run}: its tables lack some chunks; calibrate on a complete run")
    owner = np.repeat(np.arange(len(records)), records["chunks"].to_numpy())
    is_scored = (chunks["call"] != "unscored").to_numpy()
    scored = np.bincount(owner[is_scored], minlength=len(records))
    spans = np.bincount(owner, chunks["end"] - chunks["start"], len(records)).astype(np.int64)
    bases = spans // np.maximum(records["chunks"].to_numpy(), 1)
    given = read_labels(labels)
    labelled = given.with_sources
    known = records.with_columns(scored_chunks=scored, chunk_bases=bases)
    with_score = known.filter(pl.col("p_virus").is_not_null())
    found = with_score.join(labelled, on="record", maintain_order="left")
    if found.is_empty():
        examples = ", ".join(quoted(x["record"][0]) for x in (records, labelled) if len(x))
        raise InputError(
            f"{labels[0]}: labels no scored record of {run}; are ids the same ({examples})?"
        )
    notes = list(given.notes)
    if unlabelled := len(with_score) - len(found):
        notes.append(f"{unlabelled:,} scored records have no label and are left out")
    if missing := len(labelled.join(records, on="record", how="anti")):
        notes.append(f"{missing:,} labelled records are not in the run")
    return found, notes


def _columns(path: Path, types: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    with reading(path, "rerun the run's command", RunError):
        return pl.read_csv(
            path, separator="\t", quote_char=None, columns=list(types), schema_overrides=types
        )


def _calibration(fitted: Fit, binding: Binding) -> Calibration:
    """Return the manifest's calibration: the lines and the data they were fitted on."""
    lines = [
        f"from {line.chunks} scored chunks{f' of {line.bases} bases' * bool(line.bases)} on "
        f"{line.method}"
        for line in fitted.lines
    ]
    inputs = ", ".join(Path(each.path).name for each in binding.inputs)
    data = f"{'; '.join(lines)}; {binding.precision} on {binding.device}; {inputs}"
    return Calibration(
        lines=tuple(line.described() for line in fitted.lines),
        prevalence=PREVALENCE,
        chunk_length=int(binding.settings["chunk_length"]),
        frames=cast("FrameKind", binding.settings["frames"]),
        data=data[:1000],
        metrics=fitted.metrics,
    )
