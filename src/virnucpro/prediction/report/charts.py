"""The pictures of the report: Vega-Lite specifications through Altair, drawn as SVG.

They are drawn when the report is made, so the page needs no plotting library. Colours are variables
of the page (page.css), which differ between light screens, dark screens and paper. The attribute
`data-tip` of a mark holds its tooltip.
"""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import vl_convert
from markupsafe import Markup, escape

from virnucpro.prediction.report.explanations import share
from virnucpro.prediction.report.run_findings import GC_BINS, OCTAVE_BINS, SCORE_BINS, Int64

#: Size of a plot in pixels; a wide page shows three side by side, a telephone one.
_WIDTH, _HEIGHT = 320, 190
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
_INK, _SOFT, _LINE, _DENSE = "var(--ink)", "var(--soft)", "var(--line)", "var(--dense)"
#: Calls in the order in which they are shown.
_SHOWN = ("virus", "other", "unscored")
_COLOURS = {call: f"var(--{call})" for call in _SHOWN}
#: Number of rows of scores in two-dimensional pictures, and largest number of columns of lengths.
_ROWS, _COLUMNS = 25, 30
#: Counts are drawn on a logarithmic axis if the largest exceeds the median by this factor.
_STEEP = 20

Rows = list[dict[str, Any]]


def calls_picture(calls: dict[str, int]) -> Markup:
    """Draw the number of records by call."""
    total = max(1, sum(calls.values()))
    rows: Rows = [
        {"call": call, "n": calls[call], "says": f"{calls[call]:,} ({share(calls[call], total)})"}
        for call in _SHOWN
    ]
    bars = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("call:N", sort=list(_SHOWN), axis=_labels_only()),
        x=alt.X("n:Q", axis=None, scale=alt.Scale(domain=[0, total * 1.45])),
    )
    drawn = alt.layer(
        bars.mark_bar(height=26).encode(color=_call_colour(), description="says:N"),
        bars.mark_text(align="left", dx=6, fontSize=13, color=_INK).encode(text="says:N"),
    )
    return _svg(drawn, 130, "Records by call: " + _listed(f"{r['call']} {r['says']}" for r in rows))


def scores_picture(counts_CB: Int64, *, steep: bool, height: int = _HEIGHT) -> Markup:
    """Draw the number of records by p_virus and call.

    Args:
        counts_CB: number of scored records by call and bin of p_virus.
        steep: whether counts are drawn on a logarithmic axis.
        height: height of the plot in pixels.
    """
    floor = 0.6 if steep else 0.0
    rows: Rows = []
    for i, (other, virus) in enumerate(counts_CB[:2].T.tolist()):
        low, high = i / SCORE_BINS, (i + 1) / SCORE_BINS
        for call, base, n in (("other", 0, other), ("virus", other, virus)):
            if n:
                rows.append({
                    "low": low, "high": high, "base": max(base, floor), "top": base + n,
                    "call": call, "tip": f"score {low:.2f} to {high:.2f}: {n:,} {call}",
                })  # fmt: skip
    drawn = alt.Chart(alt.Data(values=rows)).mark_rect(stroke="var(--paper)", strokeWidth=0.5)
    drawn = drawn.encode(
        x=_score_axis(alt.X("low:Q")),
        x2="high:Q",
        y=alt.Y(
            "base:Q",
            title="records" + (" (log scale)" if steep else ""),
            scale=_counts_scale(counts_CB, floor) if steep else alt.Scale(nice=True),
            axis=alt.Axis(values=_powers(counts_CB), format=",d") if steep else alt.Axis(
                tickCount=4, format=",d", tickMinStep=1
            ),
        ),
        y2="top:Q",
        color=_call_colour(),
        description="tip:N",
    )  # fmt: skip
    return _svg(drawn, height, f"Records by score: {_spread(counts_CB.sum(0))}")


def length_picture(lengths_LB: Int64) -> Markup:
    """Draw p_virus against length, which has a logarithmic axis."""
    known = np.flatnonzero(lengths_LB.sum(1))
    first, last = int(known[0]), int(known[-1]) + 1
    each = -(-(last - first) // _COLUMNS)
    borders = [*range(first, last, each), last]
    columns_LB = np.add.reduceat(lengths_LB[:last], borders[:-1])
    edges = [2 ** (border / OCTAVE_BINS) for border in borders]
    ticks = [m * 10**e for e in range(13) for m in (1, 2, 5) if edges[0] <= m * 10**e <= edges[-1]]
    ticks = [t for t in ticks if str(t)[0] == "1"] if len(ticks) > 7 else ticks
    x = alt.X(
        "left:Q", title="length in bases (log scale)",
        scale=alt.Scale(type="log", domain=[edges[0], edges[-1]], nice=False),
        axis=alt.Axis(values=ticks, format=",d", grid=False),
    )  # fmt: skip
    says = [f"{math.ceil(a):,} to {math.ceil(b) - 1:,} bases" for a, b in pairwise(edges)]
    return _density(columns_LB, edges, says, x, "Score against length of the records")


def gc_picture(gc_GB: Int64) -> Markup:
    """Draw p_virus against the share of G and C."""
    known = np.flatnonzero(gc_GB.sum(1))
    first, last = int(known[0]), int(known[-1]) + 1
    edges = [i / GC_BINS for i in range(first, last + 1)]
    x = alt.X(
        "left:Q", title="share of G and C",
        scale=alt.Scale(domain=[edges[0], edges[-1]], nice=False),
        axis=alt.Axis(format=".0%", tickCount=6, grid=False),
    )  # fmt: skip
    says = [f"{a:.0%} to {b:.0%} GC" for a, b in pairwise(edges)]
    return _density(gc_GB[first:last], edges, says, x, "Score against the share of G and C")


def samples_picture(calls: dict[str, dict[str, int]]) -> Markup:
    """Draw the shares of calls of each sample."""
    rows: Rows = []
    for name, counts in calls.items():
        total, left = max(1, sum(counts.values())), 0.0
        for call in _SHOWN:
            right = left + counts[call] / total
            says = f"{name}: {counts[call]:,} {call} ({share(counts[call], total)})"
            rows.append(
                {"sample": name, "left": left, "right": right, "call": call, "tip": says}
            )  # fmt: skip
            left = right
    drawn = alt.Chart(alt.Data(values=rows)).mark_bar(height=16).encode(
        y=alt.Y("sample:N", sort=list(calls), axis=_labels_only()),
        x=alt.X("left:Q", title="share of the records", axis=alt.Axis(format=".0%", tickCount=5)),
        x2="right:Q",
        color=_call_colour(),
        description="tip:N",
    )  # fmt: skip
    return _svg(drawn, 24 * len(calls), "Share of calls in each sample")


def _density(counts_XB: Int64, edges: list[float], says: list[str], x: alt.X, title: str) -> Markup:
    """Draw p_virus against another value: the density of records, and the median of each column."""
    cells_XR = counts_XB.reshape(len(counts_XB), _ROWS, -1).sum(2)
    rows: Rows = []
    for column, row in np.argwhere(cells_XR).tolist():
        n, low, high = int(cells_XR[column, row]), row / _ROWS, (row + 1) / _ROWS
        rows.append({
            "left": edges[column], "right": edges[column + 1], "low": low, "high": high, "n": n,
            "tip": f"{says[column]}, score {low:.2f} to {high:.2f}: {n:,}",
        })  # fmt: skip
    medians: Rows = [
        {"left": edges[i], "right": edges[i + 1], "median": _median(counts)}
        for i, counts in enumerate(counts_XB)
        if counts.sum()
    ]
    most = max(row["n"] for row in rows)
    cells = alt.Chart(alt.Data(values=rows)).mark_rect(color=_DENSE).encode(
        x=x,
        x2="right:Q",
        y=_score_axis(alt.Y("low:Q")),
        y2="high:Q",
        fillOpacity=alt.FillOpacity(
            "n:Q", scale=alt.Scale(type="log", domain=[1, max(2, most)], range=[0.12, 1]),
            legend=None,
        ),
        description="tip:N",
    )  # fmt: skip
    middle = alt.Chart(alt.Data(values=medians)).mark_rule(color="var(--median)", strokeWidth=2.5)
    drawn = alt.layer(cells, middle.encode(x="left:Q", x2="right:Q", y="median:Q"))
    return _svg(drawn, _HEIGHT, title)


def _svg(chart: alt.Chart | alt.LayerChart | alt.FacetChart, height: int, says: str) -> Markup:
    """Draw a chart; `says` is the text for screen readers."""
    styled = (
        chart.properties(width=_WIDTH, height=height, background="transparent", padding=2)
        .configure(font=_FONT)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=_SOFT, titleColor=_SOFT, gridColor=_LINE, domainColor=_LINE,
            tickColor=_LINE, labelFontSize=12, titleFontSize=12, titleFontWeight="normal",
            titlePadding=8, labelFont=_FONT, titleFont=_FONT,
        )
    )  # fmt: skip
    drawn = vl_convert.vegalite_to_svg(styled.to_dict())
    for role in ("rect mark", "bar", "text mark", "rule mark"):
        drawn = drawn.replace(f' role="graphics-symbol" aria-roledescription="{role}"', "")
    drawn = drawn.replace(' aria-label="', ' data-tip="')
    size = drawn[drawn.index("width=") : drawn.index("viewBox=")]
    box = f'role="img" aria-label="{escape(says)}" '
    return Markup(drawn.replace(size, box, 1))  # noqa: S704 (Vega escapes what it writes)


def _call_colour() -> alt.Color:
    colours = alt.Scale(domain=list(_SHOWN), range=[_COLOURS[call] for call in _SHOWN])
    return alt.Color("call:N", scale=colours, legend=None)


def _labels_only() -> alt.Axis:
    return alt.Axis(
        title=None, domain=False, ticks=False, labelPadding=8, labelColor=_INK, labelLimit=110,
        labelFontSize=13, minExtent=84,
    )  # fmt: skip


def _score_axis(place: Any) -> Any:  # noqa: ANN401 (X or Y)
    return place.title("score (p_virus)").scale(domain=[0, 1]).axis(tickCount=5, format=".1f")


def is_steep(counts: Int64) -> bool:
    """Return whether counts differ so much that they need a logarithmic axis."""
    known = counts[counts > 0]
    return bool(len(known)) and float(known.max()) > _STEEP * float(np.median(known))


def _counts_scale(counts_CB: Int64, floor: float) -> alt.Scale:
    return alt.Scale(type="log", domain=[floor, float(counts_CB.sum(0).max()) * 1.3], nice=False)


def _powers(counts_CB: Int64) -> list[int]:
    return [10**e for e in range(len(str(int(counts_CB.sum(0).max()))))]


def _median(counts_B: Int64) -> float:
    """Return the middle of the bin that holds the median."""
    return float((np.searchsorted(np.cumsum(counts_B), counts_B.sum() / 2) + 0.5) / len(counts_B))


def _spread(counts_B: Int64) -> str:
    if not counts_B.sum():
        return "none has a score"
    low, middle, high = (
        (np.searchsorted(np.cumsum(counts_B), counts_B.sum() * q) + 0.5) / len(counts_B)
        for q in (0.25, 0.5, 0.75)
    )
    return f"a quarter is below {low:.2f}, half below {middle:.2f}, three quarters below {high:.2f}"


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts)
