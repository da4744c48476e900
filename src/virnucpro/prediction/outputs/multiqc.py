"""Custom content for MultiQC, which finds it by file name and shows many runs side by side.

MultiQC takes one plot from a file, so there are two files. Files of several runs with the same id
become one plot with a sample for each run.
"""

from collections.abc import Mapping
from typing import Any

from virnucpro.classify import CALL_NAMES
from virnucpro.classify.consensus import UNSCORED, VIRUS
from virnucpro.files import as_json
from virnucpro.prediction.outputs.counts import Counts
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.scored_shards import ScoredShard
from virnucpro.runs.partial_files import PartialFiles

_SECTION = {
    "parent_id": "virnucpro",
    "parent_name": "VirNucPro",
    "parent_description": "says which reads or contigs are viral.",
}
#: Colours of the calls, in the order of the bars.
_COLOURS = {"virus": "#d55e00", "other": "#0072b2", "unscored": "#bbbbbb"}


class MultiqcFiles:
    """A sink that writes both files.

    Args:
        files: opens the files.
        outputs: paths of the files; MultiQC names the run by its directory.
        counts: a sink that comes earlier and counts the calls.
    """

    def __init__(self, files: PartialFiles, outputs: Outputs, counts: Counts) -> None:
        self._stats = files.open(outputs.path("multiqc_stats"))
        self._calls = files.open(outputs.path("multiqc_calls"))
        self._sample, self._counts = outputs.sample, counts

    def add(self, part: ScoredShard) -> None:
        """Do nothing: the counts are enough."""

    def finish(self) -> None:
        """Write both files."""
        self._stats.write(as_json(general_stats(self._sample, self._counts.calls)))
        self._calls.write(as_json(bar_graph(self._sample, self._counts.calls)))


def general_stats(sample: str, calls: Mapping[str, int]) -> dict[str, Any]:
    """Return two columns for the table of all samples.

    Args:
        sample: name of the run.
        calls: number of records by call.
    """
    records = max(sum(calls.values()), 1)
    virus, unscored = CALL_NAMES[VIRUS], CALL_NAMES[UNSCORED]
    percent = {f"percent_{x}": round(100 * calls[x] / records, 4) for x in (virus, unscored)}
    return {
        "id": "virnucpro_stats",
        "plot_type": "generalstats",
        "namespace": "VirNucPro",
        "pconfig": [
            {"percent_virus": _percent_column("Viral", "Records called virus", "Oranges")},
            {"percent_unscored": _percent_column("Unscored", "Records without a score", "Greys")},
        ],
        "data": {sample: percent},
    }


def bar_graph(sample: str, calls: Mapping[str, int]) -> dict[str, Any]:
    """Return a bar for each sample; arguments as for `general_stats`."""
    return {
        **_SECTION,
        "id": "virnucpro_calls",
        "section_name": "Calls",
        "description": "Records of each sample by what they were called.",
        "plot_type": "bargraph",
        "pconfig": {
            "id": "virnucpro_calls_plot",
            "title": "VirNucPro: calls",
            "ylab": "Records",
        },
        "categories": {
            call: {"name": call.capitalize(), "color": colour} for call, colour in _COLOURS.items()
        },
        "data": {sample: {call: calls[call] for call in _COLOURS}},
    }


def _percent_column(title: str, description: str, scale: str) -> dict[str, Any]:
    return {
        "title": title, "description": description, "scale": scale,
        "suffix": "%", "min": 0, "max": 100, "format": "{:,.2f}",
    }  # fmt: skip
