"""A comparison as one HTML page that needs nothing beside itself."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

from cifar_track.comparison import MISSING, accuracy_text, epochs_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cifar_track.comparison import Comparison, Pair, RunResult

FIGURES = {"precision": "precision", "recall": "recall", "f1": "F1"}

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --faint: #5c6570; --rule: #d9dde2;
  --paper: #ffffff; --band: #f4f6f8; --precision: #2166ac; --recall: #2e8540; --f1: #b2182b;
  --yes: #17665f; --no: #5c6570; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --faint: #9aa4af; --rule: #3a4149;
  --paper: #16191d; --band: #20252b; --precision: #6aa9e9; --recall: #7fce86; --f1: #f0808a;
  --yes: #5fc9be; --no: #9aa4af; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 88rem; padding: 2rem 1.25rem 4rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
p { max-width: 52rem; } .faint, figcaption { color: var(--faint); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .55rem; text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; border-bottom: 1px solid var(--rule); }
thead th { border-bottom: 2px solid var(--rule); vertical-align: bottom; background: var(--paper); }
th.text, td.text { text-align: left; } tbody th { font-weight: 600; text-align: left; }
tbody tr:hover { background: var(--band); } td.best { font-weight: 700; }
td.wrap { white-space: normal; overflow-wrap: anywhere; min-width: 6rem; max-width: 20rem; }
code { font-size: .85em; } th code { font-weight: 400; }
th[colspan] { text-align: center; } .precision { color: var(--precision); }
.recall { color: var(--recall); } .f1 { color: var(--f1); }
.edge { border-left: 1px solid var(--rule); }
ul.verdicts { list-style: none; padding: 0; max-width: 68rem; }
ul.verdicts li { padding: .55rem .9rem; margin: .4rem 0; background: var(--band);
  border-left: 4px solid var(--no); } ul.verdicts li.yes { border-color: var(--yes); }
.notice { padding: .6rem .9rem; background: var(--band); border-left: 4px solid var(--f1); }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; height: auto; background: #fff;
  border: 1px solid var(--rule); } details summary { cursor: pointer; margin: .8rem 0; }

"""


def render_report(
    comparison: Comparison,
    *,
    figures: Mapping[str, bytes] | None = None,
    title: str = "Runs side by side",
) -> str:
    """Write a comparison as one HTML page: no scripts, no other files, light and dark.

    Args:
        comparison: the runs; what one lacks is shown as missing.
        figures: caption to PNG, in the order in which they are shown; they are put into the page.
        title: the page's title.

    Returns:
        The page's text, to be stored as UTF-8.
    """
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="faint">{_introduction(comparison)}</p>',
        *_notices(comparison),
        "<h2>Runs</h2>",
        _runs_table(comparison),
        "<h2>More than luck?</h2>",
        _verdicts(comparison),
        *_figures(figures or {}),
        "<h2>Settings that differ</h2>",
        _parameters(comparison),
        *_classes(comparison),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


def verdict(pair: Pair) -> str:
    """One plain sentence on whether two runs differ by more than luck."""
    test = pair.test
    if test is None or pair.adjusted_p_value is None:
        return f"{pair.second} and {pair.first} were not tested: {pair.missing}."
    images = f"of the {test.images:,} test images"
    if test.difference == 0:
        fact = f"{pair.second} and {pair.first} are right on equally many {images}"
    else:
        ahead, behind = (
            (pair.second, pair.first) if test.difference > 0 else (pair.first, pair.second)
        )
        points = f"{100 * abs(test.difference):.1f} percentage points"
        fact = f"{ahead} is right on {points} more {images} than {behind}"
    low, high = sorted((test.low, test.high) if test.difference >= 0 else (-test.low, -test.high))
    interval = f"95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    judgement = "more than luck" if pair.differs else "no more than luck could do"
    return f"{fact} ({interval}): {judgement} ({_probability(pair.adjusted_p_value)})."


def _introduction(comparison: Comparison) -> str:
    runs, classes = len(comparison.results), len(comparison.class_names)
    counted = f"{runs} run" + ("s" if runs != 1 else "")
    judged = f" on {classes} classes" if classes else ""
    return (
        f"{counted}{judged}. Accuracies are shares of the test images; brackets hold 95 % Wilson "
        "intervals; precision, recall and F1 are means over the classes. What a run lacks is "
        f"“{MISSING}”."
    )


def _notices(comparison: Comparison) -> list[str]:
    notices = []
    stand_in = _labels_where(comparison, "data.dataset", "procedural")
    if stand_in:
        notices.append(
            f"{stand_in}: trained and tested on the procedural stand-in, not on CIFAR-100; the "
            "study's figures say nothing about it."
        )
    by_test = _labels_where(comparison, "data.selection", "test")
    if by_test:
        notices.append(
            f"{by_test}: epochs and settings were chosen by the test images themselves, as the "
            "study did, so that the test accuracy is too high."
        )
    return [f'<p class="notice">{escape(notice)}</p>' for notice in notices]


def _labels_where(comparison: Comparison, parameter: str, value: str) -> str:
    return ", ".join(
        label
        for label, result in zip(comparison.labels, comparison.results, strict=True)
        if result.parameters.get(parameter) == value
    )


def _runs_table(comparison: Comparison) -> str:
    best = max(
        (a for r in comparison.results if (a := r.metric("test_accuracy")) is not None),
        default=None,
    )
    macro = "".join(f'<th class="{name}">{shown}</th>' for name, shown in FIGURES.items())
    head = (
        '<tr><th class="text" rowspan="2">run</th><th class="edge" colspan="5">test</th>'
        '<th class="edge">validation</th><th class="edge" colspan="2">fit</th>'
        '<th class="edge" colspan="4">the study</th></tr>'
        f'<tr><th class="edge">accuracy</th>{macro}<th>top-5</th><th class="edge">accuracy</th>'
        f'<th class="edge">epochs</th><th>seconds</th><th class="edge">accuracy</th>{macro}</tr>'
    )
    body = []
    for label, result in zip(comparison.labels, comparison.results, strict=True):
        accuracy = result.metric("test_accuracy")
        leads = accuracy is not None and accuracy == best
        cells = [
            (accuracy_text(result), "edge best" if leads else "edge"),
            *((_decimal(result.metric(f"test_macro_{name}"), 3), "") for name in FIGURES),
            (_decimal(result.metric("test_top5_accuracy"), 3), ""),
            (_decimal(result.metric("best_val_accuracy"), 3), "edge"),
            (epochs_text(result), "edge"),
            (_decimal(result.metric("fit_seconds"), 0), ""),
            (_decimal(result.study.get("accuracy"), 2), "edge"),
            *((_decimal(result.study.get(name), 2), "") for name in FIGURES),
        ]
        body.append(f"<tr>{_run_heading(label, result)}{_cells(cells)}</tr>")
    return _table(head, body)


def _run_heading(label: str, result: RunResult) -> str:
    run_id = f'<code class="faint">{escape(result.run_id)}</code>'
    return f'<th scope="row">{escape(label)}<br>{run_id}</th>'


def _verdicts(comparison: Comparison) -> str:
    if not comparison.pairs:
        return "<p>There is one run alone, and nothing to compare it with.</p>"
    items = "\n".join(
        f'<li class="{_answer(pair)}">{escape(verdict(pair))}</li>' for pair in comparison.pairs
    )
    return (
        f'<ul class="verdicts">\n{items}\n</ul>\n'
        '<p class="faint">Both runs of a pair judged the same images, so the images on which '
        "exactly one of them is right decide: McNemar's exact test, its p-values adjusted by Holm "
        "for the number of pairs, and Tango's score interval. “More than luck” means p below 0.05. "
        "It speaks of these trained models: how much another seed would change is not in it.</p>"
    )


def _answer(pair: Pair) -> str:
    return "yes" if pair.differs else "no"


def _figures(figures: Mapping[str, bytes]) -> list[str]:
    if not figures:
        return []
    drawn = [
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,'
        f'{base64.b64encode(png).decode()}"><figcaption>{escape(caption)}</figcaption>'
        "</figure>"
        for caption, png in figures.items()
    ]
    return ["<h2>Figures</h2>", *drawn]


def _parameters(comparison: Comparison) -> str:
    rows = comparison.parameter_rows()
    differing = [row for row in rows if row["differs"]]
    shared = [row for row in rows if not row["differs"]]
    head = '<tr><th class="text">setting</th>' + "".join(
        f'<th class="text">{escape(label)}</th>' for label in comparison.labels
    )
    body = [
        "<tr>"
        + _setting_heading(row["parameter"])
        + _cells((_text(row[label]), "text wrap") for label in comparison.labels)
        + "</tr>"
        for row in differing
    ]
    first = comparison.labels[0]
    same = [
        "<tr>"
        + _setting_heading(row["parameter"])
        + _cells([(_text(row[first]), "text wrap")])
        + "</tr>"
        for row in shared
    ]
    table = _table(head + "</tr>", body) if body else "<p>None.</p>"
    rest = _table('<tr><th class="text">setting</th><th class="text">value</th></tr>', same)
    count = f"{len(same)} setting{'s' if len(same) != 1 else ''} that all share"
    return table + (f"\n<details><summary>{count}</summary>{rest}</details>" if same else "")


def _setting_heading(name: object) -> str:
    return f'<th scope="row"><code>{escape(str(name))}</code></th>'


def _classes(comparison: Comparison) -> list[str]:
    rows = comparison.per_class_rows()
    if not rows:
        return []
    labels = [
        label
        for label, result in zip(comparison.labels, comparison.results, strict=True)
        if result.per_class
    ]
    groups = "".join(f'<th class="edge" colspan="3">{escape(label)}</th>' for label in labels)
    names = "".join(
        f'<th class="{name} {_edge(name)}">{shown}</th>'
        for _ in labels
        for name, shown in FIGURES.items()
    )
    head = (
        '<tr><th class="text" rowspan="2">class</th><th class="text" rowspan="2">superclass</th>'
        f"{groups}</tr><tr>{names}</tr>"
    )
    body = []
    for row in rows:
        cells = [(str(row["superclass"]), "text")]
        for label in labels:
            for name in FIGURES:
                value = row[f"{name} {label}"]
                shown = _decimal(value if isinstance(value, float) else None, 2)
                cells.append((shown, _edge(name)))
        body.append(f'<tr><th scope="row">{escape(str(row["name"]))}</th>{_cells(cells)}</tr>')
    return ["<h2>Classes</h2>", _table(head, body)]


def _edge(figure: str) -> str:
    """The class of a cell that opens a run's group of figures."""
    return "edge" if figure == "precision" else ""


def _table(head: str, body: Sequence[str]) -> str:
    rows = "\n".join(body)
    return (
        f'<div class="scroll"><table>\n<thead>{head}</thead>\n<tbody>\n{rows}\n</tbody>\n'
        "</table></div>"
    )


def _cells(cells: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"
        for text, kind in cells
    )


def _text(value: object) -> str:
    return MISSING if value is None else str(value)


def _decimal(value: float | None, digits: int) -> str:
    return MISSING if value is None else f"{value:,.{digits}f}"


def _probability(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
