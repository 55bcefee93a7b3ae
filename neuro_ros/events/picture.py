# SPDX-License-Identifier: Apache-2.0
"""A picture of a window for people: ON events orange, OFF events blue, the later the brighter, on near-black.

Orange and sky blue are those of Okabe and Ito ("Color Universal Design", 2008), which people with any common
colour deficiency tell apart; where both polarities fell on a pixel, the colours add up to nearly white.
"""

from __future__ import annotations

from functools import lru_cache
from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events._bits import leading_zeros
from neuro_ros.events.tensor import TensorError, bitmap_bytes

__all__ = ["BACKGROUND_RGB", "MAX_PICTURE_BYTES", "OFF_RGB", "ON_RGB", "draw_window"]

ON_RGB = (255, 170, 20)
OFF_RGB = (86, 180, 255)
BACKGROUND_RGB = (14, 14, 18)
#: Largest picture that is drawn.
MAX_PICTURE_BYTES = 1 << 26

# Share of its full colour that an event of the first bin has, so that it is still seen.
_FAINTEST = 0.3


@numba.njit(cache=True, nogil=True)
@no_type_check
def _latest_bins(bitmap, bins, cells, latest):
    """Write the number of the last bin that is set, from 1, for each channel and cell of a plane."""
    plane_end = np.int64(cells)
    plane = np.int64(0)
    for position in range(len(bitmap)):
        byte = np.int64(bitmap[position])
        while byte != 0:
            # The most significant bit is the first cell.
            highest = 63 - leading_zeros(byte)
            byte ^= 1 << highest
            cell = position * 8 + 7 - highest
            while cell >= plane_end:
                plane += 1
                plane_end += cells
            if plane < 2 * bins:
                latest[plane & 1, cell - plane_end + cells] = (plane >> 1) + 1


@numba.njit(cache=True, nogil=True)
@no_type_check
def _paint(latest, height, width, scale, tints, lines):
    """Write the picture as lines of bytes, each line of cells once and then copied."""
    for y in range(height):
        line = lines[y * scale]
        place = 0
        for cell in range(y * width, (y + 1) * width):
            off = np.int64(latest[0, cell])
            on = np.int64(latest[1, cell])
            # The background is in both tints, so that each alone is a colour.
            red = np.uint8(min(tints[0, off, 0] + tints[1, on, 0] - tints[0, 0, 0], 255))
            green = np.uint8(min(tints[0, off, 1] + tints[1, on, 1] - tints[0, 0, 1], 255))
            blue = np.uint8(min(tints[0, off, 2] + tints[1, on, 2] - tints[0, 0, 2], 255))
            for _ in range(scale):
                line[place] = red
                line[place + 1] = green
                line[place + 2] = blue
                place += 3
        for step in range(1, scale):
            lines[y * scale + step, :] = line


@lru_cache(maxsize=8)
def _tints(bins: int) -> npt.NDArray[np.int32]:
    """Tabulate the colour by channel and latest bin, 0 = none."""
    background = np.array(BACKGROUND_RGB, float)
    share = _FAINTEST + (1 - _FAINTEST) * (np.arange(1, bins + 1) / bins)
    tints = np.empty((2, bins + 1, 3), np.int32)
    tints[:, 0] = background
    for channel, colour in enumerate((OFF_RGB, ON_RGB)):
        tints[channel, 1:] = np.rint(background + share[:, None] * (np.array(colour, float) - background))
    return tints


def draw_window(
    bitmap: npt.NDArray[np.uint8], bins: int, height: int, width: int, scale: int = 1
) -> npt.NDArray[np.uint8]:
    """Draw a window's tensor.

    Parameters
    ----------
    bitmap : (ceil(bins * 2 * height * width / 8),) uint8
        One bit a cell in C order (bin, channel, y, x), most significant bit first; channel 0 = OFF, 1 = ON.
    bins, height, width : int
        Shape of the tensor.
    scale : int
        A cell is a square of so many pixels a side.

    Returns
    -------
    (height * scale, width * scale, 3) uint8
        Red, green, blue.

    Raises
    ------
    TensorError
        When the bitmap does not have this shape.
    ValueError
        When the picture would be empty or larger than `MAX_PICTURE_BYTES`.
    """
    if min(bins, height, width, scale) < 1 or 3 * height * width * scale * scale > MAX_PICTURE_BYTES:
        raise ValueError(
            f"a picture of {bins} bins, {width}x{height} cells at scale {scale} is empty or beyond "
            f"{MAX_PICTURE_BYTES} bytes; choose a smaller scale"
        )
    array = np.ascontiguousarray(bitmap, np.uint8).reshape(-1)
    cells = bins * 2 * height * width
    if len(array) != bitmap_bytes(cells):
        raise TensorError(f"a bitmap of {cells} cells has {bitmap_bytes(cells)} bytes, this one has {len(array)}")
    latest = np.zeros((2, height * width), np.uint16)
    _latest_bins(array, bins, height * width, latest)
    lines = np.empty((height * scale, width * scale * 3), np.uint8)
    _paint(latest, height, width, scale, _tints(bins), lines)
    return lines.reshape(height * scale, width * scale, 3)
