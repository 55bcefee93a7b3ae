# SPDX-License-Identifier: Apache-2.0
"""An active camera core whose books are checked after each call, and a camera that sends packets to it."""

import dataclasses
from pathlib import Path

import numpy as np

from neuro_ros.cores.event_camera import EventCameraCore
from neuro_ros.cores.messages import EventPacket, Header
from neuro_ros.cores.parameters import build
from neuro_ros.cores.parameters.event_camera import EventCameraParameters
from neuro_ros.events import (
    EVENT_DTYPE,
    TRIGGER_DTYPE,
    EventBatch,
)
from neuro_ros.events.encodings.evt3 import Evt3Encoder

DATA = Path(__file__).resolve().parents[1] / "data"
BAG = str(DATA / "test_events_1")
MS = 1_000_000
SECOND = 1_000_000_000
LENGTH_NS = 50 * MS
HOST_NS = 1_700_000_000 * SECOND
SIDE = 64


def events_at(*times_ns, x=10, y=20, p=1):
    events = np.zeros(len(times_ns), EVENT_DTYPE)
    events["t"] = times_ns
    events["x"], events["y"], events["p"] = x, y, p
    return events


NO_EVENTS = events_at()


class Driver:
    """An active core whose books are checked after each call."""

    def __init__(self, clocks=None, activate_ns=HOST_NS, **values):
        values = {name.replace("__", "."): value for name, value in values.items()}
        defaults = {"width": 32, "height": 32, "idle_grace_s": 0.05}
        self.parameters = build(EventCameraParameters, {**defaults, **values})
        self.core = EventCameraCore(self.parameters, clocks)
        self.outputs = []
        self.sent = 0
        if self.parameters.source != "topic" and not self.parameters.sensor_width:
            self.core.set_sensor(SIDE, SIDE)
        if activate_ns is not None:
            self.core.activate(activate_ns)

    def keep(self, outputs):
        self.outputs += outputs
        account = self.core.account
        dropped = sum(account.events_dropped.values())
        assert account.events_pending >= 0
        assert account.events_read == account.events_sent + account.events_withheld + account.events_pending + dropped
        return list(outputs)

    def feed(self, events, until_ns=None, now_ns=HOST_NS, label=None, **batch):
        return self.keep(self.core.feed(EventBatch(events, **batch), now_ns, until_ns, label))

    def packet(self, packet, now_ns=HOST_NS):
        return self.keep(self.core.receive("events", packet, now_ns))

    def of(self, topic, outputs=None):
        return [item.message for item in (self.outputs if outputs is None else outputs) if item.topic == topic]

    @property
    def windows(self):
        return self.of("spikes")

    def health(self, name, now_ns=HOST_NS):
        (found,) = [item for item in self.core.diagnose(now_ns) if item.name == name]
        return found


def fed(**values):
    return Driver(**{"source": "simulator", **values})


class Camera:
    """A driver node that sends EVT3 packets, as a real one does."""

    def __init__(self, width=SIDE, height=SIDE, seq=0):
        self.encoder, self.seq, self.width, self.height = Evt3Encoder(), seq, width, height

    def packet(self, events=NO_EVENTS, triggers=None, **changes):
        payload = self.encoder.encode(events, np.zeros(0, TRIGGER_DTYPE) if triggers is None else triggers)
        packet = EventPacket(Header(1, "driver"), self.height, self.width, self.seq, 0, "evt3", False, payload)
        self.seq += 1
        return dataclasses.replace(packet, **changes)
