"""The whole study end to end at a budget of minutes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cifar_track import folders, tracking, tuning
from cifar_track.config import DATASETS, CifarTrackError, Demands, Value, load_experiment, override
from cifar_track.data import DataUnavailableError, ensure_cifar100, find_cifar100, load_dataset
from cifar_track.workflow.compare import compare_runs
from cifar_track.workflow.register import register_best
from cifar_track.workflow.side_by_side import require_all, run_side_by_side
from cifar_track.workflow.terminal import load_tensorflow, tell
from cifar_track.workflow.train import run_experiment

# What every iteration of the quick study is cut down to. Plain images, because augmentation slows
# the first epochs of all of them; small batches, because the moving averages of batch normalisation
# lag behind for the first few hundred steps, and validation with them; averaged weights, because
# after so few epochs those of one step leave it to chance which network is ahead.
QUICK: Mapping[str, Value] = {
    "data.train_per_class": 80,
    "data.validation_per_class": 10,
    "data.test_per_class": 20,
    "augmentation.rotation": 0.0,
    "augmentation.width_shift": 0.0,
    "augmentation.height_shift": 0.0,
    "augmentation.zoom": 0.0,
    "training.batch_size": 32,
    "training.epochs": 4,
    "training.average": 0.99,
}
# And what some have besides. The best trial's network is trained on, for as many epochs as it had,
# so that it has seen no less than the others. Of ResNet50 the last layer alone is trained: an image
# costs it ten times what it costs the others, and few of them leave all of it at chance.
ITERATIONS: Mapping[str, Mapping[str, Value]] = {
    "baseline": {},
    "adam_bn": {},
    "tune": {
        "search.trials": 2,
        "search.trial_epochs": 2,
        "search.refit": "continue",
        "training.epochs": 2,
    },
    "resnet50": {
        "data.train_per_class": 40,
        "training.epochs": 1,
        "model.trainable": "head",
    },
}
# The order in which they begin, so that at the end nothing waits for a long one.
LONGEST_FIRST = ("tune", "resnet50", "adam_bn", "baseline")
LIMITS = """\
quick study: the four iterations on {images:,} plain images for {epochs} epochs. It shows every part
at work. It does not show
- how good a network is: the study's own budget is 45,000 images, augmented, for 20 epochs
- what the search finds: it tries {trials} settings of its thousands, {trial_epochs} epochs each,
  with SGD, which is slower than Adam at first
- what ResNet50 can do: its last layer alone is trained, on {resnet50_images:,} images once; with
  random weights below that it stays near chance, 0.01
- how long each takes: they run side by side, as many at once as the machine carries
For those: mlflow run . -e baseline, and so on for adam_bn, tune and resnet50"""
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
    folders.require_output(
        Path.cwd() / REPORT_DIRECTORY,
        way_on="allow it, remove what stands in its place, or call this in another folder",
    )
    if dataset != "procedural":
        find_cifar100(data_dir)  # a wrong place is told before anything is made
    tracking.open_registry()  # wanted when all is trained
    chosen = _choose_dataset(dataset, data_dir)
    tell(_limits())
    page = override(load_experiment("baseline"), {**QUICK, "data.dataset": chosen})
    load_dataset(page.data, directory=data_dir)  # what is missing is told once, and now
    workers = min(tuning.default_workers(), len(ITERATIONS))
    with tracking.start_run(dataset_name=chosen, name="quick study", kind="study") as run:
        run_ids, failures = run_side_by_side(
            {
                name: partial(
                    _run_iteration,
                    name,
                    {
                        **QUICK,
                        **ITERATIONS[name],
                        "data.dataset": chosen,
                        "training.seed": seed,
                    },
                    data_dir=data_dir,
                    parent_run_id=run.id,
                )
                for name in LONGEST_FIRST
            },
            workers=workers,
        )
        require_all(run_ids, failures)
        _register(chosen, data_dir)
    compare_runs([run_ids[name] for name in ITERATIONS], dataset=chosen, output=REPORT_DIRECTORY)


def _run_iteration(name: str, settings: Mapping[str, Value], **about: Any) -> str:
    if name == "resnet50":
        settings = {**settings, **_resnet50_weights()}
    return run_experiment(name, settings, budget="quick", **about)


def _limits() -> str:
    tune, resnet50 = ITERATIONS["tune"], ITERATIONS["resnet50"]
    return LIMITS.format(
        images=100 * int(QUICK["data.train_per_class"]),
        epochs=QUICK["training.epochs"],
        trials=tune["search.trials"],
        trial_epochs=tune["search.trial_epochs"],
        resnet50_images=100 * int(resnet50["data.train_per_class"]),
    )


def _register(dataset: str, data_dir: Path | None) -> None:
    from cifar_track import registry

    # After a few epochs on a few images there are classes that no network predicts.
    demands = Demands(never_predicted=DATASETS[dataset].classes)
    try:
        register_best(dataset=dataset, data_dir=data_dir, demands=demands)
    except registry.RefusedError as refusal:
        tell(f"not promoted: {refusal}")


def _choose_dataset(dataset: str, data_dir: Path | None) -> str:
    if dataset == "procedural" and data_dir is not None:
        raise CifarTrackError(
            f"the stand-in's images are drawn, not read from {data_dir}; leave --data_dir or "
            "--dataset out"
        )
    if dataset != "auto":
        tell(f"dataset: {dataset}")
        return dataset
    if data_dir is not None:
        tell(f"dataset: CIFAR-100 from {data_dir}")
        return "cifar100"
    try:
        folder = ensure_cifar100()
    except DataUnavailableError as error:
        tell(f"dataset: the procedural stand-in, because CIFAR-100 is not at hand: {error}")
        return "procedural"
    tell(f"dataset: CIFAR-100 from {folder}")
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
