"""How much each hyperparameter of a search mattered, as far as its trials can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cifar_track.comparison.run_result import number_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.ensemble import RandomForestRegressor

    from cifar_track.comparison.run_result import SearchRecord

# A forest that has seen fewer scores for each hyperparameter orders them by chance.
TRIALS_A_HYPERPARAMETER = 5
LEAST_TRIALS = 20
TREES = 50
REPEATS = 10
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much worse the scores of unseen trials are foretold with a hyperparameter shuffled.

    Attributes:
        name: the hyperparameter.
        mean: the loss in R² (1 is all of the variation), over the repeats and the folds.
        deviation: its standard deviation over them.
    """

    name: str
    mean: float
    deviation: float


@dataclass(frozen=True, kw_only=True)
class Importances:
    """What a search can tell of its hyperparameters.

    Attributes:
        each: the most important first; empty where that can't be told.
        explained: the R² at which trials are foretold that the forest has not seen.
        sentence: what can be said, in words.
    """

    each: tuple[Importance, ...]
    explained: float | None
    sentence: str


def varied_names(trials: Sequence[Any]) -> list[str]:
    """The hyperparameters that take more than one value."""
    names = dict.fromkeys(name for trial in trials for name in trial if "." in name)
    return [name for name in names if len({str(trial.get(name)) for trial in trials}) > 1]


def importances(search: SearchRecord) -> Importances:
    """Permutation importance of each hyperparameter for trials that a random forest has not seen.

    Source:
        L. Breiman (2001), Random forests, Machine Learning 45, 5-32, by scikit-learn's
        `permutation_importance`, on held-out folds.
    """
    scored = [
        trial
        for trial in search.trials
        if trial.get("status") == "completed"
        and number_of(trial.get("score")) is not None
        # One that was ended early has not reached what its values can.
        and not trial.get("stopped_early")
    ]
    names = varied_names(scored)
    needed = max(LEAST_TRIALS, TRIALS_A_HYPERPARAMETER * len(names))
    if len(scored) < needed or not names:
        return Importances(
            each=(),
            explained=None,
            sentence=f"{len(scored)} trials can't tell which of {len(names)} hyperparameters "
            f"mattered; that takes {needed} or more.",
        )
    scores = np.array([float(trial["score"]) for trial in scored])
    columns = np.stack([_as_numbers([trial.get(name) for trial in scored]) for name in names], 1)
    losses, explained = _permuted(columns, scores)
    each = sorted(
        (
            Importance(name=name, mean=float(loss.mean()), deviation=float(loss.std(ddof=1)))
            for name, loss in zip(names, losses, strict=True)
        ),
        key=lambda entry: -entry.mean,
    )
    if explained <= 0:
        return Importances(
            each=(),
            explained=explained,
            sentence=f"From {len(scored)} trials no score can be foretold (R² {explained:.2f} on "
            "trials not seen), so that they don't tell which hyperparameter mattered.",
        )
    return Importances(
        each=tuple(each),
        explained=explained,
        sentence=f"A random forest of the {len(scored)} trials foretells {100 * explained:.0f} % "
        "of the variation of scores it has not seen; the bars say how much of that is lost "
        "when a hyperparameter is shuffled, with one standard deviation either way.",
    )


def _as_numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """A column for a forest: numbers as they are, anything else by the order of its words."""
    numbers = [number_of(value) for value in values]
    if all(number is not None for number in numbers):
        return np.array(numbers, dtype=np.float64)
    words = sorted({str(value) for value in values})
    return np.array([words.index(str(value)) for value in values], dtype=np.float64)


def _permuted(
    columns: NDArray[np.float64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Losses in R², (hyperparameters, folds * repeats), and the mean R² on the held-out folds."""
    from sklearn.ensemble import RandomForestRegressor  # a second, for searches alone
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    losses, explained = [], []
    for known, unseen in KFold(FOLDS, shuffle=True, random_state=0).split(columns):
        forest = RandomForestRegressor(TREES, random_state=0).fit(columns[known], scores[known])
        explained.append(_explained(forest, columns[unseen], scores[unseen]))
        found = permutation_importance(
            forest,
            columns[unseen],
            scores[unseen],
            scoring=_explained,
            n_repeats=REPEATS,
            random_state=0,
        )
        losses.append(found.importances)
    return np.concatenate(losses, axis=1), float(np.mean(explained))


def _explained(
    forest: RandomForestRegressor, columns: NDArray[np.float64], scores: NDArray[np.float64]
) -> float:
    """R², as `forest.score` has it, but without its checks: in a tenth of its time."""
    rows = columns.astype(np.float32)
    foretold = np.mean([tree.tree_.predict(rows)[:, 0] for tree in forest.estimators_], axis=0)
    variation = np.sum((scores - scores.mean()) ** 2)
    return float(1 - np.sum((scores - foretold) ** 2) / variation) if variation else 0.0
