"""What MLflow takes in one request."""

from __future__ import annotations

PARAMETERS_A_BATCH = 100
METRICS_A_BATCH = 1000
TAGS_A_BATCH = 100
