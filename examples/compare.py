"""Compare calls with the truth: how many of the example records were called right.

python examples/compare.py RESULTS truth.tsv
"""

import sys
from pathlib import Path

import polars as pl

CALLED = pl.col("call") != "unscored"
RIGHT = (pl.col("call") == "virus") == (pl.col("is_virus") == 1)


def main() -> None:
    """Print a line a class and one for all."""
    results, truth = (Path(argument) for argument in sys.argv[1:])
    records = pl.read_csv(results / "records.tsv", separator="\t", infer_schema=False)
    joined = records.join(pl.read_csv(truth, separator="\t"), on="record")
    measures = {
        "records": pl.len(),
        "called": CALLED.sum(),
        "right": (CALLED & RIGHT).sum(),
        "virus": (pl.col("call") == "virus").sum(),
    }
    rows = joined.group_by("class").agg(**measures).sort("class").rows()
    rows.append(("all", *joined.select(**measures).row(0)))
    print(f"{'truth':<24}{'records':>8}{'called':>8}{'right':>8}{'called virus':>14}")
    for kind, count, called, right, virus in rows:
        print(f"{kind:<24}{count:>8}{called:>8}{right:>8}{virus:>14}")
    _, count, called, right, _ = rows[-1]
    print(f"{right} of {called} called records are right; {count - called} have no open frame.")


if __name__ == "__main__":
    main()
