# SPDX-License-Identifier: Apache-2.0
"""The state of a running network, and the file that it is kept in.

A state is everything that the next step depends on: current u, voltage v and the
activation in flight a_buff of every neuron (a spike of step t reaches u at t+1,
or by its delay later, and back ends keep the accumulated sum, not the spike), the
steps that it still rests, and the registers in force. With the same input two
back ends continue one state identically.

File: safetensors with the metadata entry ``neuro_ros.state`` (JSON: version,
digest, manifest) and int32 tensors ``u.<layer>``, ``v.<layer>``, ``a_buff.<layer>``
of shape (channels, height, width). u and v are 24 bit values. Version 2 is written
where version 1 does not do: ``a_buff.<layer>`` of a population with delays has the
shape (slots, channels, height, width), slot 0 arriving first; ``refractory.<layer>``
is there for a population with a refractory period.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import container
from .errors import NetworkError, StateError
from .model import Model
from .network import Network

__all__ = ["STATE_FORMAT", "STATE_VERSIONS", "LayerState", "NetworkState", "load_state", "save_state"]

STATE_FORMAT = "neuro_ros.state"
STATE_VERSIONS = (1, 2)  # that this release reads
U_LIMIT = 1 << 23  # u lies in (-2^23, 2^23]
V_LIMIT = (1 << 23) - 1  # v lies in -V_LIMIT..V_LIMIT
A_LIMIT = 1 << 18  # the accumulator bound 2^24, before the shift by 6
REGISTERS = ("du", "dv", "vth", "bias_exp")


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
    """

    u: NDArray[np.int32]
    v: NDArray[np.int32]
    a_buff: NDArray[np.int32]
    refractory: NDArray[np.int32] | None = None

    @property
    def parts(self) -> dict[str, NDArray[np.int32]]:
        """The arrays that are there, by name."""
        parts = {"u": self.u, "v": self.v, "a_buff": self.a_buff}
        return parts if self.refractory is None else {**parts, "refractory": self.refractory}


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
    epoch : int
        Of the publisher of that window; -1 = unknown. Sequences compare only within one epoch.
    evidence : tuple of float
        What a decision rests on beside the neurons: leaky sum of output spikes, one entry a class; empty = none.
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

    @classmethod
    def at_rest(cls, model: Model) -> NetworkState:
        """Return the state of a network that has not run: all zero, the model's registers."""
        layers = tuple(
            LayerState(**{name: np.zeros(shape, np.int32) for name, (shape, *_) in expected.items()})
            for expected in _expected_parts(model.network)
        )
        return cls.of(model, layers)

    @classmethod
    def of(
        cls, model: Model, layers: tuple[LayerState, ...], registers: tuple[dict[str, int], ...] = ()
    ) -> NetworkState:
        """Return a state of `model` with these arrays and registers in force."""
        registers = registers or tuple(model_registers(model.network))
        return cls(
            layers,
            registers,
            model.digest,
            model.model_id,
            model.network.topology_digest(),
            topology=model.network.topology(),
        )

    def labelled(
        self, stream_id: str, sequence: int, sensor_end_ns: int, epoch: int = -1, evidence: tuple[float, ...] = ()
    ) -> NetworkState:
        """Return the same state, labelled with the stream, the last window and the evidence for a decision."""
        return replace(
            self, stream_id=stream_id, sequence=sequence, sensor_end_ns=sensor_end_ns, epoch=epoch, evidence=evidence
        )

    def check(self, model: Model) -> None:
        """Raise `StateError` naming what differs unless this state belongs to `model`."""
        if self.model_digest != model.digest:
            raise StateError(
                f"the state belongs to model {self.model_id or '?'}, not to {model.model_id}; "
                "load it with its own model or start at rest"
            )
        if self.topology_digest != model.network.topology_digest():
            raise StateError(f"the state has another topology than model {model.model_id}")
        if len(self.layers) != len(model.network.layers) or len(self.registers) != len(self.layers):
            raise StateError(
                f"the state has {len(self.layers)} layers and {len(self.registers)} register sets, "
                f"the model {len(model.network.layers)}"
            )
        for layer, expected, state, registers in zip(
            model.network.layers, _expected_parts(model.network), self.layers, self.registers, strict=True
        ):
            if list(state.parts) != list(expected):
                raise StateError(
                    f"layer '{layer.name}': the state holds {', '.join(state.parts)}; {', '.join(expected)} are needed"
                )
            for name, (shape, low, high) in expected.items():
                array = state.parts[name]
                if array.dtype != np.int32 or array.shape != shape:
                    raise StateError(
                        f"layer '{layer.name}': {name} is {array.dtype} {array.shape}, int32 {shape} is needed"
                    )
                if array.size and not low <= int(array.min()) <= int(array.max()) <= high:
                    raise StateError(
                        f"layer '{layer.name}': {name} spans {array.min()}..{array.max()}, outside {low}..{high}"
                    )
            if state.refractory is not None and np.any(state.v[state.refractory > 0]):
                raise StateError(f"layer '{layer.name}': v is not 0 in neurons that rest after a spike")
            if sorted(registers) != sorted(REGISTERS):
                raise StateError(f"layer '{layer.name}': registers {sorted(registers)}, {sorted(REGISTERS)} are needed")
            try:
                replace(layer.neuron, **registers)
            except NetworkError as error:
                raise StateError(f"layer '{layer.name}': {error}") from None


def _expected_parts(network: Network) -> list[dict[str, tuple[tuple[int, ...], int, int]]]:
    """Return per layer the arrays of a state by name: shape, lowest and highest value."""
    expected = []
    for layer, shape, slots in zip(network.layers, network.shapes, network.slots, strict=True):
        parts: dict[str, tuple[tuple[int, ...], int, int]] = {
            "u": (shape, 1 - U_LIMIT, U_LIMIT),
            "v": (shape, -V_LIMIT, V_LIMIT),
            "a_buff": (shape if slots == 1 else (slots, *shape), -A_LIMIT, A_LIMIT),
        }
        if layer.neuron.refractory:
            parts["refractory"] = (shape, 0, layer.neuron.refractory)
        expected.append(parts)
    return expected


def model_registers(network: Network) -> list[dict[str, int]]:
    """Return the registers that the model file sets, per layer."""
    return [{name: getattr(layer.neuron, name) for name in REGISTERS} for layer in network.layers]


def _manifest(state: NetworkState) -> dict[str, Any]:
    return {
        "model_digest": state.model_digest,
        "model_id": state.model_id,
        "topology_digest": state.topology_digest,
        "topology": state.topology,
        "stream_id": state.stream_id,
        "sequence": state.sequence,
        "sensor_end_ns": state.sensor_end_ns,
        "epoch": state.epoch,
        "evidence": list(state.evidence),
        "registers": list(state.registers),
        "widths": {"u": 24, "v": 24, "a_buff": 19},
    }


def _digest(manifest: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(container.canonical_json(manifest))
    for name in sorted(tensors):
        digest.update(container.canonical_json([name, tensors[name].dtype.str, list(tensors[name].shape)]))
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()


def save_state(state: NetworkState, path: str | os.PathLike[str]) -> str:
    """Write `state` to `path` as a whole or not at all and return its digest.

    Raises
    ------
    StateError
        When the file cannot be written; an older file stays as it was.
    """
    names = [layer["name"] for layer in state.topology.get("layers", [])]
    if len(names) != len(state.layers):
        raise StateError(f"the state has {len(state.layers)} layers and a topology of {len(names)}")
    tensors = {
        f"{part}.{name}": array
        for name, layer in zip(names, state.layers, strict=True)
        for part, array in layer.parts.items()
    }
    plain = all(layer.refractory is None and layer.a_buff.ndim == 3 for layer in state.layers)
    manifest = _manifest(state)
    digest = _digest(manifest, tensors)
    try:
        container.write(
            Path(path), STATE_FORMAT, {"version": 1 if plain else 2, "digest": digest, "manifest": manifest}, tensors
        )
    except container.ContainerError as error:
        raise StateError(str(error)) from None
    return digest


def load_state(path: str | os.PathLike[str], model: Model | None = None) -> NetworkState:
    """Read a state file; with `model`, refuse one that belongs to another.

    Raises
    ------
    StateError
        When the file is missing, foreign, truncated, changed, of another version,
        or the state of another model; the text says what differs.
    """
    try:
        head, tensors = container.read(Path(path), STATE_FORMAT)
    except container.ContainerError as error:
        raise StateError(f"not a usable state file: {error}") from None
    if head.get("version") not in STATE_VERSIONS:
        raise StateError(
            f"{path}: state format version {head.get('version')!r}, this release reads "
            f"{' and '.join(map(str, STATE_VERSIONS))}"
        )
    manifest = head.get("manifest")
    if not isinstance(manifest, dict):
        raise StateError(f"{path}: the manifest is missing")
    expected = _digest(manifest, tensors)
    if head.get("digest") != expected:
        raise StateError(
            f"{path}: integrity digest is {head.get('digest')!r} but the content has {expected!r}; "
            "the file was changed after it was saved"
        )
    try:
        layers = tuple(
            LayerState(
                tensors[f"u.{name}"], tensors[f"v.{name}"], tensors[f"a_buff.{name}"], tensors.get(f"refractory.{name}")
            )
            for name in (layer["name"] for layer in manifest["topology"]["layers"])
        )
        state = NetworkState(
            layers,
            tuple(manifest["registers"]),
            manifest["model_digest"],
            manifest["model_id"],
            manifest["topology_digest"],
            manifest["stream_id"],
            manifest["sequence"],
            manifest["sensor_end_ns"],
            manifest["topology"],
            manifest["epoch"],
            tuple(manifest["evidence"]),
        )
    except (KeyError, TypeError) as error:
        raise StateError(f"{path}: the manifest does not describe a state: {error!r}") from None
    if model is not None:
        try:
            state.check(model)
        except StateError as error:
            raise StateError(f"{path}: {error}") from None
    return state
