"""How busy the machine is while a run trains, as MLflow measures it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import mlflow
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor


class Listener(Protocol):
    """Takes what was measured."""

    def __call__(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Take one sample; steps count from 0, and go on in a run that is gone on with."""


class MachineWatch(SystemMetricsMonitor):
    """MLflow's system metrics, handed to a listener instead of to the store.

    MLflow's own asks the store for the run before each sample, and gives up for good, with a
    warning, when the store does not answer.
    """

    def __init__(self, run: mlflow.entities.Run, listener: Listener) -> None:
        super().__init__(run.info.run_id)  # type: ignore[no-untyped-call]
        self._listener = listener
        steps = [
            point.step
            for point in run.data._metric_objs  # noqa: SLF001
            if point.key.startswith(self._metrics_prefix)
        ]
        self._logging_step = max(steps, default=-1) + 1

    def start(self) -> None:
        """Start measuring, in a thread of its own."""
        super().start()  # type: ignore[no-untyped-call]

    def monitor(self) -> None:
        """Measure and hand on until `finish`."""
        while True:
            for _ in range(self.samples_before_logging):
                self.collect_metrics()  # type: ignore[no-untyped-call]
                if self._shutdown_event.wait(self.sampling_interval):
                    return
            self.publish_metrics(self.aggregate_metrics())  # type: ignore[no-untyped-call]

    def publish_metrics(self, metrics: Mapping[str, float]) -> None:
        """Hand on what was measured, under MLflow's names."""
        prefix = self._metrics_prefix + (f"{self.node_id}/" if self.node_id else "")
        named = {prefix + name: value for name, value in metrics.items()}
        self._listener(named, step=self._logging_step)
        self._logging_step += 1
        for monitor in self.monitors:
            monitor.clear_metrics()  # type: ignore[no-untyped-call]

    def finish(self) -> None:
        """Stop measuring."""
        self._shutdown_event.set()
        if self._process is not None:
            self._process.join()
