# SPDX-License-Identifier: Apache-2.0
"""The event camera's pixels: each departure from the ideal by its own figure, and none when its number is zero."""

import math

import numpy as np
import pytest

from neuro_ros.gestures import ParameterRangeError
from neuro_ros.gestures.body import Body
from neuro_ros.gestures.dvs import KEY_P_BITS, KEY_X_BITS, KEY_Y_BITS, DvsPixels, PixelModel
from neuro_ros.gestures.render import Background, draw_background
from neuro_ros.gestures.subject import Action, Subject

STEP_US = 2500
SIDE = 64
IDEAL = {"threshold": 0.25, "threshold_spread": 0.0, "noise_hz": 0.0}
NOTHING = np.empty((0, 12))


def bar(x, luminance=1.0):
    """Return an upright limb across the whole image, ten pixels wide."""
    return np.array([[x, -20.0, x, SIDE + 20.0, 5.0, 5.0, luminance, 0.0, 1.0, 0.0, 0.0, 0.0]])


def sensor(background=0.4, limbs=NOTHING, moving=False, seed=1, **model):
    pixels = DvsPixels(SIDE, SIDE, PixelModel(**{**IDEAL, **model}), STEP_US, seed)
    pixels.look(Background(np.full((SIDE, SIDE), background)), limbs, moving)
    return pixels


def watch(pixels, scenes):
    """Step through limb tables; return the events as columns t [us], x, y, p."""
    rows = []
    for k, limbs in enumerate(scenes):
        keys = pixels.step(limbs).copy()
        p = keys & 1
        x = (keys >> KEY_P_BITS) & ((1 << KEY_X_BITS) - 1)
        y = (keys >> (KEY_P_BITS + KEY_X_BITS)) & ((1 << KEY_Y_BITS) - 1)
        rows.append(np.column_stack([(keys >> (KEY_P_BITS + KEY_X_BITS + KEY_Y_BITS)) + k * STEP_US, x, y, p]))
    return np.concatenate(rows)


def passing(steps=80, speed=0.6):
    return [bar(2.0 + speed * k) for k in range(1, steps + 1)]


def test_an_ideal_pixel_answers_a_step_of_contrast_with_its_number_of_thresholds():
    pixels = sensor(background=0.4)
    events = watch(pixels, [bar(20.0, luminance=1.0), bar(20.0), NOTHING])
    expected = math.floor(math.log(1.0 / 0.4) / 0.25)
    inside = events[(events[:, 1] == 20) & (events[:, 2] == 30)]
    assert inside[:, 3].tolist() == [1] * expected + [0] * expected
    times = inside[:expected, 0]
    # The logarithm is linear within the step, so the events are evenly spaced.
    assert np.abs(np.diff(times) - 0.25 / math.log(2.5) * STEP_US).max() <= 1
    assert events[(events[:, 1] == 40)].size == 0


def test_looking_everywhere_gives_what_looking_at_what_moves_gives():
    subject = Subject(seed=3)
    body = Body(subject, 0.5, (31.5, 25.0))
    motion = body.motion(Action(label=3, phase=0.2))
    tables = [body.pose(motion, 0.0025 * k, motion, 0.0, 1.0, 0.0) for k in range(60)]
    found = []
    for moving in (False, True):
        pixels = DvsPixels(SIDE, SIDE, PixelModel(noise_hz=3.0), STEP_US, 4)
        pixels.look(draw_background(SIDE, SIDE, 0.4, body.trunk(), 3), tables[0], moving)
        found.append(watch(pixels, tables[1:]))
    assert len(found[0]) > 1000
    assert np.array_equal(*found)


def test_a_pixel_is_blind_for_the_refractory_time():
    free, blind = watch(sensor(), passing()), watch(sensor(refractory_us=4000.0), passing())
    for events, least_us in ((free, 0), (blind, 3999)):
        order = np.lexsort((events[:, 0], events[:, 1], events[:, 2]))
        same = (np.diff(events[order][:, 1]) == 0) & (np.diff(events[order][:, 2]) == 0)
        gaps = np.diff(events[order][:, 0])[same]
        assert gaps.min() >= least_us
    assert free[:, 0].size > blind[:, 0].size > 1000


def test_leakage_makes_on_events_at_its_rate_from_the_start():
    events = watch(sensor(leak_hz=4.0), [NOTHING] * 400)
    assert set(events[:, 3]) == {1}
    expected = 4.0 * SIDE * SIDE
    assert abs(len(events) - expected) < 0.02 * expected
    halves = [np.count_nonzero((events[:, 0] < 500_000) == early) for early in (True, False)]
    assert abs(halves[0] - halves[1]) < 0.05 * expected  # no pause, no burst


def test_a_slow_pixel_is_late_and_a_dark_one_is_slower():
    def median_us(background, luminance, **model):
        events = watch(sensor(background=background, **model), [bar(20.0, luminance)] * 60)
        return np.median(events[(events[:, 1] == 20) & (events[:, 3] == 1)][:, 0])

    ideal = median_us(0.2, 0.5)
    slow = median_us(0.2, 0.5, bandwidth_hz=20.0)
    dark = median_us(0.02, 0.05, bandwidth_hz=20.0)
    assert ideal < STEP_US < slow < dark
    # First order: what is left of the contrast halves every ln 2 / (2 pi f); f is 20 Hz at a luminance of 0.4.
    level = watch(sensor(background=0.2, bandwidth_hz=20.0), [bar(20.0, 0.5)] * 60)
    first = level[(level[:, 1] == 20) & (level[:, 2] == 30)][0, 0]
    corner = 2.0 * math.pi * 20.0 * 0.5 / 0.4
    expected_us = -math.log(1.0 - 0.25 / math.log(2.5)) / corner * 1e6
    assert abs(first - expected_us) < STEP_US


def test_shot_noise_has_its_rate_at_mean_luminance_and_more_in_the_dark():
    counts = []
    for background in (0.4, 0.1):
        events = watch(sensor(background=background, noise_hz=5.0, noise_in_the_dark=True), [NOTHING] * 200)
        counts.append(len(events))
        assert abs(events[:, 3].mean() - 0.5) < 0.03
    expected = 5.0 * SIDE * SIDE * 0.5
    assert abs(counts[0] - expected) < 5.0 * math.sqrt(expected)
    assert counts[1] / counts[0] == pytest.approx(2.0 * 0.4 / 0.5, rel=0.05)


def test_hot_pixels_are_few_and_fire_on_alone():
    events = watch(sensor(hot_share=0.002), [NOTHING] * 800)
    places = np.unique(events[:, 1:3], axis=0)
    assert 0 < len(places) <= round(0.002 * SIDE * SIDE)
    assert set(events[:, 3]) == {1}
    rates = [np.count_nonzero((events[:, 1:3] == place).all(axis=1)) / 2.0 for place in places]
    assert 3.0 < np.median(rates) < 70.0


def test_jitter_makes_events_late_but_never_unordered_and_loses_none():
    exact, late = watch(sensor(), passing()), watch(sensor(jitter_us=900.0), [*passing(), passing()[-1]])
    assert (np.diff(late[:, 0]) >= 0).all()
    assert len(late) == len(exact)

    def by_pixel(events):
        return events[np.lexsort((events[:, 0], events[:, 3], events[:, 1], events[:, 2]))]

    delay = by_pixel(late)[:, 0] - by_pixel(exact)[:, 0]
    assert delay.min() >= 0
    assert 600 < delay.max() < 900
    assert abs(delay.mean() - 450.0) < 50.0


def test_thresholds_differ_between_pixels_by_their_spread():
    pixels = sensor(threshold_spread=0.2, seed=3)
    events = watch(pixels, [bar(30.0, 0.4 * math.exp(0.25))])
    # The contrast is the mean threshold: about half of the pixels of the bar answer.
    inside = events[(events[:, 1] > 27) & (events[:, 1] < 33)]
    assert 0.35 < len(np.unique(inside[:, 1:3], axis=0)) / (5 * SIDE) < 0.65


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": 0.0}, {"leak_hz": -1.0}, {"bandwidth_hz": float("nan")}, {"hot_share": 0.9}, {"jitter_us": 2e3}],
)
def test_pixels_outside_their_range_are_refused(wrong):
    with pytest.raises(ParameterRangeError, match=next(iter(wrong))):
        PixelModel(**wrong)
