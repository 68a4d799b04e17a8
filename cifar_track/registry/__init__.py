"""The model registry: candidates, gates, promotion, and the card of each version."""

from cifar_track.registry.candidates import Choice, choose_run, is_quick
from cifar_track.registry.gates import Gate
from cifar_track.registry.journal import CHALLENGER, CHAMPION, champion_run_id, finish_promotions
from cifar_track.registry.promotion import (
    Promotion,
    RefusedError,
    promote,
    roll_back,
)

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "Choice",
    "Gate",
    "Promotion",
    "RefusedError",
    "champion_run_id",
    "choose_run",
    "finish_promotions",
    "is_quick",
    "promote",
    "roll_back",
]
