"""Measures the served model: in process beside its exported graph, over HTTP, by many clients.

    python -m benchmarks.serving --requests 10000

The network is the study's (64 filters of 3x3 twice, 256 dense units) with random weights, which
costs what a trained one does. The store and the server live in a temporary folder.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from benchmarks.servers import free_port, wait_until_it_answers

if TYPE_CHECKING:
    import keras

IMAGES = 64
CLIENTS = 16
ROUNDS = 9
WARM_UP = 100
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Serve a network, ask it, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="of one picture each")
    given = parser.parse_args()
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    pictures = json.dumps({"inputs": [png(image) for image in images]}).encode()
    arrays = json.dumps({"inputs": images.tolist()}).encode()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        network = build_network()
        model = register(network, Path(folder))
        in_process(network, model, images, Path(folder))
        with served(
            "python -m mlflow models serve --env-manager local -m", Path(folder, "plain")
        ) as (
            port,
            _,
        ):
            before = rate(port, arrays)
        with served("python -m cifar_track serve", None) as (port, process):
            told = {"pictures": rate(port, pictures), "arrays": rate(port, arrays)}
            print(f"one client, {IMAGES} images a request, images a second:")
            print(f"  the Keras model behind MLflow's server, JSON arrays: {before:,.0f}")
            for name, images_a_second in told.items():
                print(
                    f"  served, {name}: {images_a_second:,.0f} (x {images_a_second / before:.1f})"
                )
            many_clients(port, pictures)
            memory(port, process, pictures=[png(image) for image in images], count=given.requests)


def build_network() -> keras.Model:
    """What is served: raw images in, probabilities out."""
    from cifar_track import models, training
    from cifar_track.config import load_experiment, override

    sizes = {"model.filters_1": 64, "model.filters_2": 64, "model.dense_units": 256}
    page = override(load_experiment("adam_bn"), sizes)
    return models.for_serving(training.build_model(page, classes=100))


def register(network: keras.Model, folder: Path) -> Any:
    """Save it both ways, give the one that is served the champion's alias, and load it."""
    import mlflow

    from cifar_track import serving, tracking
    from cifar_track.config import DATASETS
    from cifar_track.data import ClassNames, procedural_names
    from cifar_track.tracking import tag

    tracking.open_store()
    example = np.zeros((2, 32, 32, 3), np.uint8)
    serving.save_classifier(
        network, folder / "model", classes=ClassNames(*procedural_names()), example=example
    )
    signature = mlflow.models.infer_signature(example)
    mlflow.keras.save_model(network, str(folder / "plain"), signature=signature)
    client, name = mlflow.MlflowClient(), DATASETS["procedural"].registered_model
    client.create_registered_model(name)
    tags = {tag.RUN_ID: "of no run"}
    version = client.create_model_version(name, str(folder / "model"), tags=tags)
    client.set_registered_model_alias(name, "champion", version.version)
    return mlflow.pyfunc.load_model(str(folder / "model"))


def in_process(network: keras.Model, model: Any, images: np.ndarray, folder: Path) -> None:
    """Ask the served model and the exported graph for the same images, turn by turn."""
    import tensorflow as tf

    network.export(folder / "graph", verbose=False)
    exported = tf.saved_model.load(str(folder / "graph"))  # it holds the weights
    asked: dict[str, Callable[[], object]] = {
        "exported graph": lambda: exported.serve(images).numpy(),
        "served model, raw probabilities too": lambda: model.predict(images, params={"raw": True}),
        "served model": lambda: model.predict(images),
    }
    seconds: dict[str, list[float]] = {name: [] for name in asked}
    for number in range(ROUNDS * 10 + 3):
        for name, ask in asked.items():
            began = time.process_time()
            ask()
            if number >= 3:  # the first ones trace
                seconds[name].append(time.process_time() - began)
    least = statistics.median(seconds["exported graph"])
    print(f"in one process, {IMAGES} images, median CPU milliseconds:")
    for name, each in seconds.items():
        median = statistics.median(each)
        print(f"  {name}: {1000 * median:.1f} (x {median / least:.2f})")


@contextlib.contextmanager
def served(command: str, folder: Path | None) -> Iterator[tuple[int, psutil.Process]]:
    """A server that answers, and the process that holds the model."""
    port = free_port()
    arguments = command.replace("python", sys.executable, 1).split()
    if folder is not None:
        arguments.append(str(folder))
    else:
        arguments += ["--dataset", "procedural"]
    arguments += ["--port", str(port)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    process = subprocess.Popen(
        arguments, env=environment, stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_until_it_answers(port, "/ping", process)
        family = [
            psutil.Process(process.pid),
            *psutil.Process(process.pid).children(recursive=True),
        ]
        yield port, max(family, key=lambda member: member.memory_info().rss)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself, and said why
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def rate(port: int, body: bytes) -> float:
    """Images a second that one client gets, by the median request."""
    seconds = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        status = post(port, body)
        seconds.append(time.perf_counter() - began)
        if status != 200:
            raise SystemExit(f"the server answered {status}")
    return IMAGES / statistics.median(seconds[1:])


def many_clients(port: int, body: bytes) -> None:
    """Sixteen clients at once, each sending one request after another."""

    def ask(_: int) -> tuple[int, float]:
        began = time.perf_counter()
        return post(port, body), time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(ask, range(CLIENTS * ROUNDS)))
    wall = time.perf_counter() - began
    seconds = sorted(each for _, each in answers)
    print(
        f"{CLIENTS} clients, {IMAGES} pictures a request: {IMAGES * len(answers) / wall:,.0f} "
        f"images a second, median {statistics.median(seconds):.2f} s, slowest {seconds[-1]:.2f} s, "
        f"statuses {dict(Counter(status for status, _ in answers))}"
    )


def memory(port: int, process: psutil.Process, *, pictures: Sequence[str], count: int) -> None:
    """What the server holds after the first hundred requests, and after all of them."""
    bodies = [json.dumps({"inputs": [picture]}).encode() for picture in pictures]
    statuses: Counter[int] = Counter()

    def ask(first: int, last: int) -> int:
        statuses.update(post(port, bodies[n % len(bodies)]) for n in range(first, last))
        return int(process.memory_info().rss)

    began = time.perf_counter()
    first = ask(0, WARM_UP)
    half, last = ask(WARM_UP, count // 2), ask(count // 2, count)
    wall = time.perf_counter() - began
    print(
        f"{count:,} requests of one picture in {wall:.0f} s, statuses {dict(statuses)}: "
        f"{first / 2**20:.0f} MiB after {WARM_UP}, {half / 2**20:.0f} after {count // 2:,}, "
        f"{last / 2**20:.0f} at the end"
    )


def post(port: int, body: bytes) -> int:
    """Ask for predictions; the status of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def png(image: np.ndarray) -> str:
    """An image as JSON holds it."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    main()
