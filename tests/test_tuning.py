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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from conftest import wait_for

from cifar_track import config, environment, tuning
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
from cifar_track.tuning import resources, space, state, stopping
from cifar_track.tuning.executors import EpochListener, Job
from cifar_track.tuning.executors import trial as worker
from cifar_track.tuning.jobs import Jobs, Kept

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


# Random search by default, the others where there is time.
TUNERS = [
    "random",
    *(pytest.param(t, marks=pytest.mark.slow) for t in ("grid", "bayesian", "hyperband")),
]


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
        self.starts: dict[int, tuning.TrialStart] = {}
        self.ended: dict[int, tuning.TrialResult] = {}

    def trial_started(self, trial: tuning.TrialStart) -> None:
        self.events.append(("start", trial.number))
        self.values[trial.number] = trial.values
        self.starts[trial.number] = trial

    def trial_restarted(self, number: int, reason: str) -> None:
        self.events.append(("again", number))

    def trial_epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        assert set(metrics) == {"train_loss", "train_accuracy", "val_loss", "val_accuracy"}
        self.epochs.setdefault(number, []).append(epoch)
        self.metrics[number, epoch] = metrics

    def notice(self, words: str) -> None:
        self.events.append((words, -1))

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
    recorded: Sequence[tuning.TrialRecord] = (),
) -> tuning.SearchResult:
    return tuning.search(
        experiment,
        tiny_data(),
        directory=directory,
        workers=workers,
        listener=listener or Record(),
        recorded=recorded,
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


def is_told_the_loss(job: Job, on_epoch: EpochListener) -> None:
    assert job.objective == "val_loss"  # by which the weights that it leaves are the best
    report(job, on_epoch)


def later_trials_first(job: Job, on_epoch: EpochListener) -> None:
    done = job.folder / "a later trial is done"
    if job.number % 2:
        report(job, on_epoch)
        done.touch()
        return
    wait_for(done.exists, what="the later trial")
    time.sleep(0.6)  # until its process has ended
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
        os.kill(os.getpid(), signal.SIGSEGV)
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
    train = job.open_images("train")
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
        (
            {
                "space": {
                    "optimizer.momentum": Choice((0.0, 0.9)),
                    "optimizer.nesterov": Choice((False, True)),
                }
            },
            "trials with optimizer.momentum=0.0, optimizer.nesterov=True: .* looks ahead",
        ),
        (
            {"space": {"augmentation.zoom": Choice((0.0, 0.1))}, "augmentation": "none"},
            "no trial sees it",
        ),
    ],
)
def test_a_wrong_space_is_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(CifarTrackError, match=message) as caught:
        run_search(tmp_path, experiment=searching(**changes), train=report)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_values_that_make_sense_together_are_a_space() -> None:
    still = replace(EXPERIMENT, optimizer=Optimizer(name="sgd"))
    ahead = {"optimizer.momentum": Choice((0.5, 0.9)), "optimizer.nesterov": Choice((True, False))}
    assert tuning.planned_trials(searching(still, space=ahead)) == 4


@pytest.mark.parametrize("tuner", ["random", "grid", "bayesian"])
def test_a_small_space_is_searched_whole_and_no_more(tuner: str) -> None:
    """As many trials as are planned, each combination once where the tuner knows what it tried."""
    # Here, for a trial's process imports this file, and is not to have Keras Tuner for it.
    from cifar_track.tuning.oracle import build_oracle, quiet

    space = {"model.filters_1": IntRange(low=4, high=16, step=4), "model.kernel_1": Choice((3, 5))}
    experiment = searching(trials=99, tuner=tuner, space=space)
    planned = tuning.planned_trials(experiment)
    assert planned == 4 * 2
    oracle = build_oracle(experiment)
    seen = []
    with quiet():
        while (trial := oracle.create_trial("one")).status == "RUNNING":
            seen.append(tuple(sorted(trial.hyperparameters.values.items())))
            if tuner == "bayesian" and len(seen) == 3:
                oracle.max_trials = 4  # the Gaussian process takes its time
            oracle.update_trial(trial.trial_id, {"val_accuracy": 0.5})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
    if tuner == "bayesian":
        assert len(seen) == 4
        assert build_oracle(experiment).max_trials == planned
    else:
        assert len(seen) == len(set(seen)) == planned


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
    assert {file.name for file in tmp_path.iterdir()} <= {
        "search.json",
        "search.previous.json",
        "search.lock",
    }


def test_the_lowest_loss_is_best_where_loss_is_the_objective(tmp_path: Path) -> None:
    experiment = searching(objective="val_loss", trials=2)
    result = run_search(tmp_path, experiment=experiment, train=is_told_the_loss)
    assert [trial.status for trial in result.trials] == ["completed"] * 2
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

    with oracle.quiet():
        proposing = oracle.build_oracle(experiment)
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


@pytest.mark.parametrize(("gone", "left"), [(0, 3), (2, 1), (3, 0), (4, 0)])
def test_hyperband_does_not_begin_the_epochs_of_the_head_again(
    tmp_path: Path, gone: int, left: int
) -> None:
    rate = {"training.head_epochs": 3, "training.head_learning_rate": 0.01}
    experiment = config.override(searching(tuner="hyperband"), rate)
    jobs = Jobs(experiment=experiment, folder=tmp_path, classes=3)
    jobs.weights(0).touch()
    proposal = {"tuner/epochs": 9, "tuner/initial_epoch": gone, "tuner/trial_id": "0000"}
    training = jobs.job(1, proposal, {}).experiment.training
    assert (training.epochs, training.head_epochs) == (9 - gone, left)


def test_a_trials_process_has_its_threads_and_maps_the_images(tmp_path: Path) -> None:
    from cifar_track.tuning.oracle import build_oracle

    experiment = searching(trials=2)
    environment.settle()  # as the program begins
    build_oracle(experiment)  # Keras and its tuner set variables of their own, once
    before = dict(os.environ)
    result = run_search(tmp_path, experiment=experiment, workers=2, train=check_surroundings)
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
    assert errors[7].endswith("was killed by SIGSEGV")
    assert errors[9] == "the trial's process ended with exit code 7 before its work was done"
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
        deadline = time.monotonic() + 240
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


@pytest.mark.parametrize("tuner", TUNERS)
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


def test_what_a_listener_raises_costs_no_trial(tmp_path: Path) -> None:
    class Failing(Record):
        def trial_ended(self, number: int, trial: tuning.TrialResult) -> None:
            if number == 1:
                raise ConnectionError("away")
            super().trial_ended(number, trial)

    record = Failing()
    with pytest.raises(ConnectionError, match="away"):
        run_search(tmp_path, workers=2, train=report, listener=record)
    assert set(record.ended) <= {0, 2}
    again = Record()  # what the first did not hear, in order; no trial runs again
    result = run_search(tmp_path, train=every_trial_fails, listener=again)
    assert again.events == [("end", n) for n in range(4) if n not in record.ended]
    assert [trial.status for trial in result.trials] == ["completed"] * 4


def test_a_listener_that_comes_back_hears_of_everything_in_order(tmp_path: Path) -> None:
    class Away(Record):
        left = 5

        def trial_epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
            self.left -= 1
            if self.left in range(3):
                raise ConnectionError
            super().trial_epoch(number, epoch, metrics)

    record = Away()
    run_search(tmp_path, train=report, listener=record)
    assert record.events == [(kind, n) for n in range(4) for kind in ("start", "end")]
    assert record.epochs == {number: [1, 2, 3] for number in range(4)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
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


# What is lost, and found again.


def kill_once(job: Job, on_epoch: EpochListener) -> None:
    """Trial 1 is killed from outside in its first attempt, trial 2 in each."""
    marker = job.folder / f"tried_{job.number}"
    report(job, on_epoch)
    if job.number == 2 or (job.number == 1 and not marker.exists()):
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_trial_that_was_killed_from_outside_is_tried_again(tmp_path: Path) -> None:
    experiment, record = searching(retries=1), Record()
    with pytest.raises(CifarTrackError, match=r"3 of 4 trials are over.*\(2\).*SIGKILL") as caught:
        run_search(tmp_path, experiment=experiment, train=kill_once, listener=record)
    assert "\n" not in str(caught.value)
    assert record.events == [
        *(("start", 0), ("end", 0)),
        *(("start", 1), ("again", 1), ("end", 1)),
        *(("start", 2), ("again", 2), ("end", 2)),
        *(("start", 3), ("end", 3)),
    ]
    assert [record.ended[n].status for n in range(4)] == [
        "completed", "completed", "killed", "completed"
    ]  # fmt: skip
    again = Record()
    result = run_search(tmp_path, experiment=experiment, train=report, listener=again)
    assert again.events == [("start", 2), ("end", 2)]
    assert again.values[2] == record.values[2]
    assert [trial.status for trial in result.trials] == ["completed"] * 4


def kill_always(job: Job, on_epoch: EpochListener) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_kills_are_no_failures_in_a_row(tmp_path: Path) -> None:
    record = Record()
    with pytest.raises(CifarTrackError, match="0 of 4 trials are over"):
        run_search(tmp_path, experiment=searching(retries=0), train=kill_always, listener=record)
    assert [trial.status for trial in record.ended.values()] == ["killed"] * 4


def damage(directory: Path, kind: str) -> None:
    """Do to a search's folder what a disk, a person or an editor may do."""
    file = directory / "search.json"
    state_ = json.loads(file.read_text())
    if kind == "score":
        state_["trials"][0]["result"]["score"] = 0.99
    elif kind == "key":
        del state_["told"]
    elif kind == "result":
        state_["trials"][0]["result"] = None
    elif kind == "version":
        state_["version"] = 99
    file.write_text(json.dumps(state_))
    if kind in ("empty", "half"):
        text = file.read_text()
        file.write_text(text[: len(text) // 2] if kind == "half" else "")
    elif kind == "folder":
        file.unlink()
        file.mkdir()


@pytest.mark.parametrize(
    "kind",
    [
        *("score", "half"),
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("key", "result", "version", "empty", "folder")
        ),
    ],
)
def test_a_damaged_state_is_not_believed_and_not_missed(kind: str, tmp_path: Path) -> None:
    whole = run_search(tmp_path, train=report)
    damage(tmp_path, kind)
    record = Record()
    result = run_search(tmp_path, train=every_trial_fails, listener=record)
    assert result == whole
    assert record.events in ([], [("end", 3)])  # the copy may not know that the last was told


@pytest.mark.parametrize("tuner", TUNERS)
def test_a_search_whose_folder_is_gone_is_rebuilt_from_its_record(
    tuner: str, tmp_path: Path
) -> None:
    experiment, record = searching(tuner=tuner, trials=6), Record()
    whole = run_search(tmp_path / "a", experiment=experiment, train=report, listener=record)
    planned = len(whole.trials)
    # What MLflow has of it: all but one of the last trials ended, and its proposal is known.
    recorded = [
        tuning.TrialRecord(
            number=n,
            proposal=dict(record.starts[n].proposal),
            result=None if n == planned - 2 else record.ended[n],
        )
        for n in range(planned - 1)
    ]
    again = Record()
    result = run_search(
        tmp_path / "b", experiment=experiment, train=report, listener=again, recorded=recorded
    )
    assert [n for kind, n in again.events if kind == "start"] == [planned - 2, planned - 1]
    assert [(t.values, t.score) for t in result.trials] == [
        (t.values, t.score) for t in whole.trials
    ]


def test_a_trial_that_is_lost_is_proposed_again(tmp_path: Path) -> None:
    record = Record()
    whole = run_search(tmp_path / "a", train=report, listener=record)
    recorded = [
        tuning.TrialRecord(
            number=n, proposal=dict(record.starts[n].proposal), result=record.ended[n]
        )
        for n in (0, 2, 3)
    ]
    again = Record()
    result = run_search(tmp_path / "b", train=report, listener=again, recorded=recorded)
    assert [n for kind, n in again.events if kind == "start"] == [1]
    assert [t.values for t in result.trials] == [t.values for t in whole.trials]


@pytest.mark.parametrize("tuner", TUNERS)
def test_a_search_goes_on_from_the_trials_it_has(tuner: str, tmp_path: Path) -> None:
    few, many = (searching(tuner=tuner, trials=n) for n in (5, 12))
    before = run_search(tmp_path, experiment=few, train=report)
    record = Record()
    after = run_search(tmp_path, experiment=many, train=report, listener=record)
    assert after.trials[: len(before.trials)] == before.trials
    started = [n for kind, n in record.events if kind == "start"]
    # Hyperband makes the trials of its brackets, whatever it is told.
    assert started == ([] if tuner == "hyperband" else list(range(5, 12)))
    if tuner in ("random", "grid"):
        assert [t.values for t in after.trials] == proposed(many)
    fewer = run_search(tmp_path, experiment=searching(tuner=tuner, trials=3), train=report)
    assert len(fewer.trials) == (len(before.trials) if tuner == "hyperband" else 3)


def test_a_lock_that_can_not_be_had_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "search.lock").mkdir()
    with pytest.raises(CifarTrackError, match=r"search\.lock can't be locked") as caught:
        run_search(tmp_path, train=report)
    assert "\n" not in str(caught.value)


# Trials that end early.


def test_the_median_rule_as_vizier_states_it() -> None:
    """Golovin et al. 2017, worked by hand."""
    completed = {0: (0.125, 0.25), 1: (0.25, 0.5), 4: (0.375, 0.875)}
    # Running averages after two epochs: 0.1875, 0.375 and 0.625; the median is 0.375.
    assert stopping.median_verdict((0.125, 0.25), completed, maximize=True) == (
        "after epoch 2 its best, 0.2500, was worse than 0.3750, the median of the running averages "
        "of trials 0, 1, 4"
    )
    assert stopping.median_verdict((0.375, 0.125), completed, maximize=True) is None  # as good
    assert stopping.median_verdict((0.26,), completed, maximize=True) is None
    assert stopping.median_verdict((0.5, 0.5), completed, maximize=False) is not None
    assert stopping.median_verdict((0.0,), {0: (1.0,), 1: (1.0,)}, maximize=True) is None


def worse_and_worse(job: Job, on_epoch: EpochListener) -> None:
    for epoch in range(1, job.experiment.training.epochs + 1):
        accuracy = (10 - job.number) / 100 + epoch / 1000
        names = ("train_loss", "train_accuracy", "val_loss")
        on_epoch(epoch, {**dict.fromkeys(names, 0.5), "val_accuracy": accuracy})
        time.sleep(0.05 if job.number < 3 else 1.0)
    if job.final_weights is not None:
        job.final_weights.write_text(str(job.number))


def test_poor_trials_end_early_and_are_no_failures(tmp_path: Path) -> None:
    experiment, record = searching(stop="median", trials=7, keep=5), Record()
    result = run_search(tmp_path, experiment=experiment, train=worse_and_worse, listener=record)
    assert [trial.status for trial in result.trials] == ["completed"] * 7
    assert [trial.epochs for trial in result.trials] == [3, 3, 3, 1, 1, 1, 1]
    assert "median of the running averages of trials 0, 1, 2" in result.trials[3].stopped_early
    assert result.trials[0].stopped_early is None
    assert result.best.number == 0
    # Those that were stopped early have no weights of the epoch that they are judged by.
    assert [(trial.number, file.read_text()) for trial, file in result.kept] == [
        (0, "0"), (1, "1"), (2, "2")
    ]  # fmt: skip


def test_a_trial_took_what_its_checkpoint_had_taken_and_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cifar_track.tuning import scheduler

    monkeypatch.setattr(scheduler, "kept_course", lambda _: Kept(1, 1000.0, 500.0))
    record = Record()
    result = run_search(tmp_path, experiment=searching(trials=1), train=report, listener=record)
    assert record.starts[0].finished_epochs == 1
    assert 1000 < result.best.seconds < 1100
    assert 500 < result.best.cpu_seconds < 600


def test_hyperband_does_not_take_another_rule(tmp_path: Path) -> None:
    with pytest.raises(CifarTrackError, match="not for hyperband"):
        run_search(tmp_path, experiment=searching(tuner="hyperband", stop="median"), train=report)


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


@pytest.mark.slow
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
