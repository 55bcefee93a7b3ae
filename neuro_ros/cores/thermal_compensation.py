# SPDX-License-Identifier: Apache-2.0
"""Logic of thermal_compensation: temperature readings in, state and register values out.

Live, a timer reads the sensor that the parameters choose, and every reading goes out on ``temperature``, believed or
not. With ``sensor: topic`` somebody else publishes ``temperature`` and this core only listens; that is also how a
replay drives it: build it with ``replace(parameters, {"sensor": "topic"})`` and give it the recorded readings. Both
ways then take the same path through plausibility, age and silicon.

The arithmetic is `neuro_ros.thermal`'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from neuro_ros.cores.core import Clocks, Core, Health, HealthLevel, Output
from neuro_ros.cores.messages import Header, Temperature, ThermalCompensation
from neuro_ros.cores.parameters.thermal_compensation import ThermalCompensationParameters
from neuro_ros.thermal import (
    PlausibilityGate,
    RegisterSet,
    SensorError,
    SensorOptions,
    TemperatureSensor,
    ThermalError,
    ThermalState,
    ThermalWatch,
    create_silicon,
    open_sensor,
)

__all__ = ["ThermalCompensationCore"]

_S = 1_000_000_000
_TOPIC = "temperature"
_OUTPUT = "thermal/compensation"
_TIMER = "read"


class ThermalCompensationCore(Core):
    """Watches the temperature and says which registers cancel its effect.

    Parameters
    ----------
    parameters : ThermalCompensationParameters
        Validated parameters.
    clocks : Clocks
        Not used: nothing here is measured by a wall clock.

    Raises
    ------
    ThermalError
        The sensor that the parameters ask for is not there; the text names what was looked for.
    """

    inputs: ClassVar[Mapping[str, type]] = {_TOPIC: Temperature}
    outputs: ClassVar[Mapping[str, type]] = {_TOPIC: Temperature, _OUTPUT: ThermalCompensation}
    _LEVELS: ClassVar[Mapping[ThermalState, HealthLevel]] = {
        ThermalState.NOMINAL: HealthLevel.OK,
        ThermalState.COMPENSATING: HealthLevel.OK,
        ThermalState.STALE: HealthLevel.WARN,
        ThermalState.FAILSAFE: HealthLevel.ERROR,
    }

    def __init__(self, parameters: ThermalCompensationParameters, clocks: Clocks | None = None) -> None:
        self._parameters = parameters
        self._silicon = create_silicon(parameters.silicon_profile)
        self._fell_back = ""
        self._sensor = self._open()
        self._source = self._sensor.source if self._sensor else "topic"
        # A node never listens to what it says itself: `temperature` is an output or an input, never both.
        if self._sensor is None:
            self.outputs = {_OUTPUT: ThermalCompensation}  # type: ignore[misc]
        else:
            self.inputs = {}  # type: ignore[misc]
        self._gate = PlausibilityGate(**asdict(parameters.plausibility))
        self._watch = ThermalWatch(**self._watch_limits())
        self._registers = RegisterSet()
        self._compensation_id = 0
        self._raw = math.nan
        self._read_errors = 0
        self._last_error = ""
        self._published_state: ThermalState | None = None
        self._active = False

    def _open(self) -> TemperatureSensor | None:
        parameters = self._parameters
        if parameters.sensor == "topic":
            return None
        options = SensorOptions(
            name=parameters.sensor_name,
            sysfs_root=Path(parameters.sysfs_root),
            minimum_celsius=parameters.plausibility.minimum_celsius,
            maximum_celsius=parameters.plausibility.maximum_celsius,
            simulated=asdict(parameters.simulated),
        )
        try:
            return open_sensor(parameters.sensor, options)
        except ThermalError as error:
            if parameters.sensor != "auto" or parameters.sensor_fallback != "simulated":
                raise
            self._fell_back = str(error).split(";")[0]
            return open_sensor("simulated", SensorOptions(simulated=options.simulated))

    def _watch_limits(self) -> dict[str, float]:
        watch = self._parameters.watch
        return {
            "stale_after_s": watch.stale_after_s,
            "failsafe_after_s": watch.failsafe_after_s,
            "filter_tau_s": watch.filter_tau_s,
        }

    def timers(self) -> Mapping[str, int]:
        """Return the timer that reads the sensor, or only watches the age of readings by topic."""
        return {_TIMER: round(self._parameters.read_period_s * _S)}

    def activate(self, now_ns: int) -> Sequence[Output]:
        """Begin to wait for readings and say what is known."""
        self._active = True
        self._watch.start(now_ns)
        return [self._compensation(now_ns)]

    def deactivate(self, now_ns: int) -> Sequence[Output]:
        """Fall silent, keep the temperature."""
        self._active = False
        return ()

    def receive(self, topic: str, message: object, now_ns: int) -> Sequence[Output]:
        """Take a reading that somebody else published."""
        if self._sensor is not None or not isinstance(message, Temperature):
            return ()
        self._source = message.header.frame_id or "topic"
        self._take(message.temperature, now_ns)
        return [self._compensation(now_ns)]

    def tick(self, timer: str, now_ns: int) -> Sequence[Output]:
        """Read the sensor; without a reading speak up only when the state has changed."""
        outputs: list[Output] = []
        if self._sensor is not None:
            try:
                celsius = self._sensor.read(now_ns)
            except SensorError as error:
                self._read_errors += 1
                self._last_error = str(error)
            else:
                self._take(celsius, now_ns)
                reading = Temperature(Header(stamp=now_ns, frame_id=self._source), celsius)
                outputs.append(Output(_TOPIC, reading))
        if outputs or self._state(now_ns) != self._published_state:
            outputs.append(self._compensation(now_ns))
        return outputs

    def _take(self, celsius: float, now_ns: int) -> None:
        self._raw = celsius
        if not self._gate.accept(celsius, now_ns):
            return
        self._watch.update(celsius, now_ns)
        registers = self._silicon.registers(self._watch.celsius)
        if registers != self._registers:
            self._registers = registers
            self._compensation_id += 1

    def _state(self, now_ns: int) -> ThermalState:
        state = self._watch.state(now_ns)
        return ThermalState.COMPENSATING if state is ThermalState.NOMINAL and self._registers.layer else state

    def _compensation(self, now_ns: int) -> Output:
        state = self._published_state = self._state(now_ns)
        return Output(
            _OUTPUT,
            ThermalCompensation(
                header=Header(stamp=now_ns, frame_id=self._source),
                temperature_celsius=self._watch.celsius,
                source=self._source,
                state=int(state),
                silicon_profile=self._silicon.name,
                compensation_id=self._compensation_id,
                throttle_level=0,
                **asdict(self._registers),
            ),
        )

    def reconfigure(self, parameters: object) -> None:
        """Apply new limits."""
        if isinstance(parameters, ThermalCompensationParameters):
            self._parameters = parameters
            self._gate.limits(**asdict(parameters.plausibility))
            self._watch.limits(**self._watch_limits())

    def diagnose(self, now_ns: int) -> Sequence[Health]:
        """Judge sensor and temperature."""
        values: dict[str, object] = {
            "source": self._source,
            "temperature_celsius": self._watch.celsius,
            "raw_celsius": self._raw,
            "silicon_profile": self._silicon.name,
            "compensation_id": self._compensation_id,
            "read_errors": self._read_errors,
            "last_error": self._last_error,
            **asdict(self._gate.counters),
        }
        if not self._active:
            return [Health(_TOPIC, HealthLevel.OK, "inactive", values)]
        state = self._state(now_ns)
        age_s = self._watch.age_ns(now_ns) / _S
        celsius = self._watch.celsius
        values.update(state=state.name, age_s=age_s)
        level = self._LEVELS[state]
        text = f"{state.name}, {celsius:.1f} degree Celsius from {self._source}"
        limits = self._parameters.watch
        if state in (ThermalState.STALE, ThermalState.FAILSAFE):
            text += f", no plausible reading for {age_s:.1f} s"
            text += f": {self._last_error}" if self._last_error else ""
        elif celsius >= limits.error_celsius:
            level = HealthLevel.ERROR
            text += f", at or above {limits.error_celsius:g}"
        elif celsius >= limits.warn_celsius:
            level = HealthLevel.WARN
            text += f", at or above {limits.warn_celsius:g}"
        if self._fell_back:
            level = max(level, HealthLevel.WARN)
            text += f" (not measured: {self._fell_back})"
        return [Health(_TOPIC, level, text, values)]
