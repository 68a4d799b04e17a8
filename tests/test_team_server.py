"""The server of `deploy/`: real PostgreSQL, real `mlflow server` with accounts, and its files."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests
import yaml
from conftest import MLFLOW_VARIABLES, answers, free_port, wait_for

from cifar_track import cli, tracking

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
ADMIN_PASSWORD = "a first password, 24 signs"
ALICE_PASSWORD = "al1ce's own: word/with@signs"


@pytest.fixture(scope="module")
def team_server(postgres_address, tmp_path_factory):
    """The server as the systemd unit starts it, on a PostgreSQL of its own; its address."""
    import psycopg2

    folder = tmp_path_factory.mktemp("team")
    place = urlsplit(postgres_address)
    connection = psycopg2.connect(
        host=place.hostname, port=place.port, user=place.username, dbname="runs"
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in (DEPLOY / "create-databases.sql").read_text().split(";")[:-1]:
            cursor.execute(statement)
    connection.close()
    unit = (DEPLOY / "systemd" / "cifar_track-server.service").read_text().replace("\\\n", " ")
    command = re.search(r"^ExecStart=\S+/mlflow (.*)$", unit, re.MULTILINE).group(1).split()
    command[command.index("--artifacts-destination") + 1] = str(folder / "artifacts")
    settings = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE))
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if name not in MLFLOW_VARIABLES},
        **settings,
        "PGHOST": str(place.hostname),
        "PGPORT": str(place.port),
        "PGUSER": str(place.username),
        "MLFLOW_AUTH_CONFIG_PATH": str(DEPLOY / "accounts.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for the tests",
    }
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command, "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(
            lambda: answers(f"{address}/health"), what=(folder / "log").read_text(), seconds=300
        )
        made = requests.post(
            f"{address}/api/2.0/mlflow/users/create",
            json={"username": "alice", "password": ALICE_PASSWORD},
            auth=("admin", ADMIN_PASSWORD),
            timeout=60,
        )
        assert made.status_code == 200, made.text
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


@pytest.fixture
def account(elsewhere, team_server, monkeypatch):
    """Lets a test log in."""

    def log_in(name, password):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", team_server)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        tracking.store._opened.clear()  # a process logs in once

    return log_in


@pytest.mark.slow
class TestAccounts:
    def test_whoever_has_one_logs_runs_that_others_read(self, account):
        account("alice", ALICE_PASSWORD)
        with tracking.start_run(dataset_name="procedural", name="hers", kind="study") as run:
            run.log_metrics({"test_accuracy": 0.5})
            run.log_text("a note", "note.txt")
        account("admin", ADMIN_PASSWORD)
        found = tracking.store.client().get_run(run.id)
        assert (found.info.status, found.data.metrics) == ("FINISHED", {"test_accuracy": 0.5})
        path = tracking.store.client().download_artifacts(run.id, "note.txt")
        assert Path(path).read_text() == "a note"

    def test_a_wrong_password_is_one_line_before_anything_trains(self, account, capsys):
        account("alice", "not hers")
        arguments = ["train", "--experiment", "baseline", "--dataset", "procedural"]
        assert cli.run(arguments) == 2
        told = capsys.readouterr()
        assert told.err.count("\n") == 1
        assert "MLFLOW_TRACKING_USERNAME" in told.err
        assert "not hers" not in told.err + told.out

    def test_no_process_shows_a_password(self, account, team_server):
        account("alice", ALICE_PASSWORD)
        tracking.open_store()
        shown = " ".join(
            word
            for process in psutil.process_iter(["cmdline"])
            for word in process.info["cmdline"] or ()
        )
        assert ADMIN_PASSWORD not in shown
        assert ALICE_PASSWORD not in shown


class TestFiles:
    def test_the_accounts_file_holds_no_password(self):
        accounts = configparser.ConfigParser()
        accounts.read(DEPLOY / "accounts.ini")
        assert "admin_password" not in accounts["mlflow"]
        assert urlsplit(accounts["mlflow"]["database_uri"]).password is None

    def test_compose_and_the_unit_start_the_same_server(self):
        service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["server"]
        unit = (DEPLOY / "systemd" / "cifar_track-server.service").read_text()
        for name in ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION"):
            assert f"Environment={name}={service['environment'][name]}" in unit

    def test_kubernetes_takes_its_file(self):
        validate = pytest.importorskip("kubernetes_validate")
        documents = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "server.yaml").read_text()))
        assert [document["kind"] for document in documents] == [
            "PersistentVolumeClaim",
            "Deployment",
            "Service",
        ]
        for document in documents:
            validate.validate(document, "1.37", strict=True)

    def test_kubernetes_takes_the_pods_of_a_search(self):
        validate = pytest.importorskip("kubernetes_validate")
        text = (DEPLOY / "kubernetes" / "search.yaml").read_text()
        claim, job = yaml.safe_load_all(text)
        validate.validate(claim, "1.37", strict=True)
        cluster = job["spec"]["rayClusterSpec"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "a"},
                **group["template"],
            }
            validate.validate(pod, "1.37", strict=True)
        locked = tomllib.loads((DEPLOY.parent / "uv.lock").read_text())["package"]
        assert cluster["rayVersion"] in [p["version"] for p in locked if p["name"] == "ray"]
        assert "claimName: " + claim["metadata"]["name"] in text
        words = shlex.split(shlex.split(job["spec"]["entrypoint"])[-1])
        verb, *options = words[words.index("-m") + 2 :]
        with cli.verbs.commands[verb].make_context(verb, options) as context:
            assert context.params["cluster"] == "auto"

    def test_no_secret_is_in_the_repository(self):
        example = (DEPLOY / "secrets.env.example").read_text()
        assert all(line.endswith("=") for line in example.splitlines() if "=" in line)
        ignored = (DEPLOY.parent / ".gitignore").read_text().splitlines()
        assert "deploy/secrets.env" in ignored
