# SPDX-License-Identifier: Apache-2.0
"""How soon each alarm is raised after a strong fault: what docs/canary.md says of it is true."""

import dataclasses

import pytest
from canary_reports import healthy, run

from neuro_ros.canary import AlarmBoard, SelfTestAnswer, alarm_names
from neuro_ros.resources import share_directory

PAGE = share_directory() / "docs" / "canary.md"
GOOD_S = 60
KNOWN = SelfTestAnswer(1, (10, 5), (1, 2))
STRONG = {
    "latency": {"latency_p99_s": 0.2, "latency_samples": 50},
    "step_time": {"step_time_p99_s": 0.02, "step_samples": 50},
    "windows_lost": {"windows_lost": 3},
    "events_dropped": {"events_dropped": 5000},
    "self_test": {"self_test": SelfTestAnswer(1, (10, 6), (1, 3)), "self_test_ns": GOOD_S * 1_000_000_000},
    "spike_rate": {"rates": (0.2, 0.04)},
    "dead_neurons": {"rates": (0.1, 0.0), "dead": (300, 11)},
    "saturated_neurons": {"saturated": (60, 0)},
    "margin": {"margins": ((1, 0.05),) * 20},
    "accuracy": {"right": False},
    "clock": {"clock_state": "HOLDOVER", "clock_sigma_s": 0.02},
    "thermal": {"thermal_state": "STALE"},
    "polarity": {"on_share": 1.0},
    "core_utilisation": {"core_utilisation": (0.9, 0.2, 0.5)},
}


def said_after():
    """Return what the page says of each alarm: seconds from a strong fault on."""
    page = PAGE.read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")
    ]
    return {row[0].strip("`"): int(row[-1]) for row in rows if row[-1].isdigit()}


@pytest.mark.skipif(not PAGE.is_file(), reason="docs/ stands in the source tree only")
@pytest.mark.parametrize("name", alarm_names())
def test_a_strong_fault_is_raised_as_soon_as_the_page_says(baseline, name):
    known = dataclasses.replace(baseline, self_test=KNOWN)

    def second(t, right=True, **fault):
        label = t // 3 % 4
        outcomes = ((label, label if right else 9),) * 20
        return healthy(1, known, start=t, **{"events_in": 10_000, "outcomes": outcomes, **fault})[0]

    board = AlarmBoard()
    assert set(run(board, [second(t) for t in range(GOOD_S)])) == {()}
    history = run(board, [second(t, **STRONG[name]) for t in range(GOOD_S, 2 * GOOD_S)])
    assert [name in raised for raised in history].index(True) + 1 == said_after()[name]
