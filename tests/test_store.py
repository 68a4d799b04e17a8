"""The store as people name it, place it and share it: what is put right, and what is one line."""

from __future__ import annotations

import base64
import contextlib
import json
import multiprocessing
import os
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import types
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import pytest

from cifar_track import registry, tracking
from cifar_track.addresses import place, settled, sqlite_address, sqlite_path
from cifar_track.config import CifarTrackError
from cifar_track.tracking import reach, store
from cifar_track.tracking.schema import tables
from cifar_track.workflow import study

REPOSITORY = Path(__file__).resolve().parent.parent
# What file systems allow and addresses take for something else.
NAMES = ("100%", "a%20b", "q?m#h", "sp ace", 'it\'s "x"', "ünï", "new\nline", "a:b@c", "$HOME;&")


def refusal(monkeypatch, address):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(CifarTrackError) as caught:
        tracking.open_store()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Addresses


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("localhost:5000", "is no address; write http://localhost:5000"),
        ("mlflow.example.com:80/x", "is no address; write http://mlflow.example.com:80/x"),
        ("http:/localhost:5000", "is no address; write http://localhost:5000"),
        ("https:localhost", "is no address; write https://localhost"),
        ("sqlite:/mlflow.db", "is no address; write sqlite:///mlflow.db"),
        ("sqlite://mlflow.db", "is no address; write sqlite:///mlflow.db"),
        ("runs.db", "is no address; write sqlite:///runs.db"),
        ("postgres://me:secret@h/runs", "write postgresql+psycopg2://me:***@h/runs"),
        ("file:///tmp/mlruns", "is a folder"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("http://", "names no host"),
        ("http://localhost:99999999", "its host and port can't be read"),
        ("http://me:s/cret@h", "MLFLOW_TRACKING_URI=http://me:***@h: its host and port can't be"),
        ("http://me:s cret@h", "MLFLOW_TRACKING_URI holds a blank"),
        ("SQLite:///no/such.db", "there is no folder"),
        ("sqlite:///~/no/such.db", f"there is no folder {Path.home()}/no"),
        ("'sqlite:///mlflow.db'", "without quotes"),
        ("htp://localhost:5000", "refuses: "),
    ],
)
def test_an_address_that_is_none_is_told_with_the_right_one(elsewhere, monkeypatch, given, told):
    assert told in refusal(monkeypatch, given)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://localhost:5000", "HTTP://me:secret@LOCALHOST:5000/"),
        ("https://h/mlflow", "https://h:443/mlflow/"),
        ("postgresql://h/runs", "postgresql+psycopg2://me:secret@h:5432/runs?sslmode=require"),
        ("sqlite:///a b/../x.db", "sqlite+pysqlite:///x.db?timeout=3"),
        ("sqlite:///link/x.db", "sqlite:///x.db"),
    ],
)
def test_a_store_is_the_same_however_its_address_is_written(elsewhere, one, other):
    (elsewhere / "a b").mkdir()
    (elsewhere / "link").symlink_to(elsewhere)
    assert place(one) == place(other) == place(place(one))
    assert "secret" not in place(other)
    assert place(one) != place("sqlite:///y.db")


def test_what_libraries_make_of_a_variable_is_one_line(elsewhere, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "banana")
    assert "banana" in refusal(monkeypatch, "https://localhost:1")
    monkeypatch.delenv("MLFLOW_TRACKING_INSECURE_TLS")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret\n")  # as a file's last line ends
    assert "s3cret" not in refusal(monkeypatch, "http://localhost:1")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("localhost:5000", "MLFLOW_REGISTRY_URI=localhost:5000 is no address; write http://"),
        ("file:///tmp/models", "MLFLOW_REGISTRY_URI=file:///tmp/models is a folder"),
        ("sqlite:///no/such.db", "make it, or set MLFLOW_REGISTRY_URI to another place"),
        (
            "http://me:secret@127.0.0.1:9",
            "Connection refused); start it, or set MLFLOW_REGISTRY_URI",
        ),
        ("postgresql+psycopg2://me:secret@127.0.0.1:9/x", "can't be reached"),
    ],
)
def test_a_registry_that_is_none_is_told_before_it_is_wanted(
    sqlite_store, monkeypatch, given, told
):
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", given)
    for wants_it in (
        lambda: study.run_study(dataset="procedural"),
        lambda: registry.promote("procedural", load_test=pytest.fail),
        lambda: registry.roll_back("procedural"),
        lambda: registry.champion_run_id("x"),
        registry.finish_promotions,
    ):
        with pytest.raises(CifarTrackError) as caught:
            wants_it()
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)
        assert "MLFLOW_TRACKING_URI" not in str(caught.value)
    assert not mlflow.search_experiments(filter_string="name != 'Default'")


def test_a_registry_elsewhere_is_made_and_used(sqlite_store, schema, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "sqlite:///a/models.db")
    monkeypatch.setattr("cifar_track.tracking.schema._make_sqlite", partial(shutil.copy, schema))
    assert tracking.open_registry() == f"sqlite:///{tmp_path}/a/models.db"
    mlflow.MlflowClient().create_registered_model("there")
    with contextlib.closing(sqlite3.connect("a/models.db")) as connection:
        assert connection.execute("SELECT name FROM registered_models").fetchall() == [("there",)]
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", " ")
    assert tracking.open_registry() == f"sqlite:///{sqlite_store}"
    assert not mlflow.MlflowClient().search_registered_models()


def test_a_store_of_a_newer_mlflow_is_told(sqlite_store, monkeypatch):
    with contextlib.closing(sqlite3.connect(sqlite_store)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    assert "a newer MLflow than this one" in refusal(monkeypatch, "")


def test_what_is_put_in_a_files_place_is_not_overwritten(elsewhere, monkeypatch):
    os.mkfifo(elsewhere / "mlflow.db")
    assert "is no file" in refusal(monkeypatch, "")
    assert (elsewhere / "mlflow.db").is_fifo()


def test_a_link_to_a_file_that_is_yet_to_be_made_stays_one(elsewhere, schema, monkeypatch):
    (elsewhere / "disk").mkdir()
    (elsewhere / "mlflow.db").symlink_to("disk/runs.db")

    class Store:  # what MLflow makes in seconds, made before
        def __init__(self, address, _artifacts):
            self.engine = types.SimpleNamespace(dispose=lambda: None)
            shutil.copy(schema, sqlite_path(address))

    monkeypatch.setattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore", Store)
    with tables("sqlite:///mlflow.db"):
        pass
    assert (elsewhere / "mlflow.db").is_symlink()
    assert (elsewhere / "disk" / "runs.db").stat().st_size == schema.stat().st_size


def test_an_address_settled_once_stays_as_it_is(tmp_path):
    for name in NAMES:
        address = sqlite_address(tmp_path / name / "mlflow.db")
        assert settled(address) == address
        assert sqlite_path(address) == tmp_path / name / "mlflow.db"


class Guarded(BaseHTTPRequestHandler):
    """A server behind a name and a password, as a proxy in front of MLflow is."""

    def do_GET(self) -> None:
        right = base64.b64encode(b"me:secret").decode()
        self.send_response(200 if self.headers.get("Authorization") == f"Basic {right}" else 403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_is_asked_with_the_name_and_password_of_its_address():
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            address = f"127.0.0.1:{server.server_port}"
            reach.require_reachable(f"http://me:secret@{address}", setting=store.STORE)
            with pytest.raises(CifarTrackError, match="answers 403") as caught:
                reach.require_reachable(f"http://me:wr0ng@{address}", setting=store.STORE)
        finally:
            server.shutdown()
    assert "wr0ng" not in str(caught.value)


def test_what_is_no_web_server_is_one_line(elsewhere, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        threading.Thread(target=answer, daemon=True).start()
        told = refusal(monkeypatch, f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert "can't be reached" in told


def test_a_database_that_never_answers_is_told_within_seconds(elsewhere, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(reach, "PROBE_SECONDS", 2.0)
        began = time.monotonic()
        told = refusal(monkeypatch, f"postgresql+psycopg2://me:secret@127.0.0.1:{port}/runs")
    assert time.monotonic() - began < 20
    assert "can't be reached" in told
    assert "secret" not in told


@pytest.mark.slow
def test_a_password_in_the_address_is_found_nowhere(elsewhere, server_address, monkeypatch):
    address = server_address.replace("://", "://me:s3cret@")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with tracking.start_run(dataset_name="procedural", name="x", kind="study") as run:
        run.log_error(f"API request to {address}/api failed")
        shown = [run.url, tracking.ui_command(), tracking.ui_address()]
        shown.append(tracking.compare_url([run.id], [run.experiment_id]))
    client = mlflow.MlflowClient()
    found = client.get_run(run.id)
    shown += [str(found.data), Path(client.download_artifacts(run.id, "traceback.txt")).read_text()]
    assert "s3cret" not in " ".join(shown)


# Files


@pytest.mark.parametrize("name", NAMES)
def test_a_working_folder_of_any_name_holds_its_runs(name, sqlite_store, monkeypatch):
    above = sqlite_store.parent / "above"
    folder = above / name
    folder.mkdir(parents=True)
    shutil.move(sqlite_store, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    with tracking.start_run(dataset_name="procedural", name="x", kind="study") as run:
        run.log_text("of a run", "note.txt")
    monkeypatch.chdir(above)
    again = mlflow.MlflowClient()
    assert Path(again.download_artifacts(run.id, "note.txt")).read_text() == "of a run"
    assert len(list(folder.rglob("note.txt"))) == 1
    assert [path.name for path in above.iterdir()] == [name]
    assert sqlite_path(tracking.open_store()) == folder / "mlflow.db"


def test_the_command_for_the_ui_leads_to_the_file(sqlite_store, monkeypatch):
    folder = sqlite_store.parent / "100% $HOME"
    folder.mkdir()
    shutil.move(sqlite_store, folder / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_address(folder / "mlflow.db"))
    address = shlex.split(tracking.ui_command())[-1]
    assert sqlite_path(address) == folder / "mlflow.db"


def test_a_folder_name_in_another_encoding_is_one_line(tmp_path):
    with pytest.raises(CifarTrackError, match="UTF-8"):
        sqlite_address(tmp_path / os.fsdecode(b"caf\xe9") / "mlflow.db")


def test_what_is_no_database_is_one_line(elsewhere, monkeypatch):
    (elsewhere / "mlflow.db").write_text("notes")
    assert "is no SQLite file" in refusal(monkeypatch, "sqlite:///mlflow.db")
    (elsewhere / "runs").mkdir()
    assert "is a folder" in refusal(monkeypatch, "sqlite:///runs")


@pytest.mark.parametrize("locked", ["", "mlflow.db"])
def test_a_store_that_this_user_may_not_write_is_one_line(
    locked, schema, elsewhere, open_folder, as_somebody_else, monkeypatch
):
    shutil.copy(schema, open_folder / "mlflow.db")
    (open_folder / "mlflow.db").chmod(0o666)
    open_folder.chmod(0o777)
    (open_folder / locked).chmod(0o555)
    with as_somebody_else():
        told = refusal(monkeypatch, f"sqlite:///{open_folder}/mlflow.db")
    assert f"this user may not write {open_folder / locked}" in told
    assert "set MLFLOW_TRACKING_URI to another place" in told


def test_a_store_is_shared_although_somebody_else_owns_its_lock(
    schema, elsewhere, open_folder, as_somebody_else, monkeypatch
):
    shutil.copy(schema, open_folder / "mlflow.db")
    (open_folder / "mlflow.db").chmod(0o666)
    open_folder.chmod(0o777)
    (open_folder / "mlflow.db.lock").touch()
    (open_folder / "mlflow.db.lock").chmod(0o000)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{open_folder}/mlflow.db")
    with as_somebody_else():
        assert tracking.open_store().endswith("/mlflow.db")
    (open_folder / "mlflow.db").unlink()
    store._opened.clear()
    with as_somebody_else():
        assert "can't be locked" in refusal(monkeypatch, f"sqlite:///{open_folder}/mlflow.db")


# Tables


def tables_of(path):
    with sqlite3.connect(path) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    return names


def test_what_a_killed_process_left_beside_the_store_is_no_hindrance(schema):
    assert {"runs", "spans", "logged_models", "alembic_version"} <= tables_of(schema)
    assert sorted(path.name for path in schema.parent.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def open_and_tell(folder, opening):
    os.chdir(folder)
    opening.set()
    tracking.open_store()


@pytest.mark.slow
def test_a_fresh_database_is_opened_by_users_who_share_no_folder(postgres_address, tmp_path):
    """As from several machines: their only common place is the database."""
    import sqlalchemy

    server = sqlalchemy.create_engine(postgres_address, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE fresh")
    server.dispose()
    program = "from cifar_track import tracking; tracking.open_store()"
    openings = []
    for number in range(4):
        own = tmp_path / str(number)
        own.mkdir()
        environment = {
            **os.environ,
            "MLFLOW_TRACKING_URI": f"{postgres_address.removesuffix('/runs')}/fresh",
            "TMPDIR": str(own),
            "HOME": str(own),
            "PYTHONPATH": str(REPOSITORY),
        }
        openings.append(
            subprocess.Popen(
                [sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE, text=True
            )
        )
    told = [opening.communicate(timeout=300)[1] for opening in openings]
    assert [opening.returncode for opening in openings] == [0] * 4, told


@pytest.mark.slow
def test_a_kill_while_the_tables_are_made_leaves_a_store_that_opens(elsewhere, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "tests"))))
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__, "mlflow.store.tracking.sqlalchemy_store"])
    whole = None
    for attempt in range(6):
        folder = elsewhere / str(attempt)
        folder.mkdir()
        opening = processes.Event()
        one = processes.Process(target=open_and_tell, args=(folder, opening))
        began = time.monotonic()
        one.start()
        assert opening.wait(60)
        if whole is None:  # the first one is left alone, to know how long it takes
            one.join(120)
            whole = time.monotonic() - began
            continue
        time.sleep(whole * attempt / 6)
        one.kill()
        one.join(30)
        with sqlite3.connect(folder / "mlflow.db") as connection:
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        connection.close()
        assert tables == 0 or tables > 40
        if tables == 0:
            again = processes.Process(target=open_and_tell, args=(folder, opening))
            again.start()
            again.join(120)
            assert again.exitcode == 0
            assert len(tables_of(folder / "mlflow.db")) > 40


@pytest.mark.slow
def test_a_real_training_in_a_folder_of_any_name(tmp_path):
    folder = tmp_path / "100% of a%20b, q?m#h"
    folder.mkdir()
    # fmt: off
    command = [
        sys.executable, "-m", "cifar_track", "train", "--experiment", "adam_bn",
        "--dataset", "procedural", "--epochs", "1", "--set",
        "data.train_per_class=4 data.validation_per_class=1 data.test_per_class=1",
    ]
    # fmt: on
    left_out = ("MLFLOW_TRACKING_URI",)
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    environment |= {"PYTHONPATH": str(REPOSITORY), "XDG_STATE_HOME": str(folder / "state")}
    compare = [sys.executable, "-m", "cifar_track", "compare", "--dataset", "procedural"]
    for verb in (command, compare):
        done = subprocess.run(
            verb, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert len(list(folder.rglob("evaluation/per_class.csv"))) == 1
    assert len(list(folder.rglob("comparison/comparison.html"))) == 1
    assert len(list(folder.rglob("MLmodel"))) == 1
    json.loads(next(folder.rglob("config.json")).read_text())
