# SPDX-License-Identifier: Apache-2.0
"""A convolution of spikes is the dense one, bit for bit forward, and its gradients are torch's."""

import pytest
import torch
from torch.nn import functional

from neuro_ros.training.network.convolution import SpikeConv2d


def case(stride: int, kernel: int, rate: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    spikes = (torch.rand(37, 3, 11, 9, generator=generator) < rate).float()
    weight = 2.0 * torch.randint(-128, 128, (5, 3, kernel, kernel), generator=generator).float()
    return spikes.requires_grad_(), weight.requires_grad_()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.05, 1.0])
@pytest.mark.parametrize(("stride", "kernel", "padding"), [(1, 3, 0), (2, 5, 2), (3, 3, 1), (2, 4, 3)])
def test_sums_are_exact_and_gradients_are_those_of_the_dense_one(stride, kernel, padding, rate, sparse):
    spikes, weight = case(stride, kernel, rate)
    out = SpikeConv2d.apply(spikes, weight, stride, padding, sparse)
    dense = functional.conv2d(spikes, weight, stride=stride, padding=padding)
    assert torch.equal(out, dense)
    probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad(out, (spikes, weight), probe)
    theirs = torch.autograd.grad(dense, (spikes, weight), probe)
    assert torch.equal(ours[0], theirs[0])
    if sparse:
        assert torch.allclose(ours[1], theirs[1], rtol=1e-5, atol=1e-4)
    else:
        assert torch.equal(ours[1], theirs[1])


def test_the_sparse_gradient_is_the_same_bits_at_any_number_of_threads():
    before = torch.get_num_threads()
    grads = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            spikes, weight = case(2, 3, 0.3)
            out = SpikeConv2d.apply(spikes, weight, 2, 1, True)
            (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
            grads.append(weight.grad)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])
