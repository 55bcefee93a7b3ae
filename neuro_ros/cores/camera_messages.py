# SPDX-License-Identifier: Apache-2.0
"""What ``event_camera`` says: spike tensors, labels, clock samples, triggers and pictures, as messages.

Numbers what it makes and knows the clock; where windows come from is not known here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neuro_ros.cores.messages import ClockSample, ExternalTrigger, Gesture, Header, Image, SpikeTensor
from neuro_ros.cores.sensor_time import SensorTime
from neuro_ros.cores.sources.base import Label
from neuro_ros.events.tensor import encode_tensor
from neuro_ros.events.types import EventBatch
from neuro_ros.events.window_base import SpikeWindow

__all__ = ["CameraMessages", "spike_tensor"]


def spike_tensor(window: SpikeWindow, *, constant_size: bool = False, **fields: Any) -> SpikeTensor:
    """Return a window as a message.

    Parameters
    ----------
    window : SpikeWindow
    constant_size : bool
        Write it as a bitmap, however little is in it.
    **fields
        What a window does not know: header, sequence, epoch, times of the host, clock state.
    """
    encoding, data = encode_tensor(window.bitmap, window.cells, window.active, constant_size=constant_size)
    return SpikeTensor(
        sensor_start_ns=window.start_ns,
        sensor_end_ns=window.end_ns,
        bins=window.bins,
        channels=window.channels,
        height=window.height,
        width=window.width,
        encoding=encoding,
        active=window.active,
        events_in=window.events_in,
        events_binned=window.events_binned,
        events_filtered=window.events_filtered,
        events_dropped=window.events_dropped,
        complete=window.complete,
        data=data,
        **fields,
    )


class CameraMessages:
    """Makes the messages of one activation.

    Parameters
    ----------
    time : SensorTime
        Turns sensor time into stamps; the caller teaches it.
    epoch : int
        Of the activation.
    frame_id : str
        Stream id; may be changed between messages.
    constant_size : bool
        Write every tensor as a bitmap.

    Attributes
    ----------
    sequence : int
        Number of the next tensor.
    samples, triggers : int
        Clock samples and triggers made.
    """

    def __init__(self, time: SensorTime, epoch: int, frame_id: str, constant_size: bool = False) -> None:
        self._time = time
        self.epoch = epoch
        self.frame_id = frame_id
        self._constant_size = constant_size
        self.sequence = self.samples = self.triggers = 0

    def tensor(self, window: SpikeWindow, withheld: int, closed_at_ns: int) -> SpikeTensor:
        """Return a window as the next message; `withheld` were left out since the last one."""
        end_ns, clock_state = self._time.host_ns(window.end_ns)
        start_ns, _ = self._time.host_ns(window.start_ns)
        self.sequence += 1
        return spike_tensor(
            window,
            constant_size=self._constant_size,
            header=Header(end_ns, self.frame_id),
            sequence=self.sequence - 1,
            epoch=self.epoch,
            windows_withheld=withheld,
            window_start=start_ns,
            closed_at=closed_at_ns,
            clock_state=clock_state,
        )

    @staticmethod
    def truth(tensor: SpikeTensor, label: Label) -> Gesture:
        """Return what was shown in a window."""
        index, name = label
        return Gesture(
            header=Header(tensor.header.stamp, tensor.header.frame_id),
            sequence=tensor.sequence,
            epoch=tensor.epoch,
            label=name,
            class_index=index,
            confidence=math.nan,
        )

    def clock_sample(self, clock_id: str, sensor_ns: int, arrival_ns: int) -> ClockSample:
        """Return when the event of a sensor time arrived."""
        self.samples += 1
        return ClockSample(
            header=Header(arrival_ns, self.frame_id),
            clock_id=clock_id,
            sensor_ns=sensor_ns,
            host_arrival_ns=arrival_ns,
            sequence=self.samples - 1,
        )

    def external_triggers(self, batch: EventBatch) -> list[ExternalTrigger]:
        """Return the edges of a batch with their host times."""
        found = []
        for time_ns, number, edge in batch.triggers.tolist():
            host_ns, clock_state = self._time.host_ns(time_ns)
            found.append(ExternalTrigger(Header(host_ns, self.frame_id), number, edge, time_ns, clock_state))
        self.triggers += len(found)
        return found

    def image(self, tensor: SpikeTensor, pixels: np.ndarray) -> Image:
        """Return a picture (height, width, 3) uint8 of a window that was sent."""
        height, width, _ = pixels.shape
        return Image(
            header=Header(tensor.header.stamp, tensor.header.frame_id),
            height=height,
            width=width,
            encoding="rgb8",
            is_bigendian=0,
            step=3 * width,
            data=pixels.tobytes(),
        )
