# SPDX-License-Identifier: Apache-2.0
"""Speck (SynSense), the DYNAP-CNN family with an event camera on the chip: nine convolutional cores, no time steps."""

from __future__ import annotations

from .figures import Confidence, Figure, unknown
from .profile import Architecture, ChipProfile

__all__ = ["PROFILE"]

_HIGH, _MEDIUM = Confidence.HIGH, Confidence.MEDIUM
_SAMNA = "SynSense, samna documentation, Speck 2b, CNN layer"
_SINABS = "SynSense, sinabs 904eb89 (memory of each core)"
_ONM = "open-neuromorphic.org, Speck - SynSense"
_KI = 1024
_NO_STEPS = "the chip is asynchronous: no steps, no barrier"

PROFILE = ChipProfile(
    name="speck",
    title="SynSense Speck (DYNAP-CNN)",
    architecture=Architecture.LAYER_A_CORE,
    limits={
        "cores": Figure(9, "cores", _SAMNA, _HIGH, "each holds one layer with its pooling"),
        "neurons": Figure(
            288 * _KI,
            "neurons",
            f"{_SINABS}: sum over the cores",
            _MEDIUM,
            f"{_ONM} says 328 thousand, samna 32 million",
        ),
        "synapses": unknown("synapses", note="bounded by the kernel memories"),
        "fan_in": unknown("synapses"),
        "delay_steps": Figure(0, "steps", f"{_SAMNA}: no delay among the features", _MEDIUM),
        "refractory_steps": unknown("steps"),
        "payload_bits": Figure(1, "bits", f"{_SAMNA}: events without a value", _MEDIUM),
        "weight_bits": Figure(8, "bits", _SAMNA, _HIGH),
        "kernel_memory_per_core": Figure(
            tuple(number * _KI for number in (16, 16, 16, 32, 32, 64, 64, 16, 16)), "weights", _SINABS, _HIGH
        ),
        "neuron_memory_per_core": Figure(
            tuple(number * _KI for number in (64, 64, 64, 32, 32, 16, 16, 16, 16)), "neurons", _SINABS, _HIGH
        ),
        "states_per_neuron": Figure(
            1, "states", f"{_ONM}: integrate-and-fire neurons", _MEDIUM, "one membrane of 16 bits, no synaptic current"
        ),
        "input_side": Figure(128, "cells", _SAMNA, _HIGH),
        "output_side": Figure(64, "cells", _SAMNA, _HIGH),
        "features": Figure(1024, "channels", _SAMNA, _HIGH),
        "kernel_side": Figure(16, "cells", _SAMNA, _HIGH),
        "strides": Figure((1, 2, 4, 8), "cells", _SAMNA, _HIGH),
        "padding": Figure(7, "cells", _SAMNA, _HIGH),
        "pooling": Figure((1, 2, 4), "cells", _SAMNA, _HIGH),
        "targets_per_layer": Figure(2, "layers", _SAMNA, _HIGH, "the documentation's 'fanout of 2'"),
    },
    costs={
        "synaptic_operation_pj": unknown("pJ"),
        "neuron_update_pj": unknown("pJ"),
        "static_power_w": Figure(
            0.42e-3,
            "W",
            "Yao et al. 2024, Nature Communications, doi:10.1038/s41467-024-47811-6",
            _HIGH,
            "processor at rest",
        ),
        "synaptic_operation_ns": unknown("ns"),
        "neuron_update_ns": unknown("ns", note=_NO_STEPS),
        "step_overhead_ns": unknown("ns", note=_NO_STEPS),
    },
    assumptions=(
        "a layer takes one core; a dense layer is a convolution with a kernel as large as its input",
        "groups and dilation are kernels filled up with zeros; a pooling layer pools on the way and has a 1 x 1 kernel",
        "memories are counted without the rounding of addresses to powers of two: a layer may need more than is shown",
        "the network's 24 bit states are not the chip's 16 bit states: what fits does not compute the same integers",
        "'leak operation' is documented without its form: the decay dv is not checked",
    ),
)
