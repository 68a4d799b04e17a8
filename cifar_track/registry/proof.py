"""The proof that a run's model gives: read back from the store, and asked elsewhere."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models.model import MLMODEL_FILE_NAME

from cifar_track import folders, tracking
from cifar_track.config import CifarTrackError, Demands
from cifar_track.data import Images
from cifar_track.registry import gates
from cifar_track.registry.candidates import Choice
from cifar_track.registry.elsewhere import FailedElsewhereError, ask_elsewhere
from cifar_track.registry.gates import Gate, LoggedPredictions
from cifar_track.tracking import FinishedRun, tag


def pass_gates(
    choice: Choice,
    test: Images,
    *,
    beside: FinishedRun | None,
    demands: Demands,
    on_step: Callable[[str], None],
) -> tuple[Gate, ...]:
    """Ask of a run's model all that is demanded.

    Args:
        choice: the run, and how it was chosen.
        test: the images that it was evaluated on.
        beside: the champion's run; None where there is no other champion.
        demands: what is asked.
        on_step: told what takes the next minutes.

    Raises:
        CifarTrackError: what the run logged can't be read, or is about other images, or no model
            can be loaded from the folder for temporary files.
    """
    run = choice.run
    with folders.temporary() as place:
        logged = _logged_predictions(run, place)
        if len(logged.labels) != len(test):
            raise CifarTrackError(
                f"run {run.run_id} was evaluated on {len(logged.labels)} images, but the test set "
                f"has {len(test)}; nothing was registered"
            )
        if run.tags.get(tag.TEST_DIGEST) not in (None, test.digest):
            raise CifarTrackError(
                f"the test images here (digest {test.digest}) are not those that run {run.run_id} "
                f"was evaluated on ({run.tags[tag.TEST_DIGEST]}); nothing was registered"
            )
        folder = _model_folder(run, place)
        behaviour, error = None, ""
        try:
            behaviour = ask_elsewhere(
                folder,
                test.images,
                fresh_environment=demands.fresh_environment,
                on_step=on_step,
            )
        except FailedElsewhereError as failure:
            error = str(failure)
        found = [gates.is_chosen(choice)]
        found.append(gates.loads_elsewhere(behaviour, error))
        if behaviour is not None:
            found.append(gates.predicts_as_logged(behaviour.probabilities, logged, test.labels))
            found.extend(gates.stays_within_limits(behaviour, demands))
        found.append(gates.predicts_every_class(logged, demands))
        if beside is not None:
            theirs = _logged_predictions(beside, place)
            found.append(gates.compares_with_champion(logged, theirs, demands))
    return tuple(found)


def _model_folder(run: FinishedRun, place: Path) -> Path:
    try:
        folder = Path(mlflow.artifacts.download_artifacts(run.model_uri, dst_path=str(place)))
    except (MlflowException, OSError) as error:
        reason = " ".join(str(error).split())
    else:
        if (folder / MLMODEL_FILE_NAME).is_file():
            return folder
        reason = f"there is no {MLMODEL_FILE_NAME} where the store says that it lies"
    raise CifarTrackError(
        f"the model that run {run.run_id} logged can't be read ({run.model_uri}: {reason}); "
        "nothing was registered"
    )


def _logged_predictions(run: FinishedRun, place: Path) -> LoggedPredictions:
    try:
        path = Path(
            mlflow.MlflowClient().download_artifacts(
                run.run_id, tracking.PREDICTIONS, tempfile.mkdtemp(dir=place)
            )
        )
        arrays = tracking.read_arrays(path)
        labels, predictions = arrays["labels"], arrays["predictions"]
        probabilities = arrays["probabilities"]
    except (MlflowException, OSError, KeyError, ValueError) as error:
        raise CifarTrackError(
            f"the predictions that run {run.run_id} logged can't be read "
            f"({tracking.PREDICTIONS}: {' '.join(str(error).split())}); nothing was registered"
        ) from error
    digest = run.tags.get(tag.PREDICTIONS_DIGEST)
    return LoggedPredictions(
        labels=labels,
        predictions=predictions,
        probabilities=probabilities,
        is_unaltered=(
            None if digest is None else hashlib.sha256(path.read_bytes()).hexdigest() == digest
        ),
        test_digest=run.tags.get(tag.TEST_DIGEST),
    )
