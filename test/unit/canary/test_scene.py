# SPDX-License-Identifier: Apache-2.0
"""Motion is told from noise by where the events fall, not by how many there are."""

import math

import numpy as np
import pytest

from neuro_ros.canary import SceneStatistics, SceneWindow, isolated, look
from neuro_ros.canary.scene import COHERENCE_MOVING

BINS, SIDE = 10, 32


def noise(rng, share):
    return (rng.random((BINS, 2, SIDE * SIDE)) < share).astype(np.uint8)


def with_edge(cells, columns=2):
    """Add a bright edge that stays at some columns for half the window, as a limb does."""
    image = cells.reshape(BINS, 2, SIDE, SIDE).copy()
    image[: BINS // 2, 1, 8:24, 10 : 10 + columns] = 1
    return image.reshape(BINS, 2, -1)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.004, 0.02, 0.05, 0.12])
def test_noise_is_still_at_any_rate_and_an_edge_moves(share, counts):
    rng = np.random.default_rng(1)
    for _ in range(counts("noise windows", reduced=30, full=2000)):
        cells = noise(rng, share)
        assert look(cells).coherence < COHERENCE_MOVING / 2
        if share <= 0.02:  # 0.5 Hz a pixel of 128 x 128; a small edge drowns in more
            assert look(with_edge(cells)).coherence > COHERENCE_MOVING


def test_hot_pixels_alone_do_not_move():
    rng = np.random.default_rng(2)
    cells = noise(rng, 0.01)
    cells[:, :, [3, 400, 801]] = 1
    assert look(cells).coherence < COHERENCE_MOVING / 2


def test_what_a_window_is_made_of():
    cells = np.zeros((BINS, 2, 16), np.uint8)
    assert look(cells) == SceneWindow(0, 0, 0.0)
    cells[0, 0, 1] = cells[1, 1, 1] = cells[2, 1, 5] = 1
    window = look(cells)
    assert (window.active, window.on) == (3, 2)
    assert look(np.ones((BINS, 1, 16), np.uint8)).on == 0  # one channel has no polarity


def test_a_period_in_figures():
    statistics = SceneStatistics()
    statistics.add(SceneWindow(100, 60, 2.0), 0, 500, 5)
    statistics.add(SceneWindow(50, 0, 0.0), 2, 60, 0)
    summary = statistics.take()
    assert (summary.windows, summary.moving_share, summary.on_share) == (4, 0.25, 0.6)
    assert (summary.events_in, summary.events_dropped) == (560, 5)
    empty = statistics.take()
    assert empty.windows == 0
    assert math.isnan(empty.moving_share)
    assert math.isnan(empty.on_share)


def test_isolated_cells_are_noise_and_keep_its_polarity():
    rng = np.random.default_rng(4)
    alone = np.zeros((2, SIDE * SIDE), np.int64)
    edge = np.zeros((BINS, 2, SIDE, SIDE), np.uint8)
    for step in range(BINS):  # OFF, and going on to the next site every other bin
        edge[step, 0, 8:24, 4 + step // 2] = 1
    for _ in range(20):
        cells = noise(rng, 0.01)
        cells[:, 0] &= rng.random((BINS, SIDE * SIDE)) < 0.25  # four of five are ON
        alone += isolated(cells | edge.reshape(BINS, 2, -1), SIDE, SIDE)
    assert alone.sum() > 1000
    assert alone[1].sum() / alone.sum() == pytest.approx(0.8, abs=0.05)
    assert isolated(edge.reshape(BINS, 2, -1), SIDE, SIDE).sum() == 0


def test_what_isolated_means():
    cells = np.zeros((4, 2, 5, 5), np.uint8)
    cells[0, 1, 0, 0] = 1
    cells[2, 0, 0, 0] = 1  # two bins later
    cells[0, 0, 4, 4] = cells[1, 1, 3, 3] = 1  # companions
    cells[3, 0, 2, 2] = cells[3, 1, 2, 2] = 1  # both polarities at one place
    found = isolated(cells.reshape(4, 2, 25), 5, 5)
    assert np.argwhere(found).tolist() == [[0, 0], [1, 0]]


def test_hot_pixels_do_not_speak_for_the_noise():
    rng = np.random.default_rng(3)
    statistics = SceneStatistics()
    for _ in range(20):
        cells = noise(rng, 0.005)
        cells[:, 0] = 0  # the noise is ON
        cells[::3, 0, [100, 500, 900]] = 1  # the hot pixels are OFF
        statistics.add(look(cells), 0, 0, 0, isolated(cells, SIDE, SIDE))
    summary = statistics.take()
    assert summary.isolated > 300
    assert summary.isolated_on == summary.isolated
    statistics.add(SceneWindow(0, 0, 0.0), 0, 0, 0, np.ones((2, 400), np.int64))
    statistics.add(SceneWindow(0, 0, 0.0), 0, 0, 0, np.ones((2, 100), np.int64))  # another camera
    assert statistics.take().isolated == 198
