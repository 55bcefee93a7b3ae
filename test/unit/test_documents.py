# SPDX-License-Identifier: Apache-2.0
"""Small files are written whole or not at all, and read with suspicion."""

import json
import os
import resource

import pytest

from neuro_ros.documents import DocumentError, read_json, write_atomically

GOOD = {"format": "neuro_ros.example", "version": 3, "value": 1.5}


def read(path, most_bytes=1000):
    return read_json(path, most_bytes, "neuro_ros.example", 3, "make it again")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.json"


def test_what_was_written_is_read(path):
    write_atomically(path, json.dumps(GOOD).encode())
    assert read(path) == GOOD
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not a neuro_ros.example: Expecting value"),
        (b"\xff\xfe\x00", "is not a neuro_ros.example"),
        (b"[" * 900, "is not a neuro_ros.example"),
        (b"[1]", "which names its format so"),
        (b'{"format": "other", "version": 3}', "which names its format so"),
        (
            b'{"format": "neuro_ros.example", "version": 4}',
            "version 4, this release reads version 3; make it again",
        ),
        (b'{"format": "neuro_ros.example"}', "has version None"),
        (b" " * 1001, "is longer than 1000 bytes"),
    ],
)
def test_a_stranger_is_refused_in_one_line(path, data, reason):
    path.write_bytes(data)
    with pytest.raises(DocumentError) as refusal:
        read(path)
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_deep_nesting_is_refused_and_does_not_overflow(path):
    path.write_bytes(b"[" * 200_000)
    with pytest.raises(DocumentError, match=r"is not a neuro_ros\.example"):
        read(path, 1_000_000)


def test_a_missing_file_and_an_impossible_path_are_refused(path):
    with pytest.raises(DocumentError, match="cannot be read: No such file"):
        read(path)
    with pytest.raises(DocumentError, match=r"cannot be read: .*null"):
        read(path.with_name("a\0b"))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(path):
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_atomically(path, b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_new_file_has_the_permissions_of_any_other(path):
    write_atomically(path, b"new")
    other = path.with_name("other")
    other.write_bytes(b"")
    assert path.stat().st_mode == other.stat().st_mode
    assert os.access(path, os.R_OK)
