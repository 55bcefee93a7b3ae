# SPDX-License-Identifier: Apache-2.0
"""The reference network in the torch libraries for spiking networks, with the neurons that each of them has.

They compute in float32 and do not repeat ours spike for spike; what they do in a step does not depend on the spikes,
so that neither does their time. Where a library runs all steps through one layer before the next, that is measured,
too: the quicker one counts.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuro_ros.cli.benchmarks._engine_network import BINS, DU, DV
from neuro_ros.cli.benchmarks._measure import Missing
from neuro_ros.cli.benchmarks._torch_loops import connections, frames
from neuro_ros.snn import Model

__all__ = ["leaky_libraries", "others"]

Contender = Callable[[], object]
_ALPHA, _BETA = 1.0 - (DU + 1) / 4096.0, 1.0 - DV / 4096.0
_TAU_STEPS = 1.0 / (1.0 - _BETA)


def _stepwise(torch: Any, connect: list[Callable[[Any], Any]], steps: Any, cells: list[Any]) -> Contender:
    """Run cells ``(input, state) -> (spikes, state)`` step by step; states carry over from window to window."""
    states: list[Any] = [None] * len(cells)

    def run() -> object:
        with torch.inference_mode():
            for step in range(BINS):
                spikes = steps[step]
                for index, (apply, cell) in enumerate(zip(connect, cells, strict=True)):
                    spikes, states[index] = cell(apply(spikes), states[index])
            return spikes

    return run


def _layerwise(torch: Any, connect: list[Callable[[Any], Any]], steps: Any, layers: list[Any]) -> Contender:
    """Run layers ``((steps, ...), state) -> (spikes, state)`` one after another."""
    batch = steps.flatten(0, 1)
    states: list[Any] = [None] * len(layers)

    def run() -> object:
        with torch.inference_mode():
            spikes = batch
            for index, (apply, layer) in enumerate(zip(connect, layers, strict=True)):
                spikes, states[index] = layer(apply(spikes), states[index])
            return spikes

    return run


def _snntorch(torch: Any, module: Any, connect: list[Any], steps: Any, thresholds: list[float]) -> dict[str, Contender]:
    def leaky(threshold: float) -> Any:
        neuron = module.Leaky(beta=_BETA, threshold=threshold)

        def cell(given: Any, state: Any) -> Any:
            return neuron(given, neuron.init_leaky() if state is None else state)

        return cell

    def synaptic(threshold: float) -> Any:
        neuron = module.Synaptic(alpha=_ALPHA, beta=_BETA, threshold=threshold)

        def cell(given: Any, state: Any) -> Any:
            spikes, current, membrane = neuron(given, *(neuron.init_synaptic() if state is None else state))
            return spikes, (current, membrane)

        return cell

    return {
        "snntorch Leaky": _stepwise(torch, connect, steps, [leaky(each) for each in thresholds]),
        "snntorch Synaptic": _stepwise(torch, connect, steps, [synaptic(each) for each in thresholds]),
    }


def _norse(torch: Any, module: Any, connect: list[Any], steps: Any, thresholds: list[float]) -> dict[str, Contender]:
    parameters = [module.LIFParameters(v_th=torch.tensor(each)) for each in thresholds]
    cells = [module.LIFCell(each) for each in parameters]
    layers = [module.LIF(each) for each in parameters]
    return {
        "norse LIF, step by step": _stepwise(torch, connect, steps, cells),
        "norse LIF, layer by layer": _layerwise(torch, connect, steps, layers),
    }


def _sinabs(
    torch: Any, layers: Any, connect: list[Any], steps: Any, thresholds: list[float], leaky: bool = True
) -> dict[str, Contender]:
    def neurons(threshold: float) -> Any:
        if leaky:
            own = layers.LIFSqueeze(tau_mem=_TAU_STEPS, spike_threshold=threshold, batch_size=1)
        else:
            own = layers.IAFSqueeze(spike_threshold=threshold, batch_size=1)
        return lambda given, state: (own(given), state)

    name = "sinabs LIF" if leaky else "sinabs IAF, which has no leak"
    return {name: _layerwise(torch, connect, steps, [neurons(each) for each in thresholds])}


def _spikingjelly(
    torch: Any, module: Any, connect: list[Any], steps: Any, thresholds: list[float]
) -> dict[str, Contender]:
    def neurons(threshold: float, mode: str) -> Any:
        own = module.LIFNode(tau=_TAU_STEPS, v_threshold=threshold, v_reset=0.0, step_mode=mode)
        return lambda given, state: (own(given), state)

    return {
        "spikingjelly LIF, step by step": _stepwise(torch, connect, steps, [neurons(each, "s") for each in thresholds]),
        "spikingjelly LIF, layer by layer": _layerwise(
            torch, connect, steps, [neurons(each, "m") for each in thresholds]
        ),
    }


def _import(missing: Missing, name: str) -> Any:
    logging.getLogger("torch").setLevel(logging.ERROR)  # says that there is no GPU
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a peer uses and torch wants to drop
        return missing.try_import(name)


def leaky_libraries(torch: Any, model: Model, indices: NDArray[np.uint32], missing: Missing) -> dict[str, Contender]:
    """Return the libraries that are installed, with leaky neurons, by name; each call runs one window."""
    connect, steps = connections(torch, model), frames(torch, indices)
    thresholds = [float(layer.neuron.vth) for layer in model.network.layers]
    found: dict[str, Contender] = {}
    for name, build in (
        ("snntorch", _snntorch),
        ("norse.torch", _norse),
        ("sinabs.layers", _sinabs),
        ("spikingjelly.activation_based.neuron", _spikingjelly),
    ):
        module = _import(missing, name)
        if module is not None:
            found |= build(torch, module, connect, steps, thresholds)
    return found


def others(torch: Any, model: Model, indices: NDArray[np.uint32], missing: Missing) -> dict[str, Contender]:
    """Return what does less work than ours: neurons without a leak, and no neurons at all."""
    connect, steps = connections(torch, model), frames(torch, indices)
    thresholds = [float(layer.neuron.vth) for layer in model.network.layers]
    pass_on = [lambda given, state: (given, state)] * len(connect)
    found = {"products alone, no neurons": _layerwise(torch, connect, steps, pass_on)}
    module = _import(missing, "sinabs.layers")
    if module is not None:
        found |= _sinabs(torch, module, connect, steps, thresholds, leaky=False)
    return found
