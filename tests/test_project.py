"""What the project promises on its own pages: entry points, commands, packages, versions."""

from __future__ import annotations

import importlib.util
import itertools
import re
import shlex
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import cifar_track
from cifar_track import __main__, cli, config

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = yaml.safe_load((REPOSITORY / "MLproject").read_text())
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
LOCK = tomllib.loads((REPOSITORY / "uv.lock").read_text())
CONDA = yaml.safe_load((REPOSITORY / "conda.yaml").read_text())
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")

ENTRY_POINTS = (
    "main",
    "baseline",
    "adam_bn",
    "tune",
    "resnet50",
    "train",
    "ablate",
    "compare",
    "runs",
    "ensemble",
    "register",
    "serve",
    "export",
    "repeat",
    "doctor",
    "move_runs",
)
# In front of a command that runs in the environment of the README's first command.
UV_RUN = re.compile(r"^\.uv/bin/uv run --locked (--no-dev )?")


def readme_commands():
    """Every command in the README's shell blocks, the parts of an `a && b` apart."""
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL):
        for line in block.splitlines():
            yield from shlex.split(line, comments=True) and line.partition("  #")[0].split(" && ")


@pytest.fixture
def asked(monkeypatch, every_name_is_known):
    """What the verbs ask of the workflow, which does nothing."""
    calls = []
    stand_in = types.SimpleNamespace(
        **{
            name: lambda *given, _name=name, **named: calls.append((_name, given, named))
            for name in (
                "run_study",
                "run_experiment",
                "ablate_page",
                "run_seeds",
                "compare_runs",
                "register_best",
                "roll_back",
                "blend_runs",
                "serve_champion",
                "export_model",
                "repeat_run",
                "mend_runs",
                "move_runs",
                "show_runs",
            )
        }
    )
    monkeypatch.setitem(sys.modules, "cifar_track.workflow", stand_in)
    monkeypatch.setattr(cifar_track, "workflow", stand_in, raising=False)
    return calls


def run_entry_point(name, parameters):
    """Run the verb that MLflow would run, in this process."""
    from mlflow.projects import _project_spec

    entry_point = _project_spec.load_project(REPOSITORY).get_entry_point(name)
    words = shlex.split(entry_point.compute_command(parameters, storage_dir=None))
    assert words[:3] == ["python", "-m", "cifar_track"]
    return cli.run(words[3:])


class TestEntryPoints:
    def test_they_are_these(self):
        assert tuple(PROJECT["entry_points"]) == ENTRY_POINTS

    def test_none_declares_a_parameter(self):
        entries = {name: set(entry) for name, entry in PROJECT["entry_points"].items()}
        assert entries.pop("move_runs") == {"command", "parameters"}  # its words have no names
        assert set.union(*entries.values()) == {"command"}

    @pytest.mark.parametrize("name", ENTRY_POINTS)
    def test_each_runs_a_verb(self, asked, name):
        parameters = {
            "train": {"experiment": "tune"},
            "ablate": {"experiment": "fast", "without": "crop"},
            "repeat": {"run": "5f0c1e"},
            "move_runs": {"from": "mlflow.db", "to": "http://localhost:5000"},
        }
        assert run_entry_point(name, parameters.get(name, {})) == 0
        assert len(asked) == 1

    @pytest.mark.parametrize("name", ["baseline", "adam_bn", "tune", "resnet50"])
    def test_an_iteration_is_its_page(self, asked, name):
        run_entry_point(name, {})
        assert asked[0][:2] == ("run_experiment", (name, {}))

    def test_every_verb_has_one(self):
        verbs = {shlex.split(e["command"])[3] for e in PROJECT["entry_points"].values()}
        assert verbs == set(cli.verbs.commands)

    def test_a_parameter_arrives_as_it_was_typed(self, asked):
        parameters = {
            "set": "model.dropout_1=0.3 augmentation.zoom=0",
            "data_dir": "/a folder/with $HOME & 'quotes'",
            "run_name": "x; echo y",
            "epochs": "5",
        }
        assert run_entry_point("adam_bn", parameters) == 0
        [(_, (name, overrides), others)] = asked
        assert name == "adam_bn"
        assert overrides == {
            "model.dropout_1": "0.3",
            "augmentation.zoom": "0",
            "training.epochs": "5",
        }
        assert others["data_dir"] == Path(parameters["data_dir"])
        assert others["run_name"] == "x; echo y"

    def test_a_mistake_in_a_parameter_is_the_verbs_to_tell(self, asked, capsys):
        assert run_entry_point("tune", {"epochs": "banana"}) == 2
        assert capsys.readouterr().err.startswith("error: training.epochs=banana")
        assert asked == []


def assert_benchmark_takes(module, options):
    found = importlib.util.find_spec(module)
    if found.submodule_search_locations:
        found = importlib.util.find_spec(f"{module}.__main__")
    program = Path(found.origin).read_text(encoding="utf-8")
    taken = set(re.findall(r'add_argument\(\s*"(--\w+)"', program))
    assert {option for option in options if option.startswith("--")} <= taken


class TestReadme:
    def test_it_shows_every_entry_point(self):
        shown = " ".join(readme_commands())
        missing = [n for n in ENTRY_POINTS if n != "main" and f"mlflow run . -e {n} " not in shown]
        assert missing == []

    def test_it_names_every_verb(self):
        assert [verb for verb in cli.verbs.commands if verb not in README] == []

    def test_its_first_command_runs_the_whole_study(self, asked):
        first = next(re.finditer(r"```sh\n(.*?)```", README, re.DOTALL)).group(1).strip()
        assert "\n" not in first
        assert first.endswith("mlflow run . --env-manager local")

    def test_every_command_makes_sense(self, asked):
        from mlflow.cli import run as mlflow_run

        seen = set()
        for command in readme_commands():
            words = shlex.split(UV_RUN.sub("", command.strip()))
            seen.add(words[0])
            if words[:2] == ["mlflow", "run"]:
                with mlflow_run.make_context("mlflow run", words[2:]) as context:
                    given = context.params
                assert given["uri"] == "."
                assert given["env_manager"] == "local"
                parameters = dict(p.split("=", 1) for p in given["param_list"])
                assert run_entry_point(given["entry_point"], parameters) == 0, command
            elif words[:3] == ["python", "-m", "cifar_track"]:
                assert cli.run(words[3:]) == 0, command
            elif words[:2] == [".uv/bin/uv", "sync"]:
                assert (
                    words[words.index("--extra") + 1]
                    in PYPROJECT["project"]["optional-dependencies"]
                )
            elif words[:2] == ["python", "-m"]:
                assert_benchmark_takes(words[2], words[3:])
            else:
                assert words[0] in {".", "export", "pytest", "python3", "mlflow", "docker"}, command
        assert {"mlflow", "python", "pytest"} <= seen

    def test_the_benchmarks_page_has_commands_that_make_sense(self):
        page = (REPOSITORY / "benchmarks" / "README.md").read_text(encoding="utf-8")
        commands = re.findall(r"python -m (benchmarks\S*)([^#\n]*)", page)
        assert {module for module, _ in commands} == {
            "benchmarks",
            "benchmarks.accuracy",
            "benchmarks.augmentation",
            "benchmarks.beside",
            "benchmarks.comparing",
            "benchmarks.convolutions",
            "benchmarks.load",
            "benchmarks.profile",
            "benchmarks.reach",
            "benchmarks.serving",
            "benchmarks.growth",
            "benchmarks.cluster",
            "benchmarks.checkpoints",
            "benchmarks.stopping",
            "benchmarks.pretraining",
        }
        for module, options in commands:
            assert_benchmark_takes(module, shlex.split(options))

    def test_the_tests_run_in_ci_by_its_own_command(self):
        [command] = [c.strip() for c in readme_commands() if c.strip().endswith(" pytest")]
        steps = (REPOSITORY / ".ci" / "run").read_text().strip().splitlines()
        assert steps[-1] == command

    def test_every_file_it_names_is_there(self):
        names = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
        names += re.findall(r"`((?:experiments|cifar_track|tests|deploy|docs)/[\w./]*)`", README)
        assert [name for name in names if not (REPOSITORY / name).exists()] == []


LOCKED = {package["name"]: package for package in LOCK["package"]}


class TestPackages:
    def normalise(self, name):
        return re.sub(r"[-_.]+", "-", name).lower()

    def conda_pins(self):
        *_, last = CONDA["dependencies"]
        for text in last["pip"]:
            requirement = Requirement(text)
            [specifier] = requirement.specifier
            assert specifier.operator == "=="
            yield requirement.name, specifier.version

    def test_conda_has_python_pip_and_a_list_for_pip(self):
        python, pip, last = CONDA["dependencies"]
        assert re.fullmatch(r"python=\d+\.\d+\.\d+", python)
        assert re.fullmatch(r"pip=[\d.]+", pip)
        assert set(last) == {"pip"}

    def test_condas_python_is_one_the_project_takes(self):
        version = CONDA["dependencies"][0].removeprefix("python=")
        assert version in Requirement(f"python{PYPROJECT['project']['requires-python']}").specifier

    def test_conda_pins_what_the_lock_pins(self):
        pinned = {(self.normalise(name), version) for name, version in self.conda_pins()}
        wanted, queue = set(), [LOCKED["cifar-track"]]
        while queue:
            for needed in queue.pop().get("dependencies", []):
                for package in LOCK["package"]:
                    if package["name"] != needed["name"]:
                        continue
                    if needed.get("version", package["version"]) != package["version"]:
                        continue
                    if (package["name"], package["version"]) not in wanted:
                        wanted.add((package["name"], package["version"]))
                        queue.append(package)
        assert pinned == wanted

    def test_every_locked_version_is_in_the_range_of_the_project(self):
        groups = PYPROJECT["dependency-groups"].values()
        optional = PYPROJECT["project"]["optional-dependencies"].values()
        extra = itertools.chain(*groups, *optional)
        for text in (*PYPROJECT["project"]["dependencies"], *extra):
            if isinstance(text, dict):  # a group that includes another
                continue
            requirement = Requirement(text)
            assert len(requirement.specifier) == 2, f"{text} is not a range"
            assert LOCKED[requirement.name]["version"] in requirement.specifier

    def test_the_lock_comes_from_the_public_index(self):
        sources = {str(p["source"]) for p in LOCK["package"] if p["name"] != "cifar-track"}
        assert sources == {"{'registry': 'https://pypi.org/simple'}"}

    def test_an_environment_is_looked_through_for_all_of_them(self):
        names = {Requirement(text).name for text in PYPROJECT["project"]["dependencies"]}
        imported_as = {
            "scikit-learn": "sklearn",
            "keras-tuner": "keras_tuner",
            "opencv-python-headless": "cv2",
            "pillow": "PIL",
            "vl-convert-python": "vl_convert",
        }
        assert set(__main__.PACKAGES) == {imported_as.get(name, name) for name in names}

    def test_bytecode_is_compiled_at_install(self):
        assert PYPROJECT["tool"]["uv"]["compile-bytecode"] is True
        steps = (REPOSITORY / ".ci" / "run").read_text()
        assert "unset PYTHONDONTWRITEBYTECODE" in steps

    def test_mlflow_can_sync_from_the_lock_without_the_sources(self):
        assert PYPROJECT["tool"]["uv"]["package"] is False

    def test_the_version_is_one(self):
        assert PYPROJECT["project"]["version"] == cifar_track.__version__

    def test_pages_are_installed_beside_the_package(self):
        packages = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        assert packages == ["cifar_track", config.EXPERIMENTS_DIRECTORY.name]


SOURCES = sorted((REPOSITORY / "cifar_track").rglob("*.py"))


class TestSources:
    def test_no_file_is_too_long_to_hold_in_mind(self):
        lengths = {p.name: len(p.read_text(encoding="utf-8").splitlines()) for p in SOURCES}
        assert {name: length for name, length in lengths.items() if length > 340} == {}

    def test_modules_are_named_for_what_they_own(self):
        vague = re.compile(r"util|helper|manager|common|misc|base")
        assert [p for p in SOURCES if vague.search(p.stem)] == []

    def test_nothing_is_left_for_later_or_bound_to_one_machine(self):
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split("\0")
        here = f"{re.escape(str(REPOSITORY))}/|{re.escape(str(Path.home()))}/"
        found = re.compile(here + r"|\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b|breakpoint\(")
        texts = {".py", ".md", ".toml", ".yaml", ".yml", ".sh", ""}
        faults = [
            f"{name}: {match[0]}"
            for name in filter(None, listed)
            if (path := REPOSITORY / name).is_file() and path.suffix in texts
            for match in [found.search(path.read_text(encoding="utf-8", errors="ignore"))]
            if match
        ]
        assert faults == []
