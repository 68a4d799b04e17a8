"""A project folder that was moved or copied: its runs and models found again."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlflow
import pytest

from cifar_track import tracking, workflow
from cifar_track.config import CifarTrackError


def goes_somewhere(client, run, version):
    """Whether all that the store says of a run's files leads into the folder it lies in."""
    found = client.get_run(run.id)
    assert Path(client.download_artifacts(run.id, "note.txt")).read_text() == "of a run"
    assert mlflow.pyfunc.load_model(f"models:/small/{version.version}").predict([1.0]) == [2.0]
    return found.info.artifact_uri


@mlflow.pyfunc.utils.pyfunc
def double(model_input: list[float]) -> list[float]:
    return [2 * value for value in model_input]


@pytest.fixture(params=["project", "100% of it"])
def project(request, sqlite_store, monkeypatch):
    """A project folder with a run, its model, and that model registered."""
    folder = sqlite_store.parent / request.param
    folder.mkdir()
    shutil.move(sqlite_store, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    with tracking.start_run(dataset_name="procedural", name="x", kind="study") as run:
        run.log_text("of a run", "note.txt")
        logged = mlflow.pyfunc.log_model(
            name="small", python_model=double, pip_requirements=["mlflow"]
        )
    version = mlflow.register_model(logged.model_uri, "small")
    return folder, run, version


def work_in(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    tracking.open_store()
    return mlflow.MlflowClient()


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_the_doctor_leads_a_store_to_its_files(how, project, monkeypatch, capsys):
    folder, run, version = project
    other = folder.parent / "somewhere else"
    (shutil.move if how == "moved" else shutil.copytree)(folder, other)
    client = work_in(other, monkeypatch)
    if how == "moved":
        with pytest.raises(CifarTrackError, match=r"not in .*e doctor` puts that right") as caught:
            tracking.load_result(run.id)
        assert str(folder) in str(caught.value)

    workflow.mend_runs(dry_run=True)
    assert f"are in {other}/mlruns, not in {folder}/mlruns" in capsys.readouterr().out
    assert tracking.find_relocation() is not None
    workflow.mend_runs()
    assert tracking.find_relocation() is None
    if how == "copied":
        shutil.rmtree(folder)
    assert str(other) in goes_somewhere(client, run, version)
    # What is logged from now on stays here too.
    with tracking.start_run(dataset_name="procedural", name="y", kind="study") as later:
        later.log_text("later", "later.txt")
    assert [path.is_relative_to(other) for path in other.parent.rglob("later.txt")] == [True]


def test_a_store_in_its_place_is_left_alone(project, monkeypatch):
    assert tracking.find_relocation() is None
    link = project[0].with_name("link")
    link.symlink_to(project[0])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{link}/mlflow.db")
    assert tracking.find_relocation() is None
