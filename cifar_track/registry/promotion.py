"""How a run's model becomes the champion, or a challenger with the reasons why not."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from cifar_track import tracking
from cifar_track.config import (
    DATASETS,
    DEFAULT_METRIC,
    CifarTrackError,
    Demands,
    metrics_at,
    registered_name,
)
from cifar_track.data import Images
from cifar_track.preflight import no_champion
from cifar_track.registry.candidates import Choice, choose_run
from cifar_track.registry.card import model_card
from cifar_track.registry.gates import Gate
from cifar_track.registry.journal import (
    CARD,
    CHALLENGER,
    CHAMPION,
    Change,
    carry_out,
    champions_of,
    finish,
    run_id_of,
    version_of_run,
    version_under,
)
from cifar_track.registry.lock import one_at_a_time
from cifar_track.registry.proof import pass_gates
from cifar_track.tracking import FinishedRun, tag


class RefusedError(CifarTrackError):
    """A model that did not pass; it is registered, and not the champion."""

    exit_status = 3


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What became of a promotion.

    Attributes:
        model_name: the registered model.
        version: its version, counted from 1.
        alias: the alias that points to it now.
        replaced_version: the version that the alias pointed to before; None if to none.
        was_registered: whether the run's model had been registered before.
        choice: the run whose model it is, and how it was chosen.
        gates: what was asked of it, and what was found.
        is_champion: whether it is the champion now; one that is refused can be it still.
    """

    model_name: str
    version: str
    alias: str
    replaced_version: str | None
    was_registered: bool
    choice: Choice
    gates: tuple[Gate, ...]
    is_champion: bool

    @property
    def run(self) -> FinishedRun:
        """The run whose model it is."""
        return self.choice.run

    @property
    def model_uri(self) -> str:
        """The address under which it is loaded and served."""
        return f"models:/{self.model_name}@{self.alias}"


def promote(
    dataset_name: str,
    *,
    load_test: Callable[[FinishedRun], Images],
    run_id: str | None = None,
    metric: str = DEFAULT_METRIC,
    demands: Demands | None = None,
    name: str | None = None,
    on_choice: Callable[[Choice], None] = lambda choice: None,
    on_step: Callable[[str], None] = lambda words: None,
) -> Promotion:
    """Register a run's model, and make it the champion if it passes every gate.

    Two at once on one machine come one after the other. A run whose model is registered already
    keeps its version. What a kill leaves half done, the next call finishes.

    Args:
        dataset_name: whose runs.
        load_test: gives the test images that a run was evaluated on.
        run_id: the run to promote, its id, the beginning of it or its name; the best unless given.
        metric: the validation figure to choose by.
        demands: what is asked of the model.
        name: of the registered model; the data set's own unless given.
        on_choice: told which run was chosen, before the minute that the gates take.
        on_step: told what takes the next minutes.

    Returns:
        The promotion; its alias is `challenger` where a gate refused.

    Raises:
        CifarTrackError: no run qualifies, or the named one is worse than the champion and
            `gate=none` does not say that it shall be promoted nevertheless.
    """
    demands = demands or Demands()
    name = registered_name(dataset_name, name)
    tracking.open_registry()
    client = mlflow.MlflowClient()
    with one_at_a_time(name):
        finish(name)
        champion = version_under(client, name, CHAMPION)
        runs = tracking.find_runs(dataset_name)
        choice = choose_run(
            runs,
            dataset_name=dataset_name,
            metric=metric,
            named=tracking.find_finished_run(run_id, dataset_name=dataset_name) if run_id else None,
            champion=run_id_of(champion) if champion else None,
        )
        _require_no_worse(choice, demands)
        on_choice(choice)
        beside = _run_beside(runs, champion, choice)
        test = load_test(choice.run)
        found = pass_gates(choice, test, beside=beside, demands=demands, on_step=on_step)
        _ensure_registered_model(client, name, dataset_name)
        return _register(client, name, choice=choice, found=found, champion=champion)


def roll_back(dataset_name: str, name: str | None = None) -> tuple[str, str]:
    """Give `champion` back to the version that had it before.

    Returns:
        The version that had it, and the one that has it now.

    Raises:
        CifarTrackError: there was none before, or its model is gone from the store.
    """
    name = registered_name(dataset_name, name)
    tracking.open_registry()
    client = mlflow.MlflowClient()
    with one_at_a_time(name):
        finish(name)
        champion = version_under(client, name, CHAMPION)
        if champion is None:
            raise no_champion(name)
        before = champions_of(client, name, champion)[:-1]
        found = client.search_model_versions(f"name = '{name}'")
        kept = {str(version.version): version for version in found if tag.RUN_ID in version.tags}
        before = tuple(number for number in before if number in kept)
        if not before:
            raise CifarTrackError(
                f"no version of {name} was the champion before; choose one: "
                "mlflow run . -e register -P run=ID"
            )
        back = kept[before[-1]]
        carry_out(
            name,
            Change(
                run_id=back.tags[tag.RUN_ID],
                model_uri=str(back.source),
                tags=back.tags,
                alias=CHAMPION,
                before=str(champion.version),
                champions=before[:-1],
            ),
        )
        return str(champion.version), str(back.version)


def _require_no_worse(choice: Choice, demands: Demands) -> None:
    if choice.better is None or demands.gate == "none":
        return
    raise CifarTrackError(
        f"run {choice.run.run_id} is worse than the champion by {choice.metric}: "
        f"{choice.figure:.4f}, the champion's run {choice.better.run_id} has "
        f"{choice.better.metrics[choice.metric]:.4f}; -P gate=none promotes it nevertheless"
    )


def _run_beside(
    runs: Sequence[FinishedRun], champion: ModelVersion | None, choice: Choice
) -> FinishedRun | None:
    """The champion's run, to be compared with; None where there is no other champion."""
    if champion is None:
        return None
    run_id = run_id_of(champion)
    if run_id is None:
        raise CifarTrackError(
            f"the champion, version {champion.version}, is no run's, so that nothing can be "
            "compared with it; take the alias away from it"
        )
    if run_id == choice.run.run_id:
        return None
    found = next((run for run in runs if run.run_id == run_id), None)
    if found is None:
        raise CifarTrackError(
            f"the champion's run {run_id} is not among the finished runs, so that nothing can be "
            f"compared with it; bring it back with `mlflow runs restore --run-id {run_id}`, or "
            "take the alias away from its version"
        )
    return found


def _register(
    client: mlflow.MlflowClient,
    name: str,
    *,
    choice: Choice,
    found: Sequence[Gate],
    champion: ModelVersion | None,
) -> Promotion:
    run = choice.run
    assert run.model_uri is not None
    with tempfile.TemporaryDirectory() as place:
        card = Path(place, CARD)
        card.write_text(model_card(run, found), encoding="utf-8")
        client.log_model_artifact(run.model_uri.rpartition("/")[2], str(card))
    had = version_of_run(client, name, run.run_id)
    passed = all(gate.passed for gate in found)
    before = champion if passed else version_under(client, name, CHALLENGER)
    stays = champion is not None and run_id_of(champion) == run.run_id
    champions = champions_of(client, name, champion)
    version = carry_out(
        name,
        Change(
            run_id=run.run_id,
            model_uri=run.model_uri,
            tags=_tags(run, choice.metric, found),
            alias=CHAMPION if passed else CHALLENGER,
            before=str(before.version) if before is not None else None,
            champions=champions[:-1] if stays else champions,
        ),
    )
    replaced = str(before.version) if before is not None else None
    return Promotion(
        model_name=name,
        version=version,
        alias=CHAMPION if passed else CHALLENGER,
        replaced_version=replaced if replaced != version else None,
        was_registered=had is not None,
        choice=choice,
        gates=tuple(found),
        is_champion=passed or stays,
    )


def _ensure_registered_model(client: mlflow.MlflowClient, name: str, dataset_name: str) -> None:
    try:
        client.create_registered_model(
            name,
            tags={tag.DATASET: dataset_name},
            description=f"Classifiers of {DATASETS[dataset_name].title}. `{CHAMPION}` is the "
            "version that passed every gate last, or was given back the alias; "
            f"`{CHALLENGER}` the one that was refused last, with the reasons in its card. "
            f"The tag `{tag.CHAMPIONS}` lists the champions, the newest last.",
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _tags(run: FinishedRun, metric: str, found: Sequence[Gate]) -> dict[str, str]:
    shown = [
        bound
        for info in metrics_at("registry")
        for bound in (info.name, info.low, info.high)
        if bound in run.metrics
    ]
    kept = (tag.ITERATION, tag.DATASET, tag.PROTOCOL, tag.BUDGET, tag.VALIDATION_DIGEST)
    commit = tag.MLFLOW_COMMIT
    return {
        tag.RUN_ID: run.run_id,
        tag.CHOSEN_BY: metric,
        **{name: run.tags[name] for name in kept if name in run.tags},
        **({tag.COMMIT: run.tags[commit]} if commit in run.tags else {}),
        **{name: f"{run.metrics[name]:.6g}" for name in shown},
        **{f"{tag.GATE}{gate.name}": str(gate) for gate in found},
    }
