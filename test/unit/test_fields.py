# SPDX-License-Identifier: Apache-2.0
"""Message dataclasses mirror the .msg files, and convert and digest as documented."""

import array
import dataclasses
import math
import struct
import types
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.cores import messages
from neuro_ros.cores.fields import FieldError, definition_of, digest_bytes, from_ros, parse_definition, to_ros
from neuro_ros.cores.messages import ROS_TYPES, WALL_CLOCK_FIELDS, Gesture, Header, SpikeTensor, Temperature
from neuro_ros.resources import message_definition_paths

OURS = sorted((cls for cls, name in ROS_TYPES.items() if name.startswith("neuro_ros/")), key=lambda cls: cls.__name__)
INTEGERS = {f"{sign}int{bits}": (sign, bits) for sign in ("", "u") for bits in (8, 16, 32, 64)}


def python_type(field):
    """Return the annotation that a field of a definition must have in the dataclass."""
    scalar = {"string": "str", "bool": "bool", "float32": "float", "float64": "float"}.get(field.type, "int")
    if field.type == "std_msgs/Header":
        scalar = "Header"
    if field.array:
        return "bytes" if field.type == "uint8" else f"Sequence[{scalar}]"
    return scalar


def integer_limits(kind):
    sign, bits = INTEGERS[kind]
    return (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def values_of(field):
    """Return a strategy for the values of a field, with all that its type can hold."""
    if field.type in INTEGERS:
        scalar = st.integers(*integer_limits(field.type))
    elif field.type == "string":
        scalar = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
    elif field.type == "bool":
        scalar = st.booleans()
    elif field.type in ("float32", "float64"):
        scalar = st.floats(width=int(field.type[5:]))
    elif field.type == "builtin_interfaces/Time":
        scalar = st.integers(-(2**31) * 10**9, 2**31 * 10**9 - 1)
    else:
        times = st.integers(-(2**31) * 10**9, 2**31 * 10**9 - 1)
        return st.builds(Header, times, st.text(alphabet="abc_é", max_size=8))
    if not field.array:
        return scalar
    return st.binary(max_size=40) if field.type == "uint8" else st.lists(scalar, max_size=5)


def any_message():
    def build(cls):
        return st.builds(cls, **{field.name: values_of(field) for field in definition_of(cls).fields})

    return st.sampled_from(list(ROS_TYPES)).flatmap(build)


def equal(left, right):
    if isinstance(left, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, Sequence) and not isinstance(left, str | bytes):
        return len(left) == len(right) and all(map(equal, left, right))
    return left == right


def record(_type_name):
    return types.SimpleNamespace


@pytest.mark.parametrize("cls", list(ROS_TYPES), ids=lambda cls: cls.__name__)
def test_dataclass_has_the_fields_of_the_definition_in_order_and_type(cls):
    ours = [(field.name, field.type) for field in dataclasses.fields(cls)]
    assert ours == [(field.name, python_type(field)) for field in definition_of(cls).fields]


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
def test_dataclass_has_the_constants_of_the_definition(cls):
    ours = {name: getattr(cls, name) for name in vars(cls) if name.isupper() and not name.startswith("_")}
    assert ours == {constant.name: constant.value for constant in definition_of(cls).constants}


def test_every_message_file_has_a_dataclass():
    files = {name for name in message_definition_paths() if "/msg/" in name}
    assert files == {name for name in ROS_TYPES.values() if name.startswith("neuro_ros/")}


@pytest.mark.parametrize("name", sorted(message_definition_paths()))
def test_every_field_is_commented(name):
    text = message_definition_paths()[name].read_text(encoding="utf-8")
    for half in text.split("\n---\n"):
        definition = parse_definition(half)
        assert [field.name for field in definition.fields if not field.comment] == []


def test_wall_clock_fields_exist():
    known = {field.name for cls in ROS_TYPES for field in definition_of(cls).fields}
    assert known >= WALL_CLOCK_FIELDS


def test_every_message_class_is_listed():
    defined = {cls for cls in vars(messages).values() if isinstance(cls, type) and dataclasses.is_dataclass(cls)} - {
        Header
    }
    assert defined == set(ROS_TYPES)


@given(any_message())
def test_conversion_there_and_back_changes_nothing(message):
    back = from_ros(type(message), to_ros(message, record))
    for field in dataclasses.fields(message):
        assert equal(getattr(message, field.name), getattr(back, field.name)), field.name


@given(any_message())
def test_digest_bytes_change_with_the_topic_and_are_the_same_after_conversion(message):
    back = from_ros(type(message), to_ros(message, record))
    assert digest_bytes("a", message) == digest_bytes("a", back)
    assert digest_bytes("a", message) != digest_bytes("b", message)


def test_large_arrays_are_not_walked():
    data = array.array("B", bytes(range(256)) * 400)
    made = from_ros(SpikeTensor, to_ros(SpikeTensor(data=data.tobytes()), record))
    assert isinstance(made.data, memoryview)
    source = types.SimpleNamespace(**vars(to_ros(SpikeTensor(), record)) | {"data": data})
    view = from_ros(SpikeTensor, source).data
    data[0] = 77
    assert view[0] == 77  # the same memory
    assert np.frombuffer(view, np.uint8).sum() == sum(data)


def test_digest_layout_is_as_documented():
    message = Gesture(
        header=Header(1_500_000_001, "cam"),
        sequence=7,
        epoch=2,
        model_id="m",
        label="",
        class_index=-1,
        confidence=0.1,
        spike_counts=[1, 2],
        latency_s=0.5,
        inference_s=0.25,
    )
    expected = (
        struct.pack("<I", 7) + b"gesture"
        + struct.pack("<iI", 1, 500_000_001) + struct.pack("<I", 3) + b"cam"
        + struct.pack("<QQ", 7, 2)
        + struct.pack("<I", 1) + b"m"
        + struct.pack("<I", 0)
        + struct.pack("<hf", -1, 0.1)
        + struct.pack("<Iii", 2, 1, 2)
    )  # fmt: skip
    assert digest_bytes("gesture", message) == expected
    message.latency_s, message.inference_s = 9.0, math.nan
    assert digest_bytes("gesture", message) == expected  # measured times are not part of it


def test_every_nan_is_the_same_in_a_digest():
    other = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_0001))[0]
    assert digest_bytes("t", Temperature(temperature=other)) == digest_bytes("t", Temperature(temperature=math.nan))


@pytest.mark.parametrize(("name", "value"), [("sequence", -1), ("class_index", 40000), ("label", 3), ("header", None)])
def test_a_value_that_does_not_fit_is_named(name, value):
    with pytest.raises(FieldError, match=f"Gesture.{name}"):
        digest_bytes("gesture", Gesture(**{name: value}))


def test_a_missing_field_is_named():
    with pytest.raises(FieldError, match="no field 'sequence'"):
        from_ros(Gesture, types.SimpleNamespace(header=to_ros(Temperature(), record).header))


def test_foreign_classes_are_refused():
    with pytest.raises(FieldError, match="int is not a message"):
        definition_of(int)


@pytest.mark.parametrize(
    "line", ["uint8[4] fixed", "string<=8 bounded", "uint8", "geometry_msgs/Point p", "float32 X=x=1"]
)
def test_a_definition_outside_the_subset_is_refused(line):
    with pytest.raises(FieldError, match="message definition line"):
        parse_definition(line)
