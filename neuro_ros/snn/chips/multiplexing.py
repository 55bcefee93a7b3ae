# SPDX-License-Identifier: Apache-2.0
"""Time against cores: the same network on fewer cores, each working through more neurons a step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from neuro_ros.snn.network import Network

from .partition import Partition
from .profile import Architecture, ChipProfile
from .splits import Activity

__all__ = ["Trade", "time_multiplexing"]


@dataclass(frozen=True)
class Trade:
    """One row of the trade.

    Parameters
    ----------
    cores : int
    neurons_per_core : int
        Of the fullest core: so many share one update circuit in turn.
    step_time_s : float
        Time that a step takes at least: busiest core plus overhead.
    utilisation : float
        Share of the step's period that the busiest core works.
    """

    cores: int
    neurons_per_core: int
    step_time_s: float
    utilisation: float


def time_multiplexing(
    network: Network, profile: ChipProfile, step_period_s: float, activity: Activity | None, rows: int = 6
) -> list[Trade]:
    """Return the trade from the fewest cores that hold the network to the most that still make a step quicker.

    Parameters
    ----------
    network : Network
    profile : ChipProfile
    step_period_s : float
        Time that a step may take.
    activity : Activity or None
        A run of this network.
    rows : int
        At most so many, evenly spaced in the logarithm of the cores.

    Returns
    -------
    list of Trade
        Ascending cores. Empty where times or activity are unknown, where cores are not shared in time, or where the
        network does not fit.
    """
    overhead_ns = profile.cost("step_overhead_ns")
    if profile.architecture is not Architecture.SPLIT_LAYERS or activity is None or overhead_ns is None:
        return []
    partition = Partition(network, profile, activity)
    if partition.splits[0].busy_ns is None or partition.cores > profile.limit("cores"):
        return []
    found = [_trade(partition, step_period_s, overhead_ns)]
    while partition.split_busiest():
        found.append(_trade(partition, step_period_s, overhead_ns))
    # several splits may take the same time: only those that gain something are a trade
    gained = [row for row, before in zip(found[1:], found, strict=False) if row.step_time_s < before.step_time_s]
    return _thin([found[0], *gained], rows)


def _trade(partition: Partition, step_period_s: float, overhead_ns: float) -> Trade:
    neurons = max(int(split.use["neurons_per_core"].max()) for split in partition.splits)
    busy_ns = partition.busiest_ns
    return Trade(partition.cores, neurons, (busy_ns + overhead_ns) * 1e-9, busy_ns * 1e-9 / step_period_s)


def _thin(found: list[Trade], rows: int) -> list[Trade]:
    """Keep `rows` of the trade: both ends, and in between the nearest to even steps of the logarithm of the cores."""
    if len(found) <= rows:
        return found
    low, high = math.log(found[0].cores), math.log(found[-1].cores)
    kept = []
    for number in range(rows):
        wanted = low + (high - low) * number / (rows - 1)
        kept.append(min(range(len(found)), key=lambda index: abs(math.log(found[index].cores) - wanted)))
    return [found[index] for index in sorted(set(kept))]
