"""A comparison as one HTML page that needs nothing beside itself."""

from cifar_track.report.drawing import Drawing
from cifar_track.report.page import render_report
from cifar_track.report.sentences import verdict

__all__ = ["Drawing", "render_report", "verdict"]
