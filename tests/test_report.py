"""The HTML page: whole, self-contained, escaped, and true to the comparison."""

from __future__ import annotations

import base64
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from cifar_track.comparison import Comparison, Pair, RunResult, compare
from cifar_track.report import render_report, verdict
from cifar_track.statistics import PairedDifference
from tests.made_up_evaluations import make_evaluation, make_result

VOID = {"meta", "img", "br"}
PNG = b"\x89PNG\r\n\x1a\nnot really"


class Page(HTMLParser):
    """Reads a page, refuses tags that do not close, and keeps what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.words = ""
        self.tables: list[list[list[str]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(
        [
            make_result("baseline", make_evaluation(seed=1, strength=1.0)),
            make_result("tune", make_evaluation(seed=3), **{"model.dense_units": "480"}),
            make_result("resnet50", None),
        ]
    )


def test_the_page_holds_the_runs_the_study_and_the_classes(comparison: Comparison) -> None:
    page = Page(render_report(comparison, title="All runs"))
    runs, settings, shared, classes = page.tables
    assert [row[0] for row in runs[2:]] == [
        "baselinebaseline-id",
        "tunetune-id",
        "resnet50resnet50-id",
    ]
    assert runs[3][-4:] == ["0.46", "0.48", "0.46", "0.45"]
    assert set(runs[4][1:]) == {"-", "20"}
    assert settings[1] == ["model.dense_units", "-", "480", "-"]
    assert [row[0] for row in shared[1:]] == ["training.epochs", "data.dataset"]
    assert len(classes) == 2 + 100
    # The unfinished run has no columns of figures, rather than columns of nothing.
    assert len(classes[2]) == 2 + 2 * 3
    assert "All runs" in page.words


def test_the_page_needs_nothing_beside_itself(comparison: Comparison) -> None:
    page = Page(render_report(comparison, figures={"Accuracy": PNG, "Bars": PNG}))
    encoded = "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert page.links == [encoded, encoded]
    assert not page.tags & {"script", "link", "iframe", "object", "embed"}
    text = render_report(comparison)
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text


def test_every_text_of_a_user_is_escaped() -> None:
    evil = "<script>alert('\"&</script>"
    evaluation = make_evaluation(classes=3, superclasses=2, never_predicted=None)
    result = replace(
        make_result(evil, evaluation, run_id=evil, **{evil: evil}),
        name=evil,
        per_class=[
            {**row, "name": f"{evil}{n}", "superclass": evil}
            for n, row in enumerate(evaluation.per_class_rows())
        ],
    )
    other = replace(result, run_id=evil + "2", iteration=evil + "b", parameters={"a": evil})
    text = render_report(compare([result, other]), figures={evil: PNG}, title=evil)
    page = Page(text)
    assert "<script" not in text.lower()
    assert "script" not in page.tags
    assert evil in page.words


def test_sentences_say_whether_it_was_luck(comparison: Comparison) -> None:
    sentences = [verdict(pair) for pair in comparison.pairs]
    assert sentences[0].startswith("tune is right on ")
    assert "percentage points more of the 2,000 test images than baseline" in sentences[0]
    assert sentences[0].endswith("more than luck (p < 0.001).")
    assert sentences[1] == "resnet50 and baseline were not tested: resnet50 has no predictions."
    page = Page(render_report(comparison))
    assert all(sentence in page.words for sentence in sentences)


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
    pair = Pair(first="a", second="b", test=test, adjusted_p_value=0.534, missing="")
    assert verdict(pair) == (
        "a is right on 1.0 percentage points more of the 1,000 test images than b "
        "(95 % interval -1.8 to +3.8): no more than luck could do (p = 0.534)."
    )
    even = replace(pair, test=replace(test, difference=0.0, low=-0.02, high=0.02))
    assert verdict(even).startswith("b and a are right on equally many of the 1,000 test images (")


def test_a_run_alone_and_a_run_without_anything() -> None:
    page = Page(render_report(compare([RunResult(run_id="1", name="x", iteration="tune")])))
    assert "nothing to compare it with" in page.words
    assert "None." in page.words


def test_what_makes_a_figure_incomparable_is_said() -> None:
    evaluation = make_evaluation(classes=4, superclasses=2)
    stand_in = make_result("tune", evaluation, **{"data.dataset": "procedural"})
    by_test = make_result("adam_bn", evaluation, **{"data.selection": "test"})
    words = Page(render_report(compare([stand_in, by_test]))).words
    assert "tune: trained and tested on the procedural stand-in" in words
    assert "adam_bn: epochs and settings were chosen by the test images" in words
    assert "chosen by the test images" not in Page(render_report(compare([stand_in]))).words
