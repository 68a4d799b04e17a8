"""The default entry point, run whole: what it chooses, shows, and says that it can't show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from cifar_track.config import CifarTrackError, load_experiment, override
from cifar_track.workflow import study

ROOT = Path(study.__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"  # the port of `discard`, where nobody listens


@pytest.fixture
def without_images(tmp_path, monkeypatch):
    """A user who has no images, and whose every download is refused."""
    monkeypatch.delenv("CIFAR100_DIR", raising=False)
    for name, value in {
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "KERAS_HOME": str(tmp_path / "keras"),
        "CIFAR100_URL": f"{NOWHERE}/cifar-100-python.tar.gz",
        "https_proxy": NOWHERE,
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_without_images_it_takes_the_stand_in_and_says_why(without_images, capsys):
    assert study._choose_dataset("auto", None) == "procedural"
    assert capsys.readouterr().out.startswith(
        "dataset: the procedural stand-in, because CIFAR-100 "
    )


def test_a_place_for_the_comparison_that_cannot_be_written_is_told_before_anything_is_run(
    without_images, monkeypatch
):
    monkeypatch.chdir(without_images)
    (without_images / study.REPORT_DIRECTORY).touch()
    with pytest.raises(CifarTrackError, match=r"/comparison can't be written .* another folder"):
        study.run_study(dataset="procedural")
    assert not (without_images / "mlflow.db").exists()


def test_images_that_are_missing_are_told_once_before_anything_is_made(without_images, monkeypatch):
    monkeypatch.chdir(without_images)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{without_images}/mlflow.db")
    with pytest.raises(CifarTrackError, match=r"^(?!\d of).*CIFAR-100"):
        study.run_study(data_dir=without_images)
    assert not (without_images / "mlflow.db").exists()
    assert not (without_images / study.REPORT_DIRECTORY).exists()


def test_a_folder_or_a_name_is_taken_at_its_word(without_images, capsys):
    assert study._choose_dataset("auto", without_images) == "cifar100"
    assert study._choose_dataset("procedural", None) == "procedural"
    assert study._choose_dataset("cifar100", None) == "cifar100"
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_images_that_are_at_hand_are_not_read_to_find_them(without_images, monkeypatch, capsys):
    for name in ("train", "test", "meta"):
        (without_images / name).touch()  # which reading finds to be damaged
    monkeypatch.setenv("CIFAR100_DIR", str(without_images))
    assert study._choose_dataset("auto", None) == "cifar100"
    assert capsys.readouterr().out == f"dataset: CIFAR-100 from {without_images}\n"


def test_every_budget_fits_its_page_and_cuts_it_down():
    assert sorted(study.LONGEST_FIRST) == sorted(study.ITERATIONS)
    for name, budget in study.ITERATIONS.items():
        page = load_experiment(name)
        quick = override(page, {**study.QUICK, **budget})
        assert quick.training.epochs < page.training.epochs
        assert quick.data.train_per_class < page.data.train_per_class
        assert not (page.search and quick.search.trials >= page.search.trials)


def test_what_cannot_be_read_off_it_is_said_in_80_columns_or_little_more():
    said = study._limits()
    assert "{" not in said
    assert "8,000 plain images for 4 epochs" in said
    assert max(map(len, said.splitlines())) <= 100


@pytest.mark.slow
def test_the_whole_study_runs_without_images_and_without_weights(without_images):
    """As a visitor runs it who can download nothing."""
    folder = without_images / "work"
    folder.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    done = subprocess.run(
        [sys.executable, "-m", "cifar_track", "main"],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout
    assert "dataset: the procedural stand-in, because" in told
    assert "resnet50: random weights, because the ImageNet weights could not be downloaded" in told
    assert "It does not show" in told
    assert "is the champion" in told
    accuracy = {
        name: float(value)
        for name, value in re.findall(r"^(\w+): test accuracy (\S+)", told, flags=re.MULTILINE)
    }
    assert set(accuracy) == set(study.ITERATIONS)
    # All but ResNet50, which has no weights to start from, are far from chance.
    assert all(accuracy[name] > 0.1 for name in ("baseline", "adam_bn", "tune"))
    runs = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_runs(["1"])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert (folder / "comparison" / "comparison.html").is_file()
