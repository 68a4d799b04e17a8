"""Several finished runs as one model: temperatures and weights by the validation images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifar_track import blending, tracking
from cifar_track.config import DEFAULT_DATASET, CifarTrackError
from cifar_track.data import load_dataset
from cifar_track.evaluation import Evaluation
from cifar_track.statistics import paired_difference
from cifar_track.tracking import FinishedRun, tag
from cifar_track.workflow.outcome import judge, log_classifier
from cifar_track.workflow.register import data_of
from cifar_track.workflow.terminal import load_tensorflow, tell

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

# What its members have in common, the ensemble has; by it, it is put beside them.
SHARED = (tag.TRAINING_DIGEST, tag.VALIDATION_DIGEST)


@dataclass(frozen=True, kw_only=True)
class Member:
    """A run whose model may become part of the ensemble.

    Attributes:
        run: the run.
        validation: its probabilities of the validation images, tempered, (N, C).
        temperature: at which their log loss is lowest.
    """

    run: FinishedRun
    validation: NDArray[np.float64]
    temperature: float


def blend_runs(
    references: Sequence[str] = (),
    *,
    filter_string: str = "",
    search: str | None = None,
    dataset: str | None = None,
    data_dir: Path | None = None,
    seed: int = 0,
) -> str:
    """Make one model of several finished runs, and log it as a run of its own.

    Each member gets the temperature, and all together the weights, that suit the validation images;
    the test images are read once both stand.

    Args:
        references: ids, beginnings of ids or names of runs, or several of these parted by commas.
            Without these, a filter and a search, all that were judged by the same validation
            images as the newest.
        filter_string: a filter of MLflow's, for finished runs.
        search: a run whose kept trials are wanted too.
        dataset: whose runs; of any data set where some are named, otherwise of CIFAR-100.
        data_dir: where CIFAR-100 lies, before the usual places.
        seed: of the bags by which the weights are chosen.

    Returns:
        MLflow's run id.

    Raises:
        CifarTrackError: fewer than two runs, runs on different images, or one that did not log
            its validation probabilities.
    """
    began = time.process_time()
    tracking.open_store()
    runs = tracking.find_finished_runs(references, filter_string, dataset_name=dataset)
    runs += tracking.kept_trials(search) if search else []
    runs = runs or _group(dataset or DEFAULT_DATASET)
    labels = _require_same_images(runs)
    members = [_member(run, labels) for run in runs]
    weights = blending.select_weights([m.validation for m in members], labels, seed=seed)
    for member, weight in zip(members, weights, strict=True):
        tell(
            f"  weight {weight:.3f}, temperature {member.temperature:.2f}: run {member.run.run_id} "
            f"({member.run.iteration}), validation accuracy "
            f"{_accuracy(member.validation, labels):.4f}"
        )
    mean = blending.mix([member.validation for member in members], weights)
    data = load_dataset(data_of(runs[0]), directory=data_dir)
    load_tensorflow()
    from cifar_track import registry, training

    network = _blended(members, weights)
    test = data.load_test()
    evaluation = judge(training.predict(network, test.images), test, data)
    best = max(members, key=lambda member: _accuracy(member.validation, labels))
    table = _table(members, weights, labels)
    figures = {
        "best_val_accuracy": _accuracy(mean, labels),
        "best_val_loss": blending.log_loss(mean, labels),
        **evaluation.metrics(),
        "parameters": float(network.count_params()),
        # What it took to make it: its members' fits, and choosing among them.
        "fit_cpu_seconds": sum(run.metrics.get("fit_cpu_seconds", 0.0) for run in runs)
        + time.process_time()
        - began,
    }
    tags = {
        tag.ITERATION: "ensemble",
        tag.PROTOCOL: "validation",
        tag.MEMBERS: ",".join(run.run_id for run in runs),
        tag.TEST_DIGEST: test.digest,
        tag.BUDGET: "quick" if any(registry.is_quick(run) for run in runs) else "full",
        **{
            name: values.pop()
            for name in SHARED
            if len(values := {run.tags.get(name, "") for run in runs}) == 1 and values != {""}
        },
    }
    with tracking.start_run(dataset_name=data.name, name="ensemble", tags=tags) as run:
        run.log_parameters(
            {name: text for name, text in runs[0].parameters.items() if name.startswith("data.")}
        )
        run.log_parameters({"ensemble.members": len(runs), "ensemble.seed": seed})
        run.log_dataset(
            name=data.name,
            digest=data.digest,
            source=data.source,
            images={"validation": len(data.validation), "test": len(evaluation.labels)},
            classes=len(data.classes.fine),
        )
        run.log_metrics(figures)
        run.log_table(table, "ensemble/members.json")
        run.log_evaluation(evaluation)
        run.log_validation(mean.astype(np.float32), labels)
        log_classifier(run, network, data, step=0)
    _tell_outcome(evaluation, best.run)
    tell(f"ensemble: run {run.id}")
    return run.id


def _group(dataset: str) -> list[FinishedRun]:
    """All runs that were judged by the same validation images as the newest, but for ensembles."""
    from cifar_track import registry

    runs = [run for run in tracking.find_runs(dataset) if run.iteration != "ensemble"]
    return list(registry.choose_run(runs, dataset_name=dataset).looked_at)


def _require_same_images(runs: Sequence[FinishedRun]) -> NDArray[np.int64]:
    """The labels of the validation images that all of the runs were judged by."""
    different = len({run.run_id for run in runs})
    if different < 2 or different < len(runs):
        raise CifarTrackError(
            f"an ensemble of {len(runs)} runs, {different} of them different; expected two or "
            "more, each once: mlflow run . -e ensemble -P runs=ID,ID"
        )
    first, *others = runs
    other = next((run for run in others if _images_of(run) != _images_of(first)), None)
    if other is not None:
        raise CifarTrackError(
            f"runs {first.run_id} ({first.iteration}) and {other.run_id} ({other.iteration}) were "
            "judged by different images, so that no weights can be chosen; leave one of them out"
        )
    if any(run.protocol != "validation" for run in runs):
        raise CifarTrackError("a run was chosen by the test images (selection=test); leave it out")
    labels: NDArray[np.int64] = tracking.load_arrays(runs[0].run_id, tracking.VALIDATION)["labels"]
    return labels


def _images_of(run: FinishedRun) -> tuple[object, ...]:
    """What tells the validation and the test images of a run from those of another."""
    data = data_of(run)
    counts = data.validation_per_class, data.test_per_class
    return data.dataset, data.split_seed, *counts, run.tags.get(tag.VALIDATION_DIGEST)


def _member(run: FinishedRun, labels: NDArray[np.int64]) -> Member:
    arrays = tracking.load_arrays(run.run_id, tracking.VALIDATION)
    if not np.array_equal(arrays["labels"], labels):
        raise CifarTrackError(
            f"run {run.run_id} was judged by other validation images; leave it out"
        )
    probabilities = arrays["probabilities"].astype(np.float64)
    temperature = blending.fit_temperature(probabilities, labels)
    return Member(
        run=run,
        validation=blending.temper(probabilities, temperature),
        temperature=temperature,
    )


def _blended(members: Sequence[Member], weights: NDArray[np.float64]) -> keras.Model:
    from cifar_track import models, serving

    taken = [(m, float(w)) for m, w in zip(members, weights, strict=True) if w > 0]
    return serving.blend_networks(
        [
            models.with_log_probabilities(serving.load_network(str(member.run.model_uri)))
            for member, _ in taken
        ],
        temperatures=[member.temperature for member, _ in taken],
        weights=[weight for _, weight in taken],
    )


def _table(
    members: Sequence[Member], weights: NDArray[np.float64], labels: NDArray[np.int64]
) -> list[dict[str, Any]]:
    return [
        {
            "run_id": member.run.run_id,
            "iteration": member.run.iteration,
            "weight": float(weight),
            "temperature": member.temperature,
            "val_accuracy": _accuracy(member.validation, labels),
            "val_log_loss": blending.log_loss(member.validation, labels),
            "test_accuracy": member.run.metrics.get("test_accuracy"),
        }
        for member, weight in zip(members, weights, strict=True)
    ]


def _tell_outcome(evaluation: Evaluation, best: FinishedRun) -> None:
    tell(f"ensemble: test accuracy {evaluation.accuracy:.4f}")
    if tag.TEST_DIGEST not in best.tags:  # a search's trials see no test images
        return
    try:
        arrays = tracking.load_arrays(best.run_id, tracking.PREDICTIONS)
    except CifarTrackError as error:  # the ensemble is whole without it
        tell(f"not held beside its best member: {error}")
        return
    if not np.array_equal(arrays["labels"], evaluation.labels):
        return
    test = paired_difference(
        arrays["predictions"] == arrays["labels"], evaluation.predictions == evaluation.labels
    )
    tell(
        f"less that of its best member, run {best.run_id} ({best.iteration}): "
        f"{test.difference:+.4f} (95 % {test.low:+.4f} to {test.high:+.4f}, "
        f"McNemar p {test.p_value:.2g})"
    )


def _accuracy(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    return float(np.mean(np.argmax(probabilities, axis=1) == labels))
