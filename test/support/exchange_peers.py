# SPDX-License-Identifier: Apache-2.0
"""Small random networks built, run and exported by other libraries: what test/data/exchange was made with.

``python test/support/exchange_peers.py FOLDER`` writes them all. Each library is imported by the function that needs
it; what is not installed is left out. Weights, delays and input are random and nothing is trained. Beside each file
stands NAME.npz with the input, (steps, c, y, x) uint8, and per population what the library itself made of it,
``layer<n>`` (steps, neurons) uint8.
"""

from __future__ import annotations

import contextlib
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 60


def _torch(seed: int) -> Any:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return torch


def _save(folder: Path, name: str, inputs: np.ndarray, spikes: list[np.ndarray], about: dict[str, Any]) -> None:
    """Write what went in and what came out."""
    layers = {f"layer{index}": np.packbits(layer.astype(bool), axis=0) for index, layer in enumerate(spikes)}
    about = {"steps": len(inputs), **about}
    np.savez_compressed(
        folder / f"{name}.npz", input=np.packbits(inputs.astype(bool), axis=0), about=json.dumps(about), **layers
    )


def load(path: Path) -> tuple[np.ndarray, list[np.ndarray], dict[str, Any]]:
    """Read it back: input (steps, c, y, x), spikes per layer (steps, neurons), and what is to be known about them."""
    with np.load(path) as stored:
        about = json.loads(str(stored["about"]))
        steps = about["steps"]
        count = sum(name.startswith("layer") for name in stored)
        spikes = [np.unpackbits(stored[f"layer{index}"], axis=0, count=steps) for index in range(count)]
        return np.unpackbits(stored["input"], axis=0, count=steps), spikes, about


# --- lava-dl ----------------------------------------------------------------------------------------------------------
def _slayer() -> Any:
    # its object detection wants OpenCV and torchvision, which nothing here needs
    sys.modules.setdefault("lava.lib.dl.slayer.object_detection", types.ModuleType("object_detection"))
    import lava.lib.dl.slayer as slayer

    return slayer


def _cuba(rng: np.random.Generator, norm: Any = None) -> dict[str, Any]:
    """Draw neuron parameters."""
    drawn: dict[str, Any] = {
        "threshold": float(rng.uniform(0.3, 1.5)),
        "current_decay": float(rng.uniform(0.05, 1.0)),
        "voltage_decay": float(rng.uniform(0.0, 0.9)),
    }
    return drawn if norm is None else {**drawn, "norm": norm}


def slayer_network(seed: int, size: int = 8) -> tuple[Any, np.ndarray, list[np.ndarray]]:
    """Build convolution, pool, grouped or dilated convolution, dense, and dense or recurrent blocks; run them.

    Returns
    -------
    blocks, (steps, 2, size, size) input, spikes of each population (steps, neurons) after its own axonal delay
    """
    torch = _torch(seed)
    slayer = _slayer()
    rng = np.random.default_rng(seed)
    block = slayer.block.cuba
    norm = slayer.neuron.norm.MeanOnlyBatchNorm
    odd = bool(seed % 2)
    blocks = [
        block.Conv(_cuba(rng, norm if odd else None), 2, 4, 3, padding=1, weight_scale=2, delay=seed % 3 != 0),
        block.Pool(_cuba(rng), 2, weight_scale=1.5, delay=seed % 4 == 0),
        block.Conv(_cuba(rng), 4, 6, 3, padding=int(odd), dilation=1 + odd, groups=2, weight_scale=3),
        block.Flatten(),
    ]
    x = (torch.rand(1, 2, size, size, STEPS) < 0.2).float()

    def run() -> list[Any]:
        outputs, signal = [], x
        with torch.no_grad():
            for each in blocks:
                signal = each(signal)
                outputs.append(signal)
        return outputs

    def at_rest() -> None:
        for each in blocks:
            each.delay_buffer = None
            if hasattr(each, "spike_state"):
                each.spike_state = torch.zeros(1)
            if hasattr(each, "neuron"):
                each.neuron.current_state = each.neuron.voltage_state = torch.zeros(1)

    wide = run()[-1].shape[1]
    blocks.append(block.Dense(_cuba(rng, norm), wide, 12, weight_scale=2, delay=not odd))
    if odd:
        blocks.append(block.Recurrent(_cuba(rng), 12, 9, weight_scale=2, delay=seed % 5 == 1))
    else:
        blocks.append(block.Dense(_cuba(rng), 12, 9, weight_scale=3, delay=seed % 5 == 2))
    for each in blocks:
        each.train()
    at_rest()
    run()  # norms see data, delays get their shape
    for each in blocks:
        each.eval()
        if getattr(each, "delay", None) is not None:
            each.delay.delay.data = torch.rand_like(each.delay.delay) * 12
    at_rest()
    spikes = [
        o[0].numpy().reshape(-1, STEPS).T > 0 for each, o in zip(blocks, run(), strict=True) if hasattr(each, "neuron")
    ]
    return blocks, x[0].numpy().transpose(3, 0, 1, 2).astype(np.uint8), spikes


def write_netx(blocks: Any, path: Path) -> None:
    """Write blocks as lava-dl's own examples do."""
    import h5py

    with h5py.File(path, "w") as file:
        layer = file.create_group("layer")
        for index, each in enumerate(blocks):
            each.export_hdf5(layer.create_group(f"{index}"))


def make_netx(folder: Path) -> None:
    """Write two networks of lava-dl."""
    for seed in (1, 2):
        blocks, inputs, spikes = slayer_network(seed)
        write_netx(blocks, folder / f"slayer_{seed}.net")
        _save(folder, f"slayer_{seed}", inputs, spikes, {"library": "lava-dl 0.6.0"})


# --- NIR --------------------------------------------------------------------------------------------------------------
def _record(modules: list[Any]) -> tuple[list[list[Any]], list[Any]]:
    """Collect what some torch modules put out, call by call."""
    seen: list[list[Any]] = [[] for _ in modules]

    def hook(index: int) -> Callable[..., None]:
        def note(_module: Any, _inputs: Any, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) else output
            seen[index].append(output.detach().numpy().reshape(-1))

        return note

    return seen, [module.register_forward_hook(hook(index)) for index, module in enumerate(modules)]


def _random_input(torch: Any, *shape: int, rate: float = 0.2) -> Any:
    return (torch.rand(STEPS, 1, *shape) < rate).float()


def _write_nir(graph: Any, path: Path) -> None:
    import nir

    nir.write(path, graph, compression=None)  # norse's parameters are scalars, which HDF5 does not compress


def make_snntorch(folder: Path, reset_mechanism: str = "zero", reset_delay: bool = False) -> None:
    """Write leaky and synaptic populations between dense weights.

    With the defaults of snntorch, the reset subtracts and comes a step late; `reset_mechanism` and `reset_delay` make
    it the reset that NIR describes.
    """
    torch = _torch(11)
    import snntorch
    from snntorch.export_nir import export_to_nir

    ones = torch.ones
    how = {"init_hidden": True, "reset_mechanism": reset_mechanism}
    populations = [
        snntorch.Leaky(beta=0.9 * ones(24), threshold=ones(24), reset_delay=reset_delay, **how),
        snntorch.Synaptic(
            alpha=0.7 * ones(16), beta=0.85 * ones(16), threshold=ones(16), reset_delay=reset_delay, **how
        ),
        snntorch.Leaky(beta=0.8 * ones(10), threshold=0.7 * ones(10), output=True, reset_delay=reset_delay, **how),
    ]
    weights = [torch.nn.Linear(a, b, bias=False) for a, b in ((32, 24), (24, 16), (16, 10))]
    with torch.no_grad():
        for each in weights:
            each.weight *= 2.5
    net = torch.nn.Sequential(*(part for pair in zip(weights, populations, strict=True) for part in pair))
    graph = export_to_nir(net, torch.rand(32))
    for each in populations:
        each.reset_mem()
    inputs = _random_input(torch, 32)
    seen, _ = _record(populations)
    with torch.no_grad():
        for step in inputs:
            net(step)
    name = "snntorch" if reset_mechanism == "zero" else "snntorch_subtract"
    _write_nir(graph, folder / f"{name}.nir")
    about = {"library": "snntorch 1.0.0", "options": {"step_s": 1e-4}}
    _save(folder, name, inputs.numpy().reshape(STEPS, 32, 1, 1), [np.array(layer) for layer in seen], about)


def make_snntorch_default(folder: Path) -> None:
    """Write the same with the reset that snntorch has by default."""
    make_snntorch(folder, "subtract", True)


def make_norse(folder: Path) -> None:
    """Write a current-based and a box population of norse."""
    torch = _torch(12)
    import norse.torch as norse

    cells = [norse.LIFCell(), norse.LIFBoxCell()]
    weights = [torch.nn.Linear(a, b, bias=False) for a, b in ((32, 20), (20, 10))]
    with torch.no_grad():
        weights[0].weight *= 6
        weights[1].weight *= 30
    net = norse.SequentialState(weights[0], cells[0], weights[1], cells[1])
    graph = norse.to_nir(net, torch.rand(32))
    inputs = _random_input(torch, 32)
    seen, _ = _record(cells)
    state = None
    with torch.no_grad():
        for step in inputs:
            _, state = net(step, state)
    _write_nir(graph, folder / "norse.nir")
    about = {"library": "norse 1.1.0", "options": {"step_s": 1e-6, "synapse_gain": "unit"}}
    _save(folder, "norse", inputs.numpy().reshape(STEPS, 32, 1, 1), [np.array(layer) for layer in seen], about)


def make_sinabs(folder: Path) -> None:
    """Write convolutions, a sum pool and integrate-and-fire populations of sinabs."""
    torch = _torch(13)
    import sinabs.activation as activation
    import sinabs.layers as layers
    import sinabs.nir

    how = {
        "batch_size": 1,
        "spike_fn": activation.SingleSpike,
        "reset_fn": activation.MembraneReset(),
        "min_v_mem": None,
    }
    populations = [layers.IAFSqueeze(**how) for _ in range(3)]
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1, bias=False),
        populations[0],
        layers.SumPool2d(2),
        torch.nn.Conv2d(4, 6, 3, padding=1, bias=False),
        populations[1],
        layers.SumPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(24, 10, bias=False),
        populations[2],
    )
    inputs = _random_input(torch, 2, 8, 8)[:, 0]
    with torch.no_grad():
        net(inputs)  # populations get their shape
        for each in populations:
            each.reset_states()
        seen, _ = _record(populations)
        graph = sinabs.nir.to_nir(net, inputs)
        for each in populations:
            each.reset_states()
        for layer in seen:
            layer.clear()
        net(inputs)
    for node in graph.nodes.values():
        if getattr(node, "input_shape", 0) is None:  # nir cannot write what sinabs leaves out
            node.input_shape = np.array([8, 8])
    for name, node in graph.nodes.items():
        if type(node).__name__ == "Flatten":
            node.input_type = {"input": np.array([6, 2, 2])}
        if type(node).__name__ == "Conv2d" and node.weight.shape[1] == 4:
            graph.nodes[name].input_shape = np.array([4, 4])
    _write_nir(graph, folder / "sinabs.nir")
    about = {"library": "sinabs 3.1.3", "options": {"step_s": 1.0}}
    _save(folder, "sinabs", inputs.numpy(), [layer[0].reshape(STEPS, -1) for layer in seen], about)


def make_spikingjelly(folder: Path) -> None:
    """Write a convolution, leaky and non-leaky populations of spikingjelly."""
    torch = _torch(14)
    from spikingjelly.activation_based import layer, neuron, nir_exchange

    populations = [neuron.LIFNode(tau=5.0, decay_input=False), neuron.IFNode()]
    net = torch.nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1), populations[0], layer.Flatten(), layer.Linear(256, 10), populations[1]
    )
    graph = nir_exchange.export_to_nir(net, torch.rand(1, 2, 8, 8))
    for each in populations:
        each.reset()
    inputs = _random_input(torch, 2, 8, 8)
    seen, _ = _record(populations)
    with torch.no_grad():
        for step in inputs:
            net(step)
    _write_nir(graph, folder / "spikingjelly.nir")
    about = {"library": "spikingjelly 2.0.0", "options": {"step_s": 1e-4}}
    _save(folder, "spikingjelly", inputs.numpy()[:, 0], [np.array(each) for each in seen], about)


MAKERS = (make_netx, make_snntorch, make_snntorch_default, make_norse, make_sinabs, make_spikingjelly)


def main(folder: Path) -> None:
    """Write all that the installed libraries allow."""
    folder.mkdir(parents=True, exist_ok=True)
    for make in MAKERS:
        with contextlib.suppress(ImportError):
            make(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
