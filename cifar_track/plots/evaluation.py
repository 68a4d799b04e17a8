"""Figures of one evaluation by class: precision, recall and F1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D

from cifar_track.config import FIRST_CLASSES
from cifar_track.plots.style import (
    BAND,
    INK,
    METRIC_COLOURS,
    METRIC_LABELS,
    METRIC_MARKS,
    RECALL,
    clear_frame,
    metric_marks,
    new_figure,
    spoken,
)

if TYPE_CHECKING:  # a figure needs an evaluation's values, not scikit-learn
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from cifar_track.evaluation import Evaluation

METRICS = ("precision", "recall", "f1")


def per_class_bars(
    evaluation: Evaluation,
    *,
    classes: slice | Sequence[int] | None = None,
    title: str | None = None,
) -> Figure:
    """Precision (blue), recall (green) and F1 (red) of some classes as grouped bars.

    Args:
        evaluation: what to draw.
        classes: class numbers, in the order in which they are drawn; the first eleven, as the
            study draws them, unless given.
        title: stands above the figure; one is made up unless given.

    Returns:
        One axes with three bars a class, each with its value above it.

    Raises:
        IndexError: a class number is not of this evaluation.
        ValueError: no class is asked for.
    """
    shown = _class_numbers(evaluation, classes)
    figure = new_figure(
        max(6.5, 1.6 + 0.95 * len(shown)),
        5.2,
        title=title or f"Precision, recall and F1 of {len(shown)} classes",
    )
    axes = figure.subplots()
    places = np.arange(len(shown))
    for offset, metric in zip((-0.27, 0.0, 0.27), METRICS, strict=True):
        values = getattr(evaluation, metric)[shown]
        bars = axes.bar(
            places + offset,
            values,
            width=0.25,
            color=METRIC_COLOURS[metric],
            label=METRIC_LABELS[metric],
        )
        axes.bar_label(bars, fmt="%.2f", fontsize=7, rotation=90, padding=2, color=INK)
    axes.set_ylim(0, 1.08)
    axes.set_yticks(np.arange(0, 1.01, 0.2))
    axes.set_ylabel("fraction")
    axes.set_xticks(
        places,
        [spoken(evaluation.class_names[number]) for number in shown],
        rotation=40,
        ha="right",
        rotation_mode="anchor",
        fontsize=10,
    )
    axes.set_xlim(-0.6, len(shown) - 0.4)
    clear_frame(axes, grid="y")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    return figure


def per_class_overview(evaluation: Evaluation, *, title: str | None = None) -> Figure:
    """Precision, recall and F1 of every class, by superclass, the best F1 first in each.

    Superclasses come by their mean F1, the best first, down the left column and then the right.
    The green line behind the marks is recall's 95 % interval; the number at the right is F1.

    Args:
        evaluation: what to draw.
        title: stands above the figure; one is made up unless given.
    """
    blocks = _superclass_blocks(evaluation)
    columns = _split_evenly(blocks, columns=2 if len(evaluation.class_names) > 30 else 1)
    rows = max(sum(len(members) + 1 for _, members in column) for column in columns)
    figure = new_figure(
        6.6 * len(columns),
        1.5 + 0.215 * rows,
        title=title or f"Precision, recall and F1 of all {len(evaluation.class_names)} classes",
    )
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    for axes, column in zip(panels, columns, strict=True):
        _draw_blocks(axes, evaluation, column, rows=rows)
    interval = Line2D([], [], color=RECALL, alpha=0.3, linewidth=3, label="recall, 95 % interval")
    figure.legend(
        handles=[*metric_marks(METRICS), interval],
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=10,
    )
    return figure


def _class_numbers(
    evaluation: Evaluation, classes: slice | Sequence[int] | None
) -> NDArray[np.int64]:
    every = np.arange(len(evaluation.class_names))
    if classes is None:
        classes = slice(0, FIRST_CLASSES)
    shown = every[classes] if isinstance(classes, slice) else every[list(classes)]
    if shown.size == 0:
        raise ValueError(f"no class to draw: classes={classes}")
    return shown


def _superclass_blocks(evaluation: Evaluation) -> list[tuple[str, NDArray[np.int64]]]:
    """Each superclass's name and its class numbers, both by F1, the best first."""
    members_of = np.asarray(evaluation.superclass_of)
    blocks = []
    for number, name in enumerate(evaluation.superclass_names):
        members = np.flatnonzero(members_of == number)
        if members.size:
            best_first = np.argsort(-evaluation.f1[members], kind="stable")
            blocks.append((name, members[best_first]))
    return sorted(blocks, key=lambda block: -float(evaluation.f1[block[1]].mean()))


def _split_evenly(
    blocks: list[tuple[str, NDArray[np.int64]]], *, columns: int
) -> list[list[tuple[str, NDArray[np.int64]]]]:
    """Consecutive blocks dealt into columns of about as many rows, a header counting as one."""
    rows = np.array([len(members) + 1 for _, members in blocks])
    middles = np.cumsum(rows) - rows / 2
    column_of = np.minimum((middles * columns / rows.sum()).astype(int), columns - 1)
    dealt = [[b for b, c in zip(blocks, column_of, strict=True) if c == n] for n in range(columns)]
    return [column for column in dealt if column]


def _draw_blocks(
    axes: Axes,
    evaluation: Evaluation,
    blocks: list[tuple[str, NDArray[np.int64]]],
    *,
    rows: int,
) -> None:
    place = 0
    places: list[int] = []
    numbers: list[int] = []
    at_right = axes.get_yaxis_transform()
    for name, members in blocks:
        axes.axhspan(place - 0.5, place + 0.5, color=BAND, linewidth=0)
        axes.text(0.008, place, spoken(name), fontsize=9, fontweight="bold", va="center", color=INK)
        mean = float(evaluation.f1[members].mean())
        axes.text(
            0.992,
            place,
            f"mean F1 {mean:.2f}",
            fontsize=8,
            va="center",
            ha="right",
            color=INK,
        )
        for number in members:
            place += 1
            places.append(place)
            numbers.append(int(number))
        place += 1
    heights = np.array(places)
    axes.hlines(
        heights,
        evaluation.recall_low[numbers],
        evaluation.recall_high[numbers],
        color=RECALL,
        alpha=0.3,
        linewidth=3,
    )
    for metric in METRICS:
        axes.plot(
            getattr(evaluation, metric)[numbers],
            heights,
            linestyle="none",
            marker=METRIC_MARKS[metric],
            color=METRIC_COLOURS[metric],
            markersize=6 if metric == "recall" else 5,
            markeredgecolor="white",
            markeredgewidth=0.4,
            label=METRIC_LABELS[metric],
            clip_on=False,  # a mark at 0 or 1 is drawn whole
            zorder=3,
        )
    for height, number in zip(places, numbers, strict=True):
        axes.text(
            1.012,
            height,
            f"{evaluation.f1[number]:.2f}",
            transform=at_right,
            fontsize=8,
            va="center",
            color=INK,
        )
    axes.set_yticks(places, [spoken(evaluation.class_names[n]) for n in numbers], fontsize=8.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xticks(np.arange(0, 1.01, 0.1))
    axes.tick_params(axis="x", labelsize=8, labeltop=True, top=True)
    clear_frame(axes, grid="x")
    axes.tick_params(axis="y", length=0)
