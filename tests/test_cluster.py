"""Searches on a cluster: real Ray nodes, killed, frozen and added while their trials run."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import test_tuning
from conftest import TrackingServer, wait_for
from ray_nodes import RayCluster

from cifar_track import cli, tuning
from cifar_track.config import CifarTrackError, Cluster, Experiment
from cifar_track.tuning.executors import EpochListener, Job
from cifar_track.tuning.executors import cluster as executor
from cifar_track.tuning.executors.trial import train_trial

REPOSITORY = Path(__file__).resolve().parent.parent

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
        self.machines: set[tuple[object, ...]] = set()

    def trial_placed(self, number: int, node: str, resources: str) -> None:
        self.places.append((number, node, resources))

    def trial_restarted(self, number: int, reason: str) -> None:
        super().trial_restarted(number, reason)
        self.reasons.append(reason)

    def trial_machine(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        self.machines.add((number, epoch, *metrics))

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


def test_what_is_said_of_nodes_before_a_search_listens_is_told_by_it(monkeypatch):
    said = [("notice", "bee gets no trials: it has Keras 3.9"), ("notice", "two"), ("capacity", 4)]

    class Connection:
        def __init__(self, cluster, *, folder):
            self.notices = []

        def receive(self):
            return said.pop(0)

        def close(self):
            pass

    monkeypatch.setattr(executor, "ClusterConnection", Connection)
    monkeypatch.setattr(executor, "require_ray", lambda: None)
    told = []
    with tuning.connected(Cluster(address="127.0.0.1:9")) as connection:
        trials = executor.ClusterExecutor(
            connection, None, at_most=9, threads=1, notice=told.append
        )
    assert trials.capacity == 4
    assert told == ["bee gets no trials: it has Keras 3.9", "two"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --experiment tune --cluster ray://host:1", "expected auto, or HOST:PORT"),
        ("train --experiment tune --cluster local", "expected auto, or HOST:PORT"),
        ("train --experiment tune --cpus 2", "are for --cluster"),
        ("train --experiment baseline --cluster auto", "it has no search"),
        ("train --experiment tune --cluster auto --seeds 2", "not for --seeds"),
        ("repeat --run a1 --gpus 1", "are for --cluster"),
        ("main --cluster auto", "main has two, of seconds; expected tune"),
        ("ablate --experiment fast --without cutout --cpus 2", "ablate takes no page that sear"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments, message, capsys):
    assert cli.run(arguments.split()) == 2
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
    """An epoch a second; it goes on after those in its checkpoint, and says what it trained."""
    done = int(job.checkpoint.read_text()) if job.checkpoint.exists() else 0
    for epoch in range(1, job.experiment.training.epochs + 1):
        if epoch > done:
            time.sleep(1.0)
            while epoch == job.experiment.training.epochs and is_held(job):
                time.sleep(0.2)
            job.checkpoint.write_text(str(epoch))
            with Path(os.environ["TRAINED"]).open("a") as said:
                said.write(f"{job.number} {epoch} {os.getpid()} {time.time()}\n")
        on_epoch(epoch, metrics_of(job, epoch))


NINE = 9  # trials of a search
HELD = 3  # of them, those that don't end before the test lets them


def is_held(job: Job) -> bool:
    """Whether a trial is among the last, and a test has more to do to the cluster meanwhile."""
    last = job.number >= NINE - HELD
    return last and Path(os.environ["TRAINED"]).with_name("hold").exists()


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
        assert "ray" not in sys.modules  # it would take SIGTERM for itself
        busy = "system/cpu_utilization_percentage"
        assert {(n, e) for n, e, *names in record.machines if busy in names} == {
            (n, e) for n in range(4) for e in (1, 2, 3)
        }
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
            train=train_trial,
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


@needs_ray
@pytest.mark.slow
def test_a_token_lets_in_who_has_it(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the same secret on all of them, 40 signs")
    cluster = RayCluster()
    try:
        cluster.add()
        result = run_search(tmp_path, cluster)
        assert {trial.status for trial in result.trials} == {"completed"}
        monkeypatch.setenv("RAY_AUTH_TOKEN", "another secret, which has 31 signs")
        with pytest.raises(CifarTrackError, match="RAY_AUTH_TOKEN where it has") as caught:
            run_search(tmp_path / "other", cluster)
        assert "\n" not in str(caught.value)
        assert "another secret" not in str(caught.value)
    finally:
        cluster.close()


# Clusters that come to harm. A trial's figures follow from its values, so that a search that was
# disturbed has to end as one that was not.


def lasting(epochs: int, *, trials: int = NINE) -> Experiment:
    """A search whose trials take so many seconds each, and are tried again as often as it takes."""
    experiment = test_tuning.searching(trials=trials, retries=99)
    return replace(experiment, training=replace(experiment.training, epochs=epochs))


def assert_whole(result: tuning.SearchResult, record: Record, experiment: Experiment) -> None:
    """No trial is lost or doubled, none has another status than the true one, nor other figures."""
    epochs = experiment.training.epochs
    assert [trial.values for trial in result.trials] == test_tuning.proposed(experiment)
    assert [trial.status for trial in result.trials] == ["completed"] * len(result.trials)
    for trial in result.trials:
        assert record.events.count(("end", trial.number)) == 1
        assert set(record.epochs[trial.number]) == set(range(1, epochs + 1))
        height = float(trial.values["model.filters_1"]) / 100
        assert trial.score == pytest.approx(height + epochs / 1000)


class Both:
    """Listeners that hear the same."""

    def __init__(self, *listeners: Any) -> None:
        self._listeners = listeners

    def __getattr__(self, name: str) -> Callable[..., None]:
        def hear(*said: Any) -> None:
            for listener in self._listeners:
                getattr(listener, name)(*said)

        return hear


def logged_search(
    directory: Path, cluster: RayCluster, experiment: Experiment, record: Record
) -> tuple[tuning.SearchResult, str]:
    """A search whose trials are runs of MLflow's, as of any search; its result and its run."""
    # Here, because each trial's process imports this file.
    from cifar_track import tracking
    from cifar_track.workflow.progress import following_search
    from cifar_track.workflow.trial_runs import TrialRuns

    epochs = experiment.training.epochs
    tracking.open_store()
    with (
        tracking.start_run(experiment, dataset_name="procedural", name="search") as run,
        following_search(NINE, epochs) as progress,
    ):
        runs = TrialRuns(run, experiment, progress=progress, logged={})
        result = run_search(
            directory, cluster, experiment=experiment, train=slow_epochs,
            listener=Both(record, runs),
        )  # fmt: skip
    return result, run.id


def false_in_mlflow(run_id: str, record: Record, experiment: Experiment) -> list[str]:
    """What MLflow's API says of a search and its trials that is not so; nothing, if all is."""
    import mlflow

    from cifar_track.tracking import tag

    client = mlflow.MlflowClient()
    parent = client.get_run(run_id)
    said = [] if parent.info.status == "FINISHED" else [f"the search is {parent.info.status}"]
    condition = f"tags.`{tag.MLFLOW_PARENT}` = '{run_id}'"
    children = client.search_runs([parent.info.experiment_id], condition)
    numbers = sorted(int(child.data.tags[tag.TRIAL]) for child in children)
    if numbers != list(range(NINE)):
        said.append(f"the trials are {numbers}")
    again = [number for what, number in record.events if what == "again"]
    for child in children:
        number, tags = int(child.data.tags[tag.TRIAL]), child.data.tags
        points = client.get_metric_history(child.info.run_id, "val_accuracy")
        trial = record.ended[number]
        facts = {
            "status": (child.info.status, "FINISHED"),
            "node": (tags[tag.NODE], [node for n, node, _ in record.places if n == number][-1]),
            "restarts": (tags.get(tag.RESTARTS, "0").partition(";")[0], str(again.count(number))),
            "epochs": ([point.step for point in points], list(range(1, trial.epochs + 1))),
            "best": (child.data.metrics["best_val_accuracy"], pytest.approx(trial.score)),
            "error": (tags.get(tag.ERROR), None),
        }
        said += [f"trial {number}: {what} {pair}" for what, pair in facts.items()
                 if pair[0] != pair[1]]  # fmt: skip
    return said


def seconds_until_trained_again(cluster: RayCluster, *, epochs: int) -> list[int]:
    """Of each trial that went on in another process, the seconds that this took.

    But for those that had the last of so many epochs before them, which may have been held.
    """
    waits = []
    for number in {trial for trial, *_ in cluster.trained()}:
        rows = sorted((at, pid, n) for trial, n, pid, at in cluster.trained() if trial == number)
        for (at, pid, _), (next_at, next_pid, epoch) in itertools.pairwise(rows):
            if pid != next_pid and epoch < epochs:
                waits.append(round(next_at - at - 1.0))  # less the epoch itself
    return sorted(waits)


def tell(words: str) -> None:
    """Say what was counted, to whoever runs the tests with `-rP` or `-s`."""
    sys.stdout.write(f"{words}\n")


def trained_twice(cluster: RayCluster) -> int:
    """How many epochs, which take a second each, were trained more than once."""
    trained = [(trial, epoch) for trial, epoch, *_ in cluster.trained()]
    return len(trained) - len(set(trained))


def assert_one_at_a_time(cluster: RayCluster) -> None:
    """No trial was trained by two processes at once."""
    for number in {trial for trial, *_ in cluster.trained()}:
        moments = [(pid, at) for trial, _, pid, at in cluster.trained() if trial == number]
        order = [pid for pid, _ in sorted(moments, key=lambda pair: pair[1])]
        changes = sum(one != other for one, other in itertools.pairwise(order))
        assert changes == len(set(order)) - 1, f"trial {number}"


@pytest.fixture
def three_nodes() -> Iterator[RayCluster]:
    cluster = RayCluster()
    try:
        cluster.add()
        cluster.add()
        yield cluster
    finally:
        cluster.close()


class Background(threading.Thread):
    """Something that runs beside the test, and whose error is the test's."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._act = act
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._act()
        except BaseException as error:
            self.error = error

    def finish(self) -> None:
        self.join(600)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error


def wait_until_trained(cluster: RayCluster, epochs: int) -> None:
    file = cluster.folder / "trained"
    wait_for(
        lambda: file.exists() and len(cluster.trained()) >= epochs,
        what="nothing was trained",
        seconds=240,
    )


@needs_ray
@pytest.mark.slow
class TestNodesThatComeAndGo:
    def test_ten_nodes_are_killed_at_random_moments_and_the_server_once(
        self, three_nodes, schema, elsewhere, monkeypatch, tmp_path_factory
    ):
        experiment, record, kills = lasting(30), Record(), []
        moments = random.Random(0)
        hold = three_nodes.folder / "hold"  # no search is over before its faults are
        hold.touch()
        server = TrackingServer(schema, tmp_path_factory.mktemp("server"))
        server.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
        monkeypatch.setenv("CIFAR_TRACK_PATIENCE", "600")

        def kill_and_replace() -> None:
            try:
                wait_until_trained(three_nodes, 1)
                while len(kills) < 10:
                    time.sleep(moments.uniform(0, 8))
                    moments.choice(three_nodes.others()).kill()
                    kills.append(time.time())
                    if len(kills) == 5:
                        server.kill()
                    three_nodes.add()
                    if len(kills) == 5:
                        server.start()
                # Those that are left find the nodes that came last, though each could wait for one.
                wait_for(
                    lambda: three_nodes.furthest(range(NINE - HELD, NINE)) == [29] * HELD,
                    what="a trial waits while a node is free",
                    seconds=400,
                )
            finally:
                hold.unlink()

        try:
            killing = Background(kill_and_replace)
            result, run_id = logged_search(elsewhere / "search", three_nodes, experiment, record)
            killing.finish()
            untrue = false_in_mlflow(run_id, record, experiment)
        finally:
            server.kill()
        lost = trained_twice(three_nodes)
        waits = seconds_until_trained_again(three_nodes, epochs=experiment.training.epochs)
        ends = [number for what, number in record.events if what == "end"]
        tell(f"{len(kills)} nodes killed, the server killed and started again once; "
             f"{len(record.reasons)} trials begun again, {NINE - len(set(ends))} lost, "
             f"{len(ends) - len(set(ends))} doubled, {len(untrue)} things untrue in MLflow; "
             f"{lost / len(kills):.1f} s trained twice per fault; seconds until those cut in "
             f"mid-course trained again: {waits}")  # fmt: skip
        assert untrue == []
        assert_whole(result, record, experiment)
        assert_one_at_a_time(three_nodes)
        assert len(record.reasons) >= 3
        assert all("is gone" in reason or "killed" in reason for reason in record.reasons)
        # What was under way at the kill, and at most one epoch whose report was.
        assert lost <= 2 * len(kills)

    @pytest.mark.parametrize("fault", ["frozen", "cut off"])
    def test_a_silent_node_is_given_up_and_a_late_one_is_taken(self, three_nodes, tmp_path, fault):
        experiment, record = lasting(30), Record()
        silent, network = three_nodes.others()[0], three_nodes.network
        if fault == "cut off" and not network.is_real:
            pytest.skip("no network namespaces can be made here")

        def be_silent() -> None:
            wait_until_trained(three_nodes, 6)
            if fault == "frozen":
                silent.signal(signal.SIGSTOP)
            else:
                network.cut_off(silent.host)
            three_nodes.add()
            wait_for(lambda: record.reasons, what="it was not given up", seconds=240)
            silent.signal(signal.SIGCONT)
            network.mend(silent.host)

        silencing = Background(be_silent)
        result = run_search(
            tmp_path, three_nodes, experiment=experiment, train=slow_epochs, listener=record
        )
        silencing.finish()
        assert_whole(result, record, experiment)
        assert len(record.reasons) == 1
        assert silent.address in record.reasons[0]
        late = three_nodes.nodes[-1].address
        assert any(node.startswith(late) for _, node, _ in record.places)

    def test_two_searches_share_a_cluster(self, three_nodes, tmp_path):
        experiment = lasting(5, trials=4)
        other = replace(experiment, training=replace(experiment.training, seed=1))
        records = [Record(), Record()]
        searches = [
            Background(
                functools.partial(
                    run_search, tmp_path / str(number), three_nodes, experiment=page,
                    train=slow_epochs, listener=records[number],
                )
            )
            for number, page in enumerate((experiment, other))
        ]  # fmt: skip
        for search in searches:
            search.finish()
        for record, page in zip(records, (experiment, other), strict=True):
            result = tuning.SearchResult(
                trials=tuple(record.ended[number] for number in range(4)), best=record.ended[0]
            )
            assert_whole(result, record, page)
            assert record.reasons == []


@needs_ray
@pytest.mark.slow
def test_six_trials_are_the_same_to_the_bit_wherever_they_run(three_nodes, tmp_path):
    from cifar_track.data import load_dataset

    experiment = test_tuning.searching(trials=6)
    settings = replace(experiment.training, deterministic=True, epochs=2)
    experiment = replace(experiment, training=settings)
    data = load_dataset(experiment.data)
    records = [Record(), Record(), Record()]
    for workers, record in enumerate(records[:2], start=1):
        tuning.search(
            experiment,
            data,
            directory=tmp_path / str(workers),
            workers=workers,
            listener=record,
        )
    run_search(
        tmp_path / "there",
        three_nodes,
        experiment=experiment,
        data=data,
        train=train_trial,
        listener=records[2],
    )
    assert len({node for _, node, _ in records[2].places}) == 3
    assert len(records[0].metrics) == 12
    assert records[0].metrics == records[1].metrics == records[2].metrics


SCRIPT = """
import sys
from pathlib import Path
import test_cluster
if __name__ == "__main__":
    experiment = test_cluster.lasting(int(sys.argv[3]))
    test_cluster.run_search(
        Path(sys.argv[1]), sys.argv[2], experiment=experiment, train=test_cluster.slow_epochs
    )
"""


@needs_ray
@pytest.mark.slow
class TestWhoeverIsKilled:
    def test_the_search_is_killed_at_ten_moments(self, three_nodes, tmp_path):
        experiment, script = lasting(25), tmp_path / "script.py"
        script.write_text(SCRIPT)
        paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
        moments = random.Random(1)
        seconds_until_quiet = []
        for _ in range(10):
            search = subprocess.Popen(
                [sys.executable, script, tmp_path / "search", three_nodes.address, "25"],
                env={**os.environ, "PYTHONPATH": paths},
            )
            before = len(three_nodes.trained()) if (three_nodes.folder / "trained").exists() else 0
            wait_until_trained(three_nodes, before + 1)
            time.sleep(moments.uniform(0, 5))
            search.kill()
            search.wait()
            killed = time.time()
            time.sleep(8)
            seconds_until_quiet.append(max(at for *_, at in three_nodes.trained()) - killed)
        record = Record()
        result = run_search(
            tmp_path / "search", three_nodes, experiment=experiment, train=slow_epochs,
            listener=record,
        )  # fmt: skip
        tell(f"10 kills, quiet {max(seconds_until_quiet):.1f} s after one at most, "
             f"{trained_twice(three_nodes)} epochs of a second trained twice")  # fmt: skip
        assert [trial.values for trial in result.trials] == test_tuning.proposed(experiment)
        assert {trial.status for trial in result.trials} == {"completed"}
        assert_one_at_a_time(three_nodes)
        assert max(seconds_until_quiet) < 5
        assert trained_twice(three_nodes) <= 10 * 3 * 2

    def test_the_head_is_killed(self, tmp_path):
        experiment, cluster = lasting(90, trials=2), RayCluster()
        try:
            cluster.add()
            killing = Background(lambda: (wait_until_trained(cluster, 4), cluster.head.kill()))
            with pytest.raises(CifarTrackError, match="its head does not answer") as caught:
                run_search(tmp_path, cluster, experiment=experiment, train=slow_epochs)
            assert "\n" not in str(caught.value)
            killing.finish()
            time.sleep(5)  # what is left of it ends its trials
            trained = len(cluster.trained())
            time.sleep(10)
            assert len(cluster.trained()) == trained < 2 * 90
        finally:
            cluster.close()
        cluster, record = RayCluster(), Record()
        try:
            result = run_search(
                tmp_path, cluster, experiment=experiment, train=slow_epochs, listener=record
            )
            trained_again = len(cluster.trained())
        finally:
            cluster.close()
        assert_whole(result, record, experiment)
        assert trained_again < 2 * 90  # each goes on after the epochs that were heard of
