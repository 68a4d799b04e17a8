"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path

import click

from cifar_track import config

DATASET = click.option(
    "--dataset",
    type=click.Choice(tuple(config.DATASETS)),
    default="cifar100",
    show_default=True,
    help="Whose runs: those of the real images and of the stand-in never mix.",
)
DATA_DIRECTORY = click.option(
    "--data_dir",
    type=click.Path(path_type=Path),
    help="Folder with CIFAR-100, as its files or its archive.  [default: CIFAR100_DIR, the caches "
    "of this program and of Keras, then a download]",
)
