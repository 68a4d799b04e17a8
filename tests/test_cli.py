"""The command line: what each verb asks of the workflow, and how it tells a mistake."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

import cifar_track
from cifar_track import __main__, cli, config

VERBS = ("main", "train", "ablate", "compare", "runs", "ensemble", "register", "serve", "export",
         "repeat", "doctor", "move-runs")  # fmt: skip
WORKFLOW = (
    "run_study",
    "run_experiment",
    "run_seeds",
    "compare_runs",
    "register_best",
    "roll_back",
    "blend_runs",
    "serve_champion",
    "export_model",
    "repeat_run",
    "show_runs",
    "mend_runs",
    "move_runs",
)
HEAVY = {"keras", "keras_tuner", "matplotlib", "mlflow", "numpy", "pandas", "sklearn", "tensorflow"}
REPOSITORY = Path(__file__).resolve().parent.parent


class Workflow(types.ModuleType):
    """Stands in for `cifar_track.workflow` and writes down what it is asked."""

    def __init__(self):
        super().__init__("cifar_track.workflow")
        self.asked = []
        for name in WORKFLOW:
            setattr(self, name, self._note(name))

    def _note(self, name):
        return lambda *given, **named: self.asked.append((name, given, named))


@pytest.fixture
def workflow(monkeypatch, every_name_is_known):
    stand_in = Workflow()
    monkeypatch.setitem(sys.modules, "cifar_track.workflow", stand_in)
    monkeypatch.setattr(cifar_track, "workflow", stand_in, raising=False)
    return stand_in


def refusal(capsys, workflow, *arguments):
    assert cli.run(arguments) == 2
    told = capsys.readouterr()
    assert workflow.asked == []
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    return told.err.removeprefix("error: ").rstrip("\n")


class TestVerbs:
    def test_main(self, workflow):
        assert cli.run(["main"]) == 0
        assert cli.run(["main", "--dataset", "cifar100", "--data_dir", "d", "--seed", "7"]) == 0
        assert workflow.asked == [
            ("run_study", (), {"dataset": "auto", "data_dir": None, "seed": 0}),
            ("run_study", (), {"dataset": "cifar100", "data_dir": Path("d"), "seed": 7}),
        ]

    def test_train(self, workflow):
        assert cli.run(["train", "--experiment", "baseline"]) == 0
        nothing_else = dict.fromkeys(("data_dir", "workers", "cluster", "run_name")) | {
            "resume": "auto"
        }
        assert workflow.asked == [("run_experiment", ("baseline", {}), nothing_else)]

    def test_an_entry_points_name_is_a_verb_too(self, workflow):
        assert [cli.run([name, "a.db", "b.db"]) for name in ("move_runs", "move-runs")] == [0, 0]
        assert workflow.asked == 2 * [("move_runs", ("a.db", "b.db"), {})]

    def test_train_with_seeds(self, workflow):
        assert cli.run(["train", "--experiment", "baseline", "--seeds", "5", "--epochs", "2"]) == 0
        [(verb, given, named)] = workflow.asked
        assert (verb, given) == ("run_seeds", ("baseline", {"training.epochs": "2"}))
        assert (named["seeds"], named["resume"]) == (5, "auto")
        others = "--seeds 2 --workers 2 --resume never"
        assert cli.run(["train", "--experiment", "baseline", *others.split()]) == 0
        assert workflow.asked[1][2] | {"workers": 2, "resume": "never"} == workflow.asked[1][2]
        assert cli.run(["train", "--experiment", "baseline", "--seeds", "1"]) == 2

    def test_train_with_everything(self, workflow):
        arguments = (
            "train --experiment tune --epochs 2 --batch_size 32 --seed 0 --deterministic true "
            "--precision float32 --dataset procedural --selection test --learning_rate 1e-2 "
            "--trials 3 --tuner grid --objective val_loss --data_dir d --workers 2 --run_name n "
            "--stop median --resume never --cluster 10.0.0.1:6379 --cpus 4 --gpus 1"
        )
        assert (
            cli.run([*arguments.split(), "--set", "augmentation.rotation=9 augmentation.zoom=0"])
            == 0
        )
        [(_, (name, overrides), others)] = workflow.asked
        assert name == "tune"
        assert overrides == {
            "augmentation.rotation": "9",
            "augmentation.zoom": "0",
            "training.epochs": "2",
            "training.batch_size": "32",
            "training.seed": "0",
            "training.deterministic": "true",
            "training.precision": "float32",
            "data.dataset": "procedural",
            "data.selection": "test",
            "optimizer.learning_rate": "1e-2",
            "search.trials": "3",
            "search.tuner": "grid",
            "search.objective": "val_loss",
            "search.stop": "median",
        }
        assert others == {
            "data_dir": Path("d"), "workers": 2, "run_name": "n", "resume": "never",
            "cluster": config.Cluster(address="10.0.0.1:6379", cpus=4, gpus=1),
        }  # fmt: skip

    def test_train_of_a_pretrained_network(self, workflow):
        arguments = "train --experiment resnet50 --weights none --preprocessing study"
        assert cli.run([*arguments.split(), "--image_size", "64"]) == 0
        assert workflow.asked[0][1][1] == {
            "model.weights": "none",
            "model.preprocessing": "study",
            "model.image_size": "64",
        }

    def test_compare(self, workflow):
        arguments = ["--runs", "a1, b2", "--output", "there", "--allow", "trials, deleted"]
        assert cli.run(["compare", *arguments]) == 0
        defaults = {"dataset": None, "filter_string": "", "allow": ("trials", "deleted")}
        expected = {**defaults, "output": Path("there")}
        assert workflow.asked == [("compare_runs", (("a1, b2",),), expected)]

    def test_compare_the_newest(self, workflow):
        assert cli.run(["compare", "--dataset", "procedural"]) == 0
        expected = {"dataset": "procedural", "filter_string": "", "allow": (), "output": None}
        assert workflow.asked == [("compare_runs", ((),), expected)]

    def test_register(self, workflow):
        assert cli.run(["register"]) == 0
        others = "--name mine --data_dir d --metric best_val_loss --gate not_worse --margin 0.02"
        limits = "--never_predicted 3 --max_megabytes 9 --max_milliseconds 7"
        fresh = "--fresh_environment true"
        assert cli.run(["register", "--run", "a1", *f"{others} {limits} {fresh}".split()]) == 0
        plain = {"dataset": "cifar100", "name": None, "data_dir": None}
        strict = config.Demands(
            margin=0.02,
            never_predicted=3,
            max_megabytes=9.0,
            max_milliseconds=7.0,
            fresh_environment=True,
        )
        named = {"dataset": "cifar100", "name": "mine", "data_dir": Path("d")}
        assert workflow.asked == [
            (
                "register_best",
                (None,),
                {**plain, "metric": "best_val_accuracy", "demands": config.Demands()},
            ),
            ("register_best", ("a1",), {**named, "metric": "best_val_loss", "demands": strict}),
        ]

    def test_register_rolls_back(self, workflow):
        assert cli.run(["register", "--rollback", "true", "--name", "mine"]) == 0
        assert workflow.asked == [("roll_back", (), {"dataset": "cifar100", "name": "mine"})]

    def test_ensemble(self, workflow):
        assert cli.run(["ensemble"]) == 0
        assert cli.run(["ensemble", "--runs", "a1, my run", "--seed", "3", "--data_dir", "d"]) == 0
        assert cli.run(["ensemble", "--filter", "params.seed = '1'", "--search", "b2"]) == 0
        plain = {
            "dataset": None,
            "data_dir": None,
            "seed": 0,
            "filter_string": "",
            "search": None,
        }
        named = {**plain, "data_dir": Path("d"), "seed": 3}
        assert workflow.asked == [
            ("blend_runs", ((),), plain),
            ("blend_runs", (("a1, my run",),), named),
            ("blend_runs", ((),), {**plain, "filter_string": "params.seed = '1'", "search": "b2"}),
        ]

    def test_serve(self, workflow):
        assert cli.run(["serve", "--name", "mine", "--port", "80", "--max_images", "9"]) == 0
        assert workflow.asked == [
            (
                "serve_champion",
                (),
                {
                    "dataset": "cifar100",
                    "name": "mine",
                    "host": "127.0.0.1",
                    "port": 80,
                    "max_images": 9,
                    "max_megabytes": 64.0,
                    "follow": 30.0,
                },
            )
        ]

    def test_export(self, workflow):
        assert cli.run(["export"]) == 0
        assert cli.run(["export", "--run", "a1", "--formats", "onnx,keras", "--output", "o"]) == 0
        plain = {"dataset": None, "name": None, "output": None, "data_dir": None}
        named = {**plain, "output": Path("o")}
        assert workflow.asked == [
            ("export_model", (None,), {**plain, "formats": ()}),
            ("export_model", ("a1",), {**named, "formats": ("onnx", "keras")}),
        ]

    def test_repeat(self, workflow):
        assert cli.run(["repeat", "--run", "a1", "--data_dir", "d"]) == 0
        assert cli.run(["repeat", "--run", "a1", "--cluster", "h:1", "--cpus", "2"]) == 0
        there = config.Cluster(address="h:1", cpus=2)
        assert workflow.asked == [
            ("repeat_run", ("a1",), {"data_dir": Path("d"), "cluster": None}),
            ("repeat_run", ("a1",), {"data_dir": None, "cluster": there}),
        ]

    def test_a_model_that_is_refused_has_a_status_of_its_own(self, capsys, workflow):
        def refuse(*_, **__):
            refused = config.CifarTrackError("version 2 is the challenger")
            refused.exit_status = 3
            raise refused

        workflow.register_best = refuse
        assert cli.run(["register"]) == 3
        assert capsys.readouterr().err == "error: version 2 is the challenger\n"

    @pytest.mark.parametrize(
        ("arguments", "dry_run", "older_than"),
        [
            ("", False, None),
            ("--dry_run true", True, None),
            ("--dry_run", True, None),
            ("--dry-run false --older-than 30", False, 30.0),
        ],
    )
    def test_doctor(self, workflow, arguments, dry_run, older_than):
        assert cli.run(["doctor", *arguments.split()]) == 0
        expected = {"dry_run": dry_run, "older_than": older_than}
        assert workflow.asked == [("mend_runs", (), expected)]

    def test_a_dash_for_an_underscore(self, workflow):
        assert (
            cli.run(["train", "--experiment", "tune", "--batch-size", "8", "--run-name", "n"]) == 0
        )
        assert workflow.asked[0][1][1] == {"training.batch_size": "8"}

    def test_a_tilde_is_the_home_folder(self, workflow, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cli.run(["main", "--data_dir=~/data"]) == 0
        assert cli.run(["compare", "--output=~/comparison"]) == 0
        (_, _, main), (_, _, compare) = workflow.asked
        assert main["data_dir"] == tmp_path / "data"
        assert compare["output"] == tmp_path / "comparison"


class TestShortcuts:
    def test_each_is_a_setting_of_a_page(self):
        known = {
            setting
            for name in config.experiment_names()
            for setting in config.flatten(config.load_experiment(name))
        }
        assert {setting for setting, _ in cli.SHORTCUTS.values()} <= known

    def test_each_is_named_as_its_setting(self):
        assert all(
            name == setting.rpartition(".")[2] for name, (setting, _) in cli.SHORTCUTS.items()
        )


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ("trian", "no verb 'trian'; did you mean 'train'?"),
            ("train", "Missing option '--experiment'."),
            ("train --experiment tunee", "no experiment 'tunee'; did you mean 'tune'?"),
            ("train --experiment tune --epoch 3", "no option '--epoch'; did you mean '--epochs'?"),
            ("compare --run a1", "no option '--run'; did you mean '--runs'?"),
            (
                "train --experiment tune --epochs banana",
                "training.epochs=banana is not a whole number, such as 20",
            ),
            (
                "train --experiment tune --batch_size 0",
                "training.batch_size=0 is out of range; expected at least 1",
            ),
            (
                "train --experiment tune --deterministic maybe",
                "training.deterministic=maybe is not true or false",
            ),
            (
                "train --experiment baseline --trials 3",
                "--trials is not for 'baseline': it has no search.trials",
            ),
            (
                "train --experiment baseline --workers 2",
                "--workers is for the trials of a search, or for --seeds; 'baseline' is one fit",
            ),
            (
                "train --experiment tune --tuner hyperband --trials 3",
                "--trials is not for hyperband, whose brackets make their own number; leave it out",
            ),
            ("export --run=", "--run is empty; give a value, or leave the option out"),
            ("ensemble --search=", "--search is empty; give a value, or leave the option out"),
            ("ensemble --runs=,", "--runs is empty; give a value, or leave the option out"),
            ("compare --filter=", "--filter is empty; give a value, or leave the option out"),
            ("compare --output=", "--output is empty; give a value, or leave the option out"),
            ("register --rollback=", "--rollback is empty; give a value, or leave the option out"),
            ("doctor --dry-run=", "--dry_run is empty; give a value, or leave the option out"),
            ("main --data_dir=", "--data_dir is empty; give a value, or leave the option out"),
            (
                "train --experiment baseline --experiment tune",
                "--experiment is given twice; give it once",
            ),
            (
                "ablate --experiment fast --without crop --seeds 3 --seeds 4 --seeds=5",
                "--seeds is given 3 times; give it once",
            ),
            (
                "train --experiment tune --set model.dense_units=64",
                (
                    "model.dense_units is drawn for each trial of 'tune'; leave it out, or change "
                    "the page's space"
                ),
            ),
            (
                "train --experiment tune --seeds 3",
                "'tune' searches, and each seed would be a search; expected a page without one",
            ),
            (
                "ablate --experiment tune --without optimizer",
                "'tune' searches, and each run would be a search; expected a page without one",
            ),
            (
                "main --epochs 3",
                "no option '--epochs'; expected one of --dataset, --data_dir, --seed, --quiet",
            ),
            (
                "train --experiment fast --epochs 99999999",
                "training.epochs=99999999 is out of range; expected at least 1 and at most 1000000",
            ),
            ("serve --follow nan", "Invalid value for '--follow': 'nan' is no number."),
            (
                "register --max_megabytes nan",
                "Invalid value for '--max_megabytes': 'nan' is no number.",
            ),
            (
                "compare --allow trials",
                "--allow is for runs that --runs or --filter names; without these, all are alike",
            ),
            (
                "register --rollback true --gate better",
                "--rollback looks at nothing of a model; leave --gate out",
            ),
            (
                "register --gate better --margin 0.01",
                "--margin is for --gate not_worse; leave it out",
            ),
            (
                "train --experiment tune --epochs 2 --set training.epochs=3",
                "training.epochs is given twice: by --epochs and in --set",
            ),
            (
                "train --experiment tune --set epochs",
                "override 'epochs' is not of the form name=value",
            ),
            (
                "train --experiment tune --set epochs=3",
                "no setting 'epochs'; did you mean 'training.epochs'?",
            ),
        ],
    )
    def test_each_is_one_line(self, capsys, workflow, arguments, told):
        assert refusal(capsys, workflow, *arguments.split()) == told

    @pytest.mark.parametrize(
        "arguments",
        [
            "main --dataset mnist",
            "main --seed -1",
            "train --experiment fast --seeds 1000000000",
            "ablate --experiment fast --without crop --seeds 1000000000",
            "main --seed 2147483648",
            "train --experiment tune --workers 0",
            "compare --dataset auto",
            "compare extra",
            "register --gate perhaps",
            "register --margin 2",
            "register --name team/cifar",
            "register --rollback true --run a1",
            "register --run=",
            "register --metric test_accuracy",
            "export --run a1 --name b",
            "export --name team/cifar",
            "serve --port 0",
            "serve --follow 0",
            "serve --name team/cifar",
            "ensemble --seed -1",
            "repeat",
            "doctor --dry_run perhaps",
            "doctor --older_than -1",
            "--verbose",
        ],
    )
    def test_values_out_of_range(self, capsys, workflow, arguments):
        refusal(capsys, workflow, *arguments.split())

    def test_an_option_like_no_other_names_all(self, capsys, workflow):
        told = refusal(capsys, workflow, "compare", "--zzz")
        names = "--runs, --filter, --allow, --dataset, --output, --quiet"
        assert told == f"no option '--zzz'; expected one of {names}"

    def test_an_error_of_the_workflow_is_one_line(self, capsys, workflow):
        def refuse(**_):
            raise config.CifarTrackError("the images\nare not here")

        workflow.run_study = refuse
        assert refusal(capsys, workflow, "main") == "the images are not here"

    def test_a_bug_keeps_its_traceback(self, workflow):
        def break_down(**_):
            raise ZeroDivisionError

        workflow.run_study = break_down
        with pytest.raises(ZeroDivisionError):
            cli.run(["main"])


class TestHelp:
    @pytest.mark.parametrize("arguments", [[], ["--help"], *([verb, "--help"] for verb in VERBS)])
    def test_every_verb_has_it(self, capsys, workflow, arguments):
        assert cli.run(arguments) == 0
        assert "Usage: python -m cifar_track" in capsys.readouterr().out
        assert workflow.asked == []

    def test_the_verbs_are_these(self):
        assert tuple(cli.verbs.commands) == VERBS

    @pytest.mark.parametrize("verb", VERBS)
    def test_it_has_examples_and_a_word_on_every_option(self, verb):
        command = cli.verbs.commands[verb]
        assert "Examples:" in command.help
        assert all(option.help for option in command.params)

    def test_the_version(self, capsys):
        assert cli.run(["--version"]) == 0
        assert cifar_track.__version__ in capsys.readouterr().out

    def test_it_imports_nothing_heavy(self):
        script = (
            "import sys; from cifar_track import __main__, cli\n"
            f"for verb in {VERBS}: cli.run([verb, '--help'])\n"
            f"print(*sorted(set(sys.modules) & {HEAVY}), file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr.strip() == ""

    def test_it_answers_at_once(self):
        # Processor time: what the wall says when nothing else runs, on a machine where much does.
        spent = []
        for _ in range(3):
            before = os.times()
            module("train", "--help")
            after = os.times()
            spent.append(
                after.children_user
                + after.children_system
                - before.children_user
                - before.children_system
            )
        assert min(spent) < 0.3


def module(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "cifar_track", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


class TestProcess:
    def test_a_mistake_exits_2(self):
        done = module("train", "--experiment", "tunee")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "error: no experiment 'tunee'; did you mean 'tune'?\n"

    def test_a_half_made_environment_is_named(self, monkeypatch, capsys):
        monkeypatch.setattr(__main__, "PACKAGES", ("click", "not_there_at_all", "nor_this"))
        monkeypatch.setenv("VIRTUAL_ENV", "/envs/half")
        assert __main__.main() == 2
        told = capsys.readouterr().err
        assert told.startswith(
            "error: the environment /envs/half lacks not_there_at_all, nor_this;"
        )
        assert told.count("\n") == 1

    @pytest.mark.parametrize(
        ("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
    )
    def test_signals_leave_through_the_verb(self, sent, status, tmp_path):
        script = (
            "import sys, time, types, cifar_track\n"
            "def wait(**_):\n"
            "    try:\n"
            "        print('here', flush=True); time.sleep(60)\n"
            "    finally:\n"
            "        print('closed', flush=True)\n"
            "cifar_track.workflow = types.SimpleNamespace(run_study=wait)\n"
            "sys.modules['cifar_track.workflow'] = cifar_track.workflow\n"
            "sys.argv = ['cifar_track', 'main']\n"
            "from cifar_track.__main__ import main\n"
            "sys.exit(main())\n"
        )
        running = subprocess.Popen(
            [sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        assert running.stdout.readline() == "here\n"
        running.send_signal(sent)
        rest, _ = running.communicate(timeout=30)
        assert (rest, running.returncode) == ("closed\n", status)
