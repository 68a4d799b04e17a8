"""CIFAR-100: where it is found, what is refused, how it is downloaded and split."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar_track.cli.options import QUIET
from cifar_track.config import CifarTrackError, Data
from cifar_track.data import (
    CIFAR100,
    DataUnavailableError,
    Release,
    download,
    find_cifar100,
    load_dataset,
    stratified_indices,
)

PLACES_OF_FILES = [f"data/cifar-100-python/{name}" for name in ("train", "test", "meta")]
CLASSES, TRAIN_PER_CLASS, TEST_PER_CLASS = 100, 6, 3
SMALL = Data(train_per_class=4, validation_per_class=2, test_per_class=3)
ROOT = Path(__file__).resolve().parent.parent


# Read before `elsewhere` empties the environment.
def _real_directory() -> Path | None:
    for place in (os.environ.get("CIFAR100_DIR"), ROOT.parent / "shared/data/cifar-100-python"):
        folder = Path(place) if place else None
        if folder is not None and (folder / "cifar-100-python").is_dir():
            folder = folder / "cifar-100-python"
        if folder is not None and (folder / "train").is_file():
            return folder.resolve()
    return None


REAL = _real_directory()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any data in it, and no address that leads out of this machine."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.delenv("CIFAR100_DIR", raising=False)
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    return home


# A look-alike of the original: the same files and entries, fewer images, drawn at random.


@dataclass(frozen=True)
class LookAlike:
    folder: Path
    archive: Path
    release: Release
    entries: dict[str, dict[bytes, object]]

    def load(self, settings: Data = SMALL, **options):
        return load_dataset(settings, release=self.release, **options)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def released(folder: Path, archive: Path) -> Release:
    files = {path.name: md5(path) for path in folder.iterdir()}
    return Release(url=CIFAR100.url, archive_md5=md5(archive), file_md5=files)


def packed(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(folder, arcname="cifar-100-python")
    return archive


@pytest.fixture(scope="module")
def lookalike(tmp_path_factory: pytest.TempPathFactory) -> LookAlike:
    place = tmp_path_factory.mktemp("original")
    folder = place / "cifar-100-python"
    folder.mkdir()
    rng = np.random.default_rng(0)
    superclass_of = rng.permutation(np.repeat(np.arange(20), 5))
    entries: dict[str, dict[bytes, object]] = {
        "meta": {
            b"fine_label_names": [b"fine %d" % i for i in range(CLASSES)],
            b"coarse_label_names": [b"coarse %d" % i for i in range(20)],
        }
    }
    for name, per_class in (("train", TRAIN_PER_CLASS), ("test", TEST_PER_CLASS)):
        labels = rng.permutation(np.repeat(np.arange(CLASSES), per_class))
        entries[name] = {
            b"data": rng.integers(0, 256, (len(labels), 3072), dtype=np.uint8),
            b"fine_labels": labels.tolist(),
            b"coarse_labels": superclass_of[labels].tolist(),
        }
    for name, content in entries.items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=4))
    archive = packed(folder, place / "cifar-100-python.tar.gz")
    return LookAlike(folder, archive, released(folder, archive), entries)


@pytest.fixture
def copied(lookalike: LookAlike, tmp_path: Path) -> LookAlike:
    """A look-alike that a test may damage."""
    folder = tmp_path / "copy" / "cifar-100-python"
    folder.mkdir(parents=True)
    for path in lookalike.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    archive = tmp_path / "copy.tar.gz"
    archive.write_bytes(lookalike.archive.read_bytes())
    return replace(lookalike, folder=folder, archive=archive)


# A server of archives that counts, answers ranges, and cuts connections on request.


@dataclass
class Mirror:
    content: bytes
    cut_after: list[int] = field(default_factory=list)
    ranges: bool = True
    refusals: list[int] = field(default_factory=list)
    requests: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def mirror(lookalike: LookAlike, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    state = Mirror(lookalike.archive.read_bytes())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.requests.append(wanted)
            if state.refusals:
                self.send_error(state.refusals.pop(0))
                return
            start = int(wanted[6:-1]) if wanted and state.ranges else 0
            if start >= len(state.content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                last = len(state.content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(state.content)}")
            self.send_header("Content-Length", str(len(state.content) - start))
            self.end_headers()
            body = state.content[start:]
            self.wfile.write(body[: state.cut_after.pop(0)] if state.cut_after else body)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/cifar-100-python.tar.gz"
        monkeypatch.setenv("CIFAR100_URL", state.url)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


def left_in(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()} - {"download.lock"}


# Reading


def test_reads_what_the_files_hold(lookalike):
    data = lookalike.load(directory=lookalike.folder)
    test = data.load_test()
    content = lookalike.entries["test"]
    assert np.array_equal(test.images.transpose(0, 3, 1, 2).reshape(-1, 3072), content[b"data"])
    assert test.labels.tolist() == content[b"fine_labels"]
    assert test.images.flags.c_contiguous
    assert data.classes.fine[7] == "fine 7"
    assert data.classes.coarse[19] == "coarse 19"
    train = lookalike.entries["train"]
    for fine, coarse in zip(train[b"fine_labels"], train[b"coarse_labels"], strict=True):
        assert data.classes.superclass_of[fine] == coarse
    assert (data.name, data.protocol) == ("cifar100", "validation")
    assert data.source == str(lookalike.folder)


def test_what_the_test_file_holds_is_left_alone_until_asked_for(copied):
    path = copied.folder / "test"
    whole = path.read_bytes()
    path.write_bytes(b"no pickle")  # right by its hash
    release = released(copied.folder, copied.archive)
    data = replace(copied, release=release).load(directory=copied.folder)
    assert len(data.train) == 400
    with pytest.raises(CifarTrackError, match="test is not a file of CIFAR-100"):
        data.load_test()
    path.write_bytes(whole)
    data = copied.load(directory=copied.folder)
    path.write_bytes(b"changed meanwhile")
    with pytest.raises(CifarTrackError, match="test is damaged"):
        data.load_test()


def test_a_data_set_can_be_handed_to_another_process(lookalike):
    data = lookalike.load(directory=lookalike.folder)
    again = pickle.loads(pickle.dumps(data))
    assert np.array_equal(again.load_test().images, data.load_test().images)
    # The default hashes travel along with the way to the test images.
    assert pickle.loads(pickle.dumps(CIFAR100)) == CIFAR100


# The test images too, which are wanted only when all is trained.
@pytest.mark.parametrize("name", ["train", "meta", "test"])
@pytest.mark.parametrize("damage", ["changed", "truncated", "foreign", "empty"])
def test_a_damaged_file_is_named_with_both_hashes(copied, name, damage):
    path = copied.folder / name
    content = bytearray(path.read_bytes())
    if damage == "changed":
        content[len(content) // 2] ^= 1
    damaged = {"truncated": content[:-10], "foreign": b"something else\n", "empty": b""}
    path.write_bytes(damaged.get(damage, content))
    with pytest.raises(CifarTrackError) as caught:
        copied.load(directory=copied.folder)
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(path), md5(path), copied.release.file_md5[name]):
        assert part in message


def test_a_class_with_two_superclasses_is_refused(copied):
    content = dict(copied.entries["train"])
    content[b"coarse_labels"] = [0] * 300 + [1] * 300
    (copied.folder / "train").write_bytes(pickle.dumps(content, protocol=4))
    with pytest.raises(CifarTrackError, match="one superclass"):
        load_dataset(
            SMALL, directory=copied.folder, release=released(copied.folder, copied.archive)
        )


@pytest.mark.parametrize(
    "content",
    [
        ["a list"],
        {b"data": np.zeros((2, 3072), np.uint8)},
        {b"data": np.zeros((2, 3072)), b"fine_labels": [0, 1], b"coarse_labels": [0, 1]},
        {b"data": np.zeros((2, 3072), np.uint8), b"fine_labels": [0], b"coarse_labels": [0]},
        {b"data": None, b"fine_labels": "x", b"coarse_labels": "y"},
    ],
)
def test_other_content_is_one_line(copied, content):
    (copied.folder / "train").write_bytes(pickle.dumps(content, protocol=4))
    with pytest.raises(CifarTrackError, match=re.escape(str(copied.folder / "train"))):
        load_dataset(
            SMALL, directory=copied.folder, release=released(copied.folder, copied.archive)
        )


class _Malicious:
    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("function", [os.system, eval, __import__, getattr, subprocess.Popen])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_no_code_of_a_pickle_runs(copied, tmp_path, function, protocol):
    touched = tmp_path / "touched"
    arguments = {
        os.system: (f"touch {touched}",),
        eval: (f"open({str(touched)!r}, 'w')",),
        __import__: ("antigravity",),
        getattr: (0, "real"),
        subprocess.Popen: (["touch", str(touched)],),
    }[function]
    content = pickle.dumps({"data": _Malicious(function, *arguments)}, protocol=protocol)
    (copied.folder / "train").write_bytes(content)
    with pytest.raises(CifarTrackError, match="asks for"):
        load_dataset(
            SMALL, directory=copied.folder, release=released(copied.folder, copied.archive)
        )
    assert not touched.exists()


# Finding


def test_the_named_place_may_take_any_of_its_forms(copied, monkeypatch):
    for place in (copied.folder, copied.folder.parent):
        assert find_cifar100(place) == copied.folder
        monkeypatch.setenv("CIFAR100_DIR", str(place))
        assert find_cifar100() == copied.folder
    assert find_cifar100(copied.archive) == copied.archive
    monkeypatch.setenv("CIFAR100_DIR", str(copied.archive))
    assert copied.load().digest == copied.load(directory=copied.folder).digest
    assert copied.load(allow_download=False).source.endswith("cache/cifar_track/cifar-100-python")


@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_one_of_the_files_stands_for_its_folder(copied, name):
    assert find_cifar100(copied.folder / name) == copied.folder


def test_an_archive_that_a_browser_has_decompressed(copied, elsewhere, tmp_path):
    folder = tmp_path / "Downloads"
    folder.mkdir()
    (folder / "cifar-100-python.tar").write_bytes(gzip.decompress(copied.archive.read_bytes()))
    data = copied.load(directory=folder / "cifar-100-python.tar")
    assert data.digest == copied.load(directory=copied.folder).digest
    assert find_cifar100(folder) == folder / "cifar-100-python.tar"


@pytest.mark.parametrize("damage", ["changed", "truncated"])
def test_a_damaged_archive_without_compression_leaves_nothing(copied, elsewhere, damage):
    content = bytearray(gzip.decompress(copied.archive.read_bytes()))
    content[len(content) // 2] ^= 1
    archive = copied.archive.with_suffix("")
    archive.write_bytes(content if damage == "changed" else content[: len(content) // 2])
    with pytest.raises(CifarTrackError, match=r"is damaged|cannot be unpacked") as caught:
        copied.load(directory=archive)
    assert str(archive) in str(caught.value)
    assert left_in(elsewhere / "cache/cifar_track") == set()


@pytest.fixture
def readable(copied, open_folder) -> Path:
    """The files where every user may read them."""
    folder = open_folder / "data" / "cifar-100-python"
    shutil.copytree(copied.folder, folder)
    return folder


@pytest.mark.parametrize("locked", ["data", "data/cifar-100-python", *PLACES_OF_FILES])
def test_a_named_place_that_may_not_be_read_is_one_line(
    locked, copied, readable, open_folder, as_somebody_else
):
    (open_folder / locked).chmod(0o000)
    with as_somebody_else(), pytest.raises(CifarTrackError) as caught:
        copied.load(directory=readable)
    message = str(caught.value)
    assert message.startswith("data_dir: ")
    assert f"{open_folder / locked}" in message
    assert "can't be read by this user" in message


@pytest.mark.parametrize(
    ("locked", "found"),
    [
        ("home", None),
        ("home/cache/cifar_track", "home/.keras/datasets"),
        ("home/.keras", "home/cache/cifar_track"),
    ],
)
def test_a_cache_that_may_not_be_read_is_passed_over(
    locked, found, copied, open_folder, as_somebody_else, monkeypatch
):
    home = open_folder / "home"
    for place in (home / "cache/cifar_track", home / ".keras/datasets"):
        shutil.copytree(copied.folder, place / "cifar-100-python")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    (open_folder / locked).chmod(0o000)
    with as_somebody_else():
        if found is not None:
            assert find_cifar100() == open_folder / found / "cifar-100-python"
        else:
            assert find_cifar100() is None
            # So that `main` may take the stand-in.
            with pytest.raises(DataUnavailableError, match="cannot use the cache"):
                copied.load()


@pytest.mark.parametrize("place", ["missing", "empty", "partial"])
def test_a_named_place_without_the_data_is_an_error(place, copied, tmp_path, monkeypatch, mirror):
    cached = tmp_path / "home/cache/cifar_track/cifar-100-python"
    cached.parent.mkdir(parents=True)
    cached.symlink_to(copied.folder)
    (tmp_path / "empty").mkdir()
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial/train").write_bytes(b"")
    with pytest.raises(CifarTrackError, match=f"data_dir=.*{place} does not hold CIFAR-100"):
        copied.load(directory=tmp_path / place)
    monkeypatch.setenv("CIFAR100_DIR", str(tmp_path / place))
    with pytest.raises(CifarTrackError, match=f"CIFAR100_DIR=.*{place} does not hold CIFAR-100"):
        copied.load()
    assert mirror.requests == []


def test_the_order_of_places(copied, elsewhere, tmp_path, monkeypatch):
    keras = elsewhere / ".keras/datasets/cifar-100-python-target"
    cache = elsewhere / "cache/cifar_track"
    named, given = tmp_path / "named", tmp_path / "given"
    assert find_cifar100() is None
    for place in (keras, cache):
        place.mkdir(parents=True)
        (place / "cifar-100-python").symlink_to(copied.folder)
        assert find_cifar100() == place / "cifar-100-python"
    named.symlink_to(copied.folder)
    given.symlink_to(copied.folder)
    monkeypatch.setenv("CIFAR100_DIR", str(named))
    assert find_cifar100() == named
    assert find_cifar100(given) == given


@pytest.mark.parametrize(
    "name", ["cifar-100-python", "cifar-100-python-target", "cifar-100-python_extracted/inner"]
)
def test_folders_of_the_keras_cache(copied, tmp_path, monkeypatch, name):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    place = tmp_path / "keras/datasets" / name.replace("inner", "cifar-100-python")
    place.parent.mkdir(parents=True)
    place.symlink_to(copied.folder)
    assert copied.load(allow_download=False).source == str(place)


@pytest.mark.parametrize("name", ["cifar-100-python.tar.gz", "cifar-100-python-target_archive"])
def test_archives_of_the_keras_cache_count_when_whole(copied, elsewhere, name):
    archive = elsewhere / ".keras/datasets" / name
    archive.parent.mkdir(parents=True)
    archive.write_bytes(copied.archive.read_bytes())
    assert len(copied.load(allow_download=False).train) == 400
    archive.write_bytes(copied.archive.read_bytes()[:-100])
    assert find_cifar100(release=copied.release) == (
        elsewhere / "cache/cifar_track/cifar-100-python"
    )


def test_without_data_and_network_the_error_says_how_to_get_it(elsewhere):
    for allow_download in (False, True):
        with pytest.raises(
            DataUnavailableError, match=r"CIFAR100_DIR.*data_dir.*dataset=procedural"
        ):
            load_dataset(SMALL, allow_download=allow_download)


# Archives


def test_an_archive_in_the_programs_own_cache_is_found(copied, elsewhere):
    archive = elsewhere / "cache/cifar_track/cifar-100-python.tar.gz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(copied.archive.read_bytes())
    assert len(copied.load(allow_download=False).train) == 400


def test_a_named_archive_that_can_not_be_unpacked_is_no_data_that_is_missing(copied, elsewhere):
    (elsewhere / "cache").write_bytes(b"a file where a folder should be")
    with pytest.raises(CifarTrackError, match="set XDG_CACHE_HOME") as caught:
        copied.load(directory=copied.archive)
    assert not isinstance(caught.value, DataUnavailableError)  # for which the stand-in would do
    assert str(copied.archive) in str(caught.value)


def test_of_a_tar_nothing_but_the_data_is_unpacked(copied, elsewhere, tmp_path):
    backup = tmp_path / "backup.tar"
    with tarfile.open(backup, "w") as tar:
        tar.add(copied.folder, "./cifar-100-python")
        for name in ("letters/1.txt", "cifar-100-python/letters/2.txt"):
            tar.add(__file__, name)
    assert copied.load(directory=backup).digest == copied.load(directory=copied.folder).digest
    unpacked = elsewhere / "cache/cifar_track/cifar-100-python"
    assert {path.name for path in unpacked.iterdir()} == {"train", "test", "meta"}


def test_a_damaged_archive_is_named_with_both_hashes(copied):
    copied.archive.write_bytes(copied.archive.read_bytes()[:-100])
    with pytest.raises(CifarTrackError) as caught:
        copied.load(directory=copied.archive)
    for part in (str(copied.archive), md5(copied.archive), copied.release.archive_md5):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["../outside", "absolute", "link", "cifar-100-python/train"])
def test_an_archive_cannot_write_outside(copied, elsewhere, name):
    name = name.replace("absolute", str(elsewhere / "outside"))
    with tarfile.open(copied.archive, "w:gz", compresslevel=1) as tar:
        tar.add(copied.folder, arcname="cifar-100-python")
        member = tarfile.TarInfo(name)
        if name in ("link", "cifar-100-python/train"):
            member.type, member.linkname = tarfile.SYMTYPE, "/etc"
            tar.addfile(member)
        else:
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
    release = replace(copied.release, archive_md5=md5(copied.archive))
    cache = elsewhere / "cache/cifar_track"
    if name == "cifar-100-python/train":
        with pytest.raises(CifarTrackError, match="cannot be unpacked"):
            load_dataset(SMALL, directory=copied.archive, release=release)
        assert left_in(cache) == set()
    else:  # it is none of the data, and left where it is
        load_dataset(SMALL, directory=copied.archive, release=release)
        assert left_in(cache) == {"cifar-100-python"}
        assert left_in(cache / "cifar-100-python") == {"train", "test", "meta"}
    assert not list(elsewhere.rglob("*outside*"))


@pytest.mark.parametrize("content", ["other", "no archive"])
def test_an_archive_of_something_else_is_one_line(copied, elsewhere, content):
    if content == "other":
        with tarfile.open(copied.archive, "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("something"))
    else:
        copied.archive.write_bytes(b"no archive")
    release = replace(copied.release, archive_md5=md5(copied.archive))
    with pytest.raises(CifarTrackError, match=r"does not hold|cannot be unpacked"):
        load_dataset(SMALL, directory=copied.archive, release=release)
    assert left_in(elsewhere / "cache/cifar_track") == set()


def test_a_cache_that_cannot_be_written_is_one_line(copied, elsewhere, mirror):
    (elsewhere / "cache").write_bytes(b"a file where a folder should be")
    with pytest.raises(DataUnavailableError, match=r"cannot use the cache .*XDG_CACHE_HOME"):
        copied.load()
    assert mirror.requests == []


# Downloading


def test_downloads_once_and_keeps_it(lookalike, mirror, elsewhere, capfd):
    steps: list[tuple[int, int]] = []
    data = lookalike.load(on_progress=lambda at_hand, total: steps.append((at_hand, total)))
    assert data.digest == lookalike.load(directory=lookalike.folder).digest
    lookalike.load()
    assert mirror.requests == [None]
    assert left_in(elsewhere / "cache/cifar_track") == {"cifar-100-python"}
    assert steps[0][0] == 0
    assert steps[-1] == (len(mirror.content), len(mirror.content))
    assert capfd.readouterr() == ("", "")


def test_is_quiet_where_there_is_no_terminal(lookalike, mirror, capfd):
    lookalike.load()
    assert capfd.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_shows_a_bar_on_a_terminal(lookalike, mirror, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    lookalike.load()
    assert "downloading CIFAR-100" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_shows_no_bar_to_who_wants_results_alone(lookalike, mirror, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    @click.command()
    @QUIET
    def verb():
        lookalike.load()

    verb.main(["--quiet", "true"], standalone_mode=False)
    assert mirror.requests == [None]
    assert terminal.getvalue() == ""


def test_a_cut_download_goes_on_where_it_stopped(lookalike, mirror, elsewhere):
    mirror.cut_after = [100_000, 50_000]
    assert len(lookalike.load().train) == 400
    assert mirror.requests == [None, "bytes=100000-", "bytes=150000-"]
    assert left_in(elsewhere / "cache/cifar_track") == {"cifar-100-python"}


def test_the_next_command_goes_on_where_the_last_one_stopped(lookalike, mirror, elsewhere):
    mirror.cut_after = [100_000] + [0] * 4
    with pytest.raises(DataUnavailableError, match="cut after 100000 of"):
        lookalike.load()
    mirror.requests.clear()
    assert len(lookalike.load().train) == 400
    assert mirror.requests == ["bytes=100000-"]


def test_a_server_without_ranges_starts_again(lookalike, mirror):
    mirror.cut_after, mirror.ranges = [100_000], False
    assert len(lookalike.load().train) == 400
    assert mirror.requests == [None, "bytes=100000-"]


@pytest.mark.parametrize("beginning", ["of another file", "whole", "too long"])
def test_what_an_earlier_process_left_is_used_only_when_right(
    lookalike, mirror, elsewhere, beginning
):
    part = elsewhere / "cache/cifar_track/cifar-100-python.tar.gz.part"
    part.parent.mkdir(parents=True)
    left = {"whole": mirror.content, "too long": mirror.content + b"x"}
    part.write_bytes(left.get(beginning, b"other" * 1000))
    assert len(lookalike.load().train) == 400
    assert len(mirror.requests) == (1 if beginning == "whole" else 2)
    assert left_in(part.parent) == {"cifar-100-python"}


def test_a_wrong_hash_leaves_nothing(lookalike, mirror, elsewhere):
    mirror.content = mirror.content[:-1] + b"x"
    found = hashlib.md5(mirror.content).hexdigest()
    with pytest.raises(CifarTrackError) as caught:
        lookalike.load()
    for part in (mirror.url, found, lookalike.release.archive_md5):
        assert part in str(caught.value)
    assert left_in(elsewhere / "cache/cifar_track") == set()


def test_a_missing_page_is_not_asked_for_again(lookalike, mirror, elsewhere):
    mirror.content = b""  # answers every request with an error
    with pytest.raises(DataUnavailableError, match="HTTP status 416"):
        lookalike.load()
    assert len(mirror.requests) == 1
    assert left_in(elsewhere / "cache/cifar_track") == set()


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_is_asked_again(lookalike, mirror, status):
    mirror.refusals = [status, status]
    assert len(lookalike.load().train) == 400
    assert mirror.requests == [None] * 3


def test_a_server_that_stays_busy_is_given_up(lookalike, mirror):
    mirror.refusals = [503] * 100
    with pytest.raises(DataUnavailableError, match="HTTP status 503"):
        lookalike.load()
    assert len(mirror.requests) == download.ATTEMPTS


def test_a_password_in_the_address_is_not_shown(lookalike, monkeypatch):
    monkeypatch.setenv("CIFAR100_URL", "http://me:secret@127.0.0.1:9/cifar.tar.gz")
    with pytest.raises(DataUnavailableError) as caught:
        lookalike.load()
    assert "secret" not in str(caught.value)
    assert "http://me:***@127.0.0.1:9/cifar.tar.gz" in str(caught.value)


def test_two_processes_at_once_download_once(lookalike, mirror, elsewhere):
    program = (
        "import json, sys; from cifar_track.config import Data;"
        "from cifar_track.data import Release, load_dataset;"
        "data = Data(train_per_class=4, validation_per_class=2, test_per_class=3);"
        "print(load_dataset(data, release=Release(**json.loads(sys.argv[1]))).digest)"
    )
    release = json.dumps(asdict(lookalike.release))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, release], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    printed = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert printed == {lookalike.load().digest}
    assert mirror.requests == [None]
    assert left_in(elsewhere / "cache/cifar_track") == {"cifar-100-python"}


# Splitting


@settings(max_examples=40, deadline=None)
@given(
    classes=st.integers(1, 12),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    spare=st.integers(0, 5),
    seed=st.integers(0, 2**32),
)
def test_subsets_are_stratified_disjoint_sorted_and_seeded(classes, sizes, spare, seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), sum(sizes) + spare))
    subsets = stratified_indices(labels, sizes, seed=seed)
    for indices, size in zip(subsets, sizes, strict=True):
        assert np.bincount(labels[indices], minlength=classes).tolist() == [size] * classes
        assert (np.diff(indices) > 0).all()
    everything = np.concatenate(subsets)
    assert len(np.unique(everything)) == len(everything)
    again = stratified_indices(labels, sizes, seed=seed)
    assert all(np.array_equal(a, b) for a, b in zip(subsets, again, strict=True))
    fewer = stratified_indices(labels, [*sizes[:-1], max(sizes[-1] - 1, 1)], seed=seed)
    assert all(np.array_equal(a, b) for a, b in zip(subsets[:-1], fewer[:-1], strict=True))
    assert np.isin(fewer[-1], subsets[-1]).all()


def test_another_seed_gives_another_split():
    labels = np.repeat(np.arange(10), 50)
    splits = [stratified_indices(labels, [10], seed=seed)[0] for seed in range(5)]
    assert len({indices.tobytes() for indices in splits}) == 5


@pytest.mark.parametrize(
    ("setting", "count"), [("train_per_class", 5), ("validation_per_class", 3)]
)
def test_too_many_images_name_the_setting(lookalike, setting, count):
    with pytest.raises(CifarTrackError, match=rf"data\.{setting}={count} .*6 images, 7 asked for"):
        lookalike.load(replace(SMALL, **{setting: count}), directory=lookalike.folder)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_more_images_than_memory_holds_name_the_setting(part):
    few = {f"{name}_per_class": 1 for name in ("train", "validation", "test")}
    many = {**few, f"{part}_per_class": 2_000_000_000}
    with pytest.raises(CifarTrackError, match=rf"data\.{part}_per_class=2000000000.* memory"):
        load_dataset(Data(dataset="procedural", **many))


def test_too_many_test_images_name_the_setting(lookalike):
    known = replace(lookalike.release, test_per_class=3)
    with pytest.raises(CifarTrackError, match=r"data\.test_per_class=4 .*, 3 images of each"):
        load_dataset(replace(SMALL, test_per_class=4), release=known, directory=lookalike.folder)
    data = lookalike.load(replace(SMALL, test_per_class=4), directory=lookalike.folder)
    with pytest.raises(CifarTrackError, match=r"data\.test_per_class=4 .*3 images, 4 asked for"):
        data.load_test()


def test_fewer_images_are_a_stratified_subset(lookalike):
    sizes = replace(SMALL, train_per_class=2, test_per_class=1)
    data = lookalike.load(sizes, directory=lookalike.folder)
    whole = lookalike.load(directory=lookalike.folder)
    assert np.bincount(data.train.labels).tolist() == [2] * 100
    assert np.bincount(data.load_test().labels).tolist() == [1] * 100
    assert np.array_equal(data.validation.images, whole.validation.images)
    known = {image.tobytes() for image in whole.train.images}
    assert all(image.tobytes() in known for image in data.train.images)


def test_selection_by_test_is_the_studys_own_protocol(lookalike):
    data = lookalike.load(replace(SMALL, selection="test"), directory=lookalike.folder)
    train, test = lookalike.entries["train"], lookalike.entries["test"]
    assert data.protocol == "test"
    assert data.train.labels.tolist() == train[b"fine_labels"]
    assert data.validation.labels.tolist() == test[b"fine_labels"]
    assert np.array_equal(data.validation.images, data.load_test().images)


def test_digest_covers_images_split_and_test_file(lookalike, copied):
    def digest(release: Release = lookalike.release, **changes: object) -> str:
        sizes = replace(SMALL, **changes)
        return load_dataset(sizes, directory=copied.folder, release=release).digest

    digests = [digest(), digest(split_seed=1), digest(selection="test"), digest(test_per_class=1)]
    with (copied.folder / "test").open("ab") as test_file:
        test_file.write(b"a byte more than a pickle needs")
    digests.append(digest(release=released(copied.folder, copied.archive)))
    # One bit of the last image, which is enough to change the digest.
    content = dict(copied.entries["train"])
    content[b"data"] = content[b"data"].copy()
    content[b"data"][-1, -1] ^= 1
    (copied.folder / "train").write_bytes(pickle.dumps(content, protocol=4))
    digests.append(digest(release=released(copied.folder, copied.archive)))
    assert len(set(digests)) == len(digests)
    assert all(re.fullmatch(r"[0-9a-f]{32}", value) for value in digests)


# The real data, where it is at hand


@pytest.mark.skipif(REAL is None, reason="CIFAR-100 is not at hand")
def test_the_real_data_as_a_plain_reading_has_it(monkeypatch):
    monkeypatch.setenv("CIFAR100_DIR", str(REAL))
    data = load_dataset(Data())
    assert (len(data.train), len(data.validation)) == (45_000, 5_000)
    assert np.bincount(data.train.labels).tolist() == [450] * 100
    assert np.bincount(data.validation.labels).tolist() == [50] * 100
    assert data.classes.fine[:3] == ("apple", "aquarium_fish", "baby")
    assert data.classes.coarse[0] == "aquatic_mammals"
    assert data.classes.coarse[data.classes.superclass_of[0]] == "fruit_and_vegetables"
    assert np.bincount(data.classes.superclass_of).tolist() == [5] * 20

    images, labels = _plain("train")
    validation, train = stratified_indices(labels, (50, 450), seed=0)
    for part, indices in ((data.train, train), (data.validation, validation)):
        assert np.array_equal(part.labels, labels[indices])
        assert np.array_equal(part.images, images[indices])
        assert part.images.flags.c_contiguous
    test = data.load_test()
    images, labels = _plain("test")
    assert np.array_equal(test.images, images)
    assert np.array_equal(test.labels, labels)


def _plain(name: str) -> tuple[np.ndarray, np.ndarray]:
    assert REAL is not None
    with warnings.catch_warnings(), (REAL / name).open("rb") as stream:
        warnings.simplefilter("ignore")  # numpy has moved what the pickle names
        entries = pickle.load(stream, encoding="bytes")
    planes = entries[b"data"].reshape(-1, 3, 32, 32)
    return np.moveaxis(planes, 1, 3), np.array(entries[b"fine_labels"])
