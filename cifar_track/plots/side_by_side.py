"""Figures of several runs: two by class, and the accuracy of each beside the study's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from cifar_track.config import FIRST_CLASSES, CifarTrackError
from cifar_track.plots.style import (
    F1,
    FAINT,
    GAIN,
    INK,
    LOSS,
    METRIC_COLOURS,
    METRIC_LABELS,
    RULE,
    VALIDATION,
    clear_frame,
    literal,
    new_figure,
    shortened,
    spoken,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from cifar_track.comparison import Comparison, RunResult


def compare_bars(
    a: RunResult,
    b: RunResult,
    *,
    classes: slice | Sequence[int] | None = None,
    title: str | None = None,
) -> Figure:
    """Two runs on some classes: a panel each for precision, recall and F1, two bars a class.

    Args:
        a: the run drawn pale and hatched.
        b: the run drawn solid.
        classes: class numbers; the first eleven, as the study draws them, unless given.
        title: stands above the figure; one is made up unless given.

    Raises:
        CifarTrackError: a run has no per-class figures, or the two have different classes.
    """
    names = _shared_names(a, b)
    every = np.arange(len(names))
    chosen = slice(0, FIRST_CLASSES) if classes is None else classes
    shown = every[chosen] if isinstance(chosen, slice) else every[list(chosen)]
    first, second = _two_names(a, b)
    figure = new_figure(
        max(7.0, 1.6 + 0.95 * len(shown)),
        8.4,
        title=title or f"{first} and {second} on {len(shown)} classes",
    )
    panels = figure.subplots(3, 1, sharex=True)
    places = np.arange(len(shown))
    for axes, metric in zip(panels, METRIC_COLOURS, strict=True):
        colour = METRIC_COLOURS[metric]
        for offset, run, label in ((-0.2, a, first), (0.2, b, second)):
            values = run.per_class_figure(metric)[shown]
            bars = axes.bar(
                places + offset,
                values,
                width=0.36,
                color=colour if run is b else "white",
                edgecolor=colour,
                hatch=None if run is b else "////",
                linewidth=1,
                label=label,
            )
            words = ["?" if math.isnan(value) else f"{value:.2f}" for value in values]
            axes.bar_label(bars, labels=words, fontsize=8, padding=1, color=INK)
        axes.set_ylim(0, 1.1)
        axes.set_yticks(np.arange(0, 1.01, 0.25))
        axes.set_ylabel(METRIC_LABELS[metric], color=INK, fontsize=11)
        clear_frame(axes, grid="y")
    panels[-1].set_xticks(
        places,
        [spoken(names[number]) for number in shown],
        rotation=40,
        ha="right",
        rotation_mode="anchor",
        fontsize=10,
    )
    panels[-1].set_xlim(-0.6, len(shown) - 0.4)
    legend = [
        Patch(facecolor="white", edgecolor=INK, hatch="////", label=first),
        Patch(facecolor=INK, edgecolor=INK, label=second),
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=2, frameon=False, fontsize=10)
    return figure


def compare_overview(a: RunResult, b: RunResult, *, title: str | None = None) -> Figure:
    """F1 of every class in two runs, from the greatest gain of the second to its greatest loss.

    Args:
        a: the run drawn as a ring.
        b: the run drawn as a dot.
        title: stands above the figure; one is made up unless given.

    Raises:
        CifarTrackError: a run has no per-class figures, or the two have different classes.
    """
    names = _shared_names(a, b)
    first, second = _two_names(a, b)
    before, after = a.per_class_figure("f1"), b.per_class_figure("f1")
    gains = after - before
    order = np.argsort(-np.nan_to_num(gains, nan=-np.inf), kind="stable")
    columns = np.array_split(order, 2 if len(names) > 30 else 1)
    rows = len(columns[0])
    better, worse = int(np.sum(gains > 0)), int(np.sum(gains < 0))
    figure = new_figure(
        6.4 * len(columns),
        1.8 + 0.215 * rows,
        title=title
        or f"F1 of {len(names)} classes, {first} → {second}: {better} better, {worse} worse",
    )
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    highest = float(np.nanmax([*before, *after, 0.5]))
    for axes, numbers in zip(panels, columns, strict=True):
        _draw_dumbbells(axes, before[numbers], after[numbers])
        axes.set_yticks(
            range(len(numbers)), [spoken(names[number]) for number in numbers], fontsize=8.5
        )
        axes.set_ylim(rows - 0.4, -0.6)
        axes.set_xlim(0, min(1.0, highest + 0.05))
        axes.tick_params(axis="x", labelsize=8, labeltop=True, top=True)
        clear_frame(axes, grid="x")
        axes.tick_params(axis="y", length=0)
        axes.hlines(range(len(numbers)), 0, 1, color=RULE, linewidth=0.5, zorder=0)
    legend = [
        Line2D([], [], **_RING, label=f"F1, {first}"),
        Line2D([], [], **_DOT, label=f"F1, {second}"),
        Line2D([], [], color=GAIN, linewidth=3, label="gain"),
        Line2D([], [], color=LOSS, linewidth=3, label="loss"),
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=4, frameon=False, fontsize=10)
    return figure


def accuracy_comparison(comparison: Comparison, *, title: str | None = None) -> Figure:
    """Test accuracy of every run with its 95 % interval, and the study's figures as lines.

    The study's lines are drawn where a run is on CIFAR-100: of other images they say nothing. A
    run without a test accuracy keeps its row and says so.

    Args:
        comparison: the runs.
        title: stands above the figure; one is made up unless given.
    """
    results = comparison.results
    figure = new_figure(
        10, 2.1 + 0.5 * len(results), title=title or "Test accuracy with 95 % interval"
    )
    axes = figure.subplots()
    highs = [r.metric("test_accuracy_high") or r.metric("test_accuracy") or 0.0 for r in results]
    axes.set_xlim(0, min(1.12, max(0.6, max(highs) + 0.12)))
    for place, result in enumerate(results):
        _draw_accuracy(axes, place, result)
    for iteration, figures in comparison.study.items():
        axes.axvline(figures["accuracy"], color=F1, linestyle="--", linewidth=1.2, zorder=0)
        axes.text(
            figures["accuracy"],
            1.01,
            f"study\n{literal(iteration)} {figures['accuracy']:.2f}",
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=8,
            color=F1,
        )
    axes.set_yticks(
        range(len(results)), [shortened(literal(label), 40) for label in comparison.labels]
    )
    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.set_xticks([tick for tick in np.arange(0, 1.01, 0.1) if tick <= axes.get_xlim()[1]])
    axes.set_xlabel("test accuracy")
    clear_frame(axes, grid="x")
    axes.tick_params(axis="y", length=0)
    return figure


_RING: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 6,
    "markerfacecolor": "white",
    "markeredgecolor": F1,
    "markeredgewidth": 1.4,
}
_DOT: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 6, "color": F1}


def _shared_names(a: RunResult, b: RunResult) -> tuple[str, ...]:
    for run in (a, b):
        if not run.per_class:
            raise CifarTrackError(
                f"run {run.run_id} has no per-class figures to draw; name runs that were evaluated"
            )
    if a.class_names != b.class_names:
        raise CifarTrackError(
            f"runs {a.run_id} and {b.run_id} have different classes; compare runs on one dataset"
        )
    return a.class_names


def _two_names(a: RunResult, b: RunResult) -> tuple[str, str]:
    """What to call each: the iteration where that tells them apart, else with the run's id."""
    if a.iteration != b.iteration:
        return literal(a.iteration), literal(b.iteration)
    return f"{literal(a.iteration)} {a.run_id[:8]}", f"{literal(b.iteration)} {b.run_id[:8]}"


def _draw_dumbbells(axes: Axes, before: NDArray[np.float64], after: NDArray[np.float64]) -> None:
    places = np.arange(len(before))
    gains = after - before
    colours = np.where(gains >= 0, GAIN, LOSS)
    axes.hlines(places, before, after, color=colours.tolist(), linewidth=3, zorder=1)
    axes.plot(before, places, **_RING, zorder=2, clip_on=False)
    axes.plot(after, places, **_DOT, zorder=3, clip_on=False)
    for place, gain in enumerate(gains.tolist()):
        axes.text(
            1.012,
            place,
            _gain_text(gain),
            transform=axes.get_yaxis_transform(),
            fontsize=8,
            va="center",
            color=INK,
        )


def _gain_text(gain: float) -> str:
    if math.isnan(gain):
        return "missing"
    return f"{gain:+.2f}" if gain else "0.00"


def _draw_accuracy(axes: Axes, place: int, result: RunResult) -> None:
    accuracy = result.metric("test_accuracy")
    if accuracy is None:
        axes.text(0.01, place, "no test accuracy", va="center", fontsize=9, color=FAINT)
        return
    low, high = result.metric("test_accuracy_low"), result.metric("test_accuracy_high")
    if low is not None and high is not None:
        axes.hlines(place, low, high, color=VALIDATION, linewidth=2.5)
        axes.vlines([low, high], place - 0.13, place + 0.13, color=VALIDATION, linewidth=2)
    axes.plot(accuracy, place, marker="o", color=VALIDATION, markersize=8)
    axes.annotate(
        f"{accuracy:.3f}",
        (high if high is not None else accuracy, place),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=10,
        fontweight="bold",
        color=INK,
        # The study's lines pass behind the figure, not through it.
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
    )
