# SPDX-License-Identifier: Apache-2.0
"""What a model does on a recording, or on simulated gestures where there is none: input of the chip mapper."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from neuro_ros.cli.model_windows import ModelWindows
from neuro_ros.events import CHANNELS, EventBatch, Geometry, Windower, active_indices, open_recording
from neuro_ros.snn import Model
from neuro_ros.snn.chips import Activity, measure_activity

__all__ = ["activity_of_recording", "activity_of_simulation"]

#: Whose ranges of people and conditions are drawn from.
_SPLIT = "test"

_Feeds = Iterator[tuple[NDArray[np.uint32], int, bool]]


def activity_of_recording(model: Model, args: argparse.Namespace) -> Activity:
    """Run a model over a recording.

    Parameters
    ----------
    model : Model
    args : argparse.Namespace
        With ``recording``, ``encoding``, ``width``, ``height``, ``topic`` and ``windows``.
    """
    with open_recording(args.recording, args.encoding, args.width, args.height, args.topic) as recording:
        windows = ModelWindows(model, recording, args.windows)
        feeds = ((feed.indices, feed.bins, feed.restart) for feed in windows)
        return measure_activity(model, feeds, f"recording {args.recording.name}")


def activity_of_simulation(model: Model, seconds: float, seed: int, limit: int | None = None) -> Activity | None:
    """Run a model over all simulated gestures in a row.

    Parameters
    ----------
    model : Model
    seconds : float
        Of each gesture.
    seed : int
        Of sensor, subject and performance.
    limit : int, optional
        Windows at most.

    Returns
    -------
    Activity or None
        None when the model does not take the two channels of a camera, or takes more of a cell than whether it is set.
    """
    from neuro_ros.gestures import LABELS, GestureSimulator

    channels, height, width = model.network.input_shape
    if channels != CHANNELS or model.normalisation != "binary":
        return None
    simulator = GestureSimulator(seed, split=_SPLIT)
    geometry = Geometry.fit(simulator.width, simulator.height, width, height)
    windower = Windower(model.window_length_ns, model.bins, geometry, simulator.width, simulator.height)

    def feeds() -> _Feeds:
        events, _ = simulator.sequence(list(range(len(LABELS))), seconds, seed)
        count = 0
        for source in (windower.windows(EventBatch(events)), windower.flush()):
            for window in source:
                if count == limit:
                    return
                count += 1
                yield active_indices(window.bitmap, window.cells), window.bins, False

    return measure_activity(model, feeds(), f"simulated gestures, {seconds:g} s each, seed {seed}")
