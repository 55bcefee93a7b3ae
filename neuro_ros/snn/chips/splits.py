# SPDX-License-Identifier: Apache-2.0
"""All ways to cut one population into boxes of equal shape, and what each box asks of a core.

A population (c, y, x) is cut along its three axes into a grid of boxes. Cutting channels divides kernels and repeats
sources; cutting rows and columns divides sources and repeats kernels: which is better depends on the layer, so every
grid of a given number of boxes is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache, partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from neuro_ros.snn.network import Shape

from .profile import ChipProfile
from .wiring import Counts, Wire

__all__ = ["Activity", "Box", "LayerSplits", "Split"]

#: Resources that a box takes of its own core, whatever the other layers do.
OWN_RESOURCES = ("neurons_per_core", "synapse_memory_per_core", "in_axons_per_core")

Load = NDArray[np.float64] | None
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Activity:
    """What a real run did: spikes of every cell and neuron.

    Parameters
    ----------
    steps : int
        Network steps of the run, at least 1.
    input_spikes : (c, h, w) int64
        Times that each input cell was set.
    neuron_spikes : tuple of (c, h, w) int64
        Spikes of every neuron, a population each.
    origin : str
        What was run, for people.
    """

    steps: int
    input_spikes: Counts
    neuron_spikes: tuple[Counts, ...]
    origin: str

    def of(self, population: int) -> Counts:
        """Return the spikes of a population, or of the input."""
        return self.neuron_spikes[population] if population >= 0 else self.input_spikes


@dataclass(frozen=True, eq=False)
class Split:
    """One grid of boxes over a population; arrays have the shape of the grid.

    Parameters
    ----------
    cuts : (int, int, int)
        Boxes along channels, rows and columns.
    bounds : three arrays of int
        Where the boxes of each axis begin, with the end.
    use : dict of str to array
        Of each resource in `OWN_RESOURCES`, what a box takes.
    synapses : array
        Pairs of a source and a neuron of a box.
    load : callable
        Computes `synaptic_operations` and `busy_ns`, which most splits that are looked at are never asked for.
    """

    cuts: tuple[int, int, int]
    bounds: tuple[NDArray[np.int64], ...]
    use: dict[str, NDArray[np.int64]] = field(repr=False)
    synapses: NDArray[np.int64] = field(repr=False)
    load: Callable[[], tuple[Load, Load]] = field(repr=False)

    @cached_property
    def _loads(self) -> tuple[Load, Load]:
        return self.load()

    @property
    def synaptic_operations(self) -> Load:
        """Operations of a box in a step, mean of the run; None when nothing was run."""
        return self._loads[0]

    @property
    def busy_ns(self) -> Load:
        """Time that a core is busy with a box in a step; None when times or activity are unknown."""
        return self._loads[1]

    @property
    def parts(self) -> int:
        """Number of boxes."""
        return self.cuts[0] * self.cuts[1] * self.cuts[2]

    @property
    def busiest_ns(self) -> float:
        """Time of the busiest box in a step; 0 when unknown."""
        return 0.0 if self.busy_ns is None else float(self.busy_ns.max())

    def boxes(self) -> Iterator[Box]:
        """Yield the boxes in the order of the arrays."""
        for place in np.ndindex(*self.cuts):
            a, b, c = (
                (int(bounds[index]), int(bounds[index + 1])) for bounds, index in zip(self.bounds, place, strict=True)
            )
            yield a, b, c

    def excess(self, profile: ChipProfile) -> float:
        """Return by how much the boxes exceed the limits of a core, summed over resources and relative to the limit."""
        total = 0.0
        for name, used in self.use.items():
            limit = profile.limit(name)
            total += max(0.0, float(used.max()) / limit - 1.0) if np.isfinite(limit) else 0.0
        return total


class LayerSplits:
    """Finds splits of one population; remembers what it computed.

    Parameters
    ----------
    shape : Shape
        Of the population.
    incoming : sequence of Wire
        Connections into it.
    profile : ChipProfile
    activity : Activity or None
    """

    def __init__(
        self, shape: Shape, incoming: Sequence[Wire], profile: ChipProfile, activity: Activity | None = None
    ) -> None:
        self.shape = shape
        self.neurons = shape[0] * shape[1] * shape[2]
        self._incoming = incoming
        self._profile = profile
        self._activity = activity
        self._options: dict[int, list[Split]] = {}
        self._bounds = cache(self._make_bounds)
        self._reach = cache(self._make_reach)
        # these may be large, and are asked for again only soon after
        self._by_channel = lru_cache(8)(self._make_by_channel)
        self._by_row = lru_cache(64)(self._make_by_row)

    def _make_bounds(self, axis: int, parts: int) -> NDArray[np.int64]:
        """Return where the parts of an axis begin, with the end; no two parts differ by more than one."""
        extent = self.shape[axis]
        return np.array([index * extent // parts for index in range(parts + 1)], np.int64)

    def _make_reach(self, wire: int, axis: int, parts: int) -> Counts:
        """Return (parts, extent of the source's axis): the factor of this axis for each part."""
        bounds = self._bounds(axis, parts)
        return np.stack([self._incoming[wire].reach(axis, int(low), int(high)) for low, high in pairwise(bounds)])

    def _make_by_channel(self, wire: int, channels: int) -> NDArray[np.float64]:
        """Return (channels, h, w): spikes a step of the sources, weighted by the factor of the channels."""
        factor, source = self._reach(wire, 0, channels), self._incoming[wire].source
        if self._activity is None:
            return np.zeros((channels, *self._incoming[wire].source_shape[1:]))
        return np.tensordot(factor / self._activity.steps, self._activity.of(source), axes=1)

    def _make_by_row(self, wire: int, channels: int, rows: int) -> NDArray[np.float64]:
        """Return (channels, rows, w): the same, weighted by the factor of the rows as well."""
        return self._reach(wire, 1, rows) @ self._by_channel(wire, channels)

    def reach(self, wire: int, split: Split) -> tuple[Counts, Counts, Counts]:
        """Return per axis (boxes along it, extent of the source's axis) the factors of a connection."""
        a, b, c = (self._reach(wire, axis, parts) for axis, parts in enumerate(split.cuts))
        return a, b, c

    def options(self, parts: int) -> list[Split]:
        """Return all grids of exactly `parts` boxes, those with the fewest in-axons first."""
        if parts not in self._options:
            channels, height, width = self.shape
            found = [
                self._evaluate((a, b, parts // (a * b)))
                for a in _divisors(parts)
                if a <= channels
                for b in _divisors(parts // a)
                if b <= height and parts // (a * b) <= width
            ]
            found.sort(key=lambda split: int(split.use["in_axons_per_core"].sum()))
            self._options[parts] = found
        return self._options[parts]

    def smallest(self, most: int) -> Split:
        """Return the split with the fewest boxes that respects the limits of a core.

        Where no split does, the least exceeding one of those with up to `most` boxes more than needed for the neurons.
        """
        first = max(1, -(-self.neurons // int(min(self._profile.limit("neurons_per_core"), self.neurons))))
        best: Split | None = None
        best_excess = np.inf
        for parts in range(first, min(first + most, self.neurons) + 1):
            for split in self.options(parts):
                excess = split.excess(self._profile)
                if excess == 0.0:
                    return split
                if excess < best_excess - 1e-9:
                    best, best_excess = split, excess
        # a number of parts may have no grid, but one box or one box a neuron always exists
        return best or (self.options(1) or self.options(self.neurons))[0]

    def next(self, split: Split, most: int, better: str) -> Split | None:
        """Return a split into more boxes that lowers `better`, or None.

        Parameters
        ----------
        split : Split
            What there is.
        most : int
            Boxes at most.
        better : str
            ``busy`` = the busiest box gets quicker; ``neurons`` = the largest box gets smaller.
        """

        def measure(option: Split) -> float:
            return option.busiest_ns if better == "busy" else float(option.use["neurons_per_core"].max())

        allowed = split.excess(self._profile) + 1e-9
        for parts in range(split.parts + 1, min(most, self.neurons) + 1):
            usable = [
                option
                for option in self.options(parts)
                if measure(option) < measure(split) and option.excess(self._profile) <= allowed
            ]
            if usable:
                return min(usable, key=measure)
        return None

    def _evaluate(self, cuts: tuple[int, int, int]) -> Split:
        bounds = tuple(self._bounds(axis, parts) for axis, parts in enumerate(cuts))
        neurons = _grid(*(np.diff(edges) for edges in bounds))
        in_axons = np.zeros(cuts, np.int64)
        bits = np.zeros(cuts, np.int64)
        synapses = np.zeros(cuts, np.int64)
        profile = self._profile
        for number, wire in enumerate(self._incoming):
            factors = tuple(self._reach(number, axis, parts) for axis, parts in enumerate(cuts))
            in_axons += _grid(*((factor > 0).sum(axis=1) for factor in factors))
            unrolled = _grid(*(factor.sum(axis=1) for factor in factors))
            synapses += unrolled
            stored = unrolled
            if profile.shared_kernels:
                stored = np.array(
                    [
                        wire.stored_weights(int(low), int(high))
                        for low, high in zip(bounds[0][:-1], bounds[0][1:], strict=True)
                    ],
                    np.int64,
                )[:, None, None]
            bits_each = wire.weight_bits if profile.narrow_weights else profile.weight_storage_bits
            bits_each += profile.delay_storage_bits if wire.max_delay else 0
            words = -(-stored * bits_each // profile.memory_word_bits)
            bits += words * profile.memory_word_bits
        use = dict(zip(OWN_RESOURCES, (neurons, bits, in_axons), strict=True))
        return Split(cuts, bounds, use, synapses, partial(self._load, cuts, neurons))

    def _load(self, cuts: tuple[int, int, int], neurons: Counts) -> tuple[Load, Load]:
        """Return the operations and the busy time of every box."""
        if self._activity is None:
            return None, None
        operations = np.zeros(cuts)
        for number in range(len(self._incoming)):
            operations += self._by_row(number, cuts[0], cuts[1]) @ self._reach(number, 2, cuts[2]).T
        update_ns, operation_ns = self._profile.cost("neuron_update_ns"), self._profile.cost("synaptic_operation_ns")
        if update_ns is None or operation_ns is None:
            return operations, None
        return operations, neurons * update_ns + operations * operation_ns


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _grid(channels: Counts, rows: Counts, columns: Counts) -> Counts:
    """Return the products of three factors on their grid."""
    return channels[:, None, None] * rows[None, :, None] * columns[None, None, :]
