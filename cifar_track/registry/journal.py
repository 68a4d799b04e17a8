"""Changes of the registry that are carried out whole: written down first, done again after a kill.

MLflow's registry changes one thing at a time: a version, a tag, an alias. What is about to be
changed therefore stands in a tag of the registered model until all of it is done. Every step may
be repeated, so a change that was cut short is carried out from its beginning.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from cifar_track import tracking
from cifar_track.config import CifarTrackError
from cifar_track.preflight import no_champion
from cifar_track.tracking import tag
from cifar_track.tracking.process import identity_tags, is_alive, is_on_this_host
from cifar_track.tracking.reach import first_line

CHAMPION = "champion"
CHALLENGER = "challenger"
CARD = "card.md"
# MLflow's own limit on a description.
DESCRIPTION_LENGTH = 5000


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is about to be changed.

    Attributes:
        run_id: the run whose model becomes a version, if it is none yet.
        model_uri: that model, `models:/m-…`.
        tags: of the version.
        alias: what points to the version afterwards.
        before: the version that the alias points to now; None if to none.
        champions: versions in the order in which each became the champion, the new one last.
        identity: the process that does it.
    """

    run_id: str
    model_uri: str
    tags: Mapping[str, str]
    alias: str
    before: str | None
    champions: tuple[str, ...]
    identity: Mapping[str, str] = field(default_factory=identity_tags)


def carry_out(name: str, change: Change) -> str:
    """Carry out a change; returns the version. After a kill, `finish` does the rest.

    Raises:
        CifarTrackError: the model is gone from the store, and nothing has been changed.
    """
    client = mlflow.MlflowClient()
    card = _card(change)
    client.set_registered_model_tag(name, tag.PENDING_CHANGE, json.dumps(asdict(change)))
    return _carry_out(client, name, change, card)


def finish(name: str) -> str | None:
    """Carry out what another process began and did not finish; returns a line about it.

    Raises:
        CifarTrackError: that process may still be at it, or the change can't be carried out.
    """
    client = mlflow.MlflowClient()
    try:
        text = client.get_registered_model(name).tags.get(tag.PENDING_CHANGE)
    except MlflowException:
        return None  # nothing has been registered yet
    if text is None:
        return None
    try:
        change = Change(**json.loads(text))
        place = f"process {change.identity[tag.PID]} on {change.identity[tag.HOST]}"
    except (ValueError, TypeError, KeyError) as error:
        raise CifarTrackError(
            f"what was being changed of the registered model {name} can't be read; look at its "
            f"versions and aliases, then delete its tag {tag.PENDING_CHANGE}"
        ) from error
    if not is_on_this_host(change.identity) or is_alive(change.identity):
        raise CifarTrackError(
            f"{place} is at work on the registered model {name}; repeat this when it has ended, or "
            f"delete the model's tag {tag.PENDING_CHANGE} if it never will"
        )
    try:
        card = _card(change)
    except CifarTrackError as error:
        raise CifarTrackError(
            f"what {place} began with the registered model {name} can't be finished: {error}; to "
            f"let go of it, delete the model's tag {tag.PENDING_CHANGE}"
        ) from error
    version = _carry_out(client, name, change, card)
    now = version_under(client, name, change.alias)
    moved = now is not None and str(now.version) == version
    outcome = "is" if moved else "is whole, and somebody has meanwhile made another"
    return f"{name}: finished what {place} began: version {version} {outcome} the {change.alias}"


def finish_promotions() -> list[str]:
    """Finish every change that was cut short, in all registered models; a line about each.

    Raises:
        CifarTrackError: the registry can't be reached.
    """
    tracking.open_registry()
    client = mlflow.MlflowClient()
    lines = []
    token: str | None = None
    while True:
        page = client.search_registered_models(page_token=token)
        for model in page:
            if tag.PENDING_CHANGE not in model.tags:
                continue
            try:
                lines.append(finish(model.name))
            except CifarTrackError as still_at_work:
                lines.append(str(still_at_work))
        token = page.token
        if not token:
            return [line for line in lines if line]


def version_of_run(client: mlflow.MlflowClient, name: str, run_id: str) -> ModelVersion | None:
    """The version that a run's model is; the first, should two have been made at once."""
    found = client.search_model_versions(f"name = '{name}' AND tag.`{tag.RUN_ID}` = '{run_id}'")
    return min(found, key=lambda version: int(version.version), default=None)


def version_under(client: mlflow.MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """The version that an alias points to."""
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException:
        return None


def run_id_of(version: ModelVersion) -> str | None:
    """The run whose model a version is, also of one that was registered by hand."""
    return version.tags.get(tag.RUN_ID) or version.run_id or None


def champion_run_id(name: str) -> str:
    """The run whose model is the champion.

    Raises:
        CifarTrackError: there is none, or the registry can't be reached.
    """
    tracking.open_registry()
    version = version_under(mlflow.MlflowClient(), name, CHAMPION)
    if version is None:
        raise no_champion(name)
    run_id = run_id_of(version)
    if run_id is None:
        raise CifarTrackError(
            f"the champion of {name}, version {version.version}, is no run's; name a run"
        )
    return run_id


def champions_of(
    client: mlflow.MlflowClient, name: str, champion: ModelVersion | None
) -> tuple[str, ...]:
    """The versions in the order in which each became the champion, the present one last."""
    before = tuple(client.get_registered_model(name).tags.get(tag.CHAMPIONS, "").split())
    if champion is None or before[-1:] == (str(champion.version),):
        return before
    return (*before, str(champion.version))  # to which somebody has moved the alias by hand


def _carry_out(client: mlflow.MlflowClient, name: str, change: Change, description: str) -> str:
    version = version_of_run(client, name, change.run_id)
    model_id = change.model_uri.rpartition("/")[2]
    if version is None:
        made = client.create_model_version(
            name,
            change.model_uri,
            change.run_id,
            tags=dict(change.tags),
            description=description,
            model_id=model_id,
        )
        version = version_of_run(client, name, change.run_id) or made
        if version.version != made.version:  # another host was quicker
            client.delete_model_version(name, made.version)
    number = str(version.version)
    for old in version.tags:
        if old not in change.tags:
            client.delete_model_version_tag(name, number, old)
    for key, value in change.tags.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(name, number, key, value)
    if version.description != description:
        client.update_model_version(name, number, description=description)
    _move_alias(client, name, change, number)
    client.delete_registered_model_tag(name, tag.PENDING_CHANGE)
    return number


def _move_alias(client: mlflow.MlflowClient, name: str, change: Change, number: str) -> None:
    under = version_under(client, name, change.alias)
    if (str(under.version) if under else None) not in (change.before, number):
        return  # somebody has moved it since, by hand
    client.set_registered_model_alias(name, change.alias, number)
    if change.alias != CHAMPION:
        return
    client.set_registered_model_tag(name, tag.CHAMPIONS, " ".join((*change.champions, number)))
    challenger = version_under(client, name, CHALLENGER)
    if challenger is not None and str(challenger.version) == number:
        client.delete_registered_model_alias(name, CHALLENGER)


def _card(change: Change) -> str:
    """The model's card, as it lies with the model, as far as a description may be long."""
    try:
        # An address such as `models:/m-…/card.md` is taken for that of a registered model.
        model = mlflow.MlflowClient().get_logged_model(change.model_uri.rpartition("/")[2])
        text: str = mlflow.artifacts.load_text(f"{model.artifact_location}/{CARD}")
    except (MlflowException, OSError) as error:
        raise CifarTrackError(
            f"the model of run {change.run_id} ({change.model_uri}) can't be read any more "
            f"({first_line(error)}); choose another: mlflow run . -e register -P run=ID"
        ) from error
    return text[:DESCRIPTION_LENGTH]
