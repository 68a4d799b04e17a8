"""The server of `deploy/`: real PostgreSQL, real `mlflow server` with accounts, and its files."""

from __future__ import annotations

import base64
import configparser
import os
import re
import shlex
import shutil
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
from conftest import MLFLOW_VARIABLES, POSTGRES_PROGRAMS, answers, free_port, wait_for
from made_up_evaluations import make_evaluation

from cifar_track import cli, tracking, workflow
from cifar_track.tracking import tag

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
ADMIN_PASSWORD = "a first password, 24 signs"
ALICE_PASSWORD = "al1ce's own: word/with@signs"
CADDY = shutil.which("caddy")
TRAIN = ["train", "--experiment", "baseline", "--dataset", "procedural"]


def unit_and_its_variables():
    """The text of the systemd unit, and what it puts into the server's environment."""
    unit = (DEPLOY / "systemd" / "cifar_track-server.service").read_text()
    return unit, dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE))


class TeamServer:
    """The server as the systemd unit starts it, on a PostgreSQL of its own.

    Attributes:
        address: where it answers.
        artifacts: the folder that it hands out.
    """

    def __init__(self, database, folder):
        self.folder, self.artifacts = folder, folder / "artifacts"
        unit, variables = unit_and_its_variables()
        unit = unit.replace("\\\n", " ")
        command = re.search(r"^ExecStart=\S+/mlflow (.*)$", unit, re.MULTILINE).group(1).split()
        command[command.index("--artifacts-destination") + 1] = str(self.artifacts)
        port = free_port()
        self.command = [sys.executable, "-m", "mlflow", *command, "--port", str(port)]
        self.address = f"http://127.0.0.1:{port}"
        self.postgres = {
            "PGHOST": str(database.hostname),
            "PGPORT": str(database.port),
            "PGUSER": str(database.username),
        }
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in MLFLOW_VARIABLES},
            **variables,
            **self.postgres,
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "for the tests",
        }

    def start(self, accounts=DEPLOY / "accounts.ini"):
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**self.environment, "MLFLOW_AUTH_CONFIG_PATH": str(accounts)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(lambda: answers(f"{self.address}/health"), what=f"{log.name}", seconds=300)

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(60)

    def make_account(self, name, password):
        made = requests.post(
            f"{self.address}/api/2.0/mlflow/users/create",
            json={"username": name, "password": password},
            auth=("admin", ADMIN_PASSWORD),
            timeout=60,
        )
        assert made.status_code == 200, made.text


@pytest.fixture(scope="module")
def team_server(postgres_address, tmp_path_factory):
    """The server, running, with an account for Alice."""
    import psycopg2

    place = urlsplit(postgres_address)
    connection = psycopg2.connect(
        host=place.hostname, port=place.port, user=place.username, dbname="runs"
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE mlflow")  # whose the databases are, by the page
        for statement in (DEPLOY / "create-databases.sql").read_text().split(";")[:-1]:
            cursor.execute(statement)
    connection.close()
    server = TeamServer(place, tmp_path_factory.mktemp("team"))
    server.start()
    try:
        server.make_account("alice", ALICE_PASSWORD)
        yield server
    finally:
        server.stop()


@pytest.fixture
def account(elsewhere, team_server, monkeypatch):
    """Lets a test log in."""

    def log_in(name, password):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", team_server.address)
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
        assert cli.run(TRAIN) == 2
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

    def test_an_account_that_may_only_read_is_told_so_in_one_line(
        self, account, team_server, tmp_path, capsys
    ):
        readers = tmp_path / "accounts.ini"
        text = (DEPLOY / "accounts.ini").read_text()
        readers.write_text(text.replace("default_permission = EDIT", "default_permission = READ"))
        account("alice", ALICE_PASSWORD)
        experiment = tracking.store.ensure_experiment_id("procedural")  # which is hers
        team_server.make_account("bob", "b0b reads, and 24 signs")
        team_server.stop()
        team_server.start(readers)
        try:
            account("bob", "b0b reads, and 24 signs")
            settings = "data.train_per_class=5 data.validation_per_class=2 data.test_per_class=2"
            capsys.readouterr()
            assert cli.run([*TRAIN, "--set", settings]) == 2
            told = capsys.readouterr()
            assert told.err.startswith("error: this account may not write to the experiment")
            assert told.err.count("\n") == 1
            assert "epoch" not in told.out
            assert not tracking.store.client().search_runs(
                [experiment], "tags.mlflow.runName = 'baseline'"
            )
        finally:
            team_server.stop()
            team_server.start()


@pytest.mark.slow
def test_a_restored_server_gives_the_same_comparison(account, team_server, tmp_path):
    """By the commands of the page, each database and folder lost in between."""
    account("alice", ALICE_PASSWORD)
    run_ids = []
    for seed in (0, 1):
        with tracking.start_run(
            dataset_name="procedural",
            name=f"page {seed}",
            tags={tag.ITERATION: f"page{seed}", tag.TEST_DIGEST: "the same"},
        ) as run:
            run.log_parameters({"data.dataset": "procedural", "training.seed": seed})
            evaluation = make_evaluation(seed=seed)
            run.log_metrics(evaluation.metrics())
            run.log_evaluation(evaluation)
        run_ids.append(run.id)
    before = workflow.compare_runs(run_ids, output=tmp_path / "before")

    page = (DEPLOY / "README.md").read_text().partition("## Backup and restore")[2]
    backup, restore = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)[:2]

    def run_commands(text):
        # This database's administrator needs to become nobody else.
        text = text.replace("runuser -u postgres -- ", "")
        subprocess.run(
            ["bash", "-euc", text.replace("/var/lib/mlflow", str(team_server.folder))],
            cwd=tmp_path,
            env={
                **os.environ,
                **team_server.postgres,
                "PATH": f"{POSTGRES_PROGRAMS[-1]}{os.pathsep}{os.environ['PATH']}",
            },
            check=True,
        )

    run_commands(backup)
    team_server.stop()
    shutil.rmtree(team_server.artifacts)
    run_commands("dropdb mlflow && dropdb accounts")
    run_commands(restore)
    team_server.start()

    account("alice", ALICE_PASSWORD)  # whose account came back too
    after = workflow.compare_runs(run_ids, output=tmp_path / "after")
    assert [result.metrics for result in after.results] == [
        result.metrics for result in before.results
    ]
    pages = [(tmp_path / name / "summary.md").read_text() for name in ("before", "after")]
    assert pages[0] == pages[1]
    assert "page0" in pages[0]


@pytest.fixture(scope="module")
def tls(team_server, tmp_path_factory):
    """Caddy in front of the server, by the page's own lines, with an authority of its own."""
    if CADDY is None:
        pytest.skip("Caddy is not installed")
    folder, port = tmp_path_factory.mktemp("caddy"), free_port()
    page = (DEPLOY / "README.md").read_text()
    token = re.search(r"^```\n(\t@nightly .*?)```", page, re.MULTILINE | re.DOTALL).group(1)
    block = (DEPLOY / "Caddyfile").read_text()
    for written, here in (
        ("mlflow.example.org {", f"mlflow.example.org, localhost {{\n\ttls internal\n{token}"),
        ("127.0.0.1:5000", team_server.address.removeprefix("http://")),
    ):
        assert block.count(written) == 1
        block = block.replace(written, here)
    options = "admin off\nskip_install_trust\nauto_https disable_redirects"
    (folder / "Caddyfile").write_text(f"{{\n{options}\nhttps_port {port}\n}}\n{block}")
    account = base64.b64encode(f"alice:{ALICE_PASSWORD}".encode()).decode()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [CADDY, "run", "--config", "Caddyfile"],
            cwd=folder,
            env={
                "HOME": str(folder),
                "XDG_DATA_HOME": str(folder),
                "NIGHTLY_TOKEN": "t0ken",
                "NIGHTLY_ACCOUNT": account,
            },
            stdout=log,
            stderr=log,
        )
    authority = folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    def is_ready():
        try:
            address = f"https://localhost:{port}/health"
            return requests.get(address, verify=authority, timeout=5).ok
        except (OSError, requests.RequestException):
            return False

    try:
        wait_for(is_ready, what=f"{log.name}: no answer")
        yield f"https://localhost:{port}", authority
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.slow
class TestTls:
    @pytest.fixture
    def reach(self, elsewhere, tls, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tls[0])
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            monkeypatch.delenv(name, raising=False)

        def set_up(token, authority=tls[1]):
            monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
            monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(authority))
            tracking.store._opened.clear()

        return set_up

    def test_who_trusts_the_authority_and_has_a_token_logs_runs(self, reach):
        reach("t0ken")
        with tracking.start_run(dataset_name="procedural", name="nightly", kind="study") as run:
            run.log_text("by a token", "note.txt")
        assert tracking.store.client().get_run(run.id).info.status == "FINISHED"
        path = tracking.store.client().download_artifacts(run.id, "note.txt")
        assert Path(path).read_text() == "by a token"

    def test_another_token_is_one_line(self, reach, capsys):
        reach("an0ther")
        assert cli.run(TRAIN) == 2
        told = capsys.readouterr()
        assert told.err.count("\n") == 1
        assert "does not know this account" in told.err
        assert "an0ther" not in told.err + told.out

    def test_an_authority_that_is_not_trusted_is_one_line(self, reach, capsys):
        reach("t0ken", authority=requests.certs.where())
        assert cli.run(TRAIN) == 2
        told = capsys.readouterr()
        assert told.err.count("\n") == 1
        assert "certificate verify failed" in told.err

    @pytest.mark.parametrize(
        ("name", "origin", "status"),
        [
            ("mlflow.example.org", "https://mlflow.example.org", 200),
            ("mlflow.example.org", "https://elsewhere.example.org", 403),
        ],
    )
    def test_a_browser_asks_from_the_servers_own_page_alone(self, name, origin, status, tls):
        address, authority = tls
        answer = requests.post(
            f"{address}/ajax-api/2.0/mlflow/experiments/search",
            json={"max_results": 1},
            headers={"Host": name, "Origin": origin},
            auth=("alice", ALICE_PASSWORD),
            verify=authority,
            timeout=60,
        )
        assert answer.status_code == status, answer.text


class TestFiles:
    def test_the_accounts_file_holds_no_password(self):
        accounts = configparser.ConfigParser()
        accounts.read(DEPLOY / "accounts.ini")
        assert "admin_password" not in accounts["mlflow"]
        assert urlsplit(accounts["mlflow"]["database_uri"]).password is None

    def test_compose_and_the_unit_start_the_same_server(self):
        service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["server"]
        _, variables = unit_and_its_variables()
        for name in ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION"):
            assert variables[name] == service["environment"][name]

    def test_each_server_answers_to_its_name_and_to_pages_that_come_from_it(self):
        containers = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["server"]
        _, deployment, _ = yaml.safe_load_all((DEPLOY / "kubernetes" / "server.yaml").read_text())
        # Else the Service `mlflow` gives it MLFLOW_PORT=tcp://…, which is no port of a server's.
        assert deployment["spec"]["template"]["spec"]["enableServiceLinks"] is False
        pod = deployment["spec"]["template"]["spec"]["containers"][0]
        name = "mlflow.example.org"
        for variables in (
            unit_and_its_variables()[1],
            {
                key: value.replace("${MLFLOW_HOST_NAME:-localhost}", name)
                for key, value in containers["environment"].items()
            },
            {variable["name"]: variable["value"] for variable in pod["env"]},
        ):
            # Without a port, as a browser writes it for `https`.
            assert name in variables["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
            assert variables["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == f"https://{name}"

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
