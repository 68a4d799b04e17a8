"""Data sets as the rest of the project sees them: loaded, split by class, with a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from cifar_track.config import CifarTrackError, Data
from cifar_track.data import procedural
from cifar_track.data.download import Progress, ensure_cifar100
from cifar_track.data.original import (
    CIFAR100,
    Release,
    as_images,
    read_images,
    read_names,
    require_original_file,
)
from cifar_track.data.places import find_cifar100
from cifar_track.data.split import split_indices, test_indices

# The stand-in's test images are the same in every run; the others are split_seed's.
PROCEDURAL_SEED = 0


@dataclass(frozen=True)
class Images:
    """Images and what they show.

    Attributes:
        images: uint8 (N, 32, 32, 3), C-contiguous, red, green, blue from 0 to 255.
        labels: int64 (N,), the fine class of each.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal characters over images and labels, by which the same are known."""
        return _digest((self.images, self.labels), facts=())


@dataclass(frozen=True)
class ClassNames:
    """The names of the fine and coarse classes by label, and the coarse label of each fine one."""

    fine: tuple[str, ...]
    coarse: tuple[str, ...]
    superclass_of: tuple[int, ...]


@dataclass(frozen=True)
class Dataset:
    """Images to train on, images to choose by, and a way to the test images.

    Attributes:
        name: "cifar100" or "procedural".
        classes: what the labels mean.
        train: what is trained on.
        validation: what is chosen by.
        digest: 32 hexadecimal characters over every array and over the split.
        source: the folder the images come from, or "procedural".
        protocol: "validation", or "test" where the test images serve as validation.
        load_test: reads the test images, which are not touched before.
    """

    name: str
    classes: ClassNames
    train: Images
    validation: Images
    digest: str
    source: str
    protocol: str
    load_test: Callable[[], Images]


def load_dataset(
    settings: Data,
    *,
    directory: Path | None = None,
    allow_download: bool = True,
    on_progress: Progress | None = None,
    release: Release = CIFAR100,
) -> Dataset:
    """Find, verify and split the images that an experiment asks for.

    Args:
        settings: which data set, how many images a class, and the split's seed.
        directory: a folder or archive with CIFAR-100, before any other place.
        allow_download: whether CIFAR-100 may be fetched where it is not at hand.
        on_progress: called with the bytes at hand and in all while fetching; by default a
            progress bar on a terminal.
        release: the hashes by which CIFAR-100's files are known.

    Raises:
        DataUnavailableError: CIFAR-100 is not at hand and cannot be fetched.
        CifarTrackError: a file is damaged, more images a class are asked for than there are, or
            a directory is given for images that are drawn.
    """
    if settings.dataset == "procedural":
        if directory is not None:
            raise CifarTrackError(
                f"the stand-in's images are drawn, not read from {directory}; leave --data_dir "
                "out, or ask for --dataset cifar100"
            )
        return _load_procedural(settings)
    folder = ensure_cifar100(
        directory, allow_download=allow_download, on_progress=on_progress, release=release
    )
    return _load_cifar100(settings, folder, release=release)


def read_test_images(settings: Data, *, release: Release = CIFAR100) -> Images | None:
    """The test images of an experiment, where they are at hand without fetching anything.

    Raises:
        CifarTrackError: a file is damaged, or `CIFAR100_DIR` names a place without them.
    """
    if settings.dataset == "procedural":
        return _generate_test(settings)
    found = find_cifar100(release=release)
    if found is None or not found.is_dir():
        return None
    return _read_test(settings, found, release=release)


def _load_cifar100(settings: Data, folder: Path, *, release: Release) -> Dataset:
    if settings.test_per_class > release.test_per_class:
        raise CifarTrackError(
            f"data.test_per_class={settings.test_per_class} is more than the test set has, "
            f"{release.test_per_class} images of each class"
        )
    # A damaged one would be found when all is trained.
    require_original_file(folder, "test", release=release)
    rows, fine, coarse = read_images(folder, "train", release=release)
    names, superclass_names = read_names(folder, release=release)
    classes = ClassNames(
        fine=tuple(names),
        coarse=tuple(superclass_names),
        superclass_of=_superclass_of(fine, coarse, classes=len(names), path=folder / "train"),
    )
    load_test = partial(_read_test, settings, folder, release=release)
    validation_indices, train_indices = split_indices(fine, settings)

    def take(indices: np.ndarray) -> Images:
        return Images(as_images(rows, indices), fine[indices])

    return _dataset(
        settings,
        classes,
        take=take,
        split=(train_indices, validation_indices),
        load_test=load_test,
        test_identity=f"md5 {release.file_md5['test']}",
        source=str(folder),
    )


def _load_procedural(settings: Data) -> Dataset:
    # Drawn apart: the same images are chosen by however many are trained on.
    try:
        drawn = [
            procedural.generate_images(per_class, seed=settings.split_seed, part=part)
            for part, per_class in (
                ("train", settings.train_per_class),
                ("validation", settings.validation_per_class),
            )
        ]
        images, labels = (np.concatenate(arrays) for arrays in zip(*drawn, strict=True))
        procedural.empty_images(settings.test_per_class)  # wanted when all is trained
    except MemoryError as error:
        raise CifarTrackError(
            f"data.train_per_class={settings.train_per_class}, data.validation_per_class="
            f"{settings.validation_per_class} and data.test_per_class={settings.test_per_class} "
            f"are more than this machine's memory holds: {error}; ask for fewer"
        ) from error
    train_indices, validation_indices = np.split(np.arange(len(labels)), [len(drawn[0][1])])

    def take(indices: np.ndarray) -> Images:
        return Images(images[indices], labels[indices])

    return _dataset(
        settings,
        ClassNames(*procedural.procedural_names()),
        take=take,
        split=(train_indices, validation_indices),
        load_test=partial(_generate_test, settings),
        test_identity=f"procedural seed {PROCEDURAL_SEED}",
        source="procedural",
    )


def _dataset(
    settings: Data,
    classes: ClassNames,
    *,
    take: Callable[[np.ndarray], Images],
    split: tuple[np.ndarray, np.ndarray],
    load_test: Callable[[], Images],
    test_identity: str,
    source: str,
) -> Dataset:
    if settings.selection == "test":
        train, validation = take(np.sort(np.concatenate(split))), load_test()
    else:
        train, validation = take(split[0]), take(split[1])
    # The test images enter by what they are known by, so that they need not be read.
    test = f"test {test_identity} {settings.test_per_class} {settings.split_seed}"
    arrays = (train.images, train.labels, validation.images, validation.labels, *split)
    return Dataset(
        name=settings.dataset,
        classes=classes,
        train=train,
        validation=validation,
        digest=_digest(arrays, facts=(settings.selection, test, repr(classes))),
        source=source,
        protocol=settings.selection,
        load_test=load_test,
    )


def _read_test(settings: Data, folder: Path, *, release: Release) -> Images:
    rows, fine, _ = read_images(folder, "test", release=release)
    indices = test_indices(fine, settings)
    return Images(as_images(rows, indices), fine[indices])


def _generate_test(settings: Data) -> Images:
    images, labels = procedural.generate_images(
        settings.test_per_class, seed=PROCEDURAL_SEED, part="test"
    )
    return Images(images, labels)


def _superclass_of(
    fine: np.ndarray, coarse: np.ndarray, *, classes: int, path: Path
) -> tuple[int, ...]:
    pairs = np.unique(np.stack([fine, coarse], axis=1), axis=0)
    if not np.array_equal(pairs[:, 0], np.arange(classes)):
        raise CifarTrackError(f"{path} does not give each of {classes} classes one superclass")
    return tuple(pairs[:, 1].tolist())


def _digest(arrays: Sequence[np.ndarray], *, facts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    for fact in facts:
        digest.update(f"{fact}\n".encode())
    return digest.hexdigest()[:32]
