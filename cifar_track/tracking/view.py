"""The list of runs as MLflow's UI opens it by our link: its columns, its order, its mode."""

from __future__ import annotations

import json

from cifar_track.config import metrics_at
from cifar_track.tracking import store, tag

# An experiment's kind, by which the UI opens in the mode for models rather than for language
# models; and a view of its list, which the UI reads where the address names its key.
KIND_TAG = "mlflow.experimentKind"
KIND = "custom_model_development"
VIEW_KEY = "cifar_track"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"

METRICS = (
    *(name for info in metrics_at("list") for name in info.logged),
    "fit_seconds",
)
PARAMETERS = ("training.epochs",)
# The names are those that the UI's own JavaScript gives to its state. Only sorted by their start
# are runs folded under their parents.
VIEW = {
    "searchFilter": f"tags.`{tag.KIND}` != 'comparison'",
    "orderByKey": "attributes.start_time",
    "orderByAsc": False,
    "selectedColumns": [
        *(f"metrics.`{name}`" for name in METRICS),
        *(f"params.`{name}`" for name in PARAMETERS),
    ],
}


def experiment_url(experiment_id: str) -> str:
    """The link to an experiment's runs: the newest on top, trials folded, the columns that matter.

    The view is kept with the experiment; what the person changes in the UI stays the person's own.
    """
    client = store.client()
    wanted = {KIND_TAG: KIND, VIEW_TAG: json.dumps(VIEW)}
    present = client.get_experiment(experiment_id).tags
    for name, value in wanted.items():
        if present.get(name) != value:
            client.set_experiment_tag(experiment_id, name, value)
    root = store.ui_address().rstrip("/")
    return f"{root}/#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW_KEY}&{store.UI_MODE}"
