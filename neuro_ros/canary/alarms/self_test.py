# SPDX-License-Identifier: Apache-2.0
"""Weights that are not those that were measured: the network answers a known stimulus otherwise than it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from neuro_ros.canary import limits as base
from neuro_ros.canary.limits import limit
from neuro_ros.canary.observation import LayerReport, Observation, Verdict

__all__ = ["SelfTestAlarm"]


class SelfTestAlarm:
    """The answer of a layer to the self-test is not the one of the baseline.

    Integers are exact, and the probe runs with the model's own registers, so that nothing is tolerated and one answer
    is proof. A model without a baseline of its own is judged by another version's and is found to be another one, which
    a weight file with changed content is too; a model on trial was said to be another version, so then its answer
    proves nothing.
    """

    name: ClassVar[str] = "self_test"
    advice: ClassVar[str] = (
        "load the model again or roll back; a model that is meant to be another one needs its own baseline: neuro_ros "
        "evaluate MODEL --baseline"
    )

    @dataclass(frozen=True)
    class Limits(base.Limits):
        """When it is raised: the switch and the hysteresis alone."""

        raise_after: int = limit(1, "wrong answers in a row that raise it", minimum=1, maximum=1000)
        clear_after: int = limit(1, "right answers in a row that clear it", minimum=1, maximum=1000)

    def __init__(self) -> None:
        self._judged_ns: int | None = None

    def judge(self, observation: Observation, limits: Any) -> Verdict:  # noqa: ARG002 - nothing is tolerated
        """Compare an answer once, when it comes."""
        answered = [report for report in observation.reports if report.self_test is not None]
        if not answered or answered[-1].self_test_ns == self._judged_ns:
            return Verdict(None)
        self._judged_ns = answered[-1].self_test_ns
        return _compare(answered[-1], observation)


def _compare(report: LayerReport, observation: Observation) -> Verdict:
    baseline, answer = observation.baseline, report.self_test
    usual = baseline.self_test if baseline is not None else None
    if baseline is None or usual is None or answer is None or answer.probe != usual.probe:
        return Verdict(None)  # nothing that it could be compared with
    stands_in = bool(observation.model_id) and observation.model_id != baseline.model_id
    if stands_in and observation.on_trial:
        return Verdict(None)
    of_whom = f" of {baseline.model_id}, which stands in for {observation.model_id}" if stands_in else ""
    names = tuple(layer.name for layer in baseline.layers)
    if report.layer != names or len(answer.spikes) != len(names):
        return Verdict(True, f"the layers are {', '.join(report.layer)}, not those{of_whom or ' of the baseline'}")
    index = answer.first_difference(usual)
    if index is None:
        return Verdict(False)
    found, expected = answer.spikes[index], usual.spikes[index]
    if found == expected:
        what = f"{found} spikes as usual, but not with the same ones, or with other potentials"
    else:
        change = f", {abs(found / expected - 1):.0%} {'more' if found > expected else 'less'}" if expected else ""
        what = f"{found} spikes instead of {expected}{change}"
    whose = f"the one{of_whom}" if stands_in else "the layer that was measured"
    return Verdict(True, f"layer {names[index]} answers the self-test with {what}: it is not {whose}")
