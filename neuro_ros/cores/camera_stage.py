# SPDX-License-Identifier: Apache-2.0
"""From decoded events to the windows that are sent: overload, filters, windows, wake on motion, and the books.

One stage serves one activation and, until :meth:`CameraStage.fit` is called again, one sensor. Messages, packets and
host time are not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

from neuro_ros.cores.camera_account import CameraAccount
from neuro_ros.cores.overload import Overload
from neuro_ros.cores.parameters.event_camera import EventCameraParameters, WakeParameters
from neuro_ros.events.count_windows import CountWindower
from neuro_ros.events.filters import FilterChain
from neuro_ros.events.geometry import Geometry
from neuro_ros.events.types import EventBatch
from neuro_ros.events.wake import Decision, WakeOnMotion, WakeSettings
from neuro_ros.events.window_base import BaseWindower, SpikeWindow
from neuro_ros.events.windower import Windower

__all__ = ["CameraStage", "SentWindow"]

T = TypeVar("T")

_NS_PER_S = 1_000_000_000
_UINT32_MAX = 2**32 - 1


class SentWindow(NamedTuple, Generic[T]):
    """A window to be published.

    Parameters
    ----------
    window : SpikeWindow
    note : object
        What the caller gave with it.
    withheld : int
        Windows withheld since the one before.
    """

    window: SpikeWindow
    note: T
    withheld: int


def _wake_settings(parameters: WakeParameters) -> WakeSettings:
    return WakeSettings(
        wake_events_hz=parameters.threshold_events_hz,
        sleep_events_hz=parameters.sleep_ratio * parameters.threshold_events_hz,
        sleep_after_s=parameters.sleep_after_s,
        pre_roll=parameters.pre_roll,
    )


class CameraStage(Generic[T]):
    """What lies between a decoder and the publisher.

    Parameters
    ----------
    parameters : EventCameraParameters
        Validated.

    Attributes
    ----------
    account : CameraAccount
        Where every event went, since construction.
    overload : Overload
        What gave way.
    """

    def __init__(self, parameters: EventCameraParameters) -> None:
        self._parameters = parameters
        self.account = CameraAccount()
        self.overload = Overload(parameters.overload.policy, parameters.overload.packets)
        self._wake: WakeOnMotion[T] = WakeOnMotion(_wake_settings(parameters.wake))
        self._filters: FilterChain | None = None
        self._windower: BaseWindower | None = None
        self._withheld = 0

    # ---------------------------------------------------------------- set-up

    @staticmethod
    def _make(parameters: EventCameraParameters, width: int, height: int) -> tuple[FilterChain, BaseWindower]:
        chain = FilterChain(parameters.event_filters(), width, height)
        crop = parameters.crop
        area = (crop.x0, crop.y0, crop.width, crop.height) if crop.width else None
        geometry = Geometry.fit(chain.width, chain.height, parameters.width, parameters.height, area)
        bins, length_ns = parameters.bins, parameters.window_length_ns
        gap_ns = round(parameters.max_gap_s * _NS_PER_S)
        if parameters.windowing == "time":
            return chain, Windower(length_ns, bins, geometry, chain.width, chain.height, max_gap_ns=gap_ns)
        return chain, CountWindower(
            parameters.window_events,
            bins,
            geometry,
            chain.width,
            chain.height,
            length_ns=length_ns if parameters.windowing == "both" else None,
            max_gap_ns=gap_ns,
        )

    @classmethod
    def check(cls, parameters: EventCameraParameters, width: int, height: int) -> None:
        """Check that a sensor of this size [px] can be served.

        Raises
        ------
        NeuroRosError
            When a filter or the crop does not fit it.
        """
        cls._make(parameters, width, height)

    def fit(self, width: int, height: int) -> None:
        """Begin with a sensor of this size [px]; what the last one left in an open window counts as dropped.

        Raises
        ------
        NeuroRosError
            As :meth:`check`; nothing has changed then.
        """
        self._filters, self._windower = self._make(self._parameters, width, height)
        self.account.follow(self._windower)

    def reconfigure(self, parameters: EventCameraParameters) -> None:
        """Use other thresholds from the next window on."""
        self._parameters = parameters
        self._wake.settings = _wake_settings(parameters.wake)

    @property
    def ready(self) -> bool:
        """True once a sensor is fitted."""
        return self._windower is not None

    def divides(self, time_ns: int) -> bool:
        """Tell whether a window ends and another begins at this sensor time, whatever the events."""
        length_ns = self._windower.length_ns if self._windower is not None else None
        return length_ns is not None and time_ns % length_ns == 0

    def filter_counters(self) -> dict[str, int]:
        """Return what each filter has counted, as ``filter_NAME_COUNTER``."""
        if self._filters is None:
            return {}
        return {
            f"filter_{name}_{counter}": count
            for name, counters in self._filters.counters().items()
            for counter, count in counters.items()
        }

    # ---------------------------------------------------------------- events

    def take(self, batch: EventBatch, waiting: int) -> Iterator[SpikeWindow]:
        """Take the next events and yield the windows that they close, not decided about yet.

        Parameters
        ----------
        batch : EventBatch
            Not kept.
        waiting : int
            Packets that wait behind it.
        """
        if self._windower is None or self._filters is None:
            return
        batch = self.overload.relieve(batch, waiting, self._windower)
        yield from self._windower.windows(self._filters.apply(batch))

    def give_up(self, batch: EventBatch) -> None:
        """Count the events of a batch as dropped (``flush``), outside any window."""
        if self._windower is not None:
            self._windower.note_dropped(len(batch.events), "flush")

    def advance(self, time_ns: int) -> list[SpikeWindow]:
        """Say that all events before `time_ns` have been given; return the windows that end by then."""
        return [] if self._windower is None else self._windower.advance(time_ns)

    def flush(self) -> list[SpikeWindow]:
        """End the stream, of which another may follow; return the window that is open."""
        if self._windower is None or self._filters is None:
            return []
        self._filters.reset()
        return self._windower.flush()

    def decide(self, window: SpikeWindow, note: T) -> Iterator[SentWindow[T]]:
        """Take a window and yield those that are to be sent because of it; the books follow."""
        yield from self._enter(self._wake.take(window, note))

    def end(self) -> None:
        """Withhold the windows that wait for a decision: nothing comes after them."""
        for _ in self._enter(self._wake.flush()):
            raise RuntimeError("a stream that ends sends nothing")

    def close(self) -> None:
        """Give up the window that is open; its events count as dropped."""
        self.end()
        self.account.follow(None)
        self._windower = self._filters = None

    def _enter(self, decisions: Iterable[Decision[T]]) -> Iterator[SentWindow[T]]:
        for window, note, send in decisions:
            if send:
                self.account.sent(window)
                withheld, self._withheld = self._withheld, 0
                yield SentWindow(window, note, withheld)
            else:
                self.account.withheld(window)
                self._withheld = min(self._withheld + 1, _UINT32_MAX)
