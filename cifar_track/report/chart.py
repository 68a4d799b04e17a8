"""What all charts share: their look, and a specification with its words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import altair as alt

Rows: TypeAlias = Sequence[Mapping[str, Any]]

# The rows of a chart, by the name under which its specification holds them: Altair would copy them
# with every layer that a chart is made of, and that is half of a page's time.
ROWS = alt.NamedData("rows")

# Named by the page's style sheet, so that one specification is drawn light and dark.
INK, FAINT, RULE = "var(--ink)", "var(--faint)", "var(--rule)"
MORE_THAN_LUCK, MAYBE_LUCK, BEST = "var(--yes)", "var(--no)", "var(--best)"
RUN_COLOURS = 10
RUN_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

WIDTH = 420
# An axis of what people name, which may be of any length.
GIVEN_NAMES = alt.Axis(labelLimit=250)
_FONT = "system-ui, 'Segoe UI', Roboto, sans-serif"
_CONFIG: Mapping[str, Any] = {
    "background": None,
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "gridColor": RULE,
        "domainColor": FAINT,
        "tickColor": FAINT,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        # Moved inwards, the first and the last would lie on their neighbours.
        "labelFlush": False,
        # To hold a label to a limit takes as long as to draw it; see `GIVEN_NAMES`.
        "labelLimit": 0,
    },
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "orient": "bottom",
        "columns": 2,
        "labelLimit": 180,
        "title": None,
    },
    "header": {"labelColor": INK, "titleColor": INK},
    "title": {"color": INK, "fontSize": 12, "anchor": "start", "fontWeight": 600},
    "text": {"color": INK, "fontSize": 11},
    # A chart has one text that says what it shows, and tables beside it with every number.
    "aria": False,
}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of the page.

    Attributes:
        name: its identifier on the page.
        chart: what Altair made, on the data `ROWS`.
        rows: those rows.
        alt: what the picture shows, for those who don't see it.
        caption: what to read off it.
        control: the name of the signal that a choice on the page sets; empty if there is none.
    """

    name: str
    chart: alt.TopLevelMixin = field(repr=False)
    rows: Rows = field(repr=False)
    alt: str
    caption: str
    control: str = ""

    @cached_property
    def specification(self) -> dict[str, Any]:
        """The Vega-Lite specification, ready to be written as JSON."""
        specification: dict[str, Any] = self.chart.to_dict(validate=False)
        return {
            **specification,
            "config": dict(_CONFIG),
            # Altair keeps there what a chart brings itself, such as the line of no difference.
            "datasets": {
                **specification.get("datasets", {}),
                ROWS.name: [_finite(row) for row in self.rows],
            },
        }


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without what is no number, as the loss of a broken fit; it leaves a gap in a line."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def zero_line() -> alt.Chart:
    """An upright line where a difference is none."""
    nothing = alt.Chart(alt.InlineData(values=[{"zero": 0}]))
    line: alt.Chart = nothing.mark_rule(color=FAINT, strokeDash=[4, 3]).encode(x=alt.X("zero:Q"))
    return line


def run_scale(labels: Sequence[str]) -> alt.Scale:
    """A colour for each run, the same in every chart."""
    return alt.Scale(
        domain=list(labels),
        range=[f"var(--run-{number % RUN_COLOURS})" for number in range(len(labels))],
    )


def shape_scale(labels: Sequence[str]) -> alt.Scale:
    """A shape for each run, so that colour is not all that tells them apart."""
    return alt.Scale(
        domain=list(labels),
        range=[RUN_SHAPES[number % len(RUN_SHAPES)] for number in range(len(labels))],
    )


def epoch_axis(longest: int) -> alt.Axis:
    """An axis of whole epochs, of which there are no halves to be marked."""
    step = max(1, round(longest / 10))
    return alt.Axis(values=[1, *range(step if step > 1 else 2, longest + 1, step)], format="d")


def zooming() -> alt.Parameter:
    """Drag to move, shift and wheel to zoom, double click to reset; the wheel alone scrolls."""
    return alt.selection_interval(bind="scales", zoom="wheel![event.shiftKey]")
