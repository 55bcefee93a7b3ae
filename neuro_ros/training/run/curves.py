# SPDX-License-Identifier: Apache-2.0
"""A training run as a picture: loss, accuracy and the rates of the layers over the updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuro_ros.training.errors import TrainingError

if TYPE_CHECKING:
    from neuro_ros.training.run.loop import Progress

__all__ = ["Curves", "smoothed"]

_SUFFIXES = (".svg", ".png", ".pdf")
_INK, _BAND = "#2f6db3", "#9aa5b1"


def smoothed(values: Sequence[float], width: int) -> npt.NDArray[np.float64]:
    """Return the mean of the last `width` values that are numbers, at each place; NaN where there are none."""
    array = np.asarray(values, np.float64)
    known = np.isfinite(array)
    sums = np.cumsum(np.where(known, array, 0.0))
    counts = np.cumsum(known).astype(np.float64)
    for each in (sums, counts):
        each[width:] -= each[:-width].copy()
    return np.divide(sums, counts, out=np.full(array.size, np.nan), where=counts > 0)


@dataclass
class Curves:
    """What the loop told; call it as the loop's `report`.

    Attributes
    ----------
    names : sequence of str
        Of the layers.
    first_update : int
        Number of the first update kept.
    loss, accuracy : list of float
        One an update.
    rates : list of tuple of float
        Spikes a neuron and step by layer, one tuple an update.
    """

    names: Sequence[str]
    first_update: int = 0
    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    rates: list[tuple[float, ...]] = field(default_factory=list)

    def __call__(self, progress: Progress) -> None:
        """Keep what the loop tells."""
        if not self.loss:
            self.first_update = progress.update
        self.loss.append(progress.loss)
        self.accuracy.append(progress.accuracy)
        self.rates.append(progress.rates)

    def draw(self, path: Path, band: tuple[float, float] | None = None) -> None:
        """Draw three panels to an SVG, PNG or PDF file.

        Parameters
        ----------
        path : path
            Where to.
        band : (float, float), optional
            Of the hidden layers' rates, shaded.

        Raises
        ------
        TrainingError
            If there is nothing to draw, matplotlib is missing, the suffix is none that it draws, or the file cannot
            be written.
        """
        if path.suffix not in _SUFFIXES:
            raise TrainingError(f"{path}: a picture ends in one of {', '.join(_SUFFIXES)}")
        if not self.loss:
            raise TrainingError(f"{path}: no updates to draw")
        try:
            import matplotlib as mpl
            from matplotlib.figure import Figure
        except ImportError as error:
            raise TrainingError(f"curves need matplotlib: {error}; pip install matplotlib") from error
        updates = np.arange(self.first_update, self.first_update + len(self.loss))
        width = max(1, len(self.loss) // 40)
        with mpl.rc_context({"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "neuro_ros"}):
            figure = Figure(figsize=(6.4, 6.4), layout="constrained")
            top, middle, bottom = figure.subplots(3, 1, sharex=True)
            for axes, values, what in ((top, self.loss, "loss"), (middle, self.accuracy, "accuracy of windows")):
                axes.plot(updates, values, ".", color=_INK, ms=2, alpha=0.25)
                axes.plot(updates, smoothed(values, width), color=_INK, label=f"mean of {width} updates")
                axes.set_ylabel(what)
            middle.set_ylim(0.0, 1.02)
            top.legend(frameon=False)
            if band is not None:
                bottom.axhspan(*band, color=_BAND, alpha=0.2, lw=0, label="band")
            for k, name in enumerate(self.names):
                bottom.plot(updates, smoothed([rates[k] for rates in self.rates], width), label=name)
            bottom.set(ylabel="spikes a neuron and step", xlabel="update")
            bottom.set_ylim(bottom=0.0)
            bottom.legend(frameon=False, ncols=3)
            for axes in (top, middle, bottom):
                axes.spines[["top", "right"]].set_visible(False)
            metadata: dict[str, Any] | None = {"Date": None} if path.suffix == ".svg" else None
            try:
                figure.savefig(path, metadata=metadata)
            except OSError as error:
                raise TrainingError(f"cannot write {path}: {error.strerror or error}") from None
