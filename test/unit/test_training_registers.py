# SPDX-License-Identifier: Apache-2.0
"""Training computes the engine's integers whatever the registers, over chunks, with recurrence; or refuses by name."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_spikes import engine_spikes

from neuro_ros.training.errors import ExportError, TrainingError
from neuro_ros.training.network.layers import ConvSpec, DenseSpec, IntegerNetwork, StreamState
from neuro_ros.training.network.neuron import LifState, Neuron, scan
from neuro_ros.training.network.torch_neuron import torch_scan

SHAPE = (2, 5, 4)


@st.composite
def registers(draw: st.DrawFn, channels: int) -> dict[str, int | bool | tuple[int, ...]]:
    """Return registers of a layer that hears so many channels."""
    late = draw(st.sampled_from(["all alike", "by source", "not"]))
    own = {
        "du": draw(st.integers(0, 4095)),
        "dv": draw(st.integers(0, 4095)),
        "weight_exp": draw(st.integers(0 if late == "by source" else -7, 2)),
        "refractory": draw(st.sampled_from([0, 0, 1, 5])),
        "delay": draw(st.sampled_from([1, 7])) if late == "all alike" else 0,
        "bias": draw(st.booleans()),
    }
    if late == "by source":
        delay = st.integers(0, 9)
        row = st.tuples(*[delay] * draw(st.integers(1, 3)))
        place = st.tuples(*[row] * draw(st.integers(1, 3)))
        tile = st.tuples(*[place] * draw(st.sampled_from([1, channels])))
        own["delays"] = draw(st.one_of(st.tuples(*[delay] * channels), tile))
    return own


@st.composite
def networks(draw: st.DrawFn) -> IntegerNetwork:
    """Return a network of random layers, some of them recurrent, with weights up to beyond the grid."""
    specs: list[ConvSpec | DenseSpec] = []
    channels = SHAPE[0]
    if draw(st.booleans()):
        kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        specs.append(ConvSpec("conv", 3, kernel, stride, draw(st.integers(0, 1)), **draw(registers(channels))))
        channels = 3
    for k in range(draw(st.integers(1, 3))):
        own = draw(registers(channels))
        recurrent = draw(st.booleans())
        specs.append(
            DenseSpec(f"dense_{k}", 4 + k, **{**own, "delay": 0 if recurrent else own["delay"]}, recurrent=recurrent)
        )
        channels = 4 + k
    torch.manual_seed(draw(st.integers(0, 1000)))
    network = IntegerNetwork(specs, SHAPE, gain=draw(st.sampled_from([1.0, 6.0])))
    with torch.no_grad():
        for layer in network.populations:
            layer.weight.mul_(1.0 + 1.2 * torch.rand_like(layer.weight))
            if layer.bias is not None:
                layer.bias.uniform_(-0.1, 0.2)
    return network


_heard = {
    "spikes": 0,
    "recurrent": 0,
    "refractory": 0,
    "delay": 0,
    "delays": 0,
    "bias": 0,
}  # by the test below, per layer kind


@given(network=networks(), rate=st.sampled_from([0.05, 0.3]), cuts=st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_spikes_are_the_engine_s_over_chunks_of_any_length(network, rate, cuts):
    steps = sum(cuts)
    spikes = (torch.rand(steps, 2, *SHAPE, generator=torch.Generator().manual_seed(steps)) < rate).float()
    exported = network.export()
    state: StreamState | None = None
    parts = []
    for part in spikes.split(cuts):
        outputs, state = network.run(part, state)
        parts.append(outputs)
    for sample in range(2):
        theirs = engine_spikes(exported, spikes[:, sample].numpy())
        for k, expected in enumerate(theirs):
            ours = torch.cat([outputs[k][:, sample].flatten(1) for outputs in parts]).bool().numpy()
            assert np.count_nonzero(ours != expected) == 0, exported.layers[k].name
            spec = network.populations[k].spec
            for kind in _heard:
                _heard[kind] += int(expected.sum()) if kind == "spikes" or getattr(spec, kind, False) else 0


def test_none_of_that_was_silence():
    assert min(_heard.values()) > 50, _heard


@given(network=networks())
@settings(max_examples=8)
def test_putting_one_stream_to_rest_leaves_the_others(network):
    generator = torch.Generator().manual_seed(3)
    first, second = ((torch.rand(9, 3, *SHAPE, generator=generator) < 0.3).float() for _ in range(2))
    _, state = network.run(first)
    went_on, _ = network.run(second, state)
    mixed, _ = network.run(second, state.where(torch.tensor([True, False, True])))
    fresh, _ = network.run(second)
    for on, mix, new in zip(went_on, mixed, fresh, strict=True):
        assert torch.equal(mix[:, ::2], on[:, ::2])
        assert torch.equal(mix[:, 1], new[:, 1])


def test_gradients_never_cross_a_chunk_and_samples_never_mix():
    torch.manual_seed(0)
    network = IntegerNetwork(
        [DenseSpec("a", 6, 500, 200, recurrent=True), DenseSpec("b", 2, 500, 200)], SHAPE, gain=9.0
    )
    early = (torch.rand(8, 2, *SHAPE) < 0.4).float().requires_grad_()
    late = (torch.rand(8, 2, *SHAPE) < 0.4).float().requires_grad_()
    _, state = network.run(early)
    outputs, _ = network.run(late, state)
    outputs[-1][:, 0].sum().backward()
    assert early.grad is None
    assert float(late.grad[:, 0].abs().sum()) > 0.0
    assert float(late.grad[:, 1].abs().sum()) == 0.0


CASES = {
    "plain": {},
    "bias": {"bias": True},
    "refractory": {"refractory": 3},
    "float": {"arithmetic": "float"},
    "arctan": {"surrogate": "arctan"},
    "reset": {"reset": True, "surrogate": "triangle"},
}


@pytest.mark.parametrize("name", CASES)
def test_the_torch_neuron_is_the_compiled_one(name):
    case = dict(CASES[name])
    with_bias, with_reset = case.pop("bias", False), case.pop("reset", False)
    neuron = Neuron(900, 300, 60, beta=2.0, **case)
    generator = torch.Generator().manual_seed(4)
    a = torch.randint(-30, 45, (30, 3, 11), generator=generator).float()
    a[5, 0, 0] = 200_000.0  # a wrap, and a clip after it
    results = []
    for run in (lambda *args: scan(*args)[:1], None):
        x = a.clone().requires_grad_()
        bias = torch.arange(-500.0, 600.0, 100.0).requires_grad_() if with_bias else None
        reset = torch.tensor(300.0, requires_grad=True) if with_reset else None
        counts = np.zeros(2, np.int64)
        if run is not None:
            spikes, state = scan(x, neuron, counts, bias, None, reset)
            after = (state.u, state.v, state.resting)
        else:
            spikes, *after = torch_scan(x, bias, reset, neuron, LifState.at_rest(3, 11), counts)
        probe = torch.randn(spikes.shape, generator=torch.Generator().manual_seed(5))
        (spikes * probe).sum().backward()
        results.append((spikes.detach(), after, counts, x.grad, *(p.grad for p in (bias, reset) if p is not None)))
    ours, theirs = results
    assert 0.02 < float(ours[0].mean()) < 0.9
    assert torch.equal(ours[0], theirs[0])
    assert all(torch.equal(mine, other) for mine, other in zip(ours[1], theirs[1], strict=True))
    assert ours[2].tolist() == theirs[2].tolist()
    assert (ours[2].sum() > 0) == (name != "float")
    for mine, other in zip(ours[3:], theirs[3:], strict=True):
        assert torch.allclose(mine, other, rtol=1e-4, atol=1e-6)


def test_the_recurrent_gradient_is_that_of_the_unrolled_network():
    """Unroll by hand: one `scan` a step, what is sent joins what comes in."""
    torch.manual_seed(1)
    n, steps, batch = 5, 12, 3
    weight = (2.0 * torch.randint(-30, 40, (n, n))).float()
    a = torch.randint(0, 60, (steps, batch, n)).float()
    probe = torch.randn(steps, batch, n)
    neuron = Neuron(1500, 400, 50, beta=2.0)
    from neuro_ros.training.network.recurrent import recurrent_scan

    w, x = weight.clone().requires_grad_(), a.clone().requires_grad_()
    spikes, _ = recurrent_scan(x, w, neuron, np.zeros(2, np.int64), weight_exp=-1)
    (spikes * probe).sum().backward()

    w2, x2 = weight.clone().double().requires_grad_(), a.clone().double().requires_grad_()
    ku, kv, threshold = float(neuron.keep_u), float(neuron.keep_v), float(neuron.threshold)
    u = v = torch.zeros(batch, n, dtype=torch.float64)
    pending = torch.zeros(batch, n, dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    levels = _levels(a, weight, neuron, spikes.detach())
    for t in range(steps):
        u = ku * u + 64.0 * pending
        p = kv * v + u
        slope = 1.0 / (1.0 + neuron.beta * (levels[t] - 1.0).abs()) ** 2 / threshold
        s = spikes.detach()[t].double() + slope * (p - p.detach())
        total = total + (probe[t].double() * s).sum()
        v = torch.where(spikes.detach()[t] > 0, torch.zeros_like(p), p)
        pending = x2[t] + 0.5 * (s @ w2.t())
    total.backward()
    assert 0.05 < float(spikes.detach().mean()) < 0.9
    assert torch.allclose(x.grad.double(), x2.grad, rtol=1e-4, atol=1e-7)
    assert torch.allclose(w.grad.double(), w2.grad, rtol=1e-4, atol=1e-7)


def _levels(a: torch.Tensor, weight: torch.Tensor, neuron: Neuron, spikes: torch.Tensor) -> torch.Tensor:
    """Return w / threshold of every step, in integers."""
    u = v = pending = torch.zeros(a.shape[1:], dtype=torch.float64)
    levels = []
    for t in range(len(a)):
        u = (u * (4095 - neuron.du) / 4096).trunc() + 64.0 * pending
        p = (v * (4096 - neuron.dv) / 4096).trunc() + u
        levels.append(p / neuron.threshold)
        assert torch.equal((p > neuron.threshold).float(), spikes[t])
        v = torch.where(p > neuron.threshold, torch.zeros_like(p), p)
        pending = a[t].double() + (0.5 * (spikes[t].double() @ weight.double().t())).floor()
    return torch.stack(levels)


def test_what_cannot_be_trained_or_exported_is_refused_by_name():
    with pytest.raises(TrainingError, match="layer 'a': delay of a recurrent layer"):
        DenseSpec("a", 3, 0, 0, delay=2, recurrent=True)
    with pytest.raises(TrainingError, match="delays is 63"):
        DenseSpec("a", 3, 0, 0, delays=(0, 63))
    with pytest.raises(TrainingError, match="delays by source and one for all exclude"):
        DenseSpec("a", 3, 0, 0, delay=2, delays=(0, 1))
    with pytest.raises(TrainingError, match="delays by source and a right shift"):
        DenseSpec("a", 3, 0, 0, weight_exp=-1, delays=(0, 1))
    with pytest.raises(TrainingError, match="delays for 3 channels and hears 2"):
        IntegerNetwork([DenseSpec("a", 3, 0, 0, delays=(0, 1, 2))], SHAPE)
    with pytest.raises(TrainingError, match="not equally long"):
        DenseSpec("a", 3, 0, 0, delays=(((0, 1), (2,)),))
    with pytest.raises(TrainingError, match="one a source channel, or a tile"):
        DenseSpec("a", 3, 0, 0, delays=((0, 1), (2, 3)))
    with pytest.raises(TrainingError, match="layer 'a': a learnable reset and a refractory time"):
        DenseSpec("a", 3, 0, 0, refractory=2, learnable_reset=True)
    with pytest.raises(TrainingError, match="layer 'a': du is 4096, outside"):
        DenseSpec("a", 3, 4096, 0)
    network = IntegerNetwork([DenseSpec("a", 3, 0, 0, learnable_reset=True)], SHAPE)
    with pytest.raises(ExportError, match="layer 'a' has a learnable reset"):
        network.export()
    network = IntegerNetwork([DenseSpec("a", 3, 0, 0)], SHAPE)
    network.arithmetic = "float"
    with pytest.raises(ExportError, match="layer 'a' computes in floating point"):
        network.export()
    with pytest.raises(TrainingError, match="arithmetic is 'half'"):
        network.arithmetic = "half"
    _, state = network.run(torch.zeros(3, 2, *SHAPE))
    with pytest.raises(TrainingError, match="the state is one of"):
        network.run(torch.zeros(3, 1, *SHAPE), state)
    with pytest.raises(TrainingError, match="surrogate is 'step'"):
        IntegerNetwork([DenseSpec("a", 3, 0, 0)], SHAPE, surrogate="step")
