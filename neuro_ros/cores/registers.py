# SPDX-License-Identifier: Apache-2.0
"""Applies thermal compensation to the registers of a running network, between two windows.

This module refuses to know about temperatures: whoever sends register values has thought about them.
"""

from __future__ import annotations

import logging

from neuro_ros.cores.core import Health, HealthLevel
from neuro_ros.cores.messages import ThermalCompensation
from neuro_ros.snn import Engine, EngineError, NetworkError

__all__ = ["RegisterCompensation"]

_LOG = logging.getLogger(__name__)


class RegisterCompensation:
    """The register values in force, and what became of the last message.

    Attributes
    ----------
    applied_id : int
        ``compensation_id`` of the values in force; 0 = none.
    """

    def __init__(self) -> None:
        self.applied_id = 0
        self._in_force: dict[str, dict[str, int]] = {}
        self._received = 0
        self._refused = 0
        self._reason = ""
        self._throttle_level = 0

    def take(self, message: ThermalCompensation, engine: Engine | None) -> bool:
        """Apply a message as a whole or not at all; return whether it is in force.

        A digital chip does not drift: its messages carry no populations, and taking note of them is all there is to do.
        """
        self._received += 1
        self._throttle_level = message.throttle_level
        if not len(message.layer) == len(message.du) == len(message.dv):
            return self._refuse(
                f"{len(message.layer)} layers with {len(message.du)} du and {len(message.dv)} dv; each layer needs one"
            )
        wanted = {
            layer: {"du": int(du), "dv": int(dv)}
            for layer, du, dv in zip(message.layer, message.du, message.dv, strict=True)
        }
        before = self._in_force
        if wanted and wanted != before:
            if engine is None:
                return self._refuse("the back end is down")
            try:
                self._write(engine, wanted)
            except (EngineError, NetworkError) as error:
                return self._refuse(str(error))
        self._in_force = {**before, **wanted}
        self.applied_id = message.compensation_id
        self._reason = ""
        return True

    def apply(self, engine: Engine) -> None:
        """Write the values in force into an engine that has just taken up another state.

        Raises
        ------
        EngineError
            When the engine is broken.
        """
        for layer, values in self._in_force.items():
            engine.set_registers(layer, **values)

    @staticmethod
    def _write(engine: Engine, wanted: dict[str, dict[str, int]]) -> None:
        state = engine.state()
        try:
            for layer, values in wanted.items():
                engine.set_registers(layer, **values)
        except (EngineError, NetworkError):
            engine.set_state(state)  # the state carries the registers that were in force
            raise

    def _refuse(self, reason: str) -> bool:
        self._refused += 1
        if reason != self._reason:
            _LOG.error("thermal compensation is not applied: %s", reason)
        self._reason = reason
        return False

    def health(self) -> Health:
        """Say whether the last compensation could be applied."""
        values = {
            "compensation_id_applied": self.applied_id,
            "received": self._received,
            "refused": self._refused,
            "throttle_level": self._throttle_level,
        }
        if self._reason:
            return Health("compensation", HealthLevel.ERROR, f"not applied: {self._reason}", values)
        return Health("compensation", HealthLevel.OK, "none needed" if not self._in_force else "applied", values)
