"""Runs whose process is gone, and runs that `mlflow run` opened for nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import mlflow
import psutil
import pytest

from cifar_track import config, tracking
from cifar_track.tracking import process

REPOSITORY = Path(__file__).resolve().parent.parent
NO_SUCH_PROCESS = str(2**22 + 1)  # past the highest number that Linux gives
HOUR = 3_600_000


@pytest.fixture
def client(sqlite_store):
    tracking.open_store()
    return mlflow.MlflowClient()


def open_run(client, *, hours_ago=0.0, **tags):
    return client.create_run(
        "0",
        start_time=int(time.time() * 1000 - hours_ago * HOUR),
        tags={f"cifar_track.{name}": value for name, value in tags.items()},
    ).info.run_id


def open_launch(client, *, hours_ago, source=str(process.PROJECT_DIRECTORY), user=None):
    return client.create_run(
        "0",
        start_time=int(time.time() * 1000 - hours_ago * HOUR),
        tags={
            "mlflow.source.type": "PROJECT",
            "mlflow.source.name": source,
            "mlflow.project.entryPoint": "tune",
            "mlflow.user": user or process.user_name(),
        },
    ).info.run_id


def of_this_process(**changed):
    identity = {name.partition(".")[2]: value for name, value in process.identity_tags().items()}
    return {**identity, **changed}


def read(run_id):
    return mlflow.MlflowClient().get_run(run_id)


def test_a_run_whose_process_lives_is_left_alone(client):
    with tracking.start_run(dataset_name="cifar100", name="alive", kind="study"):
        assert tracking.find_abandoned() == []


def test_a_run_whose_process_is_gone_is_ended_at_its_last_sign_of_life(client):
    run_id = open_run(client, hours_ago=5, **of_this_process(pid=NO_SUCH_PROCESS))
    last = int(time.time() * 1000 - 4 * HOUR)
    client.log_metric(run_id, "val_accuracy", 0.5, timestamp=last, step=1)
    (found,) = tracking.find_abandoned()
    assert (found.run_id, found.status) == (run_id, "KILLED")
    assert read(run_id).info.status == "RUNNING"  # finding changes nothing
    assert tracking.mend([found]) == [found]
    mended = read(run_id)
    assert (mended.info.status, mended.info.end_time) == ("KILLED", last)
    assert "is gone" in mended.data.tags["cifar_track.mended"]
    assert tracking.find_abandoned() == []
    assert tracking.mend([found]) == []


@pytest.mark.parametrize("since_boot", ["another boot 4711", None])
def test_another_process_with_the_same_number_is_not_the_one(client, since_boot):
    tags = of_this_process(process_started="1000.00")
    if since_boot is None:  # as of a system that does not tell
        del tags["process_since_boot"]
    else:
        tags["process_since_boot"] = since_boot
    run_id = open_run(client, **tags)
    assert [found.run_id for found in tracking.find_abandoned()] == [run_id]


def test_a_clock_that_is_set_makes_no_process_another(client, monkeypatch):
    tags, mine = process.identity_tags(), of_this_process()
    create_time = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: create_time(self) + 60)
    assert process.is_alive(tags)
    open_run(client, **mine)
    assert tracking.find_abandoned() == []


def test_a_run_of_another_host_is_told_and_never_touched(client):
    run_id = open_run(client, **of_this_process(host="another", pid=NO_SUCH_PROCESS))
    (found,) = tracking.find_abandoned()
    assert found.status is None
    assert "another" in found.reason
    assert tracking.mend([found]) == []
    assert read(run_id).info.status == "RUNNING"


def test_a_launch_that_started_nothing_is_mended_after_a_while(client):
    origin = f"file://{process.PROJECT_DIRECTORY}"
    old = {
        open_launch(client, hours_ago=3),
        open_launch(client, hours_ago=3, source=origin),
        open_launch(client, hours_ago=3, source=f"file://{REPOSITORY.parent}#{REPOSITORY.name}"),
    }
    open_launch(client, hours_ago=0.5)  # conda may still be at work
    open_launch(client, hours_ago=3, source="file:///somewhere/else")
    other = open_launch(client, hours_ago=3, user="somebody")
    found = {entry.run_id: entry for entry in tracking.find_abandoned()}
    assert set(found) == old | {other}
    assert found[other].status is None
    tracking.mend(list(found.values()))
    assert {read(run_id).info.status for run_id in old} == {"FAILED"}
    assert read(other).info.status == "RUNNING"
    assert len(tracking.find_abandoned(launch_minutes=10)) == 2


def test_the_doctor_does_not_mend_the_run_that_it_was_launched_in(client, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", open_launch(client, hours_ago=3))
    assert tracking.find_abandoned() == []


def test_runs_of_other_programs_are_none_of_its_business(client):
    client.create_run("0", start_time=0)
    assert tracking.find_abandoned() == []


@pytest.mark.parametrize("changed", [{"pid": "a word"}, {"process_started": ""}])
def test_a_malformed_tag_is_a_line_for_its_run_and_the_rest_is_mended(client, changed):
    odd = open_run(client, hours_ago=5, **of_this_process(**changed))
    dead = open_run(client, **of_this_process(pid=NO_SUCH_PROCESS))
    found = tracking.find_abandoned()
    assert {entry.run_id: entry.status for entry in found} == {odd: None, dead: "KILLED"}
    assert [entry.run_id for entry in tracking.mend(found)] == [dead]


def test_a_run_of_a_clock_that_is_ahead_is_left_alone_and_said_why(client):
    ahead = open_run(client, hours_ago=-30, **of_this_process(host="another"))
    [found] = tracking.find_abandoned(silent_minutes=60)
    assert (found.run_id, found.status) == (ahead, None)
    assert found.reason.endswith("its last word is of 30 hours from now, by a clock that is ahead")
    assert "clock" not in tracking.find_abandoned()[0].reason


def test_a_run_that_cannot_be_looked_at_is_ended_once_it_has_been_silent_for_so_long(client):
    silent = open_run(client, hours_ago=5, **of_this_process(host="another"))
    heard = open_run(client, hours_ago=5, **of_this_process(host="another"))
    client.log_metric(heard, "system/cpu", 0.5, timestamp=int(time.time() * 1000))
    found = {entry.run_id: entry for entry in tracking.find_abandoned(silent_minutes=60)}
    assert {run_id: entry.status for run_id, entry in found.items()} == {
        silent: "KILLED", heard: None
    }  # fmt: skip
    assert "silent for 5 hours" in found[silent].reason


def test_a_run_in_the_trash_is_ended_and_stays_there(client):
    run_id = open_run(client, **of_this_process(pid=NO_SUCH_PROCESS))
    client.delete_run(run_id)
    assert [entry.run_id for entry in tracking.mend(tracking.find_abandoned())] == [run_id]
    assert (read(run_id).info.status, read(run_id).info.lifecycle_stage) == ("KILLED", "deleted")


def test_an_iteration_that_says_finished_and_is_not_whole_is_killed(client):
    run_id = open_run(client, **of_this_process(kind="iteration", pid=NO_SUCH_PROCESS))
    client.set_terminated(run_id, "FINISHED", end_time=int(time.time() * 1000) + 5)
    ended = read(run_id).info.end_time
    whole = open_run(client, **of_this_process(kind="iteration", model_uri="models:/m-1"))
    client.log_metric(whole, "test_accuracy", 0.5)
    client.set_terminated(whole, "FINISHED")
    [found] = tracking.find_abandoned()
    assert (found.run_id, found.status) == (run_id, "KILLED")
    tracking.mend([found])
    assert (read(run_id).info.status, read(run_id).info.end_time) == ("KILLED", ended)
    assert tracking.find_abandoned() == []


def test_a_model_whose_upload_was_cut_short_is_failed_once_its_run_has_ended(client):
    run_id = open_run(client, **of_this_process())
    pending = client.create_logged_model("0", name="model", source_run_id=run_id).model_id
    assert tracking.fail_pending_models() == []
    client.set_terminated(run_id, "KILLED")
    assert tracking.fail_pending_models(dry_run=True) == [pending]
    assert client.get_logged_model(pending).status == "PENDING"
    assert tracking.fail_pending_models() == [pending]
    assert client.get_logged_model(pending).status == "FAILED"
    assert tracking.fail_pending_models() == []


def test_a_model_whose_run_was_removed_for_good_is_failed(client):
    run_id = open_run(client, **of_this_process())
    pending = client.create_logged_model("0", name="model", source_run_id=run_id).model_id
    client.delete_run(run_id)
    client._tracking_client.store._hard_delete_run(run_id)  # as `mlflow gc` does
    assert tracking.fail_pending_models() == [pending]


WORK = """
import sys, time
sys.path.insert(0, sys.argv[1])
from cifar_track import tracking
with tracking.start_run(dataset_name="procedural", name="search", kind="study") as run:
    child = run.child(0, {"units": 32})
    child.log_epoch(1, {"val_accuracy": 0.5})
    child.flush()
    print(run.id, child.id, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_killed_process_is_found_with_its_trials_and_a_terminated_one_needs_no_doctor(
    client, number
):
    command = [sys.executable, "-c", textwrap.dedent(WORK), str(REPOSITORY)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as worker:
        assert worker.stdout is not None
        run_id, child_id = worker.stdout.readline().split()
        assert tracking.find_abandoned() == []
        os.kill(worker.pid, number)
        worker.wait(30)
    found = tracking.find_abandoned()
    expected = {run_id, child_id} if number == signal.SIGKILL else set()
    assert {entry.run_id for entry in found} == expected
    tracking.mend(found)
    assert [read(one).info.status for one in (run_id, child_id)] == ["KILLED", "KILLED"]


def test_a_mended_search_can_be_gone_on_with(client):
    experiment_page = config.load_experiment("tune")
    with tracking.start_run(
        experiment_page,
        dataset_name="cifar100",
        name="tune",
        tags={"cifar_track.search_settings": "{}"},
    ) as run:
        client.set_tag(run.id, "cifar_track.pid", NO_SUCH_PROCESS)
        tracking.mend(tracking.find_abandoned())
        assert read(run.id).info.status == "KILLED"
        [search] = tracking.searches_of("tune", dataset_name="cifar100")
        assert search.info.run_id == run.id
        assert tracking.holder_of(search) is None
