# SPDX-License-Identifier: Apache-2.0
"""Two arms on the same windows: the drop, its error, and what labels change."""

import math

import numpy as np
import pytest

from neuro_ros.canary import Answer, ArmComparison


def compare(trials, drop, label=False, seed=0):
    rng = np.random.default_rng(seed)
    comparison = ArmComparison()
    for scene in range(trials):
        level = rng.uniform(0.3, 0.9)  # some scenes are hard for both
        for _ in range(40):
            other = Answer(3, float(np.clip(level + 0.05 * rng.standard_normal(), 0, 1)))
            trial = Answer(3, float(np.clip(level - drop + 0.05 * rng.standard_normal(), 0, 1)))
            comparison.add(other, trial, scene % 4 if label else -1)
    return comparison


@pytest.mark.parametrize("drop", [0.0, 0.05, 0.2])
def test_the_drop_is_found_in_pairs_although_scenes_differ_by_more(drop):
    comparison = compare(50, drop)
    found, error, by_labels = comparison.drop()
    assert found == pytest.approx(drop, abs=0.01)
    assert error < 0.01
    assert abs(found - drop) < 4 * error + 1e-6
    assert not by_labels
    assert (comparison.windows, comparison.agreement) == (2000, 1.0)


def test_labels_take_the_place_of_the_proxy():
    comparison = ArmComparison(block=10)
    for index in range(100):
        comparison.add(Answer(1, 0.9), Answer(1 if index % 4 else 2, 0.9), 1)
    found, _, by_labels = comparison.drop()
    assert by_labels
    assert found == pytest.approx(0.25, abs=0.06)
    assert comparison.agreement == 0.75


def test_little_says_nothing():
    comparison = ArmComparison(block=10)
    for _ in range(19):
        comparison.add(Answer(1, 0.9), Answer(-1, math.nan))
    assert all(math.isnan(value) for value in comparison.drop()[:2])
    comparison.add(Answer(1, 0.9), Answer(-1, math.nan))
    assert comparison.drop()[0] == pytest.approx(0.9)
    comparison.clear()
    assert comparison.windows == 0
    assert math.isnan(comparison.agreement)
