"""What each data set is: its names, its shape, and where its runs and models go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """A data set as every other part of the project knows it.

    Attributes:
        name: what settings, tags and commands call it.
        title: what a sentence calls it.
        image_shape: height, width and channels of an image.
        classes: how many there are.
        superclasses: how many groups of classes there are; 0 where there are none.
        experiment: the MLflow experiment of its runs.
        registered_model: the name in the registry of its best model.
        licence: under what terms its images are had, in a sentence.
        is_the_studys: whether the study's own figures are about these images.
    """

    name: str
    title: str
    image_shape: tuple[int, int, int]
    classes: int
    superclasses: int
    experiment: str
    registered_model: str
    licence: str
    is_the_studys: bool = False


# Of every data set here, and so of what the networks take: height, width and channels.
IMAGE_SHAPE = (32, 32, 3)
# What is meant where nobody says which.
DEFAULT_DATASET = "cifar100"
# Real images and stand-ins share neither an experiment nor a registered model.
DATASETS: Mapping[str, DatasetInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            DatasetInfo(
                name=DEFAULT_DATASET,
                title="CIFAR-100",
                image_shape=IMAGE_SHAPE,
                classes=100,
                superclasses=20,
                experiment="cifar100",
                registered_model="cifar100-classifier",
                licence="The authors (Krizhevsky 2009) give no licence; the photographs are a "
                "subset of the withdrawn 80 Million Tiny Images, and are used for research.",
                is_the_studys=True,
            ),
            DatasetInfo(
                name="procedural",
                title="the procedural stand-in for CIFAR-100",
                image_shape=IMAGE_SHAPE,
                classes=100,
                superclasses=20,
                experiment="cifar100-procedural",
                registered_model="cifar100-procedural-classifier",
                licence="Drawn by this project, under its own licence.",
            ),
        )
    }
)
