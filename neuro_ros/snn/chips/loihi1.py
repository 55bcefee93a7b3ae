# SPDX-License-Identifier: Apache-2.0
"""Loihi 1 (Intel, 2018), as public sources describe it."""

from __future__ import annotations

from .figures import Confidence, Figure, unknown
from .profile import Architecture, ChipProfile, Mesh

__all__ = ["COSTS", "DAVIES", "PROFILE"]

DAVIES = "Davies et al. 2018, IEEE Micro 38(1), doi:10.1109/MM.2018.112130359"
_TABLE = f"{DAVIES}, table 2, at 0.75 V"
_CONSTRAINTS = f"{DAVIES}, p. 89"
_HIGH, _MEDIUM = Confidence.HIGH, Confidence.MEDIUM
_SIMULATED = "simulated before silicon"
_FIT = "fits to a board differ: SANA-FE, doi:10.1109/TCAD.2025.3537971, has"

COSTS = {
    "synaptic_operation_pj": Figure(
        23.6, "pJ", _TABLE, _MEDIUM, f"{_SIMULATED}, and the least; {_FIT} 24 to 36 pJ by the format of the synapses"
    ),
    "neuron_update_pj": Figure(
        81.0, "pJ", _TABLE, _MEDIUM, f"{_SIMULATED}; of an active neuron, one that rests takes 52 pJ: an upper bound"
    ),
    "static_power_w": Figure(
        0.104,
        "W",
        "Frady et al. 2020, doi:10.1145/3381755.3398695, table 1: 3.34 W of leakage on a board of 32 chips",
        _MEDIUM,
        "the whole chip; Blouw et al. 2019, arXiv:1812.01739, idle at 0.029 W with a network on few cores",
    ),
    "synaptic_operation_ns": Figure(3.5, "ns", _TABLE, _MEDIUM, f"{_SIMULATED}, and the most; {_FIT} 3.1 to 4.7 ns"),
    "neuron_update_ns": Figure(8.4, "ns", _TABLE, _MEDIUM, f"{_SIMULATED}; of an active neuron, 5.3 ns at rest"),
    "step_overhead_ns": Figure(
        465.0, "ns", _TABLE, _MEDIUM, f"{_SIMULATED}: barrier of 32 tiles, 113 ns for one; {_FIT} 600 to 1800 ns"
    ),
}

PROFILE = ChipProfile(
    name="loihi1",
    title="Intel Loihi 1",
    architecture=Architecture.SPLIT_LAYERS,
    limits={
        "cores": Figure(128, "cores", DAVIES, _HIGH),
        "neurons": Figure(131_072, "neurons", f"{DAVIES}: 128 cores of 1024 compartments", _HIGH),
        "synapses": unknown("synapses", note="bounded by the synapse memories: 16 MB in all"),
        "neurons_per_core": Figure(1024, "neurons", f"{_CONSTRAINTS}, constraint 1", _HIGH, "one compartment a neuron"),
        "synapse_memory_per_core": Figure(
            16_384 * 64, "bit", f"{_CONSTRAINTS}, constraint 2", _HIGH, "128 KB, lists of synapses aligned to 64 bits"
        ),
        "in_axons_per_core": Figure(4096, "axons", f"{_CONSTRAINTS}, constraint 4", _HIGH, "distribution lists"),
        "out_axons_per_core": Figure(4096, "axons", f"{_CONSTRAINTS}, constraint 3", _HIGH, "fan-out edges to cores"),
        "fan_in": unknown("synapses", note="bounded by the synapse memory of a core"),
        "delay_steps": Figure(62, "steps", f"{DAVIES}, p. 92", _HIGH, "beyond 8 only with fewer neurons on the core"),
        "refractory_steps": unknown("steps"),
        "payload_bits": Figure(
            1, "bits", "Ars Technica, 2021-09-30: a spike of the first Loihi is a single bit", _MEDIUM
        ),
        "weight_bits": Figure(9, "bits", f"{DAVIES}, p. 87", _HIGH, "1 to 9 bits, signed or unsigned"),
    },
    costs=COSTS,
    assumptions=(
        "a core holds neurons of one layer only",
        "synapse memory: each weight in its declared width, whole words of 64 bits; unpublished list headers left out",
        "a delay takes 6 bits beside each weight; kernels are stored once for every different delay of their sources",
        "convolutions: a core keeps the kernels of its output channels once (connectivity templates of the 2018 paper)",
        "in-axons: one for every source cell that reaches a core; sources outside the chip need no out-axons",
    ),
    narrow_weights=True,
    memory_word_bits=64,
    mesh=Mesh(8, 4, 4, f"{DAVIES}: figures for 1 to 32 tiles, so 4 cores each; as 8 x 4: assumed"),
)
