"""What the machine carries: how many trials at once, with which threads and on which device."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from pathlib import Path

import psutil

MEMORY_PER_WORKER = 2 * 2**30  # bytes; a trial of the study's CNN takes 1 to 1.5 GiB


def default_workers() -> int:
    """How many trials this machine carries at once.

    One for each GPU where TensorFlow can use one. On a CPU, one for each core that this process
    may use (single-threaded trials side by side finish sooner than wide ones after another), as
    far as 2 GiB of free memory each allow.
    """
    gpus = len(devices())
    return gpus or max(1, min(usable_cores(), free_memory() // MEMORY_PER_WORKER))


def usable_cores() -> int:
    """Cores this process may use, by its affinity and by the quota of its control groups."""
    quotas = [len(_cores())]
    for folder in _control_groups("cpu"):
        words = _words(folder / "cpu.max")  # version 2: quota and period in one file
        if not words:
            words = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
            quotas.append(math.ceil(int(words[0]) / int(words[1])))
    return max(1, min(quotas))


def free_memory() -> int:
    """Bytes that can be had without swapping, within the limits of the control groups."""
    free = [int(psutil.virtual_memory().available)]
    for folder in _control_groups("memory"):
        for limit, usage, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            words = _words(folder / limit) + _words(folder / usage)
            if len(words) == 2 and all(word.isdigit() for word in words):
                # What files have been read lately counts as used, and is given up when asked for.
                free.append(int(words[0]) - int(words[1]) + _statistic(folder, cache))
    return max(0, min(free))


def devices() -> tuple[str, ...]:
    """The GPUs that TensorFlow can use, as `CUDA_VISIBLE_DEVICES` names them; often none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        names = tuple(str(index) for index in range(_nvidia_count()))
    else:
        listed = [name.strip() for name in visible.split(",")]
        ends = [index for index, name in enumerate(listed) if name in ("", "-1")]
        # CUDA itself stops at the first name that is none.
        names = tuple(listed[: ends[0]] if ends else listed)
    if not names or not _nvidia_count():
        return ()
    # Imported only where there is a GPU: whether this build of TensorFlow can drive it, with the
    # CUDA libraries at hand, only TensorFlow knows. Listing takes no memory on the device.
    import tensorflow as tf

    return names[: len(tf.config.list_physical_devices("GPU"))]


def worker_environment(*, threads: int, device: str | None) -> dict[str, str]:
    """The environment variables of a trial's process; TensorFlow reads them as it is imported."""
    environment = {
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"),
        # TensorFlow else takes the whole device, and the refit after the search wants some.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    return environment


def _cores() -> tuple[int, ...]:
    """The numbers of the cores that this process may use by its affinity."""
    try:
        return tuple(sorted(os.sched_getaffinity(0)))
    except AttributeError:  # macOS
        return tuple(range(os.cpu_count() or 1))


def _nvidia_count() -> int:
    listed = Path("/proc/driver/nvidia/gpus")
    if listed.is_dir():
        return len(list(listed.iterdir()))
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        answer = subprocess.run(  # noqa: S603
            [program, "-L"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in answer.stdout.splitlines())


def _control_groups(controller: str) -> list[Path]:
    """Folders of the control groups that hold this process, innermost first, both versions."""
    folders = []
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup") / (controller if controllers else "")
        group = root / path.lstrip("/")
        folders += [folder for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return folders


def _statistic(folder: Path, name: str) -> int:
    """One line of a control group's `memory.stat`, in bytes; 0 where there is none."""
    lines = (line.split() for line in _lines(folder / "memory.stat"))
    return sum(int(words[1]) for words in lines if len(words) == 2 and words[0] == name)


def _words(file: Path) -> list[str]:
    return [word for line in _lines(file) for word in line.split()]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
