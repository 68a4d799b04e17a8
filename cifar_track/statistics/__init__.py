"""Intervals and tests for figures that are counted on a finite set of images."""

from cifar_track.statistics.bootstrap import (
    RESAMPLES,
    Resamples,
    basic_interval,
    draw_resamples,
)
from cifar_track.statistics.groups import (
    LEAST_POOLED,
    LEAST_SEEDS,
    MeanDifference,
    dunnett,
    welch,
)
from cifar_track.statistics.paired import (
    PairedDifference,
    mcnemar,
    mcnemar_each,
    paired_difference,
    tango_interval,
    tango_intervals,
)
from cifar_track.statistics.several import benjamini_hochberg, holm_adjust, holm_levels
from cifar_track.statistics.shares import calibration_bins, calibration_error, wilson_interval

__all__ = [
    "LEAST_POOLED",
    "LEAST_SEEDS",
    "RESAMPLES",
    "MeanDifference",
    "PairedDifference",
    "Resamples",
    "basic_interval",
    "benjamini_hochberg",
    "calibration_bins",
    "calibration_error",
    "draw_resamples",
    "dunnett",
    "holm_adjust",
    "holm_levels",
    "mcnemar",
    "mcnemar_each",
    "paired_difference",
    "tango_interval",
    "tango_intervals",
    "welch",
    "wilson_interval",
]
