"""Figure of one evaluation's mistakes: the confusion matrix by class and by superclass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm

from cifar_track.plots.style import (
    FAINT,
    INK,
    RULE,
    clear_frame,
    new_figure,
    shortened,
    spoken,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

    from cifar_track.evaluation import Evaluation

MISTAKES_SHOWN = 20
# From white, so that the many empty cells recede, through colours that differ in lightness.
SHARES = LinearSegmentedColormap.from_list(
    "shares", ["#ffffff", "#fbe3cf", "#f59a6f", "#d0467a", "#7b2a95", "#2c1160", "#000004"]
)


def confusion_matrix(evaluation: Evaluation, *, title: str | None = None) -> Figure:
    """Where the images of each class go: by class, by superclass, and the most frequent mistakes.

    Rows are true classes and sum to 1; the colour follows the square root of the share, so that
    a mistake of one image in a hundred is still seen. Classes stand in order of superclass.

    Args:
        evaluation: what to draw.
        title: stands above the figure; one is made up unless given.
    """
    classes, groups = len(evaluation.class_names), len(evaluation.superclass_names)
    side = float(np.clip(0.115 * classes, 4.5, 11.5))
    figure = new_figure(
        1.75 * side + 5.0,
        side + 2.3,
        title=title or f"Confusion matrix (accuracy {evaluation.accuracy:.3f})",
    )
    grid = figure.add_gridspec(2, 2, width_ratios=[side, 0.62 * side], height_ratios=[1.35, 1])
    classes_axes = figure.add_subplot(grid[:, 0])
    groups_axes = figure.add_subplot(grid[0, 1])
    mistakes_axes = figure.add_subplot(grid[1, 1])
    norm = PowerNorm(gamma=0.5, vmin=0, vmax=1)

    order = np.argsort(np.asarray(evaluation.superclass_of), kind="stable")
    shares = _row_shares(evaluation.confusion[np.ix_(order, order)])
    image = _draw_matrix(
        classes_axes,
        shares,
        [spoken(evaluation.class_names[number]) for number in order],
        norm=norm,
        fontsize=float(np.clip(640 / classes, 6.4, 9)),
    )
    _draw_superclass_lines(classes_axes, evaluation, order)
    bar = figure.colorbar(
        image, ax=classes_axes, location="bottom", shrink=0.6, aspect=40, pad=0.01
    )
    bar.set_ticks([0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1])
    bar.ax.tick_params(labelsize=8)
    bar.set_label("share of the true class's images (colour by square root)", fontsize=9)

    group_shares = _row_shares(evaluation.superclass_confusion)
    _draw_matrix(
        groups_axes,
        group_shares,
        [spoken(name) for name in evaluation.superclass_names],
        norm=norm,
        fontsize=8,
    )
    groups_axes.set_title("by superclass, in percent", fontsize=10)
    for row, column in zip(*np.nonzero(group_shares >= 0.005), strict=True):
        share = group_shares[row, column]
        groups_axes.text(
            column,
            row,
            f"{100 * share:.0f}",
            ha="center",
            va="center",
            fontsize=6.5 if groups > 8 else 9,
            color="white" if share > 0.3 else INK,
        )
    _draw_mistakes(mistakes_axes, evaluation)
    return figure


def _row_shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), dtype=np.float64)


def _draw_matrix(
    axes: Axes,
    shares: NDArray[np.float64],
    names: list[str],
    *,
    norm: PowerNorm,
    fontsize: float,
) -> AxesImage:
    image = axes.imshow(shares, norm=norm, cmap=SHARES, interpolation="nearest")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=fontsize)
    axes.set_yticks(range(len(names)), names, fontsize=fontsize)
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_color(FAINT)
    axes.set_xlabel("predicted", fontsize=10)
    axes.set_ylabel("true", fontsize=10)
    return image


def _draw_superclass_lines(axes: Axes, evaluation: Evaluation, order: NDArray[np.int64]) -> None:
    """Rules between superclasses and their names at the right edge."""
    groups = np.asarray(evaluation.superclass_of)[order]
    edges = np.flatnonzero(np.diff(groups)) + 1
    for edge in edges:
        axes.axhline(edge - 0.5, color=FAINT, linewidth=0.5)
        axes.axvline(edge - 0.5, color=FAINT, linewidth=0.5)
    starts = [0, *edges.tolist()]
    ends = [*edges.tolist(), len(order)]
    for start, end in zip(starts, ends, strict=True):
        axes.text(
            1.006,
            (start + end - 1) / 2,
            spoken(evaluation.superclass_names[groups[start]]),
            transform=axes.get_yaxis_transform(),
            fontsize=8,
            va="center",
            color=INK,
        )


def _draw_mistakes(axes: Axes, evaluation: Evaluation) -> None:
    pairs = evaluation.confused_pairs()[:MISTAKES_SHOWN]
    axes.set_title("most frequent mistakes: true → predicted", fontsize=10)
    if not pairs:
        axes.text(0.5, 0.5, "no mistakes", transform=axes.transAxes, ha="center", color=FAINT)
        axes.set_axis_off()
        return
    places = np.arange(len(pairs))
    within = [bool(pair["same_superclass"]) for pair in pairs]
    for same, colour, label in (
        (True, "#51127c", "same superclass"),
        (False, "#fb8761", "another superclass"),
    ):
        chosen = [n for n, inside in enumerate(within) if inside is same]
        bars = axes.barh(
            places[chosen],
            [100 * float(pairs[n]["share"]) for n in chosen],
            height=0.72,
            color=colour,
            label=label,
        )
        axes.bar_label(bars, fmt="%.0f", fontsize=7, padding=2, color=INK)
    names = [
        f"{shortened(spoken(str(pair['true'])), 18)} → "
        f"{shortened(spoken(str(pair['predicted'])), 18)}"
        for pair in pairs
    ]
    axes.set_yticks(places, names, fontsize=8)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.set_xlabel("percent of the true class's images", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    clear_frame(axes)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
