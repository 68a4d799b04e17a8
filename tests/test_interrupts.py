"""Signals to real processes: one exception, a clean-up in peace, and a launcher that is gone."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from conftest import wait_for

REPOSITORY = Path(__file__).resolve().parent.parent
PREAMBLE = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from cifar_track import interrupts
"""
# What a run does: it is opened in peace, can be cut short, and is closed in peace. `open` counts
# what is open; whatever the moment of the signals, nothing may stay so.
BLOCK = """
still_open = 0
def closed():
    global still_open
    for _ in range(5):
        time.sleep(0.01)
    still_open -= 1
status = 0
try:
    with interrupts.raised():
        print("ready", flush=True)
        while True:
            with interrupts.deferred():
                still_open += 1
                time.sleep(0.01)
                try:
                    with interrupts.allowed():
                        for _ in range(5):
                            time.sleep(0.01)
                except BaseException:
                    closed()
                    raise
                else:
                    closed()
except KeyboardInterrupt as error:
    status = interrupts.exit_status(error)
print(still_open, flush=True)
os._exit(status)
"""


def start(script, *, pipe=subprocess.PIPE, **settings):
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(script), str(REPOSITORY)],
        stdout=pipe,
        text=True,
        **settings,
    )


@pytest.mark.parametrize(
    ("numbers", "gap"),
    [
        ((signal.SIGINT,), 0.0),
        ((signal.SIGHUP,), 0.0),
        ((signal.SIGINT, signal.SIGTERM), 0.0),
        ((signal.SIGINT, signal.SIGTERM), 0.02),
        ((signal.SIGINT, signal.SIGINT), 0.04),
        ((signal.SIGTERM, signal.SIGTERM, signal.SIGINT), 0.01),
    ],
    ids=str,
)
def test_what_was_opened_is_closed_once_whatever_follows_the_first_signal(numbers, gap):
    moments = random.Random(repr((numbers, gap)))
    for _ in range(3):
        with start(BLOCK) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0, 0.2))
            for number in numbers:
                process.send_signal(number)
                time.sleep(gap)
            said, _ = process.communicate(timeout=20)
        assert said == "0\n"
        # Two that come at once may be told in either order.
        assert process.returncode in {128 + number for number in numbers}


def test_a_signal_that_comes_when_the_clean_up_is_stuck_is_heard():
    script = """
    interrupts.HOLD_SECONDS = 0.2
    try:
        with interrupts.raised():
            try:
                print("ready", flush=True)
                time.sleep(60)
            finally:
                print("stuck", flush=True)
                time.sleep(60)
    except KeyboardInterrupt:
        print("left", flush=True)
    """
    with start(script) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stuck\n"
        time.sleep(0.4)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20)[0] == "left\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "inside",
    [
        """
        class Inside:
            def __del__(self):
                wait()
        def enter(): Inside()
        """,
        """
        import weakref
        class Inside: pass
        def enter():
            inside = Inside()
            reference = weakref.ref(inside, lambda _: wait())
            del inside
        """,
    ],
)
def test_a_signal_that_comes_where_python_lets_nothing_out_is_heard(number, inside):
    process = start(
        """
        def wait():
            print("inside", flush=True)
            time.sleep(60)
        """
        + inside
        + """
        try:
            with interrupts.raised():
                enter()
                for _ in range(600):
                    time.sleep(0.1)
        except KeyboardInterrupt as error:
            print("heard", flush=True)
            os._exit(interrupts.exit_status(error))
        """,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == "inside\n"
    process.send_signal(number)
    told, complaints = process.communicate(timeout=20)
    assert (told, complaints) == ("heard\n", "")
    assert process.returncode == 128 + number


def test_handlers_are_put_back_and_what_is_ignored_stays_ignored():
    script = """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    def mine(*_): pass
    signal.signal(signal.SIGTERM, mine)
    with interrupts.raised():
        with interrupts.raised():
            pass
        assert signal.getsignal(signal.SIGTERM) is not mine
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is mine
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    """
    with start(script) as process:
        process.communicate(timeout=20)
    assert process.returncode == 0


LAUNCHED = """
interrupts.WATCH_SECONDS = 0.05
interrupts.follow_launcher()
try:
    with interrupts.raised():
        print(os.getpid(), flush=True)
        time.sleep(60)
except interrupts.Terminated as error:
    print(error, interrupts.launcher_is_gone(), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("shell", [False, True], ids=["bash is replaced", "bash stays in between"])
def test_a_command_ends_when_what_launched_it_is_gone(number, shell, tmp_path):
    # As `mlflow run` does it: `bash -c command`, and a wait.
    (tmp_path / "work.py").write_text(PREAMBLE + LAUNCHED)
    command = f"{sys.executable} {tmp_path / 'work.py'} {REPOSITORY}" + ("; exit 3" * shell)
    launcher = "import subprocess, sys; subprocess.Popen(['bash', '-c', sys.argv[1]]).wait()"
    with subprocess.Popen(
        [sys.executable, "-c", launcher, command], stdout=subprocess.PIPE, text=True
    ) as process:
        worker = int(process.stdout.readline())
        process.send_signal(number)
        assert process.stdout.readline() == "its launcher is gone True\n"
        assert process.stdout.readline() == ""  # it has let go of its output
    wait_for(lambda: not psutil.pid_exists(worker), what=f"{worker} lives", seconds=20)
