"""What a classifier's probabilities are worth against the true labels, whole and by class."""

from cifar_track.evaluation.evaluate import evaluate
from cifar_track.evaluation.evaluation import Evaluation

__all__ = ["Evaluation", "evaluate"]
