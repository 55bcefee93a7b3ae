# SPDX-License-Identifier: Apache-2.0
"""Feeds a recording to a model as the node would: windows of its geometry, then zero bins as deep as the network.

Shared by the verbs that run a network over a file, so that their digests compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuro_ros.events import CHANNELS, Geometry, Recording, SpikeWindow, Windower, active_indices
from neuro_ros.snn import Model, ModelError

__all__ = ["Feed", "ModelWindows"]


@dataclass(frozen=True, eq=False)
class Feed:
    """What goes into the network in one go.

    Parameters
    ----------
    indices : (active,) uint32
        Ascending flat (bin, c, y, x) cells.
    bins : int
        Steps to run.
    window : SpikeWindow or None
        None for the zero bins at the end.
    restart : bool
        Sensor time is not continuous with the window before: start from rest.
    """

    indices: NDArray[np.uint32]
    bins: int
    window: SpikeWindow | None
    restart: bool


class ModelWindows:
    """Iterates over a recording in the windows of a model.

    Parameters
    ----------
    model : Model
    recording : Recording
        Open; read once.
    limit : int, optional
        Windows after which reading stops; the zero bins follow all the same.

    Raises
    ------
    ModelError
        When the model takes another number of channels than a spike tensor has, or counts of events.
    """

    def __init__(self, model: Model, recording: Recording, limit: int | None = None) -> None:
        model.require_binary_windows()
        channels, height, width = model.network.input_shape
        if channels != CHANNELS:
            raise ModelError(f"the model takes {channels} channels, a spike tensor has {CHANNELS} (OFF and ON)")
        self._model = model
        self._recording = recording
        self._limit = limit
        geometry = Geometry.fit(recording.width, recording.height, width, height)
        self._windower = Windower(model.window_length_ns, model.bins, geometry, recording.width, recording.height)

    def __iter__(self) -> Iterator[Feed]:
        """Yield a feed a window, in order, and the zero bins last."""
        end_ns: int | None = None
        for count, window in enumerate(self._windows()):
            if self._limit is not None and count == self._limit:
                break
            indices = active_indices(window.bitmap, window.cells)
            restart = end_ns is not None and window.start_ns != end_ns
            end_ns = window.end_ns
            yield Feed(indices, window.bins, window, restart)
        yield Feed(np.zeros(0, np.uint32), self._model.network.depth, None, False)

    def _windows(self) -> Iterator[SpikeWindow]:
        for batch in self._recording.batches():
            yield from self._windower.windows(batch)
        yield from self._windower.flush()

    def accounting(self) -> dict[str, Any]:
        """Return what became of every event so far, under the names of the messages."""
        counters, decoder = self._windower.counters, self._recording.counters.as_dict()
        return {
            "windows": counters.windows,
            "events_in": counters.events_in,
            "events_binned": counters.events_binned,
            "events_filtered": counters.events_filtered,
            "events_dropped": counters.events_lost,
            "windows_incomplete": counters.windows_incomplete,
            "before_windows": {name: decoder[name] for name in ("errors", "out_of_area", "dropped_before_time")},
        }
