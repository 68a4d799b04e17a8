"""The pages in experiments/: a new one is checked here without a word about it."""

from __future__ import annotations

import ast
import importlib
import inspect
import math
import pickle
from pathlib import Path

import pytest

from cifar_track import config

NAMES = config.experiment_names()
ENTRY_POINTS = ("baseline", "adam_bn", "tune", "resnet50")


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def page(name):
    return ast.parse((config.EXPERIMENTS_DIRECTORY / f"{name}.py").read_text(encoding="utf-8"))


@pytest.fixture
def experiment(name):
    return config.load_experiment(name)


def ends(values):
    """The least and the greatest of a range, or each of a few."""
    return values.values if isinstance(values, config.Choice) else (values.low, values.high)


def test_the_study_is_whole():
    assert set(ENTRY_POINTS) <= set(NAMES)


class TestPage:
    def test_it_is_a_docstring_an_import_and_a_value(self, page):
        words, line, value = page.body
        assert isinstance(words, ast.Expr)
        assert isinstance(line, ast.ImportFrom)
        assert isinstance(value, ast.Assign)
        assert [target.id for target in value.targets] == ["EXPERIMENT"]

    def test_the_docstring_has_question_command_and_expectation(self, name, page):
        words = ast.get_docstring(page)
        own = f"mlflow run . -e {name}"
        command = own if name in ENTRY_POINTS else f"mlflow run . -e train -P experiment={name}"
        assert "?" in words.partition("\n")[0]
        assert f"    {command}" in words.splitlines()
        assert "Expected:" in words

    def test_no_line_is_too_long_to_read(self, name):
        text = (config.EXPERIMENTS_DIRECTORY / f"{name}.py").read_text(encoding="utf-8")
        assert max(map(len, text.splitlines())) <= 100


class TestSettings:
    def test_every_name_is_dotted_and_every_value_plain(self, experiment):
        settings = config.flatten(experiment)
        assert settings.pop("name") == experiment.name
        assert all(key.count(".") == 1 for key in settings)
        assert all(type(value) in (bool, int, float, str) for value in settings.values())
        assert all(math.isfinite(v) for v in settings.values() if isinstance(v, float))

    def test_overriding_all_by_what_they_are_changes_nothing(self, experiment):
        settings = config.flatten(experiment)
        del settings["name"]
        assert config.override(experiment, settings) == experiment
        as_texts = {key: str(value) for key, value in settings.items()}
        assert config.override(experiment, as_texts) == experiment
        line = " ".join(f"{key}={value}" for key, value in settings.items())
        assert config.override(experiment, config.parse_overrides(line)) == experiment

    def test_it_survives_the_way_to_another_process(self, experiment):
        assert pickle.loads(pickle.dumps(experiment)) == experiment

    def test_it_chooses_without_the_test_images(self, experiment):
        assert experiment.data.selection == "validation"
        assert experiment.data.dataset == "cifar100"

    def test_the_architecture_is_a_file_that_takes_the_settings(self, experiment):
        models = Path(config.__file__).parent.parent / "models"
        source = models / f"{experiment.model.architecture}.py"
        builders = [
            node
            for node in ast.parse(source.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef) and node.name == "build"
        ]
        [build] = builders
        taken = {argument.arg for argument in (*build.args.args, *build.args.kwonlyargs)}
        assert set(experiment.model.settings) <= taken


class TestSearch:
    @pytest.fixture(params=[n for n in NAMES if config.load_experiment(n).search is not None])
    def searched(self, request):
        return config.load_experiment(request.param)

    def test_every_end_of_the_space_is_a_setting_the_page_takes(self, searched):
        for setting, values in searched.search.space.items():
            for value in ends(values):
                changed = config.override(searched, {setting: value})
                assert config.flatten(changed)[setting] == value

    def test_ranges_go_up_by_whole_steps(self, searched):
        for values in searched.search.space.values():
            if not isinstance(values, config.Choice):
                steps = (values.high - values.low) / values.step
                assert steps == pytest.approx(round(steps))
                assert round(steps) >= 1

    def test_the_page_itself_lies_in_the_space(self, searched):
        settings = config.flatten(searched)
        for setting, values in searched.search.space.items():
            assert min(ends(values)) <= settings[setting] <= max(ends(values))

    def test_the_space_is_described_whole(self, searched):
        described = config.describe_space(searched.search)
        assert list(described) == list(searched.search.space)
        assert {entry["kind"] for entry in described.values()} <= {
            "IntRange",
            "FloatRange",
            "Choice",
        }


def test_pages_are_found_beside_the_package():
    package = Path(inspect.getfile(importlib.import_module("cifar_track"))).parent
    assert package.parent / "experiments" == config.EXPERIMENTS_DIRECTORY
