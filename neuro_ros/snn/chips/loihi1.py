# SPDX-License-Identifier: Apache-2.0
"""Loihi 1 (Intel, 2018), as public sources describe it."""

from __future__ import annotations

from .figures import Confidence, Figure, unknown
from .profile import Architecture, ChipProfile, Mesh

__all__ = ["COSTS", "DAVIES", "PROFILE"]

DAVIES = "Davies et al. 2018, IEEE Micro 38(1), doi:10.1109/MM.2018.112130359"
_DAVIES_TABLE = f"{DAVIES}, table of pre-silicon figures at the nominal voltage"
_NENGO = "nengo-loihi, block.py and validate.py"
_HIGH, _MEDIUM, _LOW = Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW
_SIMULATED = "of circuit simulation, not measured on a board"

COSTS = {
    "synaptic_operation_pj": Figure(
        23.6, "pJ", _DAVIES_TABLE, _MEDIUM, f"the least a synaptic spike takes, {_SIMULATED}"
    ),
    "neuron_update_pj": Figure(
        81.0, "pJ", _DAVIES_TABLE, _MEDIUM, f"active neuron, {_SIMULATED}; 52 pJ for one that rests: an upper bound"
    ),
    "static_power_w": Figure(
        0.029,
        "W",
        "Blouw et al. 2019, arXiv:1812.01739, table 1: idle power of the Loihi run",
        _MEDIUM,
        "of a network of two layers; the board around the chip is not in it",
    ),
    "synaptic_operation_ns": Figure(3.5, "ns", _DAVIES_TABLE, _MEDIUM, _SIMULATED),
    "neuron_update_ns": Figure(8.4, "ns", _DAVIES_TABLE, _MEDIUM, f"active neuron, {_SIMULATED}; 5.3 ns at rest"),
    "step_overhead_ns": Figure(465.0, "ns", _DAVIES_TABLE, _MEDIUM, "barrier over 32 tiles; 113 ns for one tile"),
}

PROFILE = ChipProfile(
    name="loihi1",
    title="Intel Loihi 1",
    architecture=Architecture.SPLIT_LAYERS,
    limits={
        "cores": Figure(128, "cores", DAVIES, _HIGH),
        "neurons": Figure(131_072, "neurons", f"128 cores of 1024 compartments; {DAVIES}", _HIGH),
        "synapses": unknown("synapses", note="16 MB of synapse memory in all (IEEE CAS Magazine 2022 Q2, p. 21)"),
        "neurons_per_core": Figure(1024, "neurons", f"{DAVIES}; {_NENGO}", _HIGH, "a neuron takes one compartment"),
        "synapse_memory_per_core": Figure(16_384 * 64, "bit", _NENGO, _MEDIUM, "128 KiB; 16 MB a chip agrees with it"),
        "in_axons_per_core": Figure(4096, "axons", _NENGO, _MEDIUM),
        "out_axons_per_core": Figure(4096, "axons", _NENGO, _MEDIUM),
        "fan_in": unknown("synapses", note="bounded by the synapse memory of a core"),
        "delay_steps": Figure(62, "steps", "lava-dl netx clips delays to 62", _LOW, "a register of 6 bits ends at 63"),
        "refractory_steps": unknown("steps"),
        "payload_bits": Figure(
            1, "bits", "Ars Technica, 2021-09-30: a spike of the first Loihi is a single bit", _MEDIUM
        ),
        "weight_bits": Figure(8, "bits", "lava-nc/lava 0.10.0, dense/models.py", _HIGH, "mixed sign: even, -256..254"),
    },
    costs=COSTS,
    assumptions=(
        "a core holds neurons of one layer only",
        "a delay takes 6 bits beside each weight; kernels are stored once for every different delay of their sources",
        "synapse memory: each weight in its declared width, whole words of 64 bits; unpublished list headers left out",
        "convolutions: a core keeps the kernels of its output channels once (the templates of Davies et al. 2018)",
        "in-axons: one for every source cell that reaches a core; sources outside the chip need no out-axons",
    ),
    narrow_weights=True,  # 1 bit synapses are its densest format: IEEE CAS Magazine 2022 Q2, p. 21
    memory_word_bits=64,
    mesh=Mesh(8, 4, 4, f"32 tiles of 4 cores: {DAVIES}; as 8 x 4: assumed"),
)
