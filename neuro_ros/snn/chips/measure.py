# SPDX-License-Identifier: Apache-2.0
"""Runs a network and keeps what the mapper and the energy estimate need to know about its activity."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from neuro_ros.snn.engine import create_engine
from neuro_ros.snn.model import Model

from .figures import ChipError
from .splits import Activity

__all__ = ["measure_activity"]


def measure_activity(model: Model, feeds: Iterable[tuple[NDArray[np.uint32], int, bool]], origin: str) -> Activity:
    """Run a model on the ``fixed`` back end and count the spikes of every cell and neuron.

    Parameters
    ----------
    model : Model
    feeds : iterable of (indices, bins, restart)
        Ascending flat (bin, c, y, x) input cells, the steps to run, and whether to start from rest before them.
    origin : str
        What this is, for people: the recording, or how it was simulated.

    Raises
    ------
    ChipError
        When there is nothing to run.
    EngineError
        When indices do not fit the model.
    """
    cells = np.zeros(model.cells, np.int64)
    steps = 0
    engine = create_engine(model)
    try:
        engine.clear_neuron_spikes()
        for indices, bins, restart in feeds:
            if restart:
                engine.reset()
            engine.run_window(indices, bins)
            cells += np.bincount(indices % np.uint32(model.cells), minlength=model.cells)
            steps += bins
        spikes = tuple(engine.neuron_spikes())
    finally:
        engine.close()
    if steps < 1:
        raise ChipError(f"{origin}: nothing to run; without a window there is no activity to measure")
    return Activity(steps, cells.reshape(model.network.input_shape), spikes, origin)
