# SPDX-License-Identifier: Apache-2.0
"""What the network depends on: the clock, the temperature, the polarities of the camera."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from neuro_ros.canary import limits as base
from neuro_ros.canary.alarms.base import InputClock, RecentSum
from neuro_ros.canary.limits import limit
from neuro_ros.canary.measure import MOVING_SHARE
from neuro_ros.canary.observation import Observation, Verdict

__all__ = ["ClockAlarm", "PolarityAlarm", "ThermalAlarm"]

_S = 1_000_000_000


class ClockAlarm:
    """The camera's time can no longer be told in the host's.

    HOLDOVER alone is no reason: a still scene has no events to measure a clock with. What counts is the uncertainty
    that has grown meanwhile, and only once events come again.
    """

    name: ClassVar[str] = "clock"
    advice: ClassVar[str] = "check that clock_sync runs and hears the camera"

    @dataclass(frozen=True)
    class Limits(base.Limits):
        """How uncertain is too uncertain."""

        sigma_s: float = limit(
            0.005,
            "uncertainty of the clock model that is tolerated; a bin of the shipped model lasts 5 ms",
            unit="s",
            minimum=1e-6,
            maximum=60.0,
        )

    def __init__(self) -> None:
        self._had_lock = False

    def judge(self, observation: Observation, limits: Any) -> Verdict:
        """Judge while events come."""
        state, sigma_s = observation.clock_state, observation.clock_sigma_s
        had_lock = self._had_lock
        self._had_lock = had_lock or state == "LOCKED"
        if not state or not any(report.input_rate > 0.0 for report in observation.reports):
            return Verdict(None)
        if sigma_s > limits.sigma_s:
            limit_ms = limits.sigma_s * 1e3
            text = f"the camera's clock is known to {sigma_s * 1e3:.3g} ms only ({state}), limit {limit_ms:.3g} ms"
            return Verdict(True, text)
        if had_lock and (state == "UNLOCKED" or observation.stamps_unlocked):
            return Verdict(True, "the camera's clock is no longer followed (UNLOCKED); time stamps are guesses")
        return Verdict(False)


class ThermalAlarm:
    """Too hot, throttled, or nobody knows."""

    name: ClassVar[str] = "thermal"
    advice: ClassVar[str] = "give it air or less to do, and check the temperature sensor"

    @dataclass(frozen=True)
    class Limits(base.Limits):
        """What is too hot."""

        max_celsius: float = limit(
            85.0, "temperature from which it is raised", unit="degree Celsius", minimum=-273.15, maximum=1000.0
        )
        throttle_level: int = limit(0, "level of throttling that is tolerated", minimum=0, maximum=255)

    def judge(self, observation: Observation, limits: Any) -> Verdict:
        """Judge what thermal_compensation said last; COMPENSATING is good, or each warm-up would be an alarm."""
        state, celsius = observation.thermal_state, observation.temperature_celsius
        if not state:
            return Verdict(None)
        if state in ("STALE", "FAILSAFE"):
            return Verdict(True, f"the temperature is not known ({state})")
        if celsius >= limits.max_celsius:
            return Verdict(True, f"{celsius:.1f} degree Celsius, limit {limits.max_celsius:.1f}")
        if observation.throttle_level > limits.throttle_level:
            text = f"throttled to level {observation.throttle_level}, limit {limits.throttle_level}"
            return Verdict(True, text + ("" if math.isnan(celsius) else f", at {celsius:.1f} degree Celsius"))
        return Verdict(False)


class PolarityAlarm:
    """The share of ON events is not what it was: one polarity is missing, or the two are exchanged.

    Where both thresholds of the pixels are equal, an exchange leaves the share of all cells as it is. What tells it
    then is the noise, of which isolated cells are made: leakage makes ON events in the light, so that more than half of
    them are ON before any scene. In the dark, shot noise of both polarities covers that, and nothing is said.
    """

    name: ClassVar[str] = "polarity"
    advice: ClassVar[str] = (
        "check the camera driver's polarities, biases and filters, or set its limits to this camera's noise"
    )

    @dataclass(frozen=True)
    class Limits(base.Limits):
        """How far is too far."""

        change: float = limit(
            0.15, "difference of the share of ON cells from the baseline's that is tolerated", minimum=0.01, maximum=1.0
        )
        sigmas: float = limit(
            4.0,
            "standard deviations between scenes that are tolerated, where they are more than that difference",
            minimum=0.0,
            maximum=100.0,
        )
        input_s: float = limit(
            5.0, "time with motion over which the share is averaged", unit="s", minimum=1.0, maximum=3600.0
        )
        isolated_change: float = limit(
            0.04,
            "difference from one half, on the side where the baseline is not, that the share of ON among isolated "
            "cells may have",
            minimum=0.0,
            maximum=0.5,
        )
        isolated_cells: int = limit(
            5000, "isolated cells over which that share is averaged", minimum=100, maximum=10_000_000
        )

    def __init__(self) -> None:
        self._clock = InputClock()
        self._recent: RecentSum[float] = RecentSum()
        self._isolated: RecentSum[tuple[int, int]] = RecentSum()
        self._exchanged = False

    def judge(self, observation: Observation, limits: Any) -> Verdict:
        """Judge by either share; good is what neither blames, and what was found exchanged until it is found right."""
        of_all, of_isolated = self._judge_all(observation, limits), self._judge_isolated(observation, limits)
        if of_isolated.bad is not None:
            self._exchanged = of_isolated.bad
        if of_all.bad:
            return of_all
        if of_isolated.bad is None and self._exchanged:
            return of_isolated  # it has become dark: no evidence that the camera is right again
        return of_isolated if of_isolated.bad or of_all.bad is None else of_all

    def _judge_isolated(self, observation: Observation, limits: Any) -> Verdict:
        """Compare the share of ON among the last isolated cells with one half, which is where noise has no sign."""
        judged = False
        for report in observation.reports:
            if 0 <= report.isolated_on <= report.isolated and report.isolated:
                entry = (report.isolated, report.isolated_on)
                self._isolated.add(float(report.isolated), entry, float(limits.isolated_cells))
                judged = True
        usual = observation.baseline.isolated_on if observation.baseline is not None else None
        cells = self._isolated.weight
        if not judged or usual is None or cells < limits.isolated_cells:
            return Verdict(None)
        share = sum(on for _, on in self._isolated.entries) / cells
        # Mirrored where it is OFF that prevails: above one half is right from here on.
        sign = 1.0 if usual.mean >= 0.5 else -1.0
        off, lowest = sign * (share - 0.5), sign * ((usual.low if sign > 0.0 else usual.high) - 0.5)
        tolerance = max(limits.isolated_change, limits.sigmas * 0.5 / math.sqrt(cells)) - min(0.0, lowest)
        if abs(off) <= tolerance:
            return Verdict(None)
        prevails = "ON" if sign > 0.0 else "OFF"
        seen, expected = (value if sign > 0.0 else 1.0 - value for value in (share, usual.mean))
        text = (
            f"polarities are exchanged: {seen:.0%} of the isolated noise events are {prevails} instead of "
            f"{expected:.0%} (limit {0.5 - tolerance:.0%})"
        )
        return Verdict(off < 0.0, text)

    def _judge_all(self, observation: Observation, limits: Any) -> Verdict:
        """Compare the mean over the last seconds of motion."""
        judged = False
        for report in observation.reports:
            duration_s = self._clock.duration_s(report)
            if duration_s > 0.0 and report.motion(0.0) >= MOVING_SHARE and 0.0 <= report.on_share <= 1.0:
                self._recent.add(duration_s, report.on_share, limits.input_s)
                judged = True
        if not judged or observation.baseline is None or self._recent.weight < limits.input_s / 2:
            return Verdict(None)
        usual = observation.baseline.on_share
        entries = self._recent.entries
        share = math.fsum(entries) / len(entries)
        tolerance = max(limits.change, limits.sigmas * usual.spread)
        text = f"{share:.0%} of the events are ON instead of {usual.mean:.0%} (limit +-{tolerance:.0%})"
        return Verdict(abs(share - usual.mean) > tolerance, text)
