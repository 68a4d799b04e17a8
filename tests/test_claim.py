"""Who may go on with a run: of all that want it at once, one, in every store."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from cifar_track import tracking
from cifar_track.config import CifarTrackError
from cifar_track.tracking import store, tag

REPOSITORY = Path(__file__).resolve().parent.parent
PROCESSES = 4
RUNS = 3


@pytest.fixture(params=["sqlite", "postgres", "server"])
def any_store(request, monkeypatch):
    """Each kind of store in turn, opened; its address."""
    request.getfixturevalue("server_store" if request.param == "server" else "sqlite_store")
    if request.param == "postgres":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue("postgres_address"))
    return tracking.open_store()


def open_run(**tags):
    experiment_id = store.ensure_experiment_id("cifar100")
    return mlflow.MlflowClient().create_run(experiment_id, tags=tags).info.run_id


def claim_each(address, run_ids, barrier, won):
    """Claim run after run, each at the same moment as the other processes; then wait."""
    os.environ["MLFLOW_TRACKING_URI"] = address  # the fork server has that of its own start
    tracking.open_store()
    for number, run_id in enumerate(run_ids):
        barrier.wait(240)
        try:
            claim = tracking.claim_run(run_id)
        except CifarTrackError as error:
            won.put((number, None, str(error)))
        else:
            won.put((number, os.getpid(), claim.number))
    barrier.wait(240)


def race(address, run_ids):
    """What each process got, by the run's place: the pid and number of a claim, or a refusal."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow", "mlflow.store.tracking.sqlalchemy_store"])
    barrier, won = context.Barrier(PROCESSES), context.Queue()
    given = (address, run_ids, barrier, won)
    processes = [context.Process(target=claim_each, args=given) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    answers = [won.get(timeout=240) for _ in range(PROCESSES * len(run_ids))]
    for process in processes:
        process.join(240)
        assert process.exitcode == 0
    return answers


def test_of_several_processes_one_gets_the_run_and_the_others_learn_which(any_store):
    run_ids = [open_run() for _ in range(RUNS)]
    for attempt in (1, 2):  # all who held a run after the first race are gone in the second
        answers = race(any_store, run_ids)
        for place in range(RUNS):
            winners = [(pid, rest) for number, pid, rest in answers if number == place and pid]
            assert [rest for _, rest in winners] == [attempt]
            refusals = [rest for number, pid, rest in answers if number == place and not pid]
            assert len(refusals) == PROCESSES - 1
            for refusal in refusals:
                assert run_ids[place] in refusal
                assert f"process {winners[0][0]} on " in refusal


def test_a_claim_lasts_as_long_as_its_process_unless_it_is_released(sqlite_store):
    run_id = open_run()
    claim = tracking.claim_run(run_id)
    with pytest.raises(CifarTrackError, match=f"process {os.getpid()} on .* since 20"):
        tracking.claim_run(run_id)  # nor twice by one process
    claim.release()
    assert tracking.holder_of(store.client().get_run(run_id)) is None
    assert tracking.claim_run(run_id).number == 2


def test_a_killed_process_has_let_go(sqlite_store):
    run_id = open_run()
    code = "import os, signal\nfrom cifar_track import tracking\n"
    kill = f"tracking.claim_run({run_id!r})\nos.kill(os.getpid(), signal.SIGKILL)"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code + kill], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert tracking.claim_run(run_id).number == 2


def test_who_opened_a_run_has_it_while_it_runs(sqlite_store):
    with (
        tracking.start_run(dataset_name="cifar100", name="mine", kind="study") as run,
        pytest.raises(CifarTrackError, match=f"process {os.getpid()} on"),
    ):
        tracking.claim_run(run.id)
    tracking.claim_run(run.id)


@pytest.mark.parametrize("changed", ["", "soon"])
def test_a_malformed_tag_of_who_opened_a_run_holds_nobody_up(sqlite_store, changed):
    with tracking.start_run(dataset_name="cifar100", name="mine", kind="study") as run:
        run.set_tags({tag.PROCESS_STARTED: changed, tag.SINCE_BOOT: changed})
        run.flush()
        tracking.claim_run(run.id)


def test_another_hosts_claim_stands_until_it_is_released(sqlite_store, monkeypatch):
    run_id = open_run()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "bee")
        tracking.claim_run(run_id)
    with pytest.raises(CifarTrackError, match=r"on bee since .*doctor"):
        tracking.claim_run(run_id)
    tracking.release_run(run_id)
    assert tracking.claim_run(run_id).number == 2


def test_a_run_that_is_not_there_is_not_claimed(sqlite_store):
    with pytest.raises(mlflow.exceptions.MlflowException, match="not found"):
        tracking.claim_run("feed")


def test_a_run_that_another_program_opened_is_free(sqlite_store):
    run_id = open_run(**{tag.MLFLOW_SOURCE_TYPE: "PROJECT"})
    assert tracking.holder_of(store.client().get_run(run_id)) is None
    assert tracking.claim_run(run_id).number == 1
