# SPDX-License-Identifier: Apache-2.0
"""The gesture network: its layers, and its evaluation data."""

from __future__ import annotations

from collections.abc import Sequence

from neuro_ros.gestures import LABELS, GestureSimulator
from neuro_ros.training.data import StepStream, WindowShape, to_steps
from neuro_ros.training.layers import ConvSpec, DenseSpec, IntegerNetwork

__all__ = ["GESTURE_LAYERS", "gesture_network", "simulate_recordings"]

# Decays per 5 ms step, of 4096. Currents are short (10 ms), potentials long (40 to 100 ms): a limb needs some 30 ms to
# cross a cell, and the direction in which it crosses shows only where inhibition of one cell outlasts the step to the
# next: excitation before inhibition fires, inhibition before excitation does not.
GESTURE_LAYERS: tuple[ConvSpec | DenseSpec, ...] = (
    ConvSpec("conv1", 12, 5, 2, 2, du=2000, dv=500),
    ConvSpec("conv2", 24, 3, 2, 1, du=2000, dv=300),
    ConvSpec("conv3", 32, 3, 2, 1, du=2000, dv=250),
    DenseSpec("dense", 128, du=1500, dv=250),
    DenseSpec("output", len(LABELS), du=800, dv=200),
)


def gesture_network(shape: WindowShape | None = None, beta: float = 1.5) -> IntegerNetwork:
    """Return an untrained gesture network; torch's global seed decides its weights."""
    shape = shape or WindowShape()
    return IntegerNetwork(GESTURE_LAYERS, (shape.channels, shape.height, shape.width), beta)


def simulate_recordings(
    subjects: Sequence[int], duration_s: float, seed: int, shape: WindowShape | None = None
) -> list[tuple[StepStream, int]]:
    """Return one recording of each gesture by each subject, acted from its first instant.

    Parameters
    ----------
    subjects : sequence of int
        Subject seeds.
    duration_s : float
        Length of each.
    seed : int
        Sensor and performances.
    shape : WindowShape, optional
        Window and tensor.

    Returns
    -------
    list of (StepStream, int)
        Input and class index.
    """
    simulator = GestureSimulator(seed=seed)
    recordings = []
    for subject in subjects:
        for label in range(len(LABELS)):
            events, intervals = simulator.sequence([label], duration_s, subject)
            recordings.append((to_steps(events, intervals, simulator.width, simulator.height, shape), label))
    return recordings
