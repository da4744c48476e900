"""Which way of computing is chosen, and what is said of it."""

from types import SimpleNamespace
from typing import cast

import pytest
import torch

from virnucpro.encoders import precision
from virnucpro.encoders.precision import Encoder, speed_up
from virnucpro.errors import SettingsError


def choose_among(
    faults: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, list[str]]:
    """Let `speed_up` choose for a network on a GPU; return what it says and what it prepared."""
    prepared: list[str] = []

    def way(name: str) -> precision._Way:
        return precision._Way(name, lambda _: prepared.append(name))

    ways = [way(name) for name in faults]
    monkeypatch.setattr(precision, "_ways", lambda *_: ways)
    monkeypatch.setattr(precision, "_fault", lambda _, way, __: faults[way.name])
    weight = SimpleNamespace(device=torch.device("cuda"))
    network = cast("Encoder", SimpleNamespace(embedding=SimpleNamespace(weight=weight)))
    return speed_up(network, name), prepared


def test_the_first_way_without_fault_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    found, prepared = choose_among({"fast": "", "slow": ""}, "fp16", monkeypatch)
    assert (found, prepared) == ("fast", ["fast"])


def test_why_nothing_faster_was_taken_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    found, prepared = choose_among({"fast": "no tiles", "slow": ""}, "bf16", monkeypatch)
    assert (found, prepared) == ("slow; not fast: no tiles", ["slow"])
    found, prepared = choose_among({"fast": "no tiles", "slow": "off"}, "fp16", monkeypatch)
    assert (found, prepared) == ("plain PyTorch; not fast: no tiles; not slow: off", [])


def test_8_bit_that_does_not_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"fp8 does not work here .*no tiles.* give fp16") as e:
        choose_among({"fast": "no tiles"}, "fp8", monkeypatch)
    assert "\n" not in str(e.value)
