"""Figures of evaluations, histories and searches; none is saved or shown here."""

from cifar_track.plots.confusion import confusion_matrix
from cifar_track.plots.curves import learning_curves
from cifar_track.plots.evaluation import per_class_bars, per_class_overview
from cifar_track.plots.search_overview import search_overview

__all__ = [
    "confusion_matrix",
    "learning_curves",
    "per_class_bars",
    "per_class_overview",
    "search_overview",
]
