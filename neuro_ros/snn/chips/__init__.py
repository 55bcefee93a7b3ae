# SPDX-License-Identifier: Apache-2.0
"""Chips: what fits on them, how busy their cores get, and what a run would cost, from public figures only.

No chip is at hand. Every figure carries its source and how far to trust it, limits that nobody publishes are listed
as not checked, and energy is an estimate. This package knows nothing of ROS and terminals.
"""

from .energy import EnergyEstimate, estimate_energy
from .figures import ChipError, Confidence, Figure
from .load import CoreLoad
from .mapping import REMAP_UTILISATION, map_network
from .measure import measure_activity
from .multiplexing import Trade, time_multiplexing
from .profile import COSTS, LIMITS, Architecture, ChipProfile, Mesh
from .report import ChipMapping, CoreUse, Remap, Violation
from .splits import Activity
from .table import chip_names, chip_profile, register_chip
from .utilisation import Overload, histogram, overload

__all__ = [
    "COSTS",
    "LIMITS",
    "REMAP_UTILISATION",
    "Activity",
    "Architecture",
    "ChipError",
    "ChipMapping",
    "ChipProfile",
    "Confidence",
    "CoreLoad",
    "CoreUse",
    "EnergyEstimate",
    "Figure",
    "Mesh",
    "Overload",
    "Remap",
    "Trade",
    "Violation",
    "chip_names",
    "chip_profile",
    "estimate_energy",
    "histogram",
    "map_network",
    "measure_activity",
    "overload",
    "register_chip",
    "time_multiplexing",
]
