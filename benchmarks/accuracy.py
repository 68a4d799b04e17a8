"""Does speed cost accuracy? The same network by the study's recipe and by ours, several seeds.

    CIFAR100_DIR=... python -m benchmarks.accuracy --output accuracy.jsonl
    python -m benchmarks.accuracy --output accuracy.jsonl --report

Each variant and seed is a process of its own with one thread and a line of the output file; what
the file has already is not run again, so that a run that was cut short goes on.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from pathlib import Path
from typing import Any

from scipy import stats

from benchmarks.recorded import add, measure_apart, read

VARIANTS = ("recipe", "float32", "bfloat16")


def main() -> None:
    """Run what the file lacks, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--report", action="store_true", help="only print the table")
    parser.add_argument("--one", nargs=2, metavar=("VARIANT", "SEED"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        result = measure(given.one[0], seed=int(given.one[1]), epochs=given.epochs)
        add(result, given.output)
        return
    if not given.report:
        done = {(line["variant"], line["seed"], line["epochs"]) for line in read(given.output)}
        for seed in given.seeds:
            for variant in given.variants:
                if (variant, seed, given.epochs) in done:
                    continue
                measure_apart(
                    "benchmarks.accuracy",
                    *("--output", given.output, "--epochs", str(given.epochs)),
                    *("--one", variant, str(seed)),
                )
    print(report([line for line in read(given.output) if line["epochs"] == given.epochs]))


def measure(variant: str, *, seed: int, epochs: int) -> dict[str, Any]:
    """Train one variant from one seed; its test accuracy at its best epoch by validation."""
    from cifar_track.config import Data
    from cifar_track.data import load_dataset

    data = load_dataset(Data())
    test = data.load_test()
    wall, cpu = time.perf_counter(), time.process_time()
    if variant == "recipe":
        import keras

        from benchmarks import recipe

        keras.utils.set_random_seed(seed)
        model = recipe.build()
        best = keras.callbacks.EarlyStopping(
            "val_accuracy", mode="max", patience=epochs, restore_best_weights=True
        )
        recipe.fit(
            model,
            data.train.images,
            data.train.labels,
            epochs=epochs,
            seed=seed,
            validation=(data.validation.images, data.validation.labels),
            callbacks=[best],
        )
        validation = model.history.history["val_accuracy"]
        best_epoch, best_validation = best.best_epoch + 1, max(validation)
        probabilities = model.predict(recipe.scale(test.images), batch_size=500, verbose=0)
    else:
        from cifar_track import models, training
        from cifar_track.config import load_experiment, override

        experiment = override(
            load_experiment("tune"),
            {
                "training.precision": variant,
                "training.epochs": epochs,
                "training.seed": seed,
            },
        )
        fit = training.fit(experiment, data.train, data.validation, classes=100)
        best_epoch, best_validation = fit.best_epoch, fit.best_val_accuracy
        probabilities = training.predict(models.for_serving(fit.model), test.images)
    return {
        "variant": variant,
        "seed": seed,
        "epochs": epochs,
        "best_epoch": best_epoch,
        "best_val_accuracy": best_validation,
        "test_accuracy": float((probabilities.argmax(axis=1) == test.labels).mean()),
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
    }


def report(results: list[dict[str, Any]]) -> str:
    """The table in Markdown: each variant over its seeds, and against the others.

    Args:
        results: of runs of one number of epochs.
    """
    of = {
        variant: sorted(
            (result for result in results if result["variant"] == variant),
            key=lambda result: result["seed"],
        )
        for variant in VARIANTS
    }
    lines = [
        "| variant | epochs | test accuracy, seed by seed | mean | 95 % interval | CPU s a run |",
        "|---|---|---|---|---|---|",
    ]
    for variant, runs in of.items():
        if len(runs) < 2:
            continue
        reached = [run["test_accuracy"] for run in runs]
        half = stats.t.ppf(0.975, len(reached) - 1) * stats.sem(reached)
        mean = statistics.mean(reached)
        lines.append(
            f"| {variant} | {runs[0]['epochs']} "
            f"| {', '.join(f'{accuracy:.4f}' for accuracy in reached)} | {mean:.4f} "
            f"| {mean - half:.4f} to {mean + half:.4f} "
            f"| {statistics.mean(run['cpu_seconds'] for run in runs):,.0f} |"
        )
    lines += ["", "| difference of means | | 95 % interval (Welch) |", "|---|---|---|"]
    for a, b in itertools.combinations(VARIANTS, 2):
        first, second = ([run["test_accuracy"] for run in of[each]] for each in (a, b))
        if min(len(first), len(second)) < 2:
            continue
        test = stats.ttest_ind(second, first, equal_var=False)
        low, high = test.confidence_interval(0.95)
        difference = statistics.mean(second) - statistics.mean(first)
        lines.append(f"| {b} less {a} | {difference:+.4f} | {low:+.4f} to {high:+.4f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
