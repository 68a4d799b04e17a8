"""The model that is served: what it takes, what it answers, and how it refuses."""

from __future__ import annotations

import base64
import collections
import http.client
import io
import json
import socket
import tempfile
import threading
import zlib

import hypothesis
import mlflow
import nonsense
import numpy as np
import pandas as pd
import pytest
import uvicorn
from conftest import answers, free_port, wait_for
from made_up_network import NAMES, build_network
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from PIL import Image

from cifar_track import serving
from cifar_track.addresses import folder_address
from cifar_track.config import CifarTrackError
from cifar_track.serving import Front, save_classifier

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
# Smooth, so that scaling it is no matter of which filter.
SMOOTH = np.stack(
    [*np.meshgrid(np.arange(0, 256, 8), np.arange(0, 256, 8)), np.full((32, 32), 90)], axis=-1
).astype(np.uint8)


@pytest.fixture(scope="module")
def network():
    return build_network(1)


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "model"
    save_classifier(network, folder, classes=NAMES, example=IMAGES[:2])
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return mlflow.pyfunc.load_model(str(folder))


def written(image, form="PNG", **options):
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, format=form, **options)
    return buffer.getvalue()


def in_base64(data):
    return base64.b64encode(data).decode()


def probabilities(model, images):
    return np.array(model.predict(images, params={"raw": True})["probabilities"].tolist())


def refusal(model, images, **parameters):
    with pytest.raises(MlflowException) as caught:
        model.predict(images, params=parameters)
    assert caught.value.get_http_status_code() == 400
    assert "\n" not in caught.value.message
    return caught.value.message


class TestAnswers:
    def test_it_gives_what_the_network_gives(self, model, network):
        expected = network.predict(IMAGES, verbose=0)
        np.testing.assert_allclose(probabilities(model, IMAGES), expected, atol=1e-6)

    def test_it_names_class_superclass_and_the_most_probable(self, model, network):
        expected = network.predict(IMAGES, verbose=0)
        answer = model.predict(IMAGES, params={"top_k": 3})
        assert list(answer) == ["class", "superclass", "probability", "top", "model_version"]
        for row, scores in zip(answer.to_dict("records"), expected, strict=True):
            order = sorted(range(4), key=lambda n: -scores[n])
            assert [entry["class"] for entry in row["top"]] == ["wxyz"[n] for n in order[:3]]
            assert row["class"] == "wxyz"[order[0]]
            assert row["superclass"] == "ppqq"[order[0]]
            assert row["probability"] == pytest.approx(float(scores.max()))
            assert row["model_version"] is None  # it has not been registered

    def test_below_the_threshold_no_class_is_named(self, model):
        sure = model.predict(IMAGES)["probability"]
        threshold = float(sorted(sure)[3])
        answer = model.predict(IMAGES, params={"threshold": threshold})
        assert (answer["class"].isna() == (sure < threshold)).all()
        assert (answer["superclass"].isna() == (sure < threshold)).all()
        assert (answer["probability"] == sure).all()

    @pytest.mark.parametrize(
        "form",
        [
            lambda images: images.tolist(),
            list,
            lambda images: [written(image) for image in images],
            lambda images: [in_base64(written(image)) for image in images],
            lambda images: [f"data:image/png;base64,{in_base64(written(i))}" for i in images],
            lambda images: [base64.encodebytes(written(image)).decode() for image in images],
            lambda images: [written(image, "WEBP", lossless=True) for image in images],
            lambda images: pd.DataFrame({"image": [in_base64(written(i)) for i in images]}),
            lambda images: pd.DataFrame({"image": list(images)}),
            lambda images: [images[0].tolist(), *(written(image) for image in images[1:])],
            lambda images: images.astype(np.int64),
        ],
        ids=[
            *("nested", "arrays", "bytes", "base64", "address", "broken-lines", "webp"),
            *("table-of-texts", "table-of-arrays", "mixed", "int64"),
        ],
    )
    def test_every_form_of_an_image_is_the_same_image(self, model, form):
        expected = probabilities(model, IMAGES)
        np.testing.assert_array_equal(probabilities(model, form(IMAGES)), expected)

    def test_a_jpeg_is_decoded_as_pillow_does(self, model):
        data = written(SMOOTH, "JPEG", quality=95)
        expected = np.asarray(Image.open(io.BytesIO(data)))[None]
        np.testing.assert_array_equal(probabilities(model, [data]), probabilities(model, expected))

    def test_the_model_is_a_keras_model_besides(self, folder, network):
        again = mlflow.keras.load_model(str(folder))
        np.testing.assert_array_equal(again(IMAGES).numpy(), network(IMAGES).numpy())

    def test_nothing_of_this_machine_is_written_in_it(self, folder):
        assert str(folder.parents[2]) not in (folder / "MLmodel").read_text()
        assert (
            "/"
            not in mlflow.models.Model.load(str(folder)).flavors["python_function"][
                "model_code_path"
            ]
        )

    def test_its_examples_are_requests(self, folder, model):
        expected = probabilities(model, IMAGES[:2])
        for example in (folder / "examples").iterdir():
            images = json.loads(example.read_text())["inputs"]
            np.testing.assert_array_equal(probabilities(model, images), expected)
        assert len(model.predict(model.input_example)) == 2


class TestPictures:
    """What is not plain 8-bit RGB of 32 pixels square, by what it ought to look like."""

    def same(self, model, given, expected, *, within=0.02):
        np.testing.assert_allclose(
            probabilities(model, [given]), probabilities(model, expected[None]), atol=within
        )

    @pytest.mark.parametrize("size", [(64, 64), (96, 96), (31, 31), (320, 320)])
    def test_another_size_is_scaled(self, model, size):
        large = np.asarray(Image.fromarray(SMOOTH).resize(size, Image.Resampling.BICUBIC))
        self.same(model, large, SMOOTH)
        self.same(model, written(large), SMOOTH)

    def test_the_middle_is_kept(self, model):
        bars = np.zeros((32, 32, 3), np.uint8)
        self.same(model, np.concatenate([bars, SMOOTH, bars], axis=1), SMOOTH, within=1e-6)
        self.same(model, np.concatenate([bars, SMOOTH, bars], axis=0), SMOOTH, within=1e-6)

    def test_it_is_turned_as_its_exif_says(self, model):
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera stood on its right side
        turned = np.rot90(SMOOTH)
        self.same(model, written(turned, exif=exif), SMOOTH, within=1e-6)

    def test_what_is_transparent_is_white(self, model):
        half = np.dstack([SMOOTH, np.full((32, 32), 255, np.uint8)])
        half[:, :16, 3] = 0
        expected = SMOOTH.copy()
        expected[:, :16] = 255
        self.same(model, written(half), expected, within=1e-6)

    def test_a_palette_with_a_transparent_colour(self, model):
        palette = Image.fromarray(np.where(SMOOTH[..., 0] < 128, 0, 1).astype(np.uint8), mode="P")
        palette.putpalette([200, 10, 10, 20, 30, 220])
        expected = np.where(
            SMOOTH[..., :1] < 128, np.array([[[255, 255, 255]]]), np.array([[[20, 30, 220]]])
        ).astype(np.uint8)
        self.same(model, written(palette, transparency=0), expected, within=1e-6)

    def test_grey_of_sixteen_bits(self, model):
        grey = SMOOTH[..., 0]
        expected = np.repeat(grey[..., None], 3, axis=-1)
        deep = Image.fromarray(grey.astype(np.uint16) * 257)
        assert deep.mode.startswith("I")
        self.same(model, written(deep), expected, within=1e-6)
        self.same(model, written(grey), expected, within=1e-6)

    def test_cmyk(self, model):
        data = written(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG", quality=100)
        self.same(model, data, SMOOTH, within=0.05)


def png_of_size(width, height):
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind, data):
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def animated(form):
    frames = [Image.fromarray(image) for image in IMAGES[:3]]
    return written(frames[0], form, save_all=True, append_images=frames[1:])


def test_a_second_picture_behind_a_jpeg_is_no_animation(model):
    first, second = (Image.fromarray(image) for image in (SMOOTH, IMAGES[1]))
    both = written(first, "MPO", save_all=True, append_images=[second], quality=95)
    assert Image.open(io.BytesIO(both)).n_frames == 2
    alone = written(first, "JPEG", quality=95)
    np.testing.assert_allclose(
        probabilities(model, [both]), probabilities(model, [alone]), atol=1e-6
    )


class TestRefusals:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ([], "0 images in a request; expected from 1 to 1,000"),
            (IMAGES[:0], "0 images"),
            (np.zeros((1001, 32, 32, 3), np.uint8), "1001 images"),
            (["a"] * 1001, "1001 images"),
            ("text", "a str in place of images"),
            (7, "a int in place of images"),
            (None, "nothing in place of images"),
            (np.array(7), "an array of int64 of the shape ()"),
            (pd.Series(["a"] * 1001), "1001 images"),
            ({"image": 1}, "a dict in place of images"),
            (pd.DataFrame({"a": [1], "b": [2]}), "a table with the columns a, b"),
            ((IMAGES / 255).astype(np.float32), "is of float32"),
            ((IMAGES / 255).tolist(), "image 0 holds float in place of numbers"),
            ((IMAGES > 9).tolist(), "image 0 holds bool"),
            (IMAGES > 9, "is of bool"),
            (IMAGES.astype(str).tolist(), "image 0 holds str"),
            (np.full((1, 32, 32, 3), np.nan), "is of float64"),
            (IMAGES[0], "the shape (32, 32, 3)"),
            (IMAGES[..., :1], "the shape (6, 32, 32, 1)"),
            (IMAGES.astype(int) * 2, "numbers from 0 to 510"),
            ([(IMAGES[0].astype(int) - 1).tolist()], "numbers from -1 to"),
            ([[[[1, 2, 10**30]]]], "image 0"),
            ([[[[1, 2, 3]], [[1, 2, 3], [1, 2, 3]]]], "rows of unequal length"),
            ([[[1, 2, 3]]], "the shape (1, 3)"),
            ([[]], "image 0 has the shape (0,)"),
            ([None], "image 0 is nothing"),
            ([{"b64": "aaaa"}], "image 0 is a dict"),
            ([IMAGES[0].tolist(), 0.5], "image 1 is a float"),
            (["not base64!"], "image 0 is text that is not base64"),
            (["aaaa"], "image 0 is no picture that can be read"),
            ([b""], "image 0 is no picture"),
            ([written(IMAGES[0])[:200]], "image 0 is a damaged picture"),
            ([written(IMAGES[0], "GIF")], "image 0 is no picture that can be read"),
            ([written(IMAGES[0], "TIFF")], "image 0 is no picture that can be read"),
            ([png_of_size(60_000, 60_000)], "image 0"),
            ([png_of_size(9000, 5000), png_of_size(9000, 5000)], "image"),
            ([animated("PNG")], "an animation of 3 pictures"),
            ([animated("WEBP")], "an animation of 3 pictures"),
        ],
    )  # fmt: skip
    def test_each_is_one_line_with_status_400(self, model, given, words):
        assert words in refusal(model, given)

    def test_entries_are_counted_before_each_is_looked_at(self, model):
        many = np.broadcast_to(np.array(None, dtype=object), (10**12, 1, 1, 3))
        assert "1000000000000 images in a request" in refusal(model, many)

    def test_pixels_are_counted_before_they_are_decoded(self, model):
        assert "past 50,000,000" in refusal(model, [png_of_size(7100, 7100)])

    @pytest.mark.parametrize(
        ("parameters", "words"),
        [
            ({"top_k": 0}, "top_k=0 is out of range; expected from 1 to 4"),
            ({"top_k": 5}, "top_k=5"),
            ({"threshold": 1.5}, "threshold=1.5 is out of range"),
            ({"threshold": float("nan")}, "threshold=nan"),
            ({"top_k": "many"}, "top_k"),
            ({"raw": "perhaps"}, "raw"),
        ],
    )
    def test_parameters(self, model, parameters, words):
        assert words in refusal(model, IMAGES, **parameters)

    def test_the_limits_are_settings(self, folder):
        strict = mlflow.pyfunc.load_model(str(folder), model_config={"max_images": 2})
        assert len(strict.predict(IMAGES[:2])) == 2
        assert "expected from 1 to 2" in refusal(strict, IMAGES)


@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid", "999.1.1.1", "a..b"])
def test_where_nothing_can_listen_is_one_line(host):
    options = {"max_images": 1, "max_bytes": 1, "follow_seconds": 1, "on_version": print}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CifarTrackError, match=f"can listen at {host}:{port} ") as caught:
            serving.serve("a model", "champion", host=host, port=port, **options)
    assert "\n" not in str(caught.value)


def test_temporary_files_may_lie_in_a_folder_of_any_name(network, tmp_path, monkeypatch):
    odd = tmp_path / "t m?p#%20"
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    save_classifier(network, odd / "model", classes=NAMES, example=IMAGES[:2])
    assert (odd / "model" / "artifacts" / "model.keras").is_file()
    assert [path.name for path in odd.iterdir()] == ["model"]


def test_a_model_may_lie_in_a_folder_that_mlflow_takes_for_another(network, tmp_path, monkeypatch):
    odd = tmp_path / "a%41"
    save_classifier(network, odd / "model", classes=NAMES, example=IMAGES[:2])
    again = serving.load_network(folder_address(odd / "model"))
    np.testing.assert_allclose(again(IMAGES), network(IMAGES), atol=1e-6)
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    with pytest.raises(CifarTrackError, match="set TMPDIR to another folder"):
        serving.load_network(str(tmp_path))


def test_a_model_whose_files_are_away_is_one_line(tmp_path):
    with pytest.raises(CifarTrackError, match=f"the model {tmp_path} can't be read") as caught:
        serving.load_network(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def front(model):
    """The front, listening in a thread of this process, and its port."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
        front = Front(scoring_server.init(model), max_bytes=400_000)
        port = free_port()
        server = uvicorn.Server(uvicorn.Config(front, port=port, log_level="critical"))
        thread = threading.Thread(target=server.run)
        thread.start()
        wait_for(lambda: server.started, what="the front does not listen")
        yield front, port
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def ask(front):
    """Gives status and answer of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", front[1], timeout=60)

    def ask(body, *, content_type="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {} if content_type is None else {"Content-Type": content_type}
        connection.request("POST", "/invocations", data, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    yield ask
    connection.close()


class TestFront:
    """What stands before MLflow's own scoring server, and that server behind it."""

    def test_a_right_request_gets_the_answer(self, ask, network):
        status, answer = ask(
            {"inputs": [in_base64(written(image)) for image in IMAGES], "params": {"raw": True}}
        )
        assert status == 200
        expected = network.predict(IMAGES, verbose=0)
        given = [row["probabilities"] for row in answer["predictions"]]
        np.testing.assert_allclose(given, expected, atol=1e-6)

    def test_without_a_content_type_it_is_json(self, ask):
        body = {"inputs": [in_base64(written(IMAGES[0]))]}
        assert ask(body, content_type=None)[0] == 200

    @pytest.mark.parametrize(
        ("body", "status", "words"),
        [
            (b"", 400, "not JSON that can be read"),
            (b"[" * 100_000, 400, "not JSON that can be read"),
            (b'{"inputs": [' + b"9" * 5000 + b"]}", 400, "not JSON that can be read"),
            (b"\xff\xfe\x00", 400, "not JSON that can be read"),
            (b" " * 400_001, 413, "larger than 400,000 bytes"),
            (b"{}", 400, "'inputs' key"),
            ({"inputs": [0.5]}, 400, "image 0 is a float"),
            ({"inputs": ["x"], "params": {"top_k": "many"}}, 400, "Invalid parameters found"),
            ({"inputs": ["x"], "params": []}, 400, "Parameters must be a dictionary"),
            ({"inputs": ["\ud800"]}, 400, "image 0"),
        ],
    )
    def test_a_mistake_is_one_short_line(self, ask, body, status, words):
        told_status, told = ask(body)
        assert told_status == status
        assert words in told["message"]
        assert "\n" not in told["message"]
        assert len(told["message"]) < 520
        assert set(told) == {"error_code", "message"}

    @pytest.mark.parametrize("kind", ["application/vnd.apache.parquet", "text/html", "x"])
    def test_what_packs_a_thousandfold_or_is_unknown_is_not_read(self, ask, kind):
        table = io.BytesIO()
        pd.DataFrame({"x": np.zeros(2_000_000, np.int8)}).to_parquet(table)
        assert len(table.getvalue()) < 20_000
        status, told = ask(table.getvalue(), content_type=kind)
        assert status == 415
        assert told["message"] == f"Content-Type {kind}; expected application/json or text/csv"

    def test_whatever_comes_is_no_fault_of_the_server(self, ask):
        counts = collections.Counter()

        @hypothesis.settings(max_examples=300, deadline=None, database=None, derandomize=True)
        @hypothesis.given(nonsense.bodies, nonsense.content_types)
        def never_500(body, content_type):
            status, answer = ask(body, content_type=content_type)
            assert status in (200, 400, 413, 415), (status, answer, body[:200])
            counts[status] += 1

        never_500()
        assert counts[400] > 200

    def test_a_new_model_takes_over_between_two_requests(self, front, ask, tmp_path):
        body = {"inputs": [in_base64(written(IMAGES[0]))]}
        [before] = ask(body)[1]["predictions"]
        other = build_network(2)
        save_classifier(other, tmp_path / "other", classes=NAMES, example=IMAGES[:2])
        present = front[0].application
        front[0].application = scoring_server.init(mlflow.pyfunc.load_model(f"{tmp_path}/other"))
        [now] = ask(body)[1]["predictions"]
        front[0].application = present
        assert now["probability"] == pytest.approx(float(np.max(other(IMAGES[:1]))), abs=1e-6)
        assert now["probability"] != pytest.approx(before["probability"], abs=1e-3)
        assert ask(body)[1]["predictions"] == [before]

    def test_what_is_no_request_for_an_answer_goes_through(self, front):
        assert answers(f"http://127.0.0.1:{front[1]}/ping")
