"""One iteration from its page to its logged model."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifar_track import folders, tracking, tuning
from cifar_track.config import (
    Experiment,
    Value,
    describe_space,
    flatten,
    load_experiment,
    override,
)
from cifar_track.data import Dataset, find_seen, load_dataset
from cifar_track.evaluation import evaluate
from cifar_track.tracking import tag
from cifar_track.workflow.progress import following_fit, waiting
from cifar_track.workflow.terminal import load_tensorflow, tell
from cifar_track.workflow.tune import find_best_values, forget_search, has_search_state

if TYPE_CHECKING:
    import keras

EXAMPLE_IMAGES = 2


def run_experiment(
    name: str,
    overrides: Mapping[str, Value],
    *,
    data_dir: Path | None = None,
    workers: int | None = None,
    run_name: str | None = None,
    budget: str = "full",
) -> str:
    """Run a page of `experiments/`: search if it searches, then fit, evaluate and log.

    Everything that can be wrong with the settings, the data or the weights is found before a run
    is opened.

    Args:
        name: the page.
        overrides: settings that differ from the page, by dotted name.
        data_dir: where CIFAR-100 lies, before the usual places.
        workers: trials at once in a search; as many as the machine carries unless given.
        run_name: what MLflow shows; the page's name unless given.
        budget: `full`, or `quick` for a run that is not to be taken for what its page can do.

    Returns:
        MLflow's run id.

    Raises:
        CifarTrackError: a wrong setting, missing data or weights, an unreachable store, a loss
            that stopped being a number.
    """
    experiment = override(load_experiment(name), overrides)
    tracking.open_store()
    data = load_dataset(experiment.data, directory=data_dir)

    folders.require_state_directory()
    load_tensorflow()  # seconds: after what fails fast
    from cifar_track import training

    precision = training.resolve_precision(experiment.training)
    experiment = override(experiment, {"training.precision": precision})
    classes = len(data.classes.fine)
    tags = {
        tag.BUDGET: budget,
        tag.TRAINING_DIGEST: data.train.digest,
        tag.VALIDATION_DIGEST: data.validation.digest,
    }
    resumed = None
    if experiment.search is None:
        model = training.build_model(experiment, classes=classes)
    else:
        training.check_model(experiment, classes=classes)
        search_key = _search_key(experiment, data)
        tags[tag.SEARCH_KEY] = search_key
        resumed = tracking.find_resumable(
            search_key, dataset_name=data.name, has_state=has_search_state
        )
    if resumed is not None:
        tell(f"{name}: going on with run {resumed}, which was cut short")
    with tracking.start_run(
        experiment,
        dataset_name=data.name,
        name=run_name or name,
        tags=tags,
        resume_run_id=resumed,
    ) as run:
        _log_inputs(run, experiment, data)
        if experiment.search is not None:
            best = find_best_values(run, experiment, data, workers=workers)
            experiment = override(experiment, best.values)
            model = training.build_model(experiment, classes=classes)
            _log_configuration(run, experiment)  # in place of the page's own values
        run.log_parameters(flatten(experiment))
        figures = _fit_and_log(
            run,
            experiment,
            data,
            model=model,
            initial_weights=None if experiment.search is None else best.weights,
        )
        if experiment.search is not None:
            _log_refit(run, best.best_val_accuracy, figures["best_val_accuracy"])
    forget_search(run.id)
    tell(
        f"{name}: test accuracy {figures['test_accuracy']:.4f} "
        f"({figures['test_accuracy_low']:.4f} to {figures['test_accuracy_high']:.4f}), "
        f"run {run.id}"
    )
    if budget == "full":
        tell(f"all runs: {tracking.experiment_url(run.experiment_id)}")
    return run.id


def _log_inputs(run: tracking.Run, experiment: Experiment, data: Dataset) -> None:
    searched = experiment.search.space if experiment.search else {}
    settings = flatten(experiment)
    run.log_parameters({key: value for key, value in settings.items() if key not in searched})
    _log_configuration(run, experiment)
    classes = len(data.classes.fine)
    run.log_dataset(
        name=data.name,
        digest=data.digest,
        source=data.source,
        images={
            "training": len(data.train),
            "validation": len(data.validation),
            # Counted, not read: the test images are read once the model is final.
            "test": experiment.data.test_per_class * classes,
        },
        classes=classes,
    )


def _log_configuration(run: tracking.Run, experiment: Experiment) -> None:
    configuration: dict[str, Any] = {"experiment": flatten(experiment)}
    if experiment.search is not None:
        configuration["search_space"] = describe_space(experiment.search)
    run.log_json(configuration, "config.json")


def _fit_and_log(
    run: tracking.Run,
    experiment: Experiment,
    data: Dataset,
    *,
    model: keras.Model,
    initial_weights: Path | None,
) -> dict[str, float]:
    from cifar_track import models, serving, training

    epochs = experiment.training.epochs
    # A refit that is cut short begins anew, and what a run was told of an epoch stays. So the
    # epochs are seen in a child run, replaced then as a trial's is; the run gets them at the end.
    refit = None if experiment.search is None else run.child("refit", flatten(experiment))
    told: list[tuple[int, Mapping[str, float], float]] = []

    def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
        told.append((epoch, metrics, time.time()))
        (refit or run).log_epoch(epoch, metrics)
        progress.show_epoch(epoch, metrics)

    tell(
        f"{experiment.name}: {len(data.train):,} images, {epochs} epochs, "
        f"{experiment.training.precision}"
    )
    with following_fit(epochs) as progress:
        fit = training.fit(
            experiment,
            data.train,
            data.validation,
            classes=len(data.classes.fine),
            on_epoch=on_epoch,
            on_step=progress.show_step,
            model=model,
            initial_weights=initial_weights,
        )
    served = models.for_serving(fit.model, views=experiment.prediction.views)
    with waiting("evaluating"):
        test = data.load_test()
        run.set_tags({tag.TEST_DIGEST: test.digest})
        logarithms = training.predict(models.with_log_probabilities(served), test.images)
        evaluation = evaluate(
            np.exp(logarithms),
            test.labels,
            log_probabilities=logarithms,
            seen=find_seen(test.images, data.train.images),
            class_names=data.classes.fine,
            superclass_names=data.classes.coarse,
            superclass_of=data.classes.superclass_of,
        )
    figures = {
        "best_val_accuracy": fit.best_val_accuracy,
        "best_val_loss": fit.best_val_loss,
        "best_epoch": float(fit.best_epoch),
        **evaluation.metrics(),
        "fit_seconds": fit.fit_seconds,
        "fit_cpu_seconds": fit.fit_cpu_seconds,
        "images_per_second": fit.images_per_second,
        "parameters": float(served.count_params()),
    }
    if refit is not None:
        refit.finish("completed")
    with (
        waiting("logging"),
        run.together(),
    ):  # after a kill in between, they are made again, and stand once
        if refit is not None:
            for epoch, metrics, moment in told:
                run.log_epoch(epoch, metrics, at=moment)
        run.log_metrics(figures, step=fit.best_epoch)
        run.log_history(fit.history)
        run.log_evaluation(evaluation)
        with tempfile.TemporaryDirectory() as folder:
            prepared = Path(folder, "model")
            serving.save_classifier(
                served, prepared, classes=data.classes, example=test.images[:EXAMPLE_IMAGES]
            )
            run.log_model(prepared, metrics_step=fit.best_epoch)
    return figures


def _log_refit(run: tracking.Run, best_trial: float, refit: float) -> None:
    run.log_metrics(
        {
            "best_trial_val_accuracy": best_trial,
            "refit_minus_best_trial_val_accuracy": refit - best_trial,
        }
    )
    tell(
        f"validation accuracy of the best trial {best_trial:.4f}, of its refit {refit:.4f} "
        f"({refit - best_trial:+.4f}: another seed of weights, order and augmentation)"
    )


def _search_key(experiment: Experiment, data: Dataset) -> str:
    """What makes two calls the same search, short enough for a tag."""
    asked = json.dumps(tuning.fingerprint(experiment, data), sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:32]
