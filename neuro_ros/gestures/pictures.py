# SPDX-License-Identifier: Apache-2.0
"""Pictures of the simulated gestures for people: what stands before the camera, and what its pixels say.

One strip a class, small PNG files written here without any library, for the model card. This module draws and knows
nothing of files' places.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

from neuro_ros.events.picture import BACKGROUND_RGB, OFF_RGB, ON_RGB
from neuro_ros.gestures.conditions import Conditions
from neuro_ros.gestures.labels import LABELS
from neuro_ros.gestures.simulator import STEP_NS, GestureStream

__all__ = ["encode_png", "gesture_strip"]

# Of the palette: grey levels first, then the colours of events.
_GREYS = 32
_EMPTY, _OFF, _ON, _BOTH, _GAP = range(_GREYS, _GREYS + 5)
_BOTH_RGB, _GAP_RGB = (255, 236, 200), (255, 255, 255)
_GAP_PX = 2
_WINDOW_NS = 20 * STEP_NS  # 50 ms, as the network sees
_BRIGHTEST = 1.3  # relative luminance that is drawn white


def encode_png(pixels: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8]) -> bytes:
    """Return a picture of indexed colours as a PNG file.

    Parameters
    ----------
    pixels : (height, width) uint8
        Places in the palette.
    palette : (n, 3) uint8
        Red, green, blue; up to 256.

    Returns
    -------
    bytes

    References
    ----------
    W3C, "Portable Network Graphics (PNG) Specification", sections 5 and 11.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape
    lines = np.zeros((height, width + 1), np.uint8)  # each line begins with its filter, none
    lines[:, 1:] = pixels
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", np.ascontiguousarray(palette, np.uint8).tobytes())
        + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + chunk(b"IEND", b"")
    )


def _palette() -> npt.NDArray[np.uint8]:
    greys = np.linspace(0, 255, _GREYS).astype(np.uint8)
    colours = np.array([BACKGROUND_RGB, OFF_RGB, ON_RGB, _BOTH_RGB, _GAP_RGB], np.uint8)
    return np.concatenate([np.repeat(greys[:, None], 3, axis=1), colours])


def gesture_strip(
    label: int,
    seed: int,
    subject_seed: int,
    split: str = "",
    conditions: Conditions | None = None,
    instants: int = 6,
    spacing_ns: int = 100_000_000,
) -> bytes:
    """Return a PNG of a gesture: above the scene at some instants, below the events of the 50 ms before each.

    Parameters
    ----------
    label : int
        Class index.
    seed, subject_seed : int
        As for `GestureStream`.
    split : str
        As there.
    conditions : Conditions, optional
        As there.
    instants : int
        Columns, at least 1.
    spacing_ns : int
        Sensor time between them, a multiple of the 50 ms.

    Returns
    -------
    bytes
        A PNG file of `instants` by two cells of 128 x 128 pixels.
    """
    if spacing_ns < _WINDOW_NS or spacing_ns % _WINDOW_NS or instants < 1:
        raise ValueError(f"{instants} instants {spacing_ns} ns apart; give 1 or more, a multiple of {_WINDOW_NS}")
    stream = GestureStream(
        seed, [LABELS[label]], subject_seed=subject_seed, slice_ns=_WINDOW_NS, split=split, conditions=conditions
    )
    cells: list[npt.NDArray[np.uint8]] = []
    for k, piece in enumerate(stream):
        if (k + 1) * _WINDOW_NS % spacing_ns:
            continue
        # The square root is about what a display's gamma undoes.
        bright = np.sqrt(np.clip(stream.scene / _BRIGHTEST, 0.0, 1.0))
        seen = np.full(bright.shape, _EMPTY, np.uint8)
        events = piece.events
        on, off = (np.zeros(bright.shape, bool) for _ in range(2))
        on[events["y"][events["p"] == 1], events["x"][events["p"] == 1]] = True
        off[events["y"][events["p"] == 0], events["x"][events["p"] == 0]] = True
        seen[off], seen[on], seen[on & off] = _OFF, _ON, _BOTH
        gap = np.full((_GAP_PX, bright.shape[1]), _GAP, np.uint8)
        cells.append(np.concatenate([np.rint(bright * (_GREYS - 1)).astype(np.uint8), gap, seen]))
        if len(cells) == instants:
            break
    gap = np.full((cells[0].shape[0], _GAP_PX), _GAP, np.uint8)
    return encode_png(np.concatenate([part for cell in cells for part in (gap, cell)][1:], axis=1), _palette())
