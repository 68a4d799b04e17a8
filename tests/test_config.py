"""Experiments as values: loading, overriding, checking, flattening."""

from __future__ import annotations

import dataclasses
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar_track import config
from cifar_track.config import (
    Augmentation,
    CifarTrackError,
    Data,
    Experiment,
    Model,
    Optimizer,
    Search,
    Training,
)


@pytest.fixture
def baseline():
    return config.load_experiment("baseline")


@pytest.fixture
def tune():
    return config.load_experiment("tune")


def refusal(function, *given, **named):
    with pytest.raises(CifarTrackError) as caught:
        function(*given, **named)
    told = str(caught.value)
    assert "\n" not in told
    return told


class TestLoad:
    def test_a_page_gives_its_value(self, tune):
        assert tune.name == "tune"
        assert tune.optimizer == Optimizer(name="sgd", learning_rate=0.01, momentum=0.9)
        assert tune.search.trials == 5

    def test_loading_twice_gives_equal_values(self, tune):
        assert config.load_experiment("tune") == tune

    def test_an_unknown_name_is_answered_by_the_nearest(self):
        told = refusal(config.load_experiment, "resnet5")
        assert told == "no experiment 'resnet5'; did you mean 'resnet50'?"

    def test_a_name_like_no_other_is_answered_by_all(self):
        assert "expected one of adam_bn, baseline, " in refusal(config.load_experiment, "zzz")

    @pytest.mark.parametrize("name", ["../tests/test_config", "baseline.py", "", "_private"])
    def test_a_path_is_no_name(self, name):
        assert refusal(config.load_experiment, name).startswith(f"no experiment {name!r}")

    def test_names_are_the_public_pages_sorted(self, tmp_path):
        for name in ("b.py", "a.py", "_shared.py", "notes.txt"):
            (tmp_path / name).touch()
        assert config.experiment_names(tmp_path) == ("a", "b")

    @pytest.mark.parametrize("text", ["", "EXPERIMENT = 3", "experiment = None"])
    def test_a_page_without_its_value_says_what_it_must_hold(self, tmp_path, text):
        (tmp_path / "empty.py").write_text(text)
        told = refusal(config.load_experiment, "empty", tmp_path)
        assert f"{tmp_path / 'empty.py'} must hold EXPERIMENT" in told

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("x = (", "line 1: SyntaxError"),
            ("\nimport no_such_module", "line 2: ModuleNotFoundError"),
            ("from cifar_track.config import Training\nTraining(epoch=3)", "line 2: TypeError"),
            ("x = 1 / 0", "line 1: ZeroDivisionError"),
            ("x = '\0'", "Error"),
        ],
    )
    def test_a_page_that_is_no_python_is_told_with_its_line(self, tmp_path, text, told):
        (tmp_path / "odd.py").write_text(text)
        line = refusal(config.load_experiment, "odd", tmp_path)
        assert line.startswith(str(tmp_path / "odd.py"))
        assert told in line

    @pytest.mark.parametrize(
        ("section", "value", "told"),
        [
            ("data", None, "data= is None; expected Data"),
            ("model", "cnn", "model= is 'cnn'; expected Model"),
            ("training", {"epochs": 3}, "expected Training"),
            ("optimizer", config.Training(), "expected Optimizer"),
            ("search", config.Data(), "expected Search | None"),
        ],
    )
    def test_a_section_of_another_kind_is_refused(self, baseline, section, value, told):
        assert told in refusal(dataclasses.replace, baseline, **{section: value})

    @pytest.mark.parametrize(
        "make",
        [
            lambda: config.Search(space={"model.dense_units": [32, 64]}),
            lambda: config.Choice([32, 64]),
            lambda: config.Choice(([32], [64])),
        ],
    )
    def test_a_space_of_other_things_than_ranges_is_refused(self, make):
        assert "expected" in refusal(make)

    def test_a_page_under_another_name_is_refused(self, tmp_path):
        original = config.EXPERIMENTS_DIRECTORY / "baseline.py"
        (tmp_path / "copied.py").write_text(original.read_text())
        assert "name='copied'" in refusal(config.load_experiment, "copied", tmp_path)


class TestParseOverrides:
    def test_words_become_names_and_texts(self):
        parsed = config.parse_overrides("  optimizer.learning_rate=0.02\n training.epochs=5 ")
        assert parsed == {"optimizer.learning_rate": "0.02", "training.epochs": "5"}

    def test_nothing_is_nothing(self):
        assert config.parse_overrides("  ") == {}

    def test_only_the_first_equals_sign_divides(self):
        assert config.parse_overrides("model.weights=a=b") == {"model.weights": "a=b"}

    @pytest.mark.parametrize("text", ["epochs", "=5", "epochs=", "a=1 b"])
    def test_what_is_no_assignment_is_refused(self, text):
        assert "is not of the form name=value" in refusal(config.parse_overrides, text)

    def test_twice_is_refused(self):
        assert refusal(config.parse_overrides, "a=1 a=2") == "override 'a' is given twice"


class TestOverride:
    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("training.epochs", "5", 5),
            ("training.epochs", 5, 5),
            ("training.epochs", " 5 ", 5),
            ("optimizer.learning_rate", "1e-2", 0.01),
            ("optimizer.learning_rate", "1", 1.0),
            ("optimizer.learning_rate", 1, 1.0),
            ("training.deterministic", "true", True),
            ("training.deterministic", "True", True),
            ("augmentation.horizontal_flip", "FALSE", False),
            ("augmentation.horizontal_flip", False, False),
            ("data.dataset", "procedural", "procedural"),
            ("model.dropout_1", "0.25", 0.25),
            ("model.filters_1", "128", 128),
            ("model.batch_normalization", "true", True),
        ],
    )
    def test_a_value_is_read_as_what_it_replaces(self, baseline, name, value, expected):
        changed = config.flatten(config.override(baseline, {name: value}))[name]
        assert changed == expected
        assert type(changed) is type(expected)

    def test_only_what_is_named_changes(self, baseline):
        changed = config.override(baseline, {"training.epochs": 1, "model.dense_units": 8})
        before, after = config.flatten(baseline), config.flatten(changed)
        assert {name for name in before if before[name] != after[name]} == {
            "training.epochs",
            "model.dense_units",
        }
        assert list(before) == list(after)

    def test_the_original_is_left_as_it_is(self, baseline):
        config.override(baseline, {"model.dense_units": 8})
        assert config.flatten(baseline)["model.dense_units"] == 128

    def test_nothing_changes_nothing(self, tune):
        assert config.override(tune, {}) == tune

    def test_another_architecture_takes_its_own_settings(self, baseline):
        given = {"model.weights": "none", "model.preprocessing": "study", "model.image_size": "64"}
        changed = config.override(baseline, {**given, "model.architecture": "resnet50"})
        assert changed.model == Model(
            "resnet50", weights="none", preprocessing="study", image_size=64, trainable="all"
        )

    def test_another_architecture_wants_its_own_settings(self, baseline):
        given = {"model.architecture": "resnet50", "model.weights": "none"}
        told = refusal(config.override, baseline, given)
        assert told.startswith("architecture 'resnet50' wants preprocessing, image_size; give ")

    def test_an_unknown_architecture_is_answered_by_the_nearest(self, baseline):
        told = refusal(config.override, baseline, {"model.architecture": "resnet"})
        assert told == "no architecture 'resnet'; did you mean 'resnet50'?"

    def test_a_type_is_the_settings_own_whatever_the_page_holds(self, baseline):
        page = dataclasses.replace(
            baseline,
            augmentation=Augmentation(rotation=20),
            model=Model("cnn", **{**baseline.model.settings, "dropout_1": 0}),
        )
        assert type(page.augmentation.rotation) is float
        changed = config.override(page, {"augmentation.rotation": "12.5", "model.dropout_1": 0.25})
        assert changed.augmentation.rotation == 12.5
        assert changed.model.settings["dropout_1"] == 0.25
        whole = config.override(page, {"model.dropout_1": "1"}).model.settings["dropout_1"]
        assert type(whole) is float

    def test_settings_of_one_section_are_checked_together(self, baseline):
        class Ordered(Data):
            def __post_init__(self):
                super().__post_init__()
                if self.train_per_class < self.validation_per_class:
                    raise CifarTrackError("too few")

        data = Ordered(train_per_class=2, validation_per_class=1)
        page = dataclasses.replace(baseline, data=data)
        more = {"data.validation_per_class": 9, "data.train_per_class": 9}
        assert config.override(page, more).data == Ordered(
            train_per_class=9, validation_per_class=9
        )

    def test_the_space_outlives_a_change_of_the_search(self, tune):
        changed = config.override(tune, {"search.trials": "2"})
        assert changed.search.trials == 2
        assert changed.search.space == tune.search.space

    @pytest.mark.parametrize(
        ("name", "nearest"),
        [
            ("training.epoch", "training.epochs"),
            ("epochs", "training.epochs"),
            ("optimizer.lr", "optimizer.learning_rate"),
            ("model.dropout1", "model.dropout_1"),
            ("Training.epochs", "training.epochs"),
        ],
    )
    def test_an_unknown_name_is_answered_by_the_nearest(self, baseline, name, nearest):
        told = refusal(config.override, baseline, {name: "1"})
        assert told == f"no setting {name!r}; did you mean {nearest!r}?"

    @pytest.mark.parametrize(
        "name", ["name", "training", "model.settings", "search", "search.trials", "training.", ""]
    )
    def test_what_is_no_setting_of_the_page_is_refused(self, baseline, name):
        assert refusal(config.override, baseline, {name: "1"}).startswith(f"no setting {name!r}")

    def test_the_space_is_no_setting(self, tune):
        assert refusal(config.override, tune, {"search.space": "1"}).startswith("no setting")

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("training.epochs", "banana", "a whole number"),
            ("training.epochs", "1e3", "a whole number"),
            ("training.epochs", "1_000", "a whole number"),
            ("training.epochs", "٣", "a whole number"),
            ("training.epochs", "9" * 5000, "a whole number"),
            ("training.epochs", 2.5, "a whole number"),
            ("model.filters_1", 2.5, "a whole number"),
            ("model.filters_1", "64.0", "a whole number"),
            ("model.dropout_1", "1_0", "a finite number"),
            ("model.dropout_1", "nan", "a finite number"),
            ("model.dropout_1", float("inf"), "a finite number"),
            ("optimizer.learning_rate", "1e999", "a finite number"),
            ("optimizer.learning_rate", "0x1p3", "a finite number"),
            ("optimizer.learning_rate", 10**400, "a finite number"),
            ("model.batch_normalization", "no", "true or false"),
            ("training.epochs", "1.5", "a whole number"),
            ("training.epochs", 1.0, "a whole number"),
            ("training.epochs", True, "a whole number"),
            ("optimizer.learning_rate", "fast", "a finite number"),
            ("optimizer.learning_rate", True, "a finite number"),
            ("training.deterministic", "yes", "true or false"),
            ("training.deterministic", "1", "true or false"),
            ("training.deterministic", 1, "true or false"),
            ("data.dataset", 3, "text"),
        ],
    )
    def test_a_value_of_another_type_is_refused(self, baseline, name, value, expected):
        told = refusal(config.override, baseline, {name: value})
        assert told.startswith(f"{name}={value} is not {expected}")

    @pytest.mark.parametrize("name", ["training.epochs", "data.dataset", "training.deterministic"])
    @pytest.mark.parametrize("value", ["", "  ", "\n"])
    def test_an_empty_text_is_no_value(self, baseline, name, value):
        assert refusal(config.override, baseline, {name: value}).startswith(f"{name}=")

    @pytest.mark.parametrize(
        ("name", "values", "expected"),
        [
            ("training.epochs", (0, -1, 10**30), "at least 1 and at most 1000000"),
            ("training.batch_size", (0,), "at least 1"),
            ("training.seed", (-1, 2**31), "at least 0 and below 2147483648"),
            ("data.train_per_class", (0, 2**31), "at least 1 and below 2147483648"),
            ("data.split_seed", (-1, 2**31), "at least 0 and below 2147483648"),
            ("augmentation.rotation", (-1.0, 181.0), "at least 0 and at most 180"),
            ("augmentation.width_shift", (-0.1, 1.1), "at least 0 and at most 1"),
            ("augmentation.zoom", (-0.1, 1.0), "at least 0 and below 1"),
            ("optimizer.learning_rate", (0.0, -1.0), "above 0"),
            ("optimizer.momentum", (-0.1, 1.0), "at least 0 and below 1"),
        ],
    )
    def test_a_value_out_of_range_is_refused(self, baseline, name, values, expected):
        for value in values:
            told = refusal(config.override, baseline, {name: value})
            assert told == f"{name}={value} is out of range; expected {expected}"

    @pytest.mark.parametrize(
        "name",
        [
            "optimizer.learning_rate",
            "optimizer.momentum",
            "augmentation.zoom",
            "augmentation.rotation",
        ],
    )
    @pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
    def test_what_is_no_finite_number_is_refused(self, baseline, name, value):
        refusal(config.override, baseline, {name: value})

    @pytest.mark.parametrize(
        ("name", "value", "nearest"),
        [
            ("data.dataset", "cifar10", "cifar100"),
            ("data.selection", "tests", "test"),
            ("training.precision", "bfloat", "bfloat16"),
            ("optimizer.name", "adam2", "adam"),
            ("search.tuner", "hyper", "hyperband"),
            ("search.objective", "accuracy", "val_accuracy"),
        ],
    )
    def test_an_unknown_choice_is_answered_by_the_nearest(self, tune, name, value, nearest):
        told = refusal(config.override, tune, {name: value})
        assert told == f"{name}={value} is unknown; did you mean {nearest!r}?"

    @given(st.integers(1, 10**6), st.floats(1e-9, 1e3), st.booleans())
    def test_every_value_comes_back_from_its_text(self, epochs, rate, deterministic):
        values = {
            "training.epochs": epochs,
            "optimizer.learning_rate": rate,
            "training.deterministic": deterministic,
        }
        page = config.load_experiment("baseline")
        changed = config.override(page, {name: str(value) for name, value in values.items()})
        assert values.items() <= config.flatten(changed).items()

    @given(st.text(max_size=20), st.text(max_size=20))
    def test_no_name_or_text_gets_past_as_anything_but_a_refusal(self, name, value):
        page = config.load_experiment("baseline")
        for setting in (name, "training.epochs"):
            try:
                config.override(page, {setting: value})
            except CifarTrackError:
                continue
            assert setting == "training.epochs"
            assert int(value) >= 1
            assert re.fullmatch("[+]?[0-9]+", value.strip())

    @settings(max_examples=40, deadline=None)
    @given(st.integers() | st.floats() | st.booleans() | st.text(max_size=9))
    def test_every_setting_takes_its_own_type_and_nothing_else(self, value):
        page = config.load_experiment("tune")
        for name, kind in config.types_of_settings(page).items():
            try:
                changed = config.flatten(config.override(page, {name: value}))[name]
            except CifarTrackError:
                continue
            assert type(changed) is kind
            assert type(value) in (kind, str) or (kind is float and type(value) is int)


class TestArchitectures:
    def test_a_page_that_lacks_a_setting_is_refused(self, tmp_path):
        page = (config.EXPERIMENTS_DIRECTORY / "baseline.py").read_text()
        (tmp_path / "baseline.py").write_text(page.replace("        dense_units=128,\n", ""))
        told = refusal(config.load_experiment, "baseline", tmp_path)
        assert told.startswith("architecture 'cnn' wants dense_units; give model.dense_units on ")

    def test_a_default_is_filled_in(self, tmp_path, monkeypatch):
        source = "def build(*, classes: int, width: int, rate: float = 0.5): ...\n"
        (tmp_path / "made.py").write_text(source)
        monkeypatch.setattr("cifar_track.config.architectures.MODELS_DIRECTORY", tmp_path)
        model = config.complete_model(Model("made", width=3))
        assert model == Model("made", width=3, rate=0.5)


class TestFlatten:
    def test_it_follows_the_page(self, tune):
        names = list(config.flatten(tune))
        assert names[0] == "name"
        sections = list(dict.fromkeys(name.partition(".")[0] for name in names[1:]))
        assert sections == [
            *("data", "augmentation", "model", "optimizer", "schedule"),
            *("training", "prediction", "search"),
        ]
        assert "search.space" not in names

    def test_no_search_no_settings_of_it(self, baseline):
        assert not any(name.startswith("search.") for name in config.flatten(baseline))


class TestValues:
    @pytest.mark.parametrize("kind", [Data, Augmentation, Optimizer, Training, Search])
    def test_defaults_are_in_range(self, kind):
        assert kind() == kind()

    def test_nothing_can_be_changed_in_place(self, baseline):
        with pytest.raises(dataclasses.FrozenInstanceError):
            baseline.training.epochs = 1
        with pytest.raises(dataclasses.FrozenInstanceError):
            baseline.model.architecture = "other"
        with pytest.raises(TypeError):
            baseline.model.settings["dense_units"] = 1

    def test_models_are_equal_by_their_settings(self):
        assert Model("cnn", a=1) == Model("cnn", a=1)
        assert Model("cnn", a=1) != Model("cnn", a=2)
        assert Model("cnn", a=1) != Model("other", a=1)

    def test_models_can_be_keys_and_sent_to_processes(self):
        model = Model("cnn", filters=3, rate=0.5)
        assert {model: 1}[Model("cnn", filters=3, rate=0.5)] == 1
        assert pickle.loads(pickle.dumps(model)) == model

    def test_experiments_can_be_keys_and_sent_to_processes(self, tune):
        assert pickle.loads(pickle.dumps(tune)) == tune
        assert {tune: 1}[config.load_experiment("tune")] == 1

    def test_an_experiment_takes_names_only(self, baseline):
        with pytest.raises(TypeError):
            Experiment("x", baseline.data)


class TestDescribeSpace:
    def test_it_can_be_written_as_json(self, tune):
        described = config.describe_space(tune.search)
        assert described["model.filters_1"] == {
            "kind": "IntRange",
            "low": 32,
            "high": 128,
            "step": 32,
        }
        assert described["model.kernel_1"] == {"kind": "Choice", "values": (3, 5)}


def test_it_needs_the_standard_library_alone():
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from cifar_track import config\n"
        "print(config.load_experiment('tune').search.trials)"
    )
    root = Path(config.__file__).parent.parent.parent
    done = subprocess.run(  # -S leaves out whatever is installed
        [sys.executable, "-I", "-S", "-c", script, root], capture_output=True, text=True, check=True
    )
    assert done.stdout == "5\n"
