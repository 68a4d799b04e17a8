"""What is measured, each in a process of its own, which prints one line of JSON.

    python -m benchmarks.processes recipe --images 9600

The processes of a comparison are started by `python -m benchmarks`, which says in
BENCHMARK_STARTED when it did.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# The study's network with two convolutions of 64 filters of 3x3 and 256 dense units; its batch.
BATCH = 64
# The first epoch traces and fills the pipeline.
WARM_UP_EPOCHS = 1
TRIAL_EPOCHS = 20
TRAINING_IMAGES = 45_000
VALIDATION_SHARE = 9  # one image to validate by for so many to train on
# Half an epoch's steps, so that as many of them are one execution as in a real one.
IMAGES = 22_528


class Stopwatch:
    """Wall and processor seconds of this process since the last lap."""

    def __init__(self) -> None:
        self.laps: list[tuple[float, float]] = []
        self.reset()

    def reset(self) -> None:
        """Begin a lap."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def lap(self) -> None:
        """End a lap and begin the next."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.laps.append((wall - self._wall, cpu - self._cpu))
        self.reset()

    def rates(self, images: int, *, skip: int = 0) -> dict[str, float]:
        """Images a second over all laps but the first few."""
        wall, cpu = np.sum(self.laps[skip:], axis=0)
        count = images * (len(self.laps) - skip)
        return {"images_per_cpu_second": count / cpu, "images_per_wall_second": count / wall}


def images(count: int) -> Any:
    """Random images and labels: what they show does not matter to the time."""
    from cifar_track.data import Images

    rng = np.random.default_rng(0)
    return Images(
        rng.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8), rng.integers(0, 100, count)
    )


def recipe(count: int, epochs: int) -> dict[str, float]:
    """The study's recipe, as Keras comes."""
    import keras

    from benchmarks import recipe as study

    watch = Stopwatch()
    data = images(count)
    each = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: watch.reset(), on_epoch_end=lambda *_: watch.lap()
    )
    started = time.time()
    model = study.build()
    study.fit(model, data.images, data.labels, epochs=epochs, seed=0, callbacks=[each])
    rates = watch.rates(count, skip=WARM_UP_EPOCHS)
    ended = time.time()
    held_out = study.scale(data.images[: count // VALIDATION_SHARE])
    labels = data.labels[: len(held_out)]

    def validate() -> None:  # as `fit` does, in Keras's batches of 32
        model.evaluate(held_out, labels, verbose=0)

    return {
        **rates,
        "start_seconds": ended - started - epochs * count / rates["images_per_wall_second"],
        "validated_per_wall_second": _validation_rate(len(held_out), validate),
    }


def ours(count: int, epochs: int, *, precision: str) -> dict[str, float]:
    """The same network, trained as a trial of a search is."""
    from cifar_track import training
    from cifar_track.config import load_experiment, override
    from cifar_track.data import Images

    experiment = override(
        load_experiment("tune"), {"training.precision": precision, "training.epochs": epochs}
    )
    before = time.time()
    data, watch = images(count), Stopwatch()
    started = float(os.environ["BENCHMARK_STARTED"]) + time.time() - before  # a trial finds them
    # One image to validate by: validation has a figure of its own.
    fit = training.fit(experiment, data, images(1), classes=100, on_epoch=lambda *_: watch.lap())
    rates = watch.rates(count, skip=WARM_UP_EPOCHS)
    ended = time.time()
    held_out = Images(*(part[: count // VALIDATION_SHARE] for part in (data.images, data.labels)))
    batches = training.validation_batches(held_out)

    def validate() -> None:
        fit.model.evaluate(batches, verbose=0)

    return {
        **rates,
        "start_seconds": ended - started - epochs * count / rates["images_per_wall_second"],
        "validated_per_wall_second": _validation_rate(len(held_out), validate),
        "bfloat16": float(training.resolve_precision(experiment.training) == "bfloat16"),
    }


def _validation_rate(count: int, validate: Callable[[], None]) -> float:
    validate()  # traces
    watch = Stopwatch()
    for _ in range(2):
        validate()
        watch.lap()
    return watch.rates(count)["images_per_wall_second"]


def augmentation(count: int, epochs: int, *, by: str) -> dict[str, float]:
    """Shuffled, augmented batches alone, by `recipe` or by `ours`."""
    data, watch = images(count), Stopwatch()
    steps = -(-count // BATCH)
    if by == "recipe":
        from benchmarks import recipe as study

        flow = study.generator().flow(study.scale(data.images), data.labels, batch_size=BATCH)
        batches = (flow[step % steps] for step in range(steps * epochs))
    else:
        from cifar_track import training
        from cifar_track.config import load_experiment

        pipeline = training.training_batches(
            data, load_experiment("tune").augmentation, batch_size=BATCH, seed=0
        )
        batches = iter(pipeline.take(steps * epochs))
    watch.reset()
    for step, _ in enumerate(batches, start=1):
        if step % steps == 0:
            watch.lap()
    return watch.rates(count, skip=WARM_UP_EPOCHS)


def start_up(count: int, epochs: int) -> dict[str, float]:  # noqa: ARG001
    """From the process's start to the end of the first steps of `train`, data set and store too."""
    import cifar_track.__main__ as program
    from cifar_track import cli

    run = cli.run

    def run_until_first_steps(arguments: Sequence[str]) -> int:
        from cifar_track.workflow import train

        load_tensorflow = train.load_tensorflow

        def load_and_watch() -> None:  # where the program itself imports it
            load_tensorflow()
            _leave_after_first_steps()

        train.load_tensorflow = load_and_watch
        return run(arguments)

    cli.run = run_until_first_steps
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        dataset = [] if os.environ.get("CIFAR100_DIR") else ["--dataset", "procedural"]
        sys.argv = ["cifar_track", "train", "--experiment", "adam_bn", *dataset]
        program.main()
    return _first_steps


_first_steps: dict[str, float] = {}


def _leave_after_first_steps() -> None:
    import keras

    class Leave(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:  # noqa: ARG002
            started = float(os.environ["BENCHMARK_STARTED"])
            _first_steps.update(
                seconds=time.time() - started, cpu_seconds=time.process_time(), steps=batch + 1
            )
            raise KeyboardInterrupt

    fit: Callable[..., Any] = keras.Model.fit

    def watched(model: keras.Model, *given: Any, **named: Any) -> Any:
        return fit(model, *given, **{**named, "callbacks": [*named["callbacks"], Leave()]})

    keras.Model.fit = watched


def logging(count: int, epochs: int) -> dict[str, float]:  # noqa: ARG001
    """What a run of 20 epochs logs, less system metrics and training, into a fresh SQLite store."""
    from cifar_track import models, serving, tracking, training
    from cifar_track.config import flatten, load_experiment
    from cifar_track.data import ClassNames
    from cifar_track.evaluation import evaluate

    experiment = load_experiment("tune")
    served = models.for_serving(training.build_model(experiment, classes=100))
    rng = np.random.default_rng(0)
    names = ClassNames(
        tuple(f"class {label}" for label in range(100)),
        tuple(f"superclass {label}" for label in range(20)),
        tuple(label // 5 for label in range(100)),
    )
    labels = np.repeat(np.arange(100), 100)
    probabilities = rng.dirichlet(np.ones(100), 10_000).astype(np.float32)
    probabilities[np.arange(10_000), labels] += 0.1
    evaluation = evaluate(
        probabilities / probabilities.sum(axis=1, keepdims=True),
        labels,
        class_names=names.fine,
        superclass_names=names.coarse,
        superclass_of=names.superclass_of,
    )
    figures = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    history = [dict.fromkeys(figures, 1 / epoch) for epoch in range(1, TRIAL_EPOCHS + 1)]
    in_calls = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.chdir(folder)
        tracking.open_store()
        watch = Stopwatch()
        with tracking.start_run(experiment, dataset_name="cifar100", name="benchmark") as run:
            run.log_parameters(flatten(experiment))
            run.log_json({"experiment": flatten(experiment)}, "config.json")
            for epoch, metrics in enumerate(history, start=1):
                before = time.perf_counter()
                run.log_epoch(epoch, metrics)
                in_calls.append(time.perf_counter() - before)
            run.log_metrics(evaluation.metrics(), step=TRIAL_EPOCHS)
            run.log_history(history)
            run.log_evaluation(evaluation)
            example = rng.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
            serving.save_classifier(served, Path("model"), classes=names, example=example)
            run.log_model(Path("model"), metrics_step=TRIAL_EPOCHS)
        watch.lap()
    wall, cpu = watch.laps[0]
    return {"seconds": wall, "cpu_seconds": cpu, "seconds_of_log_epoch": max(in_calls)}


MEASUREMENTS: dict[str, Callable[[int, int], dict[str, float]]] = {
    "recipe": recipe,
    "ours": lambda count, epochs: ours(count, epochs, precision="auto"),
    "ours-float32": lambda count, epochs: ours(count, epochs, precision="float32"),
    "augmentation-recipe": lambda count, epochs: augmentation(count, epochs, by="recipe"),
    "augmentation-ours": lambda count, epochs: augmentation(count, epochs, by="ours"),
    "start-up": start_up,
    "logging": logging,
}


def main() -> None:
    """Measure one thing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=MEASUREMENTS)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--epochs", type=int, default=WARM_UP_EPOCHS + 1)
    given = parser.parse_args()
    os.environ.setdefault("BENCHMARK_STARTED", str(time.time()))
    _print(MEASUREMENTS[given.name](given.images, given.epochs))
    sys.stdout.flush()
    os._exit(0)  # TensorFlow takes a second to come apart


def _print(result: dict[str, float]) -> None:
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
