"""Draws what each page reaches against the processor time of its runs, beside the study's figures.

    python -m benchmarks.reach --output docs/reach.png

Reads the finished full runs of the real images from the tracking store, and prints a row a page.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# CPU seconds of the recipe as Keras comes, from `python -m benchmarks`: one trial of 20 epochs, and
# the study's whole search, five trials and a refit.
ONE_TRIAL, WHOLE_SEARCH = 1300.0, 7750.0
STUDY = {
    "the study: plain": (ONE_TRIAL, 0.18),
    "the study: normalised": (ONE_TRIAL, 0.34),
    "the study: tuned": (WHOLE_SEARCH, 0.46),
}
# What papers report of a ResNet-18 after 200 epochs of the usual training.
RESNET18 = 0.76, 0.78
TICKS = 100, 300, 1000, 3000, 10_000, 30_000  # CPU seconds


class Point(NamedTuple):
    """One run: CPU seconds of all its fits, and its test accuracy, from 0 to 1."""

    cpu_seconds: float
    accuracy: float


def main() -> None:
    """Read the runs, print them by page, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs", "reach.png"))
    given = parser.parse_args()
    points = read()
    if not points:
        raise SystemExit("no finished full run of the real images in the store; train one first")
    print("| page | seeds | test accuracy, mean | lowest to highest | CPU seconds, mean |")
    print("|---|---|---|---|---|")
    for page, runs in sorted(points.items(), key=lambda item: item[1][0].cpu_seconds):
        accuracies = [run.accuracy for run in runs]
        seconds = statistics.mean(run.cpu_seconds for run in runs)
        print(
            f"| `{page}` | {len(runs)} | {statistics.mean(accuracies):.3f} "
            f"| {min(accuracies):.3f} to {max(accuracies):.3f} | {seconds:,.0f} |"
        )
    draw(points, given.output)


def read() -> dict[str, list[Point]]:
    """The finished full runs by page; an ensemble's time is that of its members."""
    from cifar_track import tracking
    from cifar_track.tracking import tag

    tracking.open_store()
    points: dict[str, list[Point]] = defaultdict(list)
    for run in tracking.find_runs("cifar100"):
        if run.tags.get(tag.BUDGET) == "quick" or "fit_cpu_seconds" not in run.metrics:
            continue
        trials = tracking.recorded_trials(run.run_id)
        spent = sum(trial.metrics.get("fit_cpu_seconds", 0.0) for trial in trials)
        seconds = spent + run.metrics["fit_cpu_seconds"]
        points[run.iteration].append(Point(seconds, run.metrics["test_accuracy"]))
    return points


def draw(points: dict[str, list[Point]], output: Path) -> None:
    """A dot a run, its page beside the mean; crosses for the study, a band for ResNet-18."""
    from cifar_track.plots import style

    figure = style.new_figure(8, 5)
    axes = figure.add_subplot(xscale="log", xlim=(TICKS[0], TICKS[-1]), ylim=(0, 0.85))
    axes.set_xticks(TICKS, [f"{tick:,}" for tick in TICKS])
    axes.minorticks_off()
    axes.axhspan(*RESNET18, color=style.BAND)
    axes.text(
        0.01, statistics.mean(RESNET18), "ResNet-18, 200 epochs, as published", fontsize=8,
        va="center", color=style.FAINT, transform=axes.get_yaxis_transform(),
    )  # fmt: skip
    for words, seconds in (("one trial", ONE_TRIAL), ("whole search", WHOLE_SEARCH)):
        axes.axvline(seconds, color=style.RULE, zorder=0)
        axes.text(seconds, 0.01, f" {words} of the recipe", fontsize=8, color=style.FAINT)
    dearest = max(points, key=lambda page: max(run.cpu_seconds for run in points[page]))
    for page, runs in points.items():
        axes.scatter(*zip(*runs, strict=True), color=style.VALIDATION, s=22, zorder=3)
        seconds = [run.cpu_seconds for run in runs]
        # To the left, where the next page's dots are not; the last has the right to itself.
        beside = Point(
            max(seconds) if page == dearest else min(seconds),
            statistics.mean(run.accuracy for run in runs),
        )
        _name(axes, page, beside, colour=style.VALIDATION, left=page != dearest)
    for words, point in STUDY.items():
        axes.scatter(*point, color=style.BEST, marker="x", zorder=3)
        _name(axes, words, Point(*point), colour=style.BEST)
    style.clear_frame(axes, grid="y")
    axes.set_xlabel("CPU seconds of all fits, one thread each; of the study's, by its recipe here")
    axes.set_ylabel("test accuracy")
    figure.savefig(output)


def _name(axes: Axes, words: str, point: Point, *, colour: str, left: bool = False) -> None:
    axes.annotate(
        words, point, xytext=(-7 if left else 7, 0), textcoords="offset points", fontsize=9,
        ha="right" if left else "left", va="center", color=colour,
    )  # fmt: skip


if __name__ == "__main__":
    main()
