"""How far a fit and a search are: bars for a terminal, lines with the time elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cifar_track.quiet import is_quiet
from cifar_track.workflow.terminal import is_watched, tell

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class FitProgress:
    """Tells of a fit: a line an epoch, and on a terminal the bars of the epoch and of the fit."""

    def __init__(self, epochs: int, bars: Progress | None) -> None:
        self._epochs = epochs
        self._bars = bars
        if bars is not None:
            self._epoch = bars.add_task(_counted("epoch", 1, epochs), total=None)
            self._fit = bars.add_task("fit", total=epochs)

    def show_step(self, epoch: int, step: int, steps: int) -> None:
        """A step is over; all are counted from 1."""
        if self._bars is not None:
            self._bars.update(
                self._epoch,
                description=_counted("epoch", epoch, self._epochs),
                completed=step,
                total=steps,
            )
            self._bars.update(self._fit, completed=epoch - 1 + step / steps)

    def show_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch is over, its validation too."""
        if self._bars is not None:
            self._bars.update(self._fit, completed=epoch)
        tell_progress(f"{_counted('epoch', epoch, self._epochs)}  {_figures(metrics)}")


class SearchProgress:
    """Tells of a search: a line a trial; on a terminal a bar for each that runs and one for all."""

    def __init__(self, trials: int, epochs: int, bars: Progress | None) -> None:
        self._trials = trials
        self._epochs = epochs
        self._bars = bars
        self._running: dict[int, float] = {}  # the share of each that is done
        self._begun = 0
        self._of_trial: dict[int, TaskID] = {}
        if bars is not None:
            self._all = bars.add_task("search", total=trials)

    def show_start(self, number: int, words: str) -> None:
        """A trial begins; trials are counted from 0."""
        self._running[number] = 0.0
        self._begun = max(self._begun, number + 1)  # those before it may have ended in another run
        if self._bars is not None:
            self._of_trial[number] = self._bars.add_task(f"trial {number}", total=self._epochs)
        self._advance()
        tell_progress(f"{self._named(number)}: {words}")

    def show_place(self, number: int, words: str) -> None:
        """A trial has begun on a node of a cluster."""
        tell_progress(f"{self._named(number)}: {words}")

    def show_epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch of a trial is over."""
        self._running[number] = min(1.0, epoch / self._epochs)
        self._advance()
        if self._bars is not None and number in self._of_trial:
            accuracy = f"{metrics['val_accuracy']:.4f}"
            words = f"trial {number}, validation {accuracy}"
            self._bars.update(self._of_trial[number], completed=epoch, description=words)
            self._bars.refresh()  # an epoch of a trial is rare, and the trial may end at once
        else:
            counted = _counted("epoch", epoch, self._epochs)
            tell_progress(f"trial {number} {counted}  {_figures(metrics)}")

    def show_end(self, number: int, words: str) -> None:
        """A trial is over."""
        self._running.pop(number, None)
        self._begun = max(self._begun, number + 1)
        if self._bars is not None and number in self._of_trial:
            self._bars.remove_task(self._of_trial.pop(number))
        self._advance()
        tell_progress(f"{self._named(number)}: {words}")

    def _advance(self) -> None:
        if self._bars is not None:
            done = self._begun - len(self._running) + sum(self._running.values())
            self._bars.update(self._all, completed=done)

    def _named(self, number: int) -> str:
        return f"trial {number} of {self._trials}"


@contextlib.contextmanager
def following_fit(epochs: int) -> Iterator[FitProgress]:
    """Tell of a fit of so many epochs while it lasts."""
    with _bars() as bars:
        yield FitProgress(epochs, bars)


@contextlib.contextmanager
def following_search(trials: int, epochs: int) -> Iterator[SearchProgress]:
    """Tell of a search of so many trials, of so many epochs each at most, while it lasts."""
    with _bars() as bars:
        yield SearchProgress(trials, epochs, bars)


@contextlib.contextmanager
def waiting(words: str) -> Iterator[None]:
    """Show on a terminal what takes seconds, and for how long it has."""
    if not is_watched():
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, transient=True, console=_console()) as shown:
        shown.add_task(words, total=None)
        yield


@contextlib.contextmanager
def _bars() -> Iterator[Progress | None]:
    if not is_watched():
        yield None
        return
    # Imported here: what is piped or quiet does without it.
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    # Lines that are printed meanwhile, by whoever, appear above the bars.
    # Left to itself, rich forgets after 30 s, in which not one epoch of a trial may end.
    with Progress(
        *columns, transient=True, console=_console(), speed_estimate_period=24 * 3600
    ) as bars:
        yield bars


def _console() -> Any:
    from rich.console import Console

    return Console(file=sys.stdout)


def tell_progress(line: str) -> None:
    """Print a line of what goes on, with the time of day, unless told to be quiet."""
    if not is_quiet():
        tell(f"{time.strftime('%H:%M:%S')} {line}")


def _counted(what: str, number: int, among: int) -> str:
    return f"{what} {number:>{len(str(among))}}/{among}"


def _figures(metrics: Mapping[str, float]) -> str:
    return (
        f"train {metrics['train_accuracy']:.4f} loss {metrics['train_loss']:.3f}"
        f"  val {metrics['val_accuracy']:.4f} loss {metrics['val_loss']:.3f}"
    )
