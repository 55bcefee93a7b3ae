# SPDX-License-Identifier: Apache-2.0
"""What a batch of output spikes costs: every window of a crop that is old enough is one decision."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from neuro_ros.training.run.settings import TrainingSettings

__all__ = ["judged_windows", "window_loss"]

# Added to each count before the share is taken: a silent window then means "all classes alike", not 0 / 0, and the
# gradient at a silent right class stays of the size of the others.
_SILENT_SPIKES = 0.5


def judged_windows(
    labels: torch.Tensor, age_steps: torch.Tensor, bins: int, settings: TrainingSettings, begin_step: int = 0
) -> torch.Tensor:
    """Return which (windows, batch) are judged: labelled, and long enough after the start and the last switch."""
    steps, batch = labels.shape
    window_labels = labels.reshape(steps // bins, bins, batch)[:, -1]
    ends = begin_step + torch.arange(bins - 1, steps, bins, device=labels.device)
    settled = ends[:, None] >= settings.settle_steps
    acted = age_steps.reshape(steps // bins, bins, batch)[:, -1] >= settings.switch_steps
    return (window_labels >= 0) & acted & settled


def window_loss(
    spikes: torch.Tensor,
    labels: torch.Tensor,
    age_steps: torch.Tensor,
    bins: int,
    settings: TrainingSettings,
    begin_step: int = 0,
) -> tuple[torch.Tensor, float]:
    """Return the mean loss of the judged windows and their accuracy.

    Parameters
    ----------
    spikes : (steps, batch, classes) float32
        Output spikes.
    labels, age_steps : (steps, batch) int64
        From `Crops.draw`.
    bins : int
        Steps of a window; `steps` is a multiple of it.
    settings : TrainingSettings
        Settling time and scale.
    begin_step : int
        Steps of the crop that went before, where it comes in chunks.

    Returns
    -------
    loss : tensor
        0 with gradient where no window is old enough.
    accuracy : float
        NaN where none is.
    """
    steps, batch, classes = spikes.shape
    counts = spikes.reshape(steps // bins, bins, batch, classes).sum(1)
    window_labels = labels.reshape(steps // bins, bins, batch)[:, -1]
    judged = judged_windows(labels, age_steps, bins, settings, begin_step)
    if not bool(judged.any()):
        return spikes.sum() * 0.0, math.nan
    counts, window_labels = counts[judged], window_labels[judged]
    loss = functional.cross_entropy(settings.count_scale * counts, window_labels)
    right = counts.gather(1, window_labels[:, None])[:, 0]
    share = (right + _SILENT_SPIKES) / (counts.sum(1) + classes * _SILENT_SPIKES)
    loss = loss - settings.share_cost * share.log().mean()
    accuracy = float((counts.argmax(1) == window_labels).float().mean())
    return loss, accuracy
