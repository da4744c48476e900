"""The programs that are compared: how each is called, and what its output says of each read."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl

#: Seeker's own command gives two decimals; the same scores in full.
SEEKER = """
import sys
from seeker import SeekerFasta
scores = SeekerFasta(sys.argv[1], load_seqs=False).scores
with open(sys.argv[2], "w") as table:
    table.writelines(f"{name}\\t{sum(s) / len(s)}\\n" for name, s in scores.items())
"""


class Task(NamedTuple):
    """One run of a program.

    Attributes:
        programs: where its environment has its commands.
        reads: plain FASTA.
        out: an empty directory for what it writes.
        shortest: bases of the shortest read.
        bundle: for virnucpro.
    """

    programs: Path
    reads: Path
    out: Path
    shortest: int
    bundle: str


class Peer(NamedTuple):
    """How a program is run and read.

    Attributes:
        command: what to run.
        scores: reads what it wrote: columns `name` and `score`, higher for viruses.
    """

    command: Callable[[Task], list[object]]
    scores: Callable[[Path], pl.DataFrame]


def deepmicroclass(task: Task) -> list[object]:
    """Return its command."""
    program = task.programs / "DeepMicroClass"
    options = ("-d", "cpu", "-e", "onehot", "-md", "hybrid")
    return [program, "predict", "-i", task.reads, "-o", task.out, *options]


def deepmicroclass_scores(out: Path) -> pl.DataFrame:
    """Return its two classes of viruses, added; reads that it skips have no best choice."""
    table = pl.read_csv(next(out.glob("*_pred_onehot_hybrid.tsv")), separator="\t")
    return table.filter(pl.col("best_choice").is_not_null()).select(
        name="Sequence Name", score=pl.col("EukaryoteVirus") + pl.col("ProkaryoteVirus")
    )


def jaeger(task: Task) -> list[object]:
    """Return its command: a read is one window."""
    window = ("--fsize", task.shortest, "--stride", task.shortest)
    program = task.programs / "jaeger"
    return [program, "predict", "-i", task.reads, "-o", task.out, *window, "--cpu", "-f"]


def jaeger_scores(out: Path) -> pl.DataFrame:
    """Return the log odds of a phage among its four classes."""
    tables = out.rglob("*_jaeger.tsv")
    table = pl.read_csv(
        next(path for path in tables if "_phages_" not in path.name), separator="\t"
    )
    others = [pl.col(f"{name}_score").exp() for name in ("bacteria", "eukarya", "archaea")]
    return table.select(
        name="contig_id", score=pl.col("phage_score") - pl.sum_horizontal(others).log()
    )


def seeker(task: Task) -> list[object]:
    """Return its command."""
    return [task.programs / "python", "-c", SEEKER, task.reads, task.out / "scores.tsv"]


def seeker_scores(out: Path) -> pl.DataFrame:
    """Return its scores of phage against bacteria."""
    return pl.read_csv(
        out / "scores.tsv", separator="\t", has_header=False, new_columns=["name", "score"]
    )


def own(task: Task) -> list[object]:
    """Return virnucpro's command."""
    options = ("--bundle", task.bundle, "--device", "cpu", "--quiet", "--no-report")
    return [sys.executable, "-m", "virnucpro", "predict", task.reads, "-o", task.out, *options]


def own_scores(out: Path) -> pl.DataFrame:
    """Return virnucpro's scores."""
    table = pl.read_csv(
        out / "records.tsv", separator="\t", schema_overrides={"p_virus": pl.Float64}
    )
    return table.select(name="record", score="p_virus")


PEERS = {
    "deepmicroclass": Peer(deepmicroclass, deepmicroclass_scores),
    "jaeger": Peer(jaeger, jaeger_scores),
    "seeker": Peer(seeker, seeker_scores),
    "virnucpro": Peer(own, own_scores),
}
