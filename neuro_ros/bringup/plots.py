# SPDX-License-Identifier: Apache-2.0
"""The plots of a run's page, each as an SVG element."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from neuro_ros.bringup.drawing import BLUE, GREY, GRID, INK, ORANGE, RED, PlotError, draw, nothing
from neuro_ros.bringup.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PlotError", "gesture_plot", "latency_plot", "rate_plot"]

#: Beyond so many marks they are drawn as an image inside the plot, or the page would be slow to open.
_MANY = 4000


def _time_axis(axes: Axes, summary: Summary) -> None:
    axes.set_xlabel("sensor time [s]" if summary.time_is_sensor else "time of the recording [s]")
    axes.margins(x=0.01)
    axes.grid(True, axis="y", color=GRID, linewidth=0.8)


def _legend(axes: Axes) -> None:
    # At the left: a narrow window shows that end first. Short enough for all of it to be in sight there.
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=4, handlelength=0.9, columnspacing=1.0)


def gesture_plot(summary: Summary) -> str:
    """Draw what was decided over time, against the truth where it is known."""
    used = sorted(
        {w.decided for w in summary.windows if w.decided is not None and w.decided >= 0}
        | {w.truth for w in summary.windows if w.truth is not None and w.truth >= 0}
    )
    place = {index: row for row, index in enumerate([-1, *used])}

    def paint(axes: Axes) -> None:
        _time_axis(axes, summary)
        labelled = False
        for segment in summary.segments:
            first, last = summary.windows[segment.first], summary.windows[segment.last]
            start = first.time_s - first.length_s
            axes.barh(
                place[segment.truth],
                last.time_s - start,
                left=start,
                height=0.72,
                color="#cfe0f3",
                label=None if labelled else "truth",
            )
            labelled = True
        known = [(w, w.decided) for w in summary.windows if w.decided is not None]
        groups = (
            ("right" if labelled else "decided", BLUE, [(w, c) for w, c in known if c >= 0 and not _wrong(w)]),
            ("wrong", RED, [(w, c) for w, c in known if c >= 0 and _wrong(w)]),
            ("no decision", GREY, [(w, c) for w, c in known if c < 0]),
        )
        for name, colour, marks in groups:
            if marks:
                axes.plot(
                    [w.time_s for w, _ in marks],
                    [place[c] for _, c in marks],
                    linestyle="none",
                    marker="o",
                    markersize=3.6,
                    color=colour,
                    label=name,
                    rasterized=len(marks) > _MANY,
                )
        axes.set_yticks(list(place.values()), [summary.label(index).replace("_", " ") for index in place])
        axes.set_ylim(-0.6, len(place) - 0.4)
        if known or labelled:
            _legend(axes)

    return draw(1.5 + 0.3 * len(place), paint, "gesture")


def _wrong(window: Any) -> bool:
    return window.truth is not None and window.truth >= 0 and window.decided != window.truth


def latency_plot(summary: Summary) -> str:
    """Draw the latency of every gesture, with its median and 99th percentile."""
    windows = [w for w in summary.windows if math.isfinite(w.latency_s)]

    def paint(axes: Axes) -> None:
        _time_axis(axes, summary)
        axes.set_ylabel("latency [ms]")
        if not windows:
            nothing(axes, "no latency was measured")
            return
        values_ms = 1e3 * np.array([w.latency_s for w in windows])
        axes.plot(
            [w.time_s for w in windows],
            values_ms,
            linestyle="none",
            marker="o",
            markersize=3.0,
            color=BLUE,
            alpha=0.7,
            label="one window",
            rasterized=len(windows) > _MANY,
        )
        for share, colour in ((50, INK), (99, ORANGE)):
            value = float(np.percentile(values_ms, share))
            axes.axhline(value, color=colour, linewidth=1.3, label=f"p{share} {value:.2f} ms")
        axes.set_ylim(bottom=0.0)
        _legend(axes)

    return draw(2.6, paint, "latency")


def rate_plot(summary: Summary) -> str:
    """Draw the event rate window by window, and mark the windows in which something was lost."""
    windows = [w for w in summary.windows if w.length_s > 0.0]

    def paint(axes: Axes) -> None:
        _time_axis(axes, summary)
        if not windows:
            nothing(axes, "no windows were recorded")
            return
        rates = np.array([w.events_in / w.length_s for w in windows])
        scale, unit = (1e-6, "million events/s") if rates.max() >= 1e6 else (1e-3, "thousand events/s")
        times = np.array([w.time_s for w in windows])
        axes.fill_between(times, rates * scale, color="#cfe0f3", linewidth=0)
        axes.plot(times, rates * scale, color=BLUE, linewidth=1.2, label="offered to windows")
        lossy = np.array([w.events_dropped > 0 or not w.complete for w in windows])
        if lossy.any():
            axes.plot(
                times[lossy], rates[lossy] * scale, "v", color=RED, markersize=5, label="events lost in this window"
            )
            _legend(axes)
        axes.set_ylabel(unit)
        axes.set_ylim(bottom=0.0)

    return draw(2.6, paint, "rate")
