"""Charts of a hyperparameter search: its trials side by side, by setting, by epoch, by weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from cifar_track.comparison import varied_names
from cifar_track.report.chart import BEST, FAINT, ROWS, WIDTH, Chart, epoch_axis, zooming

if TYPE_CHECKING:
    from cifar_track.comparison import Importances, SearchRecord

SLICES_A_ROW = 3
# More than this much between the least and the greatest value asks for a logarithmic axis.
LOGARITHMIC_RATIO = 30.0
OTHERS = alt.value(FAINT)


def search_charts(prefix: str, search: SearchRecord, importances: Importances) -> list[Chart]:
    """Every chart that the trials of a search allow."""
    scored = [t for t in search.trials if isinstance(t.get("score"), int | float)]
    if not scored:
        return []
    sign = 1 if search.lower_is_better else -1
    best = min(scored, key=lambda trial: sign * float(trial["score"]))["number"]
    names = varied_names(scored)
    charts = []
    if names:
        charts.append(_parallel(prefix, search, scored, names, best=best))
        charts.append(_slices(prefix, search, scored, names, best=best))
    if search.curves:
        charts.append(_curves(prefix, search, best=best))
    if importances.each:
        charts.append(_importance(prefix, importances))
    return charts


def _short(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


def _positions(values: Sequence[Any]) -> list[float]:
    """Each value's place between 0 and 1 on its axis; words stand in order of the alphabet."""
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        low, high = min(values), max(values)
        return [0.5 if low == high else (v - low) / (high - low) for v in values]
    words = sorted({str(value) for value in values})
    return [words.index(str(v)) / max(len(words) - 1, 1) for v in values]


def _parallel(
    prefix: str, search: SearchRecord, trials: Sequence[Any], names: Sequence[str], *, best: Any
) -> Chart:
    axes = [*names, "score"]
    rows = []
    for name in axes:
        values = [trial.get(name) for trial in trials]
        for trial, value, position in zip(trials, values, _positions(values), strict=True):
            rows.append(
                {
                    "trial": trial["number"],
                    "axis": search.objective if name == "score" else _short(name),
                    "position": round(position, 4),
                    "value": f"{value:.4g}" if isinstance(value, float) else str(value),
                    "best": trial["number"] == best,
                }
            )
    is_best = alt.datum.best
    base = alt.Chart(ROWS).encode(
        x=alt.X("axis:N", sort=None, title=None, axis=alt.Axis(labelAngle=-30, grid=True)),
        y=alt.Y("position:Q", axis=alt.Axis(labels=False, ticks=False, title="low to high")),
        detail=alt.Detail("trial:N"),
        color=alt.condition(is_best, alt.value(BEST), OTHERS),
        opacity=alt.condition(is_best, alt.value(1), alt.value(0.6)),
    )
    chart = alt.layer(
        base.mark_line(strokeWidth=1.4),
        base.mark_line(strokeWidth=3.5).transform_filter(is_best),
        base.mark_point(size=50, filled=True).encode(
            tooltip=[alt.Tooltip("trial:N"), alt.Tooltip("axis:N"), alt.Tooltip("value:N")],
        ),
    ).properties(width=WIDTH, height=230)
    return Chart(
        name=f"{prefix}-parallel",
        chart=chart,
        rows=rows,
        alt=f"{len(trials)} trials as lines over {', '.join(_short(n) for n in names)} and the "
        f"score; trial {best} is the best",
        caption="Each line is a trial, the heavy one the best; each axis runs from its lowest to "
        "its highest value.",
    )


def _slices(
    prefix: str, search: SearchRecord, trials: Sequence[Any], names: Sequence[str], *, best: Any
) -> Chart:
    rows = [
        {
            "trial": trial["number"],
            "score": trial["score"],
            "best": trial["number"] == best,
            # A dot in a name would be read as a way into an object.
            **{f"value{n}": trial.get(name) for n, name in enumerate(names)},
        }
        for trial in trials
    ]
    panels = []
    for n, name in enumerate(names):
        values = [trial.get(name) for trial in trials]
        kind = "Q" if _are_numbers(values) else "N"
        scale: Any = alt.Undefined
        if kind == "Q":
            logarithmic = min(values) > 0 and max(values) / min(values) > LOGARITHMIC_RATIO
            scale = (
                alt.Scale(type="log", padding=8)
                if logarithmic
                else alt.Scale(zero=False, padding=8)
            )
        panels.append(
            alt.Chart(ROWS)
            .mark_point(filled=True, opacity=0.9)
            .encode(
                x=alt.X(f"value{n}:{kind}", title=_short(name), scale=scale,
                        axis=alt.Axis(tickCount=4, labelAngle=0, labelLimit=120)),
                y=alt.Y("score:Q", title=None, scale=alt.Scale(zero=False),
                        axis=alt.Axis(tickCount=4)),
                color=alt.condition(alt.datum.best, alt.value(BEST), OTHERS),
                size=alt.condition(alt.datum.best, alt.value(130), alt.value(45)),
                tooltip=[alt.Tooltip("trial:N"), alt.Tooltip(f"value{n}:N", title=_short(name)),
                         alt.Tooltip("score:Q", format=".4f")],
            )
            .properties(width=112, height=90)
        )  # fmt: skip
    return Chart(
        name=f"{prefix}-slices",
        chart=alt.concat(*panels, columns=SLICES_A_ROW),
        rows=rows,
        alt=f"{search.objective} of each trial against each of {len(names)} hyperparameters",
        caption=f"Each dot is a trial, the large one the best; upright is {search.objective}.",
    )


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _curves(prefix: str, search: SearchRecord, *, best: Any) -> Chart:
    rows = [
        {"trial": number, "epoch": epoch, "accuracy": round(value, 5), "best": number == best}
        for number, curve in search.curves.items()
        for epoch, value in enumerate(curve, start=1)
    ]
    longest = max((len(curve) for curve in search.curves.values()), default=1)
    chart = (
        alt.Chart(ROWS)
        .mark_line(point=alt.OverlayMarkDef(size=22))
        .encode(
            x=alt.X("epoch:Q", axis=epoch_axis(longest)),
            y=alt.Y("accuracy:Q", title="validation accuracy"),
            detail=alt.Detail("trial:N"),
            color=alt.condition(alt.datum.best, alt.value(BEST), OTHERS),
            strokeWidth=alt.condition(alt.datum.best, alt.value(3.5), alt.value(1.3)),
            tooltip=[
                alt.Tooltip("trial:N"),
                alt.Tooltip("epoch:Q"),
                alt.Tooltip("accuracy:Q", format=".4f"),
            ],
        )
        .add_params(zooming())
        .properties(width=WIDTH, height=230)
    )
    return Chart(
        name=f"{prefix}-curves",
        chart=chart,
        rows=rows,
        alt=f"Validation accuracy by epoch of {len(search.curves)} trials; trial {best} is the "
        "best",
        caption="Validation accuracy of every trial by epoch, the best heavy.",
    )


def _importance(prefix: str, importances: Importances) -> Chart:
    rows = [
        {
            "name": _short(entry.name),
            "mean": entry.mean,
            "low": entry.mean - entry.deviation,
            "high": entry.mean + entry.deviation,
        }
        for entry in importances.each
    ]
    base = alt.Chart(ROWS).encode(y=alt.Y("name:N", sort=None, title=None))
    chart = alt.layer(
        base.mark_bar(color="var(--run-0)", height=12).encode(
            x=alt.X("mean:Q", title="loss in R² when shuffled"),
            tooltip=[alt.Tooltip("name:N"), alt.Tooltip("mean:Q", format=".3f")],
        ),
        base.mark_rule(strokeWidth=2, color=FAINT).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q")),
    ).properties(width=WIDTH - 60, height=alt.Step(24))
    return Chart(
        name=f"{prefix}-importance",
        chart=chart,
        rows=rows,
        alt="Importance of each hyperparameter: "
        + "; ".join(f"{row['name']} {row['mean']:.2f}" for row in rows),
        caption="The line is one standard deviation either way, over folds and repeats.",
    )
