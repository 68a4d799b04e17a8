"""The HTML page: whole, self-contained, escaped, and true to the comparison."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import psutil
import pytest

from cifar_track import report
from cifar_track.comparison import (
    Comparison,
    Pair,
    RunResult,
    SearchRecord,
    compare,
    importances,
    seed_groups,
    seed_tests,
)
from cifar_track.config import CifarTrackError
from cifar_track.report import Drawing, render_report, verdict
from cifar_track.report.sentences import headline, notices
from cifar_track.report.svg import for_page
from cifar_track.statistics import PairedDifference
from tests.made_up_evaluations import make_evaluation, make_result
from tests.test_plots import contrast

VOID = {"meta", "img", "br", "input", "wbr"}


class Page(HTMLParser):
    """Reads a page, refuses tags that do not close, and keeps what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.sections: list[str] = []
        self.words = ""
        self.tables: list[list[list[str]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.links += [value for name, value in given.items() if name in {"src", "href"}]
        if given.get("role") == "img":
            self.pictures.append(given["aria-label"])
        if tag == "section":
            self.sections.append(given["id"])
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"script", "style", "svg"} & set(self.open):
            return
        self.words += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def table(self, first_head: str) -> list[list[str]]:
        """The first table whose first head is this."""
        return next(t for t in self.tables if t[0][0].strip() == first_head)


HISTORY = [
    {"train_loss": 4.0, "train_accuracy": 0.1, "val_loss": 3.9, "val_accuracy": 0.15},
    {"train_loss": 3.0, "train_accuracy": 0.3, "val_loss": 3.1, "val_accuracy": 0.31},
]


def search_of(trials: int, *, epochs: int = 3) -> SearchRecord:
    """A search whose score follows the learning rate and not the rest."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(trials):
        rate, units = float(random.choice([0.1, 0.01, 0.001])), int(random.integers(100, 500))
        rows.append(
            {
                "number": number,
                "status": "completed",
                "score": 0.3 + (0.1 if rate == 0.01 else 0.0) + 0.001 * float(random.normal()),
                "seconds": 12.0,
                "optimizer.learning_rate": rate,
                "model.dense_units": units,
                "model.kind": ("a", "b")[number % 2],
            }
        )
    curves = {n: [0.1 * epoch for epoch in range(1, epochs + 1)] for n in range(trials)}
    return SearchRecord(objective="val_accuracy", trials=rows, curves=curves)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(
        [
            replace(
                make_result("baseline", make_evaluation(seed=1, strength=1.0)), history=HISTORY
            ),
            replace(
                make_result("tune", make_evaluation(seed=3), **{"model.dense_units": "480"}),
                history=HISTORY,
                search=search_of(5),
                url="http://localhost:5000/#/experiments/1/runs/tune-id",
            ),
            make_result("resnet50", None),
        ]
    )


@pytest.fixture(scope="module")
def text(comparison: Comparison) -> str:
    images = np.random.default_rng(0).integers(0, 256, (2000, 32, 32, 3)).astype(np.uint8)
    return render_report(comparison, test_images=images, title="All runs")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_sections_come_in_the_order_of_the_questions(page: Page) -> None:
    assert page.sections == [
        "compared",
        "study",
        "runs",
        "pairs",
        "classes",
        "confusions",
        "together",
        "training",
        "settings",
        "search",
    ]
    anchors = [link[1:] for link in page.links if link.startswith("#")]
    assert set(page.sections) <= set(anchors) <= set(page.sections)
    assert "tune is right on the most test images" in page.words


def test_every_run_has_its_figures_with_intervals(page: Page, comparison: Comparison) -> None:
    heads, *rows = page.table("run")
    assert [row[0].split()[0] for row in rows] == list(comparison.labels)
    accuracy = rows[1][heads.index("test accuracy")].split()
    metrics = comparison.results[1].metrics
    low, high = metrics["test_accuracy_low"], metrics["test_accuracy_high"]
    assert accuracy == [f"{metrics['test_accuracy']:.3f}", f"{low:.3f}–{high:.3f}"]
    for head in ("F1", "log loss", "superclass"):
        assert "–" in rows[1][heads.index(head)], head
    assert rows[1][heads.index("the study")] == "0.46"
    assert [cell.strip() for cell in rows[2][1:-2]] == ["-"] * (len(heads) - 3)
    assert "http://localhost:5000/#/experiments/1/runs/tune-id" in page.links


def test_every_class_and_superclass_has_its_row(page: Page) -> None:
    with_classes = [table for table in page.tables if table[0][0].strip() == "class"]
    assert [len(table) for table in with_classes] == [1 + 100, 2 + 100]
    # The unfinished run has no columns of figures, rather than columns of nothing.
    assert len(with_classes[1][2]) == 2 + 2 * 3
    assert len(page.table("superclass")) == 1 + 20


def test_settings_that_differ_and_only_those(page: Page) -> None:
    differing, shared = [table for table in page.tables if table[0][0].strip() == "setting"]
    assert differing[1] == ["model.dense_units", "-", "480", "-"]
    assert [row[0] for row in shared[1:]] == ["training.epochs", "data.dataset"]
    assert "baseline and tune differ in model.dense_units alone." in page.words


def test_a_few_trials_can_not_tell_what_mattered(page: Page) -> None:
    assert "5 trials can't tell which of 3 hyperparameters mattered" in page.words
    assert len(page.table("trial")) == 1 + 5


def test_many_trials_tell_what_mattered_and_how_surely() -> None:
    found = importances(search_of(60))
    assert found.each[0].name == "optimizer.learning_rate"
    assert found.each[0].mean > 0.5
    assert all(abs(entry.mean) < 0.2 for entry in found.each[1:])
    assert found.explained is not None
    assert found.explained > 0.8


def test_every_data_set_that_a_chart_names_is_in_it(text: str) -> None:
    (block,) = re.findall(r'id="specifications">(.*?)</script>', text)
    for name, chart in json.loads(block).items():
        named = set(re.findall(r'"data": \{"name": "(.*?)"\}', json.dumps(chart)))
        assert named, name
        assert named == set(chart["datasets"]), name


def test_every_chart_has_a_picture_and_words_that_say_what_it_shows(page: Page) -> None:
    assert len(page.pictures) == 12
    assert page.pictures[0].startswith("Test accuracy with its 95 % interval: baseline 0.")
    assert all(len(text) > 30 for text in page.pictures)
    assert "svg" in page.tags


def test_a_picture_has_a_dot_where_its_chart_has_one(text: str) -> None:
    (block,) = re.findall(r'id="specifications">(.*?)</script>', text)
    rows = json.loads(block)["curves-accuracy"]["datasets"]["rows"]["rows"]
    (picture,) = re.findall(r'id="chart-curves-accuracy".*?<svg.*?</svg>', text, re.DOTALL)
    places = re.findall(r"M(-?[\d.]+),(-?[\d.]+)h0", picture)
    assert len(places) == len(rows) == 8
    assert {float(x) for x, _ in places} == {0, 420}  # the first epoch and the last
    # The curves themselves go through them.
    lines = " ".join(re.findall(r' d="(M[^"]*L[^"]*)"', picture))
    assert all(f"{x},{y}" in lines for x, y in places)


def test_a_drawing_ends_with_its_use_and_says_what_went_wrong() -> None:
    smallest = {"data": {"values": [{"x": 1}]}, "mark": "point"}
    others = set(psutil.Process().children())  # what tests before this one left running
    with Drawing() as drawing:
        first, wrong = (drawing.draw(s, name="a") for s in (smallest, {"data": 3}))
        assert first.result().startswith("<svg")
        with pytest.raises(ValueError, match="Invalid specification"):
            wrong.result()
        (process,) = set(psutil.Process().children()) - others
        process.kill()
        with pytest.raises(CifarTrackError, match="exit status -9"):
            drawing.draw(smallest, name="a").result()
    with Drawing() as drawing:
        drawing.draw(smallest, name="a")
    assert not set(psutil.Process().children()) - others


def test_the_page_needs_nothing_beside_itself(text: str, page: Page) -> None:
    foreign = [link for link in page.links if not link.startswith(("#", "data:image/png;base64,"))]
    assert foreign == ["http://localhost:5000/#/experiments/1/runs/tune-id"]
    assert sum(link.startswith("data:") for link in page.links) >= 6
    assert not page.tags & {"link", "iframe", "object", "embed"}
    assert "University of Washington" in page.words  # the licences of what is in the page
    assert len(text.encode()) < 2_000_000


@pytest.mark.slow
def test_six_runs_of_ten_thousand_images_stay_below_two_megabytes() -> None:
    results = [
        replace(
            make_result(f"run{n}", make_evaluation(seed=n, per_class=100)),
            history=10 * HISTORY,
            search=search_of(40, epochs=20) if n == 2 else None,
        )
        for n in range(6)
    ]
    images = np.random.default_rng(0).integers(0, 256, (10_000, 32, 32, 3)).astype(np.uint8)
    text = render_report(compare(results), test_images=images)
    assert len(text.encode()) < 2_000_000


def test_words_and_marks_stand_out_from_the_page_in_both_schemes() -> None:
    style = (Path(report.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--([a-z]+(?:-\d)?): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    )
    assert light.keys() == dark.keys() >= {"ink", "faint", "link", "yes", "run-0", "run-9"}
    for colours in (light, dark):
        for name in ("ink", "faint", "link", "mind"):
            for ground in ("paper", "band"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        for name in ("yes", "no", "best", *(f"run-{n}" for n in range(10))):
            assert contrast(colours[name], colours["paper"]) >= 3, name


def test_every_text_of_a_user_is_escaped() -> None:
    evil = "<script>alert('\"&</script>"
    evaluation = make_evaluation(classes=3, superclasses=2, never_predicted=None)
    result = replace(
        make_result(evil, evaluation, run_id=evil, **{f"a.{evil}": evil}),
        name=evil,
        per_class=[
            {**row, "name": f"{evil}{n}", "superclass": evil}
            for n, row in enumerate(evaluation.per_class_rows())
        ],
    )
    other = replace(result, run_id=evil + "2", iteration=evil + "b", parameters={"a.b": evil})
    text = render_report(compare([result, other]), title=evil, notices=[evil])
    page = Page(text)
    assert "<script>alert" not in text
    assert text.count("<script") == 3  # the specifications, the charts' library, the page's own
    assert evil in page.words


def test_a_picture_says_what_the_chart_says() -> None:
    texts = ["0.7195", "lr 0.00125", 'role="x"', 'a <path d="M0,0h0v0h0Z"/> b', 'id="url(#x)']
    drawn = "".join(
        f'<g aria-label="{escape(text)}" class="mark" opacity="1"><path d="M1.23456,2"/>'
        f'<text font-size="11.12345px" id="t">{escape(text, quote=False)}</text></g>'
        for text in texts
    )
    page = for_page(f"<svg>{drawn}</svg>", "chart")
    assert [unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)<", page)] == texts
    assert page.count('d="M1.23,2"') == page.count('id="chart-t"') == len(texts)
    assert "aria-label" not in page


def test_seeds_are_grouped_and_too_few_of_them_say_nothing() -> None:
    def runs(iteration: str, seeds: int, **settings: str) -> list[RunResult]:
        return [
            make_result(
                iteration,
                make_evaluation(seed=10 * seed + seeds, strength=3, per_class=2),
                run_id=f"{iteration}{seed}",
                **{"training.seed": str(seed), **settings},
            )
            for seed in range(seeds)
        ]

    few = compare([*runs("a", 3), *runs("b", 2, **{"model.kind": "x"})])
    assert few.labels == ("a seed 0", "a seed 1", "a seed 2", "b seed 0", "b seed 1")
    groups = seed_groups(few.results, few.labels)
    assert [(g.name, g.seeds) for g in groups] == [("a", ("0", "1", "2")), ("b", ("0", "1"))]
    accuracies = [result.metrics["test_accuracy"] for result in few.results[:3]]
    assert groups[0].mean == pytest.approx(np.mean(accuracies))
    assert groups[0].deviation == pytest.approx(np.std(accuracies, ddof=1))
    words = Page(render_report(few)).words
    assert "b (2) and a (3): too few seeds to say." in words
    enough = compare([*runs("a", 5), *runs("b", 6, **{"model.kind": "x"})])
    (test,) = seed_tests(seed_groups(enough.results, enough.labels))
    assert test.difference is not None
    # The same seeds again are no more seeds, and what others were tested on is not held beside it.
    again = [replace(result, run_id=f"again {result.run_id}") for result in runs("a", 5)]
    [a, _] = seed_groups([*enough.results, *again], [*enough.labels, *"12345"])
    assert (len(a.labels), a.seeds) == (10, ("0", "1", "2", "3", "4"))
    assert a.accuracies == seed_groups(enough.results, enough.labels)[0].accuracies
    elsewhere = [replace(result, test_digest="other") for result in runs("b", 6)]
    assert seed_tests(seed_groups([*runs("a", 5), *elsewhere], [str(n) for n in range(11)])) == []
    # A run that differs in something else is not of the group.
    odd = make_result("a", make_evaluation(), **{"training.seed": "9", "model.kind": "y"})
    assert len(seed_groups([*enough.results, odd], [*enough.labels, "odd"])) == 3


def test_sentences_say_whether_it_was_luck(comparison: Comparison, page: Page) -> None:
    sentences = [verdict(pair) for pair in comparison.pairs]
    assert sentences[0].startswith("tune is right on ")
    assert "percentage points more of the 2,000 test images than baseline" in sentences[0]
    assert sentences[0].endswith(", p < 0.001).")
    assert f"More than luck: {sentences[0]}" in page.words
    assert sentences[1] == "resnet50 and baseline were not tested: resnet50 has no predictions."
    assert all(sentence in page.words for sentence in sentences)


def test_the_verdict_over_all_says_of_each_whether_it_was_luck_and_says_so_once() -> None:
    strengths = {"best": 4.4, "near": 4.39, "far": 3.0, "farther": 2.0}
    results = [make_result(n, make_evaluation(strength=s)) for n, s in strengths.items()]
    said = headline(compare(results))
    assert said.startswith("best is right on the most test images, ")
    assert said.endswith(" %; luck alone could put it ahead of near, but not ahead of the other 2.")
    assert headline(compare(results[::2])).endswith("and ahead of the other by more than luck.")
    twice = compare([results[0], replace(results[0], run_id="again", name="again")])
    assert re.fullmatch(
        r"\S.* and .*again are right on the most test images, [\d.]+ % each\.", headline(twice)
    )


def test_a_sentence_names_first_who_is_ahead() -> None:
    test = PairedDifference(
        images=1000,
        both_right=300,
        only_first_right=110,
        only_second_right=100,
        both_wrong=490,
        difference=-0.01,
        low=-0.038,
        high=0.018,
        p_value=0.534,
    )
    pair = Pair(
        first="a",
        second="b",
        test=test,
        adjusted_p_value=0.534,
        missing="",
        low=-0.038,
        high=0.018,
        confidence=0.95,
    )
    assert verdict(pair) == (
        "a is right on 1.0 percentage points more of the 1,000 test images than b "
        "(95 % interval -1.8 to +3.8, p = 0.534)."
    )
    even = replace(pair, test=replace(test, difference=0.0, low=-0.02, high=0.02))
    assert verdict(even).startswith("b and a are right on equally many of the 1,000 test images (")


def test_a_run_alone_and_a_run_without_anything() -> None:
    page = Page(render_report(compare([RunResult(run_id="1", name="x", iteration="tune")])))
    assert "nothing to compare it with" in page.words
    assert "None." in page.words


def test_a_fit_whose_loss_was_no_number_has_a_page() -> None:
    broken = [{**HISTORY[0], "train_loss": math.nan, "val_loss": math.inf}, *HISTORY[1:]]
    search = search_of(40)
    worst = {**search.trials[0], "score": math.nan, "optimizer.learning_rate": 0.3}
    result = replace(
        make_result("tune", make_evaluation()),
        history=broken,
        search=replace(search, trials=[worst, *search.trials[1:]], curves={0: [0.1, math.nan]}),
    )
    text = render_report(compare([result, make_result("other", make_evaluation(seed=1))]))
    (block,) = re.findall(r'id="specifications">(.*?)</script>', text)
    curves = json.loads(block, parse_constant=pytest.fail)["curves-loss"]
    data = curves["datasets"]["rows"]
    rows = [dict(zip(data["names"], row, strict=True)) for row in data["rows"]]
    assert [row["value"] for row in rows if row["epoch"] == 1] == [None, None]


def test_what_makes_a_figure_incomparable_is_said() -> None:
    evaluation = make_evaluation(classes=4, superclasses=2)
    stand_in = make_result("tune", evaluation, **{"data.dataset": "procedural"})
    by_test = make_result("adam_bn", evaluation, **{"data.selection": "test"})
    words = " ".join(notices(compare([stand_in, by_test])))
    assert "tune: trained and tested on the procedural stand-in" in words
    assert "adam_bn: epochs and settings were chosen by the test images" in words
    assert len(notices(compare([stand_in]))) == 1
