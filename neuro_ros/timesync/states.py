# SPDX-License-Identifier: Apache-2.0
"""The four states of a clock estimate; the numbers are those of ``ClockModel.msg``."""

from __future__ import annotations

import enum

__all__ = ["ClockState"]


class ClockState(enum.IntEnum):
    """How far an estimate of a clock can be trusted."""

    UNLOCKED = 0
    TRACKING = 1
    LOCKED = 2
    HOLDOVER = 3
