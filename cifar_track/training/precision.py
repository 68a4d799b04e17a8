"""Which arithmetic a network computes in."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from cifar_track.config import Training


def resolve_precision(settings: Training) -> str:
    """`float32` or `bfloat16`: as asked, or with `auto` what the hardware computes natively."""
    if settings.precision != "auto":
        return settings.precision
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        native = details.get("compute_capability", (0, 0)) >= (8, 0)
    else:
        native = _processor_computes_bfloat16()
    return "bfloat16" if native else "float32"


def _processor_computes_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False  # not Linux; no macOS or Windows build of TensorFlow uses such instructions
    return any(flag in flags for flag in ("amx_bf16", "avx512_bf16"))
