"""Static pictures of charts, drawn in a process beside the one that works out what they show."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

from cifar_track.config import CifarTrackError
from cifar_track.report.svg import for_page

if TYPE_CHECKING:
    from collections.abc import Mapping

# A line with a specification in, a line with its picture out, until there are no more.
_PROGRAM = """
import json, sys, vl_convert
for line in sys.stdin:
    try:
        answer = {"svg": vl_convert.vegalite_to_svg(line)}
    except ValueError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""
_SMALLEST: Mapping[str, Any] = {"data": {"values": [{"x": 1}]}, "mark": "point"}


class Drawing:
    """A process that draws: it takes a second to begin, and its interpreter stops all threads.

    Use it as a context; it ends with that, or with the process that began it.
    """

    def __init__(self) -> None:
        """Start it, so that it is ready when the first chart is."""
        self._process = subprocess.Popen(  # noqa: S603 - a program of our own
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # What it says as it is ended, by Ctrl-C or with its parent, is nobody's business.
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="drawing")
        self._asking.submit(self._svg, _SMALLEST)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._asking.shutdown(cancel_futures=True)
        self._process.communicate()

    def draw(self, specification: Mapping[str, Any], *, name: str) -> Future[str]:
        """Begin a chart's picture, an SVG for the page, and promise it.

        Args:
            specification: of Vega-Lite.
            name: the chart's, which no other on the page has.
        """
        return self._asking.submit(lambda: for_page(self._svg(specification), name))

    def _svg(self, specification: Mapping[str, Any]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(specification) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            raise CifarTrackError(
                f"the process that draws the charts was ended (exit status {self._process.wait()}, "
                "-9 where memory ran out); repeat the command"
            ) from error
        if "error" in answer:
            raise ValueError(answer["error"])
        return str(answer["svg"])
