# SPDX-License-Identifier: Apache-2.0
"""A network as JSON and tensors, and back; the two layouts that model files have.

Version 1 knows a plain chain of dense and convolution layers with binary input and
8 bit mixed-sign weights. Whatever it can say is written in it, so that such models
keep their digests, and read for ever. Version 2 says the rest.

Version 1, per layer::

    {"name": ..., "connection": {"kind": ..., scalars}, "neuron": {"kind": ..., scalars}}
    tensors "<layer>.connection.<tensor>", "<layer>.neuron.<tensor>"

Version 2, per layer, with every scalar written out::

    {"name": ..., "projections": [{"source": ..., "connection": {...}}, ...], "neuron": {...}}
    tensors "<layer>.projection<k>.<tensor>", "<layer>.projection<k>.delays", "<layer>.neuron.<tensor>"

and beside the layers ``input.bits`` and ``input.normalisation``. A source is the name
of a layer, ``input``, or "" for the layer before.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from numpy.typing import NDArray

from .errors import ModelError, naming_layer
from .limits import (
    BIAS_EXP_RANGE,
    BIAS_MANT_RANGE,
    DECAY_RANGE,
    DELAY_RANGE,
    INPUT_BITS_RANGE,
    REFRACTORY_RANGE,
    VTH_RANGE,
    WEIGHT_BITS_RANGE,
    WEIGHT_EXP_RANGE,
    WEIGHT_RANGE,
)
from .network import INPUT, Conv2d, Dense, Layer, Lif, Network, Projection, SumPool2d

__all__ = ["describe", "layout_version", "rebuild"]

# Stated in every file, so that a reader of another project knows what the integers mean.
_WIDTHS_1 = {
    "weight": {"range": list(WEIGHT_RANGE), "step": 2},
    "weight_exp": {"range": list(WEIGHT_EXP_RANGE)},
    "du": {"bits": 12, "range": list(DECAY_RANGE)},
    "dv": {"bits": 12, "range": list(DECAY_RANGE)},
    "vth": {"bits": 17, "range": list(VTH_RANGE)},
    "bias_mant": {"bits": 13, "range": list(BIAS_MANT_RANGE)},
    "bias_exp": {"bits": 3, "range": list(BIAS_EXP_RANGE)},
    "u": {"bits": 24, "overflow": "wraps"},
    "v": {"bits": 24, "overflow": "saturates"},
}
_WIDTHS_2 = {
    **_WIDTHS_1,
    "weight": {"bits": list(WEIGHT_BITS_RANGE), "step": "2^(8 - weight_bits), twice that in mixed sign mode"},
    "delays": {"bits": 6, "range": list(DELAY_RANGE)},
    "refractory": {"bits": 6, "range": list(REFRACTORY_RANGE)},
    "payload": {"bits": list(INPUT_BITS_RANGE), "signed": False},
}

_CONNECTIONS: dict[str, Any] = {"dense": Dense, "conv2d": Conv2d, "sum_pool2d": SumPool2d}
_NEURONS: dict[str, Any] = {"lif": Lif}
# The scalars that version 1 has a place for, by kind.
_VERSION_1 = {
    "dense": ("weight_exp",),
    "conv2d": ("stride", "padding", "weight_exp"),
    "lif": ("du", "dv", "vth", "bias_exp"),
}


def _fits_version_1(part: Any) -> bool:
    """Return whether every scalar of a connection or neuron that version 1 has no place for is at its default."""
    if part.kind not in _VERSION_1:
        return False
    return all(
        getattr(part, entry.name) == entry.default
        for entry in dataclasses.fields(part)
        if entry.name in part.parameters() and entry.name not in _VERSION_1[part.kind]
    )


def layout_version(network: Network, normalisation: str) -> int:
    """Return the oldest layout that can say everything about `network`."""
    plain = normalisation == "binary" and not network.input_bits
    for index, layer in enumerate(network.layers):
        plain = plain and network.sources[index] == (index - 1,) and network.slots[index] == 1
        plain = plain and _fits_version_1(layer.neuron)
        plain = plain and all(_fits_version_1(projection.connection) for projection in layer.projections)
    return 1 if plain else 2


def _scalars(part: Any, version: int) -> dict[str, Any]:
    scalars = part.parameters()
    if version == 1:
        scalars = {name: scalars[name] for name in _VERSION_1[part.kind]}
    return {"kind": part.kind, **scalars}


def describe(network: Network, normalisation: str) -> tuple[int, dict[str, Any], dict[str, NDArray[Any]]]:
    """Return (layout version, the parts of the manifest that say what the network is, its tensors by name)."""
    version = layout_version(network, normalisation)
    channels, height, width = network.input_shape
    geometry: dict[str, Any] = {"channels": channels, "height": height, "width": width}
    if version > 1:
        geometry |= {"bits": network.input_bits, "normalisation": normalisation}
    entries = []
    tensors: dict[str, NDArray[Any]] = {}
    for index, layer in enumerate(network.layers):
        entry: dict[str, Any] = {"name": layer.name, "neuron": _scalars(layer.neuron, version)}
        parts = {"neuron": layer.neuron.tensors()}
        if version == 1:
            entry["connection"] = _scalars(layer.connection, version)
            parts["connection"] = layer.connection.tensors()
        else:
            entry["projections"] = []
            for k, (projection, source) in enumerate(zip(layer.projections, network.sources[index], strict=True)):
                name = "" if source == index - 1 else network.layers[source].name if source >= 0 else INPUT
                entry["projections"].append({"source": name, "connection": _scalars(projection.connection, version)})
                parts[f"projection{k}"] = {**projection.connection.tensors(), "delays": projection.delays}
        entries.append(entry)
        tensors |= {f"{layer.name}.{part}.{name}": array for part, own in parts.items() for name, array in own.items()}
    widths = _WIDTHS_1 if version == 1 else _WIDTHS_2
    return version, {"input": geometry, "widths": widths, "layers": entries}, tensors


def _part(kinds: dict[str, Any], what: str, scalars: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Any:
    parameters = dict(scalars)
    kind = parameters.pop("kind")
    if kind not in kinds:
        raise ModelError(f"unknown {what} kind {kind!r}; known are {', '.join(kinds)}")
    return kinds[kind](**parameters, **tensors)


def _layer(entry: dict[str, Any], groups: dict[str, dict[str, NDArray[Any]]], version: int) -> Layer:
    def own(part: str) -> dict[str, NDArray[Any]]:
        return groups.get(f"{entry['name']}.{part}", {})

    projections = []
    with naming_layer(entry["name"]):
        if version == 1:
            projections.append(Projection(_part(_CONNECTIONS, "connection", entry["connection"], own("connection"))))
        else:
            for k, projection in enumerate(entry["projections"]):
                arrays = dict(own(f"projection{k}"))
                delays = arrays.pop("delays")
                connection = _part(_CONNECTIONS, "connection", projection["connection"], arrays)
                projections.append(Projection(connection, projection["source"], delays))
        neuron = _part(_NEURONS, "neuron", entry["neuron"], own("neuron"))
    return Layer(entry["name"], projections, neuron)


def rebuild(version: int, manifest: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> tuple[Network, str]:
    """Return the network and the normalisation that a manifest of this layout version describes.

    Raises
    ------
    ModelError
        When a kind is unknown or a limit is broken; the text names the layer.
    KeyError, TypeError, ValueError, AttributeError
        When the manifest is no such description.
    """
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    for key, array in tensors.items():
        part, _, name = key.rpartition(".")
        groups.setdefault(part, {})[name] = array
    layers = [_layer(entry, groups, version) for entry in manifest["layers"]]
    geometry = manifest["input"]
    shape = (geometry["channels"], geometry["height"], geometry["width"])
    if version == 1:
        return Network(tuple(layers), shape), "binary"
    return Network(tuple(layers), shape, geometry["bits"]), geometry["normalisation"]
