"""Searches on a cluster: real Ray nodes, killed, frozen and added while their trials run."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import test_tuning
from ray_nodes import RayCluster

from cifar_track import cli, tuning
from cifar_track.config import CifarTrackError, Cluster, Experiment
from cifar_track.tuning.executors import EpochListener, Job, trial

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="the extra `cluster` is not installed"
)


class Record(test_tuning.Record):
    """A listener that remembers where trials ran, too."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[tuple[int, str, str]] = []
        self.reasons: list[str] = []
        self.notices: list[str] = []

    def trial_placed(self, number: int, node: str, resources: str) -> None:
        self.places.append((number, node, resources))

    def trial_restarted(self, number: int, reason: str) -> None:
        super().trial_restarted(number, reason)
        self.reasons.append(reason)

    def notice(self, words: str) -> None:
        self.notices.append(words)


def run_search(
    directory: Path,
    cluster: RayCluster | str,
    *,
    experiment: Experiment = test_tuning.EXPERIMENT,
    train: Any = test_tuning.report,
    listener: Any = None,
    data: Any = None,
    workers: int = 99,
) -> tuning.SearchResult:
    address = cluster if isinstance(cluster, str) else cluster.address
    with tuning.connected(Cluster(address=address)) as connection:
        return tuning.search(
            experiment,
            data or test_tuning.tiny_data(),
            directory=directory,
            workers=workers,
            listener=listener or Record(),
            train=train,
            cluster=connection,
        )


def timeless(result: tuning.SearchResult) -> list[tuning.TrialResult]:
    return [replace(trial, seconds=0, cpu_seconds=0) for trial in result.trials]


# What needs no cluster.


def test_without_ray_it_is_one_line(monkeypatch, capsys, elsewhere):
    monkeypatch.setitem(sys.modules, "ray", None)
    arguments = ["train", "--experiment", "tune", "--cluster", "auto", "--dataset", "procedural"]
    assert cli.run(arguments) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "uv sync --locked --no-dev --extra cluster" in told
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--experiment", "tune", "--cluster", "ray://host:1"], "expected auto, or HOST:PORT"),
        (["--experiment", "tune", "--cluster", "local"], "expected auto, or HOST:PORT"),
        (["--experiment", "tune", "--cpus", "2"], "are for --cluster"),
        (["--experiment", "baseline", "--cluster", "auto"], "it has no search"),
        (["--experiment", "tune", "--cluster", "auto", "--seeds", "2"], "not for --seeds"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments, message, capsys):
    assert cli.run(["train", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert message in told


@needs_ray
def test_a_head_that_is_not_there_is_told_at_once():
    began = time.monotonic()
    message = r"no cluster at 127\.0\.0\.1:9 can be reached"
    with (
        pytest.raises(CifarTrackError, match=message),
        tuning.connected(Cluster(address="127.0.0.1:9")),
    ):
        pass
    assert time.monotonic() - began < 20


# What trials run on the nodes, where it is found by name.


def slow_epochs(job: Job, on_epoch: EpochListener) -> None:
    """An epoch a second, each in the checkpoint: how often it was begun, and the epochs so far."""
    epochs = job.experiment.training.epochs
    begun, done = 0, 0
    if job.checkpoint.exists():
        begun, done = map(int, job.checkpoint.read_text().split())
    for epoch in range(1, epochs + 1):
        if epoch > done:
            time.sleep(1.0)
            job.checkpoint.write_text(f"{begun + 1} {epoch}")
        on_epoch(epoch, metrics_of(job, epoch))


def metrics_of(job: Job, epoch: int) -> Mapping[str, float]:
    accuracy = float(job.experiment.model.settings["filters_1"]) / 100 + epoch / 1000
    return {
        "train_loss": 1.0,
        "train_accuracy": 0.5,
        "val_loss": 1 - accuracy,
        "val_accuracy": accuracy,
    }


def many_images() -> Any:
    """As many as Ray does not send along with a task, but keeps in its store."""
    data = test_tuning.tiny_data()
    images = np.tile(data.train.images, (100, 1, 1, 1))
    part = SimpleNamespace(images=images, labels=np.tile(data.train.labels, 100))
    return SimpleNamespace(**{**vars(data), "train": part, "validation": part})


def check_surroundings(job: Job, on_epoch: EpochListener) -> None:
    """Images in place and read-only, the working copy's code, the threads that were asked for."""
    import ray

    import cifar_track

    assert os.environ["TF_NUM_INTRAOP_THREADS"] == os.environ["OMP_NUM_THREADS"] == "1"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
    assert "tensorflow" not in sys.modules
    assert "runtime_resources" in cifar_track.__file__  # as Ray unpacked it
    train = job.open_images("train")
    assert np.array_equal(train.images, many_images().train.images)
    assert not train.images.flags.writeable
    assert not train.images.flags.owndata  # Ray's memory, and no copy
    assert ray.get_runtime_context().get_node_id()
    test_tuning.report(job, on_epoch)


def odd_trials_fail(job: Job, on_epoch: EpochListener) -> None:
    test_tuning.report(job, on_epoch)
    if job.number == 1:
        raise ZeroDivisionError("by zero")
    if job.number == 3:
        raise CifarTrackError("the loss became nan in epoch 1, step 3")


# A small cluster, shared by what harms none of it.


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[RayCluster]:
    cluster = RayCluster()
    try:
        cluster.add()
        yield cluster
    finally:
        cluster.close()


@needs_ray
@pytest.mark.slow
class TestOnTwoNodes:
    def test_a_search_is_the_same_as_in_processes(self, two_nodes, tmp_path):
        record = Record()
        there = run_search(tmp_path / "there", two_nodes, listener=record)
        here = test_tuning.run_search(tmp_path / "here", train=test_tuning.report)
        assert timeless(there) == timeless(here)
        assert record.epochs == {number: [1, 2, 3] for number in range(4)}
        assert {number for number, *_ in record.places} == set(range(4))
        assert len({node for _, node, _ in record.places}) == 2
        assert {resources for *_, resources in record.places} == {"1 thread"}
        assert (record.notices, record.reasons) == ([], [])
        assert all(trial.cpu_seconds > 0 for trial in there.trials)
        left = {file.name for file in (tmp_path / "there").iterdir()}
        assert left <= {"search.json", "search.previous.json", "search.lock"}

    def test_a_trials_process_has_what_it_needs(self, two_nodes, tmp_path):
        result = run_search(tmp_path, two_nodes, train=check_surroundings, data=many_images())
        assert [trial.error for trial in result.trials] == [None] * 4

    def test_a_failed_trial_says_why_and_the_others_go_on(self, two_nodes, tmp_path):
        result = run_search(tmp_path, two_nodes, train=odd_trials_fail)
        assert [trial.status for trial in result.trials] == ["completed", "failed"] * 2
        assert (result.trials[1].error or "").endswith("ZeroDivisionError: by zero\n")
        assert result.trials[3].error == "the loss became nan in epoch 1, step 3"

    def test_hyperbands_weights_go_from_node_to_node(self, two_nodes, tmp_path):
        from cifar_track.data import load_dataset

        experiment = test_tuning.searching(tuner="hyperband")
        data = load_dataset(experiment.data)
        record = Record()
        result = run_search(
            tmp_path,
            two_nodes,
            experiment=experiment,
            data=data,
            train=trial.train_trial,
            listener=record,
        )
        assert [trial.error for trial in result.trials] == [None] * len(result.trials)
        assert {trial.epochs for trial in result.trials} == {1, 3}
        assert any(epochs == [2, 3] for epochs in record.epochs.values())

    def test_what_no_node_has_is_one_line(self, two_nodes):
        with (
            pytest.raises(CifarTrackError, match="no node of the cluster has 7 CPUs and 0 GPUs"),
            tuning.connected(Cluster(address=two_nodes.address, cpus=7)),
        ):
            pass
