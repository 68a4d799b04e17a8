"""The best finished run's model made the champion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cifar_track import tracking
from cifar_track.config import load_experiment, override
from cifar_track.data import load_dataset
from cifar_track.workflow.terminal import load_tensorflow, tell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def register_best(
    run_id: str | None = None,
    *,
    dataset: str = "cifar100",
    name: str | None = None,
    data_dir: Path | None = None,
) -> None:
    """Register the best finished run's model and make it the champion.

    Args:
        run_id: MLflow's run id; the best finished run by validation accuracy unless given.
        dataset: whose runs.
        name: of the registered model; the data set's own unless given.
        data_dir: where CIFAR-100 lies, before the usual places.

    Raises:
        CifarTrackError: no such run, one chosen by the test images, or a model that does not
            predict what was logged.
    """
    from cifar_track import registry

    def load_test(run: tracking.FinishedRun) -> NDArray[np.uint8]:
        given = {key: value for key, value in run.parameters.items() if key.startswith("data.")}
        settings = override(load_experiment(run.iteration), given).data
        images: NDArray[np.uint8] = load_dataset(settings, directory=data_dir).load_test().images
        return images

    tracking.open_store()
    load_tensorflow()
    promotion = registry.promote_best(
        dataset, load_test=load_test, run_id=run_id, registered_name=name
    )
    run = promotion.run
    before = promotion.replaced_version
    tell(
        f"{promotion.model_name} version {promotion.version} is the {promotion.alias}"
        f"{f', in place of version {before}' if before else ''}: run {run.run_id} "
        f"({run.iteration}), validation accuracy {run.metrics['best_val_accuracy']:.4f}"
    )
    tell(f"load it: mlflow.pyfunc.load_model({promotion.model_uri!r})")
