"""Runs of iterations side by side, each in a process of its own with its share of the cores.

A fit of the study's networks gains a tenth from a second core; two at once gain nearly all of it. A
search among them runs its trials in processes besides.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing.connection
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TextIO

from cifar_track import child, interrupts, quiet, streams, tracking, tuning
from cifar_track.config import CifarTrackError
from cifar_track.workflow.terminal import tell


class FailedSideBySideError(Exception):
    """An error of the program in another process: what its traceback said there."""


@dataclass(frozen=True)
class Failure:
    """What ended a call that has no result.

    Attributes:
        text: what was said; of an error of the program, with its traceback.
        exit_status: of what people can cause; None of an error of the program.
    """

    text: str
    exit_status: int | None


@dataclass(frozen=True)
class _Running:
    label: str
    slot: int
    process: BaseProcess


def run_side_by_side(
    calls: Mapping[str, Callable[[], str]], *, workers: int
) -> tuple[dict[str, str], dict[str, Failure]]:
    """Run each call in a process of its own; what it prints on stdout begins with its label.

    Args:
        calls: by label, what a process can be sent, and returns the id of a run.
        workers: processes at once.

    Returns:
        By label, the ids, and what ended the calls that have none.
    """
    waiting = list(calls.items())
    running: dict[Connection, _Running] = {}
    run_ids: dict[str, str] = {}
    failures: dict[str, Failure] = {}
    with tempfile.TemporaryDirectory() as temporary:  # what processes leave that end at once
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    slot = min(set(range(workers)) - {each.slot for each in running.values()})
                    environment = _environment(slot, workers=workers, temporary=temporary)
                    with interrupts.deferred():  # what is started is known, to be ended
                        label, call = waiting.pop(0)
                        connection, process = _start(label, call, environment)
                        running[connection] = _Running(label, slot, process)
                ready = multiprocessing.connection.wait(list(running))
                for connection in [each for each in running if each in ready]:
                    label = running[connection].label
                    answer = _answer(connection, running[connection].process)
                    del running[connection]
                    if isinstance(answer, Failure):
                        failures[label] = answer
                        tell(f"{label}: failed: {child.last_line(answer.text)}")
                    else:
                        run_ids[label] = answer
        except BaseException:  # the calls that wait don't begin, and those that run end theirs
            for connection in running:
                connection.close()  # else one that has much to say waits for a listener
            _end([each.process for each in running.values()])
            raise
    return run_ids, failures


def require_all(run_ids: Mapping[str, str], failures: Mapping[str, Failure]) -> None:
    """Raise what ended calls that `run_side_by_side` made, where any has failed.

    Raises:
        CifarTrackError: it was what people can cause, told in one line.
        FailedSideBySideError: it was an error of the program.
    """
    if not failures:
        return
    faults = [failure.text for failure in failures.values() if failure.exit_status is None]
    if faults:
        raise FailedSideBySideError("\n\n".join(faults))
    texts = {failure.text for failure in failures.values()}
    told = "; ".join(f"{label}: {failure.text}" for label, failure in failures.items())
    error = CifarTrackError(
        f"{len(failures)} of {len(run_ids) + len(failures)} runs failed "
        f"({told if len(texts) > 1 or len(failures) == 1 else texts.pop()})"
    )
    error.exit_status = max(failure.exit_status or 0 for failure in failures.values())
    raise error


def _environment(slot: int, *, workers: int, temporary: str) -> dict[str, str]:
    devices = tuning.devices()
    return {
        **tuning.worker_environment(
            threads=max(tuning.usable_cores() // workers, 1),
            device=devices[slot % len(devices)] if devices else None,
        ),
        tracking.COMMAND_VARIABLE: tracking.command_line(),
        "TMPDIR": temporary,
    }


def _start(
    label: str, call: Callable[[], str], environment: Mapping[str, str]
) -> tuple[Connection, BaseProcess]:
    return child.launch(
        _run_labelled,
        (label, call, quiet.is_quiet()),
        name=label,
        daemon=False,  # a search has processes of its own
        environment=environment,
    )


def _answer(connection: Connection, process: BaseProcess) -> str | Failure:
    """What a call returned or what ended it; its process is gone then."""
    try:
        answer: str | Failure = connection.recv()
    except (EOFError, OSError):
        process.join()
        how, from_outside = child.death(process)
        answer = Failure(
            f"its process {how}", CifarTrackError.exit_status if from_outside else None
        )
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


def _run_labelled(
    label: str,
    call: Callable[[], str],
    is_quiet: bool,  # noqa: FBT001 - sent to the process by its place
    connection: Connection,
) -> None:
    """The main function of a call's process."""
    answer: str | Failure
    streams.settle()
    lines = LabelledLines(sys.stdout, label)
    try:
        with interrupts.raised(), quiet.told(quiet=is_quiet), contextlib.redirect_stdout(lines):
            child.begin()
            answer = call()
    except KeyboardInterrupt as ended:
        answer = Failure(f"ended by {str(ended) or 'Ctrl-C'}", CifarTrackError.exit_status)
    except CifarTrackError as mistake:
        answer = Failure(str(mistake), mistake.exit_status)
    except Exception:  # of whatever class, which this process alone may know
        answer = Failure(traceback.format_exc(), None)
    lines.finish()
    child.leave(connection, answer)


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

    def finish(self) -> None:
        """Write a last line that nobody has ended."""
        if self._begun:
            self.write("\n")
