"""What all figures share: the colours and marks of the metrics, sizes, and how names are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cifar_track.config import CLASS_FIGURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

# A `matplotlibrc` of the person's, or of the working folder, may ask for TeX, which may be absent,
# or for a font; figures look the same everywhere, and are drawn when the training is over.
mpl.rcdefaults()

DPI = 110

# Order and marks repeat what the colours say.
METRIC_COLOURS = {figure.name: figure.colour for figure in CLASS_FIGURES}
PRECISION, RECALL, F1 = METRIC_COLOURS.values()
METRIC_MARKS = {"precision": "s", "recall": "^", "f1": "o"}
METRIC_LABELS = {figure.name: figure.label for figure in CLASS_FIGURES}

TRAIN = "#8c8c8c"
VALIDATION = "#1b4f8a"
BEST = "#d95f02"
FAILED = "#7b3294"
INK = "#222222"
FAINT = "#767676"
RULE = "#d9d9d9"
BAND = "#f0f0f0"


def new_figure(width: float, height: float, *, title: str | None = None) -> Figure:
    """An empty figure of that size in inches that makes room for its labels by itself."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    if title:
        figure.suptitle(title, fontsize=12, fontweight="bold", color=INK)
    return figure


def spoken(name: str) -> str:
    """A class's name as it is drawn: spaces for underscores."""
    return literal(name.replace("_", " "))


def literal(name: str) -> str:
    """A name drawn as it is written, a dollar sign included."""
    return name.replace("$", r"\$")


def shortened(name: str, length: int) -> str:
    """The name, cut to that many characters with an ellipsis where it is longer."""
    return name if len(name) <= length else name[: length - 1].rstrip() + "…"


def clear_frame(axes: Axes, *, grid: str | None = None) -> None:
    """Leave the left and the bottom line of the frame and, if asked, a faint grid behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, length=3)
    axes.set_axisbelow(True)
    if grid == "x":
        axes.grid(axis="x", color=RULE, linewidth=0.6)
    elif grid == "y":
        axes.grid(axis="y", color=RULE, linewidth=0.6)


def whole_numbers(axes: Axes) -> None:
    """Let the horizontal axis carry whole numbers alone, as epochs and trials are."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))


def metric_marks(metrics: Sequence[str]) -> list[Line2D]:
    """The entries of a legend of metrics drawn as marks."""
    return [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=METRIC_MARKS[metric],
            color=METRIC_COLOURS[metric],
            label=METRIC_LABELS[metric],
            markersize=6,
        )
        for metric in metrics
    ]


def say(axes: Axes, words: str) -> None:
    """Write the words into the middle of an axes that has nothing to show."""
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=FAINT)
