# SPDX-License-Identifier: Apache-2.0
"""Exceptions of the canary."""

from neuro_ros.errors import NeuroRosError

__all__ = ["BaselineError", "CanaryError", "RolloutError"]


class CanaryError(NeuroRosError):
    """Limits or figures that make no sense."""


class BaselineError(CanaryError):
    """A baseline file that cannot be read or written, or a measurement that is too short for one."""


class RolloutError(CanaryError):
    """A command that does not fit the phase of the roll-out, or a saved roll-out that cannot be read."""
