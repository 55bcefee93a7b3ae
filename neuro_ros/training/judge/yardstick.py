# SPDX-License-Identifier: Apache-2.0
"""The yardstick of a spiking network: a plain convolutional network of the same size on the same windows.

A window's bins are its channels, so it sees exactly the cells that the spiking network sees, all at once. Kernels,
strides and channels are those of the spiking network; where its first layer has become larger by that, the widest
hidden layer is narrowed until both have about as many weights. It has no memory: what it says of a recording is the
sum of the log-probabilities of its windows, which is the best that independent judgements can be joined to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from neuro_ros.training.data import Crops, StepStream, WindowShape
from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.layers import ConvSpec, DenseSpec
from neuro_ros.training.run.loop import TrainingSettings

__all__ = ["FrameNetwork", "answer_recording", "fit_frames", "frame_network", "judged_windows"]

#: Peak of Adam's step; chosen on the validation subjects.
LEARNING_RATE = 2e-3


class FrameNetwork(nn.Module):
    """Convolutions and dense layers with rectifiers between them.

    Parameters
    ----------
    specs : sequence of ConvSpec or DenseSpec
        Layers in order; their decays have no meaning here.
    input_shape : (int, int, int)
        Channels, height, width.
    """

    def __init__(self, specs: Sequence[ConvSpec | DenseSpec], input_shape: tuple[int, int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, height, width = input_shape
        flat = False
        for spec in specs:
            if isinstance(spec, ConvSpec):
                layers.append(nn.Conv2d(channels, spec.channels, spec.kernel, spec.stride, spec.padding))
                height, width = ((n + 2 * spec.padding - spec.kernel) // spec.stride + 1 for n in (height, width))
                channels = spec.channels
            else:
                if not flat:
                    layers.append(nn.Flatten())
                    channels, height, width, flat = channels * height * width, 1, 1, True
                layers.append(nn.Linear(channels, spec.neurons))
                channels = spec.neurons
            layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers[:-1])

    @property
    def weights(self) -> int:
        """Number of weights, biases included."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the logits (n, classes) of frames (n, c, h, w)."""
        result: torch.Tensor = self.layers(frames)
        return result


def frame_network(specs: Sequence[ConvSpec | DenseSpec], shape: WindowShape, weights: int) -> FrameNetwork:
    """Return the yardstick of a network; torch's global seed decides its weights.

    Parameters
    ----------
    specs : sequence of ConvSpec or DenseSpec
        Layers of the spiking network; the widest dense layer before the last is the one that gives way.
    shape : WindowShape
        Window and tensor.
    weights : int
        Weights of the spiking network.

    Raises
    ------
    TrainingError
        If there is no hidden dense layer, or none that is narrow enough.
    """
    hidden = [(spec.neurons, i) for i, spec in enumerate(specs[:-1]) if isinstance(spec, DenseSpec)]
    if not hidden:
        raise TrainingError("the yardstick needs a hidden dense layer to adapt its size by; the network has none")
    state = torch.get_rng_state()
    _, widest = max(hidden)
    input_shape = (shape.channels * shape.bins, shape.height, shape.width)

    def built(neurons: int) -> FrameNetwork:
        torch.set_rng_state(state)  # so that the search for the width leaves no trace in the weights
        narrowed = DenseSpec(specs[widest].name, neurons, specs[widest].du, specs[widest].dv)
        return FrameNetwork([*specs[:widest], narrowed, *specs[widest + 1 :]], input_shape)

    one, two = built(1).weights, built(2).weights
    neurons = 1 + round((weights - one) / (two - one))
    if neurons < 1:
        raise TrainingError(
            f"a network on frames of {input_shape} has more than {weights} weights before its dense layer"
        )
    return built(neurons)


def judged_windows(
    spikes: torch.Tensor, labels: torch.Tensor, age_steps: torch.Tensor, bins: int, settings: TrainingSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the frames (n, bins * c, h, w) and labels (n,) of the windows of a batch that training judges.

    The same windows as `neuro_ros.training.run.losses.window_loss`, but for the first, which need no settling.
    """
    steps, batch = labels.shape
    windows = steps // bins
    frames = spikes.reshape(windows, bins, batch, *spikes.shape[2:]).transpose(1, 2).flatten(2, 3).flatten(0, 1)
    window_labels = labels.reshape(windows, bins, batch)[:, -1].flatten()
    acted = age_steps.reshape(windows, bins, batch)[:, -1].flatten() >= settings.switch_steps
    judged = (window_labels >= 0) & acted
    return frames[judged], window_labels[judged]


def fit_frames(
    network: FrameNetwork,
    crops: Crops,
    settings: TrainingSettings,
    learning_rate: float = LEARNING_RATE,
    report: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train in place on as many batches of crops as the spiking network gets.

    Parameters
    ----------
    network : FrameNetwork
        Trained in place.
    crops : Crops
        Source of batches.
    settings : TrainingSettings
        Number of updates, and which windows are judged.
    learning_rate : float
        Peak; the schedule is that of `neuro_ros.training.run.loop.fit`.
    report : callable, optional
        Called with (update, loss).

    Returns
    -------
    list of float
        Loss of each update that judged a window.

    Raises
    ------
    TrainingError
        If the loss is not finite.
    """
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
    losses: list[float] = []
    for update in range(settings.updates):
        done = update / settings.updates
        rate = learning_rate * min(1.0, (update + 1) / 50) * (0.02 + 0.49 * (1.0 + math.cos(math.pi * done)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        frames, labels = judged_windows(*crops.draw(), crops.shape.bins, settings)
        if not len(labels):
            continue
        loss = functional.cross_entropy(network(frames), labels)
        if not math.isfinite(float(loss.detach())):
            raise TrainingError(f"the yardstick's loss of update {update} is {float(loss.detach())}")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        if report is not None:
            report(update, losses[-1])
    return losses


@torch.no_grad()
def answer_recording(network: FrameNetwork, stream: StepStream, shape: WindowShape) -> int:
    """Return the class of a recording: the largest sum of the log-probabilities of its windows."""
    windows = len(stream.bits) // shape.bins
    cells: npt.NDArray[np.uint8] = np.unpackbits(stream.bits[: windows * shape.bins], axis=1)
    frames = torch.from_numpy(cells.reshape(windows, shape.bins * shape.channels, shape.height, shape.width))
    return int(functional.log_softmax(network(frames.float()), dim=1).sum(0).argmax())
