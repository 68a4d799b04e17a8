"""Runs with their children, models and registered versions, copied to another store, each once.

A run can't take its id along: the other store gives it a new one. The tag `cifar_track.moved_from`
keeps the old id, so that a second call, or one after a cut, finds what is there; and every tag that
names a run or a model by its id, such as a trial's parent, names the new one. Parameters, metrics
and files are the same however often they are sent, so what was cut short is sent again whole.
"""

from cifar_track.tracking.transfer.moves import move_runs
from cifar_track.tracking.transfer.record import Transfer

__all__ = ["Transfer", "move_runs"]
