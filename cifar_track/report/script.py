"""Vega and Vega-Lite as one script for the page, bundled once and kept in the user's cache."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import tempfile

from cifar_track.folders import cache_directory

# What the page calls.
DEFINES = "window.vegaEmbed = vegaEmbed;"


def vega_script() -> str:
    """The charts' script, without network: it defines `vegaEmbed`.

    Bundling takes more than a second, and the result is the same for one version of vl-convert.
    """
    version = importlib.metadata.version("vl-convert-python")
    kept = cache_directory() / f"vega-{version}.js"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        script = kept.read_text(encoding="utf-8")
        if script.rstrip().endswith(";"):  # whole
            return script
    import vl_convert

    script = vl_convert.javascript_bundle(DEFINES)
    with contextlib.suppress(OSError):  # a cache that can't be written costs a second each time
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=kept.parent, delete=False
        ) as file:
            file.write(script)
        os.replace(file.name, kept)
    return script
