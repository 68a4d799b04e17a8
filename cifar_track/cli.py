"""The command line: its verbs, their options, and how each mistake is told in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from cifar_track import __version__, config
from cifar_track.config import CifarTrackError, Value

Function = TypeVar("Function", bound=Callable[..., Any])

# Options of `train` that are one setting of the page by a short name.
SHORTCUTS = {
    "epochs": ("training.epochs", "Passes over the training images."),
    "batch_size": ("training.batch_size", "Images a step."),
    "learning_rate": ("optimizer.learning_rate", "The optimizer's step size."),
    "seed": ("training.seed", "Seed of weights, order and augmentation; 0 is a seed."),
    "deterministic": ("training.deterministic", "true: the same bits every time, slower."),
    "precision": ("training.precision", f"One of {', '.join(config.PRECISIONS)}."),
    "dataset": ("data.dataset", f"One of {', '.join(config.DATASETS)}."),
    "selection": ("data.selection", "What to choose by: validation, or test as the study did."),
    "weights": ("model.weights", "Of resnet50: imagenet, none, or the path of a weights file."),
    "preprocessing": ("model.preprocessing", "Of resnet50: caffe, or study (divide by 255)."),
    "image_size": ("model.image_size", "Of resnet50: the side images are enlarged to, in pixels."),
    "trials": ("search.trials", "Of a search: how many settings to try."),
    "tuner": ("search.tuner", f"Of a search: one of {', '.join(config.TUNERS)}."),
    "objective": ("search.objective", f"Of a search: {' or '.join(config.OBJECTIVES)}."),
}


def run(arguments: Sequence[str]) -> int:
    """Run one verb.

    Args:
        arguments: what follows `python -m cifar_track`.

    Returns:
        The exit status: 0, or 2 for a mistake of the person, told in one line on stderr.
        Everything else is a bug or an interrupt and leaves as it came.
    """
    try:
        with verbs.make_context("python -m cifar_track", list(arguments) or ["--help"]) as context:
            verbs.invoke(context)
    except click.exceptions.Exit as leaving:  # --help and --version
        return leaving.exit_code
    except click.NoSuchOption as mistake:
        return _tell(_name_nearest_option(mistake))
    except click.ClickException as mistake:
        return _tell(mistake.format_message())
    except CifarTrackError as mistake:
        return _tell(str(mistake))
    return 0


class _Verbs(click.Group):
    """The verbs in the order a person meets them; an unknown one is answered by the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            raise CifarTrackError(f"no verb {args[0]!r}{config.nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


def _options_of_the_page(verb: Function) -> Function:
    for name, (setting, help_text) in reversed(SHORTCUTS.items()):
        verb = click.option(
            f"--{name}", metavar="VALUE", help=f"{help_text}  [{setting}; default: from the page]"
        )(verb)
    return verb


_DATASET = click.option(
    "--dataset",
    type=click.Choice(config.DATASETS),
    default="cifar100",
    show_default=True,
    help="Whose runs: those of the real images and of the stand-in never mix.",
)
_DATA_DIRECTORY = click.option(
    "--data_dir",
    type=click.Path(path_type=Path),
    help="Folder with CIFAR-100, as its files or its archive.  [default: CIFAR100_DIR, the caches "
    "of this program and of Keras, then a download]",
)


@click.group(
    cls=_Verbs,
    # `--data-dir` is `--data_dir`: people type one, `-P data_dir=` the other.
    context_settings={
        "token_normalize_func": lambda token: token.replace("-", "_"),
        "help_option_names": ["--help", "-h"],
        "max_content_width": 100,
    },
    no_args_is_help=False,
)
@click.version_option(__version__, prog_name="cifar_track")
def verbs() -> None:
    """Run, compare and register every iteration of a CIFAR-100 study with MLflow.

    Each verb is an entry point of the MLflow Project too, and each of its options a parameter:

    \b
      python -m cifar_track train --experiment tune --trials 3
      mlflow run . -e tune -P trials=3

    `python -m cifar_track VERB --help` lists a verb's options.
    """


@verbs.command("main")
@click.option(
    "--dataset",
    type=click.Choice(("auto", *config.DATASETS)),
    default="auto",
    show_default=True,
    help="auto: CIFAR-100 if it is at hand or can be downloaded, otherwise the stand-in.",
)
@_DATA_DIRECTORY
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Seed of every iteration; 0 is a seed.",
)
def run_study(*, dataset: str, data_dir: Path | None, seed: int) -> None:
    """Run the whole study in minutes: four iterations, a comparison, a registration.

    \b
    Examples:
      mlflow run .
      mlflow run . -P dataset=procedural
      python -m cifar_track main --data_dir ~/cifar-100-python
    """
    from cifar_track import workflow

    workflow.run_study(dataset=dataset, data_dir=data_dir, seed=seed)


@verbs.command("train")
@click.option("--experiment", metavar="NAME", required=True, help="A page in experiments/.")
@_options_of_the_page
@click.option(
    "--set",
    "settings",
    metavar='"NAME=VALUE ..."',
    default="",
    help="Any other settings of the page by their dotted names.",
)
@_DATA_DIRECTORY
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Of a search: trials at once.  [default: as many as the machine carries]",
)
@click.option("--run_name", metavar="TEXT", help="The run's name in MLflow.  [default: the page's]")
def train(
    *,
    experiment: str,
    settings: str,
    data_dir: Path | None,
    workers: int | None,
    run_name: str | None,
    **shortcuts: str | None,
) -> None:
    """Run one experiment: fit, evaluate, and log all of it.

    A page with a search tries its settings first and fits the best again.

    \b
    Examples:
      mlflow run . -e baseline
      mlflow run . -e tune -P trials=10 -P tuner=bayesian
      mlflow run . -e train -P experiment=adam_bn -P epochs=5
      mlflow run . -e train -P experiment=adam_bn -P set="model.dropout_1=0.3 augmentation.zoom=0"
    """
    page = config.load_experiment(experiment)
    overrides = _overrides(page, settings=settings, shortcuts=shortcuts)
    # A mistake is told now, before seconds of imports and before anything is logged.
    config.override(page, overrides)
    from cifar_track import workflow

    workflow.run_experiment(
        experiment, overrides, data_dir=data_dir, workers=workers, run_name=run_name
    )


@verbs.command("compare")
@click.option(
    "--runs",
    metavar="ID,ID,...",
    default="",
    help="Runs of MLflow.  [default: the newest finished run of each iteration]",
)
@_DATASET
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for a copy of the comparison.  [default: none, it is logged to MLflow]",
)
def compare(*, runs: str, dataset: str, output: Path | None) -> None:
    """Put runs side by side: settings, metrics, classes, and whether differences are chance.

    \b
    Examples:
      mlflow run . -e compare
      python -m cifar_track compare --runs 5f0c1e,9ab3d2 --output comparison
    """
    from cifar_track import workflow

    workflow.compare_runs(tuple(runs.replace(",", " ").split()), dataset=dataset, output=output)


@verbs.command("register")
@click.option(
    "--run", "run_id", metavar="ID", help="A run of MLflow.  [default: the best by validation]"
)
@_DATASET
@click.option(
    "--name",
    metavar="TEXT",
    help="The registered model's name.  [default: cifar100-classifier, or the stand-in's own]",
)
@_DATA_DIRECTORY
def register(*, run_id: str | None, dataset: str, name: str | None, data_dir: Path | None) -> None:
    """Register the best finished run's model and make it the champion.

    The model is read back from the registry and must predict what was logged before the alias
    moves. A run that was chosen by the test images is refused.

    \b
    Examples:
      mlflow run . -e register
      python -m cifar_track register --run 5f0c1e
    """
    from cifar_track import workflow

    workflow.register_best(run_id, dataset=dataset, name=name, data_dir=data_dir)


@verbs.command("doctor")
@click.option(
    "--dry_run",
    type=bool,
    is_flag=False,
    flag_value=True,
    default=False,
    show_default=True,
    help="true: say what would be mended, and leave it.",
)
@click.option(
    "--older_than",
    metavar="MINUTES",
    type=click.FloatRange(min=0),
    help="Also end runs silent for so long whose process can't be looked at from here.",
)
def mend(*, dry_run: bool, older_than: float | None) -> None:
    """Find what crashed or killed processes left behind, such as runs RUNNING for ever.

    \b
    Examples:
      mlflow run . -e doctor
      python -m cifar_track doctor --dry_run
    """
    from cifar_track import workflow

    workflow.mend_runs(dry_run=dry_run, older_than=older_than)


def _overrides(
    page: config.Experiment, *, settings: str, shortcuts: Mapping[str, str | None]
) -> dict[str, Value]:
    overrides: dict[str, Value] = dict(config.parse_overrides(settings))
    known = config.flatten(page)
    for name, value in shortcuts.items():
        setting = SHORTCUTS[name][0]
        if value is None:
            continue
        if setting not in known:
            raise CifarTrackError(f"--{name} is not for {page.name!r}: it has no {setting}")
        if setting in overrides:
            raise CifarTrackError(f"{setting} is given twice: by --{name} and in --set")
        overrides[setting] = value
    return overrides


def _name_nearest_option(mistake: click.NoSuchOption) -> str:
    command = mistake.ctx.command if mistake.ctx else verbs
    known = tuple(name for option in command.params for name in option.opts)
    return f"no option {mistake.option_name!r}{config.nearest(mistake.option_name, known)}"


def _tell(mistake: str) -> int:
    click.echo(f"error: {' '.join(mistake.split())}", err=True)
    return 2
