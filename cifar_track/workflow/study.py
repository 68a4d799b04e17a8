"""The whole study end to end at a budget of minutes."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path

from cifar_track import tracking
from cifar_track.config import CifarTrackError, Data, Value, load_experiment
from cifar_track.data import DataUnavailableError, load_dataset
from cifar_track.workflow.compare import compare_runs
from cifar_track.workflow.register import register_best
from cifar_track.workflow.terminal import load_tensorflow, tell
from cifar_track.workflow.train import run_experiment

# Enough to see every part of the product at work on two cores; too little to judge a network by.
QUICK_DATA: Mapping[str, Value] = {
    "data.train_per_class": 80,
    "data.validation_per_class": 10,
    "data.test_per_class": 20,
}
QUICK: Mapping[str, Mapping[str, Value]] = {
    "baseline": {"training.epochs": 3},
    "adam_bn": {"training.epochs": 3},
    "tune": {"training.epochs": 3, "search.trials": 2},
    # An image costs ten times what it costs the others.
    "resnet50": {"training.epochs": 1, "data.train_per_class": 20},
}
REPORT_DIRECTORY = Path("comparison")


def run_study(*, dataset: str = "auto", data_dir: Path | None = None, seed: int = 0) -> None:
    """Run all four iterations at a quick budget, compare them, and register the best.

    Args:
        dataset: `cifar100`, `procedural`, or `auto` for CIFAR-100 if it is at hand or can be
            downloaded and the procedural stand-in otherwise.
        data_dir: where CIFAR-100 lies, before the usual places.
        seed: of every iteration.

    Raises:
        CifarTrackError: as `run_experiment`, `compare_runs` and `register_best`.
    """
    chosen = _choose_dataset(dataset, data_dir)
    tell(
        f"quick budget: {QUICK_DATA['data.train_per_class']} training images a class, "
        "1 to 3 epochs; for the study's own, run each iteration: mlflow run . -e tune"
    )
    run_ids = []
    with tracking.start_run(dataset_name=chosen, name="quick study", kind="study"):
        for name, budget in QUICK.items():
            settings = {
                **QUICK_DATA,
                **budget,
                "data.dataset": chosen,
                "training.seed": seed,
            }
            if name == "resnet50":
                settings |= _resnet50_weights()
            run_ids.append(run_experiment(name, settings, data_dir=data_dir, budget="quick"))
            gc.collect()  # Keras's graphs are cycles, and hold the images
        register_best(dataset=chosen, data_dir=data_dir)
    compare_runs(run_ids, dataset=chosen, output=REPORT_DIRECTORY)


def _choose_dataset(dataset: str, data_dir: Path | None) -> str:
    if dataset != "auto":
        tell(f"dataset: {dataset}")
        return dataset
    if data_dir is not None:
        return "cifar100"
    try:
        source = load_dataset(Data()).source
    except DataUnavailableError as error:
        tell(f"dataset: the procedural stand-in, because CIFAR-100 is not at hand: {error}")
        return "procedural"
    tell(f"dataset: CIFAR-100 from {source}")
    return "cifar100"


def _resnet50_weights() -> Mapping[str, Value]:
    load_tensorflow()
    from cifar_track import training

    try:
        training.build_model(load_experiment("resnet50"), classes=100)
    except CifarTrackError as error:
        tell(f"resnet50: random weights, because {error}")
        return {"model.weights": "none"}
    return {}
