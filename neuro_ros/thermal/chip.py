# SPDX-License-Identifier: Apache-2.0
"""A drifting chip, emulated on any engine, so that drift and its compensation can be measured end to end.

Whoever programs the chip sees what was programmed. Before every window the engine below gets the registers that behave
like a chip of this silicon at its present die temperature. The emulation has the resolution of those registers: half a
step of 1/4096.

Not a model of any product: see `neuro_ros.thermal.silicon` for what drifts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neuro_ros.snn import Engine, LendsWeights, NetworkState, WindowResult
from neuro_ros.snn.engine import check_registers
from neuro_ros.snn.state import model_registers
from neuro_ros.thermal.compensation import drifted_registers
from neuro_ros.thermal.silicon import SiliconProfile

__all__ = ["Die", "DriftingEngine"]


@dataclass(slots=True)
class Die:
    """The piece of silicon: how it drifts and how warm it is [degree Celsius]; shared by the engines on it."""

    silicon: SiliconProfile
    celsius: float = 25.0


class DriftingEngine:
    """An engine on a chip that drifts; see `neuro_ros.snn.engine.Engine` for the contract.

    Parameters
    ----------
    engine : Engine
        Does the work; owned.
    die : Die
        Its temperature may change at any time; it takes effect between two windows.
    """

    def __init__(self, engine: Engine, die: Die) -> None:
        self.model = engine.model
        self.backend = engine.backend
        self.die = die
        self._engine = engine
        self._step_s = self.model.window_length_ns / self.model.bins * 1e-9
        self._programmed = model_registers(self.model.network)
        self._shown = [(registers["du"], registers["dv"]) for registers in self._programmed]

    def _drift(self) -> None:
        """Give the engine below the registers that show what the programmed ones do at this temperature."""
        layers = self.model.network.layers
        for index, (layer, registers) in enumerate(zip(layers, self._programmed, strict=True)):
            drift = self.die.silicon.drift(layer.name, self.die.celsius)
            shown = drifted_registers(registers["du"], registers["dv"], drift, self._step_s)
            if shown != self._shown[index]:
                self._engine.set_registers(layer.name, du=shown[0], dv=shown[1])
                self._shown[index] = shown

    def effective_registers(self) -> list[tuple[int, int]]:
        """Return du and dv of every layer as the chip behaves in the next window."""
        self._drift()
        return list(self._shown)

    def run_window(
        self,
        indices: NDArray[np.uint32],
        bins: int,
        record: bool = False,
        values: NDArray[np.uint8] | None = None,
    ) -> WindowResult:
        """Run `bins` steps at the present temperature."""
        self._drift()
        return self._engine.run_window(indices, bins, record, values)

    def state(self) -> NetworkState:
        """Return a copy of the state, with the registers that were programmed."""
        return replace(self._engine.state(), registers=tuple(dict(registers) for registers in self._programmed))

    def set_state(self, state: NetworkState) -> None:
        """Continue from `state`, whose registers are taken for programmed ones."""
        self._engine.set_state(state)
        self._programmed = [dict(registers) for registers in state.registers]
        self._shown = [(registers["du"], registers["dv"]) for registers in self._programmed]

    def reset(self) -> None:
        """Put u, v and a_buff to zero; registers and temperature stay."""
        self._engine.reset()

    def set_registers(self, layer: str, **registers: int) -> None:
        """Program du, dv, vth or bias_exp of a layer, for the next window on."""
        index = self.model.network.layer_index(layer)
        changed = check_registers(self._programmed[index], registers)
        self._engine.set_registers(layer, **changed)  # refuses what no register holds
        self._programmed[index] = changed
        self._shown[index] = (changed["du"], changed["dv"])

    def neuron_spikes(self) -> list[NDArray[np.int64]]:
        """Return per layer the spikes of each neuron (c, h, w)."""
        return self._engine.neuron_spikes()

    def clear_neuron_spikes(self) -> None:
        """Set the counters of `neuron_spikes` to zero."""
        self._engine.clear_neuron_spikes()

    def lend_weights(self) -> Engine | None:
        """Return what the engine below lends: weights are stored as digits and do not drift."""
        return self._engine.lend_weights() if isinstance(self._engine, LendsWeights) else None

    def close(self) -> None:
        """Release the engine."""
        self._engine.close()
