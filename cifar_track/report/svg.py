"""A chart's picture as Vega draws it, made smaller, and fit to stand among others in one page."""

from __future__ import annotations

import re
from itertools import groupby
from operator import itemgetter

# What stands between tags is read, and stays as it is.
_TAG = re.compile(r'<(?:[^>"]|"[^"]*")*>')
# A hundredth of a pixel is enough.
_DIGITS = re.compile(r"(\.\d\d)\d+")
# What goes without saying, is not seen, is the page's own font, or names parts for those who are
# told what the picture shows in one text.
_IDLE = re.compile(
    r'<path [^>]*(?: display="none"| d="M0,0h0v0h0Z")[^>]*/>'
    r'| (?:aria-[a-z]+|class|font-family|pointer-events|role|version|xmlns:xlink)="[^"]*"'
    r'| (?:opacity|stroke-width)="1"| stroke-dasharray="1,0"'
)
_WITHOUT_STROKE = re.compile(
    r'(<path (?![^>]* stroke=)[^>]*?) stroke-width="[^"]*"(?: stroke-dasharray="[^"]*")?'
)
_DOT = re.compile(
    r'<path transform="translate\(([^)]*)\)" d="M([\d.]+),0A[^"]*"'
    r'(?![^>]* stroke=) fill="([^"]*)"([^>]*)/>'
)
_DOTS = re.compile(
    r'(?:<path transform="translate\([^)]*\)" d="M[\d.]+,0A[^"]*"(?![^>]* stroke=)[^>]*/>)+'
)
_NAMES = re.compile(r'(id="|url\(#)')


def for_page(drawn: str, name: str) -> str:
    """What can be seen of a picture, in half as many letters.

    Args:
        drawn: an SVG, as Vega writes it.
        name: the chart's, for what each picture numbers from 0.
    """

    def shortened(tag: re.Match[str]) -> str:
        text = _WITHOUT_STROKE.sub(r"\1", _DIGITS.sub(r"\1", tag[0]))
        return _NAMES.sub(rf"\g<1>{name}-", _IDLE.sub("", text))

    return _DOTS.sub(_as_strokes, _TAG.sub(shortened, drawn))


def _as_strokes(dots: re.Match[str]) -> str:
    """Dots of one kind that follow each other, as the round ends of one stroke."""
    paths = []
    for (radius, colour, rest), alike in groupby(_DOT.findall(dots[0]), key=itemgetter(1, 2, 3)):
        places = "".join(f"M{place}h0" for place, *_ in alike)
        paths.append(
            f'<path d="{places}" stroke="{colour}" stroke-width="{2 * float(radius):g}" '
            f'stroke-linecap="round"{rest}/>'
        )
    return "".join(paths)
