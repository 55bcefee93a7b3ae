# SPDX-License-Identifier: Apache-2.0
"""How busy cores are: the histogram, and when a remap is due.

Skew says more than the mean: one core that works through most of a step while the others wait sets the length of the
step, and splitting its layer shortens it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .mapping import REMAP_UTILISATION

__all__ = ["Overload", "histogram", "overload"]

_BINS = 10


def histogram(utilisation: ArrayLike) -> list[int]:
    """Return how many cores work 0 to 10 % of a step, 10 to 20 %, ..., 90 to 100 %, and above.

    Parameters
    ----------
    utilisation : (cores,) float
        Share of a step that each core works; NaN is left out.

    Returns
    -------
    list of 11 int
    """
    values = np.asarray(utilisation, np.float64)
    values = values[~np.isnan(values)]
    # 100 % is the end of the last full bin, not "too late"
    places = np.where(values > 1.0, _BINS, np.minimum((np.minimum(values, 1.0) * _BINS).astype(np.int64), _BINS - 1))
    return np.bincount(places, minlength=_BINS + 1).tolist()


@dataclass(frozen=True)
class Overload:
    """A core that is too busy, and what to do.

    Parameters
    ----------
    core : int
        Index into the utilisation that was judged.
    layer : str
        Whose neurons it holds; empty = not known.
    utilisation, highest : float
        Of the core, and the limit that it passed.
    text : str
        One line for people: what, and the remap that is suggested.
    """

    core: int
    layer: str
    utilisation: float
    highest: float
    text: str


def overload(utilisation: ArrayLike, layers: Sequence[str] = (), highest: float = REMAP_UTILISATION) -> Overload | None:
    """Judge the busiest core, and suggest a remap when it is above the limit.

    Parameters
    ----------
    utilisation : (cores,) float
        Share of a step that each core works, as in `SnnTelemetry.core_utilisation` or `ChipMapping.utilisation`.
    layers : sequence of str
        The layer of each core, in the same order; empty = not known.
    highest : float
        Above it a remap is due.

    Returns
    -------
    Overload or None
        None when no core is above the limit, or nothing is known.
    """
    values = np.asarray(utilisation, np.float64)
    if not values.size or np.isnan(values).all():
        return None
    core = int(np.nanargmax(values))
    busiest = float(values[core])
    if not busiest > highest:
        return None
    layer = layers[core] if core < len(layers) else ""
    held = [float(value) for value, name in zip(values, layers, strict=False) if name == layer]
    if layer:
        # splitting divides the work of a layer's cores: so many more bring the busiest below the limit, if evenly
        more = max(1, int(np.ceil(len(held) * busiest / highest)) - len(held))
        advice = f"remap: split layer {layer} over {len(held) + more} cores instead of {len(held)}"
    else:
        advice = "remap: split the layer of that core further"
    share = f"core {core} works {100 * busiest:.0f} % of a step, limit {100 * highest:.0f} %"
    text = f"{share}; {advice}, or lengthen the step"
    return Overload(core, layer, busiest, highest, text)
