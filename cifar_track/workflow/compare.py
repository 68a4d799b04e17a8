"""Finished runs put side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from cifar_track import folders, plots, report, tracking
from cifar_track.comparison import Comparison, RunResult, compare, summary_table
from cifar_track.config import CifarTrackError
from cifar_track.tracking import tag
from cifar_track.workflow.terminal import tell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Each pair is two figures of a megabyte; past this many runs only neighbours are drawn.
MOST_RUNS_IN_PAIRS = 5
FIGURE_DPI = 110


def compare_runs(
    run_ids: Sequence[str] = (), *, dataset: str = "cifar100", output: Path | None = None
) -> Comparison:
    """Put runs side by side, log the comparison to a run of its own, and print where it is.

    Args:
        run_ids: MLflow's run ids; the newest finished run of each iteration if empty.
        dataset: whose runs, where none are named.
        output: a folder for a copy of the comparison's files.

    Raises:
        CifarTrackError: no run to compare, an unknown run, or runs on different classes.
    """
    tracking.open_store()
    folders.require_output(output)
    if not run_ids:
        newest = tracking.newest_of_each_iteration(tracking.find_runs(dataset))
        run_ids = tuple(run.run_id for run in newest)
    if not run_ids:
        raise CifarTrackError(
            f"no finished run on {dataset} to compare; run one first: mlflow run . -e baseline"
        )
    if len(set(run_ids)) != len(run_ids):
        raise CifarTrackError("a run is named twice; name each run once")
    comparison = compare([tracking.load_result(run_id) for run_id in run_ids])
    drawn = _figures(comparison)
    images = {name: _as_png(figure) for name, figure in drawn.items()}
    pages = {
        "comparison.html": report.render_report(comparison, figures=images),
        "summary.md": summary_table(comparison) + "\n",
    }
    tables = {
        "metrics.csv": comparison.metric_rows(),
        "parameters.csv": comparison.parameter_rows(),
        "per_class.csv": comparison.per_class_rows(),
        "pairs.csv": comparison.pair_rows(),
    }
    with tracking.start_run(
        dataset_name=dataset,
        name="comparison",
        kind="comparison",
        tags={tag.COMPARED_RUNS: ",".join(run_ids)},
    ) as run:
        for name, text in pages.items():
            run.log_text(text, f"comparison/{name}")
        for name, rows in tables.items():
            if rows:
                run.log_rows(rows, f"comparison/{name}")
        for name, figure in drawn.items():
            run.log_figure(figure, f"figures/{name}.png")
        url = tracking.compare_url(run_ids, [run.experiment_id])
        run.set_tags({tag.MLFLOW_NOTE: f"{pages['summary.md']}\n[Compare these runs]({url})"})
    if output is not None:
        _write_copy(output, pages, images)
    tell(pages["summary.md"])
    tell(f"comparison: {tracking.run_url(run.id, run.experiment_id)}")
    if output is not None:
        tell(f"report: {output / 'comparison.html'}")
    tell(f"open the UI: {tracking.ui_command()}")
    tell(f"side by side: {url}")
    return comparison


def _figures(comparison: Comparison) -> Mapping[str, Figure]:
    figures = {"accuracy": plots.accuracy_comparison(comparison)}
    measured = [result for result in comparison.results if result.per_class]
    for a, b in _pairs(measured):
        names = f"{_file_name(a)}-{_file_name(b)}"
        figures[f"{names}-first-11"] = plots.compare_bars(a, b)
        figures[f"{names}-all"] = plots.compare_overview(a, b)
    return figures


def _pairs(results: Sequence[RunResult]) -> list[tuple[RunResult, RunResult]]:
    if len(results) <= MOST_RUNS_IN_PAIRS:
        return list(combinations(results, 2))
    return list(pairwise(results))


def _file_name(result: RunResult) -> str:
    return folders.file_name(f"{result.iteration}-{result.run_id[:8]}")


def _as_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=FIGURE_DPI)
    return buffer.getvalue()


def _write_copy(output: Path, pages: Mapping[str, str], images: Mapping[str, bytes]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (output / name).write_text(text, encoding="utf-8")
    for name, image in images.items():
        (output / f"{name}.png").write_bytes(image)
