# SPDX-License-Identifier: Apache-2.0
"""Which core of the chip takes which part of the network, and how far spikes travel then.

Along the rows is the shortest and the most predictable. A random placement costs hops, and makes it harder to learn
from outside which layer works where (probing); the seed makes it repeatable for whoever holds it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .profile import ChipProfile
from .splits import Activity, LayerSplits, Split
from .wiring import INPUT, Wire

__all__ = ["core_traffic", "places"]


def places(count: int, profile: ChipProfile, seed: int | None = None) -> list[int]:
    """Return the core of each of `count` parts.

    Parameters
    ----------
    count : int
        Parts, in the order of the layers.
    profile : ChipProfile
    seed : int or None
        None = along the rows; else a random order of all cores, the same for the same seed.

    Returns
    -------
    list of int
        -1 for parts beyond the last core.
    """
    cores = int(min(profile.limit("cores"), 1 << 20))
    order = list(range(cores)) if seed is None else np.random.default_rng(seed).permutation(cores).tolist()
    return [*order[:count], *([-1] * (count - cores))]


def core_traffic(
    wires: Sequence[Wire], layers: Sequence[LayerSplits], splits: Sequence[Split], activity: Activity
) -> NDArray[np.float64]:
    """Return the spikes that go from each core to each other one in a step, mean of the run.

    A spike is sent once to every core that it reaches. Spikes of the input come from outside and are not in it.

    Returns
    -------
    (cores, cores) float64
        Cores in the order of the layers.
    """
    first = np.concatenate([[0], np.cumsum([split.parts for split in splits])])
    traffic = np.zeros((first[-1], first[-1]))
    for wire in wires:
        if wire.source == INPUT:
            continue
        source, target = splits[wire.source], splits[wire.target]
        number = [other for other in wires if other.target == wire.target].index(wire)
        masks = []
        for bounds, factor in zip(source.bounds, layers[wire.target].reach(number, target), strict=True):
            cells = np.arange(bounds[-1])
            inside = (cells >= bounds[:-1, None]) & (cells < bounds[1:, None])
            masks.append((inside[:, None, :] & (factor > 0)[None, :, :]).reshape(-1, cells.size).astype(np.float64))
        spikes = activity.of(wire.source) / activity.steps
        sent = np.einsum("ai,bj,ck,ijk->abc", *masks, spikes, optimize=True)
        pairs = [size for pair in zip(source.cuts, target.cuts, strict=True) for size in pair]
        sent = sent.reshape(pairs).transpose(0, 2, 4, 1, 3, 5).reshape(source.parts, target.parts)
        rows = slice(first[wire.source], first[wire.source + 1])
        traffic[rows, first[wire.target] : first[wire.target + 1]] += sent
    return traffic
