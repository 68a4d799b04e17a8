"""Figure of a fit as it went: loss and accuracy by epoch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cifar_track.config import first_best
from cifar_track.plots.style import (
    BEST,
    TRAIN,
    VALIDATION,
    clear_frame,
    new_figure,
    say,
    whole_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def learning_curves(
    history: Sequence[Mapping[str, float]],
    *,
    best_epoch: int | None = None,
    title: str | None = None,
) -> Figure:
    """Loss and accuracy by epoch, of training and of validation, with the best epoch marked.

    Args:
        history: one row an epoch, from epoch 1 on, holding `train_loss`, `train_accuracy`,
            `val_loss`, `val_accuracy`; what a row lacks is left out of its curve.
        best_epoch: the epoch that was kept, from 1; unless given, the earliest of the highest
            `val_accuracy`.
        title: stands above the figure; one is made up unless given.
    """
    figure = new_figure(11, 4.6, title=title or "Learning curves")
    epochs = np.arange(1, len(history) + 1)
    if best_epoch is None:
        best = first_best([row.get("val_accuracy", math.nan) for row in history])
        best_epoch = None if best is None else best + 1
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part, colour, label in (
            ("train", TRAIN, "training"),
            ("val", VALIDATION, "validation"),
        ):
            values = np.array([row.get(f"{part}_{metric}", math.nan) for row in history])
            if values.size and not np.isnan(values).all():
                axes.plot(
                    epochs,
                    values,
                    color=colour,
                    label=label,
                    marker="o",
                    markersize=3.5,
                    linewidth=1.8,
                )
        _mark_best_epoch(axes, history, best_epoch, f"val_{metric}")
        axes.set_title(metric, fontsize=11)
        axes.set_xlabel("epoch")
        if metric == "accuracy":
            axes.set_ylim(bottom=0)
        if history:
            axes.set_xlim(0.5, len(history) + 0.5)
            whole_numbers(axes)
            axes.legend(frameon=False, loc="upper right" if metric == "loss" else "lower right")
        else:
            say(axes, "no epoch has ended")
        clear_frame(axes, grid="y")
    return figure


def _mark_best_epoch(
    axes: Axes, history: Sequence[Mapping[str, float]], best_epoch: int | None, name: str
) -> None:
    if best_epoch is None or not 1 <= best_epoch <= len(history):
        return
    axes.axvline(best_epoch, color=BEST, linewidth=1, linestyle="--", zorder=1)
    value = history[best_epoch - 1].get(name, math.nan)
    if math.isnan(value):
        return
    axes.plot(
        best_epoch,
        value,
        linestyle="none",
        marker="D",
        markersize=8,
        markerfacecolor="none",
        markeredgecolor=BEST,
        markeredgewidth=1.8,
        label=f"best epoch {best_epoch}: {value:.3f}",
    )
