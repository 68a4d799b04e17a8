"""What a run leaves behind besides numbers: evaluation, figures, tables, its data set."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, RunTag

from cifar_track.config import FIRST_CLASSES
from cifar_track.tracking import store, tag

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cifar_track.evaluation import Evaluation

# MLflow's own limits.
DIGEST_LENGTH = 36
TAG_LENGTH = 8000
TAGS_A_BATCH = 100


class RunArtifacts:
    """The files and tags of a run; `Run` adds what changes while it is open.

    Attributes:
        id: MLflow's run id.
    """

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self._client = store.client()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, cut at the 8000 characters that MLflow takes."""
        entries = [RunTag(name, str(value)[:TAG_LENGTH]) for name, value in tags.items()]
        for start in range(0, len(entries), TAGS_A_BATCH):
            self._client.log_batch(self.id, tags=entries[start : start + TAGS_A_BATCH])

    def log_dataset(
        self, *, name: str, digest: str, source: str, images: Mapping[str, int], classes: int
    ) -> None:
        """Log which data the run saw, without MLflow reading any of it.

        Args:
            name: `cifar100` or `procedural`; the inputs are named `cifar100-training` and so on,
                because MLflow takes one context for each name and digest.
            digest: over every array and the split, at most 36 characters.
            source: the folder or address it came from.
            images: number of images by context: `training`, `validation`, `test`.
            classes: number of classes.
        """
        if len(digest) > DIGEST_LENGTH:
            raise ValueError(f"digest {digest!r} is longer than {DIGEST_LENGTH} characters")
        inputs = [
            DatasetInput(
                dataset=Dataset(
                    name=f"{name}-{context}",
                    digest=digest,
                    source_type="local",
                    source=json.dumps({"uri": source}),
                    schema=json.dumps({"mlflow_tensorspec": _tensors()}),
                    profile=json.dumps({"images": count, "classes": classes}),
                ),
                tags=[InputTag(tag.MLFLOW_DATA_CONTEXT, context)],
            )
            for context, count in images.items()
        ]
        self._client.log_inputs(self.id, datasets=inputs)

    def log_evaluation(self, evaluation: Evaluation) -> None:
        """Log an evaluation's tables under `evaluation/` and its figures under `figures/`."""
        from cifar_track import plots

        per_class = evaluation.per_class_rows()
        with tempfile.TemporaryDirectory() as folder:
            tables = Path(folder, "evaluation")
            tables.mkdir()
            _write_csv(per_class, tables / "per_class.csv")
            _write_table(per_class, tables / "per_class.json")
            _write_csv(evaluation.confusion_rows(), tables / "confusion.csv")
            _write_csv(
                evaluation.confused_pairs(),
                tables / "confused_pairs.csv",
                columns=("true", "predicted", "count", "share", "same_superclass"),
            )
            _write_csv(evaluation.superclass_rows(), tables / "superclass.csv")
            (tables / "classification_report.txt").write_text(
                evaluation.classification_report(), encoding="utf-8"
            )
            arrays: dict[str, Any] = {
                "labels": evaluation.labels,
                "predictions": evaluation.predictions,
                "probabilities": evaluation.probabilities,
                "losses": evaluation.losses,
            }
            if evaluation.seen is not None:
                arrays["seen"] = evaluation.seen
            np.savez_compressed(tables / "predictions.npz", **arrays)
            figures = Path(folder, "figures")
            figures.mkdir()
            for name, figure in {
                f"per_class_first_{FIRST_CLASSES}": plots.per_class_bars(evaluation),
                "per_class_all": plots.per_class_overview(evaluation),
                "confusion_matrix": plots.confusion_matrix(evaluation),
            }.items():
                _write_figure(figure, figures / f"{name}.png")
            self._client.log_artifacts(self.id, folder)
        self._list_tables("evaluation/per_class.json")

    def log_history(self, history: Sequence[Mapping[str, float]]) -> None:
        """Draw the epochs, a mapping of metrics each, as `figures/learning_curves.png`."""
        from cifar_track import plots

        self.log_figure(plots.learning_curves(history), "figures/learning_curves.png")

    def log_figure(self, figure: Figure, path: str) -> None:
        """Log a figure as PNG at a path within the run's artifacts."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, Path(path).name)
            _write_figure(figure, file)
            self._upload(file, path)

    def log_text(self, text: str, path: str) -> None:
        """Log a text file at a path within the run's artifacts."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, Path(path).name)
            file.write_text(text, encoding="utf-8")
            self._upload(file, path)

    def log_json(self, value: Any, path: str) -> None:
        """Log plain values as indented JSON."""
        self.log_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", path)

    def log_rows(self, rows: Sequence[Mapping[str, Any]], path: str) -> None:
        """Log rows as CSV; the columns are those of all rows, in order of appearance."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, Path(path).name)
            _write_csv(rows, file)
            self._upload(file, path)

    def log_table(self, rows: Sequence[Mapping[str, Any]], path: str) -> None:
        """Log rows as a JSON file that MLflow's UI shows as a table, also across runs."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, Path(path).name)
            _write_table(rows, file)
            self._upload(file, path)
        self._list_tables(path)

    def _upload(self, file: Path, path: str) -> None:
        folder = str(Path(path).parent)
        self._client.log_artifact(self.id, str(file), None if folder == "." else folder)

    def _list_tables(self, path: str) -> None:
        # `log_table` of MLflow reads back what is there and goes through pandas, which takes fifty
        # times as long.
        entry = {"path": path, "type": "table"}
        listed = json.loads(self._client.get_run(self.id).data.tags.get(tag.MLFLOW_TABLES, "[]"))
        if entry not in listed:
            self._client.set_tag(self.id, tag.MLFLOW_TABLES, json.dumps([*listed, entry]))


def _tensors() -> dict[str, str]:
    image = [{"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 32, 32, 3]}}]
    label = [{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]
    return {"features": json.dumps(image), "targets": json.dumps(label)}


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _write_csv(
    rows: Sequence[Mapping[str, Any]], path: Path, *, columns: Sequence[str] = ()
) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or _columns(rows), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    columns = _columns(rows)
    table = {"columns": columns, "data": [[row.get(name) for name in columns] for row in rows]}
    path.write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")


def _write_figure(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="png")
