"""What a person calls a run, which runs may stand side by side, and which do by default."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from cifar_track import preflight, registry, tracking
from cifar_track.config import CifarTrackError
from cifar_track.tracking import store, tag
from cifar_track.workflow import compare

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def add(sqlite_store):
    """Adds a run as `train` leaves it, each a second later than the one before; gives its id."""
    client = mlflow.MlflowClient(f"sqlite:///{sqlite_store}")
    tracking.open_store()
    started = 1_700_000_000_000

    def add_run(name, *, status="FINISHED", dataset="cifar100", accuracy=0.4, days=0, **tags):
        nonlocal started
        if days:
            started = int(1000 * (time.time() + 86400 * days))
        started += 1000
        all_tags = {
            tag.KIND: "iteration",
            tag.ITERATION: name,
            tag.DATASET: dataset,
            tag.PROTOCOL: "validation",
            tag.BUDGET: "full",
            tag.TRAINING_DIGEST: "t1",
            tag.VALIDATION_DIGEST: "v1",
            tag.TEST_DIGEST: "e1",
            tag.MODEL_URI: "models:/m-1",
            **{getattr(tag, key.upper()): value for key, value in tags.items()},
        }
        experiment_id = store.ensure_experiment_id(dataset)
        kept = {key: value for key, value in all_tags.items() if value is not None}
        run = client.create_run(experiment_id, start_time=started, tags=kept, run_name=name)
        if accuracy is not None:
            client.log_metric(run.info.run_id, "test_accuracy", accuracy)
            client.log_metric(run.info.run_id, "best_val_accuracy", accuracy)
        client.set_terminated(run.info.run_id, status, end_time=started + 500)
        return run.info.run_id

    return add_run


def found(reference, **settings):
    return tracking.resolve_run(reference, **settings).info.run_id


class TestResolving:
    def test_id_beginning_and_name_find_the_same_run(self, add):
        add("adam_bn")
        run_id = add("it's 100% mine")
        assert found(run_id) == found(run_id[:6]) == found("it's 100% mine") == run_id

    def test_an_ambiguous_name_lists_id_name_and_start_of_each(self, add):
        ids = [add("baseline"), add("baseline")]
        with pytest.raises(CifarTrackError) as caught:
            tracking.resolve_run("baseline")
        for run_id in ids:
            assert f"{run_id[:8]} (baseline, 2023-11-1" in str(caught.value)

    def test_an_unknown_name_is_answered_by_the_nearest(self, add):
        run_id = add("baseline")
        with pytest.raises(CifarTrackError, match=f"mean {run_id[:8]} .baseline"):
            tracking.resolve_run("basline")
        wrong = run_id[:-1] + ("0" if run_id[-1] != "0" else "1")
        with pytest.raises(CifarTrackError, match=f"mean {run_id[:8]}"):
            tracking.resolve_run(wrong)

    @pytest.mark.parametrize("odd", ["'\"", "a\\", "%", "x' OR '1", "", "\n"])
    def test_an_odd_name_is_nobodys(self, add, odd):
        add("baseline")
        with pytest.raises(CifarTrackError, match="no run is called"):
            tracking.resolve_run(odd)

    def test_a_name_may_hold_the_commas_that_part_others(self, add):
        ids = {name: add(name) for name in ("a", "lr 0.1, wide, seed 0", "b,c", "c")}
        a, wide, bc, c = ids.values()
        for text, expected in (
            ("lr 0.1, wide, seed 0", [wide]),
            (f"a,lr 0.1, wide, seed 0, {c[:8]}", [a, wide, c]),
            ("b,c", [bc]),
            ("b,c,c", [bc, c]),
            (f" {bc},a ,", [bc, a]),
            (",a,,c,", [a, c]),
            ("\ta,\nb,c\r\n,\u2003c ,\n", [a, bc, c]),
        ):
            runs = tracking.resolve_runs([text])
            assert [run.info.run_id for run in runs] == expected, text
        assert compare.choose_runs(["a, b,c"]).run_ids == (a, bc)
        with pytest.raises(CifarTrackError, match="no run is called 'b'"):
            tracking.resolve_runs(["a, b, d"])

    def test_a_filter_of_mlflows_names_finished_iterations(self, add):
        run_id, failed = add("a", accuracy=0.5), add("b", status="FAILED", accuracy=0.5)
        add("c", accuracy=0.3)
        assert [r.info.run_id for r in tracking.resolve_filter("metrics.test_accuracy > 0.4")] == [
            run_id
        ]
        with pytest.raises(CifarTrackError, match="can't read the filter 'nonsense'"):
            tracking.resolve_filter("nonsense")
        with pytest.raises(CifarTrackError, match="no finished run matches"):
            tracking.resolve_filter(f"attributes.run_id = '{failed}'")

    def test_what_a_filter_matches_beyond_the_newest_is_left_out_and_counted(
        self, add, monkeypatch, capsys
    ):
        named, *matching = [add(f"page{number}", accuracy=0.5) for number in range(6)]
        add("worse", accuracy=0.1)
        matched = tracking.resolve_filter("metrics.test_accuracy > 0.4")
        assert len(matched) == 6  # all of them, as an ensemble takes them
        monkeypatch.setattr(compare, "MOST_UNNAMED", 2)
        shown = compare.choose_runs([named], filter_string="metrics.test_accuracy > 0.4")
        assert shown.run_ids == (named, *matching[-2:])
        assert "left out: 3 runs that match the filter" in capsys.readouterr().out


class TestPreflight:
    """What is told without MLflow is what MLflow's side tells, and nothing where that is asked."""

    @staticmethod
    def told(check, *arguments, **settings):
        with pytest.raises(CifarTrackError) as caught:
            check(*arguments, **settings)
        return str(caught.value)

    def test_an_unknown_name_gets_the_same_line(self, add):
        add("baseline"), add("tune"), add("baseline", dataset="procedural")
        for unknown in (
            "basline",
            "deadbeef",
            "f" * 32,
            "'\"",
            "%",
            "_",
            "x' OR '1",
            "ü",
            "a,b",
            "abc",
            "0",
        ):
            for settings in ({}, {"dataset_name": "cifar100"}, {"dataset_name": "procedural"}):
                line = self.told(tracking.resolve_run, unknown, **settings)
                assert "the newest is" in line or "did you mean" in line
                assert self.told(preflight.require_run, unknown, **settings) == line
        preflight.require_run("\udcff")  # which is left to MLflow

    def test_of_several_names_the_first_unknown_gets_the_same_line(self, add):
        add("a"), add("lr 0.1, wide"), add("b,c")
        for text in ("d", "a,d", "lr 0.1, wide, d, a", "b,d,a", "a,,d,"):
            line = self.told(tracking.resolve_runs, [text])
            assert self.told(preflight.require_runs, [text]) == line
        preflight.require_runs(["a, lr 0.1, wide ,b,c", "a"])

    def test_what_is_somebodys_is_left_to_mlflow(self, add):
        run_id, deleted = add("it's 100% mine"), add("gone")
        mlflow.MlflowClient().delete_run(deleted)
        for known in (run_id, run_id[:6], "it's 100% mine", deleted, "gone"):
            assert tracking.resolve_run(known)
            preflight.require_run(known)
            preflight.require_run(known, dataset_name="cifar100")

    def test_of_a_deleted_experiment_mlflow_tells_how_it_comes_back(self, add):
        add("baseline")
        client = mlflow.MlflowClient()
        client.delete_experiment(client.get_experiment_by_name("cifar100").experiment_id)
        assert "mlflow experiments restore" in self.told(tracking.resolve_run, "nobody")
        preflight.require_run("nobody")

    def test_a_missing_model_gets_the_same_line(self, add):
        add("baseline")
        line = self.told(registry.champion_run_id, "mine")
        assert line == self.told(preflight.require_champion, "mine")
        assert line == self.told(registry.roll_back, "cifar100", "mine")
        mlflow.MlflowClient().create_registered_model("mine")
        assert line == self.told(registry.champion_run_id, "mine")
        preflight.require_champion("mine")

    def test_a_registry_of_its_own_is_the_one_that_is_asked(self, add, monkeypatch, tmp_path):
        add("baseline")
        mlflow.MlflowClient().create_registered_model("mine")
        preflight.require_champion("mine")
        monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path}/other.db")
        assert "no champion of mine" in self.told(preflight.require_champion, "mine")

    def test_a_store_that_can_not_be_read_is_left_to_mlflow(self, sqlite_store, add):
        add("baseline")
        assert self.told(preflight.require_run, "nobody")
        with closing(sqlite3.connect(sqlite_store)) as writer:
            writer.execute("BEGIN EXCLUSIVE")
            preflight.require_run("nobody")
        sqlite_store.write_bytes(b"no database at all")
        preflight.require_run("nobody")
        preflight.require_champion("nobody")

    @pytest.mark.parametrize(
        "address",
        [
            "http://127.0.0.1:9",
            "postgresql+psycopg2://nobody@127.0.0.1:9/x",
            "{}/no/x.db",
            f"{{}}/{'a' * 300}.db",  # longer than a file's name may be
        ],
    )
    def test_any_other_store_is_left_to_mlflow(self, monkeypatch, tmp_path, address):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address.format(f"sqlite:///{tmp_path}"))
        preflight.require_run("nobody")
        preflight.require_champion("nobody")

    @pytest.mark.parametrize(
        "verb",
        [
            ("register", "--run", "deadbeef"),
            ("register", "--rollback", "true"),
            ("register", "--name", "team/cifar"),
            ("serve",),
            ("serve", "--name", "nobodys"),
            ("export", "--run", "deadbeef"),
            ("export",),
            ("repeat", "--run", "deadbeef"),
            ("compare", "--runs", "deadbeef,b"),
            ("ensemble", "--runs", "deadbeef"),
            ("ensemble", "--search", "deadbeef"),
        ],
    )
    def test_a_verb_tells_it_before_mlflow_is_loaded(self, elsewhere, verb):
        code = (
            "import sys; from cifar_track import cli; status = cli.run(sys.argv[1:]); "
            "print(status, {'mlflow', 'tensorflow', 'numpy'} & set(sys.modules))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *verb],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "2 set()\n"
        assert len(done.stderr.splitlines()) == 1
        assert list(elsewhere.iterdir()) == []


def test_what_an_ablation_made_of_a_page_does_not_stand_for_it(add):
    page = add("fast")
    variant = add("fast", without="augmentation.crop")
    choice = tracking.newest_alike("cifar100", most=9)
    assert [run.run_id for run in choice.runs] == [page]
    [line] = choice.left_out
    assert variant[:8] in line
    assert "without a part of its page" in line
    assert tracking.resolve_run(variant).info.run_id == variant


class TestComparable:
    def refused(self, *run_ids, allow=()):
        runs = [tracking.resolve_run(run_id) for run_id in run_ids]
        with pytest.raises(CifarTrackError) as caught:
            tracking.require_comparable(runs, allow=allow)
        return str(caught.value)

    @pytest.mark.parametrize(
        ("word", "settings"),
        [
            ("different_tests", {"test_digest": "e2"}),
            ("different_tests", {"test_digest": None}),
            ("different_tests", {"dataset": "procedural"}),
            ("other_protocol", {"protocol": "test"}),
            ("unfinished", {"status": "KILLED"}),
            ("unfinished", {"status": "FAILED"}),
            ("trials", {"kind": "trial"}),
        ],
    )
    def test_what_differs_is_refused_unless_it_is_allowed(self, add, word, settings):
        first, other = add("first"), add("other", **settings)
        message = self.refused(first, other)
        assert f"allow={word}" in message
        assert other[:8] in message
        if word in ("different_tests", "other_protocol"):
            assert first[:8] in message
        runs = [tracking.resolve_run(run_id) for run_id in (first, other)]
        assert set(tracking.require_comparable(runs, allow=[word])) == {other}

    def test_what_is_said_of_a_run_is_so_whichever_comes_first(self, add):
        runs = [tracking.resolve_run(add("first", protocol="test")), tracking.resolve_run(add("b"))]
        for pair in (runs, runs[::-1]):
            [(run_id, remarks)] = tracking.require_comparable(
                pair, allow=["other_protocol"]
            ).items()
            assert run_id == pair[1].info.run_id
            assert remarks == ("chosen by another protocol (data.selection) than the first run",)

    def test_a_deleted_run_is_refused_unless_it_is_allowed(self, add):
        first, other = add("first"), add("other")
        mlflow.delete_run(other)
        assert "is deleted; leave it out, or show it with -P allow=deleted" in self.refused(
            first, other[:8]
        )

    @pytest.mark.parametrize("settings", [{"kind": "comparison"}, {"accuracy": None}])
    def test_what_has_nothing_to_compare_is_never_shown(self, add, settings):
        message = self.refused(add("a"), add("b", **settings), allow=tuple(tracking.ALLOWED))
        assert "nothing to compare" in message

    def test_an_unknown_word_is_told(self, add):
        assert "allow=everything is unknown" in self.refused(add("a"), allow=["everything"])

    def test_the_dataset_is_the_runs_own(self, add):
        run = tracking.resolve_run(add("a", dataset="procedural"))
        assert tracking.dataset_of([run]) == "procedural"
        silent = tracking.resolve_run(add("b", dataset="cifar100"))
        silent.data.tags.pop(tag.DATASET)
        with pytest.raises(CifarTrackError, match="does not say on which data set"):
            tracking.dataset_of([silent])

    def test_runs_of_two_experiments_are_found_by_the_link_to_both(self, add):
        first, other = add("first"), add("other", dataset="procedural")
        chosen = compare.choose_runs([first, other], allow=["different_tests"])
        assert chosen.dataset == "cifar100"
        assert chosen.experiment_ids == tuple(
            mlflow.get_run(run_id).info.experiment_id for run_id in (first, other)
        )


class TestDefaultChoice:
    def names(self, choice):
        return [run.run_id for run in choice.runs]

    def test_the_newest_of_each_iteration_that_is_like_the_newest_of_all(self, add):
        add("baseline")
        baseline, tuned = add("baseline"), add("tune")
        other_test = add("adam_bn", test_digest="e2")
        smaller = add("adam_bn", training_digest="t2")
        newest = add("lighter")
        unjudged = add("tune", accuracy=None)
        quick = [add("tune", budget="quick", test_digest="e9") for _ in range(4)]
        add("baseline", kind="trial")
        add("baseline", status="FAILED")
        choice = tracking.newest_alike("cifar100", most=12)
        assert self.names(choice) == [baseline, tuned, newest]
        said = "\n".join(choice.left_out)
        assert f"{unjudged[:8]} (tune, " in said
        assert "no evaluation" in said
        assert f"left out: {len(quick)} runs: quick budget" in said
        assert any(
            other_test[:8] in line and "other test images" in line for line in choice.left_out
        )
        assert any(
            smaller[:8] in line and "another training set" in line for line in choice.left_out
        )
        assert len(choice.left_out) == 4

    @pytest.mark.parametrize("left", [1, 5])
    def test_of_many_iterations_the_newest_are_chosen_and_the_rest_is_said(
        self, add, monkeypatch, capsys, left
    ):
        monkeypatch.setattr(compare, "MOST_UNNAMED", 3)
        for number in range(left):
            add(f"old{number}")
            add(f"old{number}")
        add("baseline")
        newest = [add("adam_bn"), add("tune"), add("baseline")]
        assert list(compare.choose_runs().run_ids) == newest
        listed = "old0" if left == 1 else "old4, old3, old2 and more"
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith(f"left out: {left} iterations ({listed}) whose newest runs are ")
        assert "of the 3 that are shown" in line

    def test_a_run_of_a_clock_that_is_ahead_is_not_the_newest(self, add):
        now, quick = add("baseline"), add("tune", budget="quick")
        ahead = [add("baseline", days=1, test_digest="e2"), add("adam_bn", days=1, budget="quick")]
        chosen = tracking.newest_alike("cifar100", most=12)
        assert self.names(chosen) == [now]
        for run_id in ahead:
            assert any(run_id[:8] in line and "in the future" in line for line in chosen.left_out)
        assert [run.run_id for run in tracking.find_runs("cifar100")][:2] == [quick, now]
        for run_id in (now, quick):
            mlflow.MlflowClient().delete_run(run_id)
        assert self.names(tracking.newest_alike("cifar100", most=12)) == [ahead[0]]

    def test_a_tag_with_a_quote_in_it_is_found_or_told(self, add):
        ids = [add("tune"), add("it's", test_digest='e"1'), add("tune", test_digest='e"1')]
        assert self.names(tracking.newest_alike("cifar100", most=12)) == ids[1:]
        add('"it\'s"', test_digest='e"1')
        with pytest.raises(CifarTrackError, match="filters can't look for"):
            tracking.newest_alike("cifar100", most=12)

    def test_quick_runs_are_compared_where_there_are_no_others(self, add):
        ids = [add("baseline", budget="quick"), add("tune", budget="quick")]
        assert self.names(tracking.newest_alike("cifar100", most=12)) == ids

    def test_runs_from_before_there_were_digests_are_like_each_other(self, add):
        old = {"test_digest": None, "training_digest": None, "budget": None}
        ids = [add("baseline", **old), add("tune", **old)]
        assert self.names(tracking.newest_alike("cifar100", most=12)) == ids

    def test_nothing_is_chosen_of_nothing(self, add):
        assert tracking.newest_alike("cifar100", most=12).runs == ()

    def test_the_best_is_chosen_among_those_on_the_same_validation_images(self, add):
        best = add("tune", accuracy=0.5)
        add("lighter", accuracy=0.7, validation_digest="v2")
        add("lighter", accuracy=0.9, budget="quick")
        add("lighter", accuracy=0.9, protocol="test")
        add("lighter", accuracy=0.9, model_uri=None)
        add("lighter", accuracy=float("nan"))
        second = add("baseline", accuracy=0.3)
        for champion in (second, "gone", None):
            choice = registry.choose_run(
                tracking.find_runs("cifar100"), dataset_name="cifar100", champion=champion
            )
            assert [run.run_id for run in choice.looked_at] == [best, second]
            assert sorted(reason for _, reason in choice.left_out) == [
                "had a quick budget",
                "has no best_val_accuracy",
                "logged no model",
                "was chosen by the test images (selection=test)",
                "was judged by other validation images",
            ]

    def test_a_champion_of_a_quick_budget_is_no_measure_for_full_runs(self, add):
        quick = add("tune", accuracy=0.9, budget="quick", validation_digest="v2")
        full = add("baseline", accuracy=0.3)
        runs = tracking.find_runs("cifar100")
        choice = registry.choose_run(runs, dataset_name="cifar100", champion=quick)
        assert [run.run_id for run in choice.looked_at] == [full]
