"""A finished run of `predict` with made-up results, of any size."""

from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from virnucpro.classify.segments import LEAST_CHUNKS
from virnucpro.files import write_json
from virnucpro.prediction.outputs.columns import TABLES_VERSION
from virnucpro.prediction.outputs.region_files import bed_line, region_name
from virnucpro.prediction.outputs.regions import Region
from virnucpro.prediction.outputs.summary import Summary
from virnucpro.runs.binding import Binding, Input
from virnucpro.runs.devices import Budgets
from virnucpro.runs.monitor import DeviceUse, Spread
from virnucpro.runs.run import FORMAT, Environment, Run, RunManifest

_CHUNK = 500


def write_run(directory: Path, reads: int, contigs: int, seed: int = 0) -> Path:
    """Write a finished run with made-up results; return its directory.

    Args:
        directory: new.
        reads: records of one chunk.
        contigs: records of several.
        seed: of the numbers.
    """
    directory.mkdir(parents=True)
    random = np.random.default_rng(seed)
    short = np.minimum(random.normal(250, 60, reads).astype(np.int64).clip(60), _CHUNK)
    long = (random.pareto(1.3, contigs) * 1_500 + 1_000).clip(max=200_000).astype(np.int64)
    lengths = np.concatenate([short, long])
    is_virus = random.random(len(lengths)) < np.where(np.arange(len(lengths)) < reads, 0.02, 0.15)
    chunks = -(-lengths // _CHUNK)
    record = np.repeat(np.arange(len(lengths)), chunks)
    scores = _scores(random, is_virus[record])
    p_virus = np.bincount(record, scores) / chunks
    calls = np.where(p_virus > 0.5, "virus", "other").astype("U8")
    lost = random.random(len(lengths)) < 0.01
    calls[lost] = "unscored"
    records = pl.DataFrame({
        "record": _ids(reads, contigs),
        "length": lengths,
        "chunks": chunks,
        "open_frames": np.where(lost, 0, chunks),
        "p_virus": pl.Series(p_virus).set(pl.Series(lost), None),
        "call": calls,
        "tier": pl.Series(_tiers(p_virus, chunks)).set(pl.Series(lost), None),
        "probability": pl.Series([None] * len(lengths), dtype=pl.Float64),
        "fdr": pl.Series([None] * len(lengths), dtype=pl.Float64),
        "gc": (random.normal(0.45, 0.08, len(lengths)) - 0.05 * is_virus).clip(0, 1),
    })  # fmt: skip
    number = np.arange(len(record)) - (np.cumsum(chunks) - chunks)[record]
    rows = pl.DataFrame({
        "record": records["record"].gather(record),
        "chunk": number + 1,
        "start": number * _CHUNK,
        "end": np.minimum((number + 1) * _CHUNK, lengths[record]),
        "open_frames": np.ones(len(record), np.int64),
        "p_other": 1 - scores,
        "p_virus": scores,
        "call": np.where(scores > 0.5, "virus", "other"),
    })  # fmt: skip
    for name, table in (("records.tsv", records), ("chunks.tsv", rows)):
        table.write_csv(directory / name, separator="\t", float_precision=6)
    contig_chunks = zip(records["record"][reads:], chunks[reads:].tolist(), strict=True)
    several = enumerate(contig_chunks, reads + 1)
    write_regions(directory, *(
        (number, Region(name, _CHUNK * (n // 4), _CHUNK * (n // 2), (n % 40) / 100 + 0.6, 1))
        for number, (name, n) in several if n >= LEAST_CHUNKS
    ))  # fmt: skip
    write_ends(directory, records, len(rows))
    return directory


def write_regions(directory: Path, *regions: tuple[int, Region]) -> None:
    """Write regions.bed; each region comes after the number of its record."""
    lines = [bed_line(region, region_name(i, of)) for i, (of, region) in enumerate(regions, 1)]
    (directory / "regions.bed").write_text("".join(lines))


def _scores(random: np.random.Generator, is_virus: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return scores as of a classifier that is right more often than not."""
    logit = random.normal(np.where(is_virus, 1.8, -2.4), 1.5)
    return np.asarray(1 / (1 + np.exp(-logit)))


def _tiers(p_virus: NDArray[np.float64], chunks: NDArray[np.int64]) -> list[str]:
    sure = np.digitize(np.abs(2 * p_virus - 1), [0.4, 0.8]) - (chunks < 3)
    return [("low", "moderate", "high")[max(0, rank)] for rank in sure.tolist()]


def _ids(reads: int, contigs: int) -> list[str]:
    return [
        *(f"A00123:45:HXXXX:1:1101:{i}:1000" for i in range(reads)),
        *(f"contig_{i}" for i in range(contigs)),
    ]


def write_ends(directory: Path, records: pl.DataFrame, rows: int) -> None:
    """Write summary.json and run.json of some records in so many chunks."""
    calls = {"other": 0, "virus": 0, "unscored": 0}
    calls |= dict(records["call"].value_counts().iter_rows())
    unprocessed = min(1, calls["unscored"])
    seconds = {
        "start-up": 9.4, "scoring": 812.6, "tables": 14.2, "reading": 41.0, "writing": 3.1,
        "chunks and frames": 96.3, "tokens": 204.8, "protein encoder": 1490.2,
        "DNA encoder": 77.4, "head": 2.9, "shards": 7.7,
    }  # fmt: skip
    counts = {
        "records": len(records), "bases": int(records["length"].sum()), "chunks": rows,
        "chunks_unscored": calls["unscored"], "open_frames": rows,
        "calls": calls,
        "unscored": {
            "no open frame": calls["unscored"] - unprocessed, "not processed": unprocessed,
        },
        "calibrated": False, "prevalence": None, "prevalence_estimated": False,
        "records_expected_viral": None, "skipped": 0, "threshold": 0.5,
        "problems": ["reads.fastq.gz: record 7 (A7), line 25: has no bases"] * unprocessed,
    }  # fmt: skip
    summary = msgspec.convert(
        {
            "format": 1, "tables": TABLES_VERSION, "bundle": "compact 2026.11.23",
            "device": "NVIDIA made up", "precision": "fp16", **counts, "resumed_records": 0,
            "packs_cut": 0, "frames_redone": 0, "seconds": seconds,
            "records_per_second": round(len(records) / seconds["scoring"], 1),
            "tokens_per_second": 91_234.5,
        },
        Summary,
    )  # fmt: skip
    write_json(directory / "summary.json", summary)
    binding = Binding(
        version="0.1.0", inputs=[Input("reads.fastq.gz", 123_456_789, "0" * 64)],
        command="predict", bundle="compact 2026.11.23", bundle_sha256="0" * 64, precision="fp16",
        device="NVIDIA made up", torch="2.13.0",
        settings={"chunk_length": _CHUNK, "frames": "all", "compressed": False},
    )  # fmt: skip
    devices = [
        DeviceUse(
            f"cuda:{i}", rows // 2, rows / 2 / seconds["scoring"], 0,
            Spread(96.5, 91.0, 98.0, 99.0),
            Spread(17.4, 16.9, 17.5, 17.6), Spread(655.0, 601.2, 660.1, 690.3),
            Spread(61.0, 55.0, 62.0, 64.0), 98_000.0,
        )
        for i in range(2)
    ]  # fmt: skip
    manifest = RunManifest(
        FORMAT, "finished", binding, Environment("3.11", "Linux", {}), Budgets(65_536, 65_536),
        started="2026-11-23T09:00:00+00:00", finished="2026-11-23T09:13:56+00:00",
        records_sha256="0" * 64, backends=["encoders: made up"], devices=devices,
    )  # fmt: skip
    Run(directory, manifest).save()
