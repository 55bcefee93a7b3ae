# SPDX-License-Identifier: Apache-2.0
"""What goes wrong without a sound in a loss curve: watched while training, and told once a layer and kind.

A warning is not an end: a layer may come back. What has not come back is refused at export, see
`neuro_ros.training.judge.export`.
"""

from __future__ import annotations

import numpy as np

from neuro_ros.training.network.layers import IntegerNetwork

__all__ = ["Watch"]

# Where training warns; export refuses later (`neuro_ros.training.judge.export`).
_ZEROS = 0.9  # fraction of weights that the grid rounds to zero
_CLIPPED = 0.2  # fraction of weights that the grid clips
_HIGH_RATE = 0.6
_PATIENCE = 20  # updates in a row without a spike: a batch may be silent by chance
_EVERY = 20  # updates between two looks at the weights


class Watch:
    """Look at a network after each update, and tell what is new.

    Parameters
    ----------
    network : IntegerNetwork
        Looked at, never changed.
    """

    def __init__(self, network: IntegerNetwork) -> None:
        self._network = network
        self._counts = [layer.counts.copy() for layer in network.populations]
        self._silent = np.zeros(len(self._counts), np.int64)
        self._told: set[tuple[str, str]] = set()

    def look(self, update: int) -> tuple[str, ...]:
        """Return a line for each fault that was not told before."""
        lines: list[str] = []
        rates = [float(rate.detach()) for rate in self._network.rates.values]
        for k, (layer, rate) in enumerate(zip(self._network.populations, rates, strict=True)):
            name = layer.spec.name
            self._silent[k] = self._silent[k] + 1 if rate == 0.0 else 0
            wraps, clips = (int(n) for n in layer.counts - self._counts[k])
            if wraps:
                self._tell(lines, name, "wraps", f"u wrapped around its 24 bits ({wraps} times up to here)")
            if clips:
                self._tell(lines, name, "clips", f"v was clipped at its 24 bits ({clips} times up to here)")
            if self._silent[k] >= _PATIENCE:
                self._tell(lines, name, "silent", f"no spike in {_PATIENCE} updates; calibrate, or raise rate_cost")
            if rate > _HIGH_RATE:
                self._tell(lines, name, "saturated", f"{rate:.2f} spikes a neuron and step")
            if update % _EVERY == 0:
                zeros, clipped = layer.weight_report()
                if zeros > _ZEROS:
                    self._tell(lines, name, "zeros", f"{zeros:.1%} of its weights are rounded to zero")
                if clipped > _CLIPPED:
                    self._tell(lines, name, "clipped", f"{clipped:.1%} of its weights are clipped by the grid")
        return tuple(f"update {update}: {line}" for line in lines)

    def _tell(self, lines: list[str], name: str, kind: str, text: str) -> None:
        if (name, kind) not in self._told:
            self._told.add((name, kind))
            lines.append(f"layer '{name}': {text}")
