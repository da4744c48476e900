"""The results of the samples of a sheet: one table of samples and one of all their records."""

import gzip
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from virnucpro.classify import CALL_NAMES
from virnucpro.errors import RunError, one_line
from virnucpro.files import remove_partial
from virnucpro.prediction.outputs.columns import TABLES
from virnucpro.prediction.outputs.counts import NO_OPEN_FRAME, NOT_PROCESSED
from virnucpro.prediction.outputs.paths import SheetOutputs
from virnucpro.prediction.outputs.summary import Summary
from virnucpro.runs.partial_files import PartialFiles
from virnucpro.system.directories import Lock

#: Beginning of each table of a sheet.
_BEGINNINGS = {"records": b"sample\trecord\tlength\t", "samples": b"sample\trecords\tbases\t"}
#: Seconds that a launched process waits for the one that writes the tables.
_WRITING_SECONDS = 600.0
_COLUMNS = (
    "sample", "records", "bases", "chunks", "open_frames", "virus", "other", "unscored",
    "no_open_frame", "not_processed", "prevalence", "expected_viral", "seconds",
    "records_per_second", "problem",
)  # fmt: skip


@dataclass(frozen=True)
class SampleSummaries:
    """The results of the samples of a sheet.

    Attributes:
        samples: summary of each sample by name, in the order of the sheet.
        damaged: problem of each sample whose files cannot be read to the end, by name.
    """

    samples: Mapping[str, Summary]
    damaged: Mapping[str, str] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """Number of records of all samples."""
        return sum(summary.records for summary in self.samples.values())

    @property
    def calls(self) -> dict[str, int]:
        """Number of records of all samples by call."""
        return _sums(CALL_NAMES, [summary.calls for summary in self.samples.values()])

    @property
    def unscored(self) -> dict[str, int]:
        """Number of unscored records of all samples by reason."""
        reasons = (NO_OPEN_FRAME, NOT_PROCESSED)
        return _sums(reasons, [summary.unscored for summary in self.samples.values()])

    @property
    def problems(self) -> list[str]:
        """A line for each damaged sample, and for up to 1,000 unprocessed records of each other."""
        return [f"{name}: {problem}" for name, problem in self.damaged.items()] + [
            f"{name}: {problem}"
            for name, summary in self.samples.items()
            for problem in summary.problems
        ]

    def table(self) -> bytes:
        """Return the content of `samples.tsv`; damaged samples come last."""
        rows = [_COLUMNS, *(_row(name, summary) for name, summary in self.samples.items())]
        nothing = [""] * (len(_COLUMNS) - 2)
        rows += [[name, *nothing, one_line(why)] for name, why in self.damaged.items()]
        return "".join("\t".join(row) + "\n" for row in rows).encode()


def _sums(names: tuple[str, ...], parts: list[dict[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for part in parts:
        total.update(part)
    return {name: total[name] for name in names}


def _row(name: str, summary: Summary) -> list[str]:
    prevalence, expected = summary.prevalence, summary.records_expected_viral
    counts = (
        summary.records, summary.bases, summary.chunks, summary.open_frames,
        *(summary.calls[call] for call in ("virus", "other", "unscored")),
        *(summary.unscored[reason] for reason in (NO_OPEN_FRAME, NOT_PROCESSED)),
    )  # fmt: skip
    return [
        name,
        *map(str, counts),
        "" if prevalence is None else f"{prevalence:.6f}",
        "" if expected is None else f"{expected:.3f}",
        f"{summary.seconds['scoring'] + summary.seconds['tables']:.3f}",
        f"{summary.records_per_second:.1f}",
        "",
    ]


def check_directory(outputs: SheetOutputs, samples: Iterable[str]) -> None:
    """Refuse to replace files that no sheet wrote.

    Args:
        outputs: the files of the sheet.
        samples: names of the samples.

    Raises:
        RunError: the directory holds a run of its own, or tables that no sheet wrote, or the folder
            of a sample is a link.
    """
    directory = outputs.directory
    if (directory / "run.json").is_file():
        raise RunError(f"{directory}: holds a run without samples; give another directory")
    for name, beginning in _BEGINNINGS.items():
        path = outputs.path(name)
        if os.path.lexists(path) and not _begins(path, beginning):
            raise RunError(f"{path}: was not written by a sheet; give another directory")
    for sample in samples:
        if (directory / sample).is_symlink():
            raise RunError(f"{directory / sample}: is a link; remove it, or give another directory")


def _begins(path: Path, beginning: bytes) -> bool:
    """Return whether a file, compressed or not, begins with these bytes; a link does not count."""
    if path.is_symlink() or not path.is_file():
        return False
    try:
        with _opened(path) as file:
            return file.read(len(beginning)) == beginning
    except (OSError, EOFError, zlib.error):
        return False


def _opened(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


def write_tables(
    outputs: SheetOutputs, summaries: SampleSummaries, tables: Mapping[str, Path]
) -> bool:
    """Write the tables of all samples, unless they exist for the same samples.

    `samples.tsv` comes last, so it says which samples both tables describe.

    Args:
        outputs: the files of the sheet.
        summaries: results of all samples.
        tables: path of `records.tsv` of each sample.

    Returns:
        whether they were written.
    """
    table = summaries.table()
    outputs.directory.mkdir(parents=True, exist_ok=True)
    with Lock(outputs.directory) as lock:
        if not lock.take(seconds=_WRITING_SECONDS):  # launched processes end together
            raise RunError(
                f"{outputs.directory}: another process is running in it; wait for it, "
                "or give another directory"
            )
        remove_partial(outputs.directory)
        if outputs.are_complete() and outputs.path("samples").read_bytes() == table:
            return False
        with PartialFiles() as files:
            records = files.open(outputs.path("records"))
            header = ("sample", *(column.name for column in TABLES["records.tsv"]))
            records.write(("\t".join(header) + "\n").encode())
            for name, path in tables.items():
                _append_records(records, name, path)
            files.open(outputs.path("samples")).write(table)
    return True


def _append_records(file: BinaryIO, sample: str, path: Path) -> None:
    """Copy the lines of a sample's table of records, each after the name of the sample."""
    with _opened(path) as table:
        next(table, b"")  # the header
        name = sample.encode() + b"\t"
        file.writelines(name + line for line in table)
