"""The phases of a fit: the last layer alone where the page says so, then all of the network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import keras

from cifar_track.config import Experiment, Training
from cifar_track.optimizers import build_optimizer


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Epochs in which the same weights are trained.

    Attributes:
        first: the epochs before it.
        end: the epochs that are over at its end.
        head_alone: whether all but the layer that gives the classes is frozen.
    """

    first: int
    end: int
    head_alone: bool

    def build_optimizer(self, experiment: Experiment, *, steps: int) -> keras.optimizers.Optimizer:
        """The optimizer of its epochs, of so many steps each, which knows of no other phase."""
        settings = experiment.optimizer
        if not self.head_alone:
            return build_optimizer(
                settings, experiment.schedule, steps=steps * (self.end - self.first)
            )
        rate = experiment.training.head_learning_rate
        if not rate:
            return build_optimizer(settings)
        # Muon leaves that layer to Adam, and would multiply a rate that is meant for it.
        return build_optimizer(replace(settings, learning_rate=rate, adam_factor=1.0))


def phases_of(settings: Training) -> list[Phase]:
    """The phases of a fit in their order; one where the page names no `head_epochs`."""
    head = min(settings.head_epochs, settings.epochs)
    phases = [
        Phase(first=0, end=head, head_alone=True),
        Phase(first=head, end=settings.epochs, head_alone=False),
    ]
    return [phase for phase in phases if phase.first < phase.end]
