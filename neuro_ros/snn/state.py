# SPDX-License-Identifier: Apache-2.0
"""The state of a running network: everything that its next step, and the next decision, depend on.

That is: current u, voltage v and the activation in flight a_buff of every neuron (a
spike of step t reaches u at t+1, or by its delay later, and back ends keep the
accumulated sum, not the spike), the steps that it still rests, the registers in
force, the evidence and the decision that rests on it. With the same input two back
ends continue one state identically.

`neuro_ros.snn.state_file` writes and reads it; docs/state_transfer.md is the text of
the protocol. This module refuses to know about files.
"""

from __future__ import annotations

import hashlib
import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import container
from .errors import NetworkError, StateError
from .limits import DELAY_RANGE, MAX_CELLS, MAX_LAYERS, REFRACTORY_RANGE
from .model import Model
from .network import Network

__all__ = ["LayerState", "NetworkState", "StateClock", "layer_digests", "model_registers"]

U_LIMIT = 1 << 23  # u lies in (-2^23, 2^23]
V_LIMIT = (1 << 23) - 1  # v lies in -V_LIMIT..V_LIMIT
A_LIMIT = 1 << 18  # the accumulator bound 2^24, before the shift by 6
REGISTERS = ("du", "dv", "vth", "bias_exp")
CLOCK_STATES = ("TRACKING", "LOCKED", "HOLDOVER")  # an unlocked clock says nothing, so it is not carried
Parts = dict[str, tuple[tuple[int, ...], int, int]]


@dataclass(frozen=True, eq=False)
class LayerState:
    """The state of one population, int32 arrays of shape (channels, height, width).

    Parameters
    ----------
    u, v : array
        Current and voltage.
    a_buff : array
        Activation in flight, already shifted by the weight_exp of each projection and summed: what is
        added to u in the next step. With delays it is (slots, c, h, w), and slot k is added k steps later.
    refractory : array or None
        Steps in which v still stays at 0; None where the population has no refractory period.
    plasticity : mapping of str to array
        Traces, eligibility and changed weights by name (``trace_post``, ``trace_pre.0``, ``eligibility.0``,
        ``weight.0``; the number is that of the projection). No back end of this release learns, so all of them
        refuse a state in which there are any.
    """

    u: NDArray[np.int32]
    v: NDArray[np.int32]
    a_buff: NDArray[np.int32]
    refractory: NDArray[np.int32] | None = None
    plasticity: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, NDArray[np.int32]]:
        """The arrays of the neurons that are there, by name."""
        parts = {"u": self.u, "v": self.v, "a_buff": self.a_buff}
        return parts if self.refractory is None else {**parts, "refractory": self.refractory}


@dataclass(frozen=True)
class StateClock:
    """The model of the sensor's clock when the state was taken: ``ClockModel`` without its header.

    host = reference_host_ns + d + d * skew_ppb * 1e-9 with d = sensor - reference_sensor_ns.

    Parameters
    ----------
    clock_id : str
        Which clock.
    reference_sensor_ns, reference_host_ns : int
        One moment in both times [ns].
    skew_ppb, sigma_ns : float
        Rate [ppb] and standard uncertainty then [ns].
    state : str
        TRACKING, LOCKED or HOLDOVER.

    Raises
    ------
    StateError
        When a figure is not finite, or the state is none of these.
    """

    clock_id: str
    reference_sensor_ns: int
    reference_host_ns: int
    skew_ppb: float
    sigma_ns: float
    state: str

    def __post_init__(self) -> None:
        if self.state not in CLOCK_STATES:
            raise StateError(f"the clock is {self.state!r}; only {', '.join(CLOCK_STATES)} can be carried")
        if not math.isfinite(self.skew_ppb) or not 0.0 <= self.sigma_ns < math.inf:
            raise StateError(f"clock {self.clock_id!r}: skew {self.skew_ppb} ppb, sigma {self.sigma_ns} ns")


@dataclass(frozen=True, eq=False)
class NetworkState:
    """A copy of the state of all populations; no engine changes it afterwards.

    Parameters
    ----------
    layers : tuple of LayerState
        In model order.
    registers : tuple of dict
        Per layer du, dv, vth and bias_exp in force; empty = those of the model.
    model_digest, model_id, topology_digest : str
        Of the model that the state belongs to.
    stream_id : str
        ``header.frame_id`` of the stream; "" = unknown.
    sequence : int
        Of the last window that went in; -1 = unknown.
    sensor_end_ns : int
        End of that window in sensor time; -1 = unknown.
    topology : dict
        `Network.topology` of the model.
    epoch : int
        Of the publisher of that window; -1 = unknown. Sequences compare only within one epoch.
    evidence : tuple of float
        What a decision rests on beside the neurons: leaky sum of output spikes, one entry a class; empty = none.
    decision : int
        Class index of the decision in force; -1 = none.
    layer_digests : tuple of str
        `layer_digests` of the model, by which its unchanged layers are known again in another one; empty = unknown.
    compensation_id : int
        ``compensation_id`` of the ThermalCompensation that set the registers; 0 = none.
    clock : StateClock or None
        Of the sensor; None = unknown.
    """

    layers: tuple[LayerState, ...]
    registers: tuple[dict[str, int], ...] = ()
    model_digest: str = ""
    model_id: str = ""
    topology_digest: str = ""
    stream_id: str = ""
    sequence: int = -1
    sensor_end_ns: int = -1
    topology: dict[str, Any] = field(default_factory=dict)
    epoch: int = -1
    evidence: tuple[float, ...] = ()
    decision: int = -1
    layer_digests: tuple[str, ...] = ()
    compensation_id: int = 0
    clock: StateClock | None = None

    @classmethod
    def at_rest(cls, model: Model) -> NetworkState:
        """Return the state of a network that has not run: all zero, the model's registers."""
        layers = []
        for expected in expected_parts(_identity(model).topology):
            zeros = {name: np.zeros(shape, np.int32) for name, (shape, *_) in expected.items()}
            layers.append(LayerState(zeros["u"], zeros["v"], zeros["a_buff"], zeros.get("refractory")))
        return cls.of(model, tuple(layers))

    @classmethod
    def of(
        cls, model: Model, layers: tuple[LayerState, ...], registers: tuple[dict[str, int], ...] = ()
    ) -> NetworkState:
        """Return a state of `model` with these arrays and registers in force."""
        identity = _identity(model)
        return cls(
            layers,
            registers or tuple(model_registers(model.network)),
            model.digest,
            model.model_id,
            identity.topology_digest,
            topology=identity.topology,
            layer_digests=identity.layer_digests,
        )

    def labelled(
        self,
        stream_id: str,
        sequence: int,
        sensor_end_ns: int,
        epoch: int = -1,
        evidence: tuple[float, ...] = (),
        decision: int = -1,
        compensation_id: int = 0,
    ) -> NetworkState:
        """Return the same state, labelled with the stream, its last window, evidence and decision, and compensation."""
        return replace(
            self,
            stream_id=stream_id,
            sequence=sequence,
            sensor_end_ns=sensor_end_ns,
            epoch=epoch,
            evidence=evidence,
            decision=decision,
            compensation_id=compensation_id,
        )

    @property
    def layer_names(self) -> list[str]:
        """The names of the populations, in model order."""
        return [entry["name"] for entry in self.topology.get("layers", [])]

    def check(self, model: Model) -> None:
        """Raise `StateError` naming what differs unless `model` continues from this state."""
        if self.model_digest != model.digest:
            raise StateError(
                f"the state belongs to model {self.model_id or '?'}, not to {model.model_id}; "
                "load it with its own model or start at rest"
            )
        if self.topology_digest != _identity(model).topology_digest:
            raise StateError(f"the state has another topology than model {model.model_id}")
        if len(self.layers) != len(model.network.layers) or len(self.registers) != len(self.layers):
            raise StateError(
                f"the state has {len(self.layers)} layers and {len(self.registers)} register sets, "
                f"the model {len(model.network.layers)}"
            )
        self.check_arrays(_identity(model).topology)
        for layer, state, registers in zip(model.network.layers, self.layers, self.registers, strict=True):
            if state.plasticity:
                raise StateError(
                    f"layer '{layer.name}': the state holds {', '.join(sorted(state.plasticity))}, and no back end of "
                    "this release learns; convert it without them, or run it with the release that wrote it"
                )
            if sorted(registers) != sorted(REGISTERS):
                raise StateError(f"layer '{layer.name}': registers {sorted(registers)}, {sorted(REGISTERS)} are needed")
            try:
                replace(layer.neuron, **registers)
            except NetworkError as error:
                raise StateError(f"layer '{layer.name}': {error}") from None

    def check_arrays(self, topology: Mapping[str, Any]) -> None:
        """Raise `StateError` unless every array is there with the shape and within the width that `topology` asks for.

        `topology` may come out of a file.
        """
        names = [entry["name"] for entry in topology["layers"]]
        for name, expected, state in zip(names, expected_parts(topology), self.layers, strict=True):
            if list(state.parts) != list(expected):
                raise StateError(
                    f"layer '{name}': the state holds {', '.join(state.parts)}; {', '.join(expected)} are needed"
                )
            for part, (shape, low, high) in expected.items():
                array = state.parts[part]
                if array.dtype != np.int32 or array.shape != shape:
                    raise StateError(f"layer '{name}': {part} is {array.dtype} {array.shape}, int32 {shape} is needed")
                if array.size and not low <= int(array.min()) <= int(array.max()) <= high:
                    swapped = array.byteswap()
                    hint = ""
                    if low <= int(swapped.min()) <= int(swapped.max()) <= high:
                        hint = "; they fit with their bytes turned round: tensors are little-endian"
                    raise StateError(
                        f"layer '{name}': {part} spans {array.min()}..{array.max()}, outside {low}..{high}{hint}"
                    )
            if state.refractory is not None and np.any(state.v[state.refractory > 0]):
                raise StateError(f"layer '{name}': v is not 0 in neurons that rest after a spike")


def expected_parts(topology: Mapping[str, Any]) -> list[Parts]:
    """Return per layer the arrays of a state by name: shape, lowest and highest value.

    Raises
    ------
    StateError
        When this is no topology of a network.
    """
    entries = topology.get("layers")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_LAYERS:
        raise StateError(f"the topology has no list of 1 to {MAX_LAYERS} layers")
    expected = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise StateError("the topology holds a layer without a name")
        name, given = entry["name"], entry.get("shape")
        if not isinstance(given, list) or len(given) != 3 or not all(_is_within(n, 1, MAX_CELLS) for n in given):
            raise StateError(f"layer '{name}': the topology has no shape (channels, height, width)")
        slots, refractory = entry.get("slots", 1), entry.get("refractory", 0)
        if not _is_within(slots, 1, DELAY_RANGE[1] + 1) or not _is_within(refractory, *REFRACTORY_RANGE):
            raise StateError(f"layer '{name}': the topology has {slots!r} slots and refractory {refractory!r}")
        shape = tuple(given)
        parts: Parts = {
            "u": (shape, 1 - U_LIMIT, U_LIMIT),
            "v": (shape, -V_LIMIT, V_LIMIT),
            "a_buff": (shape if slots == 1 else (slots, *shape), -A_LIMIT, A_LIMIT),
        }
        if refractory:
            parts["refractory"] = (shape, 0, refractory)
        expected.append(parts)
    return expected


def _is_within(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def model_registers(network: Network) -> list[dict[str, int]]:
    """Return the registers that the model file sets, per layer."""
    return [{name: getattr(layer.neuron, name) for name in REGISTERS} for layer in network.layers]


def layer_digests(network: Network) -> tuple[str, ...]:
    """Return per layer the SHA-256 of what makes its state mean the same in another model.

    That is its name, its shape, its neurons and registers, and its projections with their weights, delays and the names
    of their sources; not what these sources are.
    """
    digests = []
    for index, layer in enumerate(network.layers):
        arrays = {f"neuron.{name}": array for name, array in layer.neuron.tensors().items()}
        projections = []
        for k, (projection, source) in enumerate(zip(layer.projections, network.sources[index], strict=True)):
            name = network.layers[source].name if source >= 0 else ""
            connection = projection.connection
            projections.append([name, connection.kind, _told(connection)])
            arrays |= {f"projection{k}.{name}": array for name, array in connection.tensors().items()}
            arrays[f"projection{k}.delays"] = projection.delays
        neuron = [layer.neuron.kind, _told(layer.neuron)]
        digest = hashlib.sha256(
            container.canonical_json([layer.name, list(network.shapes[index]), neuron, projections])
        )
        for name in sorted(arrays):
            array = arrays[name].astype(arrays[name].dtype.newbyteorder("<"), copy=False)
            digest.update(container.canonical_json([name, array.dtype.str, list(array.shape)]))
            digest.update(array.tobytes())
        digests.append(digest.hexdigest())
    return tuple(digests)


def _told(part: Any) -> dict[str, Any]:
    """Return the scalars of a connection or neuron that are not at their default.

    A release that knows more of them then gives the same digest to what this one can say.
    """
    defaults = {entry.name: entry.default for entry in fields(part)}
    return {name: value for name, value in part.parameters().items() if value != defaults.get(name)}


@dataclass(frozen=True)
class _Identity:
    """What every state of one model says in the same words."""

    topology: dict[str, Any]
    topology_digest: str
    layer_digests: tuple[str, ...]


# A snapshot waits between two windows: what costs a hash over all weights is computed once a model.
_identities: weakref.WeakKeyDictionary[Model, _Identity] = weakref.WeakKeyDictionary()


def _identity(model: Model) -> _Identity:
    found = _identities.get(model)
    if found is None:
        network = model.network
        found = _Identity(network.topology(), network.topology_digest(), layer_digests(network))
        _identities[model] = found
    return found
