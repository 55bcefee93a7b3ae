# SPDX-License-Identifier: Apache-2.0
"""What a network asks of a back end beyond a plain chain, by name, so that it can be refused by name.

A back end, a chip profile or a file format states the set of features that it
represents exactly; `refusals` names every layer that needs another one.
"""

from __future__ import annotations

from collections.abc import Iterable

from .errors import UnsupportedLayerError
from .network import Network

__all__ = ["CHAIN", "FEATURES", "layer_features", "refusals"]

# Feature: what it means, as it stands in a refusal.
FEATURES = {
    "dense": "connection kind 'dense'",
    "conv2d": "connection kind 'conv2d'",
    "sum_pool2d": "connection kind 'sum_pool2d'",
    "lif": "neuron kind 'lif'",
    "dilation": "a dilated kernel",
    "groups": "a convolution in groups",
    "one_sign": "weights declared excitatory or inhibitory",
    "projections": "several projections into one population",
    "skip": "a projection from elsewhere than the layer before",
    "recurrence": "a projection from the layer itself or a later one",
    "delays": "an axonal delay",
    "refractory": "a refractory period",
    "graded_input": "input with a payload",
}

CHAIN = frozenset({"dense", "conv2d", "lif"})
"""What the first release knew: dense and convolution layers one after another, binary spikes, no delays."""


def layer_features(network: Network, index: int) -> set[str]:
    """Return the features that layer `index` of `network` uses; an unknown kind is a feature by its own name."""
    layer, sources = network.layers[index], network.sources[index]
    used = {layer.neuron.kind}
    if len(sources) > 1:
        used.add("projections")
    if layer.neuron.refractory:
        used.add("refractory")
    for projection, source in zip(layer.projections, sources, strict=True):
        connection = projection.connection
        used.add(connection.kind)
        if getattr(connection, "dilation", (1, 1)) != (1, 1):
            used.add("dilation")
        if getattr(connection, "groups", 1) != 1:
            used.add("groups")
        if getattr(connection, "sign_mode", "mixed") != "mixed":
            used.add("one_sign")
        if source != index - 1:
            used.add("recurrence" if source >= index else "skip")
        if projection.max_delay:
            used.add("delays")
        if source < 0 and network.input_bits:
            used.add("graded_input")
    return used


def refusals(network: Network, backend: str, supported: Iterable[str]) -> list[UnsupportedLayerError]:
    """Return one error for each layer of `network` that needs a feature outside `supported`."""
    supported = frozenset(supported)
    refused = []
    for index, layer in enumerate(network.layers):
        missing = sorted(layer_features(network, index) - supported)
        if missing:
            wants = ", ".join(FEATURES.get(name, f"kind {name!r}") for name in missing)
            refused.append(UnsupportedLayerError(backend, layer.name, f"it needs {wants}"))
    return refused
