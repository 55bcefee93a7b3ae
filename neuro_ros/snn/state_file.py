# SPDX-License-Identifier: Apache-2.0
"""`NetworkState` to a file and back.

The newest version is written; every version is read, through the converter. See
docs/state_transfer.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import container
from .errors import StateError
from .model import Model
from .state import LayerState, NetworkState, StateClock
from .state_convert import convert
from .state_document import DECLARATIONS, MUST_UNDERSTAND, StateDocument, read_document
from .state_fields import KNOWN, NEWEST, PLASTICITY, WIDTHS

__all__ = ["load_state", "save_state", "state_document", "state_of"]

_LOG = logging.getLogger(__name__)


def save_state(state: NetworkState, path: str | os.PathLike[str]) -> str:
    """Write `state` to `path` as a whole or not at all and return its digest.

    Raises
    ------
    StateError
        When the file cannot be written; an older file stays as it was.
    """
    return state_document(state).write(path)


def load_state(path: str | os.PathLike[str], model: Model | None = None) -> NetworkState:
    """Read a state file of any known version; with `model`, refuse one that belongs to another.

    Raises
    ------
    StateError
        When the file is missing, foreign, truncated, changed, of another version, holds what must be understood and is
        not known, or is the state of another model; the text says what differs.
    """
    document = read_document(path)
    try:
        state, lines = state_of(document)
        if model is not None:
            state.check(model)
    except StateError as error:
        raise StateError(f"{path}: {error}") from None
    for line in lines:
        _LOG.warning("%s: %s", path, line)
    return state


def state_document(state: NetworkState) -> StateDocument:
    """Return the content of the file of `state`, in the newest version.

    Raises
    ------
    StateError
        When the state does not fit its own topology.
    """
    names = state.layer_names
    if len(names) != len(state.layers):
        raise StateError(f"the state has {len(state.layers)} layers and a topology of {len(names)}")
    tensors: dict[str, NDArray[Any]] = {}
    for name, layer in zip(names, state.layers, strict=True):
        tensors |= {f"{part}.{name}": array for part, array in layer.parts.items()}
        for part, array in layer.plasticity.items():
            field, dot, projection = part.partition(".")
            tensors[f"{field}.{name}{dot}{projection}"] = array
    manifest = {
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
        "widths": WIDTHS[NEWEST],
    }
    optional: dict[str, Any] = {}
    if state.decision >= 0:
        optional["decision"] = state.decision
    if state.compensation_id:
        optional["compensation_id"] = state.compensation_id
    if state.clock is not None:
        optional["clock"] = dataclasses.asdict(state.clock)
    if state.layer_digests:
        optional["layer_digests"] = list(state.layer_digests)
    groups = {full.partition(".")[0] for full in tensors}
    fields = [*optional, *(name for name in PLASTICITY if name in groups)]
    if fields:
        manifest[DECLARATIONS] = {name: {MUST_UNDERSTAND: KNOWN[name].must_understand} for name in fields}
    return StateDocument(NEWEST, manifest | optional, tensors)


def state_of(document: StateDocument) -> tuple[NetworkState, list[str]]:
    """Return the state that a document holds, and what an older version did not say of it.

    Raises
    ------
    StateError
        When a field is missing, of another form, or unknown although it must be understood.
    """
    document.require_understood()
    document, lines = convert(document, NEWEST)
    manifest = document.manifest
    _check_topology(manifest)
    names = [layer["name"] for layer in manifest["topology"]["layers"]]
    plasticity: dict[str, dict[str, NDArray[np.int32]]] = {name: {} for name in names}
    for field in PLASTICITY:
        for full, array in document.group(field).items():
            name, dot, projection = full[len(field) + 1 :].partition(".")
            if name not in plasticity or array.dtype != np.int32:
                raise StateError(f"tensor {full} is {array.dtype}, or of no layer; int32 of a layer is needed")
            plasticity[name][f"{field}{dot}{projection}"] = array
    try:
        layers = tuple(
            LayerState(
                document.tensors[f"u.{name}"],
                document.tensors[f"v.{name}"],
                document.tensors[f"a_buff.{name}"],
                document.tensors.get(f"refractory.{name}"),
                plasticity[name],
            )
            for name in names
        )
        optional = {name: manifest[name] for name in document.declared if name in manifest}
        state = NetworkState(
            layers,
            tuple(_mapping("registers", own) for own in _list(manifest, "registers")),
            _text(manifest, "model_digest"),
            _text(manifest, "model_id"),
            _text(manifest, "topology_digest"),
            _text(manifest, "stream_id"),
            _integer(manifest, "sequence"),
            _integer(manifest, "sensor_end_ns"),
            manifest["topology"],
            _integer(manifest, "epoch", -1),
            tuple(_number("evidence", value) for value in _list(manifest, "evidence", [])),
            _integer(optional, "decision", -1),
            tuple(_list(optional, "layer_digests", [])),
            _integer(optional, "compensation_id", 0),
            _clock(optional["clock"]) if "clock" in optional else None,
        )
    except KeyError as error:
        raise StateError(f"the state holds no {error.args[0]}") from None
    state.check_arrays(state.topology)
    _check_optional(state)
    return state, lines


def _check_topology(manifest: Any) -> None:
    """Refuse a topology that is not the one of its digest, and widths that are not ours."""
    topology = manifest.get("topology")
    if not isinstance(topology, dict):
        raise StateError(f"topology is {topology!r}; an object is needed")
    if manifest.get("topology_digest") != hashlib.sha256(container.canonical_json(topology)).hexdigest():
        raise StateError("the topology is not the one of topology_digest")
    widths = manifest.get("widths", {})
    for name, bits in WIDTHS[NEWEST].items():
        if not isinstance(widths, dict) or widths.get(name, bits) != bits:
            raise StateError(f"{name} is declared with another width than {bits} bits: {widths!r}")


def _check_optional(state: NetworkState) -> None:
    if len(state.registers) != len(state.layers):
        raise StateError(f"the state has {len(state.layers)} layers and {len(state.registers)} register sets")
    if state.layer_digests and len(state.layer_digests) != len(state.layers):
        raise StateError(f"the state has {len(state.layers)} layers and {len(state.layer_digests)} layer_digests")
    if not all(value >= 0.0 for value in state.evidence) or not -1 <= state.decision < max(len(state.evidence), 1):
        raise StateError(f"decision {state.decision} on evidence of {len(state.evidence)} classes, or evidence below 0")


def _text(manifest: Any, name: str) -> str:
    value = manifest[name]
    if not isinstance(value, str):
        raise StateError(f"{name} is {value!r}; a string is needed")
    return value


def _integer(manifest: Any, name: str, default: int | None = None) -> int:
    value = manifest[name] if default is None else manifest.get(name, default)
    if type(value) is not int or not -1 << 63 <= value < 1 << 64:
        raise StateError(f"{name} is {value!r}; an integer is needed")
    return value


def _number(name: str, value: Any) -> float:
    if type(value) not in (int, float):
        raise StateError(f"{name} holds {value!r}; a number is needed")
    return float(value)


def _list(manifest: Any, name: str, default: list[Any] | None = None) -> list[Any]:
    value = manifest[name] if default is None else manifest.get(name, default)
    if not isinstance(value, list):
        raise StateError(f"{name} is {value!r}; a list is needed")
    return value


def _mapping(name: str, value: Any) -> dict[str, int]:
    if not isinstance(value, dict) or not all(type(entry) is int for entry in value.values()):
        raise StateError(f"{name} holds {value!r}; an object of integers is needed")
    return value


def _clock(value: Any) -> StateClock:
    names = {entry.name for entry in dataclasses.fields(StateClock)}
    if not isinstance(value, dict) or not names <= set(value):
        raise StateError(f"clock is {value!r}; an object with {', '.join(sorted(names))} is needed")
    return StateClock(
        _text(value, "clock_id"),
        _integer(value, "reference_sensor_ns"),
        _integer(value, "reference_host_ns"),
        _number("clock", value["skew_ppb"]),
        _number("clock", value["sigma_ns"]),
        _text(value, "state"),
    )
