"""One iteration from its page to its logged model."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar_track import folders, tracking, tuning
from cifar_track.config import (
    CifarTrackError,
    Cluster,
    Experiment,
    Value,
    describe_space,
    flatten,
    load_experiment,
    override,
    require_search,
)
from cifar_track.data import Dataset, load_dataset
from cifar_track.tracking import tag
from cifar_track.workflow.outcome import log_outcome
from cifar_track.workflow.progress import following_fit
from cifar_track.workflow.resume import (
    Earlier,
    checkpoint_of,
    find_earlier,
    forget,
    passed_over,
    search_tags,
)
from cifar_track.workflow.terminal import load_tensorflow, tell
from cifar_track.workflow.tune import best_trial_as_fit, find_best_trial

if TYPE_CHECKING:
    import keras

    from cifar_track import training


def run_experiment(
    name: str,
    overrides: Mapping[str, Value],
    *,
    data_dir: Path | None = None,
    workers: int | None = None,
    cluster: Cluster | None = None,
    run_name: str | None = None,
    budget: str = "full",
    resume: str = "auto",
    parent_run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Run a page of `experiments/`: search if it searches, then fit, evaluate and log.

    Everything that can be wrong with the settings, the data or the weights is found before a run
    is opened.

    Args:
        name: the page.
        overrides: settings that differ from the page, by dotted name.
        data_dir: where CIFAR-100 lies, before the usual places.
        workers: trials at once in a search; as many as the machine carries unless given.
        cluster: where a search runs its trials; this machine if None.
        run_name: what MLflow shows; the page's name unless given.
        budget: `full`, or `quick` for a run that is not to be taken for what its page can do.
        resume: whether an earlier run of the same is gone on with: `auto`; `never`, and what it
            kept for that is removed; `apart`, and it may be later; or `same_commit` to refuse one
            that another commit began.
        parent_run_id: the run that this one belongs to, such as that of several seeds.
        tags: further tags of the run.

    Returns:
        MLflow's run id.

    Raises:
        CifarTrackError: a wrong setting, missing data or weights, an unreachable store, a loss
            that stopped being a number.
    """
    experiment = override(load_experiment(name), overrides)
    if cluster is not None:
        require_search(experiment)
        tuning.require_ray()
    tracking.open_store()
    data = load_dataset(experiment.data, directory=data_dir)

    folders.require_state_directory()
    load_tensorflow()  # seconds: after what fails fast
    from cifar_track import training

    precision = training.resolve_precision(experiment.training)
    experiment = override(experiment, {"training.precision": precision})
    classes = len(data.classes.fine)
    tags = {
        **(tags or {}),
        tag.BUDGET: budget,
        tag.TRAINING_DIGEST: data.train.digest,
        tag.VALIDATION_DIGEST: data.validation.digest,
    }
    if parent_run_id is not None:
        tags[tag.MLFLOW_PARENT] = parent_run_id
    if experiment.search is None:
        model = training.build_model(experiment, classes=classes)
    else:
        model = None  # it is built of the best trial's values
        training.check_model(experiment, classes=classes)
        tags |= search_tags(experiment, data)
    earlier = find_earlier(experiment, data, mode=resume)
    if earlier is not None and earlier.is_over:
        forget(earlier.run_id)
        return earlier.run_id
    goes_on = earlier is not None and not earlier.takes_over
    if not goes_on:  # else it began with what the file was then
        tags |= _tags_of_weights(experiment)
    given_up = passed_over(experiment, data) if resume == "never" else []
    try:
        with (
            tuning.connected(cluster) as connection,
            tracking.start_run(
                experiment,
                dataset_name=data.name,
                name=run_name or name,
                tags=tags | (earlier.tags if earlier else {}),
                resume_run_id=earlier.run_id if earlier and goes_on else None,
            ) as run,
        ):
            for run_id in given_up:
                forget(run_id)
            figures = _run_inside(
                run,
                experiment,
                data,
                model=model,
                workers=workers,
                cluster=connection,
                earlier=earlier,
            )
    except tracking.NotSentError:  # all of it is kept to be sent: there is nothing to go on with
        forget(run.id)
        raise
    forget(run.id)
    tell(
        f"{name}: test accuracy {figures['test_accuracy']:.4f} "
        f"({figures['test_accuracy_low']:.4f} to {figures['test_accuracy_high']:.4f}), "
        f"run {run.id}"
    )
    if budget == "full" and parent_run_id is None:
        tell(f"all runs: {tracking.experiment_url(run.experiment_id)}")
    return run.id


def _tags_of_weights(experiment: Experiment) -> dict[str, str]:
    weights = str(experiment.model.settings.get("weights", "none"))
    if weights in ("none", "imagenet"):
        return {}
    with folders.expanded(Path(weights)).open("rb") as file:
        return {tag.WEIGHTS_DIGEST: hashlib.file_digest(file, "sha256").hexdigest()}


def _run_inside(
    run: tracking.Run,
    experiment: Experiment,
    data: Dataset,
    *,
    model: keras.Model | None,
    workers: int | None,
    cluster: tuning.ClusterConnection | None,
    earlier: Earlier | None,
) -> dict[str, float]:
    """Search if the page searches, then fit, evaluate and log; returns the figures."""
    _log_inputs(run, experiment, data)
    if experiment.search is None or model is not None:
        run.log_parameters(flatten(experiment))
        fit, _ = _fit(run, experiment, data, model=model)
        return log_outcome(run, fit, experiment, data)
    best = find_best_trial(run, experiment, data, workers=workers, cluster=cluster, earlier=earlier)
    experiment = override(experiment, best.result.values)
    _log_configuration(run, experiment)  # in place of the page's own values
    run.log_parameters(flatten(experiment))
    if experiment.search is not None and experiment.search.refit == "none":
        fit, moments = best_trial_as_fit(run, best, experiment, data)
    else:
        fit, moments = _fit(run, experiment, data, initial_weights=best.weights)
        _log_refit(run, best.best_val_accuracy, fit.best_val_accuracy, experiment)
    return log_outcome(run, fit, experiment, data, moments=moments)


def _log_inputs(run: tracking.Run, experiment: Experiment, data: Dataset) -> None:
    settings = flatten(experiment)
    if experiment.search is not None:  # what is settled only once the search is over
        unsettled = {*experiment.search.space, *tuning.MAY_CHANGE}
        settings = {key: value for key, value in settings.items() if key not in unsettled}
    run.log_parameters(settings)
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


def _fit(
    run: tracking.Run,
    experiment: Experiment,
    data: Dataset,
    *,
    model: keras.Model | None = None,
    initial_weights: Path | None = None,
) -> tuple[training.Fit, list[float]]:
    """Fit a network, each epoch logged; returns it, and the moments of its epochs."""
    from cifar_track import training
    from cifar_track.training import checkpoints

    epochs = experiment.training.epochs
    checkpoint = checkpoint_of(run.id)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    goes_on = checkpoints.finished_epochs(checkpoint, experiment=experiment) > 0
    # A refit that begins anew all the same (its checkpoint is lost) must not go on with the curve
    # of the one before, and what a run was told of an epoch stays. So the epochs are seen in a
    # child run, replaced then as a trial's is; the run gets them at the end.
    refit = None
    if experiment.search is not None:
        open_child = run.reopen_child if goes_on else run.child
        refit = open_child("refit", flatten(experiment))
    logged = tracking.epochs_logged(run.id, of_refit=refit is not None) if goes_on else 0
    moments: list[float] = []

    def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
        moments.append(time.time())
        if epoch > logged:  # those of a fit that is gone on with are told again
            (refit or run).log_epoch(epoch, metrics)
        progress.show_epoch(epoch, metrics)

    head = min(experiment.training.head_epochs, epochs)
    tell(
        f"{experiment.name}: {len(data.train):,} images, {epochs} epochs"
        f"{f' ({head} of the last layer alone)' if head else ''}, {experiment.training.precision}"
    )
    with following_fit(epochs) as progress, _forgotten_on_a_mistake(checkpoint):
        fit = training.fit(
            experiment,
            data.train,
            data.validation,
            classes=len(data.classes.fine),
            on_epoch=on_epoch,
            on_step=progress.show_step,
            model=model,
            initial_weights=initial_weights,
            checkpoint=checkpoint,
            choose_by=experiment.search.objective if experiment.search else "val_accuracy",
        )
    if refit is not None:
        refit.finish("completed")
    return fit, moments


@contextlib.contextmanager
def _forgotten_on_a_mistake(checkpoint: Path) -> Iterator[None]:
    """Removes a checkpoint where the settings are to blame: there is nothing to go on with."""
    from cifar_track.training import checkpoints

    try:
        yield
    except CifarTrackError:
        checkpoints.remove(checkpoint)
        raise


def _log_refit(run: tracking.Run, best_trial: float, refit: float, experiment: Experiment) -> None:
    run.log_metrics(
        {
            "best_trial_val_accuracy": best_trial,
            "refit_minus_best_trial_val_accuracy": refit - best_trial,
        }
    )
    continued = experiment.search is not None and experiment.search.refit == "continue"
    why = "trained on from its weights" if continued else "the page's own seed, which no trial has"
    tell(
        f"validation accuracy of the best trial {best_trial:.4f}, of its refit {refit:.4f} "
        f"({refit - best_trial:+.4f}: {why})"
    )
