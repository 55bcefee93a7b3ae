# SPDX-License-Identifier: Apache-2.0
"""What a chip profile consists of: every limit and cost by name, each a `Figure`.

The two tables below name all limits and costs that the mapper and the energy estimate understand. A profile states
each limit of its architecture or says that it is unknown; a misspelt or forgotten one is an error when the profile is
imported, not a limit that is silently never checked.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .figures import ChipError, Figure

__all__ = ["COSTS", "LIMITS", "Architecture", "ChipProfile", "Mesh"]


class Architecture(enum.Enum):
    """How a network is laid onto the cores of a chip."""

    SPLIT_LAYERS = "split layers"  # a population may be cut over many equal cores
    LAYER_A_CORE = "a layer a core"  # each core holds one whole layer, and cores differ


#: name: (unit, what it limits, architectures that need it)
LIMITS: Mapping[str, tuple[str, str, frozenset[Architecture]]] = MappingProxyType(
    {
        "cores": ("cores", "cores of one chip", frozenset(Architecture)),
        "neurons": ("neurons", "neurons of one chip", frozenset(Architecture)),
        "synapses": ("synapses", "stored weights of one chip", frozenset(Architecture)),
        "neurons_per_core": ("neurons", "neurons of one core", frozenset({Architecture.SPLIT_LAYERS})),
        "synapse_memory_per_core": ("bit", "weights of one core", frozenset({Architecture.SPLIT_LAYERS})),
        "in_axons_per_core": ("axons", "distinct sources that reach a core", frozenset({Architecture.SPLIT_LAYERS})),
        "out_axons_per_core": (
            "axons",
            "pairs of a neuron and a core that it reaches",
            frozenset({Architecture.SPLIT_LAYERS}),
        ),
        "fan_in": ("synapses", "synapses of one neuron", frozenset(Architecture)),
        "delay_steps": ("steps", "axonal or synaptic delay", frozenset(Architecture)),
        "refractory_steps": ("steps", "refractory period", frozenset(Architecture)),
        "payload_bits": ("bits", "value that a spike carries", frozenset(Architecture)),
        "weight_bits": ("bits", "width of a weight", frozenset(Architecture)),
        "kernel_memory_per_core": ("weights", "kernel entries of one core", frozenset({Architecture.LAYER_A_CORE})),
        "neuron_memory_per_core": ("neurons", "neuron states of one core", frozenset({Architecture.LAYER_A_CORE})),
        "states_per_neuron": ("states", "state variables of a neuron", frozenset({Architecture.LAYER_A_CORE})),
        "input_side": ("cells", "height and width of a layer's input", frozenset({Architecture.LAYER_A_CORE})),
        "output_side": ("cells", "height and width of a layer's output", frozenset({Architecture.LAYER_A_CORE})),
        "features": ("channels", "output channels of a layer", frozenset({Architecture.LAYER_A_CORE})),
        "kernel_side": ("cells", "height and width of a kernel", frozenset({Architecture.LAYER_A_CORE})),
        "strides": ("cells", "allowed strides", frozenset({Architecture.LAYER_A_CORE})),
        "padding": ("cells", "zero padding a side", frozenset({Architecture.LAYER_A_CORE})),
        "pooling": ("cells", "allowed sum pooling after a layer", frozenset({Architecture.LAYER_A_CORE})),
        "targets_per_layer": ("layers", "layers that one layer may feed", frozenset({Architecture.LAYER_A_CORE})),
    }
)

#: name: (unit, what it is)
COSTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "synaptic_operation_pj": ("pJ", "energy of one synaptic operation"),
        "neuron_update_pj": ("pJ", "energy of one neuron update"),
        "static_power_w": ("W", "power without any activity"),
        "synaptic_operation_ns": ("ns", "time of one synaptic operation in a core"),
        "neuron_update_ns": ("ns", "time of one neuron update in a core"),
        "step_overhead_ns": ("ns", "time a step that no activity shortens: the barrier of all cores"),
    }
)


@dataclass(frozen=True)
class Mesh:
    """Where the cores lie, for placement: tiles on a grid, some cores each.

    Parameters
    ----------
    columns, rows : int
        Tiles of the grid.
    cores_per_tile : int
        Cores that share the router of a tile.
    source : str
        Where that was read.
    """

    columns: int
    rows: int
    cores_per_tile: int
    source: str

    def __post_init__(self) -> None:
        if min(self.columns, self.rows, self.cores_per_tile) < 1 or not self.source:
            raise ChipError(
                f"mesh {self.columns} x {self.rows} x {self.cores_per_tile} needs numbers above 0 and a source"
            )

    @property
    def cores(self) -> int:
        """Places for cores."""
        return self.columns * self.rows * self.cores_per_tile

    def tile(self, core: int) -> tuple[int, int]:
        """Return (column, row) of the tile of a core; cores are numbered along the rows."""
        number = core // self.cores_per_tile
        return number % self.columns, number // self.columns

    def hops(self, core: int, other: int) -> int:
        """Return the tiles between two cores, first along a row and then along a column."""
        (x, y), (column, row) = self.tile(core), self.tile(other)
        return abs(x - column) + abs(y - row)


@dataclass(frozen=True)
class ChipProfile:
    """One chip: what fits, what it costs, and who says so.

    Parameters
    ----------
    name : str
        What ``--chip`` takes.
    title : str
        For people.
    architecture : Architecture
        Decides which limits the profile must state.
    limits, costs : mapping of str to Figure
        Keys of `LIMITS` that the architecture needs, and all of `COSTS`; units as there.
    assumptions : tuple of str
        What the mapper assumes about this chip where no source settles it.
    shared_kernels : bool
        A core stores the kernels of its output channels once for all places; else every synapse is stored.
    weight_storage_bits, delay_storage_bits : int
        Bits that one stored weight takes, and those that a delay adds to it.
    narrow_weights : bool
        Weights of a smaller declared width take so much less memory.
    memory_word_bits : int
        The weights of a core take whole words.
    mesh : Mesh or None
        None = places are not known, so no placement is shown.

    Raises
    ------
    ChipError
        When a limit or cost is missing, unknown, or in another unit.
    """

    name: str
    title: str
    architecture: Architecture
    limits: Mapping[str, Figure]
    costs: Mapping[str, Figure]
    assumptions: tuple[str, ...] = ()
    shared_kernels: bool = True
    weight_storage_bits: int = 8
    delay_storage_bits: int = 6
    narrow_weights: bool = False
    memory_word_bits: int = 1
    mesh: Mesh | None = None

    def __post_init__(self) -> None:
        needed = {name: unit for name, (unit, _, where) in LIMITS.items() if self.architecture in where}
        self._check("limit", self.limits, needed)
        self._check("cost", self.costs, {name: unit for name, (unit, _) in COSTS.items()})
        for number in (self.weight_storage_bits, self.delay_storage_bits, self.memory_word_bits):
            if not isinstance(number, int) or number < 1:
                raise ChipError(f"profile '{self.name}': {number!r} bits; give a whole number above 0")
        if self.architecture is Architecture.LAYER_A_CORE:
            for name in ("kernel_memory_per_core", "neuron_memory_per_core"):
                if len(self.limits[name].values) != self.limits["cores"].top:
                    raise ChipError(f"profile '{self.name}': {name} needs one value for each of the cores")
        object.__setattr__(self, "limits", MappingProxyType(dict(self.limits)))
        object.__setattr__(self, "costs", MappingProxyType(dict(self.costs)))

    def _check(self, what: str, given: Mapping[str, Figure], needed: Mapping[str, str]) -> None:
        wrong = sorted(set(given) ^ set(needed))
        if wrong:
            raise ChipError(f"profile '{self.name}': {what} {', '.join(wrong)} is missing or not of its architecture")
        for name, figure in given.items():
            if figure.unit != needed[name]:
                raise ChipError(f"profile '{self.name}': {what} {name} is in {figure.unit}, must be in {needed[name]}")

    def limit(self, name: str) -> float:
        """Return the (largest) value of a limit; infinite where it is unknown or not of this architecture."""
        return self.limits[name].top if name in self.limits else float("inf")

    def cost(self, name: str) -> float | None:
        """Return a cost in its unit, None where it is unknown."""
        values = self.costs[name].values
        return values[0] if values else None

    @property
    def not_checked(self) -> tuple[str, ...]:
        """Limits without a public figure."""
        return tuple(name for name, figure in self.limits.items() if not figure.known)
