"""Several runs side by side: parameters, metrics, classes, and whether they truly differ."""

from cifar_track.comparison.comparison import Comparison, Pair, compare
from cifar_track.comparison.run_result import STUDY, RunResult
from cifar_track.comparison.table import MISSING, accuracy_text, epochs_text, summary_table

__all__ = [
    "MISSING",
    "STUDY",
    "Comparison",
    "Pair",
    "RunResult",
    "accuracy_text",
    "compare",
    "epochs_text",
    "summary_table",
]
