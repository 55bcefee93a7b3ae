# SPDX-License-Identifier: Apache-2.0
"""libcaer, libcaer_cmp, mono, trigger: golden words, independent references, time bases, cuts, round trips, losses."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.events import ENCODINGS, EVENT_DTYPE, TRIGGER_DTYPE, DecodeCounters, PacketDecoder, RecordingError
from neuro_ros.events.stream import decode_stream
from neuro_ros.events.types import as_words

WIDTH, HEIGHT = 346, 260
BASE_NS = 1_744_227_144_732_712_018
WORD = {"libcaer": "<u8", "libcaer_cmp": "<u2", "mono": "<u8", "trigger": "<u8"}
PACKETS = sorted(WORD)
WRITTEN = sorted(set(PACKETS) - {"trigger"})
NO_TRIGGERS = np.empty(0, TRIGGER_DTYPE)


def words_of(encoding, *words):
    return np.array(words, WORD[encoding]).tobytes()


def libcaer_word(time_us, x, y, polarity):
    """Put an event together as libcaer has it: 32 bits of data, then the time."""
    return (time_us << 32) | (x << 17) | (y << 2) | (polarity << 1) | 1


# --- references that follow the layout literally, word by word, one Python integer at a time --------------------------
class Account:
    """What a reference has met."""

    def __init__(self, width, height):
        self.events, self.triggers = [], []
        self.errors = self.out_of_area = 0
        self._size = width, height

    def emit(self, t, x, y, p):
        if x < self._size[0] and y < self._size[1]:
            self.events.append((t, x, y, p))
        else:
            self.out_of_area += 1


def nearest(before, lower, size, lowest):
    """Choose the time in the round of the last one, or, where that is three quarters of one away, the nearest."""
    same = lower + before // size * size
    if abs(same - before) <= 3 * size // 4 and same >= lowest:
        return same
    return min((time for time in (same - size, same, same + size) if time >= lowest), key=lambda t: abs(t - before))


def reference_libcaer(words, base_ns, width=WIDTH, height=HEIGHT):
    account = Account(width, height)
    before = None
    for word in (int(item) for item in words):
        data, lower = word & 0xFFFFFFFF, word >> 32
        if lower >= 1 << 31:
            account.errors += 1
            continue
        before = lower if before is None else nearest(before, lower, 2**31, -(base_ns // 1000))
        account.emit(base_ns + before * 1000, data >> 17, (data >> 2) & 0x7FFF, (data >> 1) & 1)
    return account


def reference_libcaer_cmp(words, base_ns, width=WIDTH, height=HEIGHT):
    account = Account(width, height)
    high = low = polarity = 0
    x = base = None
    for word in (int(item) for item in words):
        code, payload, address = word >> 12, word & 0xFFF, word & 0x7FF
        time_ns = base_ns + ((high << 12) + low) * 1000
        if code == 0:
            high = nearest(high, payload, 4096, 0)
        elif code == 1:
            low = payload
        elif code == 2:
            x = address
        elif code == 3:
            if x is None:
                account.errors += 1
            else:
                account.emit(time_ns, x, address, payload >> 11)
        elif code == 4:
            base, polarity = address, payload >> 11
        elif code == 5:
            for bit in range(8):
                if (word >> bit) & 1:
                    if x is None or base is None:
                        account.errors += 1
                    else:
                        account.emit(time_ns, x, base + bit, polarity)
            if x is not None and base is not None:
                base += 8
        else:
            account.errors += 1
    return account


def reference_mono(words, base_ns, width=WIDTH, height=HEIGHT):
    account = Account(width, height)
    for word in (int(item) for item in words):
        account.emit(base_ns + word % 2**32, (word >> 32) & 0xFFFF, (word >> 48) & 0x7FFF, word >> 63)
    return account


def reference_trigger(words, base_ns, width=WIDTH, height=HEIGHT):
    account = Account(width, height)
    for word in (int(item) for item in words):
        number = (word >> 48) & 0x7FFF
        if number < 256:
            account.triggers.append((base_ns + word % 2**32, number, word >> 63))
        else:
            account.errors += 1
    return account


REFERENCE = {
    "libcaer": reference_libcaer,
    "libcaer_cmp": reference_libcaer_cmp,
    "mono": reference_mono,
    "trigger": reference_trigger,
}


def decode(encoding, *packets, width=WIDTH, height=HEIGHT):
    """Decode ``(payload, base)`` in a row; return events and triggers of all, and the counters."""
    decoder = PacketDecoder(encoding, width, height)
    events, triggers = [], []
    for payload, base_ns in packets:
        batch = decoder.decode(payload, base_ns)
        events += batch.events.tolist()
        triggers += batch.triggers.tolist()
    return events, triggers, decoder.counters


# --- golden words -----------------------------------------------------------------------------------------------------
def test_libcaer_golden():
    data = bytes.fromhex("B700F600 88130000")  # 123 << 17 | 45 << 2 | 1 << 1 | 1, then 5000
    assert decode("libcaer", (data, BASE_NS))[0] == [(BASE_NS + 5_000_000, 123, 45, 1)]
    event = np.array([(5_000_000, 123, 45, 1)], EVENT_DTYPE)
    assert ENCODINGS["libcaer"].encoder().encode(event, NO_TRIGGERS) == data


def test_libcaer_does_not_ask_for_the_mark_of_a_valid_event():
    words = words_of("libcaer", libcaer_word(5, 1, 2, 0) & ~1, libcaer_word(6, 1, 2, 1))
    assert decode("libcaer", (words, 0))[0] == [(5000, 1, 2, 0), (6000, 1, 2, 1)]


def test_libcaer_cmp_golden():
    # Base + 4096 us, + 5 us: column 123, row 45 ON; base row 8 OFF with bits 0 and 7, and the next block's bit 1.
    words = (0x0001, 0x1005, 0x2000 | 123, 0x3800 | 45, 0x4008, 0x5081, 0x5002)
    events, _, counters = decode("libcaer_cmp", (words_of("libcaer_cmp", *words), BASE_NS))
    t = BASE_NS + 4101 * 1000
    assert events == [(t, 123, 45, 1), (t, 123, 8, 0), (t, 123, 15, 0), (t, 123, 17, 0)]
    assert counters == DecodeCounters()


def test_libcaer_cmp_times_are_in_nanoseconds_and_start_anew_in_each_packet():
    # What event_camera_codecs makes of this base overflows 64 bits.
    first = words_of("libcaer_cmp", 0x0001, 0x1001, 0x2001, 0x3001)
    second = words_of("libcaer_cmp", 0x3002)
    base_ns = 1_700_000_000_000_000_000
    events, _, _ = decode("libcaer_cmp", (first, base_ns), (second, base_ns + 7))
    assert events == [(base_ns + 4_097_000, 1, 1, 0), (base_ns + 7, 1, 2, 0)]


def test_libcaer_cmp_keeps_the_row_of_each_event():
    # libcaer_driver writes row 8 twice here.
    events = np.array([(BASE_NS, 3, 8, 1), (BASE_NS + 1000, 3, 9, 1)], EVENT_DTYPE)
    payload, base_ns = ENCODINGS["libcaer_cmp"].encoder().encode_packet(events, NO_TRIGGERS)
    assert [y for _, _, y, _ in decode("libcaer_cmp", (payload, base_ns))[0]] == [8, 9]


def test_libcaer_cmp_vectors_pay():
    events = np.zeros(8, EVENT_DTYPE)
    events["x"], events["y"], events["p"] = 7, np.arange(100, 108), 1
    payload, base_ns = ENCODINGS["libcaer_cmp"].encoder().encode_packet(events, NO_TRIGGERS)
    assert (payload, base_ns) == (words_of("libcaer_cmp", 0x2007, 0x4800 | 100, 0x50FF), 0)


def test_mono_golden():
    word = (1 << 63) | (45 << 48) | (123 << 32) | 1_000_000
    assert decode("mono", (words_of("mono", word), BASE_NS))[0] == [(BASE_NS + 1_000_000, 123, 45, 1)]
    event = np.array([(1_000_000, 123, 45, 1)], EVENT_DTYPE)
    assert ENCODINGS["mono"].encoder().encode(event, NO_TRIGGERS) == words_of("mono", word)


def test_trigger_golden():
    words = words_of("trigger", (1 << 63) | (3 << 48) | 7, (3 << 48) | 4_000_000_000, (256 << 48) | 9)
    events, triggers, counters = decode("trigger", (words, BASE_NS))
    assert (events, triggers) == ([], [(BASE_NS + 7, 3, 1), (BASE_NS + 4_000_000_000, 3, 0)])
    assert counters.errors == 1


def test_libcaer_cmp_without_column_or_row_counts_errors():
    decoder = PacketDecoder("libcaer_cmp", WIDTH, HEIGHT)
    assert len(decoder.decode(words_of("libcaer_cmp", 0x3001, 0x5003, 0x2001, 0x5007, 0x3001)).events) == 1
    assert decoder.counters.errors == 1 + 2 + 3
    # From packet to packet they are kept, over a loss they are not.
    assert len(decoder.decode(words_of("libcaer_cmp", 0x3001)).events) == 1
    decoder.lose(1)
    assert len(decoder.decode(words_of("libcaer_cmp", 0x3001, 0x4001, 0x5001)).events) == 0
    assert decoder.counters.errors == 8
    # Code 6 and the reserved ones.
    assert len(decoder.decode(words_of("libcaer_cmp", *range(0x6FFF, 0x10000, 0x1000))).events) == 0
    assert decoder.counters.errors == 18


# --- time ---------------------------------------------------------------------------------------------------------
def test_libcaer_time_starts_over_between_packets_as_the_driver_moves_the_base():
    wrap_ns = (1 << 31) * 1000
    first = words_of("libcaer", libcaer_word(2**31 - 3, 1, 1, 1))
    second = words_of("libcaer", libcaer_word(2, 1, 1, 1))
    events, _, counters = decode("libcaer", (first, BASE_NS), (second, BASE_NS + wrap_ns))
    assert [t - BASE_NS for t, *_ in events] == [(2**31 - 3) * 1000, (2**31 + 2) * 1000]
    assert (counters.time_wraps, counters.non_monotonic) == (0, 0)


def test_libcaer_time_starts_over_within_a_packet():
    times_us = [2**31 - 3, 2**31 - 1, 0, 2**31 - 2, 4]  # one of them late
    words = words_of("libcaer", *(libcaer_word(time, 1, 1, 1) for time in times_us))
    events, _, counters = decode("libcaer", (words, BASE_NS))
    expected = [2**31 - 3, 2**31 - 1, 2**31, 2**31 - 2, 2**31 + 4]
    assert [(t - BASE_NS) // 1000 for t, *_ in events] == expected
    assert (counters.time_wraps, counters.non_monotonic) == (2, 1)
    # The late one may also come from before the packet's base, if not from before all time.
    words = words_of("libcaer", *(libcaer_word(time, 1, 1, 1) for time in (3, 2**31 - 2, 5)))
    assert [(t - BASE_NS) // 1000 for t, *_ in decode("libcaer", (words, BASE_NS))[0]] == [3, -2, 5]
    assert [t // 1000 for t, *_ in decode("libcaer", (words, 0))[0]] == [3, 2**31 - 2, 2**31 + 5]


def test_libcaer_damaged_times_move_no_others():
    good = [libcaer_word(100_000 + step, 1, 1, 1) for step in range(3)]
    for bit in range(32):
        words = words_of("libcaer", good[0], good[1] ^ (1 << (32 + bit)), good[2])
        events, _, counters = decode("libcaer", (words, BASE_NS))
        assert (events[0][0], events[-1][0]) == (BASE_NS + 100_000_000, BASE_NS + 100_002_000)
        assert (len(events), counters.errors) == ((3, 0) if bit < 31 else (2, 1))


@pytest.mark.parametrize("encoding", WRITTEN)
def test_packets_longer_in_all_than_the_time_that_their_words_hold(encoding):
    wrap_ns = {"libcaer": 2**31 * 1000, "libcaer_cmp": 2**24 * 1000, "mono": 2**32}[encoding]
    events = np.zeros(12, EVENT_DTYPE)
    events["t"] = BASE_NS // 1000 * 1000 + np.arange(12) * (wrap_ns // 5 // 1000 * 1000)
    encoder = ENCODINGS[encoding].encoder()
    packets = [encoder.encode_packet(part, NO_TRIGGERS) for part in (events[:2], events[2:5], events[5:6], events[6:])]
    assert int(events["t"][-1] - events["t"][0]) > 2 * wrap_ns
    got, _, counters = decode(encoding, *packets)
    assert got == events.tolist()
    assert counters.errors == counters.non_monotonic == 0


@pytest.mark.parametrize(("encoding", "wrap_us"), [("libcaer", 2**31), ("libcaer_cmp", 2**24)])
def test_one_packet_longer_than_the_time_that_its_words_hold(encoding, wrap_us):
    events = np.zeros(17, EVENT_DTYPE)
    events["t"] = np.arange(17) * (wrap_us // 5) * 1000
    got, _, counters = decode(encoding, ENCODINGS[encoding].encoder().encode_packet(events, NO_TRIGGERS))
    assert got == events.tolist()
    assert (counters.time_wraps, counters.non_monotonic) == (3, 0)


def test_bare_words_of_libcaer_go_on_beyond_their_time():
    events = np.zeros(13, EVENT_DTYPE)
    events["t"] = np.arange(13) * (2**29 - 1) * 1000
    encoder = ENCODINGS["libcaer"].encoder()
    data = encoder.encode(events[:7], NO_TRIGGERS) + encoder.encode(events[7:], NO_TRIGGERS)
    decoder = ENCODINGS["libcaer"].decoder(WIDTH, HEIGHT)
    got = [batch.events.tolist() for batch in decode_stream(io.BytesIO(data).readinto, decoder, DecodeCounters(), 3)]
    assert [event for part in got for event in part] == events.tolist()


@pytest.mark.parametrize("base_ns", [2**63 - 1, 2**63, 2**64 - 1, 2**62 + 1, -1])
@pytest.mark.parametrize("encoding", PACKETS)
def test_a_base_that_cannot_be_costs_one_packet(encoding, base_ns):
    word = {"libcaer": 1, "libcaer_cmp": 0x2001, "mono": 1, "trigger": 1}[encoding]
    events, triggers, counters = decode(encoding, (words_of(encoding, word, word), base_ns), (b"", 0))
    assert (events, triggers, counters) == ([], [], DecodeCounters(errors=1))


# --- properties -------------------------------------------------------------------------------------------------------
@given(data=st.binary(max_size=3000), encoding=st.sampled_from(PACKETS), base_ns=st.sampled_from([0, 3_000, BASE_NS]))
def test_any_bytes_decode_as_the_reference_says(data, encoding, base_ns):
    size = np.dtype(WORD[encoding]).itemsize
    words = np.frombuffer(data[: len(data) // size * size], WORD[encoding])
    if encoding != "libcaer_cmp":
        # Most coordinates and ids lie far beyond: bring them closer.
        words = (
            words & {"libcaer": 0xFFFFFFFF03FE07FF, "mono": 0x81FF01FFFFFFFFFF, "trigger": 0x81FFFFFFFFFFFFFF}[encoding]
        )
    events, triggers, counters = decode(encoding, (words.tobytes() + data[len(words) * size :], base_ns))
    expected = REFERENCE[encoding](words, base_ns)
    assert (events, triggers) == (expected.events, expected.triggers)
    assert counters.errors == expected.errors + (len(data) % size != 0)
    assert counters.out_of_area == expected.out_of_area


@given(
    data=st.binary(max_size=1500),
    encoding=st.sampled_from(PACKETS),
    cuts=st.lists(st.integers(1, 50), min_size=1, max_size=20),
    event_room=st.sampled_from([8, 13, 300]),
    trigger_room=st.sampled_from([1, 7]),
)
def test_a_packet_cut_anywhere_gives_the_same_events(data, encoding, cuts, event_room, trigger_room):
    size = np.dtype(WORD[encoding]).itemsize
    data = np.frombuffer(data[: len(data) // size * size], np.uint8)
    decoder = ENCODINGS[encoding].decoder(WIDTH, HEIGHT)
    decoder.begin_packet()
    events, triggers = np.empty(event_room, EVENT_DTYPE), np.empty(trigger_room, TRIGGER_DTYPE)
    got_events, got_triggers = [], []
    offset = 0
    lengths = iter(cuts * (len(data) + 1))
    while offset < len(data):
        part = data[offset : offset + next(lengths) * size]
        used, event_count, trigger_count = decoder.decode(part, as_words(events), as_words(triggers), BASE_NS)
        offset += used
        got_events += events[:event_count].tolist()
        got_triggers += triggers[:trigger_count].tolist()
    counters = DecodeCounters()
    decoder.add_counts(counters)
    whole_events, whole_triggers, whole_counters = decode(encoding, (data.tobytes(), BASE_NS))
    whole_counters.non_monotonic = 0  # not counted by the decoder itself
    assert (got_events, got_triggers, counters) == (whole_events, whole_triggers, whole_counters)


@st.composite
def streams(draw):
    """Events whose times mostly rise, with clusters in a column."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 300))
    start_ns = draw(st.sampled_from([0, (2**31 - 50) * 1000, BASE_NS // 1000 * 1000]))
    step_us = draw(st.sampled_from([1, 3, 5000, 9_000_000]))
    events = np.zeros(count, EVENT_DTYPE)
    steps = rng.integers(0, step_us + 1, count)
    if draw(st.booleans()):
        steps[1:][rng.random(count - 1) < 0.1] = -1
    events["t"] = start_ns + np.maximum(np.cumsum(steps), 0) * 1000
    events["x"] = np.repeat(rng.integers(0, WIDTH, count), 5)[:count]
    events["y"] = np.cumsum(rng.integers(0, 4, count)) % HEIGHT
    events["p"] = rng.integers(0, 2, count) if draw(st.booleans()) else 1
    return events, rng


@given(stream=streams(), encoding=st.sampled_from(WRITTEN))
def test_decoding_what_was_encoded_gives_it_back(stream, encoding):
    events, rng = stream
    encoder = ENCODINGS[encoding].encoder()
    packets = []
    for part in np.split(events, np.sort(rng.integers(0, len(events), 3))):
        # A packet of mono ends before its time does.
        cuts = np.flatnonzero(np.diff((part["t"] - events["t"].min()) // 2**31)) + 1 if encoding == "mono" else []
        packets += [encoder.encode_packet(piece, NO_TRIGGERS) for piece in np.split(part, cuts)]
    got, _, counters = decode(encoding, *packets)
    assert got == events.tolist()
    assert counters.errors == counters.out_of_area == 0


@given(stream=streams(), encoding=st.sampled_from(WRITTEN), lost=st.integers(0, 4))
def test_a_lost_packet_costs_its_own_events_only(stream, encoding, lost):
    events, _ = stream
    events = events[:50]
    events["t"] = events["t"][0] + np.arange(len(events)) * 1000
    encoder = ENCODINGS[encoding].encoder()
    parts = np.array_split(events, 5)
    decoder = PacketDecoder(encoding, WIDTH, HEIGHT)
    for number, (part, packet) in enumerate([(part, encoder.encode_packet(part, NO_TRIGGERS)) for part in parts]):
        if number == lost:
            decoder.lose(1)
            continue
        batch = decoder.decode(*packet)
        assert batch.events.tolist() == part.tolist()
        assert batch.complete == (number != lost + 1)
    assert decoder.counters.lost_packets == 1


@pytest.mark.parametrize(("encoding", "unit_us"), [("evt2", 64), ("evt21", 64), ("evt21_legacy", 64), ("evt3", 4096)])
def test_after_a_lost_packet_and_a_time_word_nothing_is_missing(encoding, unit_us):
    rng = np.random.default_rng(7)
    events = np.zeros(3000, EVENT_DTYPE)
    events["t"] = 10**9 + np.sort(rng.integers(0, 300_000, len(events))) * 1000
    events["x"], events["y"] = rng.integers(0, WIDTH, len(events)), rng.integers(0, HEIGHT, len(events))
    encoder = ENCODINGS[encoding].encoder()
    payloads = [encoder.encode_packet(part, NO_TRIGGERS)[0] for part in np.split(events, 3)]
    decoder = PacketDecoder(encoding, WIDTH, HEIGHT)
    assert decoder.decode(payloads[0]).events.tolist() == events[:1000].tolist()
    decoder.lose(1)
    batch = decoder.decode(payloads[2])
    # The time word comes within its unit.
    tail = events[len(events) - len(batch.events) :]
    assert batch.events.tolist() == tail.tolist()
    assert 0 <= int(tail["t"][0] - events["t"][2000]) <= unit_us * 1000 + int(np.diff(events["t"]).max())
    assert len(tail) + decoder.counters.dropped_before_time == 1000


# --- refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("encoding", WRITTEN)
def test_what_does_not_fit_is_refused(encoding):
    def encode(*event):
        return ENCODINGS[encoding].encoder().encode_packet(np.array([event], EVENT_DTYPE), NO_TRIGGERS)

    with pytest.raises(RecordingError, match=f"{encoding} holds no triggers, 1 were given"):
        ENCODINGS[encoding].encoder().encode_packet(np.empty(0, EVENT_DTYPE), np.array([(0, 0, 0)], TRIGGER_DTYPE))
    with pytest.raises(RecordingError, match="no negative times, found -1000 ns"):
        encode(-1000, 0, 0, 0)
    largest_y = 2047 if encoding == "libcaer_cmp" else 32767
    with pytest.raises(RecordingError, match=f"y up to {largest_y}, an event has {largest_y + 1}"):
        encode(0, 0, largest_y + 1, 0)
    if encoding != "mono":
        with pytest.raises(RecordingError, match=f"x up to {largest_y}"):
            encode(0, largest_y + 1, 0, 0)
    assert encode(0, 0, largest_y, 0)[1] == 0


def test_times_that_do_not_fit_a_packet_are_refused():
    events = np.array([(0, 0, 0, 0), (2**32, 0, 0, 0)], EVENT_DTYPE)
    with pytest.raises(RecordingError, match="mono holds times up to 4294967295 ns after a packet's base"):
        ENCODINGS["mono"].encoder().encode_packet(events, NO_TRIGGERS)
    events["t"][1] = 2**29 * 1000
    with pytest.raises(RecordingError, match="steps in time below 536870912 us"):
        ENCODINGS["libcaer"].encoder().encode_packet(events, NO_TRIGGERS)
    with pytest.raises(RecordingError, match="without the base of a packet"):
        ENCODINGS["libcaer"].encoder().encode(np.array([(2**31 * 1000, 0, 0, 0)], EVENT_DTYPE), NO_TRIGGERS)
    assert ENCODINGS["trigger"].encoder is None
