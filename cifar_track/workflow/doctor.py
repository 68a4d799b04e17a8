"""What crashed processes left behind, found and mended."""

from __future__ import annotations

from cifar_track import tracking
from cifar_track.workflow.terminal import tell


def mend_runs(*, dry_run: bool = False, older_than: float | None = None) -> None:
    """Find runs whose process is gone, and give them the status that is true.

    Args:
        dry_run: only say what would be mended.
        older_than: minutes that `mlflow run` may take to start its command, before the run that
            it opened counts as abandoned; an hour unless given.
    """
    tracking.open_store()
    _relocate(dry_run=dry_run)
    limits = {} if older_than is None else {"launch_minutes": older_than}
    found = tracking.find_abandoned(**limits)
    mended = [] if dry_run else tracking.mend(found)
    for run in found:
        if run in mended:
            outcome = f"now {run.status}"
        elif run.status is None:
            outcome = "left alone"
        else:
            outcome = f"would be {run.status}" if dry_run else "ended meanwhile"
        tell(f"{run.experiment_name} / {run.name} ({run.run_id}): {run.reason}; {outcome}")
    if not dry_run:
        from cifar_track import registry

        for line in registry.finish_promotions():
            tell(line)
    tell(f"{len(found)} abandoned, {len(mended)} mended")


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
