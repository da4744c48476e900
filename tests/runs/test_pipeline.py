"""A pipeline gives results in order, and stops without harm to the interpreter."""

import queue
import subprocess
import sys
from typing import Any

from conftest import block_of
from processes import ROOT
from virnucpro.bundles import Bundle
from virnucpro.bundles.settle import choose_device
from virnucpro.prediction.worker import Worker
from virnucpro.runs.pipeline import Pipeline
from virnucpro.runs.task import Result
from virnucpro.sequences.blocks import Block

#: An interpreter that ends while its pipeline computes, and takes its time to end.
ENDS_EARLY = """
import sys
import time

class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(2)

slow = Slow()
from conftest import block_of
from virnucpro.bundles import load_bundle
from virnucpro.bundles.settle import choose_device
from virnucpro.runs.pipeline import Pipeline
from virnucpro.prediction.worker import Worker
bundle = load_bundle("compact")
worker = Worker(bundle, choose_device("cpu", "fp32"), 300)
pipeline = Pipeline(worker, print)
for _ in range(3):
    pipeline.put(block_of(1500, 900, 300))
while "tokens" not in worker.work.seconds:
    time.sleep(0.01)
sys.exit("the end")
"""


def test_results_come_in_order_until_a_pipeline_is_stopped(tiny_bundle: Bundle) -> None:
    results: queue.Queue[Any] = queue.Queue()
    worker = Worker(tiny_bundle, choose_device("cpu", "fp32"), 300)
    pipeline = Pipeline(worker, results.put)
    for index in range(5):
        pipeline.put(Block(index, block_of(20, 900, 300, seed=index).pieces))
    found = [results.get(timeout=60) for _ in range(5)]
    assert all(isinstance(result, Result) for result in found)
    assert [result.block for result in found] == list(range(5))
    frames = [result.work.frames for result in found]
    assert frames == sorted(frames)
    assert frames[0] > 0
    pipeline.stop()
    pipeline.put(Block(5, block_of(20, 900, 300).pieces))
    assert results.empty()


def test_an_interpreter_may_end_while_a_pipeline_computes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS_EARLY], capture_output=True, check=False, text=True,
        cwd=str(ROOT / "tests"),
    )  # fmt: skip
    assert (done.returncode, done.stderr.strip()) == (1, "the end")
