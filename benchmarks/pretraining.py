"""Does ResNet50 bring anything along? Pretrained on 20 classes, fine-tuned on the other 80.

    CIFAR100_DIR=... python -m benchmarks.pretraining --output pretraining.jsonl
    python -m benchmarks.pretraining --output pretraining.jsonl --report

ImageNet's weights are a download; here the same way is gone with weights of our own. The page
`resnet50` is trained from random weights on one class of each of CIFAR-100's superclasses, its body
saved as Keras's ResNet50 saves itself, and given to the page by `model.weights=PATH`, to be
fine-tuned on a few images of each class that is left, the last layer first; beside it all of the
same network is trained on them from random weights. Both are judged on all test images of those 80
classes. What the file has already is not run again.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.recorded import add, measure_apart, read
from cifar_track.config import Experiment, Value, load_experiment, override
from cifar_track.data import Dataset, Images, load_dataset

STARTS = ("random", "pretrained")
PRETRAINING_EPOCHS = 10
EPOCHS = 6
IMAGES_A_CLASS = 50
# As the page `resnet50_finetuned` has it: the last layer alone at first, all at a tenth of the rate
# from then on, which from random weights would be the worse way.
FINE_TUNING: Mapping[str, Value] = {
    "training.head_epochs": 2,
    "training.head_learning_rate": 0.001,
    "optimizer.learning_rate": 0.0001,
}


def main() -> None:
    """Run what the file lacks, each fit in a process of its own, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--report", action="store_true", help="only print the table")
    parser.add_argument("--one", nargs=2, metavar=("START", "SEED"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    weights = given.output.with_suffix(".weights.h5").absolute()
    if given.one:
        start, seed = given.one[0], int(given.one[1])
        line = pretrain(weights) if start == "body" else fine_tune(start, weights, seed=seed)
        add(line, given.output)
        return
    if not given.report:
        done = {(line["start"], line["seed"]) for line in read(given.output)}
        wanted = [("body", 0), *((start, seed) for seed in given.seeds for start in STARTS)]
        for start, seed in wanted:
            if (start, seed) not in done:
                measure_apart(
                    "benchmarks.pretraining",
                    *("--output", given.output, "--one", start, str(seed)),
                )
    print(report(read(given.output)))


def pretrain(weights: Path) -> dict[str, Any]:
    """Train on one class of each superclass, and save the body's weights."""
    import keras

    from cifar_track import models, training

    experiment = override(_page(), {"training.epochs": PRETRAINING_EPOCHS})
    data = load_dataset(experiment.data)
    known, _ = split_classes(data)
    cpu = time.process_time()
    fit = training.fit(
        experiment, only(data.train, known), only(data.validation, known), classes=len(known)
    )
    body = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3))
    body.set_weights(models.for_serving(fit.model).get_weights()[:-2])  # less the last layer's
    body.save_weights(weights)
    return {
        "start": "body",
        "seed": 0,
        "accuracy": fit.best_val_accuracy,
        "cpu_seconds": time.process_time() - cpu,
    }


def fine_tune(start: str, weights: Path, *, seed: int) -> dict[str, Any]:
    """Train on a few images of the other classes; the accuracy on their test images."""
    from cifar_track import models, training

    experiment = override(
        _page(),
        {
            "data.train_per_class": IMAGES_A_CLASS,
            "training.epochs": EPOCHS,
            "training.seed": seed,
            "schedule.shape": "cosine",
            **(FINE_TUNING | {"model.weights": str(weights)} if start == "pretrained" else {}),
        },
    )
    data = load_dataset(experiment.data)
    _, new = split_classes(data)
    test = only(data.load_test(), new)
    cpu = time.process_time()
    fit = training.fit(
        experiment, only(data.train, new), only(data.validation, new), classes=len(new)
    )
    cpu = time.process_time() - cpu
    probabilities = training.predict(models.for_serving(fit.model), test.images)
    return {
        "start": start,
        "seed": seed,
        "accuracy": float((probabilities.argmax(axis=1) == test.labels).mean()),
        "cpu_seconds": cpu,
    }


def _page() -> Experiment:
    # Flips alone: the study's augmentation is too much for so few epochs.
    return override(
        load_experiment("resnet50"),
        {
            "model.weights": "none",
            "augmentation.rotation": 0.0,
            "augmentation.zoom": 0.0,
            "augmentation.width_shift": 0.0,
            "augmentation.height_shift": 0.0,
        },
    )


def split_classes(data: Dataset) -> tuple[list[int], list[int]]:
    """The first class of each superclass, and all the others."""
    superclasses = data.classes.superclass_of
    known = [superclasses.index(number) for number in range(len(data.classes.coarse))]
    return known, [label for label in range(len(superclasses)) if label not in known]


def only(images: Images, classes: list[int]) -> Images:
    """The images of some classes, whose labels are then their places among these, in order."""
    kept = np.isin(images.labels, classes)
    labels = np.searchsorted(np.sort(classes), images.labels[kept])
    return Images(np.ascontiguousarray(images.images[kept]), labels.astype(np.int64))


def report(lines: list[dict[str, Any]]) -> str:
    """The accuracies of both ways, and Welch's interval of their difference."""
    of = {start: [line["accuracy"] for line in lines if line["start"] == start] for start in STARTS}
    cpu = sum(line["cpu_seconds"] for line in lines)
    rows = [
        f"{start}: {', '.join(f'{value:.4f}' for value in values)}; "
        f"mean {statistics.mean(values):.4f}"
        for start, values in of.items()
    ]
    difference = stats.ttest_ind(of["pretrained"], of["random"], equal_var=False)
    interval = difference.confidence_interval()
    gain = statistics.mean(of["pretrained"]) - statistics.mean(of["random"])
    rows.append(
        f"pretrained less random: {gain:+.4f} ({interval.low:+.4f} to {interval.high:+.4f}, "
        f"Welch 95 %), {cpu:,.0f} CPU seconds in all"
    )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
