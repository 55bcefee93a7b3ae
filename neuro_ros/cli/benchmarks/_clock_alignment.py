# SPDX-License-Identifier: Apache-2.0
"""Play a recording for hours of simulated time with a drifting sensor clock, through the cores of the real nodes.

``event_camera`` cuts the windows and stamps them, ``clock_sync`` follows the clock; host time is simulated, so that ten
hours take minutes. What comes out is where each window says that it ended, against where it did.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuro_ros.cli.benchmarks._clock_simulation import DELAYS, RATE_HZ, one_way
from neuro_ros.cores.clock_sync import ClockSyncCore
from neuro_ros.cores.core import Clocks, Output
from neuro_ros.cores.event_camera import EventCameraCore
from neuro_ros.cores.messages import SpikeTensor
from neuro_ros.cores.parameters import build
from neuro_ros.cores.parameters.clock_sync import ClockSyncParameters
from neuro_ros.cores.parameters.event_camera import EventCameraParameters
from neuro_ros.events.formats import open_recording
from neuro_ros.events.types import EventBatch

__all__ = ["Alignment", "Played", "play", "read_slices"]

_S = 1_000_000_000
_SLICE_NS = _S // RATE_HZ
_SIDE = 16


@dataclass(frozen=True)
class Played:
    """A recording cut into packets.

    Parameters
    ----------
    width, height : int
        Of the sensor [px].
    packets : list of ndarray of EVENT_DTYPE
        Events of a tenth of a second each, times from its start [ns]; none is empty.
    """

    width: int
    height: int
    packets: list[NDArray[np.void]]


@dataclass(frozen=True)
class Alignment:
    """Where windows say that they ended, against where they did; one entry a window.

    Parameters
    ----------
    t_s : (n,) float64
        Since the start [s].
    error_ns : (n,) int64
        Stamp minus truth [ns], without the least delay, which nobody sees.
    naive_ns : (n,) int64
        The same for sensor time plus the first offset.
    state : (n,) uint8
        Clock state of the window.
    backward : int
        Stamps that were earlier than the one before.
    """

    t_s: NDArray[np.float64]
    error_ns: NDArray[np.int64]
    naive_ns: NDArray[np.int64]
    state: NDArray[np.uint8]
    backward: int


def read_slices(path: str, events: int = 20) -> Played:
    """Read a recording and thin it out to `events` events a packet, so that hours of it are played in minutes.

    Raises
    ------
    NeuroRosError
        It cannot be read, or holds no event.
    """
    with open_recording(path) as recording:
        all_events = np.concatenate([batch.events.copy() for batch in recording.batches()])
        size = recording.width, recording.height
    since_ns = all_events["t"] - all_events["t"][0]
    packets = []
    for number in range(int(since_ns[-1]) // _SLICE_NS):
        inside = np.flatnonzero(since_ns // _SLICE_NS == number)
        if len(inside):
            packet = all_events[inside[:: max(1, len(inside) // events)]]
            packet["t"] -= all_events["t"][0] + number * _SLICE_NS
            packets.append(packet)
    return Played(*size, packets)


def play(recorded: Played, hours: float, seed: int, with_model: bool = True) -> Alignment:
    """Play `recorded` over and over for `hours` of simulated time.

    Parameters
    ----------
    recorded : Played
        What the camera sees.
    hours : float
        Of sensor time.
    seed : int
        Of the delays.
    with_model : bool
        False = nobody runs ``clock_sync``: windows are stamped by arrivals.
    """
    values = {"source": "file", "path": "played", "width": _SIDE, "height": _SIDE}
    camera = EventCameraCore(build(EventCameraParameters, values), Clocks.replay())
    follower = ClockSyncCore(build(ClockSyncParameters, {}), Clocks.replay())
    arrivals = one_way(DELAYS[0], hours, seed)
    begin_ns = arrivals.sensor_ns[0]
    camera.set_sensor(recorded.width, recorded.height)
    camera.activate(arrivals.host_ns[0])
    follower.activate(arrivals.host_ns[0])
    rows: list[tuple[int, int, int]] = []

    def keep(outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output.message, SpikeTensor):
                tensor = output.message
                rows.append((tensor.sensor_end_ns, tensor.header.stamp, tensor.clock_state))

    for k, (start_ns, host_ns) in enumerate(zip(arrivals.sensor_ns, arrivals.host_ns, strict=True)):
        events = recorded.packets[k % len(recorded.packets)].copy()
        # The newest event is the one whose arrival is simulated: it ends the packet.
        events["t"] += start_ns - events["t"][-1]
        outputs = list(camera.feed(EventBatch(events), host_ns))
        keep(outputs)
        for output in outputs if with_model else ():
            if output.topic in follower.inputs:
                for model in follower.receive(output.topic, output.message, host_ns):
                    keep(list(camera.receive(model.topic, model.message, host_ns)))
    table = np.array(rows, dtype=np.int64)
    sensor_ns, stamp_ns = table[:, 0], table[:, 1]
    truth_ns = arrivals.truth_at(sensor_ns)
    return Alignment(
        t_s=(sensor_ns - begin_ns) / _S,
        error_ns=stamp_ns - truth_ns,
        naive_ns=sensor_ns + (arrivals.host_ns[0] - begin_ns) - truth_ns,
        state=table[:, 2].astype(np.uint8),
        backward=int(np.count_nonzero(np.diff(stamp_ns) < 0)),
    )
