"""The page: what each section is told, and the templates that write it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from cifar_track.config import CLASS_FIGURES
from cifar_track.report.analysis import Analysis, analyse
from cifar_track.report.script import vega_script
from cifar_track.report.sections import SECTIONS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cifar_track.comparison import Comparison
    from cifar_track.report.chart import Chart


def render_report(
    comparison: Comparison,
    *,
    test_images: NDArray[np.uint8] | None = None,
    notices: Sequence[str] = (),
    title: str = "Runs side by side",
) -> str:
    """Write a comparison as one HTML page that needs neither network nor other files.

    Args:
        comparison: the runs; what one lacks is shown as missing.
        test_images: uint8 (N, 32, 32, 3), the images that the runs were tested on, where they are
            at hand; a few of them are put into the page.
        notices: what else a reader must know of whether these runs may be compared.
        title: the page's title.

    Returns:
        The page's text, to be stored as UTF-8.
    """
    analysis = analyse(comparison)
    environment = _environment()
    charts: list[Chart] = []

    def draw(chart: Chart) -> Markup:
        charts.append(chart)
        macros: Any = environment.get_template("macros.html.j2").module
        return Markup(macros.figure(chart))  # noqa: S704 - the template has escaped it

    shared: dict[str, Any] = {
        "comparison": comparison,
        "analysis": analysis,
        "draw": draw,
        "figures": CLASS_FIGURES,
    }
    sections = [
        (name, heading, environment.get_template(f"{name}.html.j2").render(**shared, **context))
        for name, heading, context in _contexts(analysis, test_images, notices)
    ]
    return environment.get_template("page.html.j2").render(
        title=title,
        sections=[(name, heading, Markup(text)) for name, heading, text in sections],  # noqa: S704
        figures=CLASS_FIGURES,
        specifications=Markup(_json({c.name: c.specification for c in charts})),  # noqa: S704
        vega=Markup(vega_script()),  # noqa: S704 - a library's own script
    )


def _contexts(
    analysis: Analysis, test_images: NDArray[np.uint8] | None, notices: Sequence[str]
) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Name, heading and what else each section is told, of those that have something to say."""
    found = []
    for name, heading, context_of in SECTIONS:
        section: Callable[..., Mapping[str, Any] | None] = context_of
        context = section(analysis, test_images=test_images, notices=notices)
        if context is not None:
            found.append((name, heading, context))
    return found


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
    return environment


def _json(value: object) -> str:
    """JSON that can stand in a script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")
