# SPDX-License-Identifier: Apache-2.0
"""What comes out of mapping a network to a chip: the cores, and every limit that is broken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .profile import LIMITS, ChipProfile
from .splits import Activity, Box

__all__ = ["ChipMapping", "CoreUse", "Remap", "Violation"]

#: What to change when a limit is broken; `{layer}` is the layer, or "the network".
_HINTS = {
    "cores": "pool or stride earlier, use fewer channels, or take a chip with more cores",
    "neurons": "pool or stride earlier, or use fewer channels",
    "synapses": "use convolutions or fewer neurons instead of wide dense layers",
    "neurons_per_core": "its sides do not divide evenly over the cores: use another number of channels",
    "synapse_memory_per_core": "the weights of a neuron must lie in one core: lower its fan-in by pooling or a stride",
    "in_axons_per_core": "the sources of one neuron must reach one core: pool, stride, or use fewer channels before it",
    "out_axons_per_core": "fewer cores for the layers that it feeds, or fewer neurons in it",
    "fan_in": "lower the fan-in by pooling, a stride or a smaller kernel",
    "delay_steps": "shorten the delay, or relay through a layer",
    "refractory_steps": "shorten the refractory period",
    "payload_bits": "give the network binary input: input_bits = 0",
    "weight_bits": "train with narrower weights",
    "kernel_memory_per_core": "use fewer channels, a smaller kernel, or pooling before a dense layer",
    "neuron_memory_per_core": "pool or stride earlier, or use fewer channels",
    "states_per_neuron": "train without synaptic current: du = 4095 makes it last one step",
    "input_side": "crop or down-sample the input of the layer",
    "output_side": "use a stride or pooling in the layer",
    "features": "use fewer output channels",
    "kernel_side": "use a smaller kernel, or pooling before a dense layer",
    "strides": "use one of the allowed strides",
    "padding": "pad less",
    "pooling": "use one of the allowed sizes, windows that tile the plane, or a convolution",
    "targets_per_layer": "feed fewer layers from it",
    "utilisation": "lengthen the step, split the layer over more cores, or lower its activity",
}


@dataclass(frozen=True)
class Violation:
    """One broken limit.

    Parameters
    ----------
    layer : str
        Empty = the network as a whole.
    limit : str
        Name out of `LIMITS`, or ``utilisation``.
    value, maximum : float
        What is needed, and what there is; for a set of allowed values, the largest.
    note : str
        What the number is made of, where that is not obvious.
    """

    layer: str
    limit: str
    value: float
    maximum: float
    note: str = ""

    @property
    def excess(self) -> float:
        """Value minus maximum; negative where a value merely is not among the allowed ones."""
        return self.value - self.maximum

    @property
    def unit(self) -> str:
        """Unit of value and maximum."""
        return LIMITS[self.limit][0] if self.limit in LIMITS else "of the step"

    @property
    def hint(self) -> str:
        """What to change."""
        return _HINTS[self.limit]


@dataclass(frozen=True)
class CoreUse:
    """One core: what lies on it and how much it does.

    Parameters
    ----------
    place : int
        Number of the core on the chip; -1 = there was none left.
    layer : str
    box : three pairs of int
        Half-open ranges of channels, rows and columns of the layer.
    neurons, synapse_memory_bits, in_axons, out_axons : int
    synapses : int
        Pairs of a source and a neuron, kernels unrolled; what a spike of every source would cost.
    synaptic_operations : float
        In a step, mean of the run; NaN = nothing was run.
    busy_ns : float
        Time of work in a step, mean of the run; NaN = not known.
    """

    place: int
    layer: str
    box: Box
    neurons: int
    synapse_memory_bits: int
    in_axons: int
    out_axons: int
    synapses: int
    synaptic_operations: float = math.nan
    busy_ns: float = math.nan


@dataclass(frozen=True)
class Remap:
    """A layer that was split further, because a core was too busy or because that took out-axons of its sources."""

    layer: str
    cores_before: int
    cores_after: int
    utilisation_before: float
    utilisation_after: float


@dataclass(frozen=True, eq=False)
class ChipMapping:
    """A network on a chip.

    Parameters
    ----------
    profile : ChipProfile
    layers : tuple of str
        In model order.
    cores : tuple of CoreUse
        In the order of the layers.
    violations : tuple of Violation
        Empty = it fits, as far as limits are known.
    remaps : tuple of Remap
        What was split further on account of utilisation.
    step_period_s : float
        Time that one network step may take: sensor time of a bin.
    activity : Activity or None
        The run that utilisation is computed from.
    traffic : (cores, cores) float or None
        Spikes from core to core in a step.
    """

    profile: ChipProfile
    layers: tuple[str, ...]
    cores: tuple[CoreUse, ...]
    violations: tuple[Violation, ...]
    step_period_s: float
    remaps: tuple[Remap, ...] = ()
    activity: Activity | None = None
    traffic: NDArray[np.float64] | None = field(default=None, repr=False)

    @property
    def fits(self) -> bool:
        """True when no known limit is broken."""
        return not self.violations

    @property
    def utilisation(self) -> NDArray[np.float64] | None:
        """Share of a step's period that each core works, above 1 = too late; None when unknown."""
        busy_ns = np.array([core.busy_ns for core in self.cores])
        return None if not busy_ns.size or np.isnan(busy_ns).any() else busy_ns * 1e-9 / self.step_period_s

    @property
    def step_time_s(self) -> float:
        """Time that a step takes at least: busiest core plus overhead; NaN when unknown."""
        utilisation, overhead_ns = self.utilisation, self.profile.cost("step_overhead_ns")
        if utilisation is None or overhead_ns is None:
            return math.nan
        return float(utilisation.max()) * self.step_period_s + overhead_ns * 1e-9

    @property
    def mean_hops(self) -> float:
        """Tiles that a spike crosses, mean over the run; NaN when places or activity are unknown."""
        mesh, traffic = self.profile.mesh, self.traffic
        if mesh is None or traffic is None or not traffic.sum() or any(core.place < 0 for core in self.cores):
            return math.nan
        places = [core.place for core in self.cores]
        hops = np.array([[mesh.hops(a, b) for b in places] for a in places])
        return float((traffic * hops).sum() / traffic.sum())

    def of_layer(self, name: str) -> Sequence[CoreUse]:
        """Return the cores of a layer."""
        return [core for core in self.cores if core.layer == name]
