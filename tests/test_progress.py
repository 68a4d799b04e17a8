"""What a person sees while they wait: bars on a terminal, lines in a pipe, nothing when quiet."""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import re
import threading
import time

import click
import pytest

from cifar_track.cli.options import QUIET
from cifar_track.workflow import progress

METRICS = {"train_loss": 3.5, "train_accuracy": 0.15, "val_loss": 3.25, "val_accuracy": 0.2}
TIME = r"\d\d:\d\d:\d\d "


def tell_a_story():
    """What `train` does: two epochs of four steps, two trials, something that takes a while."""
    with progress.following_fit(2) as shown:
        for epoch in (1, 2):
            for step in range(1, 5):
                shown.show_step(epoch, step, 4)
                time.sleep(0.05)
            shown.show_epoch(epoch, METRICS)
    with progress.following_search(2, 2) as shown:
        shown.show_start(0, "units 8")
        shown.show_start(1, "units 16")
        for epoch in (1, 2):
            for number in (0, 1):
                shown.show_epoch(number, epoch, METRICS)
        for number in (0, 1):
            shown.show_end(number, "completed, 0.2000, 3 s")
    with progress.waiting("evaluating"):
        time.sleep(0.05)
    progress.tell("over")


@pytest.fixture
def terminal(monkeypatch):
    """Tells the story on a terminal of 80 columns; gives all that it was sent."""

    def sent(**environment):
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CI"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm-256color", "COLUMNS": "80", **environment}.items():
            monkeypatch.setenv(name, value)
        leader, follower = pty.openpty()
        received = []

        def receive():
            with contextlib.suppress(OSError):  # the other end is closed
                while chunk := os.read(leader, 4096):
                    received.append(chunk)

        reader = threading.Thread(target=receive)
        reader.start()
        with os.fdopen(follower, "w", encoding="utf-8") as stream:
            monkeypatch.setattr("sys.stdout", stream)
            tell_a_story()
        reader.join()
        os.close(leader)
        return b"".join(received).decode()

    yield sent
    monkeypatch.undo()


def without_control(sent):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent)


def test_a_terminal_gets_bars_with_the_time_left_and_lines_above_them(terminal):
    sent = terminal()
    plain = without_control(sent)
    assert re.search(r"epoch 2/2 [━╸╺]+ +\d+% \d:\d\d:\d\d", plain)
    assert re.search(r"fit +[━╸╺]+ +\d+%", plain)
    assert re.search(r"trial 1, validation 0\.2000 [━╸╺]+ +50%", plain)
    assert re.search(r"search +[━╸╺]+ +\d+%", plain)
    assert "evaluating" in plain
    lines = re.findall(rf"{TIME}([^\r\n]+)", plain)
    assert [line.rstrip() for line in lines] == [
        "epoch 1/2  train 0.1500 loss 3.500  val 0.2000 loss 3.250",
        "epoch 2/2  train 0.1500 loss 3.500  val 0.2000 loss 3.250",
        "trial 0 of 2: units 8",
        "trial 1 of 2: units 16",
        "trial 0 of 2: completed, 0.2000, 3 s",
        "trial 1 of 2: completed, 0.2000, 3 s",
    ]
    rows = re.split(r"(?:[\r\n]|\x1b\[\d*[A-K])+", sent)  # where the cursor changes its row
    assert max(len(without_control(row)) for row in rows) <= 80
    assert sent.rstrip().endswith("over")
    assert sent.count("\x1b[?25l") == sent.count("\x1b[?25h")  # the cursor is shown again


def test_no_color_is_heard(terminal):
    assert "\x1b[38;" in terminal()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9](;[0-9;]*)?m", terminal(NO_COLOR="1"))


def test_a_terminal_that_cannot_redraw_gets_lines(terminal):
    sent = terminal(TERM="dumb")
    assert "\x1b" not in sent
    assert "━" not in sent
    assert "trial 1 epoch 2/2" in sent


def test_a_pipe_gets_a_line_an_epoch_and_a_trial_with_the_time(capsys):
    with progress.following_fit(10) as shown:
        shown.show_step(1, 1, 4)
        shown.show_epoch(1, METRICS)
    with progress.following_search(2, 1) as shown:
        shown.show_start(0, "units 8")
        shown.show_epoch(0, 1, METRICS)
        shown.show_end(0, "failed, 3 s")
    with progress.waiting("evaluating"):
        pass
    printed = capsys.readouterr().out.splitlines()
    assert all(re.match(TIME, line) and len(line) <= 80 for line in printed)
    assert [line[9:] for line in printed] == [
        "epoch  1/10  train 0.1500 loss 3.500  val 0.2000 loss 3.250",
        "trial 0 of 2: units 8",
        "trial 0 epoch 1/1  train 0.1500 loss 3.500  val 0.2000 loss 3.250",
        "trial 0 of 2: failed, 3 s",
    ]


@pytest.mark.parametrize(
    ("arguments", "lines"), [("", 2), ("--quiet false", 2), ("--quiet true", 1), ("--quiet", 1)]
)
def test_quiet_leaves_the_results(capsys, arguments, lines):
    @click.command()
    @QUIET
    def verb():
        with progress.following_fit(1) as shown:
            shown.show_epoch(1, METRICS)
        progress.tell("test accuracy 0.2")

    verb.main(arguments.split(), standalone_mode=False)
    assert len(capsys.readouterr().out.splitlines()) == lines


def test_the_time_left_is_known_where_an_epoch_takes_minutes(terminal, monkeypatch):
    clock = itertools.count(step=40)  # rich itself forgets what is older than 30 s
    monkeypatch.setattr("rich.console.monotonic", lambda: float(next(clock)))
    plain = without_control(terminal())
    assert re.search(r"search +[━╸╺]+ +75% +\d+:\d\d:\d\d", plain)
