"""Figures of evaluations, histories, searches and comparisons; none is saved or shown here."""

from cifar_track.plots.confusion import confusion_matrix
from cifar_track.plots.curves import learning_curves
from cifar_track.plots.evaluation import per_class_bars, per_class_overview
from cifar_track.plots.search_overview import search_overview
from cifar_track.plots.side_by_side import accuracy_comparison, compare_bars, compare_overview

__all__ = [
    "accuracy_comparison",
    "compare_bars",
    "compare_overview",
    "confusion_matrix",
    "learning_curves",
    "per_class_bars",
    "per_class_overview",
    "search_overview",
]
