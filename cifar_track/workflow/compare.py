"""Finished runs put side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cifar_track import folders, report, tracking
from cifar_track.comparison import Comparison, RunResult, compare, summary_table
from cifar_track.config import DEFAULT_DATASET, CifarTrackError, Data
from cifar_track.data import read_test_images
from cifar_track.tracking import tag
from cifar_track.workflow.progress import waiting
from cifar_track.workflow.terminal import tell

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of runs that nobody names, read side by side, more than these are no longer told apart.
MOST_UNNAMED = 12
# So many that match are counted, to say how many were left out.
COUNTED = 200


def compare_runs(
    references: Sequence[str] = (),
    *,
    dataset: str | None = None,
    filter_string: str = "",
    allow: Collection[str] = (),
    output: Path | None = None,
) -> Comparison:
    """Put runs side by side, log the comparison to a run of its own, and print where it is.

    Args:
        references: ids, beginnings of ids or names of runs, or several of these parted by commas.
            Without these and a filter, of each iteration the newest finished run that is like the
            newest of all, of 12 at most.
        dataset: whose runs; of any data set where some are named, otherwise of CIFAR-100.
        filter_string: a filter of MLflow's, for finished runs; the newest 12 are shown.
        allow: what may be shown although it can't be compared: words of `tracking.ALLOWED`.
        output: a folder for a copy of the comparison's files.

    Raises:
        CifarTrackError: no run to compare, a run that is not known or not of this kind, or runs
            that were judged differently.
    """
    tracking.open_store()
    folders.require_output(output)
    chosen = choose_runs(references, dataset=dataset, filter_string=filter_string, allow=allow)
    run_ids = chosen.run_ids
    with waiting(f"comparing {len(run_ids)} runs"), report.Drawing() as drawing:
        results = _load(run_ids, chosen.remarks, named=bool(references or filter_string))
        run_ids = tuple(result.run_id for result in results)
        comparison = compare(results)
        pages = {
            "comparison.html": report.render_report(
                comparison, test_images=_test_images(comparison.results), drawing=drawing
            ),
            "summary.md": summary_table(comparison) + "\n",
        }
    tables = {
        "metrics.csv": comparison.metric_rows(),
        "parameters.csv": comparison.parameter_rows(),
        "per_class.csv": comparison.per_class_rows(),
        "pairs.csv": comparison.pair_rows(),
    }
    with tracking.start_run(
        dataset_name=chosen.dataset,
        name="comparison",
        kind="comparison",
        tags={tag.COMPARED_RUNS: ",".join(run_ids)},
    ) as run:
        for name, text in pages.items():
            run.log_text(text, f"comparison/{name}")
        for name, rows in tables.items():
            if rows:
                run.log_rows(rows, f"comparison/{name}")
        url = tracking.compare_url(run_ids, chosen.experiment_ids)
        run.set_tags({tag.MLFLOW_NOTE: f"{pages['summary.md']}\n[Compare these runs]({url})"})
    if output is not None:
        _write_copy(output, pages)
    tell(pages["summary.md"])
    tell(f"comparison: {tracking.run_url(run.id, run.experiment_id)}")
    if output is not None:
        tell(f"report: {output / 'comparison.html'}")
    tell(f"open the UI: {tracking.ui_command()}")
    tell(f"side by side: {url}")
    tell(f"all runs: {tracking.experiment_url(run.experiment_id)}")
    return comparison


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The runs that are put side by side.

    Attributes:
        run_ids: in the order in which they are shown.
        experiment_ids: of MLflow's experiments that hold them.
        remarks: by run id, what is said of a run that is shown only because it was asked for.
        dataset: what the comparison is filed under.
    """

    run_ids: tuple[str, ...]
    experiment_ids: tuple[str, ...]
    remarks: Mapping[str, tuple[str, ...]]
    dataset: str


def choose_runs(
    references: Sequence[str] = (),
    *,
    dataset: str | None = None,
    filter_string: str = "",
    allow: Collection[str] = (),
) -> Chosen:
    """Choose the runs as `compare_runs` is asked to, and print what was left out and why."""
    if not references and not filter_string:
        dataset = dataset or DEFAULT_DATASET
        choice = tracking.newest_alike(dataset, most=MOST_UNNAMED)
        for line in choice.left_out:
            tell(line)
        if not choice.runs:
            raise CifarTrackError(
                f"no finished run on {dataset} to compare; run one first: mlflow run . -e baseline"
            )
        return Chosen(
            run_ids=tuple(run.run_id for run in choice.runs),
            experiment_ids=(choice.runs[0].experiment_id,),
            remarks={},
            dataset=dataset,
        )
    runs = tracking.resolve_runs(references, dataset_name=dataset)
    named = len(runs)
    if filter_string:
        runs = tracking.with_matching(runs, filter_string, dataset_name=dataset, limit=COUNTED)
    older = len(runs) - named - MOST_UNNAMED
    if older > 0:
        del runs[named : named + older]
        at_least = "at least " if older + MOST_UNNAMED == COUNTED else ""
        tell(
            f"left out: {at_least}{older} runs that match the filter and are older than the newest "
            f"{MOST_UNNAMED} of them; narrow the filter, or name runs by -P runs="
        )
    run_ids = tuple(run.info.run_id for run in runs)
    if len(set(run_ids)) != len(run_ids):
        raise CifarTrackError("a run is named twice; name each run once")
    remarks = tracking.require_comparable(runs, allow=allow)
    for run in runs:
        for remark in remarks.get(run.info.run_id, ()):
            tell(f"run {tracking.describe_run(run)}: {remark}")
    return Chosen(
        run_ids=run_ids,
        experiment_ids=tuple(dict.fromkeys(run.info.experiment_id for run in runs)),
        remarks=remarks,
        dataset=tracking.dataset_of(runs),
    )


def _load(
    run_ids: Sequence[str], remarks: Mapping[str, tuple[str, ...]], *, named: bool
) -> list[RunResult]:
    """What the runs logged; one that nobody named and that can't be read is left out, and said."""
    results: list[RunResult] = []
    failures: list[CifarTrackError] = []
    for run_id in run_ids:
        try:
            results.append(tracking.load_result(run_id, remarks=remarks.get(run_id, ())))
        except CifarTrackError as error:
            if named:
                raise
            failures.append(error)
    if not results:
        raise failures[0]
    for failure in failures:
        tell(f"left out: {failure}")
    return results


def _test_images(results: Sequence[RunResult]) -> NDArray[np.uint8] | None:
    """The images that the runs were tested on, where they are at hand on this machine."""
    tested = [result for result in results if result.labels is not None]
    if not tested:
        return None
    parameters = tested[0].parameters
    try:
        settings = Data(
            dataset=parameters["data.dataset"],
            test_per_class=int(parameters["data.test_per_class"]),
            split_seed=int(parameters["data.split_seed"]),
        )
        found = read_test_images(settings)
    except (CifarTrackError, KeyError, ValueError):  # the page does without
        return None
    if found is None or not np.array_equal(found.labels, np.asarray(tested[0].labels)):
        return None
    return found.images


def _write_copy(output: Path, pages: Mapping[str, str]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (output / name).write_text(text, encoding="utf-8")
