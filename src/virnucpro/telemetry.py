"""What a run says while it goes: a live line on a terminal, a plain line now and then elsewhere."""

import sys
import time
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from virnucpro.engine.scoring import Progress
from virnucpro.jobs import Plan

#: Seconds between plain lines.
_PLAIN_EVERY = 30.0


class Reporter:
    """An observer that writes to standard error.

    Args:
        stream: where to write.
        quiet: whether to say nothing but warnings.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._quiet = quiet
        self._live: Live | None = None
        self._total_bytes = 0
        self._started = self._last_line = time.monotonic()

    def planned(self, plan: Plan) -> None:
        """Say what is about to be done and which files will appear."""
        self._total_bytes = plan.input_bytes
        for note in plan.notes:
            self._say(f"note: {note}", always=True)
        where = f"{', '.join(plan.devices)} ({plan.kind}, {plan.precision})"
        self._say(f"{plan.command} with {plan.weights} on {where}, {plan.how}")
        self._say(f"will write in {plan.outputs.directory}:")
        for path, meaning in plan.outputs.described():
            self._say(f"  {path.name:<36} {meaning}")

    def advanced(self, progress: Progress) -> None:
        """Show how far the run is, how fast, and how long it will take."""
        if self._quiet:
            return
        now = time.monotonic()
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            if self._live is None:
                self._live = Live(console=self._console, transient=True, auto_refresh=False)
                self._live.start()
            self._live.update(Text(self._line(progress, now)), refresh=True)
        elif now - self._last_line >= _PLAIN_EVERY:
            self._last_line = now
            self._say(self._line(progress, now))

    def noted(self, line: str) -> None:
        """Say it."""
        self.close()
        self._say(line)

    def merging(self) -> None:
        """Say that the tables are being written."""
        self.close()
        self._say("all records done, writing files")

    def already_finished(self) -> None:
        """Say that there is nothing to do."""
        self._say("this run is finished already, nothing is left to do")

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _line(self, progress: Progress, now: float) -> str:
        """Return the progress in words; the ETA counts only what this attempt did."""
        seconds = max(now - self._started, 1e-9)
        parts = [f"{progress.records:,} records"]
        if progress.resumed_records:
            parts.append(f"{progress.resumed_records:,} from before")
        parts.append(f"{progress.work.records / seconds:,.0f} records/s")
        done = progress.bytes_done - progress.resumed_bytes
        left = self._total_bytes - progress.bytes_done
        if self._total_bytes and done > 0:
            minutes, rest = divmod(round(left * seconds / done), 60)
            parts.append(f"{progress.bytes_done / self._total_bytes:.0%}")
            parts.append(f"{minutes}:{rest:02d} left")
        parts += [
            f"{name} {reading.utilisation:.0f}% {reading.memory / 2**30:.0f} GiB "
            f"{reading.power:.0f} W {reading.temperature:.0f} °C"
            for name, reading in progress.readings.items()
        ]
        return ", ".join(parts)

    def _say(self, line: str, *, always: bool = False) -> None:
        if always or not self._quiet:
            self._console.print(line, markup=False)
