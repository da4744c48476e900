"""Which backend is chosen, and what is said of it."""

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import nn

from virnucpro.encoders import Esm2, Esm2Config, Network, speed
from virnucpro.encoders.backends import Backend
from virnucpro.encoders.speed import speed_up
from virnucpro.errors import SettingsError


class OnGpu(Esm2):
    """A protein encoder without weights that says it is on a GPU."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.config = Esm2Config(layers=1, width=32, heads=1, vocabulary=33)
        weight = SimpleNamespace(device=torch.device("cuda"))
        self.embedding = cast("nn.Embedding", SimpleNamespace(weight=weight))


def choose_among(
    faults: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, list[str]]:
    """Let `speed_up` choose for a network on a GPU; return what it says and what it prepared."""
    prepared: list[str] = []

    def backend(name: str) -> Backend:
        return Backend(name, "", frozenset(), lambda _: prepared.append(name))

    def fault_in(_: Network, __: str, tried: Backend) -> str:
        return faults[tried.name]

    backends = [backend(name) for name in faults]
    monkeypatch.setattr(speed, "_to_try", lambda *_: (backends, []))
    monkeypatch.setattr(speed, "fault_in", fault_in)
    return speed_up(OnGpu(), name), prepared


def test_the_first_backend_without_fault_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    found, prepared = choose_among({"fast": "", "slow": ""}, "fp16", monkeypatch)
    assert (found, prepared) == ("fast", ["fast"])


def test_why_nothing_faster_was_taken_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    found, prepared = choose_among({"fast": "no tiles", "slow": ""}, "bf16", monkeypatch)
    assert (found, prepared) == ("slow; not fast: no tiles", ["slow"])


def test_where_nothing_works_every_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said = r"fp8 does not work .*\(not fast: no tiles; not slow: off\); give another --precision"
    with pytest.raises(SettingsError, match=said) as caught:
        choose_among({"fast": "no tiles", "slow": "off"}, "fp8", monkeypatch)
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_numbers_are_found_at_load() -> None:
    network = Esm2(Esm2Config(layers=1, width=32, heads=2, vocabulary=33)).eval()
    with torch.no_grad():
        network.blocks[0].get_submodule("up").get_parameter("bias").fill_(torch.nan)
    with pytest.raises(SettingsError, match=r"not finite.* get the bundle again"):
        speed_up(network, "fp32")
