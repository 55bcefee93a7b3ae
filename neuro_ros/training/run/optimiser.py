# SPDX-License-Identifier: Apache-2.0
"""What makes a step out of gradients: Adam, or Muon for the matrices of the hidden layers and Adam for the rest.

Muon makes the step orthogonal: every direction that the momentum has is taken as far as every other, where Adam's step
is of few directions. torch has a Muon of its own, which iterates in bfloat16; processors without such units take
sixteen times longer for it than for the single precision that is used here.

References
----------
D. Kingma and J. Ba, Adam: A Method for Stochastic Optimization, ICLR 2015, arXiv:1412.6980.
K. Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024 (the iteration's coefficients).
J. Liu et al., Muon is Scalable for LLM Training, 2025, arXiv:2502.16982 (steps of equal root mean square).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from neuro_ros.training.network.layers import IntegerNetwork

__all__ = ["OPTIMISERS", "Muon", "Optimiser", "orthogonal"]

OPTIMISERS = ("adam", "muon")

# Of Muon's step, as a share of the learning rate: about what an entry moves in a step of Adam.
_STEP_RMS = 0.2
_MOMENTUM = 0.9
# Beside the network: of Adam's step, as a share of the learning rate.
_BESIDE_SCALE = 0.2


def orthogonal(matrix: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """Return about the nearest matrix with orthonormal rows or columns, by a Newton-Schulz iteration.

    Parameters
    ----------
    matrix : (m, n) float32
        Not zero.
    iterations : int
        Five bring all but the smallest singular values near 1, which is enough for a step.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.t() if tall else matrix
    x = x / (x.norm() + 1e-12)
    for _ in range(iterations):
        gram = x @ x.t()
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.t() if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal, each step of the same root mean square; a kernel is a matrix of its output channels.

    Parameters
    ----------
    groups : list of dict
        As for any optimiser of torch; parameters of two dimensions at least.
    momentum : float
        Nesterov's.
    """

    def __init__(self, groups: list[dict[str, Any]], momentum: float = _MOMENTUM) -> None:
        super().__init__(groups, {"lr": 1.0, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step, and return what `closure` returns, which computes the loss anew."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                own = self.state[parameter]
                if "momentum" not in own:
                    own["momentum"] = torch.zeros_like(parameter)
                velocity = own["momentum"].mul_(group["momentum"]).add_(parameter.grad)
                ahead = parameter.grad.add(velocity, alpha=group["momentum"]).flatten(1)
                step = orthogonal(ahead).reshape(parameter.shape)
                # An orthogonal m x n matrix has a root mean square of 1 / sqrt(max(m, n)).
                parameter.add_(step, alpha=-group["lr"] * _STEP_RMS * max(ahead.shape) ** 0.5)
        return loss


class Optimiser:
    """The steps of a network's parameters, relative to how large each of them was, and of what is trained beside it.

    Parameters
    ----------
    kind : str
        One of `OPTIMISERS`.
    network : IntegerNetwork
        Whose parameters are moved, calibrated already.
    beside : Module
        What the loss needs and the network does not keep, see `neuro_ros.training.run.readouts`; may be empty.

    Attributes
    ----------
    beside : Module
        The same.
    scales : list of float
        Of each parameter, those of the network first: its largest magnitude when training began.
    """

    def __init__(self, kind: str, network: IntegerNetwork, beside: nn.Module) -> None:
        self.beside = beside
        ours = list(network.parameters())
        self._parameters = [*ours, *beside.parameters()]
        self.scales = [max(float(p.detach().abs().max()), 1e-6) for p in ours]
        self.scales += [_BESIDE_SCALE] * (len(self._parameters) - len(ours))
        hidden = [p for layer in network.populations[:-1] for p in layer.parameters() if p.dim() > 1]
        orthogonal_ones = {id(p) for p in hidden} if kind == "muon" else set()
        groups = [{"params": [p], "number": k} for k, p in enumerate(self._parameters)]
        chosen = [id(p) in orthogonal_ones for p in self._parameters]
        self._parts: list[torch.optim.Optimizer] = [
            make([group for group, is_chosen in zip(groups, chosen, strict=True) if is_chosen == wanted])
            for wanted, make in ((False, _adam), (True, Muon))
            if wanted in chosen
        ]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def step(self, rate: float) -> None:
        """Take a step whose size is `rate` times each parameter's scale."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate * self.scales[group["number"]]
            part.step()

    def moments(self) -> dict[str, torch.Tensor]:
        """Return what the steps so far left behind, by the number of the parameter and a name."""
        return {
            f"{group['number']}.{name}": value
            for part in self._parts
            for group in part.param_groups
            for name, value in part.state.get(group["params"][0], {}).items()
        }

    def set_moments(self, moments: Mapping[str, torch.Tensor], scales: Sequence[float]) -> None:
        """Go on from what `moments` returned, with the scales of then.

        Raises
        ------
        ValueError
            If there is not one scale for each parameter.
        RuntimeError
            If a moment has another size than its parameter.
        """
        if len(scales) != len(self._parameters):
            raise ValueError(f"{len(scales)} scales for {len(self._parameters)} parameters")
        self.scales = list(scales)
        for part in self._parts:
            part.state.clear()
            for group in part.param_groups:
                parameter, prefix = group["params"][0], f"{group['number']}."
                mine = {name.removeprefix(prefix): v for name, v in moments.items() if name.startswith(prefix)}
                if mine:  # Adam's count of steps is a number, and stays where it is
                    part.state[parameter] = {
                        name: value.reshape(()) if name == "step" else value.reshape(parameter.shape).to(parameter)
                        for name, value in mine.items()
                    }


def _adam(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=1.0)
