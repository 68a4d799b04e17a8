"""Calls in processes of their own: real ones, of this machine."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from cifar_track.config import CifarTrackError
from cifar_track.workflow.side_by_side import LabelledLines, require_all, run_side_by_side
from cifar_track.workflow.terminal import tell
from tests.conftest import wait_for


def told(run_id):
    sys.stdout.write("begins ")
    sys.stdout.write("and goes on\n")
    tell(f"named: {os.environ['TF_NUM_INTRAOP_THREADS']} threads")
    return run_id


def mistaken():
    raise CifarTrackError("a setting is wrong")


def broken():
    return {}["missing"]


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def test_each_line_says_whose_it_is_and_each_result_is_known_by_its_label(capfd, monkeypatch):
    monkeypatch.setattr("cifar_track.tuning.usable_cores", lambda: 4)
    calls = {"named": partial(told, "1"), "other": partial(told, "2"), "wrong": mistaken}
    run_ids, failures = run_side_by_side(calls, workers=2)
    assert run_ids == {"named": "1", "other": "2"}
    assert [str(failures[label]) for label in failures] == ["a setting is wrong"]
    assert sorted(capfd.readouterr().out.splitlines()) == [
        "named: 2 threads",
        "named: begins and goes on",
        "other: begins and goes on",
        "other: named: 2 threads",
    ]
    with pytest.raises(CifarTrackError, match=r"^1 of 3 runs failed \(wrong: a setting is wrong\)"):
        require_all(run_ids, failures)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (broken, KeyError, "missing"),
        (
            killed,
            CifarTrackError,
            "(call: its process was killed by SIGKILL; the machine",
        ),
    ],
)
def test_an_error_of_the_program_is_raised_and_a_kill_is_told(call, error, words):
    run_ids, failures = run_side_by_side({"call": call}, workers=1)
    with pytest.raises(error, match=re.escape(words)):
        require_all(run_ids, failures)


INTERRUPTED = """
from cifar_track import interrupts
from cifar_track.workflow.side_by_side import run_side_by_side
from tests.test_side_by_side import endless

try:
    with interrupts.raised():
        print("begins", flush=True)
        run_side_by_side({name: endless for name in ("a", "b", "c")}, workers=2)
except KeyboardInterrupt as signal:
    raise SystemExit(interrupts.exit_status(signal))
"""


def endless():
    try:
        while True:
            time.sleep(1)
    finally:
        tell("cleaned up")


@pytest.mark.parametrize(
    ("number", "whole_group", "seconds"),
    [
        (signal.SIGINT, True, 0.05),  # while the first process is started
        (signal.SIGINT, True, 1.0),  # while they import
        pytest.param(signal.SIGTERM, False, 10.0, marks=pytest.mark.slow),  # while they run
    ],
)
def test_a_signal_ends_every_process_at_whatever_moment(number, whole_group, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "begins\n"
    time.sleep(seconds)
    (os.killpg if whole_group else os.kill)(process.pid, number)
    told, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert set(told.splitlines()) <= {"a: cleaned up", "b: cleaned up"}
    if seconds > 5:
        assert told
    wait_for(lambda: not _lives(process.pid), what="the end of the last process", seconds=10)


def _lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_lines_stay_whole_whatever_is_written():
    stream = io.StringIO()
    lines = LabelledLines(stream, "seed 1")
    for text in ("a", "b\nc\n", "", "\n", "seed 1: d\nrest"):
        lines.write(text)
    assert stream.getvalue() == "seed 1: ab\nseed 1: c\nseed 1: \nseed 1: d\n"
    assert not lines.isatty()
