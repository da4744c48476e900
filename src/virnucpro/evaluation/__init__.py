"""How good predictions are on labelled records: measures, intervals, pictures."""

import os
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np

from virnucpro.errors import SettingsError, require
from virnucpro.evaluation.bootstrap import intervals
from virnucpro.evaluation.files import refuse_other_content, write_files
from virnucpro.evaluation.records import Part, Records, parts_of
from virnucpro.evaluation.report import FORMAT, Asked, Estimate, Evaluation, Group
from virnucpro.evaluation.tables import Matched, label_paths, matched, predictions_path
from virnucpro.files import as_text
from virnucpro.system.directories import checked_out
from virnucpro.system.forking import check_fork

__all__ = ["Evaluation", "evaluate"]

#: A class, or a label without classes, with fewer sources gets a note: do not trust its intervals.
_FEW_SOURCES = 20


def evaluate(
    predictions: str | os.PathLike[str],
    labels: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    score_column: str = "p_virus",
    bootstrap: int = 1000,
    seed: int = 1,
) -> Evaluation:
    """Compare predictions with labels.

    Args:
        predictions: output directory of `predict`, or a table with the columns `record` and
            `score_column`, and, if there are such, `probability`, `call` and `length` (bases).
        labels: a table with the columns `record` or `id`, `is_virus` (1, 0, true, false, virus,
            other), and, if there are such, `class` and `source` (the genome a record was cut
            from); or sequence files named virus* and other*, or their directory.
        out: where to write evaluation.json, evaluation.tsv, roc.png, pr.png and reliability.png;
            by default nothing is written.
        score_column: what ranks records; higher is more viral.
        bootstrap: resamples of sources for the intervals; 0 for none.
        seed: of the resamples; the same seed gives the same bytes.

    Returns:
        what `evaluation.json` holds.

    Raises:
        InputError: a file cannot be read, labels contradict each other, or nothing matches.
        RunError: `out` holds something else.
        SettingsError: a setting has no meaning, or scikit-learn or matplotlib are missing.
    """
    check_fork()
    require("evaluate", "pip install 'virnucpro[train]'", "sklearn.metrics", "matplotlib.figure")
    directory = None if out is None else checked_out(out)
    if bootstrap < 0 or seed < 0:
        raise SettingsError(f"--bootstrap {bootstrap}, --seed {seed}: give 0 or more")
    table, label_files = predictions_path(Path(predictions)), label_paths(labels)
    found = matched(table, label_files, score_column)
    asked = Asked(
        predictions=as_text(table),
        predictions_sha256=sha256(table.read_bytes()).hexdigest(),
        labels=[as_text(path) for path in label_files],
        labels_sha256=[sha256(path.read_bytes()).hexdigest() for path in label_files],
        score_column=score_column,
        bootstrap=bootstrap,
        seed=seed,
    )
    if directory is not None:
        refuse_other_content(directory, asked)
        directory.mkdir(parents=True, exist_ok=True)
    records = Records.of(found.rows, has_probability=found.probability_column is not None)
    evaluation = _evaluated(records, found, asked)
    if directory is not None:
        write_files(directory, evaluation, records)
    return evaluation


def _evaluated(records: Records, found: Matched, asked: Asked) -> Evaluation:
    from virnucpro.evaluation.calibration import reliability  # noqa: PLC0415 (an extra)
    from virnucpro.evaluation.measures import measure  # noqa: PLC0415

    parts = list(parts_of(records))
    views: dict[str, dict[str, Group]] = {part.view: {} for part in parts}
    all_bounds = intervals(records, parts, asked.bootstrap, asked.seed)
    for part, bounds in zip(parts, all_bounds, strict=True):
        for name, measures in measure(part).items():
            members = part.records
            if name in part.classes:
                members = members.take(np.flatnonzero(part.classes[name]))
            views[part.view][name] = Group(
                records=len(members),
                virus=int(members.is_virus.sum()),
                sources=members.sources,
                measures={
                    metric: Estimate.of(value, bounds.get(name, {}).get(metric))
                    for metric, value in measures.items()
                },
            )
    return Evaluation(
        format=FORMAT,
        virnucpro=version("virnucpro"),
        asked=asked,
        probability_column=found.probability_column,
        without_label=found.without_label,
        without_prediction=found.without_prediction,
        views=views,
        reliability=reliability(records.probability, records.is_virus),
        notes=_notes(found, parts[0], views["all"], asked),
    )


def _notes(found: Matched, whole: Part, groups: dict[str, Group], asked: Asked) -> list[str]:
    """Say what a reader should know."""
    notes = []
    if found.without_label:
        notes.append(f"{found.without_label:,} rows of predictions have no label and do not count")
    if found.without_prediction:
        notes.append(f"{found.without_prediction:,} labelled records have no prediction")
    if found.further_labels:
        notes.append(
            f"{found.further_labels:,} labels give a record another class or source than one "
            "before, which counts"
        )
    if found.probability_column is None:
        notes.append("no column lies in 0 to 1: no calibration, no calls at one half")
    if "call" not in whole.records.calls:
        notes.append("the predictions have no column call: only calls at one half, if any")
    records = whole.records
    sources = {name.removeprefix("class "): groups[name].sources for name in whole.classes} or {
        "virus": records.take(np.flatnonzero(records.is_virus)).sources,
        "other": records.take(np.flatnonzero(~records.is_virus)).sources,
    }
    few = [f"{name} {count}" for name, count in sources.items() if count < _FEW_SOURCES]
    if few and asked.bootstrap:
        notes.append(f"few sources, so that intervals are too narrow: {', '.join(few)}")
    return notes
