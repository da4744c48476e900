"""What a worker has done so far: counts and times."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields


@dataclass
class Work:
    """What a worker has done so far.

    Attributes:
        records: number of records prepared.
        frames: number of items computed: open frames, or sequences to embed.
        tokens: number of tokens that went through the encoders.
        packs_cut: number of packs that did not fit into memory and were halved.
        frames_redone: number of items whose result was not finite and was recomputed in fp32.
        seconds: time of each stage; stages of the host overlap with those of the device.
    """

    records: int = 0
    frames: int = 0
    tokens: int = 0
    packs_cut: int = 0
    frames_redone: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of the body to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started)

    def incidents(self) -> list[str]:
        """Return a line for each kind of unusual event."""
        found = []
        if self.packs_cut:
            found.append(f"out of memory {self.packs_cut:,} times: those packs were halved")
        if self.frames_redone:
            found.append(
                f"{self.frames_redone:,} results were not finite and were recomputed in fp32"
            )
        return found

    def add(self, stage: str, seconds: float) -> None:
        """Add to the time of a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def since(self, earlier: "Work") -> "Work":
        """Return what the worker has done since `earlier`."""
        seconds = {
            stage: time - earlier.seconds.get(stage, 0.0) for stage, time in self.seconds.items()
        }
        counts = {name: getattr(self, name) - getattr(earlier, name) for name in _counts()}
        return Work(**counts, seconds=seconds)

    @classmethod
    def sum(cls, parts: Iterable["Work"]) -> "Work":
        """Return the total of several workers."""
        total = cls()
        for part in parts:
            for name in _counts():
                setattr(total, name, getattr(total, name) + getattr(part, name))
            for stage, seconds in part.seconds.items():
                total.add(stage, seconds)
        return total


def _counts() -> list[str]:
    return [field_.name for field_ in fields(Work) if field_.name != "seconds"]
