# SPDX-License-Identifier: Apache-2.0
"""From measurements to a calibration curve: pairs of a file, or an experiment on the emulated chip.

A measurement is noisy and repeated, a curve is neither. Pairs are sorted, those at one temperature give their median,
and what still turns round is levelled by isotonic regression (pool adjacent violators), which moves no point further
than it must. When it must move one far, the pairs are no measurement of a time constant, and are refused.

References
----------
M. Ayer et al., "An empirical distribution function for sampling with incomplete information", Annals of Mathematical
Statistics 26(4), 1955, doi:10.1214/aoms/1177728423 (pool adjacent violators).
"""

from __future__ import annotations

import csv
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuro_ros.snn import Dense, Layer, LayerState, Lif, Model, Network, NetworkState, create_engine
from neuro_ros.snn.quantisation import du_from_tau, dv_from_tau
from neuro_ros.thermal.calibration import KINDS, Curve
from neuro_ros.thermal.chip import Die, DriftingEngine
from neuro_ros.thermal.sensors import ThermalError
from neuro_ros.thermal.silicon import SiliconProfile

__all__ = ["COLUMNS", "Fit", "fit_curve", "measure_chip", "read_pairs", "write_pairs"]

_TEMPERATURE = "temperature_celsius"
#: Column of a file to what it is a measurement of; `response` is of what the caller says.
COLUMNS: Mapping[str, str] = {"tau_syn_s": "synapse", "tau_mem_s": "membrane", "response": "response"}
_MOST_ROWS = 1_000_000
#: What the neuron starts with: half of what its 24 bit hold, so that rounding is nothing beside it.
_START = 1 << 22
#: A decay is followed over so many time constants.
_TAUS = 2.0

Pairs = list[tuple[float, float]]


@dataclass(frozen=True)
class Fit:
    """A curve and how far it had to leave the medians.

    Parameters
    ----------
    curve : Curve
        Valid.
    medians : tuple of (float, float)
        Temperature [degree Celsius] and median of what was measured there.
    largest_correction : float
        Of a median, relative.
    """

    curve: Curve
    medians: tuple[tuple[float, float], ...]
    largest_correction: float


def read_pairs(path: str | os.PathLike[str]) -> dict[str, Pairs]:
    """Read a CSV file with a column ``temperature_celsius`` and one or more of `COLUMNS`; ``#`` begins a comment.

    Returns
    -------
    dict
        ``synapse``, ``membrane``, ``response`` to pairs of temperature [degree Celsius] and value, as in the file.

    Raises
    ------
    ThermalError
        The file cannot be read, has no such columns, or a value is no finite number; the line is named.
    """
    source = Path(path)
    found: dict[str, Pairs] = {}
    try:
        with source.open(encoding="utf-8", newline="") as file:
            lines = ((number, line) for number, line in enumerate(file, 1) if line.strip() and not line.startswith("#"))
            numbers: list[int] = []
            rows = csv.reader(_noting(lines, numbers), strict=True)
            header = [name.strip() for name in next(rows, [])]
            columns = {name: place for place, name in enumerate(header) if name in COLUMNS}
            if _TEMPERATURE not in header or not columns:
                raise ThermalError(
                    f"{source}: the first line must name {_TEMPERATURE} and one or more of {', '.join(COLUMNS)}"
                )
            for row in rows:
                if len(numbers) > _MOST_ROWS:
                    raise ThermalError(f"{source}: more than {_MOST_ROWS} lines; take fewer or their medians")
                if len(row) != len(header):
                    raise ThermalError(f"{source}: line {numbers[-1]} has {len(row)} values for {len(header)} columns")
                celsius = _number(source, numbers[-1], row[header.index(_TEMPERATURE)])
                for name, place in columns.items():
                    pair = (celsius, _number(source, numbers[-1], row[place]))
                    found.setdefault(COLUMNS[name], []).append(pair)
    except OSError as error:
        raise ThermalError(f"{source}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ThermalError(f"{source}: not a CSV file: {error}") from None
    if not found:
        raise ThermalError(f"{source}: no measurement below the first line")
    return found


def _noting(lines: Iterable[tuple[int, str]], numbers: list[int]) -> Iterable[str]:
    for number, line in lines:
        numbers.append(number)
        yield line


def _number(source: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ThermalError(f"{source}: line {line}: {text.strip()[:32]!r} is no finite number")
    return value


def write_pairs(path: str | os.PathLike[str], pairs: Mapping[str, Pairs], comment: str) -> None:
    """Write measurements of `synapse` and `membrane` at the same temperatures as `read_pairs` reads them.

    Raises
    ------
    ThermalError
        The file cannot be written.
    """
    names = [name for name, kind in COLUMNS.items() if kind in pairs]
    lines = [f"# {comment}", ",".join([_TEMPERATURE, *names])]
    columns = [pairs[COLUMNS[name]] for name in names]
    lines += [
        ",".join(repr(value) for value in (row[0][0], *(pair[1] for pair in row))) for row in zip(*columns, strict=True)
    ]
    try:
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise ThermalError(f"{path}: cannot be written: {error.strerror}") from error


def fit_curve(pairs: Sequence[tuple[float, float]], bin_celsius: float = 1.0, tolerance: float = 0.02) -> Fit:
    """Make a curve of noisy pairs in any order.

    Parameters
    ----------
    pairs : sequence of (float, float)
        Temperature [degree Celsius] and a value that is proportional to a time constant.
    bin_celsius : float
        Temperatures that are this near to the first of them count as one.
    tolerance : float
        How far a median may be moved so that the curve does not turn round, relative.

    Raises
    ------
    ThermalError
        Too few temperatures, a value that is not above 0, or more disorder than the tolerance allows.
    """
    groups: list[list[tuple[float, float]]] = []
    for pair in sorted(pairs):
        if groups and pair[0] - groups[-1][0][0] <= bin_celsius:
            groups[-1].append(pair)
        else:
            groups.append([pair])
    medians = tuple(
        (statistics.fmean(c for c, _ in group), statistics.median(value for _, value in group)) for group in groups
    )
    values = [value for _, value in medians]
    rising = len(values) > 1 and statistics.fmean(values[len(values) // 2 :]) >= statistics.fmean(
        values[: (len(values) + 1) // 2]
    )
    level = _levelled(values if rising else [-value for value in values])
    level = level if rising else [-value for value in level]
    curve = Curve(tuple(celsius for celsius, _ in medians), tuple(level))
    corrections = [abs(new / old - 1.0) if old else math.inf for new, old in zip(level, values, strict=True)]
    worst = max(range(len(corrections)), key=corrections.__getitem__)
    if corrections[worst] > tolerance:
        raise ThermalError(
            f"the response turns round at {medians[worst][0]:g} degree Celsius by {corrections[worst]:.1%}, more than "
            f"{tolerance:.1%}; measure again, or allow more with --tolerance"
        )
    return Fit(curve, medians, corrections[worst])


def _levelled(values: Sequence[float]) -> list[float]:
    """Return the nearest sequence that never falls, by pooling adjacent violators."""
    pools: list[tuple[float, int]] = []  # mean, count
    for value in values:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (low, n), (high, m) = pools[-2], pools[-1]
            pools[-2:] = [((low * n + high * m) / (n + m), n + m)]
    return [mean for mean, count in pools for _ in range(count)]


def measure_chip(
    silicon: SiliconProfile, celsius: Iterable[float], tau_s: float = 0.02, step_s: float = 0.005
) -> dict[str, Pairs]:
    """Measure the time constants of the emulated chip by experiment.

    A neuron is charged, left alone, and looked at again: what is left of current and voltage after a known number of
    steps tells their time constants. Nothing is read from a register.

    Parameters
    ----------
    silicon : SiliconProfile
        What the chip is made of.
    celsius : iterable of float
        Die temperatures [degree Celsius].
    tau_s, step_s : float
        Time constants that are programmed, and the length of a step [s].

    Returns
    -------
    dict
        ``synapse`` and ``membrane`` to pairs of temperature [degree Celsius] and time constant [s].
    """
    du, dv = du_from_tau(tau_s, step_s).register, dv_from_tau(tau_s, step_s).register
    # A threshold that is never reached, and a synapse that says nothing.
    layer = Layer("probe", Dense(np.zeros((1, 1), np.int16)), Lif(du, dv, vth=131071))
    model = Model(Network((layer,), (1, 1, 1)), ("probe",), round(step_s * 1e9), 1, "probe")
    steps = max(8, round(_TAUS * tau_s / step_s))
    found: dict[str, Pairs] = {kind: [] for kind in KINDS}
    die = Die(silicon)
    chip = DriftingEngine(create_engine(model, "fixed"), die)
    try:
        for die.celsius in celsius:
            for kind, charge in (("synapse", (_START, 0)), ("membrane", (0, _START))):
                u, v = (np.full((1, 1, 1), value, np.int32) for value in charge)
                chip.set_state(NetworkState.of(model, (LayerState(u, v, np.zeros_like(u)),)))
                chip.run_window(np.zeros(0, np.uint32), steps)
                state = chip.state().layers[0]
                left = int((state.u if kind == "synapse" else state.v)[0, 0, 0])
                found[kind].append((die.celsius, -steps * step_s / math.log(left / _START)))
    finally:
        chip.close()
    return found
