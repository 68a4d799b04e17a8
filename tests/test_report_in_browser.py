"""The page in a real browser: alive, sorted, filtered, narrow, dark, printed, without scripts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cifar_track.comparison import RunResult, compare
from cifar_track.config import metrics_at
from cifar_track.report import render_report
from tests.made_up_evaluations import make_evaluation, make_result
from tests.test_report import HISTORY, search_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

pytestmark = pytest.mark.slow

RUNS = ("baseline", "adam_bn", "tune", "lighter")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    results = [
        replace(
            with_all_figures(name, seed=n, strength=2 + 0.5 * n, depth=n),
            history=HISTORY,
            search=search_of(40) if name == "tune" else None,
            url=f"http://localhost:5000/#/experiments/1/runs/{n}",
        )
        for n, name in enumerate(RUNS)
    ]
    second = replace(
        with_all_figures("baseline", seed=9, strength=2, depth=0, training_seed=1),
        run_id="second",
    )
    images = np.random.default_rng(0).integers(0, 256, (2000, 32, 32, 3)).astype(np.uint8)
    path = tmp_path_factory.mktemp("page") / "comparison.html"
    path.write_text(render_report(compare([*results, second]), test_images=images), "utf-8")
    return path.as_uri()


def with_all_figures(
    name: str, *, seed: int, strength: float, depth: int, training_seed: int = 0
) -> RunResult:
    """A run that has every figure which the page can show."""
    seen = np.random.default_rng(0).random(2000) < 0.09
    evaluation = make_evaluation(seed=seed, strength=strength, never_predicted=None, seen=seen)
    settings = {"training.seed": str(training_seed), "model.depth": str(depth)}
    result = make_result(name, evaluation, **settings)
    logged = {m.name: 1_234_567.0 for m in metrics_at("cost")} | {"best_val_accuracy": 0.4321}
    return replace(result, metrics={**result.metrics, **logged})


def open_page(browser: Browser, address: str, *, width: int = 1400, **options: Any) -> Tab:
    """The page with every chart alive, and no error on the way."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    tab = context.new_page()
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
    tab.on(
        "request", lambda r: None if r.url.startswith(("file:", "data:")) else faults.append(r.url)
    )
    tab.goto(address)
    if options.get("java_script_enabled", True):
        for figure in tab.locator("figure.chart").all():
            figure.scroll_into_view_if_needed()
            figure.locator(".vega-embed svg").first.wait_for(timeout=30_000)
    assert faults == []
    return tab


def column(tab: Tab, table: str, number: int) -> list[str]:
    rows = tab.locator(f"{table} tbody tr:visible")
    return [row.locator("th, td").nth(number).inner_text().strip() for row in rows.all()]


def test_every_chart_comes_alive_and_answers_the_pointer(browser: Browser, address: str) -> None:
    tab = open_page(browser, address)
    tab.locator("#chart-accuracy").scroll_into_view_if_needed()
    tab.locator("#chart-accuracy .mark-symbol path").first.hover()
    tip = tab.locator("#vg-tooltip-element.visible")
    tip.wait_for(timeout=10_000)
    assert "0." in tip.inner_text()


def test_tables_sort_by_a_click_and_filter_by_typing(browser: Browser, address: str) -> None:
    tab = open_page(browser, address)
    accuracy = tab.locator("#runs th button", has_text="test accuracy")
    accuracy.click()
    shown = [float(cell.split()[0]) for cell in column(tab, "#runs", 1)]
    assert shown == sorted(shown, reverse=True)
    accuracy.click()
    assert [float(cell.split()[0]) for cell in column(tab, "#runs", 1)] == sorted(shown)
    assert tab.locator("#runs th[aria-sort=ascending]").inner_text().startswith("test accuracy")
    # Of a table with two rows of heads, the column below the second run's.
    figures = tab.locator("#classes .table").nth(1)
    figures.locator("th button", has_text="recall").nth(1).click()
    cells = [row.locator("td").nth(5).inner_text() for row in figures.locator("tbody tr").all()]
    assert [float(cell) for cell in cells] == sorted((float(c) for c in cells), reverse=True)
    figures.locator("input").fill("Television")
    names = figures.locator("tbody tr:visible th").all_inner_texts()
    assert names
    assert all("television" in name for name in names)


def test_the_choice_of_two_runs_moves_chart_words_and_table(browser: Browser, address: str) -> None:
    tab = open_page(browser, address)
    chart = tab.locator("#chart-classes .mark-symbol.role-mark").first
    before = chart.inner_html()
    options = tab.locator("#pair-choice option").all_inner_texts()
    assert options[0] == "lighter − tune"  # the two best first
    tab.select_option("#pair-choice", options[-1])
    tab.wait_for_function("!document.querySelector('.of-pair').checkVisibility()")
    assert options[-1] in tab.locator(".of-pair:visible").inner_text()
    assert chart.inner_html() != before
    heads = tab.locator("#classes .table").first.locator("th[data-pair]:visible")
    assert [text.split("\n")[0] for text in heads.all_inner_texts()] == [options[-1]]


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, address: str, scheme: Any, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab = open_page(browser, address, width=width, color_scheme=scheme)
    found = axe.run(tab, options={}).response
    faults = [(v["id"], v["impact"], v["nodes"][0]["html"][:200]) for v in found["violations"]]
    assert faults == []
    # It has looked at the colours of the words, and sees what is wrong with others.
    assert sum(len(v["nodes"]) for v in found["passes"] if v["id"] == "color-contrast") > 1000
    tab.evaluate("document.querySelector('#compared .lead').style.color = '#777'")
    tab.evaluate("document.querySelector('#compared').append(new Image())")
    after = axe.run(tab, context="#compared", options={}).response["violations"]
    assert {v["id"] for v in after} == {"color-contrast", "image-alt"}


@pytest.mark.parametrize("section", ["runs", "pairs", "together", "training", "settings"])
def test_nothing_is_cut_off_on_a_desktop(browser: Browser, address: str, section: str) -> None:
    tab = open_page(browser, address)
    for table in tab.locator(f"#{section} .scroll").all():
        if table.is_visible():
            name = table.get_attribute("aria-label")
            assert table.evaluate("e => e.scrollWidth - e.clientWidth") <= 0, name


def test_a_phone_shows_it_without_moving_sideways(browser: Browser, address: str) -> None:
    tab = open_page(browser, address, width=390)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    # The first column stays where it is while the rest of a table moves below it.
    table = tab.locator("#runs .scroll")
    first = table.locator("tbody th").first
    left = first.bounding_box()
    table.evaluate("element => { element.scrollLeft = 200 }")
    moved = first.bounding_box()
    assert left is not None
    assert moved is not None
    assert moved["x"] == left["x"]
    for picture in tab.locator(".picture").all():
        assert picture.evaluate("e => e.scrollWidth - e.clientWidth") <= 1
    # What matters most of each table is in sight before anything is moved.
    for head in ("#runs th >> text=test accuracy", "#classes th[data-pair]:visible"):
        box = tab.locator(head).first.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390, head


def test_the_head_of_a_table_stays_while_its_rows_move(browser: Browser, address: str) -> None:
    tab = open_page(browser, address)
    table = tab.locator("#classes .scroll").first
    head = table.locator("thead th").first
    top = head.bounding_box()
    table.evaluate("element => { element.scrollTop = 600 }")
    assert head.bounding_box() == top


def test_without_scripts_tables_and_pictures_are_there(browser: Browser, address: str) -> None:
    tab = open_page(browser, address, java_script_enabled=False)
    assert tab.locator("figure.chart svg").count() == tab.locator("figure.chart").count() >= 13
    assert tab.locator("#classes tbody tr").count() >= 200
    assert not tab.locator(".filter").first.is_visible()
    assert not tab.locator("#pair-choice").is_visible()


@pytest.mark.parametrize("scripted", [True, False])
def test_no_table_of_many_runs_goes_over_the_edge_of_paper(
    browser: Browser, tmp_path: Path, scripted: bool
) -> None:
    results = [
        with_all_figures(f"a_longer_name_{n}", seed=n, strength=2 + n / 5, depth=n)
        for n in range(8)
    ]
    path = tmp_path / "comparison.html"
    path.write_text(render_report(compare(results)), "utf-8")
    a4 = round((210 - 2 * 14) / 25.4 * 96)  # its width without the margins, in CSS pixels
    tab = open_page(browser, path.as_uri(), width=a4, java_script_enabled=scripted)
    tab.emulate_media(media="print")
    tables = [table for table in tab.locator(".scroll").all() if table.is_visible()]
    assert len(tables) >= 8
    for table in tables:
        name = table.get_attribute("aria-label")
        assert table.evaluate("e => e.scrollWidth - e.clientWidth") <= 0, name


def test_it_prints(browser: Browser, address: str, tmp_path: Path) -> None:
    tab = open_page(browser, address)
    pdf = tab.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") >= 4
    tab.emulate_media(media="print")
    assert not tab.locator("nav").is_visible()
