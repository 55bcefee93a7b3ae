# SPDX-License-Identifier: Apache-2.0
"""The state of one model taken over by another, layer by layer, where only some layers changed.

A layer is the same where its name, its shape, its neurons and what feeds it are the
same (`neuro_ros.snn.state.layer_digests`). Its u, v, input in flight, rest and
registers then mean the same, whatever has become of its sources: what they sent is
under way already. The other layers start at rest.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .errors import StateError
from .model import Model
from .state import LayerState, NetworkState, layer_digests, model_registers

__all__ = ["CHANGED_POLICIES", "migrate"]

CHANGED_POLICIES = ("rest", "refuse")


def migrate(
    state: NetworkState, model: Model, changed: str = "rest", origin: Model | None = None
) -> tuple[NetworkState, list[str]]:
    """Return a state of `model` that goes on where the layers are unchanged, and a line for each thing that is not.

    Parameters
    ----------
    state : NetworkState
        Of any model.
    model : Model
        Whose state is wanted.
    changed : str
        What becomes of layers that changed: ``rest``, or ``refuse`` the whole state.
    origin : Model, optional
        The model that the state belongs to; needed where the state has no ``layer_digests``.

    Raises
    ------
    StateError
        When the state does not tell which layers changed, when no layer is the same, or by the policy.
    """
    if changed not in CHANGED_POLICIES:
        raise StateError(f"what becomes of changed layers is {changed!r}; it is one of {', '.join(CHANGED_POLICIES)}")
    if state.model_digest == model.digest:
        state.check(model)
        return state, []
    digests = state.layer_digests
    if origin is not None:
        state.check(origin)
        digests = layer_digests(origin.network)
    if not digests:
        raise StateError(
            f"the state of {state.model_id or 'an unknown model'} has no layer_digests, so it does not tell what "
            f"changed in {model.model_id}; give the model that it belongs to"
        )
    rest = NetworkState.at_rest(model)
    there = {name: index for index, name in enumerate(state.layer_names)}
    layers: list[LayerState] = []
    registers: list[dict[str, int]] = []
    lines: list[str] = []
    for index, layer in enumerate(model.network.layers):
        number = there.pop(layer.name, None)
        reason = _difference(state, number, rest, index, digests)
        if number is not None and not reason:
            layers.append(state.layers[number])
            registers.append(dict(state.registers[number]))
            continue
        lines.append(f"layer '{layer.name}' {reason}: it starts at rest")
        layers.append(rest.layers[index])
        registers.append(model_registers(model.network)[index])
    if len(lines) == len(layers):
        raise StateError(f"no layer of the state of {state.model_id} is one of {model.model_id}; start at rest")
    output_kept = layers[-1] is not rest.layers[-1]
    lines += [f"layer '{name}' is not in {model.model_id}: its state is dropped" for name in there]
    if lines and changed == "refuse":
        raise StateError(f"the state of {state.model_id} is refused for {model.model_id}: {'; '.join(lines)}")
    taken = replace(
        state,
        layers=tuple(layers),
        registers=tuple(registers),
        model_digest=rest.model_digest,
        model_id=rest.model_id,
        topology=rest.topology,
        topology_digest=rest.topology_digest,
        layer_digests=rest.layer_digests,
    )
    if state.evidence and not output_kept:
        taken = replace(taken, evidence=(), decision=-1)
        lines.append("evidence: the output layer changed, so it starts from none, and no decision is in force")
    if state.compensation_id and lines:
        taken = replace(taken, compensation_id=0)
        lines.append(f"compensation_id {state.compensation_id}: no longer that of every register")
    taken.check(model)
    return taken, lines


def _difference(state: NetworkState, number: int | None, rest: NetworkState, index: int, digests: Any) -> str:
    """Return how a layer differs from the one of its name in the state; empty = not at all."""
    if number is None:
        return "is not in the state"
    if state.layers[number].plasticity:
        return "has learned"
    if digests[number] == rest.layer_digests[index]:
        return ""
    shape, own = (topology["layers"][k]["shape"] for topology, k in ((state.topology, number), (rest.topology, index)))
    if shape != own:
        return f"has the shape {tuple(own)} instead of {tuple(shape)}"
    return "has other weights, delays, sources or registers"
