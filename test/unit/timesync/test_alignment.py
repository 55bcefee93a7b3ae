# SPDX-License-Identifier: Apache-2.0
"""A recording played for hours with a drifting sensor clock, through the cores of event_camera and clock_sync."""

from pathlib import Path

import numpy as np
import pytest

from neuro_ros.cli.benchmarks._clock_alignment import play, read_slices
from neuro_ros.cores.messages import ClockModel

RECORDING = Path(__file__).resolve().parents[2] / "data" / "test_events_1"
BIN_NS = 5_000_000


@pytest.fixture(scope="module")
def recorded():
    return read_slices(str(RECORDING))


def test_windows_stay_aligned_with_the_model_and_do_not_without(counts, recorded):
    minutes = counts("simulated minutes of a recording", reduced=8, full=600)
    aligned = play(recorded, minutes / 60, seed=5)
    settled = aligned.t_s > 10.0
    locked = aligned.state == ClockModel.LOCKED
    assert len(aligned.t_s) >= minutes * 60 * 20 - 2  # every window of 50 ms
    assert locked[settled].mean() > 0.999
    assert np.abs(aligned.error_ns[settled]).max() < BIN_NS  # the target
    assert np.abs(aligned.error_ns[settled]).max() < BIN_NS / 25  # what it does
    assert aligned.backward == 0
    # The same windows by the first offset: out of their bin after two minutes, and by 180 ms more each hour.
    assert np.abs(aligned.naive_ns[aligned.t_s < 60.0]).max() < BIN_NS
    assert np.abs(aligned.naive_ns[aligned.t_s > 130.0]).min() > BIN_NS
    assert np.abs(aligned.naive_ns[-1]) > 45e-6 * minutes * 60 * 1e9


def test_windows_say_how_far_their_stamps_can_be_trusted(recorded):
    aligned = play(recorded, 1 / 120, seed=6)
    states = aligned.state[np.flatnonzero(np.diff(aligned.state, prepend=255))].tolist()
    assert states == [ClockModel.UNLOCKED, ClockModel.TRACKING, ClockModel.LOCKED]
    assert aligned.t_s[aligned.state == ClockModel.LOCKED][0] < 10.0


def test_without_clock_sync_stamps_follow_the_arrivals_with_all_their_delays(recorded):
    alone = play(recorded, 1 / 15, seed=5, with_model=False)
    assert set(alone.state.tolist()) == {ClockModel.UNLOCKED}
    assert np.abs(alone.error_ns).max() > BIN_NS  # a late packet moves the windows in it by more than a bin
    assert np.median(np.abs(alone.error_ns)) < 1_000_000
