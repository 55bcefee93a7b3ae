# SPDX-License-Identifier: Apache-2.0
"""The picture of a calibration: what was measured, and the curve that was made of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from neuro_ros.thermal import ThermalError

if TYPE_CHECKING:
    from neuro_ros.thermal.measurement import Fit, Pairs

__all__ = ["draw"]

_COLOURS = {"membrane": "#2f6db3", "synapse": "#d9822b"}
_SUFFIXES = (".svg", ".png", ".pdf")


def draw(path: Path, pairs: Mapping[str, Pairs], fits: Mapping[str, Fit], reference_celsius: float) -> None:
    """Draw time constants over temperature, relative to those at the reference.

    Raises
    ------
    ThermalError
        matplotlib is missing, the suffix is none that it is drawn as, or the file cannot be written.
    """
    if path.suffix not in _SUFFIXES:
        raise ThermalError(f"{path}: a picture ends in one of {', '.join(_SUFFIXES)}")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ThermalError(f"a plot needs matplotlib: {error}; pip install matplotlib") from error
    with mpl.rc_context({"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "neuro_ros"}):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        for kind, fit in fits.items():
            scale = fit.curve.at(reference_celsius)
            points = pairs[kind]
            axes.plot(
                [celsius for celsius, _ in points],
                [value / scale for _, value in points],
                ".",
                color=_COLOURS[kind],
                alpha=0.5,
                label=f"{kind}, {len(points)} measurements",
            )
            axes.plot(fit.curve.celsius, [tau_s / scale for tau_s in fit.curve.tau_s], color=_COLOURS[kind])
        axes.axvline(reference_celsius, color="#9aa5b1", lw=0.8, ls=":")
        axes.set(
            xlabel="temperature [degree Celsius]", ylabel=f"time constant, of that at {reference_celsius:g} degrees"
        )
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        try:
            figure.savefig(path, metadata=metadata)
        except OSError as error:
            raise ThermalError(f"{path}: cannot be written: {error.strerror}") from error
