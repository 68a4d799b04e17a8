"""What processes that are gone left behind, found and mended."""

from __future__ import annotations

import math

from cifar_track import tracking
from cifar_track.workflow.terminal import tell


def mend_runs(*, dry_run: bool = False, older_than: float | None = None) -> None:
    """Send what processes that are gone had not sent, and give runs and models their true status.

    Args:
        dry_run: only say what would be mended.
        older_than: minutes of silence after which a run is ended, too, whose process can't be
            looked at from here; never unless given.
    """
    tracking.open_store(send=False)
    _relocate(dry_run=dry_run)
    unsent = _send(dry_run=dry_run)
    silent = math.inf if older_than is None else older_than
    # What is still to be sent of a run says how it ended.
    found = [
        run for run in tracking.find_abandoned(silent_minutes=silent) if run.run_id not in unsent
    ]
    mended = [] if dry_run else tracking.mend(found)
    for run in found:
        if run in mended:
            outcome = f"now {run.status}"
        elif run.status is None:
            outcome = "left alone"
        else:
            outcome = f"would be {run.status}" if dry_run else "ended meanwhile"
        tell(f"{run.experiment_name} / {run.name} ({run.run_id}): {run.reason}; {outcome}")
    for model_id in tracking.fail_pending_models(dry_run=dry_run):
        tell(
            f"model {model_id}: its upload was cut short; {'would be' if dry_run else 'now'} FAILED"
        )
    tell(f"{len(found)} abandoned, {len(mended)} mended")
    if not dry_run:
        from cifar_track import registry

        for line in registry.finish_promotions():
            tell(line)


def _send(*, dry_run: bool) -> set[str]:
    """Send what processes that are gone had not sent; the runs of which some is left."""
    unsent: set[str] = set()
    for left in tracking.send_left_behind(patience=tracking.patience(), dry_run=dry_run):
        run = f"run {left.run_id} ({left.name})"
        if left.left:
            unsent.update(left.run_ids)
        if not left.folder.exists():
            tell(f"{run}: what was left of it has been sent")
        elif left.trouble:
            tell(f"{run}: {left.left} uploads are still kept in {left.folder}: {left.trouble}")
        elif left.left:
            tell(f"{run}: {left.left} uploads for {left.store} are kept in {left.folder}")
        for line in left.refused:
            tell(f"{run}: refused: {line}")
    return unsent


def _relocate(*, dry_run: bool) -> None:
    """Lead a store that was moved or copied with its files to where they are now."""
    found = tracking.find_relocation()
    if found is None:
        return
    if not dry_run:
        tracking.relocate(found)
    before = ", ".join(str(folder) for folder in found.before)
    tell(
        f"the files of this store are in {found.now}, not in {before}: {found.entries} locations "
        f"{'would be' if dry_run else 'were'} put right"
    )
