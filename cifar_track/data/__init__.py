"""CIFAR-100 and its procedural stand-in: found, verified, split."""

from cifar_track.data.dataset import (
    ClassNames,
    Dataset,
    Images,
    load_dataset,
    read_test_images,
)
from cifar_track.data.download import DataUnavailableError, ensure_cifar100
from cifar_track.data.original import CIFAR100, Release
from cifar_track.data.places import find_cifar100
from cifar_track.data.procedural import generate_images, procedural_names
from cifar_track.data.repeats import find_seen
from cifar_track.data.split import stratified_indices

__all__ = [
    "CIFAR100",
    "ClassNames",
    "DataUnavailableError",
    "Dataset",
    "Images",
    "Release",
    "ensure_cifar100",
    "find_cifar100",
    "find_seen",
    "generate_images",
    "load_dataset",
    "procedural_names",
    "read_test_images",
    "stratified_indices",
]
