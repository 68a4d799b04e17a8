"""Figure of a search: its trials in order, and their scores by setting and by what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from cifar_track.plots.style import (
    BEST,
    FAILED,
    INK,
    VALIDATION,
    clear_frame,
    new_figure,
    say,
    shortened,
    spoken,
    whole_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Trial: TypeAlias = Mapping[str, object]

COLUMNS = 4
COST = "cpu_seconds"
# More than this much between the least and the greatest value asks for a logarithmic axis.
LOGARITHMIC_RATIO = 30.0


def search_overview(trials: Sequence[Trial], *, objective: str, title: str | None = None) -> Figure:
    """The trials of a search in order, and the score against each hyperparameter and the cost.

    Args:
        trials: one row a trial: `number` (from 0), `status` ("completed" or another), `score` (or
            None), `best_epoch` (or None), `stopped_early` where it was, every hyperparameter by
            its dotted name, and `cpu_seconds` where they are known; other columns are ignored.
        objective: the metric that `score` holds; lower is better if it ends in `loss`.
        title: stands above the figure; one is made up unless given.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial if "." in name))
    varied = [name for name in names if len({str(t.get(name)) for t in trials}) > 1] or names
    if varied and any(COST in trial for trial in trials):
        varied.append(COST)
    rows = math.ceil(len(varied) / COLUMNS)
    ended = sum(trial.get("status") == "completed" for trial in trials)
    figure = new_figure(
        12,
        4.2 + 2.5 * rows,
        title=title or f"Search by {objective}: {ended} of {len(trials)} trials completed",
    )
    heights = [3.7, 2.5 * rows] if rows else [3.7]
    top, *rest = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    best = _best_trial(trials, objective=objective)
    axes = top.subplots()
    _draw_trials(axes, trials, best, objective=objective)
    if rest:
        panels = rest[0].subplots(rows, COLUMNS, squeeze=False).ravel()
        for number, panel in enumerate(panels):
            if number >= len(varied):
                panel.set_visible(False)
                continue
            panel.set_ylim(axes.get_ylim())
            _draw_hyperparameter(panel, trials, best, name=varied[number])
            if number % COLUMNS == 0:
                panel.set_ylabel(objective, fontsize=9)
            else:
                panel.tick_params(labelleft=False)
    return figure


def _score(trial: Trial) -> float | None:
    score = trial.get("score")
    if isinstance(score, int | float) and math.isfinite(score):
        return float(score)
    return None


def _best_trial(trials: Sequence[Trial], *, objective: str) -> Trial | None:
    """The completed trial of the best score, the earliest among equals."""
    sign = 1 if objective.endswith("loss") else -1
    scored = [
        (sign * score, index)
        for index, trial in enumerate(trials)
        if trial.get("status") == "completed" and (score := _score(trial)) is not None
    ]
    return trials[min(scored)[1]] if scored else None


def _draw_trials(
    axes: Axes, trials: Sequence[Trial], best: Trial | None, *, objective: str
) -> None:
    axes.set_xlabel("trial")
    axes.set_ylabel(objective)
    clear_frame(axes, grid="y")
    axes.tick_params(axis="x", pad=6)  # below the marks of failed trials
    if not trials:
        say(axes, "no trial has started")
        return
    scores = [score for trial in trials if (score := _score(trial)) is not None]
    if not scores:
        say(axes, "no trial has a score")
        axes.set_ylim(0, 1)
    else:
        room = max(max(scores) - min(scores), 0.02 * max(abs(max(scores)), 0.05))
        axes.set_ylim(min(scores) - 0.3 * room, max(scores) + 0.3 * room)
    numbers = [_number(trial, index) for index, trial in enumerate(trials)]
    axes.set_xlim(min(numbers) - 0.6, max(numbers) + 0.6)
    whole_numbers(axes)
    for index, trial in enumerate(trials):
        _draw_trial(axes, numbers[index], trial, best)
    if len(trials) <= 30:
        for number, trial in zip(numbers, trials, strict=True):
            _write_score(axes, number, trial, best)
    drawn = {_kind(trial) for trial in trials}
    for kind, label in _LABELS.items():
        if kind in drawn:
            axes.plot([], [], label=label, **_mark_of(kind))
    if best is not None:
        axes.plot([], [], label="best", **_mark_of("best"))
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))


_LABELS = {
    "completed": "completed",
    "stopped": "ended early, as a poor one",
    "failed": "failed or unfinished: no score",
}


def _kind(trial: Trial) -> str:
    if _score(trial) is None:
        return "failed"
    return "stopped" if trial.get("stopped_early") else "completed"


def _mark_of(kind: str) -> dict[str, Any]:
    marks: dict[str, dict[str, Any]] = {
        "completed": {"marker": "o", "color": VALIDATION, "markersize": 8},
        "stopped": {
            "marker": "o",
            "color": VALIDATION,
            "markerfacecolor": "white",
            "markersize": 8,
        },
        "failed": {"marker": "X", "color": FAILED, "markersize": 8},
        "best": {"marker": "*", "color": BEST, "markersize": 16, "markeredgecolor": "white"},
    }
    return {"linestyle": "none", **marks[kind]}


def _number(trial: Trial, index: int) -> int:
    number = trial.get("number", index)
    return number if isinstance(number, int) else index


def _draw_trial(axes: Axes, place: float, trial: Trial, best: Trial | None) -> None:
    """One trial's mark; one without a score stands on the lower edge, where no score is."""
    score = _score(trial)
    if score is None:
        axes.plot(
            place,
            0,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            zorder=4,
            **_mark_of("failed"),
        )
        return
    axes.plot(place, score, zorder=3, **_mark_of("best" if trial is best else _kind(trial)))


def _write_score(axes: Axes, place: float, trial: Trial, best: Trial | None) -> None:
    score = _score(trial)
    if score is None:
        return
    epoch = trial.get("best_epoch")
    words = f"{score:.3f}" + (f"\nepoch {epoch}" if epoch is not None else "")
    axes.annotate(
        words,
        (place, score),
        xytext=(0, 9),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=INK,
        fontweight="bold" if trial is best else "normal",
    )


def _draw_hyperparameter(
    axes: Axes, trials: Sequence[Trial], best: Trial | None, *, name: str
) -> None:
    given = [trial for trial in trials if name in trial and trial[name] not in (None, "")]
    values = [trial[name] for trial in given]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        places = [float(str(value)) for value in values]
        _scale_numbers(axes, places, ticks_at_values=name != COST)
    else:
        words = sorted({str(value) for value in values})
        places = [float(words.index(str(value))) for value in values]
        axes.set_xticks(range(len(words)), [shortened(spoken(w), 12) for w in words])
        axes.set_xlim(-0.5, len(words) - 0.5)
    for place, trial in zip(places, given, strict=True):
        if trial is not best:
            _draw_trial(axes, place, trial, best)
    for place, trial in zip(places, given, strict=True):
        if trial is best:  # on top of its equals
            _draw_trial(axes, place, trial, best)
    axes.set_xlabel("CPU seconds" if name == COST else name, fontsize=9)
    clear_frame(axes, grid="y")
    axes.tick_params(labelsize=8)
    axes.tick_params(axis="x", pad=6)  # below the marks of failed trials


def _scale_numbers(axes: Axes, values: Sequence[float], *, ticks_at_values: bool) -> None:
    low, high = min(values), max(values)
    if low > 0 and high / low > LOGARITHMIC_RATIO:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.5, high * 1.5)
        return
    distinct = sorted(set(values))
    room = 0.08 * (high - low) or max(abs(low), 1) * 0.5
    axes.set_xlim(low - room, high + room)
    if ticks_at_values and len(distinct) <= 6:
        axes.set_xticks(distinct, [f"{value:g}" for value in distinct])
