"""A store's runs, models and registry copied to another store."""

from __future__ import annotations

from cifar_track import tracking
from cifar_track.addresses import place, shown
from cifar_track.config import CifarTrackError
from cifar_track.workflow.terminal import tell

KINDS = ("experiment", "run", "model", "version", "alias")


def move_runs(source: str, destination: str) -> None:
    """Copy everything from one store to another and say what became of it.

    Args:
        source: the address of a store, or the path of an SQLite file; it is only read.
        destination: the address of the store to write to.

    Raises:
        CifarTrackError: a store can't be reached, both are the same, or a copy that was read back
            is not what was sent.
    """
    source = tracking.open_other_store(source, setting="FROM", fresh=False)
    destination = tracking.open_other_store(destination, setting="TO", fresh=True)
    if place(source) == place(destination):
        raise CifarTrackError(f"both are {shown(source)}; expected two different stores")
    transfer = tracking.move_runs(source, destination)
    for kind in KINDS:
        found, moved = transfer.found[kind], transfer.moved[kind]
        tell(f"{kind}: {found} found, {moved} moved now")
    for line in transfer.left:
        tell(f"left behind: {line}")
    if transfer.differing:
        raise CifarTrackError(
            f"{len(transfer.differing)} runs read back differ from what was sent, the first "
            f"{transfer.differing[0]}; expected the same digest; compare the two in the UI"
        )
    tell(f"read back and found the same, files included: {transfer.moved['run']} runs")
