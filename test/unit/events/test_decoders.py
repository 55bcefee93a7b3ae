# SPDX-License-Identifier: Apache-2.0
"""EVT2, EVT2.1 and EVT3: golden vectors, an independent reference decoder, round trips, cuts anywhere, damage."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neuro_ros.events import ENCODINGS, EVENT_DTYPE, TRIGGER_DTYPE, DecodeCounters, PacketDecoder, RecordingError
from neuro_ros.events.stream import decode_stream

WIDTH, HEIGHT = 1280, 720
WORD = {"evt2": "<u4", "evt21": "<u8", "evt21_legacy": "<u8", "evt3": "<u2"}
# Where the upper bits of the time are in a word that holds them.
TIME_HIGH = {"evt2": (8 << 28, 0, 28), "evt21": (8 << 60, 32, 28), "evt3": (8 << 12, 0, 12)}
TIME_HIGH["evt21_legacy"] = TIME_HIGH["evt21"]
EVT = sorted(WORD)


# --- a reference that follows the bit layout literally, word by word, one Python integer at a time --------------------
class Unwrapper:
    """Extend a counter of `bits` bits by the shorter way round, never below zero."""

    def __init__(self, bits: int) -> None:
        self.range = 1 << bits
        self.value: int | None = None

    def update(self, raw: int) -> int:
        if self.value is None:
            self.value = raw
        forward = (raw - self.value) % self.range
        backward = self.range - forward
        if forward and backward <= forward and self.value >= backward:
            self.value -= backward
        else:
            self.value += forward
        return self.value


def reference_evt3(words, width=WIDTH, height=HEIGHT):
    high, low, y, base, polarity = Unwrapper(12), 0, 0, 0, 0
    events, triggers = [], []
    lost = {"errors": 0, "out_of_area": 0, "dropped_before_time": 0, "padding": 0, "triggers_dropped": 0}

    def emit(x, p):
        if high.value is None:
            lost["dropped_before_time"] += 1
        elif x >= width or y >= height:
            lost["out_of_area"] += 1
        else:
            events.append((((high.value << 12) | low) * 1000, x, y, p))

    for word in (int(item) for item in words):
        code, payload = word >> 12, word & 0xFFF
        if word == 0x9999:
            lost["padding"] += 1
        elif code == 0x0:
            y = word & 0x7FF
        elif code == 0x2:
            emit(word & 0x7FF, payload >> 11)
        elif code == 0x3:
            base, polarity = word & 0x7FF, payload >> 11
        elif code in (0x4, 0x5):
            count = 12 if code == 0x4 else 8
            for bit in range(count):
                if (payload >> bit) & 1:
                    emit(base + bit, polarity)
            base += count
        elif code == 0x6:
            low = payload if high.value is not None else 0
        elif code == 0x8:
            before = high.value
            if high.update(payload) != before:
                low = 0
        elif code == 0xA:
            if high.value is None:
                lost["triggers_dropped"] += 1
            else:
                triggers.append((((high.value << 12) | low) * 1000, (payload >> 8) & 0xF, payload & 1))
        elif code in (0x1, 0x9, 0xB, 0xC):
            lost["errors"] += 1
    return events, triggers, lost


def reference_evt2(words, width=WIDTH, height=HEIGHT):
    high = Unwrapper(28)
    events, triggers = [], []
    lost = {"errors": 0, "out_of_area": 0, "dropped_before_time": 0, "padding": 0, "triggers_dropped": 0}
    for word in (int(item) for item in words):
        code = word >> 28
        low, x, y = (word >> 22) & 0x3F, (word >> 11) & 0x7FF, word & 0x7FF
        if code in (0, 1):
            if high.value is None:
                lost["dropped_before_time"] += 1
            elif x >= width or y >= height:
                lost["out_of_area"] += 1
            else:
                events.append((((high.value << 6) | low) * 1000, x, y, code))
        elif code == 8:
            high.update(word & 0xFFFFFFF)
        elif code == 0xA:
            if high.value is None:
                lost["triggers_dropped"] += 1
            else:
                triggers.append((((high.value << 6) | low) * 1000, (word >> 8) & 0x1F, word & 1))
        elif code not in (0xD, 0xE, 0xF):
            lost["errors"] += 1
    return events, triggers, lost


def reference_evt21(words, width=WIDTH, height=HEIGHT):
    high = Unwrapper(28)
    events, triggers = [], []
    lost = {"errors": 0, "out_of_area": 0, "dropped_before_time": 0, "padding": 0, "triggers_dropped": 0}
    for word in (int(item) for item in words):
        code, low = word >> 60, (word >> 54) & 0x3F
        time_ns = None if high.value is None else ((high.value << 6) | low) * 1000
        if code in (0, 1):
            x, y = (word >> 43) & 0x7FF, (word >> 32) & 0x7FF
            for bit in range(32):
                if not (word >> bit) & 1:
                    continue
                if time_ns is None:
                    lost["dropped_before_time"] += 1
                elif x + bit >= width or y >= height:
                    lost["out_of_area"] += 1
                else:
                    events.append((time_ns, x + bit, y, code))
        elif code == 8:
            high.update((word >> 32) & 0xFFFFFFF)
        elif code == 0xA:
            if time_ns is None:
                lost["triggers_dropped"] += 1
            else:
                triggers.append((time_ns, (word >> 40) & 0x1F, (word >> 32) & 1))
        elif code not in (0xE, 0xF):
            lost["errors"] += 1
    return events, triggers, lost


REFERENCE = {"evt2": reference_evt2, "evt21": reference_evt21, "evt21_legacy": reference_evt21, "evt3": reference_evt3}


def decode(encoding, data, width=WIDTH, height=HEIGHT, max_events=65536):
    """Decode bytes at once; return lists of events and triggers, and the counters."""
    counters = DecodeCounters()
    decoder = ENCODINGS[encoding].decoder(width, height)
    events, triggers = [], []
    for batch in decode_stream(io.BytesIO(data).readinto, decoder, counters, max_events):
        assert len(batch.events) <= max_events
        events += batch.events.tolist()
        triggers += batch.triggers.tolist()
    return events, triggers, counters


def swapped(encoding, words):
    """Turn words into those that a file has, and back: legacy files have the upper half of each first."""
    return words.view("<u4").reshape(-1, 2)[:, ::-1].copy().view("<u8")[:, 0] if "legacy" in encoding else words


def words_of(encoding, *words):
    return swapped(encoding, np.array(words, WORD[encoding])).tobytes()


def time_words(encoding, *payloads):
    code, shift, _ = TIME_HIGH[encoding]
    return words_of(encoding, *(code | (payload << shift) for payload in payloads))


# --- golden vectors ---------------------------------------------------------------------------------------------------
def test_evt3_golden():
    events, _, counters = decode("evt3", words_of("evt3", 0x8001, 0x6388, 0x002D, 0x287B))
    assert events == [(5_000_000, 123, 45, 1)]
    assert counters == DecodeCounters()


def test_evt2_golden():
    events, _, counters = decode("evt2", words_of("evt2", 0x8000000F, 0x1A03D82D))
    assert events == [(1_000_000, 123, 45, 1)]
    assert counters == DecodeCounters()


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("evt21", "00000000 0F000080 01000080 2D00031A"),
        ("evt21_legacy", "0F000080 00000000 2D00031A 01000080"),
    ],
)
def test_evt21_golden(encoding, data):
    events, _, counters = decode(encoding, bytes.fromhex(data))
    assert events == [(1_000_000, 96, 45, 1), (1_000_000, 127, 45, 1)]
    assert counters == DecodeCounters()
    golden = words_of(encoding, 0x8000000F00000000, 0x1A03002D80000001)
    assert golden == bytes.fromhex(data)
    pair = np.array(events, EVENT_DTYPE)
    assert ENCODINGS[encoding].encoder().encode(pair, np.empty(0, TRIGGER_DTYPE)) == golden


def test_evt21_order_of_bytes():
    word = 0x0102030405060708
    assert words_of("evt21_legacy", word) == bytes([4, 3, 2, 1, 8, 7, 6, 5])
    assert words_of("evt21", word) == bytes([8, 7, 6, 5, 4, 3, 2, 1])


def test_evt21_masks_beyond_the_sensor_and_words_of_no_account():
    data = words_of(
        "evt21",
        0x0000000000000003,  # two events and a trigger before the first time
        0xA000000100000000,
        0x8000000000000000,
        0x1000000000000000 | (1264 << 43) | (719 << 32) | 0xFFFFFFFF,  # columns 1264 to 1295 of 1280
        0x1000000000000000 | (0 << 43) | (720 << 32) | 0x80000001,  # a row too far
        0x0000000000000000,  # no bit of the mask set
        0xE000000000000014,  # monitoring, its continuation, filler
        0xF000000000000001,
        0xFFFFFFFFFFFFFFFF,
        0x2000000000000001,  # reserved
        0xD000000000000001,
        0xA000120100000000,  # id 18, rising
    )
    events, triggers, counters = decode("evt21", data + b"\x00" * 7)
    assert events == [(0, x, 719, 1) for x in range(1264, 1280)]
    assert triggers == [(0, 18, 1)]
    assert counters == DecodeCounters(errors=3, out_of_area=18, dropped_before_time=2, triggers_dropped=1)


def test_encoders_write_the_golden_words():
    triggers = np.empty(0, TRIGGER_DTYPE)
    late = np.array([(5_000_000, 123, 45, 1)], EVENT_DTYPE)
    assert ENCODINGS["evt3"].encoder().encode(late, triggers) == words_of("evt3", 0x8001, 0x6388, 0x002D, 0x287B)
    early = np.array([(1_000_000, 123, 45, 1)], EVENT_DTYPE)
    assert ENCODINGS["evt2"].encoder().encode(early, triggers) == words_of("evt2", 0x8000000F, 0x1A03D82D)


def test_evt3_vectors_word_by_word():
    # Base 100, ON; bits 0 and 11 of a 12, bit 0 of an 8 (x 112), then a row of its own without the rest of the group.
    data = words_of("evt3", 0x8000, 0x6001, 0x0005, 0x3800 | 100, 0x4801, 0x5001, 0x0006, 0x4001)
    events, _, _ = decode("evt3", data)
    assert events == [(1000, 100, 5, 1), (1000, 111, 5, 1), (1000, 112, 5, 1), (1000, 120, 6, 1)]


def test_evt3_row_origin_bit_is_not_part_of_the_row():
    events, _, _ = decode("evt3", words_of("evt3", 0x8000, 0x6001, 0x0800 | 5, 0x2001))
    assert events == [(1000, 1, 5, 0)]


def test_triggers_are_kept_apart():
    _, triggers, _ = decode("evt3", words_of("evt3", 0xA100, 0x8001, 0x6388, 0xA301, 0xA300))
    assert triggers == [(5_000_000, 3, 1), (5_000_000, 3, 0)]
    _, triggers, counters = decode("evt2", words_of("evt2", 0xA0000101, 0x8000000F, 0xAA000601))
    assert triggers == [(1_000_000, 6, 1)]
    assert counters.triggers_dropped == 1
    for encoding in ("evt21", "evt21_legacy"):
        data = words_of(encoding, 0xA000010100000000, 0x8000000F00000000, 0xAA00060100000000)
        _, triggers, counters = decode(encoding, data)
        assert triggers == [(1_000_000, 6, 1)]
        assert counters.triggers_dropped == 1


@pytest.mark.parametrize(
    ("encoding", "bits", "unit_us", "event"),
    [
        ("evt3", 12, 4096, (0x0001, 0x2002)),
        ("evt2", 28, 64, (0x00001001,)),
        ("evt21", 28, 64, (0x0000100100000001,)),
        ("evt21_legacy", 28, 64, (0x0000100100000001,)),
    ],
)
def test_time_wraps_and_small_steps_back(encoding, bits, unit_us, event):
    top = (1 << bits) - 1
    event = words_of(encoding, *event)
    steps = [top - 1, top, 0, top, 0, 1, 3, 2, top // 2]
    expected = [top - 1, top, top + 1, top, top + 1, top + 2, top + 4, top + 3, top + 1 + top // 2]
    data = b"".join(time_words(encoding, step) + event for step in steps)
    events, _, counters = decode(encoding, data)
    assert [t // (1000 * unit_us) for t, *_ in events] == expected
    assert counters.time_wraps == 2  # there and, after the step back, there again
    # Before the first wrap a step back is a step back too, but not below zero.
    events, _, _ = decode(encoding, b"".join(time_words(encoding, step) + event for step in (5, 3, top)))
    assert [t // (1000 * unit_us) for t, *_ in events] == [5, 3, top]


def test_before_time_out_of_area_padding_and_reserved_are_counted():
    data = words_of("evt3", 0x2001, 0x3000, 0x4003, 0x8000, 0x6000, 0x02FF, 0x27FF, 0x9999, 0x1000, 0x9000, 0xB000)
    events, _, counters = decode("evt3", data + b"\x00", width=640, height=480)
    assert events == []
    assert counters.dropped_before_time == 3
    assert counters.out_of_area == 1
    assert counters.padding == 1
    assert counters.errors == 4  # three reserved codes and half a word


def test_resynchronises_after_a_loss():
    decoder = PacketDecoder("evt3", WIDTH, HEIGHT)
    first = decoder.decode(words_of("evt3", 0x8FFF, 0x6388, 0x002D, 0x287B))
    assert (first.complete, len(first.events)) == (True, 1)
    decoder.lose(2)
    second = decoder.decode(words_of("evt3", 0x287B, 0x6001, 0x8000, 0x6002, 0x0001, 0x2002))
    # The orphans before the time word are dropped, and the wrap during the loss is seen.
    assert second.events.tolist() == [((4096 * 4096 + 2) * 1000, 2, 1, 0)]
    assert (second.complete, second.lost_packets) == (False, 2)
    assert (decoder.counters.lost_packets, decoder.counters.dropped_before_time) == (2, 1)
    assert decoder.decode(b"").complete


def test_evt3_does_not_guess_the_row_and_base_that_were_lost():
    decoder = PacketDecoder("evt3", WIDTH, HEIGHT)
    decoder.decode(words_of("evt3", 0x8000, 0x6001, 0x0021, 0x2001, 0x3010))
    decoder.lose(1)
    # Two events without a row, a row, three of a vector without a base, one with.
    lost = words_of("evt3", 0x8001, 0x6002, 0x2003, 0x2004, 0x0022, 0x4007, 0x3010, 0x4001)
    assert decoder.decode(lost).events.tolist() == [(4_098_000, 16, 34, 0)]
    assert decoder.counters.out_of_area == 5


def test_packets_grow_the_buffers():
    decoder = PacketDecoder("evt3", WIDTH, HEIGHT)
    vectors = np.full(20_000, 0x4FFF, "<u2")
    vectors[::2] = 0x3000
    payload = words_of("evt3", 0x8000, 0x6000, 0x0000) + vectors.tobytes() + words_of("evt3", *[0xA001] * 500)
    batch = decoder.decode(payload)
    assert len(batch.events) == 10_000 * 12
    assert len(batch.triggers) == 500


# --- properties -------------------------------------------------------------------------------------------------------
@given(data=st.binary(max_size=4000), encoding=st.sampled_from(EVT), seed=st.integers(0, 2**32 - 1))
def test_any_bytes_decode_as_the_reference_says(data, encoding, seed):
    # Random words alone hardly ever hold a time: sprinkle some.
    size = np.dtype(WORD[encoding]).itemsize
    words = swapped(encoding, np.frombuffer(data[: len(data) // size * size], WORD[encoding]).copy())
    rng = np.random.default_rng(seed)
    if len(words):
        chosen = rng.random(len(words)) < 0.3
        code, shift, bits = TIME_HIGH[encoding]
        payloads = rng.integers(0, 1 << bits, chosen.sum()).astype(words.dtype)
        words[chosen] = words.dtype.type(code) | (payloads << words.dtype.type(shift))
    data = swapped(encoding, words).tobytes() + data[len(words) * size :]
    events, triggers, counters = decode(encoding, data)
    expected_events, expected_triggers, lost = REFERENCE[encoding](words)
    lost["errors"] += len(data) % size != 0
    assert events == expected_events
    assert triggers == expected_triggers
    assert {name: getattr(counters, name) for name in lost} == lost
    times = [t for t, *_ in events]
    assert counters.non_monotonic == sum(b < a for a, b in itertools.pairwise(times))


@given(
    data=st.binary(max_size=1500),
    encoding=st.sampled_from(EVT),
    cuts=st.lists(st.integers(1, 50), min_size=1, max_size=20),
    max_events=st.sampled_from([1, 2, 13, 65536]),
)
def test_a_stream_cut_anywhere_gives_the_same_events(data, encoding, cuts, max_events):
    data = time_words(encoding, 0) + data
    source = io.BytesIO(data)
    lengths = iter(cuts * (len(data) + 1))

    def read_some(view):
        return source.readinto(view[: next(lengths)])

    counters = DecodeCounters()
    events, triggers = [], []
    for batch in decode_stream(read_some, ENCODINGS[encoding].decoder(WIDTH, HEIGHT), counters, max_events):
        events += batch.events.tolist()
        triggers += batch.triggers.tolist()
    assert (events, triggers, counters) == decode(encoding, data)


@st.composite
def streams(draw):
    """Events and triggers whose times rise across wraps, with clusters in a row."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 300))
    start_us = draw(st.sampled_from([0, 4095, (1 << 24) - 50, 5 << 22, (1 << 34) - 50]))
    step_us = draw(st.sampled_from([1, 3, 5000, 9_000_000]))
    events = np.zeros(count, EVENT_DTYPE)
    events["t"] = (start_us + np.cumsum(rng.integers(0, step_us + 1, count))) * 1000
    events["y"] = np.repeat(rng.integers(0, HEIGHT, count), 5)[:count]
    events["x"] = np.cumsum(rng.integers(0, 6, count)) % WIDTH
    events["p"] = rng.integers(0, 2, count) if draw(st.booleans()) else 1
    triggers = np.zeros(draw(st.integers(0, 5)), TRIGGER_DTYPE)
    triggers["t"] = np.sort(rng.choice(events["t"], len(triggers)))
    triggers["id"] = rng.integers(0, 16, len(triggers))
    triggers["edge"] = rng.integers(0, 2, len(triggers))
    return events, triggers


@given(stream=streams(), encoding=st.sampled_from(EVT), cut=st.integers(0, 300))
def test_decoding_what_was_encoded_gives_it_back(stream, encoding, cut):
    events, triggers = stream
    encoder = ENCODINGS[encoding].encoder()
    parted = np.searchsorted(triggers["t"], events["t"][min(cut, len(events) - 1)])
    data = encoder.encode(events[:cut], triggers[:parted]) + encoder.encode(events[cut:], triggers[parted:])
    decoder = ENCODINGS[encoding].decoder(WIDTH, HEIGHT)
    decoder.start_at(int(min(events["t"][0], triggers["t"][0] if len(triggers) else events["t"][0])))
    counters = DecodeCounters()
    got_events, got_triggers = [], []
    for batch in decode_stream(io.BytesIO(data).readinto, decoder, counters, 65536):
        got_events += batch.events.tolist()
        got_triggers += batch.triggers.tolist()
    assert got_events == events.tolist()
    assert got_triggers == triggers.tolist()
    assert counters.errors == counters.out_of_area == counters.dropped_before_time == 0


@given(stream=streams(), encoding=st.sampled_from(EVT), seed=st.integers(0, 2**32 - 1))
@example(stream=(np.zeros(1, EVENT_DTYPE), np.zeros(0, TRIGGER_DTYPE)), encoding="evt3", seed=0)
def test_damaged_words_are_left_behind(stream, encoding, seed):
    events, triggers = stream
    data = bytearray(ENCODINGS[encoding].encoder().encode(events, triggers))
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(data), max(1, len(data) // 50)):
        data[place] = rng.integers(0, 256)
    # Far behind the damage, with all state words anew, events are exact again, up to the wraps that were misread.
    tail = {
        "evt2": words_of("evt2", 0x8000000F, 0x1A03D82D),
        "evt21": words_of("evt21", 0x8000000F00000000, 0x1A03D82D00000001),
        "evt21_legacy": words_of("evt21_legacy", 0x8000000F00000000, 0x1A03D82D00000001),
        "evt3": words_of("evt3", 0x8001, 0x8001, 0x6388, 0x002D, 0x287B),
    }[encoding]
    got, _, _ = decode(encoding, bytes(data) + tail)
    t, x, y, p = got[-1]
    wrap_us = 1 << 24 if encoding == "evt3" else 1 << 34
    assert (t // 1000 % wrap_us, x, y, p) == (5000 if encoding == "evt3" else 1000, 123, 45, 1)


# --- refusals ---------------------------------------------------------------------------------------------------------
def test_what_does_not_fit_is_refused():
    triggers = np.empty(0, TRIGGER_DTYPE)
    for name in EVT:
        encoder = ENCODINGS[name].encoder()
        with pytest.raises(RecordingError, match="x up to 2047"):
            encoder.encode(np.array([(0, 2048, 0, 0)], EVENT_DTYPE), triggers)
        with pytest.raises(RecordingError, match="negative"):
            encoder.encode(np.array([(-1000, 0, 0, 0)], EVENT_DTYPE), triggers)
    with pytest.raises(RecordingError, match="trigger ids below 16"):
        ENCODINGS["evt3"].encoder().encode(np.empty(0, EVENT_DTYPE), np.array([(0, 16, 0)], TRIGGER_DTYPE))
    with pytest.raises(RecordingError, match="'evt9' is not read; read are evt2, evt21, evt21_legacy, evt3, libcaer"):
        PacketDecoder("evt9", 640, 480)
    with pytest.raises(RecordingError, match="'EVT4' is recognised and not read"):
        PacketDecoder("EVT4", 640, 480)
    with pytest.raises(ValueError, match="0x480"):
        PacketDecoder("evt3", 0, 480)
