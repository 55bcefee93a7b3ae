# SPDX-License-Identifier: Apache-2.0
"""The figures of a run as a table for people, and as plain values for machines."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuro_ros.bringup.summary import CLOCK_STATES, PHASES, THERMAL_STATES, Summary, integer
from neuro_ros.cores.messages import ThermalCompensation

__all__ = ["Row", "as_dict", "as_text", "rows"]

_PERCENTILES = (50, 95, 99)
#: Thermal states that fit into a line.
_MOST_STATES = 6


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what, the figure, a remark; `good` is False where something needs a look."""

    name: str
    value: str
    note: str = ""
    good: bool = True


def rows(summary: Summary) -> list[Row]:
    """Return the table of a run."""
    found = [
        _run(summary),
        _gestures(summary),
        *_accuracy(summary),
        *_latency(summary),
        *_source(summary),
        _events(summary),
        _windows(summary),
        _network(summary),
        *_clocks(summary),
        _thermal(summary),
        _health(summary),
    ]
    problems = summary.problems()
    if problems:
        found += [Row("accounting", problem, good=False) for problem in problems]
    else:
        found.append(Row("accounting", "exact", "every event and window is accounted for"))
    return found


def as_text(summary: Summary) -> str:
    """Return the table as aligned text, without a newline at the end."""
    table = rows(summary)
    name_width = max(len(row.name) for row in table)
    value_width = max((len(row.value) for row in table if row.note), default=0)
    lines = []
    for row in table:
        mark = " " if row.good else "!"
        note = f"  {row.note}" if row.note else ""
        value = f"{row.value:<{value_width}}" if note else row.value
        lines.append(f"{mark} {row.name:<{name_width}}  {value}{note}".rstrip())
    return "\n".join(lines)


def _number(value: int) -> str:
    """Write a count with thin groups: 1 234 567."""
    return f"{value:,}".replace(",", " ")


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100.0 * share:.1f} %"


def _run(summary: Summary) -> Row:
    return Row(
        "run",
        f"{summary.duration_s:.1f} s, {_number(len(summary.windows))} windows",
        f"camera activated {'once' if summary.epochs == 1 else f'{summary.epochs} times'}",
        good=summary.epochs <= 1,
    )


def _decisions(summary: Summary) -> Counter[int]:
    return Counter(window.decided for window in summary.windows if window.decided is not None)


def _gestures(summary: Summary) -> Row:
    counted = _decisions(summary)
    decided = [(index, count) for index, count in counted.most_common() if index >= 0]
    text = ", ".join(f"{summary.label(index)} {count}" for index, count in decided[:4]) or "none decided"
    if len(decided) > 4:
        text += f", {len(decided) - 4} more"
    return Row(
        "gestures",
        f"{_number(summary.gestures)}, {_number(counted.get(-1, 0))} without decision",
        text,
        good=summary.gestures > 0,
    )


def _accuracy(summary: Summary) -> list[Row]:
    labelled = summary.labelled
    if not labelled:
        return [Row("accuracy", "-", "the truth is not known for this recording")]
    segments = summary.segments
    right = sum(segment.decided == segment.truth for segment in segments)
    return [
        Row(
            "accuracy",
            f"{_percent(summary.window_accuracy)} of {_number(len(labelled))} windows",
            f"{right} of {len(segments)} gestures by the majority of their windows; "
            f"{_percent(summary.decided_accuracy)} of the windows that decided",
        )
    ]


def _latency(summary: Summary) -> list[Row]:
    return [
        _delay("latency", summary.latency_s(), "window closed to gesture published"),
        _delay("received", summary.received_s(), "window closed to gesture received in another process"),
    ]


def _delay(name: str, values_s: NDArray[np.float64], what: str) -> Row:
    if not len(values_s):
        return Row(name, "-", "not measured")
    p50, p95, p99 = (1e3 * value for value in _percentiles(values_s))
    longest = 1e3 * float(values_s.max())
    return Row(name, f"p50 {p50:.2f} ms, p99 {p99:.2f} ms", f"p95 {p95:.2f} ms, max {longest:.2f} ms; {what}")


def _percentiles(values: NDArray[np.float64]) -> list[float]:
    return [float(np.percentile(values, share)) if len(values) else math.nan for share in _PERCENTILES]


def _source(summary: Summary) -> list[Row]:
    if not summary.camera:
        return []
    books = summary.camera[max(summary.camera)]
    damage = {
        name.removeprefix("decoder_").replace("_", " "): integer(books, name)
        for name in books
        if name.startswith("decoder_") and integer(books, name)
    }
    read = sum(integer(values, "events_read") for values in summary.camera.values())
    note = ", ".join(f"{name} {_number(count)}" for name, count in damage.items()) or "no damage met"
    return [Row("source", f"{books.get('source', '?')}, {_number(read)} events read", note, good=not damage)]


def _events(summary: Summary) -> Row:
    dropped, outside = summary.total("events_dropped"), summary.events_outside
    note = f"in cells {_number(summary.total('events_binned'))}, filtered {_number(summary.total('events_filtered'))}"
    note += f", dropped {_number(dropped)}"
    if outside:
        note += f"; outside windows {_number(outside)}"
    return Row("events", f"{_number(summary.total('events_in'))} in windows", note, good=dropped == 0)


def _windows(summary: Summary) -> Row:
    incomplete = sum(not window.complete for window in summary.windows)
    lost, skipped = summary.telemetry_total("windows_lost"), summary.telemetry_total("windows_skipped")
    missing = summary.windows_without_gesture
    return Row(
        "losses",
        f"{_number(lost)} windows lost, {_number(skipped)} skipped",
        f"{_number(summary.sequence_gaps)} gaps, {_number(incomplete)} incomplete, "
        f"{_number(summary.windows_withheld)} withheld, {_number(missing)} without gesture",
        good=not (lost or skipped or summary.sequence_gaps or incomplete or missing),
    )


def _network(summary: Summary) -> Row:
    if not summary.telemetry:
        return Row("network", "-", "no telemetry")
    last = summary.telemetry[-1]
    rates = ", ".join(f"{name} {_percent(float(np.mean(found)))}" for name, found in summary.firing_rates.items())
    return Row(
        "network", f"{last.model_id} on {last.backend}", f"neurons that spike in a step: {rates}" if rates else ""
    )


def _clocks(summary: Summary) -> list[Row]:
    found = []
    for clock_id, figures in sorted(summary.clocks.items()):
        last = figures.last
        if last is None:
            continue
        total = sum(figures.states.values())
        states = [f"{_clock_state(state)} {100 * n / total:.0f} %" for state, n in figures.states.most_common()]
        known = [value for value in figures.sigma_ns if math.isfinite(value)]
        sigma = f", sigma {_time(float(np.median(known)) * 1e-9)}" if known else ""
        note = [*states[1:], f"{last.samples} samples", clock_id]
        if math.isfinite(last.skew_ppb):
            note.insert(0, f"skew {last.skew_ppb / 1e3:+.2f} ppm")
        # Once a recording has ended there are no more samples: a clock in holdover is then as it should be.
        good = any(figures.states[CLOCK_STATES.index(name)] for name in ("TRACKING", "LOCKED"))
        found.append(Row("clock", states[0] + sigma, ", ".join(note), good))
    return found or [Row("clock", "-", "no clock model")]


def _clock_state(state: int) -> str:
    return CLOCK_STATES[state] if state < len(CLOCK_STATES) else f"state {state}"


def _time(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if abs(seconds) * factor >= 1.0:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _thermal(summary: Summary) -> Row:
    low, high = summary.temperature_celsius
    span = "no reading" if math.isnan(low) else f"{low:.1f} to {high:.1f} degC"
    last = summary.thermal
    if last is None:
        return Row("thermal", span, "no state")
    good = last.state < THERMAL_STATES.index("STALE")
    notes = [*_thermal_notes(last), *([_thermal_way(summary)] if len(summary.thermal_states) > 1 else [])]
    return Row("thermal", f"{_thermal_state(last.state)}, {span}", ", ".join(notes), good)


def _thermal_way(summary: Summary) -> str:
    """Return the states that were gone through; of many the first and the last."""
    names = [_thermal_state(state) for state in summary.thermal_states]
    if len(names) > _MOST_STATES:
        names = [*names[: _MOST_STATES - 1], f"({len(names) - _MOST_STATES} more)", names[-1]]
    return " > ".join(names)


def _thermal_state(state: int) -> str:
    return THERMAL_STATES[state] if state < len(THERMAL_STATES) else f"state {state}"


def _thermal_notes(last: ThermalCompensation) -> list[str]:
    notes = [last.source]
    if last.layer:
        notes += [
            f"{last.silicon_profile} silicon",
            f"{last.compensation_id_applied} of {last.compensation_id} updates applied",
            f"{_percent(max(last.remaining_error))} error left",
        ]
    if last.throttle_level:
        notes.append(f"throttle level {last.throttle_level}")
    return notes


def _health(summary: Summary) -> Row:
    lost = sum(integer(values, "lost") for values in summary.manager.values())
    alarms = ", ".join(f"{name} ({count})" for name, count in summary.alarms.most_common(3)) or "none"
    phase = ""
    if summary.canary is not None and summary.canary.phase < len(PHASES):
        phase = f"; roll-out {PHASES[summary.canary.phase]}"
    return Row("nodes", f"{lost} lost and brought back", f"alarms: {alarms}{phase}", good=not (lost or summary.alarms))


def as_dict(summary: Summary) -> dict[str, Any]:
    """Return the figures for ``--json``."""
    latency_s = summary.latency_s()
    percentiles, received = _percentiles(latency_s), _percentiles(summary.received_s())
    low, high = summary.temperature_celsius
    return {
        "duration_s": summary.duration_s,
        "windows": len(summary.windows),
        "gestures": summary.gestures,
        "labels": {summary.label(index): count for index, count in sorted(_decisions(summary).items())},
        "accuracy_windows": summary.window_accuracy,
        "accuracy_decided_windows": summary.decided_accuracy,
        "accuracy_segments": summary.segment_accuracy,
        "windows_labelled": len(summary.labelled),
        "segments": [
            {"truth": summary.label(segment.truth), "decided": summary.label(segment.decided)}
            for segment in summary.segments
        ],
        **{f"latency_p{share}_s": value for share, value in zip(_PERCENTILES, percentiles, strict=True)},
        **{f"latency_received_p{share}_s": value for share, value in zip(_PERCENTILES, received, strict=True)},
        **{name: summary.total(name) for name in ("events_in", "events_binned", "events_filtered", "events_dropped")},
        "events_outside_windows": summary.events_outside,
        "windows_incomplete": sum(not window.complete for window in summary.windows),
        "windows_withheld": summary.windows_withheld,
        "windows_missing": summary.windows_missing,
        "windows_without_gesture": summary.windows_without_gesture,
        "windows_lost": summary.telemetry_total("windows_lost"),
        "windows_skipped": summary.telemetry_total("windows_skipped"),
        "epochs": summary.epochs,
        "clocks": {
            clock_id: {
                "state": CLOCK_STATES[figures.last.state],
                "sigma_ns": figures.last.sigma_ns,
                "skew_ppb": figures.last.skew_ppb,
            }
            for clock_id, figures in sorted(summary.clocks.items())
            if figures.last is not None and figures.last.state < len(CLOCK_STATES)
        },
        "thermal_states": [_thermal_state(state) for state in summary.thermal_states],
        "thermal_state": THERMAL_STATES[summary.thermal.state] if summary.thermal is not None else None,
        "temperature_min_celsius": low,
        "temperature_max_celsius": high,
        "alarms": dict(summary.alarms),
        "nodes_lost": sum(integer(values, "lost") for values in summary.manager.values()),
        "topics": summary.topics,
        "problems": summary.problems(),
    }
