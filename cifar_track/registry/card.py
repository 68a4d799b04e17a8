"""The card of a model: what it is, what it is worth, what it is for, and how it is made again."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Mapping, Sequence

import mlflow

from cifar_track import tracking
from cifar_track.comparison import Number, numbers_of
from cifar_track.config import (
    DATASETS,
    CifarTrackError,
    load_experiment,
    metrics_at,
    settings_to_repeat,
)
from cifar_track.registry.gates import Gate
from cifar_track.tracking import FinishedRun, tag

SHOWN = 5


def model_card(run: FinishedRun, gates: Sequence[Gate]) -> str:
    """The card in Markdown, short enough for a description in MLflow.

    Args:
        run: the run that made the model; its tables are read from the store.
        gates: what was asked of the model, and what was found.
    """
    info = DATASETS[run.tags.get(tag.DATASET, run.parameters.get("data.dataset", ""))]
    sections = {
        f"{run.iteration}, run `{run.run_id}`": (
            f"Names which of {info.classes} classes of {info.title} a picture of "
            f"{info.image_shape[0]} × {info.image_shape[1]} pixels shows."
        ),
        "Checked": "\n".join(f"- {gate.name}: {gate}" for gate in gates),
        "Figures": _figures(run),
        "Where it is weak": _weaknesses(run),
        "Data": _data(run, info.licence),
        "Meant for": (
            "Study and teaching, on small pictures of these classes alone: every picture is given "
            "one of them, whatever it shows. Its probabilities are no promise (see the calibration "
            "error); it has not been tested on pictures from elsewhere, nor for fairness. Not for "
            "decisions about people."
        ),
        "Made again by": _again(run),
        "Settings": ", ".join(
            f"`{name}` {value}"
            for name, value in sorted(run.parameters.items())
            if "." in name and not name.startswith(("data.", "cifar_track."))
        ),
        "Cost": _cost(run),
    }
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items() if text) + "\n"


def command(run: FinishedRun) -> str:
    """The command that makes the run again, every setting given that is not found by a search."""
    commit = run.tags.get(tag.MLFLOW_COMMIT)
    checkout = f"git checkout {commit}\n" if commit else ""
    if tag.MEMBERS in run.tags:
        seed = run.parameters.get("ensemble.seed", "0")
        return (
            f"{checkout}python -m cifar_track ensemble --runs {run.tags[tag.MEMBERS]} --seed {seed}"
        )
    try:
        settings = settings_to_repeat(load_experiment(run.iteration), run.parameters)
    except CifarTrackError:  # the page is of another checkout
        settings = {name: text for name, text in run.parameters.items() if "." in name}
    given = shlex.quote(" ".join(f"{name}={value}" for name, value in sorted(settings.items())))
    return (
        f"{checkout}python -m cifar_track train --experiment {shlex.quote(run.iteration)} "
        f"--set {given}"
    )


def _again(run: FinishedRun) -> str:
    made = {
        "by": run.tags.get(tag.COMMAND),
        "with the packages of the lock": run.tags.get(tag.LOCK),
        "threads": run.tags.get(tag.THREADS),
        "on": run.tags.get(tag.PROCESSOR),
    }
    told = ", ".join(f"{what} `{value}`" for what, value in made.items() if value)
    return f"```sh\n{command(run)}\n```" + (f"\n\nIt was made {told}." if told else "")


def _figures(run: FinishedRun) -> str:
    intervals = _intervals(run)
    rows = []
    for info in metrics_at("registry"):
        if info.name not in run.metrics:
            continue
        low, high = run.metrics.get(info.low), run.metrics.get(info.high)
        if info.name in intervals:
            low, high = intervals[info.name].low, intervals[info.name].high
        interval = "" if low is None or high is None else f"{info.text(low)} to {info.text(high)}"
        rows.append(f"| {info.label} | {info.text(run.metrics[info.name])} | {interval} |")
    if not rows:
        return ""
    return "\n".join(["| figure | value | 95 % interval |", "|---|---|---|", *rows])


def _intervals(run: FinishedRun) -> Mapping[str, Number]:
    """The figures as a comparison has them, of the predictions that lie with the run."""
    try:
        return numbers_of([tracking.load_result(run.run_id)])[0].numbers
    except CifarTrackError:  # they don't; a gate has said so
        return {}


def _weaknesses(run: FinishedRun) -> str:
    classes = sorted(_rows(run, "per_class.csv"), key=lambda row: float(row["f1"]))[:SHOWN]
    pairs = _rows(run, "confused_pairs.csv")[:SHOWN]
    lines = []
    if classes:
        weak = ", ".join(f"{row['name']} ({float(row['f1']):.2f})" for row in classes)
        lines.append(f"- Lowest F1: {weak}.")
    if pairs:
        confused = ", ".join(
            f"{row['true']} taken for {row['predicted']} ({float(row['share']):.0%})"
            for row in pairs
        )
        lines.append(f"- Most confused: {confused}.")
    return "\n".join(lines)


def _data(run: FinishedRun, licence: str) -> str:
    inputs = mlflow.MlflowClient().get_run(run.run_id).inputs
    digest = next((e.dataset.digest for e in inputs.dataset_inputs), None) if inputs else None
    counts = {
        part: run.parameters.get(f"data.{part}_per_class", "?")
        for part in ("train", "validation", "test")
    }
    return (
        f"{run.parameters.get('data.dataset')}, {counts['train']} images a class to train on, "
        f"{counts['validation']} held out of the training set to choose by, {counts['test']} to "
        f"test on (split seed {run.parameters.get('data.split_seed')}"
        f"{f', digest `{digest}`' if digest else ''}). The test images were read once the model "
        f"was final. {licence}"
    )


def _cost(run: FinishedRun) -> str:
    seconds, cpu = run.metrics.get("fit_seconds"), run.metrics.get("fit_cpu_seconds")
    if cpu is None:
        return ""
    # An ensemble's members were fitted at other times, maybe at once.
    wall = "" if seconds is None else f"{seconds:,.0f} s for the fit, "
    # 10 W a busy core is what servers of these years draw, give or take a factor of 2.
    return (
        f"{wall}{cpu:,.0f} s of processor time: about "
        f"{cpu * 10 / 3600:.1g} Wh at 10 W a core, which was not measured."
    )


def _rows(run: FinishedRun, name: str) -> list[Mapping[str, str]]:
    """A table of the run's evaluation; empty where it has none."""
    try:
        text = mlflow.artifacts.load_text(f"runs:/{run.run_id}/evaluation/{name}")
    except (mlflow.exceptions.MlflowException, OSError):
        return []
    return list(csv.DictReader(io.StringIO(text)))
