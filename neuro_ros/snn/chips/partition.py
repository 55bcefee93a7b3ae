# SPDX-License-Identifier: Apache-2.0
"""Cutting all layers of a network over the cores of a chip whose cores are equal.

A core holds neurons of one layer only. Each layer starts with the fewest cores that respect the limits of a core, and
is then split further where a neuron must be told to too many cores (out-axons) or where a core is too busy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuro_ros.snn.network import Network

from .profile import ChipProfile
from .report import Remap
from .splits import Activity, LayerSplits
from .wiring import Counts, wires

__all__ = ["Partition"]

#: Splitting for the sake of time ends here where a chip has more cores, or their number is not published.
_MOST_CORES = 1024


class Partition:
    """The splits of all layers, and how to refine them.

    Parameters
    ----------
    network : Network
    profile : ChipProfile
        With the architecture ``SPLIT_LAYERS``.
    activity : Activity or None
        A run of this network.

    Attributes
    ----------
    splits : list of Split
        One a layer, in model order.
    """

    def __init__(self, network: Network, profile: ChipProfile, activity: Activity | None = None) -> None:
        self.profile = profile
        self.activity = activity
        self.names = [layer.name for layer in network.layers]
        self.wires = wires(network)
        self.layers = [
            LayerSplits(shape, [wire for wire in self.wires if wire.target == index], profile, activity)
            for index, shape in enumerate(network.shapes)
        ]
        self._most = int(min(profile.limit("cores"), _MOST_CORES))
        self.splits = [layer.smallest(self._most) for layer in self.layers]
        self._relieve_out_axons()

    @property
    def cores(self) -> int:
        """Cores that are taken."""
        return sum(split.parts for split in self.splits)

    def out_axons(self, index: int) -> Counts:
        """Return per box of a layer the pairs of a neuron and a core that it reaches."""
        split = self.splits[index]
        total = np.zeros(split.cuts, np.int64)
        for wire in self.wires:
            if wire.source != index:
                continue
            number = [other for other in self.wires if other.target == wire.target].index(wire)
            factors = self.layers[wire.target].reach(number, self.splits[wire.target])
            reached = [
                np.add.reduceat((factor > 0).sum(axis=0), bounds[:-1])
                for factor, bounds in zip(factors, split.bounds, strict=True)
            ]
            total += reached[0][:, None, None] * reached[1][None, :, None] * reached[2][None, None, :]
        return total

    def _relieve_out_axons(self) -> None:
        """Split layers whose boxes have too many out-axons, the last first: a split downstream adds some upstream."""
        limit = self.profile.limit("out_axons_per_core")
        for index in reversed(range(len(self.splits))):
            while self.out_axons(index).max() > limit:
                split = self.splits[index]
                more = self.layers[index].next(split, split.parts + self._spare, "neurons")
                if more is None:
                    break
                self.splits[index] = more

    @property
    def _spare(self) -> int:
        return self._most - self.cores

    @property
    def busiest_ns(self) -> float:
        """Time of work in a step of the busiest core; 0 when unknown."""
        return max(split.busiest_ns for split in self.splits)

    def split_busiest(self) -> bool:
        """Split the layer with the busiest core further, as `split_further`."""
        return self.split_further(int(np.argmax([split.busiest_ns for split in self.splits])))

    def split_further(self, index: int) -> bool:
        """Split a layer so that its busiest core gets quicker; False, and nothing changed, when that is impossible."""
        before = self.splits[index]
        after = self.layers[index].next(before, before.parts + self._spare, "busy")
        if after is None:
            return False
        kept = list(self.splits)
        broken = self._excess_out_axons()
        self.splits[index] = after
        self._relieve_out_axons()
        if self.cores > self._most or self._excess_out_axons() > broken:
            self.splits = kept
            return False
        return True

    def _excess_out_axons(self) -> float:
        limit = self.profile.limit("out_axons_per_core")
        return sum(max(0.0, float(self.out_axons(index).max()) - limit) for index in range(len(self.splits)))

    def remap(self, step_period_s: float, highest: float) -> list[Remap]:
        """Split layers further until no core works more than a share of the step's period.

        Parameters
        ----------
        step_period_s : float
            Time that a step may take.
        highest : float
            Share of it that a core may work, such as 0.7.

        Returns
        -------
        list of Remap
            One a layer that changed, also where it was split because its targets were. A core may still be above
            `highest` where nothing was left to split.
        """
        start = list(self.splits)
        stuck: set[int] = set()
        while True:
            busy = {
                index: split.busiest_ns
                for index, split in enumerate(self.splits)
                if split.busiest_ns * 1e-9 > highest * step_period_s and index not in stuck
            }
            if not busy:
                break
            index = max(busy, key=busy.__getitem__)
            if not self.split_further(index):
                stuck.add(index)
        share = 1e-9 / step_period_s
        return [
            Remap(name, before.parts, after.parts, before.busiest_ns * share, after.busiest_ns * share)
            for name, before, after in zip(self.names, start, self.splits, strict=True)
            if after.parts != before.parts
        ]

    def largest(self, index: int, resource: str) -> int:
        """Return what the fullest box of a layer takes of a resource."""
        used: NDArray[np.int64] = (
            self.out_axons(index) if resource == "out_axons_per_core" else self.splits[index].use[resource]
        )
        return int(used.max())
