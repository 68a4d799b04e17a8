"""The project as `mlflow run` runs it, in whole processes: names, two commands, signals."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest

from cifar_track.config import DATASETS

pytestmark = pytest.mark.slow

EXPERIMENT = DATASETS["procedural"].experiment
REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT_FILES = ("MLproject", "conda.yaml", "cifar_track", "experiments")
IMAGES = "data.train_per_class=5 data.validation_per_class=2 data.test_per_class=2"
SEARCH = ("tune", "-P", "trials=3", "-P", "epochs=2")
FIT = ("baseline", "-P", "epochs=1")
# Of the lines that such a search tells, about twenty.
MOMENTS = (1, 3, 5, 9, 13, 16)
MINUTES = 60.0


@pytest.fixture
def project(sqlite_store):
    """A copy of the project in the working folder, beside its store."""
    for name in PROJECT_FILES:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / name, name)
    return Path.cwd()


def begin(entry_point, *options):
    """A process that runs `mlflow run`, in a group of its own as in a terminal."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    }
    common = ("--env-manager", "local", "-P", "dataset=procedural", "-P", f"set={IMAGES}")
    return subprocess.Popen(
        [sys.executable, "-m", "mlflow", "run", ".", *common, "-e", entry_point, *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(entry_point, *options):
    """What `mlflow run` tells when it runs through."""
    process = begin(entry_point, *options)
    told, _ = process.communicate(timeout=10 * MINUTES)
    assert process.returncode == 0, told
    return told


def runs_of(experiment):
    """The runs of an experiment that are not in the trash; none where there is no experiment."""
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(experiment)
    return [] if found is None else list(client.search_runs([found.experiment_id]))


def tagged(runs, **tags):
    """Those of the runs that carry these tags of the program's."""
    return [
        run
        for run in runs
        if all(run.data.tags.get(f"cifar_track.{name}") == value for name, value in tags.items())
    ]


def untrue_statuses():
    """What is said of a run that is over, and is not so."""
    runs = runs_of(EXPERIMENT)
    open_still = [run for run in [*runs, *runs_of("Default")] if run.info.status == "RUNNING"]
    not_whole = [
        run
        for run in tagged(runs, kind="iteration")
        if run.info.status == "FINISHED"
        and not ("test_accuracy" in run.data.metrics and "cifar_track.model_uri" in run.data.tags)
    ] + [
        run
        for run in tagged(runs, kind="trial")
        if run.info.status == "FINISHED" and "val_accuracy" not in run.data.metrics
    ]
    return [(run.info.run_name, run.info.status) for run in open_still + not_whole]


@pytest.mark.parametrize("lines", MOMENTS)
def test_ctrl_c_leaves_statuses_that_are_true_and_the_same_command_goes_on(project, lines):
    """As a terminal sends it: to `mlflow run` and to all that it started, at once."""
    process = begin(*SEARCH)
    before_it = "".join(process.stdout.readline() for _ in range(lines))
    delay = random.uniform(0, 3)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    told, _ = process.communicate(timeout=2 * MINUTES)
    moment = f"{delay:.2f} s after line {lines}: {before_it}{told}"
    assert before_it.count("\n") == lines, moment
    assert process.returncode != 0, moment
    assert untrue_statuses() == [], moment
    [before] = tagged(runs_of(EXPERIMENT), kind="iteration") or [None]
    if before is not None:
        assert before.info.status == "KILLED", moment

    again = run(*SEARCH)
    [search] = tagged(runs_of(EXPERIMENT), kind="iteration")
    assert before is None or search.info.run_id == before.info.run_id, moment + again
    assert search.info.status == "FINISHED", moment + again
    trials = tagged(runs_of(EXPERIMENT), kind="trial")
    assert sorted(trial.data.tags["cifar_track.trial"] for trial in trials) == ["0", "1", "2"]
    assert {trial.info.status for trial in trials} == {"FINISHED"}, moment + again
    assert untrue_statuses() == [], moment + again
    [model] = mlflow.MlflowClient().search_logged_models([search.info.experiment_id])
    assert model.status == "READY"


def test_sigterm_to_mlflow_run_alone_ends_what_it_started(project):
    process = begin(*SEARCH)
    for line in process.stdout:
        if "trial 0" in line:
            break
    process.terminate()
    process.communicate(timeout=2 * MINUTES)  # until all that writes to the pipe has ended
    [search] = tagged(runs_of(EXPERIMENT), kind="iteration")
    assert search.info.status == "KILLED"
    assert untrue_statuses() == []


@pytest.mark.parametrize("options", [(), ("--experiment-name", EXPERIMENT)])
def test_a_name_that_was_given_is_kept(project, options):
    run(*FIT, "--run-name", "my named run", *options)
    [iteration] = tagged(runs_of(EXPERIMENT), kind="iteration")
    assert iteration.info.run_name == "my named run"
    assert [run.info.run_name for run in runs_of("Default")] == ["my named run"] * (not options)


@pytest.mark.parametrize("options", [(), ("--experiment-name", EXPERIMENT)])
def test_a_second_command_of_an_entry_point_leaves_the_run_of_the_first(project, options):
    both = (
        "python -m cifar_track train --experiment baseline --dataset procedural --epochs 1 "
        f"--set '{IMAGES}' && python -m cifar_track compare --dataset procedural"
    )
    Path("MLproject").write_text(f'name: twice\nentry_points:\n  both: {{command: "{both} #"}}\n')
    run("both", *options)
    runs = runs_of(EXPERIMENT)
    [iteration], [comparison] = tagged(runs, kind="iteration"), tagged(runs, kind="comparison")
    assert {iteration.info.status, comparison.info.status} == {"FINISHED"}
    assert iteration.info.run_name == "baseline"
    assert comparison.data.tags["cifar_track.compared_runs"] == iteration.info.run_id
    assert untrue_statuses() == []
