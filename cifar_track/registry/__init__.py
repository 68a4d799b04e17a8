"""The model registry: candidates, gates, promotion, and the card of each version."""

from cifar_track.registry.candidates import Choice, choose_run
from cifar_track.registry.gates import GATES, Demands, Gate
from cifar_track.registry.journal import CHALLENGER, CHAMPION, finish_promotions
from cifar_track.registry.promotion import (
    Promotion,
    RefusedError,
    promote,
    registered_name,
    roll_back,
)

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "GATES",
    "Choice",
    "Demands",
    "Gate",
    "Promotion",
    "RefusedError",
    "choose_run",
    "finish_promotions",
    "promote",
    "registered_name",
    "roll_back",
]
