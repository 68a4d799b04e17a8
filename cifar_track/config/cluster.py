"""What a search asks of a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cifar_track.config.checks import CifarTrackError, require

if TYPE_CHECKING:
    from cifar_track.config.settings import Experiment


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The cluster that trials run on, and what each of them has there.

    Attributes:
        address: of its head, as `HOST:PORT`; or `auto` for the cluster that this machine is in.
        cpus: cores of a trial, and threads of its training.
        gpus: of a trial.
    """

    address: str
    cpus: int = 1
    gpus: int = 0

    def __post_init__(self) -> None:
        if self.address != "auto" and not re.fullmatch(r"[^/\s]+:\d{1,5}", self.address):
            raise CifarTrackError(
                f"cluster={self.address} is no address; expected auto, or HOST:PORT of a head"
            )
        require("cpus", self.cpus, at_least=1)
        require("gpus", self.gpus, at_least=0)


def require_search(experiment: Experiment) -> None:
    """Raise unless a page has trials that a cluster could run."""
    if experiment.search is None:
        raise CifarTrackError(f"--cluster is not for {experiment.name!r}: it has no search")
