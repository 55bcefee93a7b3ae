# SPDX-License-Identifier: Apache-2.0
"""What a filter of events is, and the chain that runs several.

A filter has two halves: `EventFilter`, a frozen dataclass with the parameters,
which knows no sensor; and the `FilterStep` that it builds for a sensor of a given
size, with the state and the counters. A step takes no event out: it marks it
(`MARK_FILTERED`, or `MARK_DROPPED` where the filter loses what it would rather
keep), so that the windower counts it within the window in which it fell. What
holds for every step:

* an event that is marked already is not looked at again;
* an event outside the sensor is passed on as it is (the windower drops and counts it) and touches no state;
* the result depends on the events in their order, not on how the stream is cut into batches;
* the state is bounded by the size of the sensor, whatever the events say;
* times are int64 nanoseconds; time that runs back, and gaps, have a documented effect and never a lasting one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.errors import NeuroRosError
from neuro_ros.events.types import EVENT_DTYPE, MARK_DROPPED, MARK_FILTERED, EventBatch, as_events, as_words

__all__ = ["MARKS", "MAX_PIXELS", "EventFilter", "FilterChain", "FilterError", "FilterStep", "check_range", "kept"]

#: Either mark.
MARKS = MARK_FILTERED | MARK_DROPPED
#: Largest sensor that filters keep a state for [px], several times that of any event camera: 64 MB a map of times.
MAX_PIXELS = 1 << 23

# Bits of an event's second word that mean something: x, y, p, and the marks where there are any.
_PLAIN_BITS = (1 << 40) - 1
_MARKED_BITS = _PLAIN_BITS | MARKS
# Events that go through the whole chain before the next ones: few enough to stay in a core's cache.
_BLOCK = 1 << 14


class FilterError(NeuroRosError):
    """A filter, a parameter of one or a sensor size that cannot be."""


def check_range(name: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Check a parameter; NaN fails.

    Raises
    ------
    FilterError
        When `value` is not within `low` to `high`, both included.
    """
    if not low <= value <= high:
        raise FilterError(f"{name} is {value:.15g}{unit}, it must be {low:.15g} to {high:.15g}{unit}")


@dataclass(frozen=True)
class EventFilter(ABC):
    """The parameters of a filter; checked at construction, with `FilterError`."""

    #: As in ``--filter NAME`` and in `neuro_ros.events.filters.FILTERS`.
    name: ClassVar[str]
    #: One of its kind as text, with what must be given; fits a sensor of any size.
    example: ClassVar[str]

    @abstractmethod
    def build(self, width: int, height: int) -> FilterStep:
        """Make the step that does it for a sensor of this size [px].

        Raises
        ------
        FilterError
            When the parameters do not fit the sensor.
        """


class FilterStep(ABC):
    """One filter at work on one stream.

    Parameters
    ----------
    width, height : int
        Of the sensor that the events come from [px].

    Attributes
    ----------
    width, height : int
        Of the sensor that the events seem to come from afterwards [px].
    counters : dict of str to int
        Since construction: ``seen`` (events that arrived unmarked), ``filtered`` (of them, marked here),
        in `rate_cap` ``dropped`` instead, and what else the filter has to say.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width = int(width)
        self.height = int(height)
        self.counters: dict[str, int] = {"seen": 0, "filtered": 0}

    @abstractmethod
    def apply(self, words: npt.NDArray[np.int64]) -> None:
        """Mark events in place.

        Parameters
        ----------
        words : (n, 2) int64
            Events as `as_words` sees them, contiguous; bits 40 and 41 are marks or zero.
        """

    def reset(self) -> None:  # noqa: B027 - most filters have something to forget, some have nothing
        """Forget what depends on time, as before the first event of a stream; the counters go on."""

    def _count(self, seen: int, filtered: int) -> None:
        self.counters["seen"] += int(seen)
        self.counters["filtered"] += int(filtered)


class FilterChain:
    """Several filters, one after the other, on the batches of one stream.

    Parameters
    ----------
    filters : sequence of EventFilter
        In the order in which events meet them; may be empty.
    width, height : int
        Of the sensor [px].

    Attributes
    ----------
    width, height : int
        Of the sensor that the events seem to come from behind the last filter [px]: what a windower,
        or the header of a recording, has to be told.

    Raises
    ------
    FilterError
        When the sensor is empty or too large, or a filter does not fit it.

    Notes
    -----
    What is compiled is compiled at construction.
    """

    def __init__(self, filters: Sequence[EventFilter], width: int, height: int) -> None:
        if width < 1 or height < 1 or (filters and width * height > MAX_PIXELS):
            raise FilterError(f"a sensor of {width}x{height} px cannot be filtered, 1 to {MAX_PIXELS} px can")
        self.width, self.height = int(width), int(height)
        self.filters = tuple(filters)
        self._steps: dict[str, FilterStep] = {}
        nothing = np.empty((0, 2), np.int64)
        for item in self.filters:
            step = item.build(self.width, self.height)
            step.apply(nothing)
            copies = sum(other.name == item.name for other in self.filters[: len(self._steps)])
            self._steps[f"{item.name}_{copies + 1}" if copies else item.name] = step
            self.width, self.height = step.width, step.height
        self._buffer = np.empty((0, 2), np.int64)

    def apply(self, batch: EventBatch) -> EventBatch:
        """Filter a batch.

        Parameters
        ----------
        batch : EventBatch
            Neither kept nor changed.

        Returns
        -------
        EventBatch
            As many events, marked; their memory is reused by the next call. Without filters, `batch` itself.
        """
        if not self._steps:
            return batch
        count = len(batch.events)
        if count > len(self._buffer):
            self._buffer = np.empty((count, 2), np.int64)
        words = self._buffer[:count]
        given = as_words(as_events(batch.events))
        bits = _MARKED_BITS if batch.marked else _PLAIN_BITS
        for start in range(0, count, _BLOCK):
            block = words[start : start + _BLOCK]
            np.copyto(block, given[start : start + _BLOCK])
            block[:, 1] &= bits
            for step in self._steps.values():
                step.apply(block)
        return EventBatch(
            words.reshape(-1).view(EVENT_DTYPE), batch.triggers, batch.complete, batch.lost_packets, marked=True
        )

    def reset(self) -> None:
        """Forget what depends on time, where a stream begins anew; the counters go on."""
        for step in self._steps.values():
            step.reset()

    def counters(self) -> dict[str, dict[str, int]]:
        """Return the counters of each filter, in order, by name; a second one of a name is called ``name_2``."""
        return {name: dict(step.counters) for name, step in self._steps.items()}


@numba.njit(cache=True, nogil=True)
@no_type_check
def _keep_unmarked(words, out):
    count = 0
    for index in range(len(words)):
        out[count, 0] = words[index, 0]
        out[count, 1] = words[index, 1]
        count += (words[index, 1] & MARKS) == 0
    return count


def kept(batch: EventBatch) -> EventBatch:
    """Return a batch without the events that are marked; itself when none can be.

    The events of the result are a copy. Triggers and what is known about losses stay.
    """
    if not batch.marked:
        return batch
    words = as_words(as_events(batch.events))
    out = np.empty_like(words)
    count = _keep_unmarked(words, out)
    return EventBatch(out[:count].reshape(-1).view(EVENT_DTYPE), batch.triggers, batch.complete, batch.lost_packets)
