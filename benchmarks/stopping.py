"""Measures what ending poor trials early saves: the same trials with the median rule and without.

    export TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1
    CIFAR100_DIR=... python -m benchmarks.stopping --output curves.jsonl
    python -m benchmarks.stopping --output curves.jsonl --report

Every trial of a search is trained to its end once, and its scores and CPU seconds are a line of the
output file; what the file has already is not trained again. The search is then played from the
file, one trial after the other, without a rule and with the one of `stop=median`, which is asked
after each epoch as the scheduler asks it.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.recorded import add, read
from cifar_track.config import Experiment, IntRange, Value, load_experiment, override
from cifar_track.tuning.stopping import median_verdict

# The study's search on fewer and plain images, with smaller networks, for fewer epochs.
SETTINGS: Mapping[str, Value] = {
    "data.train_per_class": 20,
    "data.validation_per_class": 10,
    "training.batch_size": 32,
    "training.epochs": 8,
    "search.augmentation": "none",
    "search.trials": 8,
}
FILTERS = IntRange(low=16, high=48, step=16)
HEAD = """\
| seed | best of all | best with the rule | ended early | epochs | CPU s | CPU s with the rule | |
|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Train what the file lacks, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2, 3, 4))
    parser.add_argument("--report", action="store_true", help="only print the table")
    given = parser.parse_args()
    if not given.report:
        for seed in given.seeds:
            record(seed, given.output)
    print(report(read(given.output)))


def page(seed: int) -> Experiment:
    """The search of a seed."""
    study = load_experiment("tune")
    assert study.search is not None
    space = {**study.search.space, "model.filters_1": FILTERS, "model.filters_2": FILTERS}
    smaller = replace(study, search=replace(study.search, space=space))
    return override(smaller, {**SETTINGS, "training.seed": seed})


def record(seed: int, output: Path) -> None:
    """Train the trials of a seed's search that the file lacks, and add a line for each."""
    from cifar_track import training
    from cifar_track.data import load_dataset
    from cifar_track.tuning.space import trial_experiment

    done = {(line["seed"], line["number"]) for line in read(output)}
    experiment = page(seed)
    data = load_dataset(experiment.data)
    for number, values in enumerate(proposals(experiment)):
        if (seed, number) in done:
            continue
        began, seconds = time.process_time(), []
        fit = training.fit(
            trial_experiment(experiment, number=number, values=values),
            data.train,
            data.validation,
            classes=len(data.classes.fine),
            on_epoch=lambda *_: seconds.append(time.process_time() - began),  # noqa: B023
        )
        scores = [epoch["val_accuracy"] for epoch in fit.history]
        line = {"seed": seed, "number": number, "scores": scores, "seconds": seconds}
        add(line, output)
        del fit
        gc.collect()  # Keras's graphs are cycles


def proposals(experiment: Experiment) -> Iterator[Mapping[str, Value]]:
    """The values of each trial, which random search draws whatever the others came to."""
    from cifar_track.tuning import oracle
    from cifar_track.tuning.space import planned_trials, typed_values

    with oracle.quiet():
        proposing = oracle.build_oracle(experiment)
        trials = [proposing.create_trial(str(n)) for n in range(planned_trials(experiment))]
    for trial in trials:
        yield typed_values(experiment, oracle.space_values(trial))


@dataclass(frozen=True, kw_only=True)
class Played:
    """A search from the recorded trials.

    Attributes:
        best: the highest score.
        epochs: trained.
        seconds: CPU seconds of them.
        early: the trials that were ended before their last epoch.
    """

    best: float
    epochs: int
    seconds: float
    early: Sequence[int]


def play(trials: Sequence[Mapping[str, Any]], *, stops: bool) -> Played:
    """The trials one after the other, with the rule or without."""
    completed: dict[int, Sequence[float]] = {}
    best, epochs, seconds, early = 0.0, 0, 0.0, []
    for trial in trials:
        scores, last = trial["scores"], len(trial["scores"])
        for epoch in range(1, last):  # one that has trained its last is over anyhow
            if stops and median_verdict(scores[:epoch], completed, maximize=True):
                early.append(trial["number"])
                last = epoch
                break
        else:
            completed[trial["number"]] = scores
        best = max(best, *scores[:last])
        epochs += last
        seconds += trial["seconds"][last - 1]
    return Played(best=best, epochs=epochs, seconds=seconds, early=early)


def report(lines: Sequence[Mapping[str, Any]]) -> str:
    """The table in Markdown, a row for each seed."""
    rows, whole, saved = [HEAD], 0.0, 0.0
    for seed in sorted({line["seed"] for line in lines}):
        trials = sorted((line for line in lines if line["seed"] == seed), key=_number)
        plain, ruled = play(trials, stops=False), play(trials, stops=True)
        rows.append(
            f"| {seed} | {plain.best:.4f} | {ruled.best:.4f} | {len(ruled.early)} of {len(trials)} "
            f"| {ruled.epochs} of {plain.epochs} | {plain.seconds:.0f} | {ruled.seconds:.0f} "
            f"| {100 * (ruled.seconds / plain.seconds - 1):+.0f} % |"
        )
        whole, saved = whole + plain.seconds, saved + plain.seconds - ruled.seconds
    if whole:
        rows.append(
            f"| all | | | | | {whole:.0f} | {whole - saved:.0f} | {-100 * saved / whole:+.0f} % |"
        )
    return "\n".join(rows)


def _number(line: Mapping[str, Any]) -> int:
    number: int = line["number"]
    return number


if __name__ == "__main__":
    main()
