# SPDX-License-Identifier: Apache-2.0
"""A chip mapping for people (terminal) and for machines (``--json``)."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from neuro_ros.snn.chips import (
    LIMITS,
    Architecture,
    ChipMapping,
    ChipProfile,
    EnergyEstimate,
    Trade,
    Violation,
    histogram,
)

__all__ = ["as_dict", "as_text", "limits_text"]

_BAR = 40
_COLUMNS = 110


def as_dict(mapping: ChipMapping, trades: Sequence[Trade], energy: EnergyEstimate | None) -> dict[str, Any]:
    """Return a mapping as plain values."""
    profile, busy = mapping.profile, mapping.utilisation
    return {
        "chip": profile.name,
        "fits": mapping.fits,
        "cores": len(mapping.cores),
        "cores_available": profile.limit("cores"),
        "violations": [
            {
                "layer": violation.layer,
                "limit": violation.limit,
                "value": violation.value,
                "maximum": violation.maximum,
                "unit": violation.unit,
                "excess": violation.excess,
                "note": violation.note,
                "hint": violation.hint,
            }
            for violation in mapping.violations
        ],
        "utilisation": {
            "meaning": "share of a step that a core works, mean of the run",
            "max": math.nan if busy is None else float(busy.max()),
            "median": math.nan if busy is None else float(np.median(busy)),
            "histogram": None if busy is None else histogram(busy),
            "per_core": None if busy is None else busy,
        },
        "step_period_s": mapping.step_period_s,
        "step_time_s": mapping.step_time_s,
        "activity": mapping.activity.origin if mapping.activity else None,
        "steps": mapping.activity.steps if mapping.activity else 0,
        "remaps": [vars(remap) for remap in mapping.remaps],
        "mean_hops": mapping.mean_hops,
        "time_multiplexing": [vars(trade) for trade in trades],
        "energy_estimate": None if energy is None else _energy_dict(energy),
        "per_core": [
            {name: value for name, value in vars(core).items() if name != "box"}
            | dict(zip(("channels", "rows", "columns"), core.box, strict=True))
            for core in mapping.cores
        ],
        "not_checked": profile.not_checked,
        "assumptions": profile.assumptions,
        "limits": {
            name: {
                "value": figure.value,
                "unit": figure.unit,
                "source": figure.source,
                "confidence": figure.confidence.value,
                "note": figure.note,
            }
            for name, figure in {**profile.limits, **profile.costs}.items()
        },
    }


def _energy_dict(energy: EnergyEstimate) -> dict[str, Any]:
    return {
        "estimate": True,
        "power_w": energy.power_w,
        "total_j": energy.total_j,
        "synaptic_j": energy.synaptic_j,
        "neuron_j": energy.neuron_j,
        "static_j": energy.static_j,
        "duration_s": energy.duration_s,
        "confidence": energy.confidence.value,
        "sources": energy.sources,
    }


def as_text(mapping: ChipMapping, model_id: str, trades: Sequence[Trade], energy: EnergyEstimate | None) -> str:
    """Return a mapping as aligned text, without a newline at the end."""
    blocks = [
        _head(mapping, model_id, energy),
        *([_violations(mapping.violations)] if mapping.violations else []),
        _layers(mapping),
        *_busy(mapping),
        *_trades(trades),
        _caveats(mapping.profile),
    ]
    return "\n\n".join(blocks)


def _head(mapping: ChipMapping, model_id: str, energy: EnergyEstimate | None) -> str:
    profile, activity = mapping.profile, mapping.activity
    count = f"takes {len(mapping.cores)} cores, the chip has {profile.limit('cores'):g}"
    number = len(mapping.violations)
    answer = "fits" if mapping.fits else f"does not fit, {number} {'limit is' if number == 1 else 'limits are'} broken"
    rows = [
        ("chip", f"{profile.title}; not at hand: all figures are from publications"),
        ("model", model_id),
        ("answer", f"{answer}; {count}"),
    ]
    step = f"{_time(mapping.step_period_s)}"
    if not math.isnan(mapping.step_time_s):
        step += f"; on this mapping at least {_time(mapping.step_time_s)}"
    rows.append(("step", step))
    if activity is None:
        rows.append(("activity", "none measured: give --recording FILE to see how busy cores get"))
    else:
        operations = sum(core.synaptic_operations for core in mapping.cores)
        rows.append(("activity", f"{activity.origin}: {_number(activity.steps)} steps"))
        rows.append(("", f"{_number(operations)} synaptic operations a step in the mean"))
    busy = mapping.utilisation
    if busy is not None:
        rows.append(
            ("busy", f"{_percent(busy.max())} of a step the busiest core, {_percent(np.median(busy))} the median")
        )
    elif activity is not None:
        rows.append(("busy", "not known: the times of this chip are not published"))
    if not math.isnan(mapping.mean_hops):
        rows.append(("placement", f"a spike crosses {mapping.mean_hops:.2f} tiles in the mean"))
    if energy is not None:
        rows.append(("power", _power(energy)))
    return _aligned(rows)


def _power(energy: EnergyEstimate) -> str:
    parts = {"static": energy.static_j, "synapses": energy.synaptic_j, "neurons": energy.neuron_j}
    known = ", ".join(f"{name} {_watts(value / energy.duration_s)}" for name, value in parts.items() if value == value)
    missing = [name for name, value in parts.items() if value != value]
    if missing:
        return f"estimate of parts only: {known}; no figure is published for {' and '.join(missing)}"
    return f"{_watts(energy.power_w)}, an estimate of {energy.confidence.value} confidence: {known}"


def _violations(violations: Sequence[Violation]) -> str:
    """Return a table of all broken limits, those of one kind together with what to do about them."""
    lines = ["broken limits"]
    for limit in dict.fromkeys(violation.limit for violation in violations):
        same = [violation for violation in violations if violation.limit == limit]
        what = LIMITS[limit][1] if limit in LIMITS else "work of the busiest core"
        lines.append(f"! {limit}: {what}{'' if same[0].unit == 'bit' else f' [{same[0].unit}]'}")
        rows = [("", "needs", "limit", "excess", "note"), *(_violation_row(violation) for violation in same)]
        table = rows if any(violation.note for violation in same) else [row[:4] for row in rows]
        lines += [f"  {line}" for line in _table(table, left=(0, 4)).splitlines()]
        lines.append(f"    what to do: {same[0].hint}")
    return "\n".join(lines)


def _violation_row(violation: Violation) -> tuple[str, str, str, str, str]:
    def amount(value: float) -> str:
        return _percent(value) if violation.limit == "utilisation" else _amount(value, violation.unit)

    # no excess: not too much, only not among what is allowed
    excess = amount(violation.excess) if violation.excess > 0 else "-"
    return violation.layer or "network", amount(violation.value), amount(violation.maximum), excess, violation.note


def _layers(mapping: ChipMapping) -> str:
    profile = mapping.profile
    header = ("layer", "cores", "cut c, y, x", "neurons", "", "weights", "", "in-axons", "", "out-axons", "", "busy")
    table: list[Sequence[str]] = [header]
    for name in mapping.layers:
        cores = mapping.of_layer(name)
        neurons = max(core.neurons for core in cores)
        bits = max(core.synapse_memory_bits for core in cores)
        in_axons, out_axons = max(core.in_axons for core in cores), max(core.out_axons for core in cores)
        neuron_limit, bit_limit = _memories(profile, cores[0].place)
        cuts = (len({core.box[axis] for core in cores}) for axis in range(3))
        table.append(
            (
                name,
                f"{len(cores)}{'*' if any(core.place < 0 for core in cores) else ''}",
                " x ".join(str(cut) for cut in cuts),
                _number(neurons),
                _share(neurons, neuron_limit),
                _memory(bits),
                _share(bits, bit_limit),
                _number(in_axons),
                _share(in_axons, profile.limit("in_axons_per_core")),
                _number(out_axons),
                _share(out_axons, profile.limit("out_axons_per_core")),
                _percent(max(core.busy_ns for core in cores) * 1e-9 / mapping.step_period_s),
            )
        )
    note = "\n  * no suitable core is left" if any(core.place < 0 for core in mapping.cores) else ""
    return "the fullest core of each layer, and its share of the limit\n" + _table(table, left=(0, 2)) + note


def _memories(profile: ChipProfile, place: int) -> tuple[float, float]:
    """Return (neurons, bits of weights) that a core holds; of the largest where cores differ and none was taken."""
    if profile.architecture is Architecture.SPLIT_LAYERS:
        return profile.limit("neurons_per_core"), profile.limit("synapse_memory_per_core")
    memories = [profile.limits[name] for name in ("neuron_memory_per_core", "kernel_memory_per_core")]
    neurons, weights = (memory.values[place] if place >= 0 else memory.top for memory in memories)
    return neurons, weights * profile.weight_storage_bits


def _busy(mapping: ChipMapping) -> list[str]:
    busy = mapping.utilisation
    if busy is None:
        return []
    counts = histogram(busy)
    last = max(index for index, count in enumerate(counts) if count)
    scale = _BAR / max(counts)
    lines = ["cores by the share of a step that they work"]
    for index, count in enumerate(counts[: last + 1]):
        name = f"{10 * index:>3} - {10 * (index + 1):>3} %" if index < 10 else "above 100 %"
        bar = "#" * (math.ceil(count * scale) if count else 0)
        lines.append(f"  {name:<11}  {count:>4}  {bar}".rstrip())
    lines += [
        f"  remapped: {remap.layer} over {remap.cores_after} cores instead of {remap.cores_before}, busiest "
        f"{_percent(remap.utilisation_before)} -> {_percent(remap.utilisation_after)}"
        for remap in mapping.remaps
    ]
    return ["\n".join(lines)]


def _trades(trades: Sequence[Trade]) -> list[str]:
    if len(trades) < 2:
        return []
    table: list[Sequence[str]] = [("cores", "neurons a core", "step at least", "steps a second", "busiest core")]
    table += [
        (
            str(trade.cores),
            _number(trade.neurons_per_core),
            _time(trade.step_time_s),
            _number(1.0 / trade.step_time_s),
            _percent(trade.utilisation),
        )
        for trade in trades
    ]
    return ["time multiplexing: fewer cores, longer steps\n" + _table(table)]


def _caveats(profile: ChipProfile) -> str:
    weak = [name for name, figure in profile.limits.items() if figure.confidence.value == "low"]
    rows = [("not checked", f"{', '.join(profile.not_checked)} (no public figure)")] if profile.not_checked else []
    if weak:
        rows.append(("weak source", f"{', '.join(weak)} (--limits says why)"))
    rows += [("assumed" if not index else "", f"- {text}") for index, text in enumerate(profile.assumptions)]
    return _aligned(rows)


def limits_text(profile: ChipProfile) -> str:
    """Return every limit and cost of a profile with its source, as text."""
    lines = [f"{profile.title}: limits and costs"]
    for name, figure in {**profile.limits, **profile.costs}.items():
        value = ", ".join(
            f"{f'{len(list(equal))} x ' if len(figure.values) > 4 else ''}{_plain(value)}"
            for value, equal in groupby(figure.values)
        )
        unit = f" {figure.unit}" if figure.known else "not published"
        lines.append(f"{name:<25}{value}{unit}  [{figure.confidence.value}]")
        lines += _indented(f"{figure.source}{f'; {figure.note}' if figure.note else ''}")
    if profile.mesh is not None:
        mesh = profile.mesh
        lines.append(f"{'mesh':<25}{mesh.columns} x {mesh.rows} tiles of {mesh.cores_per_tile} cores")
        lines += _indented(mesh.source)
    return "\n".join(lines)


def _plain(value: float) -> str:
    return _number(value) if value >= 1000 else f"{value:g}"


def _indented(text: str) -> list[str]:
    return textwrap.wrap(
        text, _COLUMNS, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False, break_long_words=False
    )


def _aligned(rows: Sequence[tuple[str, str]]) -> str:
    """Return names and texts in two columns, long texts in several lines."""
    width = max(len(name) for name, _ in rows)
    lines = []
    for name, text in rows:
        indent = "  " if text.startswith("- ") else ""
        parts = textwrap.wrap(text, _COLUMNS - width - 2, subsequent_indent=indent, break_on_hyphens=False)
        for number, part in enumerate(parts):
            lines.append(f"{name if not number else '':<{width}}  {part}")
    return "\n".join(lines)


def _table(rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    # a number without a heading is the share that belongs to the number before it
    gaps = ["" if not column else " " if not title else "  " for column, title in enumerate(rows[0])]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "".join(gap + cell for gap, cell in zip(gaps, cells, strict=True)))
    return "\n".join(line.rstrip() for line in lines)


def _number(value: float) -> str:
    """Write a count with groups: 1 234 567."""
    return f"{value:,.0f}".replace(",", " ")


def _percent(share: float) -> str:
    if math.isnan(share):
        return "-"
    return f"{100.0 * share:.0f} %" if share >= 0.1 else f"{100.0 * share:.2g} %"


def _share(value: float, limit: float) -> str:
    return f"{100.0 * value / limit:.0f} %" if math.isfinite(limit) and limit else "-"


def _memory(bits: float) -> str:
    kib = bits / 8192.0
    return f"{bits / 8.0:.0f} B" if kib < 1.0 else f"{kib:.1f} KiB" if kib < 1024.0 else f"{kib / 1024.0:.1f} MiB"


def _amount(value: float, unit: str) -> str:
    return _memory(value) if unit == "bit" and value >= 64 else _number(value)


def _time(seconds: float) -> str:
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1.0:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _watts(power: float) -> str:
    for factor, unit in ((1.0, "W"), (1e3, "mW"), (1e6, "uW")):
        if power * factor >= 1.0:
            return f"{power * factor:.3g} {unit}"
    return f"{power * 1e9:.3g} nW"
