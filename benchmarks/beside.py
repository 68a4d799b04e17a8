"""Trains a page between two timings of the study's recipe, all on one thread.

    python -m benchmarks.beside --experiment fast --seed 1 --output benchmarks/reach.jsonl

The run is one as any other, in the tracking store. What `python -m benchmarks.reach` draws of it is
added to the file: its test accuracy, the processor seconds of its fits, and those of a 20-epoch
trial of the recipe, by what the recipe made in the minutes before and after.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path

from benchmarks import recorded
from benchmarks.__main__ import processor, start, together
from benchmarks.processes import IMAGES, TRAINING_IMAGES, TRIAL_EPOCHS
from benchmarks.reach import seconds_of
from cifar_track.tuning.resources import worker_environment

ONE_THREAD = worker_environment(threads=1, device=None)


def main() -> None:
    """Time the recipe, train, and time the recipe again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=IMAGES, help="the recipe's, an epoch")
    parser.add_argument("--output", type=Path, help="a file that the result is added to")
    given = parser.parse_args()
    os.environ.update(ONE_THREAD)  # before TensorFlow is imported
    from cifar_track import tracking, workflow

    before = recipe_rate(given.images)
    run_id = workflow.run_experiment(given.experiment, {"training.seed": given.seed}, workers=1)
    after = recipe_rate(given.images)
    run = tracking.find_finished_run(run_id)
    images = TRIAL_EPOCHS * TRAINING_IMAGES
    result = {
        "page": given.experiment,
        "seed": given.seed,
        "test_accuracy": run.metrics["test_accuracy"],
        "cpu_seconds": round(seconds_of(run)),
        "seconds_of_a_trial": round(statistics.mean([images / before, images / after])),
        "recipe_images_per_cpu_second": [round(before), round(after)],
        "processor": processor(),
    }
    print(result)
    if given.output is not None:
        recorded.add(result, given.output)


def recipe_rate(images: int) -> float:
    """Images a CPU second by the study's recipe, in a process of its own."""
    [result] = together([start("recipe", images=images, environment=ONE_THREAD)])
    return result["images_per_cpu_second"]


if __name__ == "__main__":
    main()
