"""What a run leaves behind besides numbers: evaluation, figures, tables, its data set."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifar_track.config import FIRST_CLASSES
from cifar_track.tracking import tag
from cifar_track.tracking.delivery import TAG_LENGTH
from cifar_track.tracking.operations import as_text
from cifar_track.tracking.outbox import Operation, is_full
from cifar_track.tracking.reach import first_line
from cifar_track.tracking.sender import Sender

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from cifar_track.evaluation import Evaluation

PREDICTIONS = "evaluation/predictions.npz"
VALIDATION = "evaluation/validation.npz"
# MLflow's own limits.
DIGEST_LENGTH = 36


class RunArtifacts:
    """The files and tags of a run; `Run` adds what changes while it is open.

    Whatever is logged is on this machine's disk when the call returns, and sent by a thread of its
    own. A full disk is told in one line, and ends nothing.
    """

    def __init__(self, handle: str, sender: Sender) -> None:
        """Attach to a run.

        Args:
            handle: what the run is called in its outbox: its id, or what stands for it.
            sender: takes what is to be sent.
        """
        self._handle = handle
        self._sender = sender
        self._held: list[Operation] | None = None

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, cut at the 8000 characters that MLflow takes."""
        cut = {name: as_text(value)[:TAG_LENGTH] for name, value in tags.items()}
        self._add({"do": "tags", "tags": cut})

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is logged in the block reaches the store whole, or, if it is cut short, not at all.

        Of results that come twice, when the work is done again after a kill, one would be too many.
        """
        self._held = []
        try:
            yield
            held, self._held = self._held, None
            if held:
                self._sender.add(*held)
        finally:
            self._held = None

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
        described = {"name": name, "digest": digest, "source": source, "classes": classes}
        self._add({"do": "dataset", "images": dict(images), **described})

    def log_evaluation(self, evaluation: Evaluation) -> None:
        """Log an evaluation's tables under `evaluation/` and its figures under `figures/`."""
        from cifar_track import plots

        per_class = evaluation.per_class_rows()
        with self._files() as folder:
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
            # Compressed, probabilities take a tenth less room and longer to read than all else.
            np.savez(tables / "predictions.npz", **arrays)
            digest = hashlib.sha256((tables / "predictions.npz").read_bytes()).hexdigest()
            self.set_tags({tag.PREDICTIONS_DIGEST: digest})
            figures = Path(folder, "figures")
            figures.mkdir()
            for name, figure in {
                f"per_class_first_{FIRST_CLASSES}": plots.per_class_bars(evaluation),
                "per_class_all": plots.per_class_overview(evaluation),
                "confusion_matrix": plots.confusion_matrix(evaluation),
            }.items():
                _write_figure(figure, figures / f"{name}.png")
        self._list_tables("evaluation/per_class.json")

    def log_validation(self, probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Log the probabilities of the validation images, by which runs can be combined.

        Args:
            probabilities: (N, C).
            labels: (N,), their classes.
        """
        with self._file(VALIDATION) as file:
            np.savez(file, labels=labels, probabilities=probabilities)

    def log_history(self, history: Sequence[Mapping[str, float]]) -> None:
        """Draw the epochs, a mapping of metrics each, as `figures/learning_curves.png`."""
        from cifar_track import plots

        self.log_figure(plots.learning_curves(history), "figures/learning_curves.png")

    def log_figure(self, figure: Figure, path: str) -> None:
        """Log a figure as PNG at a path within the run's artifacts."""
        with self._file(path) as file:
            _write_figure(figure, file)

    def log_text(self, text: str, path: str) -> None:
        """Log a text file at a path within the run's artifacts."""
        with self._file(path) as file:
            file.write_text(text, encoding="utf-8", errors="backslashreplace")

    def log_json(self, value: Any, path: str) -> None:
        """Log plain values as indented JSON."""
        self.log_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", path)

    def log_rows(self, rows: Sequence[Mapping[str, Any]], path: str) -> None:
        """Log rows as CSV; the columns are those of all rows, in order of appearance."""
        with self._file(path) as file:
            _write_csv(rows, file)

    def log_table(self, rows: Sequence[Mapping[str, Any]], path: str) -> None:
        """Log rows as a JSON file that MLflow's UI shows as a table, also across runs."""
        with self._file(path) as file:
            _write_table(rows, file)
        self._list_tables(path)

    @contextlib.contextmanager
    def _files(self, *, do: str = "files", **about: Any) -> Iterator[Path]:
        """A folder to write artifacts into, under the paths that they have in the run."""
        try:
            with self._sender.outbox.files() as folder:
                yield folder
            self._add({"do": do, "folder": str(folder), **about})
        except Exception as error:
            if not is_full(error):
                raise
            self._sender.lose(f"{do}: {first_line(error)}")

    @contextlib.contextmanager
    def _file(self, path: str) -> Iterator[Path]:
        with self._files() as folder:
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            yield file

    def _list_tables(self, path: str) -> None:
        self._add({"do": "table", "path": path})

    def _add(self, operation: Operation) -> None:
        operation = {"run": self._handle, **operation}
        if self._held is None:
            self._sender.add(operation)
        else:
            self._held.append(operation)


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
