"""The model behind MLflow's own scoring server: right answers, refusals, and never a 500."""

from __future__ import annotations

import base64
import collections
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import nonsense
import numpy as np
import psutil
import pytest
from conftest import answers, free_port, wait_for
from hypothesis import HealthCheck, given, settings
from made_up_network import NAMES, build_network
from PIL import Image

from cifar_track.serving import save_classifier

pytestmark = pytest.mark.slow

JSON = "application/json"
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network():
    return build_network(1)


@pytest.fixture(scope="module")
def server(network, tmp_path_factory):
    """The port of `mlflow models serve`, and its process."""
    folder = tmp_path_factory.mktemp("served")
    save_classifier(network, folder / "model", classes=NAMES, example=IMAGES[:2])
    port = free_port()
    # fmt: off
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder / "model"),
        "--env-manager", "local", "--port", str(port), "--workers", "1",
    ]
    # fmt: on
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={
                **os.environ,
                # It looks for uvicorn there.
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "SERVING_MODEL_CONFIG": json.dumps({"max_images": 100}),
            },
        )
    try:
        wait_for(
            lambda: answers(f"http://127.0.0.1:{port}/ping") or process.poll() is not None,
            what=f"{folder / 'log'}: no server",
            seconds=400,
        )
        yield port, process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def post(port, body, *, content_type=JSON):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {} if content_type is None else {"Content-Type": content_type}
    try:
        connection.request("POST", "/invocations", data, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_pictures_and_arrays_get_the_same_right_answer(server, network):
    expected = network.predict(IMAGES, verbose=0)
    for inputs in ([png(image) for image in IMAGES], IMAGES.tolist()):
        status, body = post(server[0], {"inputs": inputs, "params": {"raw": True, "top_k": 2}})
        assert status == 200, body
        rows = json.loads(body)["predictions"]
        np.testing.assert_allclose([r["probabilities"] for r in rows], expected, atol=1e-6)
        assert [r["class"] for r in rows] == ["wxyz"[n] for n in expected.argmax(axis=1)]
        assert all(len(row["top"]) == 2 for row in rows)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"inputs": (IMAGES[:1] / 255).tolist()}, "holds float in place of numbers"),
        ({"inputs": [True]}, "image 0 is a bool"),
        ({"inputs": [[[["1", "2", "3"]]]]}, "holds str"),
        ({"inputs": [[[[float("nan")] * 3]]]}, "holds float"),
        ({"inputs": []}, "0 images in a request"),
        ({"inputs": ["a"] * 101}, "101 images in a request; expected from 1 to 100"),
        ({"inputs": [png(IMAGES[0])[:400]]}, "image 0"),
        ({"inputs": "a"}, "a str in place of images"),
        ({"inputs": {"image": 1}}, "a dict in place of images"),
        ({"inputs": [png(IMAGES[0])], "params": {"top_k": 0}}, "top_k=0 is out of range"),
    ],
)
def test_a_mistake_is_one_line_and_400(server, body, words):
    status, answer = post(server[0], body)
    told = json.loads(answer)
    assert status == 400
    assert words in told["message"]
    assert "\n" not in told["message"]
    assert "stack_trace" not in told


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", JSON, 400),
        (b"{", JSON, 400),
        (b"\xff", JSON, 400),
        (b"[]", JSON, 400),
        (b"{}", JSON, 400),
        ({"instances": [1]}, JSON, 400),
        ({"dataframe_split": {"columns": ["a"], "data": [["b"]]}}, JSON, 400),
        ({"inputs": ["a"], "params": [1]}, JSON, 400),
        ({"inputs": ["a"], "params": {"raw": "perhaps"}}, JSON, 400),
        (b"image\nabc\n", "text/csv", 400),
        (b"abc", "application/vnd.apache.parquet", 400),
        (b"abc", "image/png", 415),
    ],
)
def test_what_mlflow_refuses_itself_has_a_status_of_the_clients(server, body, content_type, status):
    assert post(server[0], body, content_type=content_type)[0] == status


COUNTS: collections.Counter[int] = collections.Counter()


@settings(
    max_examples=2000,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=True,
)
@given(body=nonsense.bodies, content_type=nonsense.content_types)
def test_two_thousand_requests_that_make_little_sense_get_no_500(server, body, content_type):
    status, answer = post(server[0], body, content_type=content_type)
    COUNTS[status] += 1
    assert status in (200, 400, 415), (status, answer, body[:200])
    if status == 200:
        assert json.loads(answer)["predictions"]


def test_most_of_them_were_refused():
    assert sum(COUNTS.values()) >= 2000
    assert COUNTS[400] > 1000


def test_sixteen_at_once_are_answered_and_memory_stays(server):
    port, process = server
    body = json.dumps({"inputs": [png(image) for image in IMAGES[:4]]}).encode()
    statuses: list[int] = []

    def ask(times):
        statuses.extend(post(port, body)[0] for _ in range(times))

    def used():
        tree = [process, *psutil.Process(process.pid).children(recursive=True)]
        return sum(psutil.Process(p.pid).memory_info().rss for p in tree) / 1e6

    def together(requests):
        threads = [threading.Thread(target=ask, args=(requests // 16,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    together(320)
    before = used()
    together(3200)
    assert set(statuses) == {200}
    assert used() < before + 60
