"""What a worker has done so far: counts and times."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields


@dataclass
class Work:
    """What a worker has done so far.

    Attributes:
        records: records prepared.
        frames: open frames scored, or sequences embedded.
        tokens: tokens that went through the encoders.
        packs_cut: packs that did not fit into memory and were done in two.
        frames_redone: frames whose result was not finite and was computed anew in fp32.
        seconds: time of each stage; the host's stages run beside the device's.
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
        """Return what went differently, a line each."""
        found = []
        if self.packs_cut:
            found.append(f"out of memory {self.packs_cut:,} times: those packs were done in two")
        if self.frames_redone:
            found.append(
                f"{self.frames_redone:,} results were not finite: they were computed in fp32"
            )
        return found

    def add(self, stage: str, seconds: float) -> None:
        """Add to the time of a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    @classmethod
    def sum(cls, parts: Iterable["Work"]) -> "Work":
        """Return what several workers have done together."""
        total = cls()
        for part in parts:
            for field_ in fields(cls):
                if field_.name != "seconds":
                    value = getattr(total, field_.name) + getattr(part, field_.name)
                    setattr(total, field_.name, value)
            for stage, seconds in part.seconds.items():
                total.add(stage, seconds)
        return total
