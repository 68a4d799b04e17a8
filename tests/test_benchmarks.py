"""The benchmarks: like compared with like, and figures reported as they were measured."""

import json
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

import benchmarks.__main__ as benchmark
from benchmarks import accuracy, growth, processes, reach, recipe, stopping
from cifar_track import models
from cifar_track.config import load_experiment

REPOSITORY = Path(__file__).resolve().parent.parent


def test_the_recipe_is_the_network_and_the_augmentation_that_ours_are_compared_with():
    page = load_experiment("tune")
    plain = recipe.build()
    ours = models.build(page.model, classes=100, seed=0, precision="float32")
    assert [weight.shape for weight in plain.weights if weight.ndim] == [
        weight.shape for weight in ours.weights if weight.ndim
    ]
    rates = [[layer.rate for layer in m.layers if hasattr(layer, "rate")] for m in (plain, ours)]
    assert rates[0] == rates[1]
    assert float(plain.optimizer.learning_rate.numpy()) == pytest.approx(
        page.optimizer.learning_rate
    )
    assert plain.optimizer.momentum == page.optimizer.momentum
    assert recipe.BATCH == page.training.batch_size == processes.BATCH
    generator, augmentation = recipe.generator(), page.augmentation
    assert generator.rotation_range == augmentation.rotation
    assert generator.width_shift_range == augmentation.width_shift
    assert generator.height_shift_range == augmentation.height_shift
    assert generator.zoom_range == [1 - augmentation.zoom, 1 + augmentation.zoom]
    assert generator.horizontal_flip == augmentation.horizontal_flip


def rates(cpu, wall, **others):
    return {"images_per_cpu_second": cpu, "images_per_wall_second": wall, **others}


def test_the_table_has_medians_ranges_and_ratios_taken_within_each_round():
    def measured(speed):
        trial = {
            "start_seconds": 100 / speed,
            "validated_per_wall_second": 125 * speed,
            "bfloat16": 1.0,
        }
        plain = {"start_seconds": 200 / speed, "validated_per_wall_second": 62.5 * speed}
        ours = rates(300 * speed, 250 * speed, **trial)
        return {
            "recipe": [rates(100 * speed, 125 * speed, **plain)],
            "ours": [ours],
            "ours-all": [ours, rates(200 * speed, 250 * speed, **trial)],
            "ours-float32": [rates(200 * speed, 100 * speed)],
            "augmentation-recipe": [rates(1000 * speed, 1)],
            "augmentation-ours": [rates(5000 * speed, 1)],
            "start-up": [{"seconds": 8.0, "cpu_seconds": 9.0, "steps": 32}],
            "logging": [{"seconds": 36.0, "cpu_seconds": 1, "seconds_of_log_epoch": 0.001}],
        }

    # The machine is twice as fast in the last round: figures move, ratios do not.
    text = benchmark.report([measured(1), measured(1), measured(2)], workers=2, threads=1)
    assert "| 300 (300 to 600) | 3.00 (3.00 to 3.00) | 250 (250 to 500) | 2.00 (2.00 to" in text
    # Two processes: the mean of their CPU rates, the sum of their wall rates.
    assert "| 250 (250 to 500) | 2.50 (2.50 to 2.50) | 500 (500 to 1,000) | 4.00 (4.00" in text
    # 200 s, and 20 times 45,000 images at 125 a second and 5,000 at 62.5: 9,000 s.
    assert "| 0.4 (0.4 to 0.8) | 1.00" in text
    # Twice as fast, and two at once.
    assert "| 1.6 (1.6 to 3.2) | 4.00 (4.00 to 4.00) |" in text
    assert "| 5,000 (5,000 to 10,000) | 5.00 (5.00 to 5.00) |" in text
    # 36 of 3,600 seconds, and of 1,800.
    assert "| 1.00 (1.00 to 2.00) |" in text
    assert "first 32 steps" in text


def test_accuracies_have_students_interval_over_the_seeds():
    results = [
        {"variant": v, "seed": s, "epochs": 5, "test_accuracy": a + s / 10, "cpu_seconds": 60.0}
        for v, a in (("recipe", 0.1), ("bfloat16", 0.2))
        for s in (2, 0, 1)
    ]
    text = accuracy.report(results)
    # Standard deviation 0.1, so 4.3027 * 0.1 / sqrt(3) = 0.2484 either way (Student, 2 degrees).
    assert "| recipe | 5 | 0.1000, 0.2000, 0.3000 | 0.2000 | -0.0484 to 0.4484 | 60 |" in text
    # Welch with equal variances: 2.7764 * 0.1 * sqrt(2 / 3) = 0.2267 (4 degrees).
    assert "| bfloat16 less recipe | +0.1000 | -0.1267 to +0.3267 |" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", [*processes.MEASUREMENTS])
def test_each_measurement_measures(name):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.processes", name, "--images", "640"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert result
    assert all(value >= 0 for value in result.values())


@pytest.mark.slow
def test_the_profile_finds_the_parts_of_a_step():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.profile", "--precision", "float32"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = dict(
        line.strip("| ").split(" | ")[:2]
        for line in done.stdout.splitlines()
        if " ms" not in line and line.startswith("| ") and line.count("|") == 4
    )
    from benchmarks.profile import PARTS

    assert {part for part, _ in PARTS} <= set(rows)
    # Nothing large is left without a name.
    assert float(rows["all else"]) < 0.15 * sum(map(float, rows.values()))
    assert "arithmetic of a step: 3.03 GFLOP" in done.stdout


def test_the_median_rule_is_played_on_recorded_trials():
    plain = {"scores": [0.1, 0.2, 0.3], "seconds": [1, 2, 4]}
    late = {"scores": [0.05, 0.1, 0.9], "seconds": [1, 2, 4]}  # would have been the best
    trials = [
        {"number": n, **scores} for n, scores in enumerate([plain, plain, plain, late, plain])
    ]
    whole = stopping.play(trials, stops=False)
    assert whole == stopping.Played(best=0.9, epochs=15, seconds=20, early=[])
    ruled = stopping.play(trials, stops=True)
    assert ruled == stopping.Played(best=0.3, epochs=13, seconds=17, early=[3])


def test_a_size_that_was_not_measured_is_on_the_line_through_the_last_two():
    assert growth.foretold([10, 50_000, 75_000], [0, 20, 30]) == pytest.approx(40)


def test_a_page_reaches_what_its_full_runs_do_that_were_not_chosen_by_the_test_images(sqlite_store):
    client = mlflow.MlflowClient(f"sqlite:///{sqlite_store}")
    experiment_id = client.create_experiment("cifar100")

    def add(seconds, accuracy, parent=None, kind="iteration", params=(), **tags):
        named = {"kind": kind, "iteration": "wide", "budget": "full", "protocol": "validation"}
        written = {f"cifar_track.{key}": value for key, value in {**named, **tags}.items()}
        if parent is not None:
            written |= {"mlflow.parentRunId": parent, "cifar_track.trial": str(seconds)}
        run_id = client.create_run(experiment_id, tags=written).info.run_id
        for name, value in params:
            client.log_param(run_id, name, value)
        client.log_metric(run_id, "fit_cpu_seconds", seconds)
        client.log_metric(run_id, "test_accuracy", accuracy)
        client.set_terminated(run_id)
        return run_id

    search = add(300, 0.4)
    add(100, 0.2, search, kind="trial")
    add(200, 0.3, search, kind="trial")
    add(100, 0.9, protocol="test")
    add(100, 0.9, budget="quick")
    # An ablation's, and one whose search ended with one of its trials.
    fast = [("training.seed", "2"), ("training.precision", "bfloat16"), ("augmentation.crop", "2")]
    add(50, 0.7, iteration="fast", params=fast)
    add(50, 0.6, iteration="fast", params=[*fast[:2], ("augmentation.crop", "0")])
    its_own = add(40, 0.4, iteration="whole", params=[("search.refit", "none")])
    add(40, 0.4, its_own, kind="trial")
    assert reach.read(100.0) == {
        "wide": [(6.0, 0.4)],
        "fast": [(0.5, 0.7)],
        "whole": [(0.4, 0.4)],
    }
