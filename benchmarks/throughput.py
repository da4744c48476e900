"""Speed of the whole `predict`, start-up apart: what summary.json says of several runs.

    python benchmarks/throughput.py READS [--bundle compact] [--device cpu] [--repeats 3]

Prints records/s and the seconds of each stage of every run, and the median.
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

import msgspec
import torch

import virnucpro


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reads", type=Path)
    parser.add_argument("--bundle", default="compact")
    parser.add_argument("--chunk-length", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write all of it")
    options = parser.parse_args()
    runs = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as out:
            summary = virnucpro.predict(
                options.reads,
                out,
                bundle=options.bundle,
                chunk_length=options.chunk_length,
                device=options.device,
                precision=options.precision,
            )
        runs.append(summary)
        print(
            f"{summary.records_per_second:,.0f} records/s, "
            f"{summary.tokens_per_second:,.0f} tokens/s on {summary.device}, "
            f"{summary.precision}; seconds: {summary.seconds}"
        )
    median = statistics.median(run.records_per_second for run in runs)
    print(f"median {median:,.0f} records/s of {len(runs)} runs over {runs[0].records:,} records")
    if options.json:
        found = {
            "cores": len(os.sched_getaffinity(0)),
            "torch": str(torch.__version__),
            "reads": options.reads.name,
            "median_records_per_second": median,
            "runs": msgspec.to_builtins(runs),
        }
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
