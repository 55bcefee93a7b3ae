# SPDX-License-Identifier: Apache-2.0
"""The watches of a camera's core: age of the oldest waiting event, least difference between arrivals and the model."""

import pytest

from neuro_ros.cores.watch import AgeWatch, ResidualWatch
from neuro_ros.errors import NeuroRosError

S = 1_000_000_000
MS = 1_000_000


def test_an_event_is_late_beyond_the_limit_and_an_episode_counts_once():
    watch = AgeWatch(100 * MS)
    late = []
    for age_ms in (0, 99, 100, 101, 500, 90, 101, 0):
        assert not watch.check(10 * S, 10 * S + age_ms * MS)  # keep: never asks to give anything up
        late.append(watch.late)
    assert late == [False, False, False, True, True, False, True, False]
    assert watch.episodes == 2
    assert (watch.age_ns, watch.oldest_ns) == (0, 500 * MS)


def test_only_the_policy_flush_gives_events_up_once_an_episode_and_counts_them():
    watch = AgeWatch(100 * MS, "flush")
    asked = []
    for now_ms in range(0, 400, 50):
        asked.append(watch.check(0, now_ms * MS))
        if asked[-1]:
            watch.flushed(123)
    assert asked == [False] * 3 + [True] + [False] * 4
    assert watch.check(None, S) is False
    assert watch.age_ns == 0
    values = watch.values()
    assert (values["flushes"], values["events_flushed"], values["late_episodes"]) == (1, 123, 1)
    assert values["oldest_event_age_limit_s"] == 0.1


def test_an_event_from_the_future_is_not_old():
    watch = AgeWatch(100 * MS)
    assert not watch.check(20 * S, 10 * S)
    assert (watch.age_ns, watch.late) == (0, False)


@pytest.mark.parametrize(("limit_ns", "policy", "named"), [(0, "keep", "limit_ns"), (1, "drop", "policy")])
def test_settings_that_make_no_sense_are_refused(limit_ns, policy, named):
    with pytest.raises(NeuroRosError, match=named):
        AgeWatch(limit_ns, policy)


def test_the_residual_is_the_least_of_the_last_periods_and_delays_do_not_move_it():
    watch = ResidualWatch(5 * S)
    for k in range(200):  # 20 s
        watch.add((1 + k % 7) * MS + (80 * MS if k % 11 == 0 else 0), k * S // 10)
        assert (watch.residual_ns is None) == (k < 50)
    assert watch.residual_ns == MS
    for k in range(200, 299):
        watch.add(9 * MS, k * S // 10)
    assert watch.residual_ns == 9 * MS  # what was seen before is forgotten within two periods


def test_one_early_arrival_shows_at_once_and_a_pause_begins_anew():
    watch = ResidualWatch(5 * S)
    for k in range(60):
        watch.add(MS, k * S // 10)
    watch.add(-3 * MS, 6 * S)
    assert watch.residual_ns == -3 * MS
    watch.add(MS, 60 * S)
    assert watch.residual_ns is None
    watch.add(MS, 66 * S)
    assert watch.residual_ns == MS
    watch.add(MS, 10 * S)  # the host's clock was set back
    assert watch.residual_ns is None
