"""`doctor` on a real GPU: `pytest -m gpu`."""

import pytest
import torch

from virnucpro.doctor import doctor
from virnucpro.encoders.precision import default_precision

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_every_gpu_is_described() -> None:
    found = doctor()
    assert found.can_predict, found.problems
    gpus = [device for device in found.devices if device.name.startswith("cuda:")]
    assert len(gpus) == torch.cuda.device_count()
    for index, gpu in enumerate(gpus):
        assert gpu.kind == torch.cuda.get_device_name(index)
        assert 0 < gpu.free <= gpu.memory
        assert gpu.default == default_precision(torch.device("cuda", index))
        assert gpu.ways[-1] == "plain PyTorch"
        assert any("Triton" in way for way in gpu.ways) == (gpu.default != "fp32")
    versions = {package.name: package.version for package in found.packages}
    assert versions["cuda"] == torch.version.cuda
