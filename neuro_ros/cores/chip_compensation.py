# SPDX-License-Identifier: Apache-2.0
"""The register values that thermal_compensation has in force: when they change, under which id, and who has taken them.

On digital silicon there are none, at any temperature. Otherwise the temperature in use passes a dead band, the
programmed time constants approach what cancels the drift in small steps, and every change of a register gets an id. The
network answers with the id that it runs with.

A restart must not throw a compensated network back to nominal values. So nothing is said about registers until the
network, or the file of this node's former life, has had its chance to tell that there are some; after that they are
taken up where they were, or gone to at once.

Each model that runs has one of its own: the same drift asks for other registers where the time constants differ.

This module refuses to know about sensors and messages.
"""

from __future__ import annotations

import logging
import math
from collections import deque

from neuro_ros.cores.core import Health, HealthLevel
from neuro_ros.cores.files import model_path
from neuro_ros.cores.parameters.thermal_compensation import ThermalCompensationParameters
from neuro_ros.cores.thermal_memory import Remembered, ThermalMemory
from neuro_ros.snn import load_model
from neuro_ros.thermal import (
    Compensator,
    DeadBand,
    Population,
    RegisterSet,
    SiliconProfile,
    ThermalError,
    create_silicon,
    populations,
)

__all__ = ["ChipCompensation"]

_LOG = logging.getLogger(__name__)
_S = 1_000_000_000
#: How long to listen for a network that is compensated already: two periods of its telemetry [ns].
_LISTEN_NS = 2 * _S
#: A chip may have got anywhere within this time [ns]; what was remembered is then worth nothing.
_MEMORY_NS = 60 * _S
#: The memory is written at most so often [ns].
_SAVE_NS = _S
#: An id that the network runs without for so long, although it speaks, is worth a warning [ns].
_OVERDUE_NS = 3 * _S


class ChipCompensation:
    """See the module's text.

    Parameters
    ----------
    parameters : ThermalCompensationParameters
        Validated.
    running : (str, tuple of Population), optional
        Id and populations of a network that runs, where it is not the one that the parameters name. It has just begun,
        at rest and with its own registers: they are gone to at once, and nothing is kept on disk.

    Attributes
    ----------
    silicon : SiliconProfile
        How the chip drifts.
    model_id : str
        Network that is compensated; empty on digital silicon.
    registers : RegisterSet
        What is in force; empty on digital silicon and before anything is known.
    id, applied_id : int
        Of the register values in force, and of those that the network runs with.

    Raises
    ------
    ThermalError
        The silicon profile, its calibration table or its chip is not usable.
    ModelError
        The model file is missing or not usable.
    """

    def __init__(
        self, parameters: ThermalCompensationParameters, running: tuple[str, tuple[Population, ...]] | None = None
    ) -> None:
        limits = parameters.plausibility
        options = parameters.silicon.options(limits.minimum_celsius, limits.maximum_celsius)
        self.silicon: SiliconProfile = create_silicon(parameters.silicon.profile, options)
        self.model_id = ""
        self.registers = RegisterSet()
        self.id = self.applied_id = 0
        self._band = DeadBand(parameters.compensation.dead_band_celsius)
        self._compensator: Compensator | None = None
        self._nominal: list[tuple[int, int]] = []
        if self.silicon.drifts:
            self.model_id, nominal = running or _configured(parameters)
            self._compensator = Compensator(nominal, self.silicon, parameters.compensation.max_step)
            self._nominal = [(population.du, population.dv) for population in nominal]
        self._programmed = list(self._nominal)
        self._memory = ThermalMemory(parameters.compensation.memory if self.silicon.drifts and not running else "")
        self._memory_error = ""
        self._listen_until_ns = 0
        self._heard_ns: int | None = None
        self._running_id = self.model_id  # the model that the network says it runs
        self._jump = running is not None  # the network is compensated already, or at rest: go there at once
        self._moved_ns: int | None = None
        self._saved_ns: int | None = None
        self._unsaved = False
        self._open: deque[tuple[int, int]] = deque(maxlen=64)  # (id, since) that the network has not confirmed
        self.reconfigure(parameters)

    def reconfigure(self, parameters: ThermalCompensationParameters) -> None:
        """Apply new limits, keep what is in force."""
        self._min_period_ns = round(parameters.compensation.min_period_s * _S)
        self._band.width = parameters.compensation.dead_band_celsius
        if self._compensator is not None:
            self._compensator.max_step = parameters.compensation.max_step

    @property
    def drifts(self) -> bool:
        """Whether there is anything to compensate."""
        return self._compensator is not None

    @property
    def compensating(self) -> bool:
        """Whether a register differs from the model's."""
        return bool(self.registers.layer) and self._programmed != self._nominal

    @property
    def centre_celsius(self) -> float:
        """The temperature that is acted on [degree Celsius]; NaN = none yet."""
        return math.nan if self._band.centre is None or not self.registers.layer else self._band.centre

    def activate(self, now_ns: int) -> None:
        """Start to listen for a network that is compensated already; take up what this node's former life has left."""
        if self._compensator is None:
            return
        self._listen_until_ns = now_ns + _LISTEN_NS
        if self._memory and not self.registers.layer:
            try:
                self._recall(self._memory.load(), now_ns)
            except ThermalError as error:
                self._memory_error = str(error)
                _LOG.warning("%s; starting without it", error)

    def _recall(self, found: Remembered | None, now_ns: int) -> None:
        if found is None or self._compensator is None:
            return
        self.id = max(self.id, found.compensation_id)
        same = (found.model_id, found.silicon_profile) == (self.model_id, self.silicon.name)
        if not same or not 0 <= now_ns - found.saved_ns <= _MEMORY_NS or not math.isfinite(found.celsius):
            return
        self._compensator.restore(found.requested_s)
        self._band.restore(found.celsius)
        self.registers = self._compensator.registers(found.celsius)
        self._programmed = list(zip(self.registers.du, self.registers.dv, strict=True))
        _LOG.info("goes on with compensation %d of before the restart", self.id)

    def update(self, celsius: float, now_ns: int) -> None:
        """Take a temperature in use [degree Celsius] at host time `now_ns` [ns]."""
        if self._compensator is None:
            return
        centre = self._band.update(celsius, now_ns)
        if not self.registers.layer and self._heard_ns is None and now_ns < self._listen_until_ns:
            return
        self._move(centre, celsius, now_ns)

    def relax(self, celsius: float, now_ns: int) -> bool:
        """Go one step back toward the model's own values, for want of a temperature; True when a register changed."""
        before = self.id
        if self._compensator is not None and self.registers.layer:
            self._move(None, celsius, now_ns)
        return self.id != before

    def _move(self, target: float | None, celsius: float, now_ns: int) -> None:
        compensator = self._compensator
        if compensator is None:
            return
        due = self._moved_ns is None or not 0 <= now_ns - self._moved_ns < self._min_period_ns
        if self._jump and target is not None:
            compensator.jump(target)
            self._jump = False
        elif due:
            compensator.approach(target)
            self._moved_ns = now_ns
        self.registers = compensator.registers(celsius)
        programmed = list(zip(self.registers.du, self.registers.dv, strict=True))
        if programmed != self._programmed:
            self._programmed = programmed
            self.id += 1
            self._open.append((self.id, now_ns))
            self._unsaved = True
        self.save(now_ns)

    def hear(self, applied_id: int, model_id: str, now_ns: int) -> None:
        """Take the network's word for what it runs with."""
        self._heard_ns, self._running_id = now_ns, model_id or self.model_id
        if self._running_id != self.model_id:
            return
        if applied_id > self.id:
            # It was compensated in a life of this node that nobody remembers: its registers are where they belong.
            self.id = applied_id
            self._jump = True
        self.applied_id = applied_id
        while self._open and self._open[0][0] <= applied_id:
            self._open.popleft()

    def save(self, now_ns: int, *, at_once: bool = False) -> None:
        """Keep what is in force, at most once a second; a failure is told in the diagnostics."""
        if not self._memory or self._compensator is None or not self._unsaved or self._band.centre is None:
            return
        if not at_once and self._saved_ns is not None and 0 <= now_ns - self._saved_ns < _SAVE_NS:
            return
        self._saved_ns, self._unsaved = now_ns, False
        pairs = [list(pair) for pair in self._compensator.requested_s]
        try:
            self._memory.save(Remembered(now_ns, self.model_id, self.silicon.name, self.id, self._band.centre, pairs))
        except ThermalError as error:
            self._memory_error = str(error)
        else:
            self._memory_error = ""

    def health(self, celsius: float, now_ns: int) -> Health:
        """Judge whether the drift is cancelled, at `celsius` [degree Celsius]."""
        worst = max(self.registers.remaining_error, default=0.0)
        clipped = [
            layer for layer, is_clipped in zip(self.registers.layer, self.registers.clipped, strict=True) if is_clipped
        ]
        values: dict[str, object] = {
            "silicon_profile": self.silicon.name,
            "model_id": self.model_id,
            "compensated_celsius": self.centre_celsius,
            "compensation_id": self.id,
            "compensation_id_applied": self.applied_id,
            "remaining_error": worst,
            "clipped": " ".join(clipped),
        }
        if not self.drifts:
            return Health("compensation", HealthLevel.OK, "digital silicon does not drift", values)
        if not self.registers.layer:
            return Health("compensation", HealthLevel.OK, "no temperature yet, the registers are not touched", values)
        if self._running_id != self.model_id:
            text = f"the network runs {self._running_id}, the registers are for {self.model_id}: set compensation.model"
            return Health("compensation", HealthLevel.ERROR, text, values)
        text = f"{100.0 * worst:.2f} % of a time constant remain"
        if clipped:
            return Health("compensation", HealthLevel.WARN, f"registers of {', '.join(clipped)} clip; {text}", values)
        if not self.silicon.covers(celsius):
            text = f"{celsius:.1f} degree Celsius is outside the calibration table, its end is held; {text}"
            return Health("compensation", HealthLevel.WARN, text, values)
        speaks = self._heard_ns is not None and now_ns - self._heard_ns < _OVERDUE_NS
        if speaks and self._open and now_ns - self._open[0][1] > _OVERDUE_NS:
            text = f"the network runs with compensation {self.applied_id}, not with {self.id}"
            return Health("compensation", HealthLevel.WARN, text, values)
        if self._memory_error:
            return Health("compensation", HealthLevel.WARN, f"{text}; not kept: {self._memory_error}", values)
        return Health("compensation", HealthLevel.OK, text, values)


def _configured(parameters: ThermalCompensationParameters) -> tuple[str, tuple[Population, ...]]:
    """Return id and populations of the model that the parameters name."""
    model = load_model(model_path(parameters.compensation.model))
    return model.model_id, populations(model)
