"""The best finished run's model made the champion, or given back its place."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from cifar_track import tracking
from cifar_track.config import DEFAULT_DATASET, Data, Demands
from cifar_track.workflow.progress import tell_progress, waiting
from cifar_track.workflow.terminal import tell

if TYPE_CHECKING:
    from cifar_track import registry
    from cifar_track.data import Images

SHOWN_CANDIDATES = 5


def register_best(
    run_id: str | None = None,
    *,
    dataset: str = DEFAULT_DATASET,
    name: str | None = None,
    data_dir: Path | None = None,
    metric: str = "best_val_accuracy",
    demands: Demands | None = None,
) -> None:
    """Register the best finished run's model, and make it the champion if it passes every gate.

    Args:
        run_id: MLflow's run id, or the beginning of it; the best finished run unless given.
        dataset: whose runs.
        name: of the registered model; the data set's own unless given.
        data_dir: where CIFAR-100 lies, before the usual places.
        metric: the figure of the validation images to choose by.
        demands: what is asked of the model.

    Raises:
        RefusedError: a gate refused it; it is the challenger.
        CifarTrackError: no such run, one chosen by the test images, or one worse than the champion.
    """
    tracking.open_store()
    if run_id is not None:  # a wrong one is told before the imports that a right one needs
        run_id = tracking.find_finished_run(run_id, dataset_name=dataset).run_id
    from cifar_track import registry
    from cifar_track.data import load_dataset

    def load_test(run: tracking.FinishedRun) -> Images:
        return load_dataset(data_of(run), directory=data_dir).load_test()

    with waiting("registering"):
        promotion = registry.promote(
            dataset,
            load_test=load_test,
            run_id=run_id,
            metric=metric,
            demands=demands,
            name=name,
            on_choice=_tell_choice,
            on_step=tell_progress,
        )
    for gate in promotion.gates:
        tell(f"  {gate.name}: {gate}")
    run = promotion.run
    version = f"{promotion.model_name} version {promotion.version}"
    refusals = [gate.figure for gate in promotion.gates if not gate.passed]
    if refusals:
        still = " still, and -P rollback=true gives that back to the one before"
        raise registry.RefusedError(
            f"{version}, run {run.run_id}, is refused: {'; '.join(refusals)}; it is the "
            f"{'champion' + still if promotion.is_champion else promotion.alias}"
        )
    before = promotion.replaced_version
    tell(
        f"{version} is the {promotion.alias}"
        f"{f', in place of version {before}' if before else ''}: run {run.run_id} ({run.iteration})"
    )
    tell(f"load it: mlflow.pyfunc.load_model({promotion.model_uri!r})")
    tell(f"serve it: mlflow models serve -m {promotion.model_uri} --env-manager local --port 5001")


def roll_back(*, dataset: str = DEFAULT_DATASET, name: str | None = None) -> None:
    """Give the alias `champion` back to the version that had it before.

    Args:
        dataset: whose registered model.
        name: of the registered model; the data set's own unless given.

    Raises:
        CifarTrackError: there was none before.
    """
    from cifar_track import registry

    tracking.open_store()
    before, now = registry.roll_back(dataset, name)
    tell(f"version {now} is the champion again, in place of version {before}")


def data_of(run: tracking.FinishedRun) -> Data:
    """The images that a run saw, by what it logged of them."""
    logged = {name.removeprefix("data."): text for name, text in run.parameters.items()}
    return Data(**{name: logged[name] for name in Data.types if name in logged})  # type: ignore[arg-type]


def _tell_choice(choice: registry.Choice) -> None:
    tell(f"looked at {len(choice.looked_at)} runs on the same validation images:")
    for run in choice.looked_at[:SHOWN_CANDIDATES]:
        tell(f"  {choice.metric} {run.metrics[choice.metric]:.4f}  {run.run_id}  {run.iteration}")
    for reason, count in Counter(reason for _, reason in choice.left_out).items():
        tell(f"left out {count} that {reason}")
    tell(f"checking run {choice.run.run_id} ({choice.run.iteration})")
