"""`virnucpro models verify` on a real GPU, in every precision: `pytest -m gpu`."""

from pathlib import Path

import pytest
import torch

from made_reference import made
from virnucpro.bundles.assemble import add_bundle
from virnucpro.encoders.precision import computed_precisions
from virnucpro.verification import verify

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_what_a_gpu_computes_is_what_others_code_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRNUCPRO_HOME", str(tmp_path / "bundles"))
    small = made(tmp_path)
    add_bundle("mine", small.files, 500)
    report = verify("mine", device="cuda", reference=small.reference)
    wide = [row for row in report.comparisons if row.precision in ("fp32", "bf16", "fp16")]
    assert not [row.fault for row in wide if row.fault]
    assert "fp32" in {row.precision for row in wide}
    tried = {row.precision for row in report.comparisons}
    left = {skipped.precision for skipped in report.skipped}
    assert tried | left == set(computed_precisions(torch.device("cuda")))
