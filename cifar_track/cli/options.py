"""Options that several verbs share."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click

from cifar_track import config, folders, quiet


class ExpandedPath(click.Path):
    """A path whose `~` is the home folder, also in `--option=~/x`, where no shell sees it."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        """The path, expanded before it is looked at."""
        expanded = folders.expanded(Path(value))
        return Path(str(super().convert(expanded, param, ctx)))


class Number(click.FloatRange):
    """A number of a range; Click's own lets through what is no number, which no bound is above."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number, within its bounds."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is no number.", param, ctx)
        return number


DATASET = click.option(
    "--dataset",
    type=click.Choice(tuple(config.DATASETS)),
    default=config.DEFAULT_DATASET,
    show_default=True,
    help="Whose runs: those of the real images and of the stand-in never mix.",
)
# Of verbs that take runs by name, which says whose they are.
DATASET_OF_RUNS = click.option(
    "--dataset",
    type=click.Choice(tuple(config.DATASETS)),
    help=f"Whose runs.  [default: those of the runs named, otherwise {config.DEFAULT_DATASET}]",
)
DATA_DIRECTORY = click.option(
    "--data_dir",
    type=ExpandedPath(),
    help="Folder with CIFAR-100, as its files or its archive.  [default: CIFAR100_DIR, the caches "
    "of this program and of Keras, then a download]",
)

FILTER = click.option(
    "--filter",
    "filter_string",
    metavar="FILTER",
    default="",
    help="Also the finished runs that match a filter of MLflow's.",
)

RESUME = click.option(
    "--resume",
    type=click.Choice(["auto", "never", "same_commit"]),
    default="auto",
    show_default=True,
    help="Go on with what a kill cut short; begin anew, and let go of it; or go on only if the "
    "commit is the same.",
)


MOST_SEEDS = 1000


def _be_quiet(context: click.Context, _option: click.Parameter, value: Any) -> None:
    quiet.be_quiet(context, quiet=value)


QUIET = click.option(
    "--quiet",
    type=bool,
    is_flag=False,
    flag_value=True,
    default=False,
    show_default=True,
    expose_value=False,
    callback=_be_quiet,
    help="true: print results alone, without progress.",
)


def given(name: str) -> bool:
    """Whether the person gave this option of the verb that runs, be it as its default is."""
    source = click.get_current_context().get_parameter_source(name)
    return source is not click.core.ParameterSource.DEFAULT


def references(text: str) -> tuple[str, ...]:
    """The runs that a text names, as `tracking.resolve_runs` takes them: names may hold commas."""
    return (text,) if text else ()


def words(text: str) -> tuple[str, ...]:
    """What commas part."""
    return tuple(word for part in text.split(",") if (word := part.strip()))
