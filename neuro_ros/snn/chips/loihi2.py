# SPDX-License-Identifier: Apache-2.0
"""Loihi 2 (Intel, 2021). No primary data sheet is public and secondary sources disagree; each figure says so."""

from __future__ import annotations

from .figures import Confidence, Figure, unknown
from .loihi1 import COSTS as LOIHI1_COSTS
from .loihi1 import DAVIES
from .profile import Architecture, ChipProfile, Mesh

__all__ = ["PROFILE"]

_MEDIUM, _LOW = Confidence.MEDIUM, Confidence.LOW
_ONM = "open-neuromorphic.org, Loihi 2 - Intel"
_EMERGENT = "emergentmind.com, Loihi 2 (survey of papers)"
_ARS = "Ars Technica, 2021-09-30, after Intel: a neuron's state is updated in half the time of Loihi 1"
_STAND_IN = "Loihi 1's figure stands in, none is published for Loihi 2; the maker says that it is quicker"

PROFILE = ChipProfile(
    name="loihi2",
    title="Intel Loihi 2",
    architecture=Architecture.SPLIT_LAYERS,
    limits={
        "cores": Figure(
            120,
            "cores",
            _EMERGENT,
            _LOW,
            f"sources say 120, 128 ({_ONM}) and 152; Hala Point has 122 a chip: least taken",
        ),
        "neurons": Figure(1_000_000, "neurons", _ONM, _MEDIUM, "Hala Point: 1.15 billion on 1152 chips agrees"),
        "synapses": Figure(120_000_000, "synapses", _ONM, _MEDIUM, "Hala Point: 111 million a chip"),
        "neurons_per_core": Figure(
            8192, "neurons", _EMERGENT, _LOW, "Hala Point: about 8182; fewer with more state each"
        ),
        "synapse_memory_per_core": Figure(
            192 * 1024 * 8,
            "bit",
            "secondary documentation of an open reimplementation",
            _LOW,
            "192 KB, shared with states",
        ),
        "in_axons_per_core": unknown("axons"),
        "out_axons_per_core": unknown("axons"),
        "fan_in": unknown("synapses"),
        "delay_steps": Figure(62, "steps", "lava-dl netx clips delays to 62", _LOW, "a register of 6 bits ends at 63"),
        "refractory_steps": unknown("steps", note="neuron programs are microcode"),
        "payload_bits": Figure(
            8,
            "bits",
            "secondary documentation of an open reimplementation",
            _LOW,
            "other sources say up to 32: least taken",
        ),
        "weight_bits": Figure(
            8, "bits", "lava-nc/lava 0.10.0, dense/models.py", _MEDIUM, "mixed sign: even, -256..254"
        ),
    },
    costs={
        "synaptic_operation_pj": Figure(
            23.6, "pJ", DAVIES, _LOW, f"{_STAND_IN}; an unsourced web page speaks of about 1 pJ"
        ),
        "neuron_update_pj": Figure(81.0, "pJ", DAVIES, _LOW, _STAND_IN),
        "static_power_w": Figure(
            1.78,
            "W",
            "secondary: one board takes 1.80 W in all, 1.78 W of it static",
            _LOW,
            "whole board, not the chip",
        ),
        "synaptic_operation_ns": Figure(3.5, "ns", DAVIES, _LOW, _STAND_IN),
        "neuron_update_ns": Figure(4.2, "ns", f"{_ARS}; 8.4 ns / 2", _LOW),
        "step_overhead_ns": Figure(LOIHI1_COSTS["step_overhead_ns"].top, "ns", DAVIES, _LOW, _STAND_IN),
    },
    assumptions=(
        "a core holds neurons of one layer only",
        "a delay takes 6 bits beside each weight; kernels are stored once for every different delay of their sources",
        "synapse memory: each weight in its declared width; states and axon tables, which share it, are left out",
        "convolutions: a core keeps the kernels of its output channels once",
    ),
    narrow_weights=True,  # 1 bit synapses are its densest format: IEEE CAS Magazine 2022 Q2, p. 21
    memory_word_bits=64,
    mesh=Mesh(8, 4, 4, "assumed to be that of Loihi 1; not published"),
)
