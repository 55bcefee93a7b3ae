# SPDX-License-Identifier: Apache-2.0
"""The picture of a window: every cell in its place and colour, later bins brighter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.events import TensorError
from neuro_ros.events.picture import BACKGROUND_RGB, OFF_RGB, ON_RGB, draw_window


def pack(cells):
    return np.packbits(np.asarray(cells, bool).reshape(-1))


@given(
    bins=st.integers(1, 12),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    scale=st.integers(1, 3),
    density=st.sampled_from([0.0, 0.1, 0.9]),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_pixel_has_the_colour_of_its_latest_events(bins, height, width, scale, density, seed):
    cells = np.random.default_rng(seed).random((bins, 2, height, width)) < density
    picture = draw_window(pack(cells), bins, height, width, scale)
    assert picture.shape == (height * scale, width * scale, 3)
    background = np.array(BACKGROUND_RGB)
    for y in range(height):
        for x in range(width):
            colour = background.astype(float)
            for channel, full in enumerate((OFF_RGB, ON_RGB)):
                for number in np.flatnonzero(cells[:, channel, y, x])[-1:]:
                    share = 0.3 + 0.7 * (number + 1) / bins
                    colour += np.rint(background + share * (np.array(full) - background)) - background
            square = picture[y * scale : (y + 1) * scale, x * scale : (x + 1) * scale]
            assert (square == np.minimum(colour, 255)).all()


def test_later_is_brighter_and_polarities_differ():
    cells = np.zeros((10, 2, 1, 5))
    cells[0, 1, 0, 0] = cells[9, 1, 0, 1] = cells[9, 0, 0, 2] = cells[9, :, 0, 3] = 1
    early_on, late_on, late_off, both, none = draw_window(pack(cells), 10, 1, 5)[0].tolist()
    assert sum(none) < sum(early_on) < sum(late_on) < sum(both)
    assert late_on == list(ON_RGB)
    assert late_off == list(OFF_RGB)
    assert none == list(BACKGROUND_RGB)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(TensorError, match="has 5 bytes, this one has 4"):
        draw_window(np.zeros(4, np.uint8), 1, 4, 5)
    for bins, height, width, scale in ((0, 1, 1, 1), (1, 1, 1, 0), (1, 5000, 5000, 1), (1, 128, 128, 40)):
        with pytest.raises(ValueError, match="choose a smaller scale"):
            draw_window(np.zeros(1, np.uint8), bins, height, width, scale)
