"""What is printed is printed where it can be, and ends nothing where it can't."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PRINT = """
import os, sys
from cifar_track import streams
streams.settle()
for number in range(3):
    print("a line of no ASCII: \\u00e9 \\u2212", flush=True)
    print("the same", file=sys.stderr, flush=True)
file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
print("the last")
assert file > 2
"""


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments],
        check=False,
        timeout=60,
        **{"cwd": REPOSITORY, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def test_a_reader_that_is_gone_ends_nothing(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = run("-c", PRINT, tmp_path / "file", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr.splitlines()[1:]) == (0, [b"the same"] * 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize("arguments", [["-c", PRINT], ["-m", "cifar_track", "train", "--help"]])
def test_a_log_on_a_full_disk_ends_nothing(arguments, tmp_path):
    with Path("/dev/full").open("w") as full:
        done = run(*arguments, tmp_path / "file", stdout=full)
    assert done.returncode == 0
    assert b"Error" not in done.stderr


def test_a_signal_while_a_line_is_printed_prints_it_once():
    script = (
        "import os, signal, sys; from cifar_track import streams; streams.settle()\n"
        "printing = False\n"
        "def interrupt(*_):\n"
        "    global printing\n"
        "    if printing:\n"
        "        printing = False\n"
        "        raise KeyboardInterrupt\n"
        "signal.signal(signal.SIGALRM, interrupt)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n"
        "for number in range(3000):\n"
        "    try:\n"
        "        printing = True\n"
        "        print(f'{number}', flush=True)\n"
        "        printing = False\n"
        "    except KeyboardInterrupt: pass\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"
    )
    done = run("-c", script)
    printed = [line for line in done.stdout.split() if line]
    assert len(set(printed)) == len(printed) > 1000


def test_an_encoding_without_a_sign_gets_it_in_ascii(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = run("-c", PRINT, tmp_path / "file", env=environment)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == rb"a line of no ASCII: \xe9 \u2212"


def test_what_is_printed_to_a_closed_stream_gets_into_no_file(tmp_path):
    script = f'exec "{sys.executable}" -c "$1" "$2" <&- >&- 2>&-'
    done = subprocess.run(
        ["sh", "-c", script, "sh", PRINT, tmp_path / "file"], cwd=REPOSITORY, check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "file").read_bytes() == b""


def test_python_without_docstrings_is_refused_before_anything_is_run():
    done = run("-OO", "-m", "cifar_track", "doctor")
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: Python was told to leave docstrings out")
    assert done.stderr.count(b"\n") == 1


def test_a_working_folder_that_is_gone_is_one_line(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    script = f'rmdir "{folder}"; exec "{sys.executable}" -m cifar_track doctor'
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the working folder is gone")
    assert done.stderr.count("\n") == 1
