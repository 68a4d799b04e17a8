"""Schedules of the learning rate against values worked out by hand."""

import math

import keras
import numpy as np
import pytest

from cifar_track.config import CifarTrackError, Schedule
from cifar_track.schedules import build_schedule

# Of 100 steps, 20 rising, towards 0.5 and down to a tenth of it.
PEAK, STEPS, RISING, FINAL = 0.5, 100, 20, 0.1


def rates(steps, *, learning_rate=PEAK, of=STEPS, **settings):
    schedule = build_schedule(Schedule(**settings), learning_rate=learning_rate, steps=of)
    return [float(np.asarray(schedule(step))) for step in steps]


def test_what_does_not_change_is_a_number():
    assert build_schedule(Schedule(), learning_rate=0.1, steps=9) == 0.1


def test_a_warm_up_is_a_line_from_nothing():
    steps = (0, 5, 20, 99)
    assert rates(steps, warm_up=0.2) == pytest.approx([0, PEAK / 4, PEAK, PEAK])


def test_linear_with_a_warm_up_is_a_triangle():
    steps = (0, 10, 20, 60, 100)
    wanted = [0, PEAK / 2, PEAK, PEAK / 2, 0]
    assert rates(steps, shape="linear", warm_up=0.2) == pytest.approx(wanted)


def test_linear_falls_from_the_first_step():
    assert rates((0, 50, 100), shape="linear", final=FINAL) == pytest.approx(
        [PEAK, PEAK * (1 + FINAL) / 2, PEAK * FINAL]
    )


@pytest.mark.parametrize("rising", [0, RISING])
def test_cosine_is_half_a_wave(rising):
    for step in range(0, STEPS + 1, 10):
        way = (step - rising) / (STEPS - rising)
        fallen = FINAL + (1 - FINAL) * (1 + math.cos(math.pi * way)) / 2
        wanted = PEAK * (step / rising if step < rising else fallen)
        [given] = rates([step], shape="cosine", warm_up=rising / STEPS, final=FINAL)
        assert given == pytest.approx(wanted, abs=1e-6), step


def test_one_cycle_rises_and_falls_by_half_waves():
    steps = (0, 10, 20, 60, 100)
    # Halfway through half a wave is halfway between its ends.
    wanted = [PEAK / 25, PEAK * (1 + 1 / 25) / 2, PEAK, PEAK / 2, 0]
    assert rates(steps, shape="one_cycle", warm_up=0.2) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine", "one_cycle"])
@pytest.mark.parametrize("warm_up", [0.001, 0.999])
def test_a_fit_of_one_step_has_a_rate(shape, warm_up):
    schedule = build_schedule(Schedule(shape=shape, warm_up=warm_up), learning_rate=1, steps=1)
    value = schedule if isinstance(schedule, int) else float(np.asarray(schedule(0)))
    assert 0 < value <= 1


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine", "one_cycle"])
def test_an_optimizer_with_a_schedule_is_built_again_from_its_configuration(shape):
    schedule = build_schedule(
        Schedule(shape=shape, warm_up=0.2, final=FINAL), learning_rate=PEAK, steps=STEPS
    )
    optimizer = keras.optimizers.SGD(schedule)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    for step in (0, 7, 20, 55, 100):
        optimizer.iterations.assign(step)
        again.iterations.assign(step)
        assert float(again.learning_rate) == pytest.approx(float(optimizer.learning_rate))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"shape": "cosin"}, "did you mean 'cosine'"),
        ({"warm_up": 1.0}, "warm_up=1.0"),
        ({"final": 1.5}, "final=1.5"),
        ({"shape": "one_cycle"}, "expected schedule.warm_up above 0"),
    ],
)
def test_wrong_settings_are_told(setting, words):
    with pytest.raises(CifarTrackError, match=words):
        Schedule(**setting)
