"""Stores to log to: a fresh SQLite file for each test, a real server and PostgreSQL; a browser."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cifar_track import preflight

if TYPE_CHECKING:
    from playwright.sync_api import Browser

POSTGRES_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
# What `mlflow run`, or the shell that pytest is started from, may have set.
MLFLOW_VARIABLES = (
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# fmt: off
CHROMIUM_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]
# fmt: on
# No test asks the author's server for the images, whatever the environment says.
NO_DOWNLOAD = "http://127.0.0.1:9/nothing-listens-here.tar.gz"
os.environ["CIFAR100_URL"] = NO_DOWNLOAD
# A shell that starts the tests in the background, or nohup, has them ignore these signals, and so
# would every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that every user may enter, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="cifar_track-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        for path in folder.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def as_somebody_else() -> Callable[[], AbstractContextManager[None]]:
    """A block in which the files' permissions count, which root's own processes don't heed."""

    @contextmanager
    def block() -> Iterator[None]:
        if os.getuid() != 0:
            yield
            return
        groups = os.getgroups()
        os.setgroups([])
        os.setresgid(65534, 65534, 0)
        os.setresuid(65534, 65534, 0)
        try:
            yield
        finally:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
            os.setgroups(groups)

    return block


@pytest.fixture
def elsewhere(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty working folder and state folder, and nothing of MLflow's in the environment."""
    import mlflow

    for name in MLFLOW_VARIABLES:
        # Set first, so that what a test sets by itself is undone as well.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def every_name_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a verb asks before it loads MLflow is answered by: that run, that champion is there."""
    for name in ("require_run", "require_runs", "require_champion"):
        monkeypatch.setattr(preflight, name, lambda *_given, **_named: None)


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with MLflow's tables and nothing in them; making them takes seconds.

    Beside it lay what an earlier process leaves that is killed while it makes them.
    """
    from cifar_track.tracking.schema import tables

    folder = tmp_path_factory.mktemp("schema")
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db.making")) as connection:
        connection.execute("CREATE TABLE spans (x)")
    (folder / "mlflow.db.making-journal").write_bytes(b"half a journal")
    (folder / "mlflow.db").touch()  # as a program does that only looks
    with tables(f"sqlite:///{folder / 'mlflow.db'}"):
        pass
    return folder / "mlflow.db"


@pytest.fixture
def sqlite_store(elsewhere: Path, schema: Path) -> Path:
    """The default store of a working folder, with its tables; the path of the file."""
    return Path(shutil.copy(schema, elsewhere / "mlflow.db"))


class TrackingServer:
    """A real tracking server with one worker, on a store of its own.

    Attributes:
        address: where it answers, whenever it runs.
    """

    def __init__(self, schema: Path, folder: Path) -> None:
        shutil.copy(schema, folder / "mlflow.db")
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        # fmt: off
        self._command = [
            sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port),
            "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
            "--artifacts-destination", str(folder / "artifacts"),
        ]
        # fmt: on

    def start(self) -> None:
        """Start it, and wait until it answers."""
        environment = {k: v for k, v in os.environ.items() if k not in MLFLOW_VARIABLES}
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env={**environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(
            lambda: answers(f"{self.address}/health"), what=f"{log.name}: no server", seconds=180
        )

    def kill(self) -> None:
        """End all of its processes at once, if it runs."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it as its administrator does."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


@pytest.fixture(scope="session")
def server_address(schema: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real tracking server."""
    server = TrackingServer(schema, tmp_path_factory.mktemp("server"))
    try:
        server.start()
        yield server.address
    finally:
        server.stop()


@pytest.fixture
def server_store(elsewhere: Path, server_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tracking server, shared by the tests that ask for it, as the store."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server_address)
    return server_address


@pytest.fixture(scope="session")
def postgres_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty database in a real PostgreSQL that lives as long as the tests."""
    drivers = [name for name in ("psycopg", "psycopg2") if importlib.util.find_spec(name)]
    if not drivers:
        pytest.skip("neither psycopg nor psycopg2, PostgreSQL's drivers, is installed")
    if not POSTGRES_PROGRAMS:
        pytest.skip("PostgreSQL is not installed")
    programs = POSTGRES_PROGRAMS[-1]
    user = None
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user `postgres`")
    # Not below pytest's own folder, which nobody else may enter.
    folder = Path(tempfile.mkdtemp(prefix="cifar_track-postgres-"))
    if user is not None:
        shutil.chown(folder, user)
    port = free_port()

    def run(*command: str) -> None:
        subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    data = folder / "data"
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        run(str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "tester")
        run(str(programs / "pg_ctl"), "-D", str(data), "-o", options, "-w", "-l",
            str(folder / "log"), "start")  # fmt: skip
        try:
            run(str(programs / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "tester",
                "runs")  # fmt: skip
            yield f"postgresql+{drivers[0]}://tester@127.0.0.1:{port}/runs"
        finally:
            run(str(programs / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(address: str) -> bool:
    """Whether a server answers at an address."""
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except OSError:
        return False


def wait_for(condition, *, what: str, seconds: float = 90.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
