# SPDX-License-Identifier: Apache-2.0
"""Reports and a small baseline that the tests of the canary share."""

import dataclasses
import math

import numpy as np

from neuro_ros.canary import BaselineBuilder, LayerReport, Observation

LAYERS, NEURONS, CLASSES = ("conv", "out"), (1000, 11), 11


def report(second, *, input_rate=0.05, rates=(0.1, 0.02), dead=(300, 5), **values):
    return LayerReport(
        stamp_ns=second * 1_000_000_000,
        input_rate=input_rate,
        layer=LAYERS,
        firing_rate=rates,
        dead_neurons=dead,
        saturated_neurons=values.pop("saturated", (0, 0)),
        **values,
    )


def run(board, observations):
    """Return which alarms are raised after each observation."""
    history = []
    for observation in observations:
        board.observe(observation)
        history.append(tuple(board.raised))
    return history


def seconds(count, baseline=None, start=0, **values):
    """One observation a second with one report each."""
    of_observation = {item.name for item in dataclasses.fields(Observation)}
    shown = {name: value for name, value in values.items() if name in of_observation}
    rest = {name: value for name, value in values.items() if name not in of_observation}
    return [Observation(reports=(report(t, **rest),), baseline=baseline, **shown) for t in range(start, start + count)]


def healthy(count, baseline, start=0, **values):
    usual = {"rates": (0.1, 0.04), "leader": 1, "moving_share": 1.0, "on_share": 0.5, "margins": ((1, 0.4),) * 20}
    return seconds(count, baseline, start, **{**usual, **values})


def build_baseline(model_id="m-0123456789ab", scenes=40, seed=0):
    """Make one in which conv fires at twice the input rate, within 4 % a scene, and out by the class."""
    rng = np.random.default_rng(seed)
    builder = BaselineBuilder(LAYERS, NEURONS, CLASSES)
    for scene in range(scenes):
        builder.begin_scene()
        off, label = math.exp(0.04 * rng.standard_normal()), scene % 4
        for second in range(10):
            x = float(rng.uniform(0.02, 0.08))
            rates = (2.0 * x * off, 0.02 * (1 + label) * math.exp(0.1 * rng.standard_normal()))
            silent = (int(300 + 20 * rng.standard_normal()), 5)
            builder.add_report(
                report(second, input_rate=x, rates=rates, dead=silent, leader=label, moving_share=1.0, on_share=0.5)
            )
            builder.add_margin(label, min(1.0, 0.2 * (1 + label) + 0.02 * rng.standard_normal()))
            builder.add_outcome(label, label if rng.random() < 0.9 else 9)
    return builder.build(model_id, model_id, {"step_time_p99_s": 1e-4, "window_time_p99_s": 1e-3}, {"data": "made up"})
