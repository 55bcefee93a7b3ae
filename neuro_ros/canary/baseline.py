# SPDX-License-Identifier: Apache-2.0
"""What is normal for a model: the file beside it that the canary compares with.

The baseline is a JSON file of its own, ``NAME.baseline.json`` beside ``NAME.safetensors``, and no part of the model's
training record: the record is covered by the model's digest, so a baseline inside would give the same network another
identity each time it is measured, on another camera or computer say, and orphan its saved states. The file names the
digest of the model that was measured, and serves no other.

Layout, version 1::

    {"format": "neuro_ros.baseline", "version": 1, "model_id": ..., "model_digest": ..., "measured": {...},
     "layers": [{"name", "neurons", "rate": relation, "silent": relation, "saturated": share}, ...],
     "margin": {"expected": [a class each], "windows": [...], "spread": ...}, "accuracy": {...},
     "on_share": {...}, "latency": {...},
     "self_test": {"probe", "spikes": [a layer each], "checksums": [a layer each]},
     "isolated_on": {"mean", "spread", "low", "high"}}

The last two came later and may be missing; the alarms that need them have no evidence then.

This module refuses to know how a network is run.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuro_ros.canary.errors import BaselineError
from neuro_ros.canary.probe import SelfTestAnswer
from neuro_ros.canary.relation import Relation
from neuro_ros.documents import DocumentError, read_json, write_atomically

__all__ = [
    "BASELINE_FORMAT",
    "BASELINE_SUFFIX",
    "BASELINE_VERSION",
    "Baseline",
    "LayerBaseline",
    "Level",
    "MarginBaseline",
    "Spread",
    "find_baselines",
    "load_baseline",
]

BASELINE_FORMAT = "neuro_ros.baseline"
BASELINE_VERSION = 1
BASELINE_SUFFIX = ".baseline.json"
_MAX_BYTES = 1 << 20  # a hundred layers need a tenth of it
_MAX_FILES = 256  # that are looked at in one folder


@dataclass(frozen=True)
class Level:
    """A figure that depends on the scene alone: its mean, and its standard deviation from scene to scene."""

    mean: float
    spread: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.mean < math.inf and 0.0 <= self.spread < math.inf):
            raise BaselineError(f"mean {self.mean!r} and spread {self.spread!r} must be finite and at least 0")


@dataclass(frozen=True)
class Spread(Level):
    """A level with the least and the greatest scene."""

    low: float
    high: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.low <= self.high < math.inf:
            raise BaselineError(f"{self.low!r} and {self.high!r} must be finite, at least 0 and ascending")


@dataclass(frozen=True)
class LayerBaseline:
    """One population.

    Parameters
    ----------
    name : str
        As in the model.
    neurons : int
        How many.
    rate : Relation
        Spikes a neuron and step, given the input rate.
    silent : Relation
        Share of the neurons without a spike in a second, given the input rate: noise of the sensor wakes neurons too.
    saturated : float
        Greatest share of saturated neurons in any report.
    """

    name: str
    neurons: int
    rate: Relation
    silent: Relation
    saturated: float


@dataclass(frozen=True)
class MarginBaseline:
    """Lead of the first class over the second in one window's output spikes, by the class that leads.

    Parameters
    ----------
    expected : tuple of float
        Mean margin where class k leads, 0..1; NaN = that class never led.
    windows : tuple of int
        Windows behind each.
    spread : float
        Standard deviation, from scene to scene, of the mean margin less the expected one.
    """

    expected: tuple[float, ...]
    windows: tuple[int, ...]
    spread: float


@dataclass(frozen=True)
class Baseline:
    """What was measured of a model.

    Parameters
    ----------
    model_id, model_digest : str
        Of the model.
    layers : tuple of LayerBaseline
        In model order.
    margin : MarginBaseline
        Of the decisions.
    accuracy : Level
        Share of right ones among the decided windows.
    on_share : Level
        Share of ON among the input cells while the scene moved.
    latency : mapping of str to float
        ``window_time_p50_s``, ``window_time_p99_s``, ``step_time_p99_s`` [s], on the computer that `measured` names.
    measured : mapping
        On which data, how much of it, with what, and where.
    self_test : SelfTestAnswer or None
        What its layers answer to the probe; None = the file is older than the self-test.
    isolated_on : Spread or None
        Share of ON among isolated cells, see `isolated`; None = not measured.
    """

    model_id: str
    model_digest: str
    layers: tuple[LayerBaseline, ...]
    margin: MarginBaseline
    accuracy: Level
    on_share: Level
    latency: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)
    self_test: SelfTestAnswer | None = None
    isolated_on: Spread | None = None

    def __post_init__(self) -> None:
        if self.self_test is not None and len(self.self_test.spikes) != len(self.layers):
            raise BaselineError(f"a self-test of {len(self.self_test.spikes)} layers for {len(self.layers)}")

    def layer(self, name: str) -> LayerBaseline | None:
        """Return a layer by name; None when the model has no such layer."""
        return next((layer for layer in self.layers if layer.name == name), None)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "format": BASELINE_FORMAT,
            "version": BASELINE_VERSION,
            "model_id": self.model_id,
            "model_digest": self.model_digest,
            "measured": dict(self.measured),
            "layers": [
                {
                    "name": layer.name,
                    "neurons": layer.neurons,
                    "rate": layer.rate.as_dict(),
                    "silent": layer.silent.as_dict(),
                    "saturated": _short(layer.saturated),
                }
                for layer in self.layers
            ],
            "margin": {
                "expected": [None if math.isnan(value) else _short(value) for value in self.margin.expected],
                "windows": list(self.margin.windows),
                "spread": _short(self.margin.spread),
            },
            "accuracy": _level(self.accuracy),
            "on_share": _level(self.on_share),
            "latency": {name: _short(value) for name, value in self.latency.items()},
            **({"self_test": self.self_test.as_dict()} if self.self_test is not None else {}),
            **({"isolated_on": _spread(self.isolated_on)} if self.isolated_on is not None else {}),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file as a whole or not at all.

        Raises
        ------
        BaselineError
            It cannot be written; what was there stays.
        """
        text = json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n"
        try:
            write_atomically(Path(path), text.encode())
        except OSError as error:
            raise BaselineError(f"the baseline {path} cannot be written: {error.strerror or error}") from None


def load_baseline(path: str | os.PathLike[str]) -> Baseline:
    """Read a baseline.

    Raises
    ------
    BaselineError
        The file is missing, too long, foreign, of another version, or says something that cannot be.
    """
    try:
        return _from_dict(read_json(Path(path), _MAX_BYTES, BASELINE_FORMAT, BASELINE_VERSION, "measure it again"))
    except (BaselineError, DocumentError) as error:
        raise BaselineError(f"the baseline {path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BaselineError(f"{path} is not a usable baseline: {error!r}") from None


def find_baselines(folders: Sequence[str | os.PathLike[str]]) -> tuple[dict[str, Baseline], list[str]]:
    """Read all baselines in some folders.

    Returns
    -------
    baselines : dict of str to Baseline
        By the model id; a later folder wins.
    refused : list of str
        One line for each file that could not be used.
    """
    found: dict[str, Baseline] = {}
    refused = []
    for folder in folders:
        for path in sorted(Path(folder).glob(f"*{BASELINE_SUFFIX}"))[:_MAX_FILES]:
            result = _load_or_reason(path)
            if isinstance(result, str):
                refused.append(result)
            else:
                found[result.model_id] = result
    return found, refused


def _load_or_reason(path: Path) -> Baseline | str:
    try:
        return load_baseline(path)
    except BaselineError as error:
        return str(error)


def _from_dict(values: Mapping[str, Any]) -> Baseline:
    layers = tuple(
        LayerBaseline(
            name=_text(entry["name"]),
            neurons=int(entry["neurons"]),
            rate=Relation.from_dict(entry["rate"]),
            silent=Relation.from_dict(entry["silent"]),
            saturated=float(entry["saturated"]),
        )
        for entry in values["layers"]
    )
    if not layers or len({layer.name for layer in layers}) != len(layers):
        raise BaselineError("its layers are none, or have equal names")
    margin = values["margin"]
    expected = tuple(math.nan if value is None else float(value) for value in margin["expected"])
    if not all(math.isnan(value) or 0.0 <= value <= 1.0 for value in expected):
        raise BaselineError(f"its margins {list(expected)} are not shares")
    return Baseline(
        model_id=_text(values["model_id"]),
        model_digest=_text(values["model_digest"]),
        layers=layers,
        margin=MarginBaseline(
            expected, tuple(int(count) for count in margin["windows"]), Level(0.0, float(margin["spread"])).spread
        ),
        accuracy=_as_level(values["accuracy"]),
        on_share=_as_level(values["on_share"]),
        latency={str(name): float(value) for name, value in values["latency"].items()},
        measured=dict(values["measured"]),
        self_test=SelfTestAnswer.from_dict(values["self_test"]) if "self_test" in values else None,
        isolated_on=_as_spread(values["isolated_on"]) if "isolated_on" in values else None,
    )


def _as_level(values: Mapping[str, Any]) -> Level:
    return Level(float(values["mean"]), float(values["spread"]))


def _level(level: Level) -> dict[str, float]:
    return {"mean": _short(level.mean), "spread": _short(level.spread)}


def _as_spread(values: Mapping[str, Any]) -> Spread:
    return Spread(*(float(values[name]) for name in ("mean", "spread", "low", "high")))


def _spread(spread: Spread) -> dict[str, float]:
    return {**_level(spread), "low": _short(spread.low), "high": _short(spread.high)}


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise BaselineError(f"{value!r} is no name")
    return value


def _short(value: float) -> float:
    return float(f"{value:.6g}")
