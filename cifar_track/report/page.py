"""The page: what each section is told, and the templates that write it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup, escape

from cifar_track.config import CLASS_FIGURES
from cifar_track.report.analysis import Analysis
from cifar_track.report.drawing import Drawing
from cifar_track.report.script import vega_script
from cifar_track.report.sections import SECTIONS, WITHOUT_FIGURES

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from cifar_track.comparison import Comparison
    from cifar_track.report.chart import Chart

# Where a template leaves a place for a picture that is still being drawn.
_PLACE = re.compile("<!-- picture of ([^ ]+) -->")


def render_report(
    comparison: Comparison,
    *,
    test_images: NDArray[np.uint8] | None = None,
    notices: Sequence[str] = (),
    title: str = "Runs side by side",
    drawing: Drawing | None = None,
) -> str:
    """Write a comparison as one HTML page that needs neither network nor other files.

    Args:
        comparison: the runs; what one lacks is shown as missing.
        test_images: uint8 (N, 32, 32, 3), the images that the runs were tested on, where they are
            at hand; a few of them are put into the page.
        notices: what else a reader must know of whether these runs may be compared.
        title: the page's title.
        drawing: what draws the charts, if it has been started ahead.

    Returns:
        The page's text, to be stored as UTF-8.
    """
    with contextlib.nullcontext(drawing) if drawing else Drawing() as at_work:
        return _Page(comparison, at_work).write(
            title=title, test_images=test_images, notices=notices
        )


class _Page:
    """A page while it is written."""

    def __init__(self, comparison: Comparison, drawing: Drawing) -> None:
        self._analysis = Analysis(comparison)
        self._drawing = drawing
        self._environment = _environment()
        self._charts: list[Chart] = []
        self._pictures: dict[str, Future[str]] = {}

    def write(self, *, title: str, **given: Any) -> str:
        """Write every section that has something to say, and the page around them."""
        first = sorted(SECTIONS, key=lambda section: section[0] not in WITHOUT_FIGURES)
        written = {name: self._section(name, context_of, given) for name, _, context_of in first}
        return self._environment.get_template("page.html.j2").render(
            title=title,
            sections=[
                (name, heading, self._with_pictures(text))
                for name, heading, _ in SECTIONS
                if (text := written[name])
            ],
            figures=CLASS_FIGURES,
            specifications=Markup(  # noqa: S704 - escaped by the function
                _json({chart.name: _packed(chart.specification) for chart in self._charts})
            ),
            vega=Markup(vega_script()),  # noqa: S704 - a library's own script
        )

    def _section(
        self, name: str, context_of: Callable[..., Mapping[str, Any] | None], given: dict[str, Any]
    ) -> str:
        """A section with places for its pictures; nothing where it has nothing to say."""
        context = context_of(self._analysis, **given)
        if context is None:
            return ""
        return self._environment.get_template(f"{name}.html.j2").render(
            comparison=self._analysis.comparison,
            analysis=self._analysis,
            draw=self._draw,
            figures=CLASS_FIGURES,
            **context,
        )

    def _draw(self, chart: Chart) -> Markup:
        self._charts.append(chart)
        self._pictures[chart.name] = self._drawing.draw(chart.specification, name=chart.name)
        macros: Any = self._environment.get_template("macros.html.j2").module
        return Markup(macros.figure(chart))  # noqa: S704 - the template has escaped it

    def _with_pictures(self, text: str) -> Markup:
        return Markup(  # noqa: S704 - as above, and Vega's own drawing
            _PLACE.sub(lambda place: self._pictures[place[1]].result(), text)
        )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cifar_track.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}"
    environment.filters["points"] = lambda share: f"{100 * share:+.1f}"
    environment.filters["spoken"] = lambda name: str(name).replace("_", " ")
    environment.filters["breakable"] = _breakable
    return environment


def _breakable(name: object) -> Markup:
    """A name that goes on in the next line after an underscore or a dot, where it has to."""
    return Markup(re.sub(r"([_.])(?=\w)", r"\1<wbr>", str(escape(name))))  # noqa: S704


def _packed(specification: Mapping[str, Any]) -> dict[str, Any]:
    """A specification whose data name their columns once, not in each row."""
    datasets = {}
    for key, rows in specification["datasets"].items():
        names = list(dict.fromkeys(name for row in rows for name in row))
        datasets[key] = {
            "names": names,
            "rows": [[row.get(name) for name in names] for row in rows],
        }
    return {**specification, "datasets": datasets}


def _json(value: object) -> str:
    """JSON that can stand in a script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")
