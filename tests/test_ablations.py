"""What is switched off on a page, what that gives, and an ablation that goes on after a kill."""

import csv
import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import scipy.stats

from cifar_track import config, workflow
from cifar_track.comparison import Ablated, ablation_rows, ablation_table
from cifar_track.config import CifarTrackError, load_experiment, override, without

FAST = load_experiment("fast")


class TestWhatIsSwitchedOff:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("augmentation.crop", {"augmentation.crop": {"augmentation.crop": 0}}),
            (" crop ,views", {"augmentation.crop": {"augmentation.crop": 0},
                              "prediction.views": {"prediction.views": 1}}),
            ("augmentation", {"augmentation": {"augmentation.alternating_flip": False,
                                               "augmentation.crop": 0}}),
            ("momentum+nesterov", {"optimizer.momentum+optimizer.nesterov": {
                "optimizer.momentum": 0.0, "optimizer.nesterov": False}}),
            ("schedule", {"schedule": {"schedule.shape": "constant", "schedule.warm_up": 0.0}}),
            ("optimizer", {"optimizer": {"optimizer.name": "adam", "optimizer.learning_rate": 0.001,
                                         "optimizer.momentum": 0.0, "optimizer.nesterov": False,
                                         "optimizer.adam_factor": 1.0}}),
        ],
    )  # fmt: skip
    def test_a_word_is_a_setting_its_last_part_a_group_or_several(self, text, expected):
        assert without(FAST, text) == expected

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("cutot", "no addition 'cutot'; did you mean 'cutout'?"),
            ("augmentatoin", "did you mean 'augmentation'?"),
            ("cutout", "augmentation.cutout is neutral on the page 'fast' already"),
            ("mixup+cutmix", "is neutral on the page 'fast' already"),
            ("training.epochs", "training.epochs can't be switched off"),
            ("crop,augmentation.crop", "augmentation.crop is given twice"),
            ("momentum", "without optimizer.momentum: optimizer.nesterov=true looks ahead"),
            (" , ", "nothing to do without"),
        ],
    )
    def test_what_makes_no_sense_is_told(self, text, told):
        with pytest.raises(CifarTrackError) as raised:
            without(FAST, text)
        assert told in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_a_setting_of_the_architecture_has_the_default_of_its_build(self):
        page = override(
            load_experiment("resnet50"), {"model.weights": "none", "model.trainable": "head"}
        )
        assert without(page, "trainable") == {"model.trainable": {"model.trainable": "all"}}
        with pytest.raises(CifarTrackError, match="no addition 'preprocessing'"):
            without(page, "preprocessing")  # none is neutral

    @pytest.mark.parametrize("name", config.experiment_names())
    def test_what_is_switched_off_is_as_if_the_page_did_not_name_it(self, name):
        page = load_experiment(name)
        neutral = config.Augmentation()
        if page.augmentation != neutral:
            [values] = without(page, "augmentation").values()
            assert override(page, values).augmentation == neutral


def runs(rng, mean, seconds, count):
    return [
        {"best_val_accuracy": a + 0.01, "test_accuracy": a, "fit_cpu_seconds": s}
        for a, s in zip(rng.normal(mean, 0.01, count), rng.normal(seconds, 5, count), strict=True)
    ]


class TestTable:
    def test_differences_are_dunnetts_and_two_seeds_say_nothing(self):
        rng = np.random.default_rng(0)
        page = Ablated(without="(nothing)", runs=runs(rng, 0.7, 900, 6))
        one = Ablated(without="one", runs=runs(rng, 0.65, 800, 3))
        two = Ablated(without="two", runs=runs(rng, 0.69, 850, 2))
        gone = Ablated(without="gone", runs=[])
        rows = ablation_rows(page, [one, two, gone])
        assert [row["without"] for row in rows] == ["(nothing)", "one", "two", "gone"]
        for figure in ("best_val_accuracy", "test_accuracy", "fit_cpu_seconds"):
            # One row alone is Student's test, whose spread is that of both sides as well.
            test = scipy.stats.ttest_ind(page.values(figure), one.values(figure))
            low, high = test.confidence_interval()
            width = high - low
            assert rows[1][f"{figure}_difference"] == pytest.approx(
                np.mean(page.values(figure)) - np.mean(one.values(figure))
            )
            assert rows[1][f"{figure}_low"] == pytest.approx(low, abs=0.005 * width)
            assert rows[1][f"{figure}_high"] == pytest.approx(high, abs=0.005 * width)
            if figure == "test_accuracy":
                assert rows[1]["test_p_value"] == pytest.approx(test.pvalue, abs=1e-4)
        assert rows[2]["remark"] == "too few seeds to say"
        assert "test_accuracy_low" not in rows[2]
        assert rows[2]["test_accuracy_difference"] == pytest.approx(
            np.mean(page.values("test_accuracy")) - np.mean(two.values("test_accuracy"))
        )
        lines = ablation_table(rows).splitlines()
        assert len(lines) == 2 + 4
        assert len({line.count("|") for line in lines}) == 1
        assert lines[5].startswith("| gone | 0 | - |")

    def test_seeds_that_give_the_same_are_not_called_too_few(self):
        same = [{"best_val_accuracy": 0.5, "test_accuracy": 0.5, "fit_cpu_seconds": 9.0}] * 5
        page, other = (Ablated(without=name, runs=same) for name in ("(nothing)", "x"))
        assert ablation_rows(page, [other])[1]["remark"] == "no seed differs"


TINY = {
    "data.dataset": "procedural",
    "data.train_per_class": 1,
    "data.validation_per_class": 1,
    "data.test_per_class": 1,
    "model.filters_1": 4,
    "model.filters_2": 4,
    "model.dense_units": 4,
    "training.epochs": 1,
    "training.precision": "float32",
}


@pytest.mark.slow
def test_an_ablation_that_was_killed_goes_on_and_repeats_nothing(sqlite_store, monkeypatch, capsys):
    from cifar_track.workflow import ablate as module

    begun = []
    run_experiment = module.run_experiment

    def stops_at_the_third(name, settings, **named):
        begun.append(named["run_name"])
        if len(begun) == 3:
            raise KeyboardInterrupt
        return run_experiment(name, settings, **named)

    monkeypatch.setattr(module, "run_experiment", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        workflow.ablate_page("adam_bn", TINY, leave_out="zoom", seeds=2)
    run_id = workflow.ablate_page("adam_bn", TINY, leave_out="zoom", seeds=2)
    assert begun == [
        "adam_bn, seed 0",
        "adam_bn, seed 1",
        "adam_bn without augmentation.zoom, seed 0",
        "adam_bn without augmentation.zoom, seed 0",
        "adam_bn without augmentation.zoom, seed 1",
    ]
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["cifar_track.kind"] == "ablation"
    children = client.search_runs(
        [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'"
    )
    assert [child.info.status for child in children] == ["FINISHED"] * 4
    zooms = sorted((c.data.params["augmentation.zoom"], c.data.params["training.seed"])
                   for c in children)  # fmt: skip
    assert zooms == [("0.0", "0"), ("0.0", "1"), ("0.2", "0"), ("0.2", "1")]
    with Path(client.download_artifacts(run_id, "ablation.csv")).open(newline="") as file:
        page, zoom = csv.DictReader(file)
    accuracies = {
        value: np.mean([c.data.metrics["test_accuracy"] for c in children
                        if c.data.params["augmentation.zoom"] == value])
        for value in ("0.0", "0.2")
    }  # fmt: skip
    assert float(page["test_accuracy"]) == pytest.approx(accuracies["0.2"])
    assert float(zoom["test_accuracy_difference"]) == pytest.approx(
        accuracies["0.2"] - accuracies["0.0"]
    )
    assert zoom["remark"] == "too few seeds to say"
    table = json.loads(Path(client.download_artifacts(run_id, "ablation.json")).read_text())
    assert len(table["data"]) == 2
    assert "| augmentation.zoom | 2 |" in capsys.readouterr().out
    without_zoom = [c for c in children if c.data.params["augmentation.zoom"] == "0.0"]
    assert {c.data.tags["cifar_track.without"] for c in without_zoom} == {"augmentation.zoom"}

    # The same with more seeds adds to it.
    assert workflow.ablate_page("adam_bn", TINY, leave_out="zoom", seeds=3) == run_id
    assert begun[5:] == ["adam_bn, seed 2", "adam_bn without augmentation.zoom, seed 2"]
    assert "| augmentation.zoom | 3 |" in capsys.readouterr().out
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_wrong_setting_of_the_network_is_told_before_anything_is_logged(sqlite_store):
    with pytest.raises(CifarTrackError, match="first_side=16 shows smaller images"):
        workflow.ablate_page(
            "adam_bn", {**TINY, "training.first_side": 16}, leave_out="zoom", seeds=1
        )
    with pytest.raises(CifarTrackError, match="first_side=16 shows smaller images"):
        workflow.run_seeds("adam_bn", {**TINY, "training.first_side": 16}, seeds=2)
    client = mlflow.MlflowClient(f"sqlite:///{sqlite_store}")
    assert client.search_runs([e.experiment_id for e in client.search_experiments()]) == []


def test_a_page_that_searches_is_refused(sqlite_store):
    with pytest.raises(CifarTrackError, match="'tune' searches"):
        workflow.ablate_page("tune", {}, leave_out="zoom")
