"""The original files of CIFAR-100: their hashes, and how they are read."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from numpy._core.multiarray import _reconstruct

from cifar_track.config import CifarTrackError

FILES = ("train", "test", "meta")
GIVE_ANOTHER = (
    "name another by CIFAR100_DIR or -P data_dir=; what lies in a cache may be deleted, and is "
    "fetched again"
)


@dataclass(frozen=True, kw_only=True)
class Release:
    """Published files and their md5 hashes, by which they are known to be the originals.

    `test_per_class` is what the file of test images is known to hold without being read.
    """

    url: str
    archive_md5: str
    file_md5: Mapping[str, str]
    test_per_class: int = 100


CIFAR100 = Release(
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
    # A plain dictionary, because data sets travel to the processes of trials.
    file_md5={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
)


def require_original(
    stream: BufferedReader, origin: Path | str, *, md5: str, advice: str = GIVE_ANOTHER
) -> None:
    """Check an open file against its published hash and rewind it; `advice` ends the error.

    Raises:
        CifarTrackError: the hashes differ.
    """
    found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise CifarTrackError(
            f"{origin} is damaged or not CIFAR-100's original: md5 {found} found, {md5} expected;"
            f" {advice}"
        )
    stream.seek(0)


def require_original_file(directory: Path, name: str, *, release: Release = CIFAR100) -> None:
    """Check one of the files train, test and meta by its hash, without looking at what it holds.

    Raises:
        CifarTrackError: the file is missing or damaged.
    """
    with _verified(directory / name, md5=release.file_md5[name]):
        pass


def read_original(directory: Path, name: str, *, release: Release = CIFAR100) -> dict[str, Any]:
    """Verify and read one of the files train, test and meta.

    Only the types that these files consist of are read; whatever else a pickle asks for is
    refused before it is looked up.

    Returns:
        The file's entries by name; the texts in them are bytes.

    Raises:
        CifarTrackError: the file is missing, damaged, or holds something else.
    """
    path = directory / name
    with _verified(path, md5=release.file_md5[name]) as stream:
        try:
            # The originals were written by Python 2, whose texts are bytes.
            entries = _OriginalUnpickler(stream, encoding="bytes").load()
        except OSError:
            raise
        except Exception as error:  # a foreign pickle may raise anything
            raise CifarTrackError(f"{path} is not a file of CIFAR-100: {error}") from error
    if not isinstance(entries, dict):
        raise CifarTrackError(f"{path} is not a file of CIFAR-100: no dictionary in it")
    return {_as_text(key): value for key, value in entries.items()}


def read_names(directory: Path, *, release: Release = CIFAR100) -> tuple[list[str], list[str]]:
    """The names of the fine and of the coarse classes, in the order of their labels."""
    meta = read_original(directory, "meta", release=release)
    try:
        fine, coarse = meta["fine_label_names"], meta["coarse_label_names"]
    except KeyError as error:
        raise CifarTrackError(f"{directory / 'meta'} holds no {error}") from error
    return [_as_text(name) for name in fine], [_as_text(name) for name in coarse]


def read_images(
    directory: Path, name: str, *, release: Release = CIFAR100
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of train or test as the file has them.

    Returns:
        uint8 (N, 3072), each row red, green and blue planes of 32x32; int64 (N,) fine labels;
        int64 (N,) coarse labels.
    """
    entries = read_original(directory, name, release=release)
    try:
        rows = entries["data"]
        fine = np.asarray(entries["fine_labels"], dtype=np.int64)
        coarse = np.asarray(entries["coarse_labels"], dtype=np.int64)
    except (KeyError, TypeError, ValueError) as error:
        raise CifarTrackError(f"{directory / name} lacks images or labels: {error}") from error
    if not (
        isinstance(rows, np.ndarray)
        and rows.dtype == np.uint8
        and rows.shape == (len(fine), 3 * 32 * 32)
        and fine.shape == coarse.shape
    ):
        raise CifarTrackError(f"{directory / name} does not hold one label for each 32x32 image")
    return rows, fine, coarse


def as_images(rows: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Some of a file's rows as images.

    Args:
        rows: uint8 (N, 3072), planes of 32x32.
        indices: which rows, in which order.

    Returns:
        uint8 (len(indices), 32, 32, 3), C-contiguous.
    """
    images = np.empty((len(indices), 32 * 32, 3), dtype=np.uint8)
    for start in range(0, len(indices), 512):  # blocks that stay in the processor's cache
        planes = rows[indices[start : start + 512]].reshape(-1, 3, 32 * 32)
        for color in range(3):  # three times as fast as one transposition
            images[start : start + 512, :, color] = planes[:, color]
    return images.reshape(-1, 32, 32, 3)


class _OriginalUnpickler(pickle.Unpickler):  # noqa: S301 - it imports nothing
    """Reads what the originals consist of: plain values and numpy arrays, and nothing else."""

    _ALLOWED = MappingProxyType(
        {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): _reconstruct,  # numpy 2 writes this
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        """The type a pickle names, looked up in a fixed table and never imported."""
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


@contextmanager
def _verified(path: Path, *, md5: str) -> Iterator[BufferedReader]:
    """A file whose hash is right, open at its beginning."""
    try:
        with path.open("rb") as stream:
            require_original(stream, path, md5=md5)
            yield stream
    except OSError as error:
        raise CifarTrackError(f"cannot read {path}: {error.strerror or error}") from error


def _as_text(text: Any) -> str:
    return text.decode("utf-8") if isinstance(text, bytes) else cast(str, text)
