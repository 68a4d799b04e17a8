"""The search: real processes, real Keras Tuner; training stands in where scheduling is at stake."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from cifar_track import tuning
from cifar_track.config import (
    Augmentation,
    Choice,
    CifarTrackError,
    Data,
    Experiment,
    FloatRange,
    IntRange,
    Model,
    Optimizer,
    Search,
    Training,
    Value,
    load_experiment,
)
from cifar_track.tuning import resources, space, state, worker
from cifar_track.tuning.worker import EpochListener, Job

REPOSITORY = Path(__file__).resolve().parent.parent

EXPERIMENT = Experiment(
    name="tiny",
    data=Data(dataset="procedural", train_per_class=2, validation_per_class=1, test_per_class=1),
    augmentation=Augmentation(),
    model=Model("cnn", filters_1=4, kernel_1=3, dropout_1=0.0, filters_2=4, kernel_2=3,
                dropout_2=0.0, dense_units=8, batch_normalization=True),
    optimizer=Optimizer(name="sgd", learning_rate=0.01, momentum=0.9),
    training=Training(epochs=3, batch_size=64),
    search=Search(
        trials=4,
        space={
            "model.filters_1": IntRange(low=4, high=16, step=4),
            "model.kernel_1": Choice((3, 5)),
            "model.dropout_1": FloatRange(low=0.0, high=0.5, step=0.1),
        },
    ),
)  # fmt: skip


def searching(experiment: Experiment = EXPERIMENT, **changes: Any) -> Experiment:
    """The experiment with another search."""
    assert experiment.search is not None
    return replace(experiment, search=replace(experiment.search, **changes))


def tiny_data() -> Any:
    """Images enough for a search whose training does not look at them."""
    images = np.arange(3 * 32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(3, 32, 32, 3)
    part = SimpleNamespace(images=images, labels=np.arange(3))
    return SimpleNamespace(
        train=part, validation=part, classes=SimpleNamespace(fine=("a", "b", "c")), digest="d"
    )


class Record:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.values: dict[int, Mapping[str, Value]] = {}
        self.epochs: dict[int, list[int]] = {}
        self.metrics: dict[tuple[int, int], Mapping[str, float]] = {}
        self.ended: dict[int, tuning.TrialResult] = {}

    def trial_started(self, number: int, values: Mapping[str, Value]) -> None:
        self.events.append(("start", number))
        self.values[number] = values

    def trial_epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        assert set(metrics) == {"train_loss", "train_accuracy", "val_loss", "val_accuracy"}
        self.epochs.setdefault(number, []).append(epoch)
        self.metrics[number, epoch] = metrics

    def trial_ended(self, number: int, trial: tuning.TrialResult) -> None:
        self.events.append(("end", number))
        self.ended[number] = trial


def run_search(
    directory: Path,
    *,
    experiment: Experiment = EXPERIMENT,
    workers: int = 1,
    train: worker.TrainTrial,
    listener: Any = None,
) -> tuning.SearchResult:
    return tuning.search(
        experiment,
        tiny_data(),
        directory=directory,
        workers=workers,
        listener=listener or Record(),
        train=train,
    )


# What trials run here; a trial's process finds them by name.


def report(job: Job, on_epoch: EpochListener, *, factor: float = 1.0) -> None:
    """Epochs whose accuracy rises with the filters, to a peak in the epoch before the last."""
    epochs = job.experiment.training.epochs
    for epoch in range(1, epochs + 1):
        height = float(job.experiment.model.settings["filters_1"]) / 100
        accuracy = factor * (height + epoch / 1000 if epoch < epochs else height)
        on_epoch(
            job.first_epoch + epoch,
            {
                "train_loss": 1.0,
                "train_accuracy": 0.5,
                "val_loss": 1 - accuracy,
                "val_accuracy": accuracy,
            },
        )
    if job.final_weights is not None:
        job.final_weights.write_text(str(job.number))


def later_trials_first(job: Job, on_epoch: EpochListener) -> None:
    time.sleep(0.0 if job.number % 2 else 0.6)
    report(job, on_epoch)


def odd_trials_fail(job: Job, on_epoch: EpochListener) -> None:
    """Each in another way; the even ones go well."""
    report(job, on_epoch, factor=float("nan") if job.number == 5 else 1.0)
    if job.number == 1:
        raise ZeroDivisionError("by zero")
    if job.number == 3:
        raise CifarTrackError("the loss became nan in epoch 1, step 3")
    if job.number == 7:
        os.write(2, b"the last words\n")
        os.kill(os.getpid(), signal.SIGKILL)
    if job.number == 9:
        os._exit(7)


def every_trial_fails(job: Job, on_epoch: EpochListener) -> None:
    raise ValueError(f"no luck in trial {job.number}")


def two_of_three_fail(job: Job, on_epoch: EpochListener) -> None:
    if job.number % 3 < 2:
        raise ValueError
    report(job, on_epoch)


def check_surroundings(job: Job, on_epoch: EpochListener) -> None:
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == os.environ["OMP_NUM_THREADS"]
    assert "tensorflow" not in sys.modules
    assert tempfile.gettempdir() == str(job.images)  # gone with the search
    train = worker.open_images(job.images, "train")
    assert isinstance(train.images.base, np.memmap)
    assert train.images.dtype == np.uint8
    assert not train.images.flags.writeable
    assert np.array_equal(train.images, tiny_data().train.images)
    assert job.classes == 3
    report(job, on_epoch)


def wait_after_trial_1(job: Job, on_epoch: EpochListener) -> None:
    report(job, on_epoch)
    if job.number > 1:
        (job.images.parent / f"waiting_{job.number}").write_text(str(os.getpid()))
        time.sleep(600)


# The space.


def test_ranges_hold_both_ends_and_exact_values() -> None:
    assert space.range_values(FloatRange(low=0.0, high=0.5, step=0.1)) == (
        0,
        0.1,
        0.2,
        0.3,
        0.4,
        0.5,
    )
    assert space.range_values(IntRange(low=32, high=128, step=32)) == (32, 64, 96, 128)
    assert space.range_values(Choice(("a", "b"))) == ("a", "b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {}}, "empty"),
        ({"space": {"model.filterz_1": Choice((1,))}}, "did you mean 'model.filters_1'"),
        ({"space": {"model.filters_1": Choice((0.5,))}}, "whole number"),
        ({"space": {"model.filters_1": Choice((4, 4))}}, "different"),
        ({"space": {"model.filters_1": Choice((4, "5"))}}, "one type"),
        ({"space": {"model.filters_1": IntRange(low=8, high=4)}}, "low <= high"),
        ({"space": {"optimizer.momentum": FloatRange(low=0, high=1, step=0.5)}}, "below 1"),
        ({"space": {"data.train_per_class": Choice((1, 2))}}, "same in every trial"),
        ({"space": {"training.epochs": Choice((1, 2))}, "tuner": "hyperband"}, "hyperband"),
    ],
)
def test_a_wrong_space_is_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(CifarTrackError, match=message) as caught:
        run_search(tmp_path, experiment=searching(**changes), train=report)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_page_without_a_search_is_refused() -> None:
    with pytest.raises(CifarTrackError, match="has no search"):
        tuning.planned_trials(replace(EXPERIMENT, search=None))


def test_no_two_trials_of_neighbouring_pages_share_a_seed() -> None:
    def seeds(seed: int) -> set[int]:
        page = replace(EXPERIMENT, training=replace(EXPERIMENT.training, seed=seed))
        trials = (tuning.trial_experiment(page, number=n, values={}) for n in range(20))
        return {seed, *(trial.training.seed for trial in trials)}

    # The page's own seed, which the refit of the best has, is no trial's.
    assert len(set.union(*map(seeds, range(20)))) == 20 * 21
    chosen = tuning.trial_experiment(EXPERIMENT, number=3, values={"training.seed": 9})
    assert chosen.training.seed == 9


def test_trials_may_see_plain_images_for_epochs_of_their_own() -> None:
    page = replace(
        searching(augmentation="none", trial_epochs=2), augmentation=Augmentation(rotation=20.0)
    )
    trial = tuning.trial_experiment(page, number=0, values={})
    assert (trial.augmentation, trial.training.epochs) == (Augmentation(), 2)
    trial = tuning.trial_experiment(
        searching(page, augmentation="page", trial_epochs=0), number=0, values={}
    )
    assert (trial.augmentation.rotation, trial.training.epochs) == (20.0, 3)


@pytest.mark.parametrize("epochs", [1, 2, 3, 8, 9, 20, 27, 30])
def test_planned_trials_counts_hyperbands_as_keras_tuner_makes_them(epochs: int) -> None:
    from cifar_track.tuning.oracle import build_oracle

    experiment = searching(
        tuner="hyperband", space={"model.dense_units": IntRange(low=1, high=10_000)}
    )
    experiment = replace(experiment, training=Training(epochs=epochs))
    oracle = build_oracle(experiment)
    brackets = range(oracle._get_num_brackets())
    expected = sum(oracle._get_size(b, r) for b in brackets for r in range(b + 1))
    assert tuning.planned_trials(experiment) == expected


def test_booleans_and_texts_come_back_in_the_pages_types(tmp_path: Path) -> None:
    chosen = {
        "model.batch_normalization": Choice((True, False)),
        "optimizer.name": Choice(("adam", "sgd")),
        "optimizer.momentum": Choice((0,)),
    }
    experiment = searching(space=chosen, tuner="grid", trials=10)
    result = run_search(tmp_path, experiment=experiment, workers=2, train=report)
    assert [tuple(trial.values.values()) for trial in result.trials] == [
        (True, "adam", 0.0), (True, "sgd", 0.0), (False, "adam", 0.0), (False, "sgd", 0.0)
    ]  # fmt: skip
    assert all(type(trial.values["model.batch_normalization"]) is bool for trial in result.trials)
    assert all(type(trial.values["optimizer.momentum"]) is float for trial in result.trials)


# A search that goes well.


def test_a_search_reports_each_trial_as_it_happens(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    record = Record()
    result = run_search(tmp_path, train=report, listener=record)
    assert record.events == [(kind, n) for n in range(4) for kind in ("start", "end")]
    assert record.epochs == {number: [1, 2, 3] for number in range(4)}
    assert result.trials == tuple(record.ended[n] for n in range(4))
    assert [trial.values for trial in result.trials] == [record.values[n] for n in range(4)]
    for trial in result.trials:
        assert trial.status == "completed"
        assert (trial.best_epoch, trial.epochs, trial.error) == (2, 3, None)
        assert trial.score == pytest.approx(float(trial.values["model.filters_1"]) / 100 + 0.002)
        assert trial.seconds > 0
        assert trial.cpu_seconds > 0
    assert result.best.score == max(trial.score or 0 for trial in result.trials)
    assert "rial" not in "".join(capfd.readouterr())
    assert {file.name for file in tmp_path.iterdir()} <= {"search.json", "search.lock"}


def test_the_lowest_loss_is_best_where_loss_is_the_objective(tmp_path: Path) -> None:
    experiment = searching(objective="val_loss", trials=2)
    result = run_search(tmp_path, experiment=experiment, train=report)
    assert result.best.score == min(trial.score or 9 for trial in result.trials)
    assert result.best.best_epoch == 2


def test_values_and_results_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    experiment = searching(trials=5)
    alone = run_search(tmp_path / "alone", experiment=experiment, train=report)
    together = run_search(
        tmp_path / "together", experiment=experiment, workers=3, train=later_trials_first
    )
    timeless = [
        [replace(trial, seconds=0, cpu_seconds=0) for trial in result.trials]
        for result in (alone, together)
    ]
    assert timeless[0] == timeless[1]
    assert [trial.number for trial in alone.trials] == list(range(5))
    assert len({tuple(trial.values.values()) for trial in alone.trials}) == 5


def proposed(experiment: Experiment) -> list[Mapping[str, Value]]:
    """What an oracle of its own proposes for every trial, none having been run."""
    from cifar_track.tuning import oracle

    with tempfile.TemporaryDirectory() as folder, oracle.quiet():
        proposing = oracle.build_oracle(experiment)
        proposing.prepare(Path(folder) / "search.json", {})
        trials = [
            proposing.create_trial(str(number))
            for number in range(tuning.planned_trials(experiment))
        ]
        return [oracle.space_values(trial) for trial in trials]


def test_seeds_draw_different_searches_and_zero_repeats() -> None:
    seeds = (0, 1, 2, 2**31 - 1)
    pages = [replace(EXPERIMENT, training=Training(seed=seed)) for seed in seeds]
    assert proposed(pages[0]) == proposed(pages[0])
    assert len({json.dumps(proposed(page)) for page in pages}) == len(seeds)


def test_workers_run_at_once(tmp_path: Path) -> None:
    record = Record()
    run_search(tmp_path, workers=2, train=later_trials_first, listener=record)
    assert record.events[:2] == [("start", 0), ("start", 1)]
    assert record.events[2] == ("end", 1)


def test_a_grid_is_tried_whole(tmp_path: Path) -> None:
    space_ = {"model.filters_1": IntRange(low=4, high=8, step=4), "model.kernel_1": Choice((3, 5))}
    experiment = searching(tuner="grid", trials=99, space=space_)
    record = Record()
    result = run_search(
        tmp_path, experiment=experiment, workers=4, train=later_trials_first, listener=record
    )
    tried = [tuple(trial.values.values()) for trial in result.trials]
    assert tried == list(itertools.product((4, 8), (3, 5)))
    assert [kind for kind, _ in record.events[:4]] == ["start"] * 4


def test_bayesian_search_uses_what_it_learned_and_repeats_itself(tmp_path: Path) -> None:
    experiment = searching(
        tuner="bayesian", trials=3, space={"model.filters_1": IntRange(low=1, high=64)}
    )
    first, second = (
        run_search(tmp_path / name, experiment=experiment, train=report) for name in ("a", "b")
    )
    assert [t.values for t in first.trials] == [t.values for t in second.trials]
    assert len(first.trials) == 3


def test_hyperband_continues_its_best_trials(tmp_path: Path) -> None:
    record = Record()
    jobs = tmp_path / "search"
    experiment = searching(tuner="hyperband")
    result = run_search(jobs, experiment=experiment, workers=2, train=report, listener=record)
    assert len(result.trials) == tuning.planned_trials(experiment)
    continued = {n: epochs for n, epochs in record.epochs.items() if epochs[0] > 1}
    assert continued
    assert all(epochs == [2, 3] for epochs in continued.values())
    for number in continued:
        assert result.trials[number].epochs == 3
        assert any(
            trial.values == result.trials[number].values and trial.epochs == 1
            for trial in result.trials[:number]
        )
    assert not list(jobs.glob("*.h5"))


def test_a_trials_process_has_its_threads_and_maps_the_images(tmp_path: Path) -> None:
    before = dict(os.environ)
    result = run_search(
        tmp_path, experiment=searching(trials=2), workers=2, train=check_surroundings
    )
    assert {trial.status for trial in result.trials} == {"completed"}
    assert dict(os.environ) == before


# Trials that go wrong.


def test_a_failed_trial_says_why_and_the_others_go_on(tmp_path: Path) -> None:
    result = run_search(tmp_path, experiment=searching(trials=10), workers=2, train=odd_trials_fail)
    assert [trial.status for trial in result.trials] == ["completed", "failed"] * 5
    assert all((t.score, t.best_epoch) == (None, None) for t in result.trials[1::2])
    assert result.best.number % 2 == 0
    errors = {trial.number: trial.error or "" for trial in result.trials}
    assert errors[1].startswith("Traceback")
    assert errors[1].endswith("ZeroDivisionError: by zero\n")
    assert errors[3] == "the loss became nan in epoch 1, step 3"
    assert errors[5] == "val_accuracy was not a number in any of 3 epochs"
    assert errors[7].startswith("the last words\n")
    assert errors[7].endswith("was killed by SIGKILL; the machine may be out of memory")
    assert errors[9] == "the trial's process ended with exit code 7 before its trial did"
    logs = {file.name for file in tmp_path.glob("*.log")}
    assert logs == {f"trial_{number}.log" for number in (1, 3, 7, 9)}


def test_three_failures_in_a_row_end_the_search(tmp_path: Path) -> None:
    record = Record()
    with pytest.raises(CifarTrackError, match="3 trials in a row failed; the last, trial 2: Value"):
        run_search(tmp_path, train=every_trial_fails, listener=record)
    assert [trial.status for trial in record.ended.values()] == ["failed"] * 3
    # Called again, it goes on with the trials that are left, and then has none to choose from.
    again = Record()
    with pytest.raises(CifarTrackError, match=r"none of 4 trials was completed.*trial 3"):
        run_search(tmp_path, train=every_trial_fails, listener=again)
    assert again.events == [("start", 3), ("end", 3)]


def test_two_failures_in_a_row_do_not(tmp_path: Path) -> None:
    result = run_search(tmp_path, train=two_of_three_fail)
    assert [t.status for t in result.trials] == ["failed", "failed", "completed", "failed"]


@pytest.mark.parametrize(
    ("tuner", "stop"),
    [
        ("random", signal.SIGTERM),
        pytest.param("bayesian", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_search_stops_its_trials_and_can_go_on(
    tuner: str, stop: signal.Signals, tmp_path: Path
) -> None:
    class Stopping(Record):
        def trial_epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
            super().trial_epoch(number, epoch, metrics)
            if number == 3 and epoch == 1:
                signal.raise_signal(stop)

    experiment = searching(tuner=tuner)
    record = Stopping()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run_search(
            tmp_path,
            experiment=experiment,
            workers=2,
            train=wait_after_trial_1,
            listener=record,
        )
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert {n: trial.status for n, trial in record.ended.items()} == {
        0: "completed", 1: "completed", 2: "stopped", 3: "stopped"
    }  # fmt: skip
    assert not [p for p in psutil.Process().children() if "spawn_main" in "".join(p.cmdline())]
    assert not (tmp_path / "images").exists()
    resumed = Record()
    result = run_search(tmp_path, experiment=experiment, workers=2, train=report, listener=resumed)
    assert [n for kind, n in resumed.events if kind == "start"] == [2, 3]
    assert {n: resumed.values[n] for n in (2, 3)} == {n: record.values[n] for n in (2, 3)}
    assert [trial.status for trial in result.trials] == ["completed"] * 4


# A search that is killed, and goes on.

SCRIPT = """
import sys
from pathlib import Path
import test_tuning
class Listener(test_tuning.Record):
    def trial_ended(self, number, trial):
        super().trial_ended(number, trial)
        print("ended", number, trial.status, flush=True)
if __name__ == "__main__":
    experiment = test_tuning.searching(tuner=sys.argv[2], trials=5)
    test_tuning.run_search(
        Path(sys.argv[1]), experiment=experiment, workers=2,
        train=test_tuning.wait_after_trial_1, listener=Listener(),
    )
"""


@pytest.fixture
def start_search(tmp_path: Path) -> Iterator[Any]:
    started: list[subprocess.Popen[str]] = []
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def start(directory: Path, tuner: str = "random") -> subprocess.Popen[str]:
        paths = os.pathsep.join([str(REPOSITORY), str(Path(__file__).parent)])
        process = subprocess.Popen(
            [sys.executable, script, directory, tuner],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        deadline = time.monotonic() + 60
        while len(list(directory.glob("waiting_*"))) < 2 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def waiting_processes(directory: Path) -> list[int]:
    return [int(file.read_text()) for file in directory.glob("waiting_*")]


def assert_gone(processes: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(process) for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    "tuner",
    [
        "random",
        *(pytest.param(t, marks=pytest.mark.slow) for t in ("grid", "bayesian", "hyperband")),
    ],
)
def test_a_killed_search_goes_on_where_it_stopped(
    tuner: str, tmp_path: Path, start_search: Any
) -> None:
    directory = tmp_path / "search"
    process = start_search(directory, tuner)
    processes = waiting_processes(directory)
    process.kill()
    process.communicate()
    assert_gone(processes)

    record = Record()
    experiment = searching(tuner=tuner, trials=5)
    result = run_search(directory, experiment=experiment, train=report, listener=record)
    planned = tuning.planned_trials(experiment)
    assert [trial.number for trial in result.trials] == list(range(planned))
    assert [n for kind, n in record.events if kind == "start"] == list(range(2, planned))
    if tuner in ("random", "grid"):
        assert [trial.values for trial in result.trials] == proposed(experiment)
    # And once it is over, the same call gives the same result at once.
    assert run_search(directory, experiment=experiment, train=every_trial_fails) == result


def test_a_directory_serves_one_search_at_a_time(tmp_path: Path) -> None:
    with state.locked(tmp_path), pytest.raises(CifarTrackError, match="another process is search"):
        run_search(tmp_path, train=report)


def test_an_end_that_was_saved_and_not_heard_is_reported_again(tmp_path: Path) -> None:
    class Failing(Record):
        def trial_ended(self, number: int, trial: tuning.TrialResult) -> None:
            super().trial_ended(number, trial)
            if number == 1:
                raise ConnectionError

    with pytest.raises(ConnectionError):
        run_search(tmp_path, train=report, listener=Failing())
    record = Record()
    result = run_search(tmp_path, train=report, listener=record)
    assert record.events[:2] == [("end", 1), ("start", 2)]
    assert len(result.trials) == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (searching(trials=5), "its search.trials is 1, not 5"),
        (searching(trials=1, tuner="grid"), "search.tuner is 'random', not 'grid'"),
        (
            searching(trials=1, space={"model.kernel_1": Choice((3, 5))}),
            "search.space.model.filters_1",
        ),
        (
            replace(searching(trials=1), training=Training()),
            "its training.epochs is 3, not 20",
        ),
    ],
)
def test_another_search_in_the_directory_is_refused(
    changed: Experiment, message: str, tmp_path: Path, finished: Path
) -> None:
    with pytest.raises(CifarTrackError, match=message):
        run_search(finished, experiment=changed, train=report)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("finished")
    run_search(directory, experiment=searching(trials=1), train=report)
    return directory


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}'])
def test_a_damaged_state_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "search.json").write_text(text)
    with pytest.raises(CifarTrackError, match=r"can't be read.*to start anew"):
        run_search(tmp_path, train=report)


# What the machine carries.


def test_workers_follow_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "devices", lambda: ())
    monkeypatch.setattr(resources, "usable_cores", lambda: 8)
    monkeypatch.setattr(resources, "free_memory", lambda: 7 * 2**30)
    assert tuning.default_workers() == 3
    monkeypatch.setattr(resources, "free_memory", lambda: 0)
    assert tuning.default_workers() == 1
    monkeypatch.setattr(resources, "devices", lambda: ("0", "1"))
    assert tuning.default_workers() == 2


def test_control_groups_limit_cores_and_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000")
    (tmp_path / "memory.max").write_text("3000000")
    (tmp_path / "memory.current").write_text("1000000")
    monkeypatch.setattr(resources, "_control_groups", lambda controller: [tmp_path])
    assert resources.usable_cores() == 1
    assert resources.free_memory() == 2_000_000
    # As Kubernetes reckons: the page cache that nobody has used twice can be had.
    (tmp_path / "memory.stat").write_text("anon 300000\ninactive_file 600000\nactive_file 50000\n")
    assert resources.free_memory() == 2_600_000
    (tmp_path / "cpu.max").write_text("max 100000")
    (tmp_path / "memory.max").write_text("max")
    assert resources.usable_cores() == len(os.sched_getaffinity(0))
    assert resources.free_memory() > 2_600_000
    version_1 = {"limit_in_bytes": "3000000", "usage_in_bytes": "1000000"}
    for name, text in {**version_1, "stat": "inactive_file 5\ntotal_inactive_file 70000\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert resources.free_memory() == 2_070_000


def test_no_devices_where_none_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_nvidia_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert resources.devices() == ()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert resources.devices() == ()


def test_each_worker_has_its_threads_and_its_device() -> None:
    environment = resources.worker_environment(threads=3, device="GPU-1")
    assert environment["TF_NUM_INTRAOP_THREADS"] == "3"
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-1"
    assert "CUDA_VISIBLE_DEVICES" not in resources.worker_environment(threads=3, device=None)


def test_workers_that_share_out_all_cores_keep_to_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resources, "devices", lambda: ())
    monkeypatch.setattr(resources, "_control_groups", lambda controller: [])
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {7, 2, 5, 4})

    def cores(workers: int, threads: int) -> list[tuple[int, ...]]:
        return [
            resources.worker_cores(slot, workers=workers, threads=threads)
            for slot in range(workers)
        ]

    assert cores(4, 1) == [(2,), (4,), (5,), (7,)]
    assert cores(2, 2) == [(2, 4), (5, 7)]
    # Who leaves cores over, has more threads than cores or is alone, goes where there is room.
    assert cores(3, 1) == [(), (), ()]
    assert cores(8, 1) == [()] * 8
    assert cores(1, 4) == [()]
    monkeypatch.setattr(resources, "devices", lambda: ("0",))
    assert cores(4, 1) == [()] * 4
    monkeypatch.setattr(resources, "devices", lambda: ())
    monkeypatch.setattr(resources, "usable_cores", lambda: 2)  # a quota on time
    assert cores(4, 1) == [()] * 4


def tell_cores(job: Job, on_epoch: EpochListener) -> None:
    report(job, on_epoch)
    own = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    (job.images.parent / f"cores_{job.number}").write_text(own)


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or resources.usable_cores() < 2,
    reason="needs two cores to share out",
)
def test_two_workers_on_two_cores_run_on_one_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = set(sorted(os.sched_getaffinity(0))[:2])
    monkeypatch.setattr(resources, "devices", lambda: ())
    monkeypatch.setattr(resources, "_control_groups", lambda controller: [])
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: pair)
    run_search(tmp_path, experiment=searching(trials=4), train=tell_cores, workers=2)
    told = {file.read_text() for file in tmp_path.glob("cores_*")}
    assert told == {str(core) for core in pair}


def test_a_search_does_not_need_the_main_thread(tmp_path: Path) -> None:
    results: list[tuning.SearchResult] = []
    thread = threading.Thread(
        target=lambda: results.append(
            run_search(tmp_path, experiment=searching(trials=1), train=report)
        )
    )
    thread.start()
    thread.join(60)
    assert len(results[0].trials) == 1


# The real thing.


def test_a_real_search_trains_and_chooses(tmp_path: Path) -> None:
    from cifar_track.data import load_dataset

    experiment = searching(trials=1)
    record = Record()
    result = tuning.search(
        replace(experiment, training=replace(experiment.training, epochs=2)),
        load_dataset(experiment.data),
        directory=tmp_path,
        workers=2,
        listener=record,
    )
    assert result.best.status == "completed"
    assert result.best.score is not None
    assert 0 <= result.best.score <= 1
    assert record.epochs == {0: [1, 2]}


@pytest.mark.slow
def test_a_real_hyperband_search_hands_weights_on(tmp_path: Path) -> None:
    from cifar_track.data import load_dataset

    experiment = searching(tuner="hyperband")
    result = tuning.search(
        experiment,
        load_dataset(experiment.data),
        directory=tmp_path,
        workers=2,
        listener=Record(),
    )
    assert {trial.status for trial in result.trials} == {"completed"}
    assert {trial.epochs for trial in result.trials} == {1, 3}


@pytest.mark.slow
def test_a_deterministic_search_is_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    from cifar_track.data import load_dataset

    settings = replace(EXPERIMENT.training, deterministic=True, epochs=2)
    experiment = replace(searching(trials=2), training=settings)
    data = load_dataset(experiment.data)
    records = [Record(), Record()]
    for workers, record in enumerate(records, start=1):
        tuning.search(
            experiment, data, directory=tmp_path / str(workers), workers=workers, listener=record
        )
    assert len(records[0].metrics) == 4
    assert records[0].metrics == records[1].metrics


def test_the_studys_page_can_be_searched() -> None:
    assert tuning.planned_trials(load_experiment("tune")) == 5
