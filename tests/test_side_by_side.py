"""Calls in processes of their own: real ones, of this machine."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import wait_for

from cifar_track import quiet
from cifar_track.config import CifarTrackError
from cifar_track.quiet import is_quiet
from cifar_track.workflow.side_by_side import (
    FailedSideBySideError,
    Failure,
    LabelledLines,
    _environment,
    require_all,
    run_side_by_side,
)
from cifar_track.workflow.terminal import tell


def told(run_id):
    sys.stdout.write("begins ")
    sys.stdout.write("and goes on\n")
    tell(f"named: {os.environ['TF_NUM_INTRAOP_THREADS']} threads, quiet {is_quiet()}")
    sys.stdout.write("an ending")
    return run_id


def mistaken(text="a setting is wrong", exit_status=2):
    error = CifarTrackError(text)
    error.exit_status = exit_status
    raise error


class OddError(Exception):
    """One that can't be sent to another process."""

    def __init__(self, one, another):
        super().__init__(one)
        self.another = another


def broken():
    raise OddError("something odd", threading.Lock())


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def test_each_line_says_whose_it_is_and_each_result_is_known_by_its_label(capfd, monkeypatch):
    monkeypatch.setattr("cifar_track.tuning.usable_cores", lambda: 4)
    calls = {"named": partial(told, "1"), "other": partial(told, "2"), "wrong": mistaken}
    with quiet.told(quiet=True):
        run_ids, failures = run_side_by_side(calls, workers=2)
    assert run_ids == {"named": "1", "other": "2"}
    assert sorted(capfd.readouterr().out.splitlines()) == [
        "named: 2 threads, quiet True",
        "named: an ending",
        "named: begins and goes on",
        "other: an ending",
        "other: begins and goes on",
        "other: named: 2 threads, quiet True",
        "wrong: failed: a setting is wrong",
    ]
    with pytest.raises(CifarTrackError, match=r"^1 of 3 runs failed \(wrong: a setting is wrong\)"):
        require_all(run_ids, failures)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (broken, FailedSideBySideError, r"(?s)^Traceback .* in broken.*OddError: something odd"),
        (killed, CifarTrackError, r"\(call: its process was killed by SIGKILL; the machine may be"),
    ],
)
def test_an_error_of_the_program_is_raised_and_a_kill_is_told(call, error, words):
    run_ids, failures = run_side_by_side({"call": call}, workers=1)
    with pytest.raises(error, match=words):
        require_all(run_ids, failures)


def test_what_all_have_in_common_is_told_once_and_ends_as_the_gravest():
    failures = {"a": Failure("no images", 2), "b": Failure("no images", 75)}
    with pytest.raises(CifarTrackError, match=r"^2 of 3 runs failed \(no images\)$") as caught:
        require_all({"c": "1"}, failures)
    assert caught.value.exit_status == 75
    require_all({"c": "1"}, {})


def test_each_has_a_device_where_there_are_several(monkeypatch):
    monkeypatch.setattr("cifar_track.tuning.devices", lambda: ("0", "3"))
    environments = [_environment(n, workers=2, temporary="") for n in range(2)]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments] == ["0", "3"]


ROOT = Path(__file__).parents[1]
INTERRUPTED = """
from cifar_track import interrupts
from cifar_track.workflow.side_by_side import run_side_by_side
from test_side_by_side import endless

try:
    with interrupts.raised():
        print("begins", flush=True)
        run_side_by_side({"a": endless, "b": endless, "c": endless}, workers=2)
except KeyboardInterrupt as ended:
    raise SystemExit(interrupts.exit_status(ended))
"""


def endless():
    try:
        tell("runs")
        time.sleep(1000)
    finally:
        tell("cleaned up")
        raise RuntimeError(100_000 * "more than a pipe holds ")


@pytest.mark.parametrize(
    ("number", "whole_group", "seconds"),
    [
        pytest.param(signal.SIGINT, True, 0.05, marks=pytest.mark.slow),  # as the first is started
        pytest.param(signal.SIGINT, True, 1.0, marks=pytest.mark.slow),  # while they import
        (signal.SIGTERM, False, None),  # while they run
    ],
)
def test_a_signal_ends_every_process_at_whatever_moment(number, whole_group, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "begins\n"
    if seconds is None:
        assert sorted(process.stdout.readline() for _ in range(2)) == ["a: runs\n", "b: runs\n"]
    else:
        time.sleep(seconds)
    (os.killpg if whole_group else os.kill)(process.pid, number)
    told, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    if seconds is None:
        assert sorted(told.splitlines()) == ["a: cleaned up", "b: cleaned up"]
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
    lines.finish()
    assert stream.getvalue() == "seed 1: ab\nseed 1: c\nseed 1: \nseed 1: d\nseed 1: rest\n"
    assert not lines.isatty()


def test_a_reader_that_has_gone_and_a_strange_encoding_end_nothing(tmp_path):
    (tmp_path / "program.py").write_text(UNREAD)
    done = subprocess.run(
        f"{sys.executable} program.py | head -1",
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "call: s\\xfc\\xdf\n"
    assert done.stderr == "['1']\n"


UNREAD = """
import sys, time
from cifar_track import streams
from cifar_track.workflow.side_by_side import run_side_by_side
def call():
    for _ in range(3):
        print("s\\xfc\\xdf", flush=True)
        time.sleep(0.5)
    return "1"
if __name__ == "__main__":
    streams.settle()
    run_ids, failures = run_side_by_side({"call": call}, workers=1)
    print(list(run_ids.values()), file=sys.stderr)
"""
