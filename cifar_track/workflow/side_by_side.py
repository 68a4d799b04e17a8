"""Runs of iterations side by side, each in a process of its own, which may use its share of cores.

Networks of the study's size gain a tenth from a second core; two at once gain nearly all of it.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TextIO

import click

from cifar_track import child, interrupts, tuning
from cifar_track.config import CifarTrackError
from cifar_track.quiet import be_quiet, is_quiet


def run_side_by_side(
    calls: Mapping[str, Callable[[], str]], *, workers: int
) -> tuple[dict[str, str], dict[str, Exception]]:
    """Run each call in a process of its own; the lines that it prints begin with its label.

    Args:
        calls: by label, what a process can be sent, and returns the id of a run.
        workers: processes at once.

    Returns:
        By label, the ids, and what ended the calls that have none.
    """
    threads = max(tuning.usable_cores() // workers, 1)
    environment = tuning.worker_environment(threads=threads, device=None)
    waiting = list(calls.items())
    running: dict[Connection, tuple[str, BaseProcess]] = {}
    run_ids: dict[str, str] = {}
    failures: dict[str, Exception] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                with interrupts.deferred():  # what is started is known, to be ended
                    label, call = waiting.pop(0)
                    connection, process = _start(label, call, environment)
                    running[connection] = label, process
            ready = wait(list(running))
            for connection in [connection for connection in running if connection in ready]:
                label, process = running.pop(connection)
                answer = _answer(connection, process)
                if isinstance(answer, str):
                    run_ids[label] = answer
                else:
                    failures[label] = answer
    except BaseException:  # the calls that wait don't begin, and those that run end theirs
        _end([process for _, process in running.values()])
        raise
    return run_ids, failures


def _start(
    label: str, call: Callable[[], str], environment: Mapping[str, str]
) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("spawn")
    connection, its_end = context.Pipe(duplex=False)
    process = context.Process(
        target=_run_labelled, args=(label, call, its_end), kwargs={"quiet": is_quiet()}, name=label
    )
    try:
        child.start(process, environment=environment)
    finally:
        its_end.close()  # so that its death is the end of the pipe
    return connection, process


def _answer(connection: Connection, process: BaseProcess) -> str | Exception:
    """What a call returned or what ended it; its process is gone then."""
    try:
        answer: str | Exception = connection.recv()
    except (EOFError, OSError):
        process.join()
        code = process.exitcode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        answer = CifarTrackError(f"its process was {how}; the machine may be out of memory")
    process.join()
    connection.close()
    return answer


def _end(processes: Sequence[BaseProcess]) -> None:
    try:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.kill()


def require_all(run_ids: Mapping[str, str], failures: Mapping[str, Exception]) -> None:
    """Raise what ended calls that `run_side_by_side` made, where any has failed.

    Raises:
        CifarTrackError: it was what people can cause; one line tells of each.
        Exception: an error of the program, as it was.
    """
    for error in failures.values():
        if not isinstance(error, CifarTrackError):
            raise error
    if failures:
        of = len(run_ids) + len(failures)
        told = "; ".join(f"{label}: {error}" for label, error in failures.items())
        raise CifarTrackError(f"{len(failures)} of {of} runs failed ({told})")


def _run_labelled(
    label: str, call: Callable[[], str], connection: Connection, *, quiet: bool
) -> None:
    """The main function of a call's process."""
    answer: str | Exception
    context = click.Context(click.Command(label))
    be_quiet(context, quiet=quiet)
    lines = LabelledLines(sys.stdout, label)
    try:
        with interrupts.raised(), context, contextlib.redirect_stdout(lines):
            child.begin()
            answer = call()
    except KeyboardInterrupt as ended:
        answer = CifarTrackError(f"ended by {str(ended) or 'Ctrl-C'}")
    except Exception as error:
        if not isinstance(error, CifarTrackError):
            error.add_note(traceback.format_exc())  # else what its traceback says stays here
        answer = error
    connection.send(answer)
    connection.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # All is said. TensorFlow takes a second to come apart, and at times crashes over it.
    os._exit(0)


class LabelledLines(io.TextIOBase):
    """Writes whole lines to a stream that others write to as well, each with whose it is."""

    def __init__(self, stream: TextIO, label: str) -> None:
        self._stream = stream
        self._label = label
        self._begun = ""

    def write(self, text: str) -> int:
        """Keep the text until its line is whole."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            own = line.startswith(f"{self._label}:")
            self._stream.write(line + "\n" if own else f"{self._label}: {line}\n")
            self._stream.flush()
        return len(text)
