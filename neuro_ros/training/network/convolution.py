# SPDX-License-Identifier: Apache-2.0
"""A convolution of spikes, computed from the spikes alone.

A spike adds one patch of the kernel to the sums; where few cells fire, that is a fraction of a dense convolution's
work. The sums are whole numbers below 2^24, so the order of adding does not matter: the result is that of
`torch.nn.functional.conv2d`, bit for bit. The gradient of the input is torch's own. The gradient of the weights can
be taken from the spikes as well: the same sum in another order, so equal within rounding, and the same bits at any
number of threads, which torch's is not.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numba as nb
import numpy as np
import torch

from neuro_ros.training.network.threads import over_chunks

__all__ = ["SpikeConv2d"]

_BLOCKS = 16  # partial sums of the weights' gradient, whatever the number of threads


@nb.njit(cache=True, nogil=True)
@no_type_check
def _scatter(begin, end, spikes, weight, stride, padding, out):
    """Add patches: spikes (n, c, h, w), weight (c, ky, kx, o), out (n, o, h', w')."""
    _, channels, height, width = spikes.shape
    _, ky_size, kx_size, outputs = weight.shape
    _, _, rows, columns = out.shape
    sums = np.empty((rows * columns, outputs), np.float32)
    for item in range(begin, end):
        sums[:] = 0.0
        for c in range(channels):
            for y in range(height):
                for x in range(width):
                    if spikes[item, c, y, x] == 0.0:
                        continue
                    for ky in range(ky_size):
                        row, rest = divmod(y + padding - ky, stride)
                        if rest != 0 or row < 0 or row >= rows:
                            continue
                        for kx in range(kx_size):
                            column, rest = divmod(x + padding - kx, stride)
                            if rest != 0 or column < 0 or column >= columns:
                                continue
                            target, source = sums[row * columns + column], weight[c, ky, kx]
                            for o in range(outputs):
                                target[o] += source[o]
        for o in range(outputs):
            for row in range(rows):
                for column in range(columns):
                    out[item, o, row, column] = sums[row * columns + column, o]


@nb.njit(cache=True, nogil=True)
@no_type_check
def _gather(begin, end, bounds, spikes, grad, stride, padding, out):
    """Sum gradients at each weight over the items of blocks begin..end; out (blocks, c, ky, kx, o)."""
    _, channels, height, width = spikes.shape
    _, _, ky_size, kx_size, outputs = out.shape
    _, _, rows, columns = grad.shape
    local = np.empty((rows * columns, outputs), np.float32)
    for block in range(begin, end):
        for item in range(bounds[block], bounds[block + 1]):
            for o in range(outputs):
                for row in range(rows):
                    for column in range(columns):
                        local[row * columns + column, o] = grad[item, o, row, column]
            for c in range(channels):
                for y in range(height):
                    for x in range(width):
                        if spikes[item, c, y, x] == 0.0:
                            continue
                        for ky in range(ky_size):
                            row, rest = divmod(y + padding - ky, stride)
                            if rest != 0 or row < 0 or row >= rows:
                                continue
                            for kx in range(kx_size):
                                column, rest = divmod(x + padding - kx, stride)
                                if rest != 0 or column < 0 or column >= columns:
                                    continue
                                source, target = local[row * columns + column], out[block, c, ky, kx]
                                for o in range(outputs):
                                    target[o] += source[o]


class SpikeConv2d(torch.autograd.Function):
    """Convolve spikes: ``apply(spikes, weight, stride, padding, sparse_gradient)``.

    Parameters
    ----------
    spikes : (n, c, h, w) float32
        Zeros and ones.
    weight : (o, c, ky, kx) float32
        Whole numbers, so that every sum stays below 2^24.
    stride, padding : int
        Of both axes.
    sparse_gradient : bool
        Whether the gradient of the weights is summed from the spikes, too.

    Returns
    -------
    (n, o, h', w') float32
        Sums, exactly those of a dense convolution.
    """

    @staticmethod
    def forward(
        ctx: Any, spikes: torch.Tensor, weight: torch.Tensor, stride: int, padding: int, sparse_gradient: bool
    ) -> torch.Tensor:
        """Add one patch a spike."""
        n, _, height, width = spikes.shape
        outputs, _, ky, kx = weight.shape
        out = torch.empty(
            n, outputs, (height + 2 * padding - ky) // stride + 1, (width + 2 * padding - kx) // stride + 1
        )
        cells, sums = spikes.detach().contiguous().numpy(), out.numpy()
        patches = weight.detach().permute(1, 2, 3, 0).contiguous().numpy()

        def run(begin: int, end: int) -> None:
            _scatter(begin, end, cells, patches, stride, padding, sums)

        over_chunks(run, n)
        ctx.save_for_backward(spikes, weight)
        ctx.settings = (stride, padding, sparse_gradient)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Let torch do what is dense."""
        spikes, weight = ctx.saved_tensors
        stride, padding, sparse_gradient = ctx.settings
        grad = grads[0].contiguous()
        need_spikes, need_weight = ctx.needs_input_grad[:2]
        mask = [need_spikes, need_weight and not sparse_gradient, False]
        of_spikes, of_weight = None, None
        if any(mask):
            of_spikes, of_weight, _ = torch.ops.aten.convolution_backward(
                grad, spikes, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, mask
            )
        if need_weight and sparse_gradient:
            outputs, channels, ky, kx = weight.shape
            parts = np.zeros((_BLOCKS, channels, ky, kx, outputs), np.float32)
            bounds = np.array([len(spikes) * k // _BLOCKS for k in range(_BLOCKS + 1)])
            cells, flow = spikes.contiguous().numpy(), grad.numpy()

            def run(begin: int, end: int) -> None:
                _gather(begin, end, bounds, cells, flow, stride, padding, parts)

            over_chunks(run, _BLOCKS)
            of_weight = torch.from_numpy(parts.sum(0).transpose(3, 0, 1, 2).copy())
        return of_spikes, of_weight, None, None, None
