# SPDX-License-Identifier: Apache-2.0
"""What every back end offers, and the register of back ends by name.

A back end is a function from a model to an `Engine`; it is registered by name
with the module that holds it, which is imported only when somebody asks for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .errors import EngineError
from .model import Model
from .state import NetworkState

__all__ = [
    "CountsCosts",
    "Engine",
    "LendsWeights",
    "WindowResult",
    "backends",
    "check_bins",
    "check_indices",
    "check_registers",
    "check_values",
    "create_engine",
    "register_backend",
]


@dataclass(frozen=True, eq=False)
class WindowResult:
    """What one window did to a network.

    Parameters
    ----------
    spike_counts : (classes,) int32
        Spikes of every output neuron.
    layer_spikes : (layers,) int64
        Spikes of every population.
    layer_synaptic_ops : (layers,) int64
        Synapses that carried a spike into each layer, over all its projections; counted when the source spikes,
        whatever the delay.
    input_spikes, bins : int
        Cells set in the input, and steps run.
    steps : list or None
        With ``record``: ``steps[step][layer]`` = ascending flat (c, y, x) indices, uint32.
    """

    spike_counts: NDArray[np.int32]
    layer_spikes: NDArray[np.int64]
    layer_synaptic_ops: NDArray[np.int64]
    input_spikes: int
    bins: int
    steps: list[list[NDArray[np.uint32]]] | None = field(default=None, repr=False)

    @property
    def synaptic_ops(self) -> int:
        """Synapses that carried a spike, in the whole network."""
        return int(self.layer_synaptic_ops.sum())


class Engine(Protocol):
    """A network in motion. State carries over from window to window until `reset`."""

    model: Model
    backend: str

    def run_window(
        self,
        indices: NDArray[np.uint32],
        bins: int,
        record: bool = False,
        values: NDArray[np.uint8] | None = None,
    ) -> WindowResult:
        """Run `bins` steps; `indices` are the ascending flat (bin, c, y, x) cells set in the input.

        `values` are the payloads of these cells, one each, within 1..2^input_bits - 1 of the network; without
        them every cell carries 1. A network with binary input (input_bits 0) takes none. A back end without
        graded input refuses such networks and need not take the argument.
        """

    def state(self) -> NetworkState:
        """Return a copy of the state."""

    def set_state(self, state: NetworkState) -> None:
        """Continue from `state`; raise `StateError` and change nothing when it belongs to another model."""

    def reset(self) -> None:
        """Put u, v and a_buff to zero; registers stay."""

    def set_registers(self, layer: str, **registers: int) -> None:
        """Change du, dv, vth or bias_exp of a layer from the next window on."""

    def neuron_spikes(self) -> list[NDArray[np.int64]]:
        """Return per layer the spikes of each neuron (c, h, w) since the engine was made or last asked to clear."""

    def clear_neuron_spikes(self) -> None:
        """Set the counters of `neuron_spikes` to zero."""

    def close(self) -> None:
        """Release everything; closing twice is fine, running afterwards is an `EngineError`."""


@runtime_checkable
class CountsCosts(Protocol):
    """An engine to which starting, and changing registers or state, costs time worth reporting."""

    def costs(self) -> dict[str, float]:
        """Return counts, and seconds under names that end in ``_s``, since the engine was made."""


@runtime_checkable
class LendsWeights(Protocol):
    """An engine whose weights may serve a second state of the same model, at hardly any cost."""

    def lend_weights(self) -> Engine | None:
        """Return an engine at rest, with the model's own registers, on the weights as they lie in memory.

        None = the engine below cannot do that.
        """


_BACKENDS: dict[str, tuple[str, str]] = {
    "fixed": ("neuro_ros.snn.fixed", "FixedEngine"),
    "lava": ("neuro_ros.snn.lava_engine", "create_lava"),
    "loihi": ("neuro_ros.snn.lava_engine", "create_loihi"),
}


def register_backend(name: str, module: str, factory: str) -> None:
    """Add a back end: ``factory(model, **options)`` in `module` returns an `Engine`."""
    if name in _BACKENDS:
        raise EngineError(f"back end '{name}' is registered already by {_BACKENDS[name][0]}")
    _BACKENDS[name] = (module, factory)


def backends() -> tuple[str, ...]:
    """Return the names of the registered back ends."""
    return tuple(_BACKENDS)


def create_engine(model: Model, backend: str = "fixed", **options: Any) -> Engine:
    """Build `model` for a back end.

    Parameters
    ----------
    model : Model
        What to run.
    backend : str
        A name of `backends()`.
    **options
        For the back end; ``fixed`` takes ``constant_time``, ``lava`` and ``loihi`` take time-outs.

    Raises
    ------
    UnsupportedLayerError
        When the back end cannot represent a layer exactly.
    BackendUnavailableError
        When software or hardware that it needs is missing.
    EngineError
        When the name is unknown or the back end does not start.
    """
    if backend not in _BACKENDS:
        raise EngineError(f"unknown back end '{backend}'; known are {', '.join(_BACKENDS)}")
    module, factory = _BACKENDS[backend]
    build: Callable[..., Engine] = getattr(importlib.import_module(module), factory)
    return build(model, **options)


def check_bins(bins: Any) -> int:
    """Return `bins` as an int, or raise `EngineError` unless it is within 1..65536."""
    if not isinstance(bins, (int, np.integer)) or not 1 <= bins <= 65536:
        raise EngineError(f"bins is {bins!r}, outside 1..65536")
    return int(bins)


def check_indices(indices: Any, bins: int, cells: int) -> NDArray[np.uint32]:
    """Return `indices` as contiguous uint32 after checking order and range.

    Raises
    ------
    EngineError
        When an index lies outside bins x cells, or the order is not strictly ascending.
    """
    check_bins(bins)
    array = np.ascontiguousarray(indices, dtype=np.uint32)
    if array.ndim != 1:
        raise EngineError(f"indices have shape {array.shape}; give a flat array")
    if array.size and int(array[-1]) >= bins * cells:
        raise EngineError(
            f"index {int(array[-1])} lies outside {bins} bins of {cells} cells; the geometry does not fit the model"
        )
    if array.size > 1 and not bool((array[1:] > array[:-1]).all()):
        raise EngineError("indices are not strictly ascending; sort and deduplicate the cells")
    return array


def check_values(values: Any, indices: NDArray[np.uint32], input_bits: int) -> NDArray[np.uint8]:
    """Return the payload of every index as contiguous uint8; all 1 when `values` is None.

    Raises
    ------
    EngineError
        When the network takes no payloads, or they do not fit its width or the number of indices.
    """
    if values is None:
        return np.ones(indices.size, np.uint8)
    largest = (1 << input_bits) - 1
    if not largest:
        raise EngineError("values were given but the input of this model is binary; give indices alone")
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.shape != indices.shape:
        raise EngineError(
            f"values are {array.dtype} {array.shape}; one integer for each of {indices.size} indices is needed"
        )
    if array.size and not 1 <= int(array.min()) <= int(array.max()) <= largest:
        raise EngineError(f"values span {array.min()}..{array.max()}, outside 1..{largest}; leave silent cells out")
    return np.ascontiguousarray(array, dtype=np.uint8)


def check_registers(current: Mapping[str, int], changes: Mapping[str, int]) -> dict[str, int]:
    """Return `current` with `changes`, refusing names that are not registers."""
    unknown = sorted(set(changes) - set(current))
    if unknown:
        raise EngineError(f"unknown register {', '.join(unknown)}; known are {', '.join(current)}")
    return {**current, **{name: int(value) for name, value in changes.items()}}
