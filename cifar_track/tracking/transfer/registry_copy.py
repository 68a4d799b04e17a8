"""A registered model with its versions and aliases, copied."""

from __future__ import annotations

from collections.abc import Mapping

import mlflow
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException

from cifar_track.tracking import tag
from cifar_track.tracking.transfer.record import Transfer, entries

# What names versions by their numbers, runs or a process of the store that it was written in.
OF_ITS_STORE = (tag.CHAMPIONS, tag.PENDING_CHANGE)


def copy_registered_model(
    transfer: Transfer,
    here: mlflow.MlflowClient,
    there: mlflow.MlflowClient,
    registered: RegisteredModel,
) -> None:
    """Copy a registered model's versions in their order, and the aliases that are free there."""
    name = registered.name
    tags = {key: value for key, value in registered.tags.items() if key not in OF_ITS_STORE}
    try:
        there.create_registered_model(name, tags, registered.description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    copies = {
        version.tags[tag.MOVED_FROM]: version.version
        for version in entries(there.search_model_versions, f"name = '{name}'")
        if tag.MOVED_FROM in version.tags
    }
    versions = entries(here.search_model_versions, f"name = '{name}'")
    numbers: dict[str, str] = {}
    for version in sorted(versions, key=lambda version: int(version.version)):
        transfer.found["version"] += 1
        # Stores say which logged model it is in the one place or in the other.
        old_model_id = version.model_id or version.source.removeprefix("models:/")
        model_id = transfer.models.get(old_model_id)
        # A version's number starts from 1 in every store; its model's id does not.
        origin = f"{old_model_id}/{version.version}"
        if model_id is None:
            transfer.left.append(f"version {version.version} of {name}: its model is not moved")
            continue
        if origin not in copies:
            made = there.create_model_version(
                name,
                f"models:/{model_id}",
                run_id=transfer.runs.get(version.run_id, ""),
                tags={key: transfer.renamed(value) for key, value in version.tags.items()}
                | {tag.MOVED_FROM: origin},
                description=transfer.renamed(version.description or ""),
                model_id=model_id,
            )
            copies[origin] = made.version
            transfer.moved["version"] += 1
        numbers[str(version.version)] = str(copies[origin])
    _copy_champions(there, registered, numbers)
    present = there.get_registered_model(name).aliases
    for alias, number in here.get_registered_model(name).aliases.items():
        transfer.found["alias"] += 1
        copy = numbers.get(str(number))
        if alias not in present and copy is not None:
            there.set_registered_model_alias(name, alias, copy)
            transfer.moved["alias"] += 1
        elif copy is None:
            transfer.left.append(f"{name}: {alias!r} points to a version that is not moved")
        elif str(present[alias]) != copy:
            transfer.left.append(f"{name}: the other store's own {alias!r} stays where it is")


def _copy_champions(
    there: mlflow.MlflowClient, registered: RegisteredModel, numbers: Mapping[str, str]
) -> None:
    """Say which versions were the champion, by their numbers there; its own history stays."""
    champions = registered.tags.get(tag.CHAMPIONS, "").split()
    if champions and tag.CHAMPIONS not in there.get_registered_model(registered.name).tags:
        moved = [numbers[number] for number in champions if number in numbers]
        there.set_registered_model_tag(registered.name, tag.CHAMPIONS, " ".join(moved))
