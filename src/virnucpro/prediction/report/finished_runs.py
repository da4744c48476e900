"""Finished runs as the report needs them: tables are read some rows at a time."""

import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from virnucpro.errors import RunError, reading, shortened
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.summary import Summary
from virnucpro.prediction.report.run_findings import (
    CHUNK_COLUMNS,
    RECORD_COLUMNS,
    REGION_COLUMNS,
    Findings,
    Types,
)
from virnucpro.runs.run import RunManifest, read_json, read_run
from virnucpro.sequences.decompression import open_content

#: What the user should do about a damaged table.
_TO_DO = "run predict again, into a new directory"
#: Bytes of text that are read at a time, and chunks, unless one record has more.
_BATCH, _CHUNKS = 1 << 22, 1 << 16
#: Columns that the tables of earlier versions lack.
_OPTIONAL = {"probability", "fdr", "gc"}
#: The columns of regions.bed, which has no header line.
_BED = ("record", "start", "end", "name", "score", "strand")
_BED_COLUMNS: Types = {
    "name": pl.String, "start": pl.Int64, "end": pl.Int64, "score": pl.Int64,
}  # fmt: skip
#: Longest id in a message, in letters.
_LONGEST_ID = 100
#: End of the name of a region: the number of its record, from 1.
_NUMBER = r"_of_record_([1-9][0-9]{0,17})$"


@dataclass(frozen=True)
class Sample:
    """A finished run of `predict`.

    Attributes:
        name: name of the run in the report.
        manifest: content of run.json.
        summary: content of summary.json.
        found: what the report shows of its tables.
        card: the card of the bundle in Markdown; empty if it is not available.
    """

    name: str
    manifest: RunManifest
    summary: Summary
    found: Findings
    card: str = ""


def read_sample(
    directory: Path, name: str, card: str = "", found: Findings | None = None
) -> Sample:
    """Read a finished run of `predict`.

    Args:
        directory: output directory of the run.
        name: name of the run in the report.
        card: the card of its bundle in Markdown.
        found: what the merge of the run found, if this process has merged it; otherwise the tables
            are read.

    Raises:
        RunError: the directory holds no finished run, or one of its files is missing or damaged.
    """
    manifest = finished_run(directory)
    outputs = Outputs(directory, compressed=bool(manifest.binding.settings.get("compressed")))
    summary = read_json(outputs.path("summary"), Summary, _TO_DO)
    return Sample(name, manifest, summary, found or read_findings(outputs), card)


def finished_run(directory: Path) -> RunManifest:
    """Return the manifest of a finished run of `predict`.

    Raises:
        RunError: the directory holds none.
    """
    manifest = read_run(directory)
    if manifest is None:
        raise RunError(
            f"{directory}: holds no run of virnucpro (there is no run.json); give the output "
            "directory of virnucpro predict"
        )
    if manifest.binding.command != "predict":
        raise RunError(
            f"{directory}: a run of virnucpro {manifest.binding.command}, which has no report; "
            "give the output directory of virnucpro predict"
        )
    if manifest.status != "finished":
        raise RunError(
            f"{directory}: is not finished; rerun the command that made it to continue, then ask "
            "for the report again"
        )
    return manifest


def read_findings(outputs: Outputs) -> Findings:
    """Return what the report shows of the tables of a finished run, in one pass.

    Raises:
        RunError: a table is missing or damaged.
    """
    findings = Findings()
    path, before = outputs.path("records"), 0
    chunks, regions = _Chunks(outputs.path("chunks")), _Regions(outputs.path("regions_bed"))
    if not regions.is_there:
        findings.region_count = None
    for records in _records(path):
        own_chunks = chunks.of(records)
        own_regions = regions.of(before + 1, before + len(records))
        with reading(path, _TO_DO, RunError):  # a call or tier that does not exist
            findings.add_rows(records, own_chunks, own_regions)
        before += len(records)
    regions.of(before + 1, before)
    return findings


def _records(path: Path) -> Iterator[pl.DataFrame]:
    """Yield the rows of records.tsv, a limited number of records and of chunks at a time."""
    for rows in _batches(path, RECORD_COLUMNS, _OPTIONAL):
        if any(rows.select("record", "length", "chunks").null_count().row(0)):
            raise _damaged(path, "a line lacks a field")
        portion = (rows["chunks"].cum_sum() // _CHUNKS).alias("portion")
        yield from rows.with_columns(portion).partition_by("portion", include_key=False)


class _Rows:
    """Rows of a table that are taken in order.

    Args:
        path: the table.
        batches: its rows.
        columns: its columns.
    """

    def __init__(self, path: Path, batches: Iterator[pl.DataFrame], columns: Types) -> None:
        self._path, self._batches = path, batches
        self._held = pl.DataFrame(schema=columns)

    def _read(self) -> bool:
        """Hold further rows; return whether there are any."""
        rows = next(self._batches, None)
        if rows is not None:
            self._held = pl.concat([self._held, rows])
        return rows is not None

    def _take(self, count: int) -> pl.DataFrame:
        taken, self._held = self._held.head(count), self._held.slice(count)
        return taken


class _Chunks(_Rows):
    """The rows of chunks.tsv, which are in the order of records.tsv.

    Args:
        path: the table.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, _batches(path, CHUNK_COLUMNS), CHUNK_COLUMNS)

    def of(self, records: pl.DataFrame) -> pl.DataFrame:
        """Return the chunks of the next records.

        Raises:
            RunError: rows are missing, or have the id of another record.
        """
        ends = records["chunks"].cum_sum().to_numpy()
        while len(self._held) < ends[-1] and self._read():
            pass
        rows = self._take(int(ends[-1]))
        of_row = np.searchsorted(ends, np.arange(len(rows) + 1), side="right")
        is_wrong = (rows["record"] != records["record"].gather(of_row[:-1])).to_numpy()
        first_wrong = [*of_row[:-1][is_wrong], *of_row[-1:]][0]
        if first_wrong < len(records):
            record = shortened(records["record"][int(first_wrong)], _LONGEST_ID)
            raise RunError(f"{self._path}: has not the chunks of {record} in their place; {_TO_DO}")
        return rows


class _Regions(_Rows):
    """The rows of regions.bed, which are in the order of records.tsv.

    Args:
        path: the file; runs of earlier versions have none.
    """

    def __init__(self, path: Path) -> None:
        self.is_there = path.is_file()
        batches = self._numbered(path) if self.is_there else iter(())
        super().__init__(path, batches, {**_BED_COLUMNS, "number": pl.Int64})

    def of(self, first: int, last: int) -> pl.DataFrame:
        """Return the regions of the records with these numbers.

        Raises:
            RunError: the next region is one of an earlier record, or there are no further records.
        """
        while (self._held["number"] <= last).all() and self._read():
            pass
        if len(self._held) and (last < first or self._held["number"][0] < first):
            raise RunError(
                f"{self._path}: has {self._held['name'][0]}, of which the tables have no chunks; "
                f"{_TO_DO}"
            )
        rows = self._take(int((self._held["number"] <= last).sum()))
        return rows.select(list(REGION_COLUMNS))

    @staticmethod
    def _numbered(path: Path) -> Iterator[pl.DataFrame]:
        """Yield the rows with the number of each record."""
        number = pl.col("name").str.extract(_NUMBER).cast(pl.Int64).alias("number")
        for lines in _batches(path, _BED_COLUMNS, header=_BED):
            rows = lines.with_columns(number)
            if any(rows.null_count().row(0)):
                raise _damaged(path, "a line lacks a field or the number of a record")
            yield rows


def _damaged(path: Path, reason: str) -> RunError:
    return RunError(f"{path}: cannot be read ({reason}); {_TO_DO}")


def _batches(
    path: Path,
    columns: Types,
    optional: Collection[str] = (),
    *,
    header: Sequence[str] | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield the rows of a table in order.

    Args:
        path: a tab-separated table, plain or compressed.
        columns: the wanted columns, and their types.
        optional: columns that the table may lack; they are empty then.
        header: names of all columns, if the table has no header line.

    Raises:
        RunError: the table is missing or damaged, or lacks a column.
    """
    with reading(path, _TO_DO, RunError), open_content(path) as file:
        if header is None:
            header = file.readline().decode().rstrip("\n").split("\t")
        missing = [name for name in columns if name not in header]
        for name in missing:
            if name not in optional:
                raise RunError(f"{path}: has no column {name}; {_TO_DO}")
        empty = [pl.lit(None, columns[name]).alias(name) for name in missing]
        places = [i for i, name in enumerate(header) if name in columns]
        schema = {name: columns.get(name, pl.String) for name in header}
        while text := file.read(_BATCH):
            text += file.readline()
            yield (
                pl.read_csv(
                    io.BytesIO(text),
                    has_header=False,
                    separator="\t",
                    quote_char=None,
                    columns=places,
                    schema=schema,
                )
                .with_columns(empty)
                .select(list(columns))
            )
