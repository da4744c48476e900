"""`evaluate`: compare predictions with labels; measures, intervals and pictures."""

import os
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np

from virnucpro.errors import SettingsError, require
from virnucpro.evaluation.bootstrap import intervals
from virnucpro.evaluation.evaluation_files import refuse_other_content, write_files
from virnucpro.evaluation.matched_records import Part, Records, parts_of
from virnucpro.evaluation.matching import Matched, matched, predictions_path
from virnucpro.evaluation.reliability import reliability
from virnucpro.evaluation.result import FORMAT, Asked, Estimate, Evaluation, Group
from virnucpro.files import as_text
from virnucpro.sequences.labels import label_paths
from virnucpro.system.directories import checked_out
from virnucpro.system.forking import check_fork

#: Fewer sources of a class, or of a label if there are no classes, make intervals too narrow.
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
        predictions: output directory of `predict`, or a table with the columns `record` (or `id`),
            `score_column`, and optionally `probability`, `call` and `length` (in bases).
        labels: a table with the columns `record` (or `id`), `is_virus` or `class`, and optionally
            `source` (the genome that a record was cut from); or sequence files named virus* and
            other*, or their directory (docs/evaluate.md).
        out: directory for evaluation.json, evaluation.tsv, roc.png, pr.png and reliability.png;
            None to write nothing.
        score_column: column that ranks records, higher for viruses.
        bootstrap: number of resamples of sources for the intervals; 0 for no intervals.
        seed: seed of the resamples; the same seed gives the same bytes.

    Returns:
        the content of `evaluation.json`.

    Raises:
        InputError: a file cannot be read, labels contradict each other, or nothing matches.
        RunError: `out` holds something else.
        SettingsError: a setting is out of range, or scikit-learn or Matplotlib cannot be loaded.
    """
    check_fork()
    modules = "sklearn.metrics", *(["matplotlib.figure"] if out is not None else [])
    require("evaluate", "pip install scikit-learn matplotlib", *modules)
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
    from virnucpro.evaluation.measures import measure  # noqa: PLC0415 (loads scikit-learn)

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
    """Return what the reader should know."""
    notes = []
    if found.without_label:
        notes.append(f"{found.without_label:,} predictions have no label and are left out")
    if found.without_prediction:
        notes.append(f"{found.without_prediction:,} labelled records have no prediction")
    notes += found.label_notes
    if found.probability_column is None:
        notes.append("no column lies in 0 to 1, so there is no calibration and no call at one half")
    if "call" not in whole.records.calls:
        notes.append("the predictions have no column call, so calls, if any, are at one half")
    records = whole.records
    sources = {name.removeprefix("class "): groups[name].sources for name in whole.classes} or {
        "virus": records.take(np.flatnonzero(records.is_virus)).sources,
        "other": records.take(np.flatnonzero(~records.is_virus)).sources,
    }
    few = [f"{name} {count}" for name, count in sources.items() if count < _FEW_SOURCES]
    if few and asked.bootstrap:
        notes.append(f"intervals are too narrow, as there are few sources: {', '.join(few)}")
    return notes
