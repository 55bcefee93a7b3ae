# SPDX-License-Identifier: Apache-2.0
"""Every field of a state file, once: the table of docs/state_transfer.md and what the code goes by.

A field is an entry of the manifest, or a group of tensors: ``NAME.<layer>``, or
``NAME.<layer>.<projection>`` where a population has one a projection. This module
refuses to know how files are read.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "FIELDS",
    "KNOWN",
    "NEWEST",
    "OPTIONAL",
    "PLASTICITY",
    "STATE_FORMAT",
    "VERSIONS",
    "WIDTHS",
    "Field",
    "field_table",
]

STATE_FORMAT = "neuro_ros.state"
VERSIONS = (1, 2)  # that this release reads and writes
NEWEST = VERSIONS[-1]
#: Bits of a tensor's values, sign included, as the manifest declares them.
WIDTHS = {
    1: {"u": 24, "v": 24, "a_buff": 19},
    2: {"u": 24, "v": 24, "a_buff": 19, "refractory": 6},
}


@dataclass(frozen=True)
class Field:
    """One field.

    Parameters
    ----------
    name : str
        Of the manifest's entry, or what the names of the tensors begin with.
    place : str
        ``manifest`` or ``tensors``.
    since : int
        First version that has it.
    presence : str
        ``always``; ``optional`` = declared where it is there; otherwise the condition.
    must_understand : bool
        An optional one that a reader must not ignore.
    form : str
        Type, unit and range.
    meaning : str
        What it says.
    """

    name: str
    place: str
    since: int
    presence: str
    must_understand: bool
    form: str
    meaning: str


def _manifest(name: str, form: str, meaning: str) -> Field:
    return Field(name, "manifest", 1, "always", False, form, meaning)


def _tensors(name: str, since: int, presence: str, form: str, meaning: str) -> Field:
    return Field(name, "tensors", since, presence, False, form, meaning)


def _optional(name: str, form: str, meaning: str) -> Field:
    return Field(name, "manifest", 2, "optional", False, form, meaning)


def _plasticity(name: str, form: str, meaning: str) -> Field:
    return Field(name, "tensors", 2, "optional", True, form, meaning)


FIELDS = (
    _manifest("model_digest", "string", "SHA-256 of the model that the state belongs to"),
    _manifest("model_id", "string", "that model's name and the first 12 digits of its digest, for people"),
    _manifest("topology_digest", "string", "SHA-256 of `topology` as canonical JSON"),
    _manifest("topology", "object", "shape of the input; of each population name, kind, shape, sources, slots, rest"),
    _manifest("stream_id", "string", "`header.frame_id` of the stream; empty = unknown"),
    _manifest("sequence", "integer", "of the last window that went in; -1 = unknown"),
    _manifest(
        "sensor_end_ns", "integer, ns", "end of that window in sensor time, no event of it is later; -1 = unknown"
    ),
    _manifest("epoch", "integer", "of that window's publisher; sequences compare within one; -1 = unknown"),
    _manifest("evidence", "list of numbers, spikes", "leaky sum of output spikes, one a class; empty = none"),
    _manifest("registers", "list of objects", "of each population `du`, `dv`, `vth`, `bias_exp` in force"),
    _manifest("widths", "object of integers, bits", "declared width of the tensors' values, sign included"),
    _tensors("u", 1, "always", "int32, 24 bits, -2^23 < u <= 2^23", "current"),
    _tensors("v", 1, "always", "int32, 24 bits, -2^23 < v < 2^23", "voltage"),
    _tensors(
        "a_buff", 1, "always", "int32, 19 bits, -2^18..2^18", "input in flight, summed; from version 2 a slot a delay"
    ),
    _tensors("refractory", 2, "population with a rest", "int32, 6 bits, 0..63", "steps in which v still stays at 0"),
    _optional("decision", "integer", "class index of the decision in force; absent = none"),
    _optional("compensation_id", "integer", "of the ThermalCompensation that set the registers; absent = none"),
    _optional("clock", "object", "model of the sensor's clock, as below; absent = unknown"),
    _optional("layer_digests", "list of strings", "SHA-256 of each population with what feeds it, for migration"),
    _plasticity("trace_pre", "int32, (traces, c, y, x) of the source", "presynaptic traces of a projection"),
    _plasticity("trace_post", "int32, (traces, c, h, w)", "postsynaptic traces"),
    _plasticity("eligibility", "int32, as the weights", "eligibility of every synapse of a projection"),
    _plasticity("weight", "int32, as the weights", "weights that learning has changed, of a projection"),
)
KNOWN = {field.name: field for field in FIELDS}
OPTIONAL = tuple(field.name for field in FIELDS if field.presence == "optional")
PLASTICITY = tuple(field.name for field in FIELDS if field.must_understand)


def field_table() -> str:
    """Return the table of docs/state_transfer.md."""
    lines = [
        "| field | in | since | present | must be understood | form | meaning |",
        "| --- | --- | ---: | --- | --- | --- | --- |",
    ]
    for field in FIELDS:
        must = "yes" if field.must_understand else "no" if field.presence == "optional" else "always"
        cells = (f"`{field.name}`", field.place, field.since, field.presence, must, field.form, field.meaning)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"
