"""Phages planted in bacterial chromosomes: how many `regions.bed` finds, where, and what besides.

    python benchmarks/prophages.py phages.fa.xz bacteria.fa.xz OUT --json found.json

Windows of one bacterial genome, joined end to end, are a chromosome. Fifty contigs are two flanks
of a chromosome with a phage between them, on either strand: every phage whole, then pieces of 5, 10
and 20 kb of them in turn. The chromosomes with nothing planted are scored too. A phage is found
when regions cover at least half of it; its borders are then those of the regions that touch it.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

import virnucpro
from virnucpro.sequences import SequenceFile

_PLANTED, _PIECES = 50, (5_000, 10_000, 20_000)
#: Bases of a flank, from and to: not all alike, so that borders fall anywhere in a chunk.
_FLANK = (40_000, 60_000)
_COMPLEMENT = str.maketrans("ACGTacgt", "TGCAtgca")
#: Whole phages are told apart by this length.
_LONG = 60_000


class Planted(NamedTuple):
    """A phage, or a piece of one, in a contig."""

    contig: str
    start: int
    end: int
    kind: str
    phage: str
    host: str


class Region(NamedTuple):
    """A line of regions.bed."""

    start: int
    end: int


def main() -> None:
    """Plant, predict, compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("phages", type=Path)
    parser.add_argument("bacteria", type=Path)
    parser.add_argument("out", type=Path, help="for the contigs and the run")
    parser.add_argument("--bundle", default="compact")
    parser.add_argument("--chunk-length", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    phages, hosts = read(options.phages), chromosomes(read(options.bacteria))
    contigs, planted = plant(phages, hosts, np.random.default_rng(options.seed))
    fasta, run = options.out / "contigs.fasta", options.out / "run"
    fasta.write_text("".join(f">{name}\n{letters}\n" for name, letters in contigs.items()))
    summary = virnucpro.predict(
        fasta, run, bundle=options.bundle, chunk_length=options.chunk_length, device=options.device
    )
    regions = read_regions(run / "regions.bed")
    rows = [compared(one, regions[one.contig]) for one in planted]
    free = {name: len(text) for name, text in contigs.items() if name.startswith("free_")}
    false = [(name, *region) for name in free for region in regions[name]]
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": "python benchmarks/prophages.py " + " ".join(shown(sys.argv[1:])),
        "cores": len(os.sched_getaffinity(0)),
        "torch": str(torch.__version__),
        "bundle": summary.bundle,
        "bases": summary.bases,
        "planted": measures(rows),
        "by kind": {kind: measures(group) for kind, group in grouped(rows, "kind").items()},
        "by phage": {name: measures(group) for name, group in grouped(rows, "phage").items()},
        "phage-free": {
            "Mbp": round(sum(free.values()) / 1e6, 3),
            "regions": len(false),
            "regions per Mbp": round(len(false) / sum(free.values()) * 1e6, 2),
            "share of bases": round(sum(r[2] - r[1] for r in false) / sum(free.values()), 4),
            "where": false,
        },
        "chunks called virus": called(run / "chunks.tsv", planted),
        "each": rows,
    }
    print(json.dumps({key: value for key, value in found.items() if key != "each"}, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def shown(arguments: list[str]) -> list[str]:
    """Return arguments without the folders of files."""
    return [Path(argument).name if "/" in argument else argument for argument in arguments]


def read(path: Path) -> dict[str, str]:
    """Return header and letters of each record."""
    with SequenceFile(str(path)) as file:
        return {record.header: record.sequence for record in file}


def chromosomes(windows: dict[str, str]) -> dict[str, str]:
    """Join the windows of each genome: the header's part before the first bar."""
    joined: dict[str, str] = defaultdict(str)
    for header in sorted(windows):
        joined[header.split("|")[0]] += windows[header]
    return dict(joined)


def plant(
    phages: dict[str, str], hosts: dict[str, str], drawn: np.random.Generator
) -> tuple[dict[str, str], list[Planted]]:
    """Return contigs by name, the chromosomes with nothing planted too, and what is where."""
    names = sorted(phages)
    order = [names[place] for place in drawn.permutation(len(names))]
    pieces = zip(islice(cycle(order), _PLANTED - len(order)), cycle(_PIECES), strict=False)
    wanted = [(name, len(phages[name])) for name in order] + list(pieces)
    large = sorted(name for name, letters in hosts.items() if len(letters) >= 2 * _FLANK[1])
    contigs, planted = {f"free_{name}": letters for name, letters in hosts.items()}, []
    for number, (name, length) in enumerate(wanted[:_PLANTED]):
        offset = int(drawn.integers(len(phages[name]) - length + 1))
        letters = phages[name][offset : offset + length]
        if drawn.random() < 0.5:
            letters = letters.translate(_COMPLEMENT)[::-1]
        host = large[drawn.integers(len(large))]
        cut = int(drawn.integers(_FLANK[1], len(hosts[host]) - _FLANK[1] + 1))
        contig = f"planted_{number:02}"
        left = hosts[host][cut - int(drawn.integers(*_FLANK)) : cut]
        right = hosts[host][cut : cut + int(drawn.integers(*_FLANK))]
        contigs[contig] = left + letters + right
        kind = f"{length // 1000} kb piece"
        if length == len(phages[name]):
            kind = f"whole, {'over' if length > _LONG else 'up to'} {_LONG // 1000} kb"
        start = len(left)
        planted.append(Planted(contig, start, start + length, kind, genus(name), host))
    return contigs, planted


def genus(header: str) -> str:
    """Return the host that a phage's file is named after."""
    return header.rpartition("file=")[2].split("_")[0]


def read_regions(path: Path) -> dict[str, list[Region]]:
    """Return the regions of each record."""
    regions: dict[str, list[Region]] = defaultdict(list)
    for line in path.read_text().splitlines():
        record, start, end, *_ = line.split("\t")
        regions[record].append(Region(int(start), int(end)))
    return regions


def compared(one: Planted, regions: list[Region]) -> dict[str, Any]:
    """Compare a phage with the regions of its contig."""
    near = [region for region in regions if region.start < one.end and region.end > one.start]
    covered = sum(min(r.end, one.end) - max(r.start, one.start) for r in near)
    is_found = 2 * covered >= one.end - one.start
    errors = [near[0].start - one.start, near[-1].end - one.end] if is_found else []
    return {
        **one._asdict(),
        "found": is_found,
        "covered": round(covered / (one.end - one.start), 3),
        "regions": len(near),
        "border errors": errors,
    }


def grouped(rows: list[dict[str, Any]], column: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each value of a column."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row[column]].append(row)
    return dict(groups)


def measures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how many are found and how far their borders are off, in bases."""
    found = [row for row in rows if row["found"]]
    errors = [abs(error) for row in found for error in row["border errors"]]
    low, median, high = np.percentile(errors, [25, 50, 75]).tolist() if errors else [None] * 3
    return {
        "planted": len(rows),
        "found": len(found),
        "border error median": median,
        "border error quartiles": [low, high],
        "regions per found": round(sum(row["regions"] for row in found) / max(1, len(found)), 2),
    }


def called(chunks: Path, planted: list[Planted]) -> dict[str, float]:
    """Return the share of chunks called virus: in phages, and in chromosomes without any."""
    table = pl.read_csv(chunks, separator="\t", schema_overrides={"record": pl.String})
    places = pl.DataFrame([(p.contig, p.start, p.end) for p in planted], orient="row",
                          schema=["record", "from", "to"])  # fmt: skip
    inside = table.join(places, on="record").filter(
        (pl.col("start") >= pl.col("from")) & (pl.col("end") <= pl.col("to"))
    )
    free = table.filter(pl.col("record").str.starts_with("free_"))
    parts = {"in phages": inside, "phage-free": free}
    return {name: round(float((part["call"] == "virus").sum()) / len(part), 3)
            for name, part in parts.items()}  # fmt: skip


if __name__ == "__main__":
    main()
