"""What a run makes is kept before it is sent, whatever becomes of store, disk and process."""

from __future__ import annotations

import json
import logging
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import mlflow
import pytest
from conftest import TrackingServer, wait_for

from cifar_track import cli, tracking, workflow
from cifar_track.config import CifarTrackError
from cifar_track.tracking import left_behind, outbox, runs, sender, tag

REPOSITORY = Path(__file__).resolve().parent.parent
EPOCHS = 4


@pytest.fixture
def store(sqlite_store, monkeypatch):
    """An SQLite store that can be taken away: its file is moved, and a folder is in its place."""
    tracking.open_store()
    monkeypatch.setattr(left_behind, "_seen", set())

    class Store:
        file = sqlite_store

        def take_away(self):
            sqlite_store.rename(sqlite_store.with_suffix(".away"))
            sqlite_store.mkdir()
            dispose_engines()

        def bring_back(self):
            sqlite_store.rmdir()
            sqlite_store.with_suffix(".away").rename(sqlite_store)
            dispose_engines()

    return Store()


def dispose_engines():
    """Let go of connections to a file that has been moved; a server would close them."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for engine in SqlAlchemyStore._engine_map.values():
        engine.dispose()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setenv("CIFAR_TRACK_PATIENCE", "0.3")
    monkeypatch.setattr(sender, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(sender, "LONGEST_PAUSE_SECONDS", 0.1)


def start(**settings):
    return tracking.start_run(dataset_name="cifar100", name="kept", kind="study", **settings)


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "abc", "1e999"])
def test_a_patience_that_is_none_is_one_line_before_a_run_is_opened(
    sqlite_store, monkeypatch, text
):
    monkeypatch.setenv("CIFAR_TRACK_PATIENCE", text)
    with (
        pytest.raises(CifarTrackError, match=f"CIFAR_TRACK_PATIENCE={text} is no number of sec"),
        start(),
    ):
        pass
    assert not mlflow.search_runs(search_all_experiments=True, output_format="list")


def test_an_outbox_that_can_not_be_looked_into_hides_no_other(
    as_somebody_else, open_folder, monkeypatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(open_folder))
    for name in ("theirs", "ours"):
        folder = outbox.outboxes_folder() / name
        folder.mkdir(parents=True)
        (folder / outbox.JOURNAL).touch()
    (outbox.outboxes_folder() / "theirs").chmod(0o000)
    with as_somebody_else():
        assert [path.name for path in outbox.outboxes_left()] == ["ours"]


def write_model(folder):
    """The least that MLflow takes for a model: it is not loaded here."""
    folder.mkdir(parents=True)
    mlflow.models.Model(flavors={"python_function": {"loader_module": "x"}}).save(
        str(folder / "MLmodel")
    )
    (folder / "weights").write_bytes(b"1" * 1000)
    return folder


def log_all(run, folder, *, pause=lambda: None):
    """Log one of each kind of thing, as an iteration does."""
    run.log_parameters({"a.b": 1, "c": 0.5})
    for epoch in range(1, EPOCHS + 1):
        run.log_epoch(epoch, {"val_accuracy": epoch / 10, "val_loss": 1 / epoch})
        pause()
    child = run.child(0, {"units": 32})
    child.log_epoch(1, {"val_accuracy": 0.5})
    child.finish("completed")
    pause()
    run.log_dataset(name="cifar100", digest="d", source="x", images={"test": 1}, classes=100)
    with run.together():
        run.log_metrics({"test_accuracy": 0.4}, step=2)
        run.log_table([{"a": 1}], "evaluation/per_class.json")
        run.log_text("report\n", "evaluation/report.txt")
        run.log_model(folder, metrics_step=2)
    pause()


def assert_whole(run_id, *, status="FINISHED"):
    """Every metric once, every file, one model that is ready, and the status that is true."""
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    assert run.info.status == status
    assert run.data.params == {"a.b": "1", "c": "0.5"}
    history = client.get_metric_history(run_id, "val_accuracy")
    assert [(point.step, point.value) for point in history] == [
        (epoch, epoch / 10) for epoch in range(1, EPOCHS + 1)
    ]
    assert [point.step for point in client.get_metric_history(run_id, "test_accuracy")] == [2]
    assert len(run.inputs.dataset_inputs) == 1
    files = {file.path for file in client.list_artifacts(run_id, "evaluation")}
    assert files == {"evaluation/per_class.json", "evaluation/report.txt"}
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [
        {"path": "evaluation/per_class.json", "type": "table"}
    ]
    [model] = client.search_logged_models([run.info.experiment_id])
    assert model.status.name == "READY"
    assert run.data.tags["cifar_track.model_uri"] == f"models:/{model.model_id}"
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert {metric.key for metric in model.metrics} == {
        "val_accuracy", "val_loss", "test_accuracy"
    }  # fmt: skip
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}"))
    assert (folder / "weights").read_bytes() == b"1" * 1000
    assert mlflow.models.Model.load(str(folder)).run_id == run_id
    [child] = client.search_runs(
        [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'"
    )
    assert child.info.status == "FINISHED"
    assert child.data.metrics == {"val_accuracy": 0.5}
    assert client.get_metric_history(child.info.run_id, "val_accuracy")[0].step == 1
    assert outbox.outboxes_left() == []


def test_all_that_is_logged_arrives_and_nothing_is_left_on_this_machine(store, tmp_path):
    folder = write_model(tmp_path / "model")
    with start() as run:
        log_all(run, folder)
    assert_whole(run.id)
    assert [f for f in outbox.outboxes_folder().rglob("*") if f.is_file()] == []


def test_what_is_sent_twice_has_one_effect(store, tmp_path, monkeypatch):
    # As after a kill that no record survived: all is kept, and all is sent once more.
    copies = tmp_path / "copies"
    remove = shutil.rmtree

    def copy_before_removal(path, **options):
        if Path(path).parent == outbox.outboxes_folder():
            shutil.copytree(path, copies / Path(path).name)
        if Path(path).parent.name != "files":
            remove(path, **options)

    folder = write_model(tmp_path / "model")
    monkeypatch.setattr(shutil, "rmtree", copy_before_removal)
    with start() as run:
        log_all(run, folder)
    before = outbox.outboxes_folder()
    monkeypatch.undo()
    (kept,) = copies.iterdir()
    (kept / "progress.json").unlink()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    outbox.outboxes_folder().mkdir(parents=True)
    shutil.copytree(kept, outbox.outboxes_folder() / kept.name)
    monkeypatch.chdir(store.file.parent)
    journal = outbox.outboxes_folder() / kept.name / "journal.jsonl"
    was = str(before / kept.name)
    assert was in journal.read_text()
    journal.write_text(journal.read_text().replace(was, str(journal.parent)))
    uploads = []
    upload = mlflow.MlflowClient.log_model_artifacts

    def noting(client, *given, **named):
        uploads.append(given)
        return upload(client, *given, **named)

    monkeypatch.setattr(mlflow.MlflowClient, "log_model_artifacts", noting)
    [sent] = tracking.send_left_behind(patience=10)
    assert len(uploads) == 1
    assert (sent.run_id, sent.left, sent.refused) == (run.id, 0, ())
    assert_whole(run.id)


def test_a_store_that_goes_away_is_told_once_and_gets_all_when_it_is_back(
    store, tmp_path, impatient, caplog, monkeypatch
):
    monkeypatch.setenv("CIFAR_TRACK_PATIENCE", "20")
    folder = write_model(tmp_path / "model")
    with caplog.at_level(logging.WARNING), start() as run:
        store.take_away()
        began = time.monotonic()
        log_all(run, folder)
        assert time.monotonic() - began < 5
        time.sleep(0.5)
        store.bring_back()
    lines = [record.getMessage() for record in caplog.records if "mlflow" not in record.name]
    assert len(lines) == 2
    assert lines[0].startswith("the tracking store takes nothing (")
    assert str(outbox.outboxes_folder()) in lines[0]
    assert lines[1] == "the tracking store answers again"
    assert_whole(run.id)


def test_a_store_that_stays_away_leaves_one_line_with_the_way_on(
    store, tmp_path, impatient, monkeypatch, capsys
):
    folder = write_model(tmp_path / "model")

    def run_and_lose_the_store(**_):
        with start() as run:
            seen.append(run.id)
            run.flush()
            store.take_away()
            log_all(run, folder)

    seen = []
    monkeypatch.setattr(workflow, "mend_runs", run_and_lose_the_store)
    assert cli.run(["doctor"]) == 75
    [run_id] = seen
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert f"run {run_id} (kept) is not whole in the tracking store yet (" in said[0]
    assert "is kept in " in said[0]
    assert "`python -m cifar_track doctor` sends it" in said[0]
    store.bring_back()
    assert mlflow.MlflowClient().get_run(run_id).info.status == "RUNNING"
    monkeypatch.undo()


def test_a_model_on_its_way_is_waited_for_longer(store, tmp_path, impatient, monkeypatch):
    folder = write_model(tmp_path / "model")
    upload = mlflow.MlflowClient.log_model_artifacts

    def slowly(client, *given, **named):
        time.sleep(1.5)  # five times the patience
        return upload(client, *given, **named)

    monkeypatch.setattr(mlflow.MlflowClient, "log_model_artifacts", slowly)
    with start() as run:
        run.log_model(folder, metrics_step=1)
    assert mlflow.MlflowClient().get_run(run.id).info.status == "FINISHED"
    assert tracking.send_left_behind(patience=1) == []


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        ("gone", "is not in this store any more"),
        ("trash", "lies in the trash"),
        ("another's", "another process has gone on with the run since"),
    ],
)
def test_what_nobody_can_take_any_more_holds_up_nothing(store, impatient, capsys, fate, words):
    with pytest.raises(tracking.NotSentError), start() as run:  # noqa: PT012
        run.flush()
        store.take_away()
        run.log_parameters({"a": 1})
    store.bring_back()
    client = mlflow.MlflowClient()
    if fate == "another's":
        client.set_tag(run.id, tag.PID, "1")
    else:
        client.delete_run(run.id)
        if fate == "gone":
            client._tracking_client.store._hard_delete_run(run.id)
    began = time.monotonic()
    [left] = tracking.send_left_behind(patience=20)
    assert time.monotonic() - began < 10
    assert words in left.trouble
    assert left.left
    assert left.folder.is_dir()
    assert tracking.kept_for(run.id).folder == left.folder
    # Nor does anybody say that it was sent, or how the run ended.
    capsys.readouterr()
    workflow.mend_runs(dry_run=fate == "gone")
    said = capsys.readouterr().out
    assert "has been sent" not in said
    assert "0 abandoned" in said


def test_the_next_command_sends_what_is_left(store, tmp_path, impatient, monkeypatch):
    folder = write_model(tmp_path / "model")
    with pytest.raises(tracking.NotSentError), start() as run:  # noqa: PT012
        run.flush()
        store.take_away()
        log_all(run, folder)
    store.bring_back()
    tracking.open_store()
    assert_whole(run.id)


def test_an_outbox_is_left_alone_while_its_process_lives_and_where_it_is_for_another_store(
    store, monkeypatch
):
    with start() as run:
        assert tracking.send_left_behind(patience=1) == []
        run.log_metrics({"a": 1.0})
    about = {
        "run_id": "f" * 32,
        "name": "n",
        "store": "sqlite:////elsewhere",
        "cifar_track.pid": "1",
    }
    kept = outbox.Outbox.make(about)
    kept.add([{"do": "tags", "run": "f" * 32, "tags": {"a": "b"}}])
    kept.close(remove=False)
    [found] = tracking.send_left_behind(patience=1)
    assert (found.store, found.left) == ("sqlite:////elsewhere", 1)
    assert outbox.outboxes_left() == [kept.folder]


def test_another_stores_outbox_with_nothing_left_is_not_said_to_have_been_sent(
    store, monkeypatch, caplog
):
    about = {
        "run_id": "f" * 32,
        "name": "n",
        "store": "sqlite:////elsewhere",
        "cifar_track.pid": "1",
    }
    kept = outbox.Outbox.make(about)
    kept.close(remove=False)
    tracking.open_store()
    assert caplog.messages == []
    assert outbox.outboxes_left() == [kept.folder]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("journal.jsonl", "{}\n"),
        ("journal.jsonl", "[1]\n"),
        ("journal.jsonl", "\0\0\0\n{}\n"),
        ("progress.json", '{"sent": "1", "runs": []}'),
    ],
)
def test_a_damaged_outbox_is_told_and_holds_up_nothing(store, caplog, file, content):
    about = {"run_id": "f" * 32, "name": "n", "store": "s", "cifar_track.pid": "1"}
    kept = outbox.Outbox.make(about)
    kept.add([{"do": "tags", "run": "f" * 32, "tags": {"a": "b"}}])
    kept.close(remove=False)
    (kept.folder / file).write_text(content)
    found = tracking.send_left_behind(patience=1)
    assert kept.folder.is_dir()  # it may be looked at
    if file == "progress.json":  # all is asked anew
        assert [left.left for left in found] == [1]
    else:
        assert found == []
        assert "damaged" in caplog.text


def test_a_line_that_a_kill_cut_short_is_passed_over(store):
    kept = outbox.Outbox.make({"run_id": "r", "name": "n", "store": "s", "cifar_track.pid": "1"})
    kept.add([{"do": "tags", "tags": {"a": "1"}}])
    kept.add([{"do": "tags", "tags": {"a": "2"}}, {"do": "tags", "tags": {"a": "3"}}])
    kept.close(remove=False)
    journal = kept.folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    again = outbox.Outbox.take(kept.folder)
    assert [operation["tags"] for operation in again.operations()] == [{"a": "1"}]
    assert outbox.Outbox.take(kept.folder) is None  # it is held
    again.close(remove=True)
    assert outbox.outboxes_left() == []


def test_results_that_are_cut_short_are_not_sent_at_all(store):
    with pytest.raises(KeyboardInterrupt), start() as run, run.together():  # noqa: PT012
        run.log_metrics({"test_accuracy": 0.5})
        run.log_text("x", "evaluation/report.txt")
        raise KeyboardInterrupt
    ended = mlflow.MlflowClient().get_run(run.id)
    assert (ended.info.status, ended.data.metrics) == ("KILLED", {})
    assert mlflow.MlflowClient().list_artifacts(run.id) == []


def test_a_metric_that_the_store_refuses_is_named_and_ends_nothing(store, caplog):
    with caplog.at_level(logging.WARNING), start() as run:
        run.log_epoch(1, {"a|b": 1.0, "val_accuracy": 0.25})
        run.log_epoch(2, {"val_accuracy": 0.5})
    ended = mlflow.MlflowClient().get_run(run.id)
    assert ended.info.status == "FINISHED"
    history = mlflow.MlflowClient().get_metric_history(run.id, "val_accuracy")
    assert [point.value for point in history] == [0.25, 0.5]
    assert "not logged: Invalid value" in caplog.text
    assert "a|b" in ended.data.tags["cifar_track.logging_error"]


def test_a_parameter_with_another_value_ends_the_run_failed_and_the_rest_is_there(store):
    with pytest.raises(CifarTrackError, match="it is FAILED") as caught, start() as run:  # noqa: PT012
        run.log_parameters({"a": 1})
        run.log_parameters({"a": 2, "b": 3})
    assert "\n" not in str(caught.value)
    ended = mlflow.MlflowClient().get_run(run.id)
    assert ended.info.status == "FAILED"
    assert ended.data.params == {"a": "1", "b": "3"}


def test_a_run_that_is_gone_on_with_carries_no_traceback_of_an_earlier_attempt(store):
    with pytest.raises(ValueError, match="cut"), start() as first:
        raise ValueError("cut short")
    client = mlflow.MlflowClient()
    assert [file.path for file in client.list_artifacts(first.id)] == ["traceback.txt"]
    with start(resume_run_id=first.id) as run:
        pass
    assert client.list_artifacts(run.id) == []
    assert "cifar_track.error" not in client.get_run(run.id).data.tags
    assert client.get_run(run.id).info.status == "FINISHED"


def test_a_fit_that_begins_anew_leaves_one_model(store, tmp_path):
    folder = write_model(tmp_path / "model")
    with pytest.raises(KeyboardInterrupt), start() as first:  # noqa: PT012
        first.log_model(folder, metrics_step=1)
        raise KeyboardInterrupt
    with start(resume_run_id=first.id) as run:
        run.log_model(folder, metrics_step=2)
    ended = mlflow.MlflowClient().get_run(run.id)
    [model] = mlflow.MlflowClient().search_logged_models([run.experiment_id])
    assert ended.data.tags["cifar_track.model_uri"] == f"models:/{model.model_id}"


# Disks


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder):
    with (folder / "filling").open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096) == 4096:
                pass
        except OSError:
            pass


def test_a_full_state_folder_costs_one_line_and_nothing_else(
    store, small_disk, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("XDG_STATE_HOME", str(small_disk))
    folder = write_model(tmp_path / "model")
    with caplog.at_level(logging.WARNING), start() as run:
        fill(small_disk)
        run.set_tags({"long": "x" * 8000})  # what was there of the journal's last block is used up
        log_all(run, folder)
    assert len(caplog.messages) == 1
    assert "No space left" in caplog.text
    assert_whole(run.id)


@pytest.mark.slow
def test_a_full_disk_under_sqlite_costs_one_line_when_it_begins_and_one_at_the_end(
    schema, elsewhere, small_disk, tmp_path, impatient, monkeypatch, caplog
):
    shutil.copy(schema, small_disk / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{small_disk}/mlflow.db")
    folder = write_model(tmp_path / "model")
    with (  # noqa: PT012
        caplog.at_level(logging.WARNING), pytest.raises(CifarTrackError) as caught, start() as run
    ):  # fmt: skip
        fill(small_disk)
        log_all(run, folder)
    assert "\n" not in str(caught.value)
    assert len(caplog.messages) <= 1


# Processes


WORK = """
import sys, time
sys.path[:0] = sys.argv[1:3]
import pathlib, test_outbox
with test_outbox.start() as run:
    child = run.child(1, {"units": 64})
    print(run.id, flush=True)
    test_outbox.log_all(run, pathlib.Path(sys.argv[3]), pause=lambda: time.sleep(0.02))
    child.finish("completed")
print("done", flush=True)
"""


def work(folder):
    places = [str(REPOSITORY), str(REPOSITORY / "tests"), str(folder)]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORK), *places],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def runs_of(run_id):
    """A run and its children."""
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    parent = f"tags.`mlflow.parentRunId` = '{run_id}'"
    return [run, *client.search_runs([run.info.experiment_id], parent)]


def assert_true_and_once(run_id):
    """Whatever became of its process: nothing twice, nothing half, nothing said that is not so."""
    client = mlflow.MlflowClient()
    run, *children = runs_of(run_id)
    names = sorted(child.info.run_name for child in children)
    assert names == sorted(set(names))
    for each in (run, *children):
        for name in each.data.metrics:
            steps = [point.step for point in client.get_metric_history(each.info.run_id, name)]
            assert steps == sorted(set(steps)), name
    models = client.search_logged_models([run.info.experiment_id])
    assert {model.status.name for model in models} <= {"READY"}
    assert len(models) <= 1
    results = ("test_accuracy" in run.data.metrics, bool(models))
    assert results in ((True, True), (False, False))
    if run.info.status == "FINISHED":
        assert results == (True, True)
        assert {child.info.status for child in children} == {"FINISHED"}
    assert outbox.outboxes_left() == []


@pytest.mark.parametrize("moments", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_and_then_the_doctor(store, tmp_path, moments):
    folder = write_model(tmp_path / "model")
    chance = random.Random(moments)
    for _ in range(moments):
        with work(folder) as process:
            run_id = process.stdout.readline().strip()
            time.sleep(chance.uniform(0, 1.0))
            process.kill()
        workflow.mend_runs()
        statuses = {run.info.status for run in runs_of(run_id)}
        assert statuses <= {"KILLED", "FINISHED"}
        assert_true_and_once(run_id)
        remove_models(run_id)


@pytest.mark.parametrize("step", ["opened", "ended"])
def test_a_signal_in_the_middle_of_a_trials_step_leaves_no_trial_running(store, monkeypatch, step):
    """The two moments in which it is known to the outbox or to its parent, and not to both."""
    method = "_add" if step == "opened" else "release"
    work_on = getattr(runs.Run, method)
    opened = []

    def and_a_signal(run, given):
        work_on(run, given)
        if step == "ended" or given["do"] == "child":
            signal.raise_signal(signal.SIGINT)

    def work():
        with start() as run:
            opened.append(run.id)
            monkeypatch.setattr(runs.Run, method, and_a_signal)
            run.child(0, {"units": 32}).finish("completed")

    with pytest.raises(KeyboardInterrupt):
        work()
    [run_id] = opened
    assert [each.info.status for each in runs_of(run_id)] == [
        "KILLED",
        "KILLED" if step == "opened" else "FINISHED",
    ]


@pytest.mark.parametrize("moments", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_signals_at_any_moment_leave_statuses_that_are_true(store, tmp_path, moments):
    folder = write_model(tmp_path / "model")
    chance = random.Random(moments)
    for moment in range(moments):
        with work(folder) as process:
            run_id = process.stdout.readline().strip()
            time.sleep(chance.uniform(0, 0.6))
            process.send_signal(signal.SIGINT)
            time.sleep(chance.choice([0.0, 0.01, 0.15, chance.uniform(0, 1)]))
            process.send_signal(chance.choice([signal.SIGTERM, signal.SIGINT]))
            said, errors = process.communicate(timeout=60)
        tracking.send_left_behind(patience=10)  # a store that was slower than the patience
        run, *children = runs_of(run_id)
        ended = "FINISHED" if said == "done\n" or "done" in said else "KILLED"
        assert run.info.status in (ended, "FINISHED"), (moment, errors)
        assert "RUNNING" not in {child.info.status for child in children}, (moment, errors)
        assert_true_and_once(run_id)
        remove_models(run_id)


def remove_models(run_id):
    """Make room for the next run's, which the checks count."""
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    for model in client.search_logged_models([run.info.experiment_id]):
        client.delete_logged_model(model.model_id)


@pytest.mark.slow
def test_a_server_that_is_stopped_and_started_again_gets_all_of_it(
    schema, elsewhere, tmp_path, monkeypatch, caplog
):
    server = TrackingServer(schema, elsewhere)
    try:
        server.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
        monkeypatch.setenv("CIFAR_TRACK_PATIENCE", "300")
        folder = write_model(tmp_path / "model")
        with caplog.at_level(logging.WARNING), start() as run:
            run.flush()
            server.kill()
            began = time.process_time()
            log_all(run, folder)
            assert time.process_time() - began < 5
            wait_for(lambda: caplog.messages, what="nothing was told")
            server.start()
        told = [r.getMessage() for r in caplog.records if r.name.startswith("cifar_track")]
        assert len(told) == 2, told
        assert_whole(run.id)
    finally:
        server.kill()
