# SPDX-License-Identifier: Apache-2.0
"""Where every event went: the books of one activation of ``event_camera``.

``events_read == events_sent + events_withheld + events_pending + sum(events_dropped)`` after every call.
This module refuses to know about packets, files and messages.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from neuro_ros.events.window_base import BaseWindower, SpikeWindow

__all__ = ["CameraAccount"]

#: The windower counts a window that it was told to forget under this name.
_FORGOTTEN = "reset"


@dataclass
class CameraAccount:
    """Totals since activation.

    Parameters
    ----------
    windows_sent, windows_withheld, windows_incomplete : int
        Windows published; windows below the wake threshold; published ones with a known loss.
    events_sent, events_withheld : int
        Events offered to those windows.
    events_binned, events_filtered, events_lost : int
        What became of the events of published windows.
    """

    windows_sent: int = 0
    windows_withheld: int = 0
    windows_incomplete: int = 0
    events_sent: int = 0
    events_withheld: int = 0
    events_binned: int = 0
    events_filtered: int = 0
    events_lost: int = 0
    _read_before: int = 0
    _dropped_before: Counter[str] = field(default_factory=Counter)
    _windower: BaseWindower | None = None

    def follow(self, windower: BaseWindower | None) -> None:
        """Count a new windower from here on; the events that the old one still held count as dropped."""
        if self._windower is not None:
            self._windower.reset()
            self._read_before += self._windower.counters.events_in
            self._dropped_before.update(self._windower.counters.dropped_outside)
        self._windower = windower

    def sent(self, window: SpikeWindow) -> None:
        """Count a window that is published."""
        self.windows_sent += 1
        self.windows_incomplete += not window.complete
        self.events_sent += window.events_in
        self.events_binned += window.events_binned
        self.events_filtered += window.events_filtered
        self.events_lost += window.events_dropped

    def withheld(self, window: SpikeWindow) -> None:
        """Count a window that is not published."""
        self.windows_withheld += 1
        self.events_withheld += window.events_in

    @property
    def events_read(self) -> int:
        """Events that were offered since activation."""
        return self._read_before + (self._windower.counters.events_in if self._windower is not None else 0)

    @property
    def events_dropped(self) -> dict[str, int]:
        """Events that never reached a window, by reason; ``unfinished`` = of a window cut off by deactivation."""
        dropped = Counter(self._dropped_before)
        if self._windower is not None:
            dropped.update(self._windower.counters.dropped_outside)
        dropped["unfinished"] += dropped.pop(_FORGOTTEN, 0)
        return dict(dropped)

    @property
    def events_pending(self) -> int:
        """Events in the window that is still open."""
        dropped = sum(self.events_dropped.values())
        return self.events_read - self.events_sent - self.events_withheld - dropped

    @property
    def loss(self) -> int:
        """Everything lost so far, to tell whether something is being lost now."""
        return self.events_lost + self.windows_incomplete + sum(self.events_dropped.values())

    def as_dict(self) -> dict[str, int]:
        """Return the books for diagnostics."""
        return {
            "events_read": self.events_read,
            "events_sent": self.events_sent,
            "events_binned": self.events_binned,
            "events_filtered": self.events_filtered,
            "events_lost": self.events_lost,
            "events_withheld": self.events_withheld,
            "events_pending": self.events_pending,
            **{f"events_dropped_{reason}": count for reason, count in sorted(self.events_dropped.items())},
            "windows_sent": self.windows_sent,
            "windows_withheld": self.windows_withheld,
            "windows_incomplete": self.windows_incomplete,
        }
