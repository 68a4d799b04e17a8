"""Figures by what they show: heights, colours, order, and labels that do not overlap."""

from __future__ import annotations

import colorsys
import math
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb

from cifar_track import plots
from cifar_track.config import CLASS_FIGURES
from cifar_track.plots import style
from tests.made_up_evaluations import make_evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    from cifar_track.evaluation import Evaluation

HISTORY = [
    {"train_loss": 4.0, "train_accuracy": 0.1, "val_loss": 3.9, "val_accuracy": 0.15},
    {"train_loss": 3.0, "train_accuracy": 0.3, "val_loss": 3.1, "val_accuracy": 0.31},
    {"train_loss": 2.0, "train_accuracy": 0.5, "val_loss": 3.0, "val_accuracy": 0.31},
]


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return make_evaluation()


def test_the_colours_are_the_studys_and_differ_in_lightness() -> None:
    hues = {name: colorsys.rgb_to_hls(*to_rgb(c))[0] for name, c in style.METRIC_COLOURS.items()}
    assert hues["precision"] == pytest.approx(2 / 3, abs=0.1)
    assert hues["recall"] == pytest.approx(1 / 3, abs=0.1)
    assert min(hues["f1"], 1 - hues["f1"]) < 0.05
    luminance = {
        name: float(np.dot((0.2126, 0.7152, 0.0722), to_rgb(colour)))
        for name, colour in style.METRIC_COLOURS.items()
    }
    assert luminance["recall"] > luminance["f1"] + 0.3


def contrast(colour: str, paper: str) -> float:
    """WCAG 2's contrast of two colours, from 1 to 21."""

    def luminance(hexadecimal: str) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
                  for c in to_rgb(hexadecimal)]  # fmt: skip
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    lighter, darker = sorted((luminance(colour), luminance(paper)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_every_mark_stands_out_from_the_paper() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    for figure in CLASS_FIGURES:
        assert contrast(figure.colour, "#ffffff") >= 3, figure.name
        assert contrast(figure.colour_on_dark, "#16191d") >= 3, figure.name


def test_the_first_eleven_classes_are_drawn_as_the_study_does(evaluation: Evaluation) -> None:
    figure = plots.per_class_bars(evaluation)
    (axes,) = figure.axes
    groups = axes.containers
    assert [group.get_label() for group in groups] == ["precision", "recall", "F1"]
    for group, values, colour in zip(
        groups,
        (evaluation.precision, evaluation.recall, evaluation.f1),
        (style.PRECISION, style.RECALL, style.F1),
        strict=True,
    ):
        assert [bar.get_height() for bar in group] == values[:11].tolist()
        assert {to_hex(bar.get_facecolor()) for bar in group} == {colour}
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == [name.replace("_", " ") for name in evaluation.class_names[:11]]
    values_shown = [text.get_text() for text in axes.texts]
    assert values_shown.count("0.00") == 3  # the class that is never predicted
    assert_readable(figure)


def test_bars_of_chosen_classes(evaluation: Evaluation) -> None:
    (axes,) = plots.per_class_bars(evaluation, classes=[98, 5], title="Two").axes
    assert [bar.get_height() for bar in axes.containers[2]] == evaluation.f1[[98, 5]].tolist()
    (axes,) = plots.per_class_bars(evaluation, classes=slice(10, 40, 10)).axes
    assert len(axes.containers[0]) == 3
    with pytest.raises(IndexError):
        plots.per_class_bars(evaluation, classes=[100])
    with pytest.raises(ValueError, match="no class"):
        plots.per_class_bars(evaluation, classes=[])


def test_the_overview_has_every_class_sorted_by_f1_in_its_superclass(
    evaluation: Evaluation,
) -> None:
    figure = plots.per_class_overview(evaluation)
    f1_of = {
        name.replace("_", " "): (float(value), group)
        for name, value, group in zip(
            evaluation.class_names, evaluation.f1, evaluation.superclass_of, strict=True
        )
    }
    shown = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    assert sorted(shown) == sorted(f1_of)
    rows = [f1_of[name] for name in shown]
    blocks: dict[int, list[float]] = {}
    for value, group in rows:
        blocks.setdefault(group, []).append(value)
    assert [group for _, group in rows] == [g for g, values in blocks.items() for _ in values]
    for values in blocks.values():
        assert values == sorted(values, reverse=True)
    means = [float(np.mean(values)) for values in blocks.values()]
    assert means == sorted(means, reverse=True)
    drawn = {
        line.get_label(): (to_hex(line.get_color()), np.asarray(line.get_xdata()))
        for line in figure.axes[0].get_lines()
    }
    first_column = [f1_of[label.get_text()][0] for label in figure.axes[0].get_yticklabels()]
    assert drawn["F1"][0] == style.F1
    assert drawn["F1"][1].tolist() == first_column
    assert drawn["precision"][0] == style.PRECISION
    assert drawn["recall"][0] == style.RECALL
    assert_readable(figure)


def test_the_confusion_matrix_is_by_superclass_and_its_rows_sum_to_one(
    evaluation: Evaluation,
) -> None:
    figure = plots.confusion_matrix(evaluation)
    by_class, by_superclass, mistakes = figure.axes[:3]
    order = sorted(range(100), key=lambda n: (evaluation.superclass_of[n], n))
    shares = np.asarray(by_class.images[0].get_array())
    expected = evaluation.confusion[np.ix_(order, order)] / evaluation.support[order][:, None]
    np.testing.assert_allclose(shares, expected)
    np.testing.assert_allclose(np.asarray(by_superclass.images[0].get_array()).sum(axis=1), 1)
    names = [label.get_text() for label in by_class.get_yticklabels()]
    assert names == [evaluation.class_names[n].replace("_", " ") for n in order]
    assert len(by_class.texts) == 20
    # A mistake of one image in a hundred can be told from none.
    norm = by_class.images[0].norm
    assert norm(0.01) == pytest.approx(0.1)
    most = evaluation.confused_pairs()[0]
    assert mistakes.get_yticklabels()[0].get_text().startswith(str(most["true"])[:9].split("_")[0])
    assert_readable(figure)


def test_few_classes_and_no_mistake() -> None:
    perfect = make_evaluation(
        classes=4, superclasses=2, strength=60.0, never_predicted=None, per_class=3
    )
    assert perfect.accuracy == 1
    figures = [
        plots.per_class_bars(perfect),
        plots.per_class_overview(perfect),
        plots.confusion_matrix(perfect),
    ]
    for figure in figures:
        assert_readable(figure)
    assert "no mistakes" in words_of(figures[2])


def test_learning_curves_mark_the_best_epoch() -> None:
    figure = plots.learning_curves(HISTORY)
    loss, accuracy = figure.axes
    curves = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in loss.get_lines()}
    assert curves["training"] == [4.0, 3.0, 2.0]
    assert curves["validation"] == [3.9, 3.1, 3.0]
    # The earliest of the two best epochs, at its own loss and accuracy.
    assert curves["best epoch 2: 3.100"] == [3.1]
    assert "best epoch 2: 0.310" in {line.get_label() for line in accuracy.get_lines()}
    (loss, _) = plots.learning_curves(HISTORY, best_epoch=3).axes
    assert "best epoch 3: 3.000" in {line.get_label() for line in loss.get_lines()}
    assert_readable(figure)


@pytest.mark.parametrize(
    "history",
    [
        [],
        HISTORY[:1],
        [{"train_loss": 1.0, "train_accuracy": 0.2}],
        [{**HISTORY[0], "val_accuracy": math.nan}, HISTORY[1]],
    ],
)
def test_learning_curves_of_short_and_damaged_fits(history: list[dict[str, float]]) -> None:
    draw(plots.learning_curves(history))


def make_trials(count: int, **changes: Any) -> list[dict[str, object]]:
    return [
        {
            "number": number,
            "status": "completed",
            "score": 0.3 + 0.01 * ((5 * number) % 7),
            "best_epoch": number + 1,
            "seconds": 10.5,
            "error": None,
            "model.filters_1": 32 * (1 + number % 4),
            "model.dropout_1": 0.1 * number,
            "model.kernel_1": 3,
            "optimizer.name": ("adam", "sgd")[number % 2],
            "optimizer.learning_rate": 10.0 ** -(1 + number % 4),
            "cpu_seconds": 100.0 + 7 * number,
            **changes,
        }
        for number in range(count)
    ]


def stars_of(figure: Figure) -> list[tuple[float, float]]:
    return [
        (float(np.asarray(line.get_xdata())[0]), float(np.asarray(line.get_ydata())[0]))
        for axes in figure.axes
        for line in axes.get_lines()
        if line.get_marker() == "*" and len(np.asarray(line.get_xdata()))
    ]


def test_a_search_shows_every_trial_and_marks_the_best() -> None:
    trials = make_trials(5)
    trials[1] |= {"status": "failed", "score": None, "best_epoch": None}
    trials[2] |= {"stopped_early": "after epoch 2 its best was worse", "score": 0.05}
    figure = plots.search_overview(trials, objective="val_accuracy")
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == [
        "completed",
        "ended early, as a poor one",
        "failed or unfinished: no score",
        "best",
    ]
    scored = [t for t in trials if t["status"] == "completed"]
    best = max(scored, key=lambda trial: float(str(trial["score"])))
    assert stars_of(figure)[0] == (best["number"], best["score"])
    panels = {axes.get_xlabel() for axes in figure.axes if axes.get_visible()}
    # A setting that does not vary tells nothing.
    assert panels == {
        "trial",
        "model.filters_1",
        "model.dropout_1",
        "optimizer.name",
        "optimizer.learning_rate",
        "CPU seconds",
    }
    assert "4 of 5 trials completed" in figure.get_suptitle()
    assert len(stars_of(figure)) == len(panels)
    assert_readable(figure)


def test_a_search_by_loss_is_best_where_it_is_least() -> None:
    figure = plots.search_overview(make_trials(4), objective="val_loss")
    assert stars_of(figure)[0] == (0, 0.3)


@pytest.mark.parametrize(
    "trials",
    [
        [],
        make_trials(1),
        make_trials(3, status="failed", score=None),
        make_trials(2, score=math.nan),
        make_trials(60),
        [{"number": 0, "status": "completed", "score": 0.5}],
        [*make_trials(1), {"number": 1, "status": "completed", "score": 0.5, "model.other": True}],
    ],
    ids=["none", "one", "all failed", "no number", "many", "no setting", "other settings"],
)
def test_searches_of_any_kind_are_drawn(trials: Sequence[dict[str, object]]) -> None:
    figure = plots.search_overview(trials, objective="val_accuracy")
    assert_readable(figure)
    has_best = any(t["status"] == "completed" and t["score"] == t["score"] for t in trials)
    assert bool(stars_of(figure)) == has_best


def test_drawing_needs_neither_pyplot_nor_scikit_learn() -> None:
    program = (
        "import sys, cifar_track.plots;"
        "print([m for m in ('matplotlib.pyplot', 'sklearn', 'mlflow', 'tensorflow')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def draw(figure: Figure) -> None:
    FigureCanvasAgg(figure).draw()


def texts_of(figure: Figure) -> list[Text]:
    """Every text that is drawn: title, axis and tick labels, legends, annotations."""
    from matplotlib.text import Text

    hidden = {id(t) for axes in figure.axes if not axes.get_visible() for t in axes.findobj(Text)}
    return [
        text
        for text in figure.findobj(Text)
        if isinstance(text, Text)
        and text.get_visible()
        and text.get_text().strip()
        and id(text) not in hidden
    ]


def words_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in texts_of(figure)]


def assert_readable(figure: Figure) -> None:
    """Every text is at least 6 points, inside the figure, and clear of every other text."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    outside_view = {id(t) for axes in figure.axes for t in _ticks_out_of_view(axes)}
    texts = [text for text in texts_of(figure) if id(text) not in outside_view]
    assert all(text.get_fontsize() >= 6 for text in texts)
    boxes = [(text, text.get_window_extent(renderer)) for text in texts]
    width, height = figure.canvas.get_width_height()
    for text, box in boxes:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
    # The box of a slanted text is wider than the text: those are spaced by their font's height.
    upright = [(t, b.padded(-1)) for t, b in boxes if t.get_rotation() % 90 == 0]
    overlaps = [
        (one.get_text(), other.get_text())
        for (one, first), (other, second) in combinations(upright, 2)
        if first.x0 < second.x1
        and second.x0 < first.x1
        and first.y0 < second.y1
        and second.y0 < first.y1
    ]
    assert overlaps == []


def _ticks_out_of_view(axes: Axes) -> list[Text]:
    """Labels of ticks beyond the limits, which exist and are not drawn."""
    found = []
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        margin = 1e-9 * max(abs(low), abs(high), 1)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low - margin <= tick.get_loc() <= high + margin:
                found += [tick.label1, tick.label2]
    return found


def test_figures_are_drawn_as_here_whatever_the_persons_matplotlibrc_says(tmp_path):
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 40\n")
    script = "from cifar_track import plots; import matplotlib as m; print("
    script += "m.matplotlib_fname(), m.rcParams['text.usetex'], m.rcParams['font.size'])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(plots.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["matplotlibrc", "False", "10.0"]
