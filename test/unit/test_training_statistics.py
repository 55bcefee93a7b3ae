# SPDX-License-Identifier: Apache-2.0
"""Paired differences and their interval; how far confidence tells what is right."""

import math

import numpy as np
import pytest

from neuro_ros.training.errors import TrainingError
from neuro_ros.training.judge.statistics import paired_difference, reliability

PEOPLE = np.repeat(np.arange(40), 5)


def test_equal_answers_differ_by_nothing():
    right = np.random.default_rng(1).random(200) < 0.8
    found = paired_difference(right, right, PEOPLE)
    assert (found.points, found.low, found.high) == (0.0, 0.0, 0.0)
    assert (found.only_first, found.only_second, found.clips) == (0, 0, 200)


def test_a_difference_is_counted_clip_by_clip_and_its_interval_holds_it():
    first = np.zeros(200, bool)
    second = np.zeros(200, bool)
    first[::10], second[5::20] = True, True
    found = paired_difference(first, second, PEOPLE)
    assert (found.only_first, found.only_second) == (20, 10)
    assert found.points == pytest.approx(5.0)
    assert found.low <= 5.0 <= found.high
    assert found == paired_difference(first, second, PEOPLE)


def test_clips_of_one_person_count_as_one_draw():
    """All clips of a person alike: the interval is that of 40 people and not of 200 clips."""
    by_person = np.repeat(np.arange(40) < 20, 5)
    together = paired_difference(by_person, np.zeros(200, bool), PEOPLE)
    apart = paired_difference(by_person, np.zeros(200, bool), np.arange(200))
    assert together.high - together.low > 1.8 * (apart.high - apart.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says(counts):
    """Two ways of answering, right with 0.8 and 0.75 and apart from each other: 5 points."""
    rng = np.random.default_rng(3)
    trials = counts("paired intervals", reduced=40, full=400)
    hits = 0
    for _ in range(trials):
        found = paired_difference(rng.random(200) < 0.8, rng.random(200) < 0.75, PEOPLE)
        hits += found.low <= 5.0 <= found.high
    assert 0.85 * trials <= hits


@pytest.mark.parametrize("groups", [PEOPLE[:-1], PEOPLE[:0]])
def test_what_cannot_be_paired_is_refused(groups):
    with pytest.raises(TrainingError, match="cannot be paired"):
        paired_difference(np.ones(200, bool), np.ones(200, bool), groups)


def test_confidence_that_says_what_is_right_has_no_error():
    rng = np.random.default_rng(2)
    said = rng.random(100_000)
    found = reliability(said, rng.random(100_000) < said)
    assert found.error < 0.01
    assert len(found.bins) == 10
    assert sum(count for _, _, count in found.bins) == 100_000


def test_too_much_confidence_is_as_wrong_as_it_is():
    found = reliability([0.95, 0.95, 0.95, 0.95, math.nan], [True, False, True, False, True])
    assert found.error == pytest.approx(0.45)
    assert found.bins == ((pytest.approx(0.95), 0.5, 4),)


def test_silence_has_no_calibration():
    found = reliability([math.nan], [False])
    assert math.isnan(found.error)
    assert found.bins == ()
