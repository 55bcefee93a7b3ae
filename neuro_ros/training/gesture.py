# SPDX-License-Identifier: Apache-2.0
"""The gesture network: its layers, and its evaluation data."""

from __future__ import annotations

from collections.abc import Sequence

from neuro_ros.gestures import LABELS, GestureSimulator
from neuro_ros.training.data import StepStream, WindowShape, to_steps
from neuro_ros.training.layers import ConvSpec, DenseSpec, IntegerNetwork

__all__ = ["GESTURE_LAYERS", "gesture_network", "simulate_recordings"]

# Decays per 5 ms step, of 4096. The time constants grow with depth, about 5 to 80 ms: early layers see the short trail
# that a moving edge leaves, which tells its direction; late ones gather evidence over a beat.
GESTURE_LAYERS: tuple[ConvSpec | DenseSpec, ...] = (
    ConvSpec("conv1", 16, 5, 2, 2, du=2400, dv=1200),
    ConvSpec("conv2", 32, 3, 2, 1, du=1800, dv=800),
    ConvSpec("conv3", 32, 3, 2, 1, du=1200, dv=500),
    DenseSpec("dense", 128, du=800, dv=300),
    DenseSpec("output", len(LABELS), du=600, dv=250),
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
