# SPDX-License-Identifier: Apache-2.0
"""Applies thermal compensation to the registers of a running network, between two windows.

This module refuses to know about temperatures: whoever sends register values has thought about them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from neuro_ros.cores.core import Health, HealthLevel
from neuro_ros.cores.messages import ThermalCompensation
from neuro_ros.snn import Engine, EngineError, NetworkError, NetworkState

__all__ = ["RegisterCompensation"]

_LOG = logging.getLogger(__name__)
_DIGITAL = "digital"


class RegisterCompensation:
    """The register values in force, and what became of the last message.

    Attributes
    ----------
    applied_id : int
        ``compensation_id`` of the values in force; 0 = none.
    throttle_level : int
        How much load the temperature allows, of the last message: from 1 on the shadow model is off.
    """

    def __init__(self) -> None:
        self.applied_id = 0
        self.throttle_level = 0
        self._in_force: dict[str, dict[str, int]] = {}
        self._model_id = ""  # of the network that the values are for; empty = not told
        self._received = 0
        self._refused = 0
        self._reason = ""

    def take(self, message: ThermalCompensation, engine: Engine | None) -> bool:
        """Apply a message as a whole or not at all; return whether it is in force.

        A digital chip does not drift: its messages carry no populations, and taking note of them is all there is to do.
        """
        self._received += 1
        self.throttle_level = message.throttle_level
        if not len(message.layer) == len(message.du) == len(message.dv):
            return self._refuse(
                f"{len(message.layer)} layers with {len(message.du)} du and {len(message.dv)} dv; each layer needs one"
            )
        wanted = {
            layer: {"du": int(du), "dv": int(dv)}
            for layer, du, dv in zip(message.layer, message.du, message.dv, strict=True)
        }
        if not wanted and message.silicon_profile == _DIGITAL:
            wanted = self._models_own(engine)
        if wanted and (wanted != self._in_force or message.model_id != self._model_id):
            if engine is None:
                return self._refuse("the back end is down")
            try:
                self._check(engine, wanted, message.model_id)
                self._write(engine, wanted)
            except (EngineError, NetworkError) as error:
                return self._refuse(str(error))
            self._in_force, self._model_id = {**self._in_force, **wanted}, message.model_id
        if wanted or message.silicon_profile == _DIGITAL:
            self.applied_id = message.compensation_id  # otherwise nothing was said about registers yet
        self._reason = ""
        return True

    def adopt(self, state: NetworkState) -> bool:
        """Take what a restored state was compensated with for what is in force; False when something is already.

        The id that telemetry then tells lets thermal_compensation go on from there rather than start at the model's
        own values, and a digital chip puts these back.
        """
        if not state.compensation_id or self.applied_id or self._in_force:
            return False
        self.applied_id, self._model_id = state.compensation_id, state.model_id
        self._in_force = {
            name: {"du": own["du"], "dv": own["dv"]}
            for name, own in zip(state.layer_names, state.registers, strict=True)
        }
        return True

    def _models_own(self, engine: Engine | None) -> dict[str, dict[str, int]]:
        """Return the model's own values of whatever is changed: the chip turned out to be one that does not drift."""
        layers = [] if engine is None else engine.model.network.layers
        return {
            layer.name: {"du": layer.neuron.du, "dv": layer.neuron.dv}
            for layer in layers
            if layer.name in self._in_force
        }

    def apply(self, engine: Engine) -> None:
        """Write the values in force into an engine that has just taken up another state.

        What is in force for another model stays out of this one, until values for it come.

        Raises
        ------
        EngineError
            When the engine is broken.
        """
        if self._model_id in ("", engine.model.model_id):
            for layer, values in self._in_force.items():
                engine.set_registers(layer, **values)

    @staticmethod
    def _check(engine: Engine, wanted: Mapping[str, Mapping[str, int]], model_id: str) -> None:
        """Refuse what the network cannot take before the first register is touched."""
        model = engine.model
        if model_id and model_id != model.model_id:
            raise NetworkError(f"the register values are for model {model_id}, {model.model_id} is running")
        for layer, values in wanted.items():
            replace(model.network.layers[model.network.layer_index(layer)].neuron, **values)

    def _write(self, engine: Engine, wanted: Mapping[str, Mapping[str, int]]) -> None:
        """Change the registers that differ from those in force; a step touches few of them."""
        changes = {layer: values for layer, values in wanted.items() if values != self._in_force.get(layer)}
        written: list[str] = []
        try:
            for layer, values in changes.items():
                engine.set_registers(layer, **values)
                written.append(layer)
        except (EngineError, NetworkError):
            for layer in written:  # back to what was in force, or the model's own
                neuron = engine.model.network.layers[engine.model.network.layer_index(layer)].neuron
                engine.set_registers(layer, **self._in_force.get(layer, {"du": neuron.du, "dv": neuron.dv}))
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
            "throttle_level": self.throttle_level,
        }
        if self._reason:
            return Health("compensation", HealthLevel.ERROR, f"not applied: {self._reason}", values)
        return Health("compensation", HealthLevel.OK, "none needed" if not self._in_force else "applied", values)
