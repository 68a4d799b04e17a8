"""Measures what a store's answers cost as its runs grow in number, and what a run adds to it.

    python -m benchmarks.growth --runs 2000 10000 50000

Logs one search of five trials of 20 epochs as the product does, and multiplies its rows within the
database, under other ids and at other times. Then asks what the verbs, a search under way and
MLflow's list of runs ask. CPU milliseconds are those of this process, in which SQLite works too; of
another database they are the client's alone, and wall milliseconds say the rest.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy

TRIALS, EPOCHS = 5, 20
RUNS_A_SEARCH = TRIALS + 1
# One after the other, half a minute apart.
MILLISECONDS_A_SEARCH = 30_000
FORETOLD = 100_000

CLONES = """\
CREATE TEMPORARY TABLE clones (
    old VARCHAR(32), new VARCHAR(32), new_parent VARCHAR(32), shift BIGINT, factor FLOAT)"""
CLONED = (
    """INSERT INTO runs SELECT new, name, source_type, source_name, entry_point_name, user_id,
    status, start_time + shift, end_time + shift, source_version, lifecycle_stage, artifact_uri,
    experiment_id, deleted_time FROM clones JOIN runs ON run_uuid = old""",
    """INSERT INTO metrics SELECT key, value * factor, timestamp + shift, new, step, is_nan
    FROM clones JOIN metrics ON run_uuid = old""",
    """INSERT INTO latest_metrics SELECT key, value * factor, timestamp + shift, step, is_nan, new
    FROM clones JOIN latest_metrics ON run_uuid = old""",
    """INSERT INTO params SELECT key, value, new FROM clones JOIN params ON run_uuid = old""",
    """INSERT INTO tags SELECT key,
    CASE WHEN key = 'mlflow.parentRunId' THEN new_parent ELSE value END, new
    FROM clones JOIN tags ON run_uuid = old""",
    "DELETE FROM clones",
)


def main() -> None:
    """Grow a store, and ask at each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="+", default=[2_000, 10_000, 50_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", help="an empty database; a file of SQLite unless given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        uri = given.backend or f"sqlite:///{folder}/mlflow.db"
        os.environ |= {"MLFLOW_TRACKING_URI": uri, "XDG_STATE_HOME": folder}
        search_id = log_search()
        engine = sqlalchemy.create_engine(uri)
        answers, sizes, there = [], [], RUNS_A_SEARCH
        for runs in sorted(given.runs):
            multiply(engine, search_id, searches=(runs - there) // RUNS_A_SEARCH, after=there)
            there += (runs - there) // RUNS_A_SEARCH * RUNS_A_SEARCH
            answers.append(
                {name: measured(ask, given.rounds) for name, ask in questions(search_id).items()}
            )
            sizes.append((there, bytes_of(engine, Path(folder, "mlflow.db"))))
            print(table(sizes, answers), flush=True)


def log_search() -> str:
    """One search as the product logs it, but for its files; its run's id."""
    from cifar_track import tracking
    from cifar_track.config import flatten, load_experiment

    tracking.open_store()
    page = load_experiment("tune")
    with tracking.start_run(
        page, dataset_name="cifar100", name="tune", tags={tracking.tag.SEARCH_KEY: "one"}
    ) as run:
        run.log_parameters(flatten(page))
        for number in range(TRIALS):
            child = run.child(number, flatten(page))
            log_epochs(child)
            child.log_metrics({"best_val_accuracy": 0.3, "best_epoch": 20.0, "trial_seconds": 400})
            child.finish("completed")
        log_epochs(run)
        run.log_metrics({f"test_figure_{number}": 0.4 for number in range(12)})
        run.log_metrics({"best_val_accuracy": 0.3, "best_epoch": 20.0, "fit_seconds": 400})
    return run.id


def log_epochs(run: Any) -> None:
    """The curves of a fit."""
    for epoch in range(1, EPOCHS + 1):
        figures = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
        run.log_epoch(epoch, dict.fromkeys(figures, epoch / 100))


def multiply(engine: sqlalchemy.Engine, search_id: str, *, searches: int, after: int) -> None:
    """Add so many searches, each later than those before and with figures of its own."""
    rng = np.random.default_rng(after)
    text = sqlalchemy.text
    with engine.begin() as connection:
        family = text(
            "SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId' AND value = :search"
        )
        children = [row[0] for row in connection.execute(family, {"search": search_id})]
        rows = []
        for number in range(searches):
            parent = uuid.uuid4().hex
            shift = (after // RUNS_A_SEARCH + number) * MILLISECONDS_A_SEARCH
            for old in (search_id, *children):
                new = parent if old == search_id else uuid.uuid4().hex
                rows.append(
                    {"old": old, "new": new, "new_parent": parent, "shift": shift,
                     "factor": float(rng.uniform(0.5, 1.5))}
                )  # fmt: skip
        connection.execute(text(CLONES))
        connection.execute(
            text("INSERT INTO clones VALUES (:old, :new, :new_parent, :shift, :factor)"), rows
        )
        for statement in CLONED:
            connection.execute(text(statement))
        connection.execute(text("DROP TABLE clones"))


def questions(search_id: str) -> dict[str, Callable[[], object]]:
    """What is asked of a store, by what a person would call it."""
    import mlflow

    from cifar_track import tracking
    from cifar_track.tracking import store

    client = mlflow.MlflowClient()
    experiment = store.find_experiment_id("cifar100")
    assert experiment is not None
    page = [experiment]

    def log_an_epoch() -> None:
        now = int(1000 * time.time())
        points = [mlflow.entities.Metric(f"val_{n}", 0.5, now, now % 1000) for n in range(4)]
        client.log_batch(search_id, metrics=points)

    return {
        "an epoch logged": log_an_epoch,
        "a trial's run found": lambda: tracking.find_child(search_id, 3),
        "`runs`, the newest 20": lambda: tracking.read_tree("cifar100"),
        "`runs`, the best 20": lambda: tracking.read_tree("cifar100", metric="best_val_accuracy"),
        "MLflow's list, the newest 100": lambda: client.search_runs(page, max_results=100),
        "MLflow's list, by a metric": lambda: client.search_runs(
            page, max_results=100, order_by=["metrics.best_val_accuracy DESC"]
        ),
        "all finished runs (`compare` and `register` unasked)": lambda: tracking.find_runs(
            "cifar100"
        ),
    }


def measured(ask: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median CPU and wall milliseconds of a question."""
    laps = []
    for _ in range(rounds):
        cpu, wall = time.process_time(), time.perf_counter()
        ask()
        laps.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpus, walls = zip(*laps, strict=True)
    return 1000 * statistics.median(cpus), 1000 * statistics.median(walls)


def bytes_of(engine: sqlalchemy.Engine, file: Path) -> int:
    """What the database takes on disk."""
    if engine.dialect.name == "sqlite":
        return file.stat().st_size
    with engine.connect() as connection:
        query = sqlalchemy.text("SELECT pg_database_size(current_database())")
        return int(connection.execute(query).scalar_one())


def table(sizes: list[tuple[int, int]], answers: list[dict[str, tuple[float, float]]]) -> str:
    """The table in Markdown; the last column continues the line through the last two sizes."""
    runs = [count for count, _ in sizes]
    heads = " | ".join(f"{count:,} runs" for count in runs)
    rows = [
        f"| CPU ms (wall ms) | {heads} | {FORETOLD:,} by a line |",
        "|---" * (len(runs) + 2) + "|",
    ]
    for name in answers[0]:
        cells = " | ".join(f"{each[name][0]:,.0f} ({each[name][1]:,.0f})" for each in answers)
        rows.append(f"| {name} | {cells} | {foretold(runs, [a[name][0] for a in answers]):,.0f} |")
    megabytes = [size / 1e6 for _, size in sizes]
    cells = " | ".join(f"{size:,.0f}" for size in megabytes)
    rows.append(f"| MB of the database | {cells} | {foretold(runs, megabytes):,.0f} |")
    return "\n".join(rows)


def foretold(runs: list[int], values: list[float]) -> float:
    """A value at a size that was not measured."""
    if len(runs) < 2:
        return float("nan")
    slope, start = np.polyfit(runs[-2:], values[-2:], 1)
    return float(start + slope * FORETOLD)


if __name__ == "__main__":
    main()
