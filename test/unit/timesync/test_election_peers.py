# SPDX-License-Identifier: Apache-2.0
"""Who is master, and how much work a peer may cause."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.cores.log_budget import LogBudget
from neuro_ros.timesync import TimesyncError
from neuro_ros.timesync.election import Candidate, Election, sequence_distance
from neuro_ros.timesync.exchange import Frame, FrameType
from neuro_ros.timesync.peers import PeerBook
from neuro_ros.timesync.port import PortSettings, PtpPort, clock_identity

S = 1_000_000_000


def announce(port, sequence, priority1=128, clock_class=248, priority2=128, steps=0):
    return Frame(
        FrameType.ANNOUNCE,
        source_port_identity=port,
        sequence_id=sequence & 0xFFFF,
        priority1=priority1,
        clock_class=clock_class,
        priority2=priority2,
        grandmaster_identity=clock_identity(port),
        steps_removed=steps,
    )


def test_two_announcements_make_a_candidate_and_silence_unmakes_it():
    election = Election(3 * S)
    election.hear(announce("a-1", 0), 0)
    assert election.best() is None
    election.hear(announce("a-1", 0), 0)  # a duplicate says nothing new
    assert election.best() is None
    election.hear(announce("a-1", 1), S)
    assert election.best().port_identity == "a-1"
    election.expire(4 * S)
    assert election.best().port_identity == "a-1"
    election.expire(4 * S + 1)
    assert election.best() is None


def test_one_lie_about_the_priority_elects_nobody():
    election = Election(3 * S)
    for k in range(5):
        election.hear(announce("a-1", k, priority1=10), k * S)
        election.hear(announce("b-1", k, priority1=0 if k == 3 else 20), k * S)
        election.expire(k * S)
        assert k == 0 or election.best().port_identity == "a-1"
    for k in range(5, 7):
        election.hear(announce("b-1", k, priority1=0), k * S)
    assert election.best().port_identity == "b-1"


candidates = st.builds(
    Candidate,
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from("abc"),
    st.integers(0, 2),
    st.sampled_from(["a-1", "b-1", "c-1", "d-1"]),
)


@given(st.lists(candidates, min_size=1, max_size=6))
def test_all_hosts_elect_the_same_whatever_the_order(found):
    winners = {min(order) for order in itertools.islice(itertools.permutations(found), 24)}
    assert len(winners) == 1


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 65535), st.integers(0, 255)), max_size=200))
def test_the_book_of_candidates_is_bounded(heard):
    election = Election(3 * S)
    for number, sequence, priority in heard:
        election.hear(announce(f"host{number}-1", sequence, priority), 0)
    assert len(election._book) <= 16


def test_those_that_count_are_not_pushed_out_by_invented_ones():
    election = Election(3 * S)
    for k in range(2):
        election.hear(announce("good-1", k), 0)
    for number in range(1000):
        election.hear(announce(f"fake{number}-1", 0, priority1=0), 0)
    assert election.best().port_identity == "good-1"
    assert election.refused >= 900
    election.hear(announce("far-1", 0, steps=255), 0)
    assert "far-1" not in election._book


def test_sequence_numbers_wrap():
    assert sequence_distance(0, 65535) == 1
    assert sequence_distance(65535, 0) == -1
    assert sequence_distance(5, 5) == 0
    election = Election(3 * S)
    for k in range(65534, 65540):
        election.hear(announce("a-1", k), 0)
    assert election.best() is not None


# -- peers -------------------------------------------------------------------------------------------------------------


def test_a_peer_that_floods_harms_only_itself():
    peers = PeerBook(50.0, 64)
    admitted = {"flood": 0, "good": 0}
    for ms in range(10_000):
        for _ in range(5):  # 5000 a second
            admitted["flood"] += peers.admit("flood", ms * 1_000_000)
        if ms % 50 == 0:
            admitted["good"] += peers.admit("good", ms * 1_000_000)
    assert admitted["good"] == 200
    assert admitted["flood"] <= 50 * 10 + 100
    assert (peers.limited, peers.loudest) == (50_000 - admitted["flood"], "flood")


def test_a_flood_of_names_does_not_push_out_those_who_are_known():
    peers = PeerBook(50.0, 8)
    for k in range(20_000):
        now_ns = k * S // 1000
        peers.admit(f"name{k}", now_ns)
        if k % 100 == 0:
            assert peers.admit("good", now_ns)
        assert len(peers) <= 8
    # Names that have been silent make room again.
    assert peers.refused > 19_000
    assert peers.admit("new", 100 * S)


# -- settings of a port, and the budget of the log ---------------------------------------------------------------------


def test_settings_that_do_not_fit_are_refused():
    for values, named in [
        ({"role": "slave"}, "role"),
        ({"domain": 256}, "domain"),
        ({"sync_interval_s": 0.0}, "sync_interval_s"),
        ({"announce_timeout": 1}, "announce_timeout"),
        ({"sync_interval_s": 0.005}, "peer_rate_hz"),
    ]:
        with pytest.raises(TimesyncError, match=named):
            PortSettings(**values)
    with pytest.raises(TimesyncError, match="identity"):
        PtpPort(PortSettings(), "no good")


def test_the_log_never_gets_more_than_its_budget_in_any_hour():
    budget = LogBudget(5)
    times = []
    for second in range(4 * 3600):
        budget.say("flapping", second * S)
        times += [second] * len(budget.take())
    assert budget.suppressed == 4 * 3600 - len(times)
    assert len(times) >= 15
    for first in times:
        assert sum(first <= second < first + 3600 for second in times) <= 5
