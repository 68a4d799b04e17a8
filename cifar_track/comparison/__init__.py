"""Several runs side by side: parameters, metrics, classes, and whether they truly differ."""

from cifar_track.comparison.ablation import (
    PAGE,
    Ablated,
    ablation_rows,
    ablation_rule,
    ablation_table,
)
from cifar_track.comparison.classes import (
    GroupDifferences,
    class_differences,
    superclass_differences,
    superclass_recall,
)
from cifar_track.comparison.comparison import Comparison, Pair, compare
from cifar_track.comparison.confusions import Confusion, most_confused
from cifar_track.comparison.differing import attributions, differing_settings
from cifar_track.comparison.importance import Importance, Importances, importances, varied_names
from cifar_track.comparison.numbers import (
    Number,
    RunNumbers,
    differences,
    logged_numbers,
    numbers_of,
)
from cifar_track.comparison.run_result import STUDY, RunResult, SearchRecord
from cifar_track.comparison.seeds import SeedGroup, SeedTest, seed_groups, seed_rule, seed_tests
from cifar_track.comparison.table import MISSING, epochs_text, figure_text, summary_table
from cifar_track.comparison.together import Together, together

__all__ = [
    "MISSING",
    "PAGE",
    "STUDY",
    "Ablated",
    "Comparison",
    "Confusion",
    "GroupDifferences",
    "Importance",
    "Importances",
    "Number",
    "Pair",
    "RunNumbers",
    "RunResult",
    "SearchRecord",
    "SeedGroup",
    "SeedTest",
    "Together",
    "ablation_rows",
    "ablation_rule",
    "ablation_table",
    "attributions",
    "class_differences",
    "compare",
    "differences",
    "differing_settings",
    "epochs_text",
    "figure_text",
    "importances",
    "logged_numbers",
    "most_confused",
    "numbers_of",
    "seed_groups",
    "seed_rule",
    "seed_tests",
    "summary_table",
    "superclass_differences",
    "superclass_recall",
    "together",
    "varied_names",
]
