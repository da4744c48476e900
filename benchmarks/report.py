"""The report of a million reads: how long it takes to build, how large it is, how fast it opens.

    PYTHONPATH=tests python benchmarks/report.py /tmp/work --reads 1000000 --json report.json

The run's tables are made up: read lengths, scores and GC as a metagenome's, and some contigs. The
page is opened by Chromium, where there is one on the PATH, from the file and without a network.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

from playwright.sync_api import sync_playwright

from made_run import write_run

_OPENINGS = 5


def main() -> None:
    """Make a run, draw its report, open it, print and write what that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--reads", type=int, default=1_000_000)
    parser.add_argument("--contigs", type=int, default=2_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    run = arguments.directory / "run"
    wanted = (run, arguments.reads, arguments.contigs)
    # In a process of its own, whose memory the next one does not begin with.
    writer = get_context("spawn").Process(target=write_run, args=wanted)
    writer.start()
    writer.join()
    page = run / "report.html"
    started = time.perf_counter()
    command = subprocess.Popen([sys.executable, "-m", "virnucpro", "report", run])  # noqa: S603
    _, status, used = os.wait4(command.pid, 0)
    seconds = time.perf_counter() - started
    command.returncode = os.waitstatus_to_exitcode(status)
    if command.returncode:
        raise SystemExit(command.returncode)
    tables = {name: (run / name).stat().st_size for name in ("records.tsv", "chunks.tsv")}
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "records": arguments.reads + arguments.contigs,
        "bytes of the tables": tables,
        "seconds to build, by the clock": round(seconds, 2),
        "seconds to build, of the processor": round(used.ru_utime + used.ru_stime, 2),
        "MiB to build, at most": used.ru_maxrss >> 10,
        "bytes of the page": page.stat().st_size,
        **opening(page),
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def opening(page: Path) -> dict[str, object]:
    """Return how long Chromium takes from asking for the page to having drawn it."""
    program = shutil.which("chromium")
    if program is None:
        return {"chromium": None}
    times = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for _ in range(_OPENINGS):
            tab = browser.new_page(viewport={"width": 1440, "height": 900})
            started = time.perf_counter()
            tab.goto(page.as_uri())
            tab.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
            times.append(round(time.perf_counter() - started, 3))
            tab.close()
        version = browser.version
        browser.close()
    return {"chromium": version, "seconds to open": times}


if __name__ == "__main__":
    main()
