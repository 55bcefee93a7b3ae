# SPDX-License-Identifier: Apache-2.0
"""Timing messages: what is wrong with one, which belong together in any order, and the arithmetic of an exchange."""

import math
from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.cores.messages import PtpMessage
from neuro_ros.timesync.exchange import Exchange, Frame, FrameType, frame_fault, identity_fault
from neuro_ros.timesync.session import Session

S = 1_000_000_000
anything = st.one_of(
    st.integers(),
    st.floats(),
    st.none(),
    st.text(max_size=80),
    st.booleans(),
    st.binary(max_size=5),
    st.lists(st.none()),
)


# -- what is wrong with a message --------------------------------------------------------------------------------------


def test_a_frame_has_the_fields_of_the_message():
    assert [item.name for item in fields(Frame)] == [item.name for item in fields(PtpMessage)]
    assert {kind.name: int(kind) for kind in FrameType} == {
        name: getattr(PtpMessage, name) for name in ("ANNOUNCE", "SYNC", "FOLLOW_UP", "DELAY_REQ", "DELAY_RESP")
    }


def test_good_messages_have_no_fault():
    common = {"source_port_identity": "02a1b2.fffe.c3d4e5-7", "sequence_id": 65535, "correction_ns": -100}
    for frame in (
        Frame(FrameType.SYNC, **common),
        Frame(FrameType.FOLLOW_UP, timestamp_ns=1_700_000_000 * S, **common),
        Frame(FrameType.DELAY_REQ, **common),
        Frame(FrameType.DELAY_RESP, timestamp_ns=1, requesting_port_identity="robot_2-1", **common),
        Frame(FrameType.ANNOUNCE, priority1=255, grandmaster_identity="02a1b2.fffe.c3d4e5", **common),
    ):
        assert frame_fault(frame) == ""


def test_identities():
    for good in ("a", "robot-1", "02a1b2.fffe.c3d4e5-65535", "a:b_c.d-9", "x" * 64):
        assert identity_fault(good) == ""
    for bad in ("", "-1", "a b", "a\n", "a\0", "ä-1", "x" * 65, "../etc", "%n", None, 3, b"a"):
        assert identity_fault(bad)


@given(st.fixed_dictionaries(dict.fromkeys(Frame.__dataclass_fields__, anything)))
def test_a_frame_of_anything_is_judged_without_an_exception(values):
    fault = frame_fault(Frame(**values))
    assert isinstance(fault, str)
    if not fault:
        assert type(values["timestamp_ns"]) is int
        assert abs(values["correction_ns"]) <= S


def test_absurd_numbers_are_faults():
    good = {"type": 2, "source_port_identity": "m-1", "timestamp_ns": S}
    assert frame_fault(Frame(**good)) == ""
    for name, value in [
        ("timestamp_ns", 0),
        ("timestamp_ns", -5),
        ("timestamp_ns", 2**63 - 1),
        ("timestamp_ns", math.nan),
        ("timestamp_ns", float(S)),
        ("correction_ns", 2 * S),
        ("correction_ns", math.nan),
        ("sequence_id", -1),
        ("sequence_id", 65536),
        ("type", 5),
        ("type", math.nan),
        ("type", True),
    ]:
        assert frame_fault(Frame(**{**good, name: value})), (name, value)


# -- arithmetic --------------------------------------------------------------------------------------------------------

small = st.integers(0, 10**9)


@given(st.integers(-(10**18), 10**18), small, small, small)
def test_offset_and_round_trip_of_one_exchange(offset_ns, there_ns, back_ns, turnaround_ns):
    t1 = 2 * 10**18
    t2 = t1 + there_ns + offset_ns
    t3 = t2 + turnaround_ns
    t4 = t3 - offset_ns + back_ns
    exchange = Exchange(t1, t2, t3, t4)
    assert exchange.round_trip_ns == there_ns + back_ns
    assert exchange.offset_ns == (2 * offset_ns + there_ns - back_ns) // 2
    # No offset is further from the truth than half the round trip.
    assert abs(exchange.offset_ns - offset_ns) <= exchange.round_trip_ns / 2 + 1


def test_impossible_times_have_a_fault():
    good = (100 * S, 200 * S, 200 * S + 1000, 100 * S + 5000)
    assert Exchange(*good).fault(5.0, 1000.0) == ""
    for bad in [
        (100 * S, 200 * S, 210 * S, 110 * S),  # too long between receipt and request
        (100 * S, 200 * S, 200 * S + 1000, 100 * S - 50_000),  # back before it left
        (0, 200 * S, 200 * S, 100 * S),
        (math.nan, 200 * S, 200 * S, 100 * S),
        (2**62, 200 * S, 200 * S, 2**62 + 5),
    ]:
        assert Exchange(*bad).fault(5.0, 1000.0), bad


# -- conversations -----------------------------------------------------------------------------------------------------

#: What happens with SYNC 0..5 and request 0..5: events of one round, to be shuffled, dropped and doubled.
ROUNDS = range(6)


def times(k):
    t1 = 1_000 * S + k * S // 10
    return t1, t1 + 5 * S + 700_000 + k, t1 + 5 * S + 30_000_000, t1 + 30_600_000 + 2 * k


def play(session, event):
    kind, k = event
    t1, t2, t3, t4 = times(k)
    sequence = (65_533 + k) & 0xFFFF  # across the wrap
    if kind == "sync":
        session.sync(sequence, 10, t2 + 10, k)
    elif kind == "follow_up":
        session.follow_up(sequence, 20, t1 - 20, k)
    elif kind == "request":
        session.request(sequence)
        session.departed(sequence, t3)
    else:
        return session.response(sequence, -30, t4 - 30)
    return None


IN_ORDER = [(kind, k) for k in ROUNDS for kind in ("sync", "follow_up", "request", "response")]


def test_in_order_every_round_makes_its_exchange():
    session = Session("m-1")
    made = [exchange for event in IN_ORDER if (exchange := play(session, event))]
    assert made == [Exchange(*times(k)) for k in ROUNDS]
    assert (session.counters.pairs, session.counters.responses) == (6, 6)


def test_follow_up_before_sync_makes_the_same():
    swapped = [(kind, k) for k in ROUNDS for kind in ("follow_up", "sync", "request", "response")]
    session = Session("m-1")
    assert [x for event in swapped if (x := play(session, event))] == [Exchange(*times(k)) for k in ROUNDS]


@given(st.permutations(IN_ORDER), st.sets(st.sampled_from(IN_ORDER)), st.lists(st.sampled_from(IN_ORDER)))
def test_in_any_order_with_loss_and_duplicates_only_what_belongs_together_is_joined(order, lost, doubled):
    session = Session("m-1")
    events = [event for event in order if event not in lost] + doubled
    made = [exchange for event in events if (exchange := play(session, event))]
    honest_there = {times(k)[:2] for k in ROUNDS}
    honest_back = {times(k)[2:] for k in ROUNDS}
    for exchange in made:
        assert (exchange.t1_ns, exchange.t2_ns) in honest_there
        assert (exchange.t3_ns, exchange.t4_ns) in honest_back
    counters = session.counters
    assert counters.responses == len(made)
    # A pair that has been left behind by a newer one is not gone back to.
    assert [x.t1_ns for x in made] == sorted(x.t1_ns for x in made)
    # Each message is accounted for.
    responses = sum(kind == "response" for kind, _ in events)
    assert responses <= counters.responses + counters.stale_responses + counters.duplicates + counters.unpaired


@given(st.lists(st.tuples(st.sampled_from(["sync", "follow_up", "request", "response"]), st.integers(0, 65535))))
def test_the_books_stay_small_whatever_comes(events):
    session = Session("m-1")
    for event in events * 3:
        play(session, event)
    for book in (session._syncs, session._follow_ups, session._requests):
        assert len(book) <= 8
    for book in (session._pairs_done, session._requests_done):
        assert len(book) <= 32


def test_a_stale_answer_and_one_to_a_request_that_has_not_departed_are_counted():
    session = Session("m-1")
    for k in (0, 1):
        play(session, ("sync", k))
        play(session, ("follow_up", k))
    session.request(7)
    assert session.response(7, 0, 5 * S) is None  # nobody has said when it left
    assert session.response(9, 0, 5 * S) is None
    assert session.counters.stale_responses == 2
    play(session, ("request", 1))
    assert play(session, ("response", 1)) is not None
    assert play(session, ("response", 1)) is None
    assert session.counters.duplicates == 1
    for sequence in range(100, 120):
        session.request(sequence)
    assert session.counters.unanswered == 12


def test_a_master_that_starts_anew_with_low_numbers_is_followed():
    session = Session("m-1")
    session.sync(40_000, 0, 2 * S, 0)
    session.follow_up(40_000, 0, S, 0)
    session.sync(0, 0, 4 * S, 1)
    session.follow_up(0, 0, 3 * S, 1)
    session.request(1)
    session.departed(1, 4 * S + 1)
    assert session.response(1, 0, 3 * S + 2).t1_ns == 3 * S
