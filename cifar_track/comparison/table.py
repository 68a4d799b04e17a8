"""The table of runs that a terminal and a README show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar_track.comparison.run_result import RunResult, whole_of
from cifar_track.config import MetricInfo, metrics_at

if TYPE_CHECKING:
    from cifar_track.comparison.comparison import Comparison

MISSING = "-"


def summary_table(comparison: Comparison) -> str:
    """The runs as a Markdown table that a terminal shows aligned; a missing value is a dash."""
    first, *others = metrics_at("summary")
    header = ("iteration", f"{first.label} (95 %)", *(m.label for m in others), "epochs", "study")
    lines = [
        (
            label,
            figure_text(result, first),
            *(metric.text(result.metric(metric.name), missing=MISSING) for metric in others),
            epochs_text(result),
            f"{result.study['accuracy']:.2f}" if "accuracy" in result.study else MISSING,
        )
        for label, result in zip(comparison.labels, comparison.results, strict=True)
    ]
    cells = [header, *([text.replace("|", r"\|") for text in line] for line in lines)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    rows = [
        "| " + " | ".join(_aligned(text, widths[n], n) for n, text in enumerate(line)) + " |"
        for line in cells
    ]
    rule = [":" + "-" * (w - 1) if n < 1 else "-" * (w - 1) + ":" for n, w in enumerate(widths)]
    rows.insert(1, "| " + " | ".join(rule) + " |")
    return "\n".join(rows)


def figure_text(result: RunResult, metric: MetricInfo) -> str:
    """A figure with its interval, `0.462 (0.452-0.472)`; a dash where it is missing."""
    value = result.metric(metric.name)
    low, high = result.metric(metric.low), result.metric(metric.high)
    text = metric.text(value, missing=MISSING)
    if value is None or low is None or high is None:
        return text
    return f"{text} ({metric.text(low)}-{metric.text(high)})"


def epochs_text(result: RunResult) -> str:
    """Epochs trained and which was kept, `20 (best 17)`; a dash where they are missing."""
    epochs = whole_of(result.parameters.get("training.epochs"))
    best = whole_of(result.metrics.get("best_epoch"))
    if best is None:
        return MISSING if epochs is None else str(epochs)
    return f"{MISSING if epochs is None else epochs} (best {best})"


def _aligned(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column == 0 else text.rjust(width)
