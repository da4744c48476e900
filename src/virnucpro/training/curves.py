"""The plot of the losses and the AUROC of a training."""

from pathlib import Path

from virnucpro.errors import require
from virnucpro.runs.partial_files import PartialFiles
from virnucpro.training.heads import Epoch

#: Distinguishable with any colour vision (Okabe and Ito 2008).
_TRAIN, _DEV, _AUROC = "#0072B2", "#D55E00", "#009E73"


def check_matplotlib() -> None:
    """Refuse to start a training that could not draw its curves at the end.

    Raises:
        SettingsError: Matplotlib cannot be loaded.
    """
    modules = "matplotlib.figure", "matplotlib.backends.backend_agg"
    require("train", "pip install matplotlib", *modules)


def draw_curves(epochs: list[Epoch], best: int, path: Path) -> None:
    """Draw losses and AUROC of each epoch as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 (loads Matplotlib)
    from matplotlib.figure import Figure  # noqa: PLC0415

    number, train_loss, dev_loss, dev_auroc = zip(*epochs, strict=True)
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses = figure.add_subplot()
    losses.plot(number, train_loss, color=_TRAIN, label="loss, training")
    losses.plot(number, dev_loss, color=_DEV, label="loss, held out")
    losses.axvline(best, color="0.6", linewidth=1, linestyle=":")
    losses.annotate(f"kept: {best}", (best, max(train_loss)), color="0.4")
    losses.set_xlabel("epoch")
    losses.set_ylabel("loss")
    aurocs = losses.twinx()
    aurocs.plot(number, dev_auroc, color=_AUROC, linestyle="--", label="AUROC of frames, held out")
    aurocs.set_ylabel("AUROC")
    handles = [*losses.get_lines()[:2], *aurocs.get_lines()]
    losses.legend(handles=handles, loc="center right", frameon=False)
    with PartialFiles() as files:
        figure.savefig(files.open(path), format="png", dpi=150, metadata={"Software": None})
