# SPDX-License-Identifier: Apache-2.0
"""Makes a baseline from what the canary itself sees of a healthy network, scene by scene.

A scene is one person with one gesture, or a still one. This module refuses to know how the network is run.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuro_ros.canary.baseline import Baseline, LayerBaseline, Level, MarginBaseline, Spread
from neuro_ros.canary.errors import BaselineError
from neuro_ros.canary.observation import LayerReport
from neuro_ros.canary.probe import SelfTestAnswer
from neuro_ros.canary.relation import Relation

__all__ = ["MOVING_SHARE", "BaselineBuilder"]

#: A report counts as motion when so much of its time showed motion: at the edge of a still scene, neither
#: the input rate nor the spikes stand for anything.
MOVING_SHARE = 0.9


class BaselineBuilder:
    """Collects what healthy scenes look like.

    Parameters
    ----------
    layers : sequence of str
        Names, in model order.
    neurons : sequence of int
        Neurons of each.
    classes : int
        Output classes.
    """

    def __init__(self, layers: Sequence[str], neurons: Sequence[int], classes: int) -> None:
        self._layers, self._neurons, self._classes = list(layers), list(neurons), classes
        self._scene = -1
        self._moving: list[tuple[int, LayerReport]] = []
        self._saturated = np.zeros(len(layers))
        self._margins: list[tuple[int, int, float]] = []
        self._outcomes: list[tuple[int, bool]] = []
        self._self_test: SelfTestAnswer | None = None

    def begin_scene(self) -> None:
        """Begin another scene."""
        self._scene += 1

    def add_report(self, report: LayerReport) -> None:
        """Take a report; one of a still or half-still scene tells of saturation alone."""
        if report.layer != tuple(self._layers):
            raise BaselineError(f"a report of layers {report.layer} does not fit {tuple(self._layers)}")
        self._self_test = report.self_test or self._self_test
        if not math.isnan(report.input_rate):
            self._saturated = np.maximum(self._saturated, np.array(report.saturated_neurons) / self._neurons)
        if report.input_rate > 0.0 and report.motion(0.0) >= MOVING_SHARE:
            self._moving.append((self._scene, report))

    def add_margin(self, leader: int, margin: float) -> None:
        """Take the margin of a window with output spikes, in a moving scene."""
        self._margins.append((self._scene, leader, margin))

    def add_outcome(self, label: int, decided: int) -> None:
        """Take a decided window with a label."""
        self._outcomes.append((self._scene, label == decided))

    def build(
        self,
        model_id: str,
        model_digest: str,
        latency: Mapping[str, float] | None = None,
        measured: Mapping[str, Any] | None = None,
    ) -> Baseline:
        """Return the baseline.

        Raises
        ------
        BaselineError
            Too few scenes moved, or none led to a decision.
        """
        scenes = [scene for scene, _ in self._moving]
        rates = [report.input_rate for _, report in self._moving]
        leaders = [report.leader for _, report in self._moving]
        layers = []
        for k, name in enumerate(self._layers):
            observed = [report.firing_rate[k] for _, report in self._moving]
            relation = Relation.fit(scenes, rates, observed, leaders, self._classes)
            dead = [report.dead_neurons[k] / self._neurons[k] for _, report in self._moving]
            layers.append(
                LayerBaseline(
                    name=name,
                    neurons=self._neurons[k],
                    rate=relation,
                    silent=Relation.fit(scenes, rates, dead),
                    saturated=float(self._saturated[k]),
                )
            )
        on_shares = _by_scene((scene, report.on_share) for scene, report in self._moving)
        isolated = _by_scene(
            (scene, report.isolated_on / report.isolated) for scene, report in self._moving if report.isolated
        )
        right = _by_scene((scene, float(hit)) for scene, hit in self._outcomes)
        return Baseline(
            model_id=model_id,
            model_digest=model_digest,
            layers=tuple(layers),
            margin=self._margin(),
            accuracy=_level(right) if right else Level(0.0, 0.0),
            on_share=_level(on_shares) if on_shares else Level(0.5, 0.5),
            latency=dict(latency or {}),
            measured=dict(measured or {}),
            self_test=self._self_test,
            isolated_on=_spread(isolated) if isolated else None,
        )

    def _margin(self) -> MarginBaseline:
        by_class: dict[int, list[float]] = defaultdict(list)
        for _, leader, margin in self._margins:
            by_class[leader].append(margin)
        if not by_class:
            raise BaselineError("no moving scene led to output spikes; the network is silent")
        expected = [
            math.fsum(by_class[k]) / len(by_class[k]) if by_class[k] else math.nan for k in range(self._classes)
        ]
        differences = _by_scene((scene, margin - expected[leader]) for scene, leader, margin in self._margins)
        spread = math.sqrt(math.fsum(value**2 for value in differences) / len(differences))
        return MarginBaseline(tuple(expected), tuple(len(by_class[k]) for k in range(self._classes)), spread)


def _by_scene(pairs: Any) -> list[float]:
    """Return the mean of each scene's values, NaN left out."""
    values: dict[int, list[float]] = defaultdict(list)
    for scene, value in pairs:
        if not math.isnan(value):
            values[scene].append(value)
    return [math.fsum(found) / len(found) for found in values.values()]


def _level(values: Sequence[float]) -> Level:
    mean = math.fsum(values) / len(values)
    return Level(mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values)))


def _spread(values: Sequence[float]) -> Spread:
    level = _level(values)
    return Spread(level.mean, level.spread, min(values), max(values))
