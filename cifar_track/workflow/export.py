"""A model in the forms that other programs run, each checked on the whole test set."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from cifar_track import folders, tracking
from cifar_track.config import DEFAULT_DATASET, CifarTrackError, registered_name
from cifar_track.data import load_dataset
from cifar_track.tracking import FinishedRun
from cifar_track.workflow.register import data_of
from cifar_track.workflow.terminal import load_tensorflow, tell


def export_model(
    run_id: str | None = None,
    *,
    dataset: str | None = None,
    name: str | None = None,
    formats: Sequence[str] = (),
    output: Path | None = None,
    data_dir: Path | None = None,
) -> None:
    """Write a model in several forms, hold each beside the original, and log all to its run.

    Args:
        run_id: a run's id, the beginning of it, or its name; the champion's unless given.
        dataset: whose run or champion; of any data set where a run is named, otherwise CIFAR-100's.
        name: of the registered model; the data set's own unless given.
        formats: some of `cifar_track.serving.FORMATS`; all if empty.
        output: a folder for a copy.
        data_dir: where CIFAR-100 lies, before the usual places.

    Raises:
        CifarTrackError: no such run or champion, or a form whose packages are not installed.
    """
    from cifar_track import serving

    wanted = tuple(formats) or serving.FORMATS
    serving.require_formats(wanted)
    tracking.open_store()
    folders.require_output(output)
    run = _run_to_export(run_id, dataset, name)
    test = load_dataset(data_of(run), directory=data_dir).load_test()
    load_tensorflow()
    network = serving.load_network(str(run.model_uri))
    expected = tracking.load_arrays(run.run_id, tracking.PREDICTIONS)
    if not np.array_equal(expected["labels"], test.labels):
        raise CifarTrackError(f"the test images here are not those of run {run.run_id}")
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for form in wanted:
            path, predict = serving.export_network(network, folder, form)
            found = serving.agreement(
                form,
                path,
                predict,
                images=test.images,
                expected=expected["probabilities"],
            )
            rows.append(asdict(found))
            tell(
                f"  {form:<14} {found.megabytes:7.2f} MB  {found.milliseconds:7.2f} ms an image  "
                f"same class {found.same_class:.2%}  largest difference "
                f"{found.largest_difference:.1e}"
            )
        with (folder / "formats.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        tracking.add_files(run.run_id, folder, "export")
        if output is not None:
            shutil.copytree(folder, output, dirs_exist_ok=True)
    tell(f"logged to run {run.run_id} under export/" + (f", and in {output}" if output else ""))


def _run_to_export(run_id: str | None, dataset: str | None, name: str | None) -> FinishedRun:
    from cifar_track import registry

    if run_id is None:
        run_id = registry.champion_run_id(registered_name(dataset or DEFAULT_DATASET, name))
    run = tracking.find_finished_run(run_id, dataset_name=dataset)
    if run.model_uri is None:
        raise CifarTrackError(f"run {run.run_id} logged no model; name another")
    return run
