"""Draws what each page reaches against the processor time of its runs, beside the study's figures.

    python -m benchmarks.reach --trial 2118 --recorded benchmarks/reach.jsonl

Reads the finished full runs of the real images from the tracking store, and prints a row a page.
Time is told in trials of the recipe, by which runs of several processors can be drawn together;
runs whose store is no longer there are those of the file.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import recorded
from cifar_track.config import experiment_names, load_experiment, other_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from cifar_track.tracking import FinishedRun

WHOLE_SEARCH = 6  # trials of 20 epochs: five and a refit
STUDY = {
    "the study: plain": (1, 0.18),
    "the study: normalised": (1, 0.34),
    "the study: tuned": (WHOLE_SEARCH, 0.46),
}
# What is reported of a ResNet-18 after 200 epochs of the usual training: 0.7561 by
# github.com/weiaicunzai/pytorch-cifar100; by DeVries and Taylor (2017, arXiv:1708.04552), means of
# five, 0.7754, and with cutout 0.7804.
RESNET18 = 0.756, 0.780
# Settings of a run that make it no other than its page's.
MAY_DIFFER = {"training.seed", "training.precision", "training.deterministic"}
TICKS = 0.03, 0.1, 0.3, 1, 3, 10, 30
HEIGHT_OF_A_NAME = 0.025


class Point(NamedTuple):
    """One run: processor time of all its fits, in trials of the recipe, and its test accuracy."""

    trials: float
    accuracy: float


def main() -> None:
    """Read the runs, print them by page, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs", "reach.png"))
    parser.add_argument(
        "--trial",
        type=float,
        required=True,
        help="CPU seconds of one 20-epoch trial of the recipe as Keras comes, on the processor of "
        "the store's runs: by `python -m benchmarks`",
    )
    parser.add_argument("--recorded", type=Path, help="other runs, a line of JSON each")
    given = parser.parse_args()
    points = read(given.trial)
    for run in recorded.read(given.recorded) if given.recorded else ():
        trials = run["cpu_seconds"] / run["seconds_of_a_trial"]
        points[run["page"]].append(Point(trials, run["test_accuracy"]))
    if not points:
        raise SystemExit("no finished full run of the real images in the store; train one first")
    print("| page | runs | test accuracy, mean | lowest to highest | trials of the recipe, mean |")
    print("|---|---|---|---|---|")
    for page, runs in sorted(points.items(), key=lambda item: item[1][0].trials):
        accuracies = [run.accuracy for run in runs]
        trials = statistics.mean(run.trials for run in runs)
        print(
            f"| `{page}` | {len(runs)} | {statistics.mean(accuracies):.3f} "
            f"| {min(accuracies):.3f} to {max(accuracies):.3f} | {trials:.2f} |"
        )
    draw(points, given.output)


def read(seconds_of_a_trial: float) -> dict[str, list[Point]]:
    """The finished full runs by page, an ensemble with the time of its members.

    Those that were chosen by the test images, and those with other settings than their page's, are
    left out.
    """
    from cifar_track import tracking
    from cifar_track.tracking import tag

    tracking.open_store()
    points: dict[str, list[Point]] = defaultdict(list)
    for run in tracking.find_runs("cifar100"):
        if run.tags.get(tag.BUDGET) == "quick" or "fit_cpu_seconds" not in run.metrics:
            continue
        if run.protocol != "validation" or not _is_as_its_page(run):
            continue
        trials_of_recipe = seconds_of(run) / seconds_of_a_trial
        points[run.iteration].append(Point(trials_of_recipe, run.metrics["test_accuracy"]))
    return points


def seconds_of(run: FinishedRun) -> float:
    """The processor seconds of a run's fit, and of its search's trials."""
    from cifar_track import tracking

    trials = tracking.recorded_trials(run.run_id)
    seconds = sum(trial.metrics.get("fit_cpu_seconds", 0.0) for trial in trials)
    if run.parameters.get("search.refit") != "none":  # whose fit is one of the trials
        seconds += run.metrics["fit_cpu_seconds"]
    return seconds


def _is_as_its_page(run: FinishedRun) -> bool:
    if run.iteration not in experiment_names():  # an ensemble, or a page of another checkout
        return True
    page = load_experiment(run.iteration)
    searched = page.search.space if page.search is not None else {}
    return not other_settings(page, run.parameters) - MAY_DIFFER - searched.keys()


def draw(points: dict[str, list[Point]], output: Path) -> None:
    """A dot a run, those of a page joined; crosses for the study, a band for ResNet-18."""
    from cifar_track.plots import style

    figure = style.new_figure(8, 5)
    axes = figure.add_subplot(xscale="log", xlim=(TICKS[0], TICKS[-1]), ylim=(0, 0.85))
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.minorticks_off()
    axes.axhspan(*RESNET18, color=style.BAND)
    axes.text(
        0.01, statistics.mean(RESNET18), "ResNet-18, 200 epochs, as published", fontsize=8,
        va="center", color=style.FAINT, transform=axes.get_yaxis_transform(),
    )  # fmt: skip
    for words, trials in (("one trial", 1), ("whole search", WHOLE_SEARCH)):
        axes.axvline(trials, color=style.RULE, zorder=0)
        axes.text(trials, 0.01, f" {words} of the recipe", fontsize=8, color=style.FAINT)
    named: list[Point] = []
    for page, runs in sorted(points.items(), key=lambda item: max(item[1])):
        axes.plot(*zip(*sorted(runs), strict=True), "-o", color=style.VALIDATION, ms=4.5, lw=0.6)
        is_short = runs[0].trials < 1  # its name has more room to the left
        places = sorted(runs, reverse=not is_short)
        others = [run for other, theirs in points.items() if other != page for run in theirs]
        free = [run for run in places if is_short or not _is_taken(run, named, others)]
        beside = (free or places)[0]
        named.append(beside)
        lower = 0 if free else -10
        _name(axes, page, beside, colour=style.VALIDATION, left=is_short, lower=lower)
    for words, point in STUDY.items():
        axes.scatter(*point, color=style.BEST, marker="x", zorder=3)
        _name(axes, words, Point(*point), colour=style.BEST, left=point[0] <= 1)
    style.clear_frame(axes, grid="y")
    axes.set_xlabel("processor time of all fits, in 20-epoch trials of the study's recipe")
    axes.set_ylabel("test accuracy")
    figure.savefig(output)


def _is_taken(point: Point, named: Sequence[Point], others: Sequence[Point]) -> bool:
    """Whether a name right of a run would meet that of another page, or the runs of one."""
    return any(
        abs(point.accuracy - other.accuracy) < HEIGHT_OF_A_NAME
        and least < other.trials / point.trials < 3
        for places, least in ((named, 1 / 3), (others, 1))
        for other in places
    )


def _name(
    axes: Axes, words: str, point: Point, *, colour: str, left: bool = False, lower: float = 0
) -> None:
    axes.annotate(
        words, point, xytext=(-7 if left else 7, lower), textcoords="offset points", fontsize=9,
        ha="right" if left else "left", va="center", color=colour,
    )  # fmt: skip


if __name__ == "__main__":
    main()
