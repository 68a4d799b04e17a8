"""Runs of iterations side by side, each in a process of its own, which may use its share of cores.

Networks of the study's size gain a tenth from a second core; two at once gain nearly all of it.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TextIO

import click

from cifar_track import environment, interrupts, tuning
from cifar_track.config import CifarTrackError
from cifar_track.quiet import be_quiet, is_quiet


def run_side_by_side(
    calls: Mapping[str, Callable[[], str]], *, workers: int
) -> tuple[dict[str, str], dict[str, BaseException]]:
    """Run each call in a process of its own; the lines that it prints begin with its label.

    Args:
        calls: by label, what a process can be sent, and returns the id of a run.
        workers: processes at once.

    Returns:
        By label, the ids, and what ended the calls that have none.
    """
    threads = max(tuning.usable_cores() // workers, 1)
    run_ids: dict[str, str] = {}
    failures: dict[str, BaseException] = {}
    # Set here, since libraries read them as they are imported, and processes are started until the
    # last call.
    with (
        environment.variables(tuning.worker_environment(threads=threads, device=None)),
        ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            max_tasks_per_child=1,  # TensorFlow keeps the threads and the seed it has begun with
        ) as pool,
    ):
        label_of = {
            pool.submit(_run_labelled, label, call, quiet=is_quiet()): label
            for label, call in calls.items()
        }
        try:
            for future in as_completed(label_of):
                label, error = label_of[future], future.exception()
                if error is None:
                    run_ids[label] = future.result()
                else:
                    failures[label] = error
        except BaseException:  # the calls that wait don't begin, and those that run end theirs
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    return run_ids, failures


def require_all(run_ids: Mapping[str, str], failures: Mapping[str, BaseException]) -> None:
    """Raise what ended calls that `run_side_by_side` made, where any has failed.

    Raises:
        CifarTrackError: it was what people can cause; one line tells of each.
        Exception: an error of the program, as it was.
    """
    told = []
    for label, error in failures.items():
        if isinstance(error, BrokenProcessPool):
            told.append(f"{label}: a process was killed from outside, for want of memory maybe")
        elif isinstance(error, Exception) and not isinstance(error, CifarTrackError):
            raise error
        else:
            told.append(f"{label}: {error}")
    if told:
        of = len(run_ids) + len(failures)
        raise CifarTrackError(f"{len(told)} of {of} runs failed ({'; '.join(told)})")


def _run_labelled(label: str, call: Callable[[], str], *, quiet: bool) -> str:
    context = click.Context(click.Command(label))
    be_quiet(context, quiet=quiet)
    with (
        interrupts.raised(),
        context,
        contextlib.redirect_stdout(LabelledLines(sys.stdout, label)),
    ):
        return call()


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
