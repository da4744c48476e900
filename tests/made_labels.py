"""Small tables of predictions and labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from virnucpro.evaluation.matched_records import Records


def write_table(path: Path, header: str, *rows: str) -> Path:
    """Write a table; spaces stand for tabs, `_` for an empty cell."""
    lines = (" ".join("" if c == "_" else c for c in row.split(" ")) for row in (header, *rows))
    path.write_text("".join(line.replace(" ", "\t") + "\n" for line in lines))
    return path


def records_of(
    scores: Sequence[float | None],
    is_virus: Sequence[int],
    sources: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    lengths: Sequence[int] | None = None,
) -> Records:
    """Return records whose score is their probability; None is unscored."""
    rows = pl.DataFrame(
        {
            "record": [f"r{i}" for i in range(len(scores))],
            "score": pl.Series(scores, dtype=pl.Float64),
            "probability": pl.Series(scores, dtype=pl.Float64),
            "is_virus": np.array(is_virus, dtype=np.bool_),
            "class": pl.Series(classes or [None] * len(scores), dtype=pl.String),
            "source": sources or [f"r{i}" for i in range(len(scores))],
        }
    )
    if lengths is not None:
        rows = rows.with_columns(length=pl.Series(lengths, dtype=pl.Float64))
    return Records.of(rows, has_probability=True)


def random_records(n: int, seed: int = 5) -> Records:
    """Return records with ties, unscored ones, classes and lengths."""
    random = np.random.default_rng(seed)
    is_virus = random.random(n) < 0.4
    scores = np.round(np.clip(random.normal(0.4 + 0.2 * is_virus, 0.2), 0, 1), 2)
    unscored = random.random(n) < 0.2
    kinds = random.integers(0, 2, n)
    return records_of(
        [None if missing else float(s) for s, missing in zip(scores, unscored, strict=True)],
        is_virus.astype(int).tolist(),
        [f"s{i}" for i in random.integers(0, n // 4, n)],
        [f"{'virus' if y else 'other'}_{k}" for y, k in zip(is_virus, kinds, strict=True)],
        random.integers(100, 2000, n).tolist(),
    )
