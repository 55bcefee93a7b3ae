# SPDX-License-Identifier: Apache-2.0
"""The tensor on the wire: round trips, the smaller encoding, refusals, the digest."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.events import (
    ENCODING_BITMAP,
    ENCODING_COO,
    TensorError,
    WindowDigest,
    active_indices,
    decode_tensor,
    encode_tensor,
    warm_up,
)


@given(cells=st.integers(1, 3000), share=st.sampled_from([0.0, 0.01, 0.03, 0.5, 1.0]), seed=st.integers(0, 2**32 - 1))
def test_round_trip_in_the_smaller_encoding(cells, share, seed):
    dense = np.random.default_rng(seed).random(cells) < share
    bitmap = np.packbits(dense)
    indices = np.flatnonzero(dense)
    assert active_indices(bitmap, cells).tolist() == indices.tolist()
    encoding, data = encode_tensor(bitmap, cells, len(indices))
    assert (encoding, data) == encode_tensor(bitmap, cells)
    coordinates, bits = indices.astype("<u4").tobytes(), bitmap.tobytes()
    assert len(data) == min(len(coordinates), len(bits))
    assert data == (coordinates if encoding == ENCODING_COO else bits)
    for form, content in ((ENCODING_COO, coordinates), (ENCODING_BITMAP, bits)):
        assert (decode_tensor(form, content, cells) == bitmap).all()
        assert (decode_tensor(form, memoryview(b"x" + content)[1:], cells) == bitmap).all()


@pytest.mark.parametrize(
    ("encoding", "data", "complaint"),
    [
        (2, b"", "encoding 2 is unknown"),
        (ENCODING_BITMAP, b"\x00", "has 2 bytes, this one has 1"),
        (ENCODING_BITMAP, b"\x00\x0f", "beyond cell 11"),
        (ENCODING_COO, b"\x00\x00\x00", "3 bytes"),
        (ENCODING_COO, struct.pack("<I", 12), "index 12 at place 0"),
        (ENCODING_COO, struct.pack("<II", 3, 3), "index 3 at place 1"),
        (ENCODING_COO, struct.pack("<II", 3, 2), "index 2 at place 1"),
    ],
)
def test_bad_data_is_refused(encoding, data, complaint):
    with pytest.raises(TensorError, match=complaint):
        decode_tensor(encoding, data, 12)


@given(data=st.binary(max_size=64), encoding=st.integers(0, 3), cells=st.integers(1, 200))
def test_any_bytes_are_a_tensor_or_a_refusal(data, encoding, cells):
    try:
        bitmap = decode_tensor(encoding, data, cells)
    except TensorError:
        return
    assert len(bitmap) == (cells + 7) // 8


def test_a_wrong_number_of_cells_is_refused():
    with pytest.raises(TensorError, match="1 were announced"):
        encode_tensor(np.array([0xC0, 0, 0, 0, 0, 0, 0, 0], np.uint8), 64, 1)


def test_digest():
    digest = WindowDigest()
    digest.update(-5, np.array([1, 2], np.uint8))
    digest.update(1 << 40, np.array([3], np.uint8))
    expected = struct.pack("<q", -5) + b"\x01\x02" + struct.pack("<q", 1 << 40) + b"\x03"
    assert digest.hexdigest() == hashlib.sha256(expected).hexdigest()


def test_warm_up_works_twice():
    warm_up()
    warm_up()
