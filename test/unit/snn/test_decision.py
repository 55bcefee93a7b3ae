# SPDX-License-Identifier: Apache-2.0
"""Evidence fades with sensor time, and decisions follow the sharpened share."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.snn.decision import Evidence, decide, sharpen


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
