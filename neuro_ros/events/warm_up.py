# SPDX-License-Identifier: Apache-2.0
"""Compiles every loop of this library before the first event arrives.

Compiling takes seconds on a machine that has no cache yet, far longer than a
window. A node calls `warm_up` at configure, where nobody waits.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from neuro_ros.events.count_windows import CountWindower
from neuro_ros.events.encodings import ENCODINGS
from neuro_ros.events.filters import EventFilter, FilterChain, kept, parse_filter
from neuro_ros.events.geometry import Geometry
from neuro_ros.events.picture import draw_window
from neuro_ros.events.stream import PacketDecoder
from neuro_ros.events.tensor import active_indices, decode_tensor, encode_tensor
from neuro_ros.events.types import EVENT_DTYPE, EventBatch
from neuro_ros.events.windower import Windower

__all__ = ["warm_up"]


def warm_up(filters: Iterable[EventFilter] = ()) -> None:
    """Run each compiled loop once on almost nothing; the second call takes no time worth naming.

    Parameters
    ----------
    filters : iterable of EventFilter, optional
        Those that will be used, of all that there are; compiled for sensors of any size.
    """
    for name in ENCODINGS:
        PacketDecoder(name, 1, 1).decode(bytes(8))
    chain = FilterChain([parse_filter(item.example) for item in filters], 1, 1)
    kept(chain.apply(EventBatch(np.zeros(1, EVENT_DTYPE))))
    geometry = Geometry(0, 0, 4, 4, 4, 4)
    for windower in (CountWindower(1, 1, geometry, 4, 4), Windower(1000, 1, geometry, 4, 4)):
        (window,) = windower.push(EventBatch(np.zeros(1, EVENT_DTYPE))) + windower.flush()
    encoding, data = encode_tensor(window.bitmap, window.cells)
    decode_tensor(encoding, data, window.cells)
    decode_tensor(0, active_indices(window.bitmap, window.cells).tobytes(), window.cells)
    draw_window(window.bitmap, window.bins, window.height, window.width)
