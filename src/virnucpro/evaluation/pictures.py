"""The ROC, precision-recall and reliability curves as PNG pictures."""

import io
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from sklearn.metrics import precision_recall_curve, roc_curve

from virnucpro.evaluation.matched_records import FALSE_POSITIVE_RATES, VIEWS, Records
from virnucpro.evaluation.result import Evaluation

_DPI = 150
#: Distinguishable with any colour vision (Okabe and Ito 2008), and by their dashes.
_COLOURS = {"all": "#0072B2", "scored": "#D55E00"}
_VIRUS, _OTHER = "#D55E00", "#56B4E9"
_DASHES = {"all": "-", "scored": (0, (5, 1.5))}
_GREY = "#777777"


def roc_picture(evaluation: Evaluation, records: Records) -> bytes:
    """Draw recall against the false positive rate, on a linear and on a logarithmic axis."""
    figure = Figure(figsize=(10, 5), dpi=_DPI, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    lowest = 1 / max(1, int((~records.is_virus).sum()))
    for view, chosen in _drawable(records):
        fpr, tpr, _ = roc_curve(chosen.is_virus, chosen.rank)
        label = _label(evaluation, view, "auroc", "AUROC")
        for plot in axes:
            x = np.maximum(fpr, lowest / 2) if plot is axes[1] else fpr
            plot.plot(x, tpr, color=_COLOURS[view], linestyle=_DASHES[view], label=label)
    chance = np.geomspace(lowest / 2, 1, 200)
    for plot in axes:
        plot.plot(chance, chance, color=_GREY, linewidth=0.8, linestyle=":", label="chance")
        _style(plot, "share of other records above the threshold", "")
    axes[0].set(ylabel="share of viral records above it (recall)", xlim=(-0.01, 1.01))
    axes[0].legend(loc="lower right")
    axes[1].set(xscale="log", xlim=(min(lowest, 0.005), 1))
    axes[1].set_xlabel("the same, logarithmic; numbers: recall at 1 % and 5 %")
    axes[1].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %"))
    for name, rate in FALSE_POSITIVE_RATES.items():
        axes[1].axvline(rate, color=_GREY, linewidth=0.8)
        _write_recalls(axes[1], evaluation, name, rate)
    return _png(figure, _title(evaluation, "ROC", "all"))


def _write_recalls(plot: Axes, evaluation: Evaluation, name: str, rate: float) -> None:
    """Mark the recall of both views at a rate, and write the numbers at the top of the line."""
    for i, view in enumerate(VIEWS):
        found = evaluation.views[view]["overall"].measures[f"recall_at_{name}"].value
        if found is None:
            continue
        plot.plot([rate], [found], "o", color=_COLOURS[view], markersize=5)
        plot.annotate(
            f"{found:.3f}", (rate, 1), (-4, -10 - 13 * i), textcoords="offset points",
            color=_COLOURS[view], ha="right", va="center", fontsize=9,
        )  # fmt: skip


def precision_recall_picture(evaluation: Evaluation, records: Records) -> bytes:
    """Draw precision against recall; the share of viral records is the level of chance."""
    figure = Figure(figsize=(6, 5), dpi=_DPI, layout="constrained")
    plot = figure.subplots()
    for view, chosen in _drawable(records):
        precision, recall, _ = precision_recall_curve(chosen.is_virus, chosen.rank)
        label = _label(evaluation, view, "auprc", "AUPRC")
        plot.step(
            recall, precision, where="post", color=_COLOURS[view], linestyle=_DASHES[view],
            label=label,
        )  # fmt: skip
        share = float(chosen.is_virus.mean())
        plot.axhline(
            share, color=_COLOURS[view], linewidth=0.8, linestyle=":",
            label=f"viral share, {view} records: {share:.3f}",
        )  # fmt: skip
    _style(plot, "recall", "precision")
    plot.set_xlim(-0.01, 1.01)
    plot.legend(loc="lower left")
    return _png(figure, _title(evaluation, "Precision and recall", "all"))


def reliability_picture(evaluation: Evaluation) -> bytes:
    """Draw the share of viral records against the mean probability, above counts of records."""
    figure = Figure(figsize=(6, 6.2), dpi=_DPI, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bins = evaluation.reliability
    above.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":", label="as stated")
    if bins:
        measures = evaluation.views["scored"]["overall"].measures
        label = f"ECE {measures['ece']}\nBrier score {measures['brier']}"
        shares = [b.virus / b.records for b in bins]
        stated = [b.mean_probability for b in bins]
        above.plot(stated, shares, "o-", color=_COLOURS["all"], markersize=5, label=label)
    left, width = [b.low for b in bins], [b.high - b.low for b in bins]
    others, virus = [b.records - b.virus for b in bins], [b.virus for b in bins]
    bars = {"align": "edge", "edgecolor": "white", "linewidth": 0.5}
    below.bar(left, others, width, color=_OTHER, label="other", **bars)
    below.bar(left, virus, width, bottom=others, color=_VIRUS, label="virus", **bars)
    for b in bins:
        below.annotate(
            f"{b.records:,}", ((b.low + b.high) / 2, b.records), (0, 2),
            textcoords="offset points", ha="center", fontsize=7,
        )  # fmt: skip
    _style(above, "", "share labelled viral")
    above.set_xlim(-0.01, 1.01)
    above.legend(loc="lower right")
    below.set(xlabel=_plain(evaluation.probability_column or "probability"), ylabel="records")
    below.margins(y=0.18)
    below.spines[["top", "right"]].set_visible(False)
    below.legend(loc="upper center", fontsize=9, frameon=False)
    return _png(figure, _title(evaluation, "Reliability", "scored"))


def _drawable(records: Records) -> Iterator[tuple[str, Records]]:
    """Yield the views that have both labels."""
    for view in VIEWS:
        chosen = records.take(np.flatnonzero(records.is_scored | (view == "all")))
        if chosen.is_virus.any() and not chosen.is_virus.all():
            yield view, chosen


def _label(evaluation: Evaluation, view: str, metric: str, name: str) -> str:
    group = evaluation.views[view]["overall"]
    return f"{view} records ({group.records:,}): {name} {group.measures[metric]}"


def _title(evaluation: Evaluation, what: str, view: str) -> str:
    group = evaluation.views[view]["overall"]
    others = group.records - group.virus
    return f"{what}: {group.virus:,} viral and {others:,} other, {view} records"


def _style(plot: Axes, x: str, y: str) -> None:
    plot.set(xlabel=x, ylabel=y, ylim=(-0.01, 1.01))
    plot.grid(color="#E5E5E5", linewidth=0.6)
    plot.set_axisbelow(True)
    plot.spines[["top", "right"]].set_visible(False)


def _plain(text: str) -> str:
    """Escape a text so that Matplotlib reads no formula in it."""
    return text.replace("$", r"\$")


def _png(figure: Figure, title: str) -> bytes:
    figure.suptitle(title, fontsize=11)
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
