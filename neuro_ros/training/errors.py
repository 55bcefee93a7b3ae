# SPDX-License-Identifier: Apache-2.0
"""What training refuses."""

from neuro_ros.errors import NeuroRosError

__all__ = ["ExportError", "TrainingError", "TrainingStoppedError"]


class TrainingError(NeuroRosError):
    """Training cannot start or go on: a setting outside its range, or a loss that is not a number."""


class TrainingStoppedError(TrainingError):
    """Somebody asked for the end; the checkpoint holds what was reached."""


class ExportError(NeuroRosError):
    """A network that must not be shipped: a layer is dead, saturated, collapsed or beyond the accumulator bound."""
