# SPDX-License-Identifier: Apache-2.0
"""How far training is: one line that rewrites itself on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from neuro_ros.training.run.loop import Progress

__all__ = ["ProgressLine"]

_CELLS = 24
_TERMINAL_S = 0.2  # between two drawings
_PLAIN_S = 30.0


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


class ProgressLine:
    """Call it as the loop's `report`.

    Parameters
    ----------
    stream : text stream
        Usually stderr.
    updates : int
        Of the whole run.
    clock_s : callable
        Monotonic time in seconds.
    seconds : float
        Wall-clock budget of the run, which may end it first.
    """

    def __init__(self, stream: TextIO, updates: int, clock_s: Callable[[], float], seconds: float = math.inf) -> None:
        self._stream, self._updates, self._clock_s, self._seconds = stream, updates, clock_s, seconds
        self._terminal = stream.isatty()
        self._start_s = clock_s()
        self._first: int | None = None
        self._drawn_s = -math.inf
        self._loss, self._accuracy = math.nan, math.nan
        self._width = 0

    def __call__(self, progress: Progress) -> None:
        """Draw, where it is time to."""
        now_s = self._clock_s()
        if self._first is None:
            self._first = progress.update  # after a resumption not 0
        keep = 0.9
        self._loss = _mixed(self._loss, progress.loss, keep)
        self._accuracy = _mixed(self._accuracy, progress.accuracy, keep)
        for line in progress.warnings:
            self._print(line)
        last = progress.update + 1 >= self._updates
        if last or now_s - self._drawn_s >= (_TERMINAL_S if self._terminal else _PLAIN_S):
            self._drawn_s = now_s
            self._draw(progress, now_s, last)

    def _draw(self, progress: Progress, now_s: float, last: bool) -> None:
        done = progress.update + 1
        spent_s = now_s - self._start_s
        per_update_s = spent_s / (done - (self._first or 0))
        left_s = min((self._updates - done) * per_update_s, self._seconds - spent_s)
        rates = " ".join(f"{rate:.3f}" for rate in progress.rates)
        text = (
            f"{done}/{self._updates} updates, loss {self._loss:.3f}, windows right {self._accuracy:.1%}, "
            f"rates {rates}, {_time(max(left_s, 0.0))} left"
        )
        if not self._terminal:
            self._stream.write(text + "\n")
        else:
            filled = _CELLS * done // self._updates
            text = f"[{'#' * filled}{'.' * (_CELLS - filled)}] {text}"
            self._stream.write("\r" + text.ljust(self._width) + ("\n" if last else ""))
            self._width = len(text)
        self._stream.flush()

    def _print(self, line: str) -> None:
        """Write a line above the bar."""
        self._stream.write(("\r" + line.ljust(self._width) if self._terminal else line) + "\n")


def _mixed(old: float, new: float, keep: float) -> float:
    """Return a running mean that passes over NaN."""
    if math.isnan(new):
        return old
    return new if math.isnan(old) else keep * old + (1.0 - keep) * new
