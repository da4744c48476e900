"""`virnucpro bench` on a small bundle."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from virnucpro.bench import bench
from virnucpro.bench.figures import BenchReport
from virnucpro.bench.prefetch import prefetch
from virnucpro.bench.random_inputs import (
    SAMPLES,
    blocks_of,
    protein_sample,
    random_reads,
    sizes_of,
    whole_packs,
)
from virnucpro.bundles import Bundle
from virnucpro.cli.app import app
from virnucpro.encoders import pack_by_length
from virnucpro.errors import SettingsError, VirnucproError
from virnucpro.prediction.worker import Worker


def test_every_sample_is_measured_and_shares_are_ratios(tiny_bundle: Bundle) -> None:
    told: list[str] = []
    report = bench(
        Worker, str(tiny_bundle.path), device="cpu", seconds=0.01, on_progress=told.append
    )
    assert [p.precision for p in report.precisions] == ["fp32"]
    found = report.precisions[0]
    for rates in (found.protein, found.dna, found.worker):
        assert [rate.sample for rate in rates] == list(SAMPLES)
    for protein in found.protein:
        share = protein.tokens_per_second / protein.floor_tokens_per_second
        assert protein.share_of_floor == pytest.approx(share, abs=1e-2)
    for worker in found.worker:
        assert worker.frames_per_second >= worker.reads_per_second > 0
        hours = 1e6 / worker.reads_per_second / 3600
        assert worker.hours_for_a_million_reads == pytest.approx(hours, rel=0.1, abs=1e-3)
    assert found.peak_memory_bytes > 1 << 20
    assert told[0] == "fp32: weights and kernels"


def test_the_command_shows_a_table_and_writes_json(tiny_bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    options = ["--device", "cpu", "--seconds", "0.01", "--sample", "150 bp", "--json", str(file)]
    result = CliRunner().invoke(app, ["bench", "--sizes", str(tiny_bundle.path), *options])
    assert result.exit_code == 0, result.output
    assert "150 bp" in result.stdout
    assert "random weights" in result.stdout
    written = json.loads(file.read_bytes())
    assert written["precisions"][0]["protein"][0]["tokens_per_second"] > 0
    assert set(written) == set(BenchReport.__struct_fields__)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sizes": "no-such-bundle"}, "no bundle 'no-such-bundle'"),
        ({"sizes": "compact"}, "one network where two encoders .* give --sizes compact-pair"),
        ({"samples": ["7 bp"]}, "'7 bp': give 150 bp"),
        ({"precisions": ["fp16"]}, "fp16 needs a GPU"),
        ({"device": "tpu"}, "give auto, cpu"),
    ],
)
def test_wrong_settings_are_one_line(options: dict[str, str], said: str) -> None:
    with pytest.raises(VirnucproError, match=said) as caught:
        bench(Worker, **{"device": "cpu", **options})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_too_little_memory_is_one_line(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 5 GiB")

    monkeypatch.setattr("virnucpro.bench.api.random_classifier", too_large)
    with pytest.raises(SettingsError, match="does not fit into the memory"):
        bench(Worker, str(tiny_bundle.path), device="cpu")


def test_published_sizes_need_no_download() -> None:
    manifest = sizes_of("3b").manifest
    sizes = {kind: (encoder.layers, encoder.width) for kind, encoder in manifest.encoders.items()}
    assert sizes == {"protein": (36, 2560), "dna": (12, 768)}


@pytest.mark.parametrize("sample", SAMPLES)
def test_reads_have_the_lengths_they_say_and_an_open_frame(sample: str) -> None:
    shortest, longest = SAMPLES[sample]
    reads = random_reads(sample, 50)
    assert all(shortest <= len(read) <= longest for read in reads)
    stops = {"TAA", "TAG", "TGA"}
    assert not any(read[i : i + 3] in stops for read in reads for i in range(0, len(read), 3))
    blocks = blocks_of(reads, 20)
    assert [len(block.pieces) for block in blocks] == [20, 20, 10]
    assert [p.sequence for block in blocks for p in block.pieces] == reads


def test_prefetch_yields_every_item_in_order() -> None:
    assert list(prefetch([1, None, 0, "two"])) == [1, None, 0, "two"]
    assert list(prefetch([])) == []


def test_prefetch_raises_the_error_of_its_thread() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no token")

    threads = threading.active_count()
    prefetched = prefetch(items())
    assert next(prefetched) == 1
    with pytest.raises(ValueError, match="no token"):
        next(prefetched)
    assert threading.active_count() == threads


def test_whole_packs_leaves_only_the_last_pack_out() -> None:
    tokens = protein_sample("mixed", 5000)
    packs = [which for which, _ in pack_by_length(tokens, 1000)]
    kept = whole_packs(tokens, 1000)
    assert len(kept.lengths) == sum(map(len, packs[:-1]))
    np.testing.assert_array_equal(np.sort(tokens.lengths)[: len(kept.lengths)], kept.lengths)
