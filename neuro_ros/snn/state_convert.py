# SPDX-License-Identifier: Apache-2.0
"""State files of one version turned into another, both ways, and what that costs by name.

Version 1 has one slot of input in flight, no rest after a spike, and no optional
fields. What it cannot carry is lost only where there is something to lose: a state
without delayed input, resting neurons and optional fields goes through it unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .errors import StateError
from .state import expected_parts
from .state_document import DECLARATIONS, StateDocument
from .state_fields import KNOWN, PLASTICITY, VERSIONS, WIDTHS

__all__ = ["convert", "without"]

#: What a reader does that gets a state without the optional field.
_CONSEQUENCES = {
    "decision": "the next window decides anew on the evidence",
    "compensation_id": "the registers in force stay, nobody knows which compensation set them",
    "clock": "the clock is estimated anew",
}
#: What says nothing about the state that the model does not say: to go without it loses nothing.
_OF_THE_MODEL = ("layer_digests",)


def convert(document: StateDocument, version: int) -> tuple[StateDocument, list[str]]:
    """Return the document in another version, and one line for each thing that this version cannot carry.

    Parameters
    ----------
    document : StateDocument
        Not changed.
    version : int
        One of `VERSIONS`; its own returns it as it is, unknown optional fields included.

    Raises
    ------
    StateError
        When there is no converter, when fields that must be understood are not known here, or when the document does
        not hold what its topology asks for.
    """
    if version not in VERSIONS:
        raise StateError(f"there is no state format version {version}; this release writes {_known()}")
    document.require_understood()
    if document.version == version:
        return document, []
    return _to_2(document) if version == 2 else _to_1(document)


def without(document: StateDocument, names: Iterable[str]) -> tuple[StateDocument, list[str]]:
    """Return the document without some of its optional fields, and one line for each.

    Raises
    ------
    StateError
        When it does not declare one of them.
    """
    names = sorted(set(names))
    for name in names:
        if name not in document.declared:
            raise StateError(
                f"the state declares no field '{name}'; it declares {', '.join(document.declared) or 'none'}"
            )
    if not names:
        return document, []
    declared = {name: entry for name, entry in document.manifest[DECLARATIONS].items() if name not in names}
    manifest = {name: entry for name, entry in document.manifest.items() if name not in (*names, DECLARATIONS)}
    if declared:
        manifest[DECLARATIONS] = declared
    tensors = {full: array for full, array in document.tensors.items() if full.partition(".")[0] not in names}
    return StateDocument(document.version, manifest, tensors), [_lost(document, name) for name in names]


def _known() -> str:
    return " and ".join(map(str, VERSIONS))


def _lost(document: StateDocument, name: str) -> str:
    """Say what goes with an optional field."""
    if name in PLASTICITY:
        return f"{name}: {', '.join(sorted(document.group(name)))} are lost; what was learned since is lost with them"
    consequence = _CONSEQUENCES.get(name, "a field that this release does not know")
    return f"{name}: {consequence}"


def _layers(document: StateDocument) -> list[tuple[str, dict[str, Any]]]:
    """Return name and expected parts of every population, of a topology that may be anything."""
    topology = document.manifest.get("topology")
    if not isinstance(topology, dict):
        raise StateError("the manifest has no topology")
    expected = expected_parts(topology)
    return [(entry["name"], parts) for entry, parts in zip(topology["layers"], expected, strict=True)]


def _tensor(document: StateDocument, name: str, shape: tuple[int, ...]) -> Any:
    array = document.tensors.get(name)
    if array is None or array.dtype != np.int32 or array.shape != shape:
        found = "is missing" if array is None else f"is {array.dtype} {array.shape}"
        raise StateError(f"tensor {name} {found}; int32 {shape} is needed")
    return array


def _to_2(document: StateDocument) -> tuple[StateDocument, list[str]]:
    tensors, lines = dict(document.tensors), []
    for name, parts in _layers(document):
        shape, slots = parts["u"][0], parts["a_buff"][0]
        if len(slots) == 4:
            flight = np.zeros(slots, np.int32)
            flight[0] = _tensor(document, f"a_buff.{name}", shape)
            tensors[f"a_buff.{name}"] = flight
            lines.append(f"a_buff.{name}: slots 1 to {slots[0] - 1} are not in version 1; taken as empty")
        if "refractory" in parts:
            tensors[f"refractory.{name}"] = np.zeros(shape, np.int32)
            lines.append(f"refractory.{name}: not in version 1; no neuron rests")
    manifest = {**document.manifest, "widths": WIDTHS[2]}
    return StateDocument(2, manifest, tensors), lines


def _to_1(document: StateDocument) -> tuple[StateDocument, list[str]]:
    tensors, lines = {}, []
    for name, parts in _layers(document):
        for part, (shape, *_) in parts.items():
            array = _tensor(document, f"{part}.{name}", shape)
            if part == "refractory":
                if resting := int(np.count_nonzero(array)):
                    lines.append(f"refractory.{name}: {resting} neurons that rest would be free to spike")
            elif len(shape) == 4:
                if late := int(np.count_nonzero(array[1:])):
                    lines.append(f"a_buff.{name}: {late} values of input that arrives after the next step are lost")
                tensors[f"{part}.{name}"] = array[0]
            else:
                tensors[f"{part}.{name}"] = array
    manifest = {
        name: document.manifest[name] for name, field in KNOWN.items() if _is_in_1(field) and name in document.manifest
    }
    manifest["widths"] = WIDTHS[1]
    fields = sorted({*document.declared, *document.unknown} - {*_OF_THE_MODEL})
    return StateDocument(1, manifest, tensors), lines + [_lost(document, name) for name in fields]


def _is_in_1(field: Any) -> bool:
    return field.place == "manifest" and field.since == 1
