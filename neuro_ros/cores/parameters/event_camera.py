# SPDX-License-Identifier: Apache-2.0
"""Parameters of the ``event_camera`` node.

This module refuses to know about recordings and cameras; it only says which values make sense together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from neuro_ros.cores.parameters._fields import ParameterError, parameter
from neuro_ros.cores.sources import PLAYED, SOURCES

if TYPE_CHECKING:
    from neuro_ros.events.filters import EventFilter

__all__ = [
    "MAX_BITMAP_BYTES",
    "CropParameters",
    "EventCameraParameters",
    "ImageParameters",
    "InivationParameters",
    "OverloadParameters",
    "SimulatorParameters",
    "WakeParameters",
]

#: Largest tensor that is published [bytes as a bitmap]. Between 400 KB and 600 KB the default DDS transports fall off a
#: cliff: one message then takes 25 ms instead of 1.5 ms, and a best-effort subscriber receives nothing at all.
MAX_BITMAP_BYTES = 400_000

_POLARITIES = 2


def _bitmap_bytes(bins: int, height: int, width: int) -> int:
    return -(-bins * _POLARITIES * height * width // 8)


@dataclass(frozen=True)
class CropParameters:
    """The part of the sensor that is scaled to the tensor; all zero = the largest centred square."""

    x0: int = parameter(0, "left column of the crop, behind the filters", unit="px", minimum=0, maximum=65535)
    y0: int = parameter(0, "top row of the crop on the sensor", unit="px", minimum=0, maximum=65535)
    width: int = parameter(0, "columns of the crop; 0 = largest centred square", unit="px", minimum=0, maximum=65535)
    height: int = parameter(0, "rows of the crop; 0 = largest centred square", unit="px", minimum=0, maximum=65535)

    def __post_init__(self) -> None:
        if (self.width == 0) != (self.height == 0):
            raise ParameterError(
                f"crop.width {self.width} and crop.height {self.height}: give both, or 0 for the largest centred square"
            )
        if self.width == 0 and (self.x0 or self.y0):
            raise ParameterError(
                f"crop.x0 {self.x0} and crop.y0 {self.y0} need crop.width and crop.height, which are 0 (centred square)"
            )


@dataclass(frozen=True)
class WakeParameters:
    """Wake on motion: while little happens no windows are sent; the next one that is tells how many were withheld."""

    threshold_events_hz: float = parameter(
        0.0,
        "a window with at least this rate of events, those that filters took out aside, wakes; 0 = send all",
        unit="1/s",
        minimum=0.0,
        maximum=1e9,
        dynamic=True,
    )
    sleep_ratio: float = parameter(
        0.5, "a window below this share of the threshold is quiet", minimum=0.0, maximum=1.0, dynamic=True
    )
    sleep_after_s: float = parameter(
        0.5,
        "windows are sent until more than this much sensor time in a row was quiet",
        unit="s",
        minimum=0.0,
        maximum=3600.0,
        dynamic=True,
    )
    pre_roll: int = parameter(
        1, "quiet windows just before the one that wakes that are sent with it", minimum=0, maximum=100, dynamic=True
    )


@dataclass(frozen=True)
class ImageParameters:
    """The picture on `spikes/image`, drawn while somebody looks."""

    scale: int = parameter(4, "side of a cell in the picture", unit="px", minimum=1, maximum=16, dynamic=True)


@dataclass(frozen=True)
class OverloadParameters:
    """What gives way when packets come faster than they are worked off."""

    policy: str = parameter(
        "drop_oldest",
        "source topic, while too many packets wait: drop_oldest = give up whole packets, oldest first; "
        "subsample = keep one event in 2 to 64; both are counted",
        choices=("drop_oldest", "subsample"),
    )
    packets: int = parameter(
        256,
        "packets that may wait before anything gives way, of 1000 a second at most; twice as many are held, or 64 MB",
        minimum=1,
        maximum=4096,
    )
    late_policy: str = parameter(
        "keep",
        "source topic, once packets have waited for twice a window: keep = work them off and report it; flush = give "
        "up those that wait, once an episode, counted",
        choices=("keep", "flush"),
    )


@dataclass(frozen=True)
class InivationParameters:
    """A camera of iniVation."""

    address: str = parameter(
        "",
        "which camera: empty = the first on USB, a serial number, HOST:PORT or the path of a socket of a dv-processing "
        "server, or the path of an AEDAT4 file",
    )


@dataclass(frozen=True)
class SimulatorParameters:
    """The built-in gesture simulator."""

    seed: int = parameter(
        1, "order and performance of the gestures, and the sensor's noise", minimum=0, maximum=2**31 - 1
    )
    subject_seed: int = parameter(
        30_000,
        "who acts; 0 to 9999 were trained on, 20000 to 29999 are the test split, from 30000 on are free",
        minimum=0,
        maximum=2**31 - 1,
    )
    look: str = parameter(
        "full",
        "full: people, light, noise, shake and background from the ranges of the test split, as the shipped model was "
        "trained on such; plain: flat bodies before a still wall, ideal pixels",
        choices=("full", "plain"),
    )
    gesture_duration_s: float = parameter(
        3.0, "how long each gesture is acted", unit="s", minimum=0.005, maximum=3600.0
    )
    gestures: int = parameter(
        0, "the performance ends after so many gestures, like a recording; 0 = never", minimum=0, maximum=10**9
    )
    gestures_per_subject: int = parameter(
        0, "after so many gestures somebody else acts; 0 = never", minimum=0, maximum=10**9
    )


@dataclass(frozen=True)
class EventCameraParameters:
    """Everything that can be set on ``event_camera``; see the descriptions."""

    source: str = parameter(
        "topic",
        "where events come from: a driver's packets on `events`, a recording, the built-in gesture simulator, or an "
        "iniVation camera",
        choices=tuple(SOURCES),
    )
    path: str = parameter("", "recording to play (source file)")
    encoding: str = parameter("", "how events are coded in a recording without a header, such as evt3; empty = detect")
    sensor_width: int = parameter(
        0,
        "columns of the sensor, for a headerless recording and the simulator; 0 = the recording says, simulator 128",
        unit="px",
        minimum=0,
        maximum=65535,
    )
    sensor_height: int = parameter(
        0,
        "rows of the sensor, for a headerless recording and the simulator; 0 = the recording says, simulator 128",
        unit="px",
        minimum=0,
        maximum=65535,
    )
    rate: float = parameter(
        1.0,
        "pace of a recording or of the simulator against its sensor time; 0 = as fast as windows are delivered",
        minimum=0.0,
        maximum=1000.0,
    )
    loop: bool = parameter(False, "start a recording or the simulator again at its end; sensor time goes on growing")
    wait_for_subscribers: int = parameter(
        0,
        "a recording or the simulator starts once `spikes` has this many subscribers; 0 = at once",
        minimum=0,
        maximum=1000,
    )
    wait_for_nodes: tuple[str, ...] = parameter(
        [""],
        "a recording or the simulator starts once these nodes hear `spikes`; names in the node's own namespace, or "
        "absolute; empty names count for nothing",
    )
    frame_id: str = parameter(
        "event_camera_optical", "optical frame of the camera, the stream id everywhere; empty = as in the packets"
    )
    clock_id: str = parameter("", "name of the sensor's clock in `clock/sample` and `clock/model`; empty = frame_id")
    clock_sample_rate_hz: float = parameter(
        10.0, "at most so many clock samples a second; 0 = none", unit="1/s", minimum=0.0, maximum=1000.0, dynamic=True
    )
    window_length_ns: int = parameter(
        50_000_000,
        "length of a window in sensor time; the model must have been trained with it",
        unit="ns",
        minimum=1000,
        maximum=10_000_000_000,
    )
    windowing: str = parameter(
        "time",
        "what closes a window: time = its length is over, count = window_events have fallen into it, both = whichever "
        "comes first; the network of this package takes windows by time",
        choices=("time", "count", "both"),
    )
    window_events: int = parameter(
        50_000, "events that close a window by count, of those that fall into a cell", minimum=1, maximum=1 << 22
    )
    bins: int = parameter(
        10, "time bins in a window; the model must have been trained with them", minimum=1, maximum=1000
    )
    width: int = parameter(128, "columns of the tensor; the model states them", unit="px", minimum=1, maximum=65535)
    height: int = parameter(128, "rows of the tensor; the model states them", unit="px", minimum=1, maximum=65535)
    constant_size: bool = parameter(
        False, "spike tensors are always bitmaps, so that their size tells nothing about the scene"
    )
    filters: str = parameter(
        "",
        "filters that events pass, in order and apart by spaces, each as NAME[:KEY=VALUE,...], such as "
        "`hot_pixels background_activity:within_us=2000`; `neuro_ros window --help` names them",
    )
    idle_grace_s: float = parameter(
        0.05,
        "camera: without events, a window is closed this long after its estimated end; 0 = wait for events",
        unit="s",
        minimum=0.0,
        maximum=60.0,
        dynamic=True,
    )
    max_gap_s: float = parameter(
        10.0,
        "a jump forward of sensor time beyond this is a new start, not a pause filled with empty windows",
        unit="s",
        minimum=0.1,
        maximum=3600.0,
    )
    event_timeout_s: float = parameter(
        2.0,
        "camera: diagnostics warn after this long without a packet",
        unit="s",
        minimum=0.1,
        maximum=3600.0,
        dynamic=True,
    )
    crop: CropParameters = field(default_factory=CropParameters)
    wake: WakeParameters = field(default_factory=WakeParameters)
    image: ImageParameters = field(default_factory=ImageParameters)
    overload: OverloadParameters = field(default_factory=OverloadParameters)
    simulator: SimulatorParameters = field(default_factory=SimulatorParameters)
    inivation: InivationParameters = field(default_factory=InivationParameters)

    def __post_init__(self) -> None:
        if self.source == "file" and not self.path:
            raise ParameterError("path is empty; source file needs the path of a recording")
        if (self.sensor_width == 0) != (self.sensor_height == 0):
            raise ParameterError(
                f"sensor_width {self.sensor_width} and sensor_height {self.sensor_height}: give both, or 0 for both"
            )
        if self.window_length_ns < self.bins:
            raise ParameterError(f"window_length_ns {self.window_length_ns} is shorter than bins {self.bins}")
        self.event_filters()
        if not self.frame_id and self.source != "topic":
            raise ParameterError(f"frame_id is empty; source {self.source} has no packets to take it from")
        if _bitmap_bytes(self.bins, self.height, self.width) > MAX_BITMAP_BYTES:
            raise ParameterError(self._too_large())

    def _too_large(self) -> str:
        factor, height, width = 1, self.height, self.width
        while _bitmap_bytes(self.bins, height, width) > MAX_BITMAP_BYTES:  # a single pixel fits with the most bins
            factor += 1
            height, width = max(1, self.height // factor), max(1, self.width // factor)
        return (
            f"a tensor of {self.bins} x {_POLARITIES} x {self.height} x {self.width} cells takes "
            f"{_bitmap_bytes(self.bins, self.height, self.width)} B, above the {MAX_BITMAP_BYTES} that travel well: "
            f"down-sample by {factor}: width {width}, height {height}"
        )

    def event_filters(self) -> tuple[EventFilter, ...]:
        """Return the filters that `filters` names.

        Raises
        ------
        ParameterError
            When there is no such filter, or its parameters cannot be.
        """
        if not self.filters.strip():
            return ()
        from neuro_ros.events.filters import FilterError, parse_filter  # where none is asked for, none is imported

        try:
            return tuple(parse_filter(text) for text in self.filters.split())
        except FilterError as error:
            raise ParameterError(f"filters: {error}") from None

    @property
    def live(self) -> bool:
        """True when events come from a camera, as they happen, and not from something that is played."""
        return self.source not in PLAYED

    @property
    def effective_clock_id(self) -> str:
        """Name of the sensor's clock."""
        return self.clock_id or self.frame_id
