"""Somebody else's settings: what libraries find in the environment, and where files may go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from cifar_track import addresses, environment, folders
from cifar_track.config import CifarTrackError
from cifar_track.workflow.terminal import load_tensorflow

REPOSITORY = Path(__file__).resolve().parent.parent

# What Jupyter, Colab, another project and a debugging session leave in a shell.
FOREIGN = {
    "MPLBACKEND": "module://matplotlib_inline.nowhere_to_be_found",
    "KERAS_BACKEND": "jax",
    "TF_USE_LEGACY_KERAS": "1",
    "KERAS_NNX_ENABLED": "true",
    "KERAS_MAX_EPOCHS": "1",
    "KERAS_MAX_STEPS_PER_EPOCH": "1",
    "TF_FORCE_GPU_ALLOW_GROWTH": "false",
}
FOREIGN_KERAS = {
    "floatx": "float16",
    "epsilon": 0.5,
    "backend": "torch",
    "image_data_format": "channels_first",
}

# A trial's process is started by `spawn`: it has the environment, and none of the settings.
PROGRAM = """
import json, multiprocessing, sys
from cifar_track import environment
def facts():
    import matplotlib.figure
    from cifar_track import training
    from cifar_track.config import load_experiment
    import keras, tensorflow as tf
    from tensorflow.python.eager import context
    page = load_experiment("adam_bn")
    training.check_model(page, classes=100)
    untouched = context.context()._context_handle is None
    network = training.build_model(page, classes=100)
    return {
        "backend": keras.config.backend(),
        "format": keras.config.image_data_format(),
        "floatx": keras.config.floatx(),
        "epsilon": keras.config.epsilon(),
        "epochs": keras.config.max_epochs(),
        "input": network.input_shape,
        "weights": str(network.weights[0].dtype),
        "devices untouched by a check": untouched and context.context()._context_handle is not None,
        "tf.keras": tf.keras.__version__ == keras.__version__,
    }
def report(connection):
    connection.send(facts())
if __name__ == "__main__":
    environment.settle()
    near, far = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=report, args=(far,))
    child.start()
    found = near.recv()
    child.join()
    print(json.dumps([found, facts()]))
"""


def test_networks_are_the_same_whatever_the_persons_settings_say(tmp_path):
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text(json.dumps(FOREIGN_KERAS))
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, program],
        env={
            **os.environ,
            **FOREIGN,
            "HOME": str(tmp_path),
            "KERAS_HOME": str(tmp_path / ".keras"),
            "PYTHONPATH": str(REPOSITORY),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    child, parent = json.loads(done.stdout)
    assert child == parent
    assert parent == {
        "backend": "tensorflow",
        "format": "channels_last",
        "floatx": "float32",
        "epsilon": 1e-7,
        "epochs": None,
        "input": [None, 32, 32, 3],
        "weights": "float32",
        "devices untouched by a check": True,
        "tf.keras": True,
    }


@pytest.mark.parametrize(
    ("settings", "told"), [('{"floatx": "float8"}', "float8"), ("[]", "'list' object")]
)
def test_settings_that_keras_itself_refuses_are_one_line(settings, told, tmp_path):
    (tmp_path / "keras.json").write_text(settings)
    done = subprocess.run(
        [sys.executable, "-c", "from cifar_track.environment import load_keras; load_keras()"],
        cwd=REPOSITORY,
        env={**os.environ, "KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "CifarTrackError: Keras can't use its settings in" in last
    assert told in last
    assert f"{tmp_path}/keras.json" in last


@pytest.mark.slow
def test_flags_that_end_tensorflow_are_told_by_it():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from cifar_track.workflow.terminal import load_tensorflow as f; f()",
        ],
        cwd=REPOSITORY,
        env={**os.environ, "TF_XLA_FLAGS": "--no_such_flag"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "--no_such_flag" in done.stderr


# What macOS, and what Windows besides, is without.
LESS_THAN_LINUX = """
import os, signal, sys
for module, names in {
    os: ("sched_getaffinity", "sched_setaffinity", "getuid"),
    signal: ("pthread_sigmask", "SIGHUP"),
}.items():
    for name in names:
        delattr(module, name)
sys.modules["pwd"] = None
from cifar_track import cli, interrupts, workflow
from cifar_track.tracking import process, schema
from cifar_track.tuning import resources
with schema.tables("sqlite:///mlflow.db"), interrupts.raised():
    pass
assert process.user_name() and process.machine_tags() and process.identity_tags()
assert resources.usable_cores() and resources.free_memory()
sys.exit(cli.run(["doctor"]))
"""


def test_it_runs_where_there_is_less_than_linux_has(sqlite_store):
    done = subprocess.run(
        [sys.executable, "-c", LESS_THAN_LINUX],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_a_library_warns_of_is_no_error_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setattr(sys, "warnoptions", ["error"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what Python makes of the variable
        environment.settle()
        warnings.warn("to be left out one day", DeprecationWarning, stacklevel=1)
        with pytest.warns(UserWarning, match="heard"):
            warnings.warn("heard", UserWarning, stacklevel=1)
    assert "PYTHONWARNINGS" not in os.environ
    assert not sys.warnoptions  # a process that is started would get them


def test_variables_are_set_for_a_moment(monkeypatch):
    monkeypatch.setenv("SET", "before")
    monkeypatch.delenv("UNSET", raising=False)
    with environment.variables({"SET": "1", "UNSET": "2"}):
        assert (os.environ["SET"], os.environ["UNSET"]) == ("1", "2")
        del os.environ["UNSET"]  # as whoever consumes it may do
    assert os.environ["SET"] == "before"
    assert "UNSET" not in os.environ


# Folders


def test_the_state_folder_follows_the_standard(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert folders.state_directory() == tmp_path / "cifar_track"
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folders.state_directory().is_relative_to(tmp_path)


def test_a_state_folder_that_cannot_be_written_is_one_line(
    as_somebody_else, open_folder, monkeypatch
):
    (open_folder / "state").mkdir(mode=0o555)
    monkeypatch.setenv("XDG_STATE_HOME", str(open_folder / "state"))
    with as_somebody_else(), pytest.raises(CifarTrackError) as caught:
        folders.require_state_directory()
    assert "can't be written (Permission denied)" in str(caught.value)
    assert "XDG_STATE_HOME" in str(caught.value)


def test_a_state_folder_that_cannot_be_made_is_one_line(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/no/such/place")
    with pytest.raises(CifarTrackError, match="XDG_STATE_HOME"):
        folders.require_state_directory()


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert folders.expanded(Path("~/data")) == Path("/home/me/data")
    with pytest.raises(CifarTrackError, match="in full"):
        folders.expanded(Path("~no_such_user_at_all/data"))


@pytest.mark.parametrize("text", ["-1", "abc", "nan", "1.5", "99999999999"])
def test_a_number_of_threads_that_is_none_is_one_line(monkeypatch, text):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", text)
    with pytest.raises(CifarTrackError, match=f"TF_NUM_INTRAOP_THREADS={text} is no number"):
        load_tensorflow()


def test_a_level_that_mlflow_stumbles_over_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cifar_track", "runs"],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_LOGGING_LEVEL": "loud", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: MLFLOW_LOGGING_LEVEL=loud is no level; expected DEBUG")
    assert done.stderr.count("\n") == 1


# Addresses


@pytest.mark.parametrize(
    ("address", "as_shown"),
    [
        ("http://localhost:5000", "http://localhost:5000"),
        ("http://me:secret@host:5000/x", "http://me:***@host:5000/x"),
        ("https://t0k3n@host", "https://***@host"),
        ("http://t0k3n@host", "http://***@host"),
        ("postgresql+psycopg2://me:s/ec?r#et@host/runs",
         "postgresql+psycopg2://me:***@host/runs"),
        ("postgresql://me@host/runs", "postgresql://me@host/runs"),
        ("postgresql://host/runs?user=me&password=secret&sslmode=require",
         "postgresql://host/runs?user=me&password=***&sslmode=require"),
        ("postgresql://me:s@cr@t@host/runs", "postgresql://me:***@host/runs"),
        ("mysql://host/runs?pass=secret&charset=utf8", "mysql://host/runs?pass=***&charset=utf8"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Dsa%3BPWD%3Dsecret%3BServer%3Dh",
         "mssql+pyodbc:///?odbc_connect=UID%3Dsa%3BPWD%3D***%3BServer%3Dh"),
        ("invalid return character(s) in header value: 'Bearer secret\\n'",
         "invalid return character(s) in header value: 'Bearer ***'"),
        ("postgresql://host/runs?sslpassword=secret", "postgresql://host/runs?sslpassword=***"),
        ("https://host/x?access_token=secret&page=2", "https://host/x?access_token=***&page=2"),
        ("sqlite:////home/me/a:b@c/mlflow.db", "sqlite:////home/me/a:b@c/mlflow.db"),
        ("API request to http://me:secret@host/api failed: http://me:secret@host/health",
         "API request to http://me:***@host/api failed: http://me:***@host/health"),
    ],
)  # fmt: skip
def test_passwords_are_not_shown(address, as_shown):
    assert addresses.shown(address) == as_shown


def test_a_link_carries_no_credentials():
    assert addresses.for_a_link("http://me:secret@host:5000/") == "http://host:5000"
    assert addresses.for_a_link("https://host/mlflow/") == "https://host/mlflow"


def test_looking_at_a_folder_for_results_leaves_none(tmp_path):
    folders.require_output(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    folders.require_output(tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]
