# SPDX-License-Identifier: Apache-2.0
"""Which of Lava's processes stands for a projection, and what has no exact one; decided from the description alone.

Lava 0.10.0 has an integer model of these: ``LIF``; ``Dense`` and ``DelayDense``; ``Sparse`` and ``DelaySparse``;
``Conv``, whose integer model ignores ``weight_exp`` and the width of the weights, so that it is given weights that are
shifted already, and takes a right shift as little as a delay. What it cannot take is expanded into a sparse matrix of
all its synapses, which Lava shifts and delays. ``LIFRefractory`` has a floating-point model only.

Refuses to know Lava: the engine asks before any process is started.
"""

from __future__ import annotations

from .connections import Conv2d, Dense, SumPool2d
from .errors import UnsupportedLayerError
from .features import CHAIN, refusals
from .limits import cells_of
from .network import Network, Projection, Shape

__all__ = ["SUPPORTED", "process_for", "refused_layers"]

SUPPORTED = CHAIN | {
    "sum_pool2d",
    "dilation",
    "groups",
    "one_sign",
    "projections",
    "skip",
    "recurrence",
    "delays",
    "graded_input",
}
CONV_FIELD_LIMIT = 127  # Lava keeps kernel size, stride, padding, dilation and groups in eight signed bits
MAX_EXPANDED = 1 << 22  # synapses of an expanded connection; of its matrix times the delays that Lava expands each step


def process_for(projection: Projection, shape: Shape) -> str:
    """Return the name of Lava's process for a projection from a source of `shape`: the quickest that is exact."""
    connection = projection.connection
    if isinstance(connection, Dense):
        if not projection.max_delay:
            return "Dense"
        # DelayDense makes a matrix of all weights for each delay, in each step
        return "DelayDense" if (1 + projection.max_delay) * connection.weight.size <= MAX_EXPANDED else "DelaySparse"
    if projection.max_delay:
        return "DelaySparse"
    return "Conv" if connection.weight_exp >= 0 and _fits_conv(connection, shape) else "Sparse"


def _fits_conv(connection: object, shape: Shape) -> bool:
    """Whether the geometry fits the fields of Lava's Conv; pooling is a convolution in as many groups as channels."""
    if isinstance(connection, Conv2d):
        fields = (*connection.weight.shape[2:], *connection.stride, *connection.padding, *connection.dilation)
        return max(*fields, connection.groups) <= CONV_FIELD_LIMIT
    if isinstance(connection, SumPool2d):
        return max(*connection.kernel, *connection.stride, *connection.padding, shape[0]) <= CONV_FIELD_LIMIT
    return False


def refused_layers(network: Network, backend: str) -> list[UnsupportedLayerError]:
    """Return a refusal for every layer that Lava's fixed-point processes cannot represent exactly."""
    refused = {error.layer: error for error in refusals(network, backend, SUPPORTED)}
    for index, layer in enumerate(network.layers):
        reason = ""
        if layer.neuron.refractory:
            reason = (
                f"it needs a refractory period ({layer.neuron.refractory} steps), "
                "and Lava's LIFRefractory exists in floating point only"
            )
        elif layer.name not in refused:
            reason = _too_large(network, index)
        if reason:
            refused[layer.name] = UnsupportedLayerError(backend, layer.name, reason)
    return [refused[layer.name] for layer in network.layers if layer.name in refused]


def _too_large(network: Network, index: int) -> str:
    for projection, source in zip(network.layers[index].projections, network.sources[index], strict=True):
        shape = network.source_shape(source)
        kind = process_for(projection, shape)
        if "Sparse" in kind and (synapses := _synapses(projection, shape)) > MAX_EXPANDED:
            return (
                f"Lava needs it expanded into {synapses} synapses ({kind}), above the limit of {MAX_EXPANDED} "
                "that this back end sets for memory; use a smaller kernel, no delay or a weight_exp of at least 0"
            )
    return ""


def _synapses(projection: Projection, shape: Shape) -> int:
    if isinstance(projection.connection, Dense):
        return projection.connection.weight.shape[0] * cells_of(shape)
    return int(projection.connection.fan_out(shape).sum())
