"""What each addition to a page gives and costs: its runs beside those without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cifar_track.statistics import LEAST_POOLED, MeanDifference, dunnett

PAGE = "(nothing)"
TOO_FEW = "too few seeds to say"
NO_SPREAD = "no seed differs"
# Of each run: what it is chosen by, judged by, and what it took.
FIGURES = ("best_val_accuracy", "test_accuracy", "fit_cpu_seconds")


@dataclass(frozen=True, kw_only=True)
class Ablated:
    """The finished runs of a page, or of a page without one of its additions.

    Attributes:
        without: what was switched off; `PAGE` of the page itself.
        runs: of each seed's run the metrics.
    """

    without: str
    runs: Sequence[Mapping[str, float]]

    def values(self, figure: str) -> list[float]:
        """A figure of each run."""
        return [run[figure] for run in self.runs]


def ablation_rows(page: Ablated, variants: Sequence[Ablated]) -> list[dict[str, Any]]:
    """A row for the page and for each addition that it was run without.

    What an addition gives is the page's mean less the mean without it, so that an accuracy above 0
    speaks for it; what it costs is the same of the processor's seconds. Intervals of 95 % and p
    values stand where the page and the variant have enough seeds for Dunnett's test, and hold for
    all rows at once.
    """
    tests = {
        figure: dunnett([variant.values(figure) for variant in variants], page.values(figure))
        for figure in FIGURES
    }
    rows: list[dict[str, Any]] = [{"without": PAGE, "seeds": len(page.runs), **_means(page)}]
    for index, variant in enumerate(variants):
        row: dict[str, Any] = {
            "without": variant.without,
            "seeds": len(variant.runs),
            **_means(variant),
        }
        if page.runs and variant.runs:
            for figure in FIGURES:
                row |= _difference(figure, page, variant, tests[figure][index])
        test = tests["test_accuracy"][index]
        if test is not None:
            row["test_p_value"] = test.p_value
        elif min(len(page.runs), len(variant.runs)) < LEAST_POOLED:
            row["remark"] = TOO_FEW
        else:
            row["remark"] = NO_SPREAD
        rows.append(row)
    return rows


def ablation_rule() -> str:
    """The rule by which the rows are tested, and where it comes from."""
    return (
        f"Tested where the page and what it is held beside have at least {LEAST_POOLED} seeds, by "
        "Dunnett's test (1955), which takes one spread of the seeds in all rows; intervals and p "
        "values hold for all rows at once."
    )


def ablation_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        "| without | seeds | validation | gives | test | gives | CPU s | costs | p |",
        "| :-- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        p_value = row.get("test_p_value")
        cells = (
            row["without"],
            row["seeds"],
            _number(row.get("best_val_accuracy"), ".4f"),
            _given(row, "best_val_accuracy", "+.4f"),
            _number(row.get("test_accuracy"), ".4f"),
            _given(row, "test_accuracy", "+.4f"),
            _number(row.get("fit_cpu_seconds"), ",.0f"),
            _given(row, "fit_cpu_seconds", "+,.0f"),
            row.get("remark", "") if p_value is None else f"{p_value:.2g}",
        )
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _means(ablated: Ablated) -> dict[str, float]:
    if not ablated.runs:
        return {}
    return {figure: float(np.mean(ablated.values(figure))) for figure in FIGURES}


def _difference(
    figure: str, page: Ablated, variant: Ablated, test: MeanDifference | None
) -> dict[str, float]:
    mean = float(np.mean(page.values(figure)) - np.mean(variant.values(figure)))
    found = {f"{figure}_difference": mean}
    if test is not None:  # of the variant less the page
        found |= {f"{figure}_low": -test.high, f"{figure}_high": -test.low}
    return found


def _given(row: Mapping[str, Any], figure: str, form: str) -> str:
    if f"{figure}_difference" not in row:
        return "-"
    words = _number(row[f"{figure}_difference"], form)
    if f"{figure}_low" in row:
        words += f" ({row[f'{figure}_low']:{form}} to {row[f'{figure}_high']:{form}})"
    return words


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
