# SPDX-License-Identifier: Apache-2.0
"""The run digest: one SHA-256 over every spike of every layer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["RunDigest"]


class RunDigest:
    """Hash spikes a step and a layer at a time.

    Per step, per layer in model order: the count (uint32 LE), then the ascending
    flat (c, y, x) indices (uint32 LE). The input is not part of it.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, steps: Sequence[Sequence[NDArray[np.integer]]]) -> None:
        """Add the spikes of consecutive steps: ``steps[step][layer]`` = ascending indices."""
        for layers in steps:
            for indices in layers:
                self._hash.update(len(indices).to_bytes(4, "little"))
                self._hash.update(np.ascontiguousarray(indices, dtype="<u4").tobytes())

    def hexdigest(self) -> str:
        """Return the digest so far, in hexadecimal."""
        return self._hash.hexdigest()
