# SPDX-License-Identifier: Apache-2.0
"""How this package draws: one style, figures as SVG elements for a page. Only this module imports matplotlib."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from neuro_ros.errors import NeuroRosError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BLUE", "GREY", "GRID", "INK", "ORANGE", "RED", "SOFT", "PlotError", "draw", "nothing"]

_WIDTH_IN = 9.6
INK, SOFT, GRID = "#1c2b3f", "#52606f", "#e3e8ee"
BLUE, ORANGE, GREY, RED = "#2f6db3", "#d9822b", "#9aa5b1", "#c23b3b"
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    # Text stays text: small, selectable, readable by machines. IDs do not depend on the run.
    "svg.fonttype": "none",
    "svg.hashsalt": "neuro_ros",
}


class PlotError(NeuroRosError):
    """The plots cannot be drawn: matplotlib is missing."""


def draw(height_in: float, paint: Any, name: str) -> str:
    """Make a figure, have it painted, and return it as an SVG element.

    Parameters
    ----------
    height_in : float
        Height for a width of 9.6 inches.
    paint : callable
        Takes the axes.
    name : str
        Sets the ids of this figure apart from those of the others on its page.

    Raises
    ------
    PlotError
        matplotlib is missing.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError(f"the page needs matplotlib: {error}; pip install matplotlib") from error
    with mpl.rc_context(_STYLE):
        figure: Figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        paint(figure.subplots())
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    # Several plots share one page: what they refer to by name must be their own.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    return re.sub(
        r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", re.sub(r'(<svg [^>]*?)height="[^"]*"', r"\1", text, count=1), count=1
    )


def nothing(axes: Axes, text: str) -> None:
    """Say in an empty plot why it is empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=SOFT)
    axes.set_yticks([])
