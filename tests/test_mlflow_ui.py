"""MLflow's own UI in a real browser, on a real server, by the links that the verbs print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from cifar_track import cli, tracking
from cifar_track.tracking import tag
from tests.conftest import MLFLOW_VARIABLES
from tests.made_up_evaluations import make_evaluation

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

pytestmark = pytest.mark.slow

SECONDS = 120_000  # in milliseconds; the UI's script is 20 MB, and a test's machine may be busy
EPOCHS = 3


@pytest.fixture(scope="module")
def printed(
    server_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """What `compare` prints of three runs, one of them a search with two trials, by its word."""
    with pytest.MonkeyPatch.context() as patch:
        for name in MLFLOW_VARIABLES:
            patch.delenv(name, raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", server_address)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        tracking.open_store()
        run_ids = [
            log_run("baseline", strength=2.0),
            log_run("adam_bn", strength=3.0),
            log_run("tune", strength=4.0, trials=2),
        ]
        lines: list[str] = []
        patch.setattr("cifar_track.workflow.compare.tell", lines.append)
        assert cli.run(["compare", "--runs", ",".join(run_ids)]) == 0
        yield dict(line.split(": ", 1) for line in lines if ": http" in line)


def log_run(name: str, *, strength: float, trials: int = 0) -> str:
    tags = {tag.ITERATION: name, tag.TEST_DIGEST: "t", **({tag.SEARCH_KEY: "k"} if trials else {})}
    evaluation = make_evaluation(strength=strength)
    with tracking.start_run(dataset_name="cifar100", name=name, tags=tags) as run:
        run.log_parameters({"data.dataset": "cifar100", "training.epochs": EPOCHS})
        for number in range(trials):
            child = run.child(number, {"optimizer.learning_rate": 0.01 * (number + 1)})
            child.log_epoch(1, {"val_accuracy": 0.1 * (number + 1)})
            child.finish("completed")
        for epoch in range(1, EPOCHS + 1):
            run.log_epoch(epoch, {"val_accuracy": epoch / 10, "val_loss": 4 - epoch / 10})
        run.log_metrics({**evaluation.metrics(), "best_val_accuracy": 0.3, "fit_seconds": 12.5})
        run.log_evaluation(evaluation)
    return run.id


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    context.set_default_timeout(SECONDS)
    yield context.new_page()
    context.close()


def test_the_list_opens_with_the_columns_that_matter(tab: Tab, printed: dict[str, Any]) -> None:
    tab.goto(printed["all runs"])
    tab.get_by_role("link", name="tune").wait_for()
    # The mode for models, with the search's trials folded, and no comparison among the runs.
    assert "workflowType=machine_learning" in tab.url
    runs = tab.get_by_role("link", name=re.compile("^(baseline|adam_bn|tune|trial .*|comparison)$"))
    assert runs.all_inner_texts() == ["tune", "adam_bn", "baseline"]
    heads = {head.strip() for head in tab.get_by_role("columnheader").all_inner_texts()}
    assert {"test_accuracy", "test_accuracy_low", "best_val_accuracy"} <= heads
    # Other columns come into sight, and are drawn, as the list is moved.
    assert not heads & {"train_loss", "test_log_loss", "data.dataset"}
    tab.get_by_role("gridcell").filter(has_text="tune").get_by_role("button").first.click()
    tab.get_by_role("link", name="trial 1").wait_for()


def test_single_values_are_bars_and_epochs_are_lines(tab: Tab, printed: dict[str, Any]) -> None:
    tab.goto(printed["all runs"] + "&compareRunsMode=CHART")
    tab.get_by_placeholder("Search metric charts").fill("^(test_accuracy|val_accuracy)$")
    chart = tab.locator("[data-testid=experiment-view-compare-runs-card]")
    bars, lines = (chart.filter(has_text=re.compile(f"^{n}")) for n in ("test_acc", "val_acc"))
    bars.locator(".barlayer path").first.wait_for(state="attached")
    lines.locator(".scatterlayer path").first.wait_for(state="attached")
    assert bars.locator(".scatterlayer path").count() == 0
    assert lines.locator(".barlayer path").count() == 0


def test_the_link_beside_puts_the_runs_side_by_side(tab: Tab, printed: dict[str, Any]) -> None:
    tab.goto(printed["side by side"])
    tab.get_by_text("Comparing 3 Runs from 1 Experiment").wait_for()
    for name in ("baseline", "adam_bn", "tune"):
        assert tab.get_by_text(name, exact=True).count() >= 1
    assert tab.get_by_text("test_accuracy", exact=True).count() >= 1


def test_the_page_is_alive_as_an_artifact(tab: Tab, printed: dict[str, Any]) -> None:
    run, mode = printed["comparison"].split("?")
    tab.goto(f"{run}/artifacts/comparison/comparison.html?{mode}")
    page = tab.frame_locator("iframe")
    page.get_by_text("tune is right on the most test images").wait_for()
    page.locator("#chart-accuracy .vega-embed svg").wait_for()
    page.locator("#runs th button", has_text="test accuracy").click()
    first = page.locator("#runs tbody tr").first
    assert first.inner_text().startswith("tune")
