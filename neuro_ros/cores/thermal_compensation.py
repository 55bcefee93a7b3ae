# SPDX-License-Identifier: Apache-2.0
"""Logic of thermal_compensation: temperature readings in; state, register values and throttle level out.

Live, a timer reads the sensors that the parameters choose, and every reading goes out on ``temperature``, believed or
not. With ``sensor: topic`` somebody else publishes ``temperature`` and this core only listens; that is also how a
replay drives it: build it with ``replace(parameters, {"sensor": "topic"})`` and give it the recorded readings. Both
ways then take the same path through plausibility, choice, age and silicon.

A ``thermal/compensation`` goes out with every reading of the source that counts, and when the state changes without
one. While a roll-out has two models running, on silicon that drifts, each of them gets one of its own: ``rollout``
tells which they are and what their time constants are. The live one's goes last, so that it is the one that latches.
The arithmetic is `neuro_ros.thermal`'s; registers are `neuro_ros.cores.chip_compensation`'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from neuro_ros.cores.chip_compensation import ChipCompensation
from neuro_ros.cores.core import Clocks, Core, Health, HealthLevel, Output
from neuro_ros.cores.messages import Header, RolloutStatus, SnnTelemetry, Temperature, ThermalCompensation
from neuro_ros.cores.parameters.thermal_compensation import ThermalCompensationParameters
from neuro_ros.thermal import (
    Population,
    Readings,
    SensorError,
    SensorNotReadyError,
    SensorOptions,
    TemperatureSensor,
    ThermalError,
    ThermalState,
    ThermalWatch,
    Throttle,
    open_sensors,
)

__all__ = ["ThermalCompensationCore"]

_S = 1_000_000_000
_TOPIC = "temperature"
_TELEMETRY = "snn/telemetry"
_ROLLOUT = "rollout"
_OUTPUT = "thermal/compensation"
_TIMER = "read"
_REGISTER_MAX = 4095
_ARM = "live"  # of the network whose word counts; the shadow runs on the same silicon
_LOAD = ("everything runs", "shadow model off", "standby")


class ThermalCompensationCore(Core):
    """Watches the temperature, says which registers cancel its effect, and how much load it allows.

    Parameters
    ----------
    parameters : ThermalCompensationParameters
        Validated parameters.
    clocks : Clocks
        Not used: nothing here is measured by a wall clock.

    Raises
    ------
    ThermalError
        The sensor that the parameters ask for is not there, or the silicon is not usable; the text names what was
        looked for.
    ModelError
        On drifting silicon: the model file is missing or not usable.
    """

    inputs: ClassVar[Mapping[str, type]] = {_TOPIC: Temperature, _TELEMETRY: SnnTelemetry, _ROLLOUT: RolloutStatus}
    outputs: ClassVar[Mapping[str, type]] = {_TOPIC: Temperature, _OUTPUT: ThermalCompensation}
    _LEVELS: ClassVar[Mapping[ThermalState, HealthLevel]] = {
        ThermalState.NOMINAL: HealthLevel.OK,
        ThermalState.COMPENSATING: HealthLevel.OK,
        ThermalState.STALE: HealthLevel.WARN,
        ThermalState.FAILSAFE: HealthLevel.ERROR,
    }

    def __init__(self, parameters: ThermalCompensationParameters, clocks: Clocks | None = None) -> None:
        self._parameters = parameters
        self._chip = self._own = ChipCompensation(parameters)  # of the live model, and of the configured one
        self._others: dict[str, ChipCompensation] = {}  # of what runs beside the live model
        self._fell_back = ""
        self._sensors = self._open()
        self._source = self._sensors[0].source if self._sensors else "topic"
        # A node never listens to what it says itself: `temperature` is an output or an input, never both. What the
        # network says matters only where its registers are changed.
        self.inputs = {} if self._sensors else {_TOPIC: Temperature}  # type: ignore[misc]
        if self._chip.drifts:
            self.inputs = {**self.inputs, _TELEMETRY: SnnTelemetry, _ROLLOUT: RolloutStatus}  # type: ignore[misc]
        if not self._sensors:
            self.outputs = {_OUTPUT: ThermalCompensation}  # type: ignore[misc]
        self._readings = Readings(asdict(parameters.plausibility), parameters.sensor_choice, self._silent_after_s())
        self._watch = ThermalWatch(**self._watch_limits())
        self._throttle = Throttle(**self._throttle_limits())
        self._raw = math.nan
        self._read_errors = 0
        self._not_ready = 0
        self._not_meant = 0
        self._last_error = ""
        self._published_state: ThermalState | None = None
        self._active = False

    def _open(self) -> list[TemperatureSensor]:
        parameters = self._parameters
        if parameters.sensor == "topic":
            return []
        options = SensorOptions(
            name=parameters.sensor_name,
            sysfs_root=Path(parameters.sysfs_root),
            minimum_celsius=parameters.plausibility.minimum_celsius,
            maximum_celsius=parameters.plausibility.maximum_celsius,
            simulated=asdict(parameters.simulated),
            i2c=asdict(parameters.i2c),
        )
        try:
            return open_sensors(parameters.sensor, options, choice=parameters.sensor_choice)
        except ThermalError as error:
            if parameters.sensor != "auto" or parameters.sensor_fallback != "simulated":
                raise
            self._fell_back = str(error).split(";")[0]
            return open_sensors("simulated", SensorOptions(simulated=options.simulated))

    def _silent_after_s(self) -> float:
        """Return when another sensor takes over [s]: before the temperature is stale, and not between two readings."""
        return max(self._parameters.watch.stale_after_s / 2.0, 2.0 * self._parameters.read_period_s)

    def _watch_limits(self) -> dict[str, float]:
        watch = self._parameters.watch
        return {
            "stale_after_s": watch.stale_after_s,
            "failsafe_after_s": watch.failsafe_after_s,
            "filter_tau_s": watch.filter_tau_s,
        }

    def _throttle_limits(self) -> dict[str, float]:
        throttle = self._parameters.throttle
        return {
            "level1_celsius": throttle.level1_celsius,
            "level2_celsius": throttle.level2_celsius,
            "hysteresis_celsius": throttle.hysteresis_celsius,
        }

    def timers(self) -> Mapping[str, int]:
        """Return the timer that reads the sensor, or only watches the age of readings by topic."""
        return {_TIMER: round(self._parameters.read_period_s * _S)}

    def activate(self, now_ns: int) -> Sequence[Output]:
        """Begin to wait for readings and say what is known."""
        self._active = True
        self._watch.start(now_ns)
        self._chip.activate(now_ns)
        return self._compensations(now_ns)

    def deactivate(self, now_ns: int) -> Sequence[Output]:
        """Fall silent and release the sensors, keep the temperature."""
        self._active = False
        self._own.save(now_ns, at_once=True)
        for sensor in self._sensors:
            sensor.close()
        return ()

    def close(self) -> None:
        """Release the sensors; safe twice."""
        for sensor in self._sensors:
            sensor.close()

    def receive(self, topic: str, message: object, now_ns: int) -> Sequence[Output]:
        """Take a reading that somebody else published, or the network's word for what it runs with."""
        if isinstance(message, SnnTelemetry):
            chip = self._chip if message.arm == _ARM else self._others.get(message.model_id)
            if chip is not None:
                chip.hear(message.compensation_id_applied, message.model_id, now_ns)
            return ()
        if isinstance(message, RolloutStatus):
            return self._follow(message, now_ns)
        if self._sensors or not isinstance(message, Temperature):
            return ()
        source = message.header.frame_id or "topic"
        if self._parameters.sensor_name.lower() not in source.lower():
            self._not_meant += 1
            return ()
        return self._take(source, message.temperature, now_ns)

    def _follow(self, status: RolloutStatus, now_ns: int) -> Sequence[Output]:
        """Compensate the models that run now, each by its own time constants."""
        if not self._own.drifts or not _tells_decays(status):
            return ()
        known = {chip.model_id: chip for chip in (self._own, self._chip, *self._others.values())}
        self._chip = self._chip_of(
            status.live_id, known, status.live_layer, status.live_du, status.live_dv, status.step_s
        )
        other_id = status.candidate_id or status.previous_id
        self._others = {}
        if other_id and len(status.other_layer):
            self._others[other_id] = self._chip_of(
                other_id, known, status.other_layer, status.other_du, status.other_dv, status.step_s
            )
        if math.isfinite(self._watch.celsius):
            for chip in (self._chip, *self._others.values()):
                if chip.model_id not in known:
                    chip.update(self._watch.celsius, now_ns)
        return self._compensations(now_ns)

    def _chip_of(
        self,
        model_id: str,
        known: Mapping[str, ChipCompensation],
        layer: Sequence[str],
        du: Sequence[int],
        dv: Sequence[int],
        step_s: float,
    ) -> ChipCompensation:
        if model_id in known:
            return known[model_id]
        nominal = tuple(Population(name, int(u), int(v), step_s) for name, u, v in zip(layer, du, dv, strict=True))
        return ChipCompensation(self._parameters, (model_id, nominal))

    def tick(self, timer: str, now_ns: int) -> Sequence[Output]:
        """Read the sensors; without a reading speak up only when state or registers have changed."""
        outputs: list[Output] = []
        for sensor in self._sensors:
            celsius = self._read(sensor, now_ns)
            if celsius is not None:
                reading = Temperature(Header(stamp=now_ns, frame_id=sensor.source), celsius)
                outputs += [Output(_TOPIC, reading), *self._take(sensor.source, celsius, now_ns)]
        state = self._state(now_ns)
        relaxed = False
        if state is ThermalState.FAILSAFE and self._parameters.watch.failsafe_policy == "nominal":
            relaxed = (
                sum(chip.relax(self._watch.celsius, now_ns) for chip in self._chips) > 0
            )  # all of them, not the first
        if relaxed or self._state(now_ns) != self._published_state:
            outputs += self._compensations(now_ns)
        return outputs

    def _read(self, sensor: TemperatureSensor, now_ns: int) -> float | None:
        try:
            return sensor.read(now_ns)
        except SensorNotReadyError:
            self._not_ready += 1
        except SensorError as error:
            self._read_errors += 1
            self._last_error = str(error)
        return None

    def _take(self, source: str, celsius: float, now_ns: int) -> list[Output]:
        verdict = self._readings.take(source, celsius, now_ns)
        if not verdict.counts:
            return []
        self._source, self._raw = source, celsius
        if verdict.believed:
            self._watch.update(celsius, now_ns)
            for chip in self._chips:
                chip.update(self._watch.celsius, now_ns)
            self._throttle.update(self._watch.celsius)
        return self._compensations(now_ns)

    @property
    def _chips(self) -> tuple[ChipCompensation, ...]:
        """The compensation of every model that runs, the live one last."""
        return (*self._others.values(), self._chip)

    def _state(self, now_ns: int) -> ThermalState:
        state = self._watch.state(now_ns)
        return ThermalState.COMPENSATING if state is ThermalState.NOMINAL and self._chip.compensating else state

    def _compensations(self, now_ns: int) -> list[Output]:
        state = self._published_state = self._state(now_ns)
        return [
            Output(
                _OUTPUT,
                ThermalCompensation(
                    header=Header(stamp=now_ns, frame_id=self._source),
                    temperature_celsius=self._watch.celsius,
                    source=self._source,
                    state=int(state),
                    silicon_profile=chip.silicon.name,
                    model_id=chip.model_id,
                    compensated_celsius=chip.centre_celsius,
                    compensation_id=chip.id,
                    compensation_id_applied=chip.applied_id,
                    throttle_level=self._throttle.level,
                    **asdict(chip.registers),
                ),
            )
            for chip in self._chips
        ]

    def reconfigure(self, parameters: object) -> None:
        """Apply new limits."""
        if isinstance(parameters, ThermalCompensationParameters):
            self._parameters = parameters
            self._readings.limits(asdict(parameters.plausibility), self._silent_after_s())
            self._watch.limits(**self._watch_limits())
            self._throttle.limits(**self._throttle_limits())
            for chip in {id(chip): chip for chip in (self._own, *self._chips)}.values():
                chip.reconfigure(parameters)

    # -- health --------------------------------------------------------------------------------------------------

    def diagnose(self, now_ns: int) -> Sequence[Health]:
        """Judge sensor and temperature, what is done about the chip, and about the load."""
        values: dict[str, object] = {
            "source": self._source,
            "temperature_celsius": self._watch.celsius,
            "raw_celsius": self._raw,
            "read_errors": self._read_errors,
            "not_ready": self._not_ready,
            "last_error": self._last_error,
            **asdict(self._readings.counters),
            "other_sources": self._not_meant + self._readings.refused_sources,
            **{f"celsius {name}": celsius for name, celsius in self._readings.believed().items()},
        }
        if not self._active:
            return [Health(_TOPIC, HealthLevel.OK, "inactive", values)]
        return [
            self._temperature_health(values, now_ns),
            self._chip.health(self._watch.celsius, now_ns),
            self._throttle_health(),
        ]

    def _temperature_health(self, values: dict[str, object], now_ns: int) -> Health:
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
        return Health(_TOPIC, level, text, values)

    def _throttle_health(self) -> Health:
        level = self._throttle.level
        values = {"throttle_level": level, "changes": self._throttle.changes, **self._throttle_limits()}
        text = f"level {level}: {_LOAD[level]}"
        if level:
            text += f", until below {self._throttle.leaves_below_celsius:g} degree Celsius"
        return Health("throttle", HealthLevel(level), text, values)


def _tells_decays(status: RolloutStatus) -> bool:
    """Say whether a status tells what the models that run are like: one register pair a population, all of 12 bit."""
    return bool(
        status.live_id
        and status.step_s > 0.0
        and len(status.live_layer) == len(status.live_du) == len(status.live_dv)
        and len(status.other_layer) == len(status.other_du) == len(status.other_dv)
        and all(
            value <= _REGISTER_MAX
            for values in (status.live_du, status.live_dv, status.other_du, status.other_dv)
            for value in values
        )
    )
