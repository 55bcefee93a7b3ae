# SPDX-License-Identifier: Apache-2.0
"""Evidence fades with sensor time, decisions follow the sharpened share, and hold until they are released."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.snn.decision import Evidence, decide, decide_sequence, sharpen


def test_evidence_halves_in_its_half_life():
    evidence = Evidence(2)
    evidence.add(np.array([8, 0], np.int32), 0.0, 0.2)
    evidence.add(np.array([0, 4], np.int32), 0.2, 0.2)
    assert evidence.values.tolist() == [4.0, 4.0]
    evidence.add(np.array([1, 0], np.int32), 0.0, 0.0)
    assert evidence.values.tolist() == [1.0, 0.0], "half-life 0 keeps this window only"


def test_evidence_below_half_a_spike_is_forgotten():
    evidence = Evidence(2)
    evidence.add(np.array([1, 0], np.int32), 0.0, 0.1)
    evidence.add(np.array([0, 0], np.int32), 0.2, 0.1)
    assert decide(evidence.values, 0.6) == (-1, pytest.approx(math.nan, nan_ok=True))


@pytest.mark.parametrize(("exponent", "confidence"), [(1.0, 0.5), (2.0, 4.0 / 6.0), (3.0, 8.0 / 10.0)])
def test_the_exponent_sharpens_the_share(exponent, confidence):
    evidence = np.array([1.0, 2.0, 1.0])
    index, found = decide(evidence, 0.6, exponent)
    assert found == pytest.approx(confidence)
    assert index == (1 if confidence >= 0.6 else -1)


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=20), st.floats(0.1, 100.0), st.floats(1e-3, 1e3))
def test_shares_sum_to_one_keep_the_order_and_ignore_the_scale(values, exponent, scale):
    evidence = np.array(values)
    shares = sharpen(evidence, exponent)
    if evidence.max() <= 0.0:
        assert np.isnan(shares).all()
        return
    assert shares.sum() == pytest.approx(1.0)
    assert (np.diff(shares[np.argsort(evidence, kind="stable")]) >= 0.0).all()
    assert np.allclose(sharpen(evidence * scale, exponent), shares, atol=1e-9)


# Shares of class 0 and 1 window by window; threshold 0.6, release 0.4.
HELD = [
    ((5, 5, 0), -1, 0.5),  # nothing in force: half is not enough
    ((6, 4, 0), 0, 0.6),  # taken
    ((5, 5, 0), 0, 0.5),  # held
    ((4, 5, 1), 0, 0.4),  # held, though another class leads
    ((39, 41, 20), -1, 0.41),  # released; the confidence is the leader's
    ((5, 5, 0), -1, 0.5),  # and not taken up again
    ((6, 4, 0), 0, 0.6),
    ((2, 7, 1), 1, 0.7),  # another class reaches the threshold: no window of doubt in between
    ((0, 0, 0), -1, math.nan),  # no evidence, no decision
    ((5, 5, 0), -1, 0.5),
]


def test_a_decision_holds_until_it_is_released():
    rows = np.array([row for row, *_ in HELD], float)
    decided, confidence = decide_sequence(rows, 0.6, 1.0, 0.4)
    assert decided.tolist() == [index for _, index, _ in HELD]
    assert confidence == pytest.approx([share for *_, share in HELD], nan_ok=True)


def test_a_release_of_zero_holds_while_there_is_evidence():
    decided, confidence = decide_sequence(np.array([[9.0, 1.0], [0.0, 0.0], [9.0, 1.0], [0.0, 5.0]]), 1.0, 1.0, 0.0)
    assert decided.tolist() == [-1, -1, -1, 1]
    decided, confidence = decide_sequence(np.array([[9.0, 1.0, 0.0], [0.0, 5.0, 5.0]]), 0.6, 1.0, 0.0)
    assert (decided.tolist(), confidence.tolist()) == ([0, 0], [pytest.approx(0.9), 0.0])


rows_of_evidence = st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), max_size=20)


@given(rows_of_evidence, st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.5, 4.0))
def test_without_hysteresis_each_window_decides_for_itself(rows, threshold, above, exponent):
    evidence = np.array(rows, float).reshape(-1, 3)
    release = threshold + above * (1.0 - threshold)
    decided, _ = decide_sequence(evidence, threshold, exponent, release)
    assert decided.tolist() == [decide(row, threshold, exponent)[0] for row in evidence]


@given(rows_of_evidence, st.floats(0.3, 1.0), st.floats(0.0, 1.0))
def test_hysteresis_only_adds_decisions_and_changes_fewer_of_them(rows, threshold, part):
    evidence = np.array(rows, float).reshape(-1, 3)
    plain, _ = decide_sequence(evidence, threshold)
    held, _ = decide_sequence(evidence, threshold, release=threshold * part)
    assert (held[plain >= 0] == plain[plain >= 0]).all()
    assert np.count_nonzero(np.diff(held)) <= np.count_nonzero(np.diff(plain))


@given(rows_of_evidence, st.integers(0, 20))
def test_a_stream_that_is_cut_goes_on_where_it_was(rows, cut):
    """The decision in force is state: saved with the evidence, restored with it, forgotten with it."""
    first, whole = Evidence(3), Evidence(3)
    for number, row in enumerate(rows):
        if number == cut:
            second = Evidence(3)
            assert second.restore(first.values.tolist(), first.decision)
            first = second
        for evidence in (first, whole):
            evidence.add(np.array(row, np.int32), 0.05, 0.1)
        assert repr(first.decide(0.7, 2.0, 0.3)) == repr(whole.decide(0.7, 2.0, 0.3))
    whole.reset()
    assert whole.decision == -1


@pytest.mark.parametrize(
    ("values", "decision"), [((1.0, 2.0), 2), ((1.0, 2.0), -2), ((1.0,), 0), ((1.0, -1.0), 0), ((1.0, math.nan), 0)]
)
def test_evidence_that_does_not_fit_changes_nothing(values, decision):
    evidence = Evidence(2)
    assert evidence.restore((3.0, 4.0), 1)
    assert not evidence.restore(values, decision)
    assert (evidence.values.tolist(), evidence.decision) == ([3.0, 4.0], 1)
