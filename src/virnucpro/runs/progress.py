"""Shows the progress of a run: a live line on a terminal, occasional plain lines elsewhere."""

import sys
import time
from dataclasses import dataclass
from typing import TextIO

from rich.live import Live
from rich.text import Text

from virnucpro.errors import one_line
from virnucpro.runs.block_loop import Progress
from virnucpro.runs.job import Outputs, Plan
from virnucpro.system.terminal import Terminal

#: Seconds between plain lines.
_PLAIN_EVERY = 30.0


@dataclass
class _Earlier:
    """The samples of this command before the current one.

    Attributes:
        bytes: size of their inputs.
        worked_bytes: those bytes in blocks that this command computed.
        records: number of records in these blocks.
    """

    bytes: int = 0
    worked_bytes: int = 0
    records: int = 0

    def add(self, plan: Plan, progress: Progress) -> None:
        """Add a finished run."""
        self.bytes += plan.input_bytes
        self.worked_bytes += progress.bytes_done - progress.resumed_bytes
        self.records += progress.work.records


class Reporter:
    """An observer that writes to standard error.

    Args:
        stream: the stream to write to (default: standard error).
        quiet: whether to print only notes.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._console = Terminal(file=stream or sys.stderr, soft_wrap=True)
        self._quiet = quiet
        self._live: Live | None = None
        self._plan: Plan | None = None
        self._progress = Progress()
        self._earlier = _Earlier()
        self._noted: set[str] = set()
        self._started = self._last_line = time.monotonic()

    def planned(self, plan: Plan) -> None:
        """Print what is about to be done and which files will be written.

        For several samples this is printed once. Each distinct note is printed once.
        """
        for note in plan.notes:
            if note not in self._noted:
                self._noted.add(note)
                self.close()
                self._say(f"note: {note}", always=True)
        if self._plan is None or plan.sample is None:
            self._announce(plan)
        else:
            self._earlier.add(self._plan, self._progress)
        self._plan, self._progress = plan, Progress()

    def _announce(self, plan: Plan) -> None:
        where = f"{', '.join(plan.devices)} ({plan.kind}, {plan.precision})"
        self._say(f"{plan.command} with {plan.weights} on {where}, {plan.how}")
        if plan.sample is None:
            self._list(f"{plan.outputs.directory}", plan.outputs)
        else:
            together = plan.sample.outputs
            self._list(f"{together.directory}", together)
            folder = together.directory / "SAMPLE"
            self._list(f"{folder}, for each of {plan.sample.of:,} samples", plan.outputs)

    def _list(self, where: str, outputs: Outputs) -> None:
        self._say(f"will write in {where}:")
        for path, meaning in outputs.described():
            self._say(f"  {path.name:<36} {meaning}")

    def advanced(self, progress: Progress) -> None:
        """Show the progress, the rate and the remaining time."""
        self._progress = progress
        if self._quiet:
            return
        now = time.monotonic()
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            if self._live is None:
                self._live = Live(console=self._console, transient=True, auto_refresh=False)
                self._live.start()
            self._live.update(Text(one_line(self._line(progress, now))), refresh=True)
        elif now - self._last_line >= _PLAIN_EVERY:
            self._last_line = now
            self._say(self._line(progress, now))

    def noted(self, line: str) -> None:
        """Print a line."""
        self.close()
        self._say(line)

    def merging(self) -> None:
        """Print that the outputs are being written."""
        self.close()
        self._say(f"{self._sample()}all records done, writing files")

    def already_finished(self) -> None:
        """Print that a single run is already finished; for samples, `noted` gets their number."""
        if self._plan is None or self._plan.sample is None:
            self._say("this run is already finished; nothing to do")

    def close(self) -> None:
        """Restore the terminal."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _line(self, progress: Progress, now: float) -> str:
        """Return the progress in words; the remaining time is based on this attempt only."""
        seconds, earlier = max(now - self._started, 1e-9), self._earlier
        parts = [f"{self._sample()}{progress.records:,} records"]
        if progress.resumed_records:
            parts.append(f"{progress.resumed_records:,} resumed")
        parts.append(f"{(earlier.records + progress.work.records) / seconds:,.0f} records/s")
        total, done = self._total_bytes(), earlier.bytes + progress.bytes_done
        worked = earlier.worked_bytes + progress.bytes_done - progress.resumed_bytes
        if total and worked > 0:
            minutes, rest = divmod(round((total - done) * seconds / worked), 60)
            parts.append(f"{done / total:.0%}")
            parts.append(f"{minutes}:{rest:02d} left")
        parts += [
            f"{name} {reading.utilisation:.0f}% {reading.memory / 2**30:.0f} GiB "
            f"{reading.power:.0f} W {reading.temperature:.0f} °C"
            for name, reading in progress.readings.items()
        ]
        return ", ".join(parts)

    def _total_bytes(self) -> int:
        if self._plan is None:
            return 0
        return self._plan.sample.input_bytes if self._plan.sample else self._plan.input_bytes

    def _sample(self) -> str:
        """Return the number and name of the current sample, or nothing for a single run."""
        if self._plan is None or self._plan.sample is None:
            return ""
        sample = self._plan.sample
        return f"sample {sample.number:,} of {sample.of:,} ({sample.name}): "

    def _say(self, line: str, *, always: bool = False) -> None:
        if always or not self._quiet:
            self._console.print(one_line(line))
