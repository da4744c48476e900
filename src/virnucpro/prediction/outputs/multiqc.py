"""Custom content for MultiQC, which finds it by its file names and puts many runs side by side.

MultiQC takes one plot from a file, so that there are two; files of several runs with the same id
become one plot with a sample for each run.
"""

from collections.abc import Mapping
from typing import Any

from virnucpro.classify import CALL_NAMES
from virnucpro.classify.consensus import UNSCORED, VIRUS
from virnucpro.files import as_json

_SECTION = {
    "parent_id": "virnucpro",
    "parent_name": "VirNucPro",
    "parent_description": "says which reads or contigs are viral.",
}
#: In the order of the bars.
_COLOURS = {"virus": "#d55e00", "other": "#0072b2", "unscored": "#bbbbbb"}


def multiqc_files(sample: str, calls: Mapping[str, int]) -> dict[str, bytes]:
    """Return the content of each file, by its short name in `Outputs`.

    Args:
        sample: what MultiQC calls the run.
        calls: records by call.
    """
    records = max(sum(calls.values()), 1)
    virus, unscored = CALL_NAMES[VIRUS], CALL_NAMES[UNSCORED]
    percent = {f"percent_{x}": round(100 * calls[x] / records, 4) for x in (virus, unscored)}
    stats = {
        "id": "virnucpro_stats",
        "plot_type": "generalstats",
        "namespace": "VirNucPro",
        "pconfig": [
            {"percent_virus": _percent_column("Viral", "Records called virus", "Oranges")},
            {"percent_unscored": _percent_column("Unscored", "Records without a score", "Greys")},
        ],
        "data": {sample: percent},
    }
    bars = {
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
    return {"multiqc_stats": as_json(stats), "multiqc_calls": as_json(bars)}


def _percent_column(title: str, description: str, scale: str) -> dict[str, Any]:
    return {
        "title": title, "description": description, "scale": scale,
        "suffix": "%", "min": 0, "max": 100, "format": "{:,.2f}",
    }  # fmt: skip
