# SPDX-License-Identifier: Apache-2.0
"""Where to train: the CPU, or a CUDA device where torch finds one (tests of it skip elsewhere)."""

from __future__ import annotations

import torch

from neuro_ros.training.errors import TrainingError

__all__ = ["DEVICES", "device_named"]

DEVICES = ("cpu", "cuda")


def device_named(name: str) -> torch.device:
    """Return a device for ``network.to(device)``.

    Parameters
    ----------
    name : str
        ``cpu`` or ``cuda``.

    Raises
    ------
    TrainingError
        If there is no such device here.
    """
    if name not in DEVICES:
        raise TrainingError(f"device is {name!r}; known are {', '.join(DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device cuda: torch finds none here; use cpu")
    return torch.device(name)
