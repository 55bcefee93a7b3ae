# SPDX-License-Identifier: Apache-2.0
"""Logic of the ``event_camera`` node: a driver's packets, or a source's batches, in; spike tensors out.

Packets come through `EventCameraCore.receive`; a recording or the simulator is fed slice by slice through
`EventCameraCore.feed`. Both meet after decoding. This module refuses to know about rclpy, threads and pacing.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple

from neuro_ros.cores.camera_account import CameraAccount
from neuro_ros.cores.camera_messages import CameraMessages
from neuro_ros.cores.camera_stage import CameraStage
from neuro_ros.cores.core import Clocks, Core, Health, HealthLevel, Output
from neuro_ros.cores.messages import (
    ClockModel,
    ClockSample,
    EventPacket,
    ExternalTrigger,
    Gesture,
    Image,
    SpikeTensor,
)
from neuro_ros.cores.packets import PacketStream
from neuro_ros.cores.parameters.event_camera import EventCameraParameters
from neuro_ros.cores.sensor_time import SensorTime
from neuro_ros.cores.sources.base import Label
from neuro_ros.cores.watch import AgeWatch
from neuro_ros.errors import NeuroRosError
from neuro_ros.events.picture import draw_window
from neuro_ros.events.types import DecodeCounters, EventBatch
from neuro_ros.events.warm_up import warm_up
from neuro_ros.events.window_base import SpikeWindow

__all__ = ["EventCameraCore"]

_LOG = logging.getLogger(__name__)
_NS_PER_S = 1_000_000_000
_IMAGE = "spikes/image"
#: Ticks in a row without a packet before windows are closed by the host's clock.
_IDLE_TICKS = 2


class _Shown(NamedTuple):
    """What is known about a window besides its events."""

    label: Label | None
    closed_at_ns: int


class EventCameraCore(Core):
    """Cut a camera's stream into windows and publish them.

    Parameters
    ----------
    parameters : EventCameraParameters
        Validated.
    clocks : Clocks
        For `closed_at` only.

    Attributes
    ----------
    state : str
        inactive, waiting (nothing arrived yet), running, finished or failed.
    waiting : Callable[[], int]
        Returns how many packets wait behind the one in hand; the driver that knows sets it.
    oldest_ns : Callable[[], int | None]
        Returns when the packet arrived that has waited longest, None while none waits; the driver that knows sets it.
    wanted : Callable[[str], bool]
        Tells whether anybody listens to an output that is made for people; the driver sets it.

    Raises
    ------
    NeuroRosError
        When the crop or a filter does not fit a sensor whose size is given.
    """

    inputs: ClassVar[Mapping[str, type]] = {"events": EventPacket, "clock/model": ClockModel}
    outputs: ClassVar[Mapping[str, type]] = {
        "spikes": SpikeTensor,
        "clock/sample": ClockSample,
        "events/trigger": ExternalTrigger,
        "truth": Gesture,
        _IMAGE: Image,
    }

    def __init__(self, parameters: EventCameraParameters, clocks: Clocks | None = None) -> None:
        if parameters.source != "topic":  # then nobody needs the driver's message package
            self.inputs = {"clock/model": ClockModel}  # type: ignore[misc]
        self._parameters = parameters
        self._clocks = clocks or Clocks()
        self.waiting: Callable[[], int] = lambda: 0
        self.oldest_ns: Callable[[], int | None] = lambda: None
        self.wanted: Callable[[str], bool] = lambda _topic: False
        self._sensor: tuple[int, int] | None = None
        self._source_counters: Callable[[], DecodeCounters] | None = None
        self._time = SensorTime()
        self._time.residual_limit_ns = parameters.window_length_ns // parameters.bins
        self._epoch = 0
        self._activated_ns = 0
        warm_up(parameters.event_filters())
        self._begin()
        self.state = "inactive"
        if parameters.sensor_width:
            self.set_sensor(parameters.sensor_width, parameters.sensor_height)

    def _begin(self) -> None:
        """Open the books of an activation."""
        self._stage: CameraStage[_Shown] = CameraStage(self._parameters)
        self._packets = PacketStream()
        self._age = AgeWatch(2 * self._parameters.window_length_ns, self._parameters.overload.late_policy)
        self._giving_up = 0
        self._say = CameraMessages(self._time, self._epoch, self._parameters.frame_id, self._parameters.constant_size)
        self._last_sample_ns: int | None = None
        self._last_packet_ns: int | None = None
        self._idle_ticks = 0
        self._labels: set[Label | None] = set()
        self._failure = ""
        self._loss_judged = 0
        self._time.forget_arrivals()
        if self._sensor is not None:
            self._stage.fit(*self._sensor)

    @property
    def account(self) -> CameraAccount:
        """Where every event went, since activation."""
        return self._stage.account

    # ---------------------------------------------------------------- the contract of a core

    def timers(self) -> Mapping[str, int]:
        """Return the timer that closes windows while a camera is silent; what is played needs none."""
        if not self._parameters.live:
            return {}
        return {"idle": max(self._parameters.window_length_ns // 2, _NS_PER_S // 1000)}

    def activate(self, now_ns: int) -> Sequence[Output]:
        """Begin a new epoch, with sequence 0 and new books."""
        # Host time makes epochs grow across restarts of the process, the maximum within it even if the clock steps.
        self._epoch = max(self._epoch + 1, now_ns)
        self._begin()
        self.state = "waiting"
        self._activated_ns = now_ns
        return ()

    def receive(self, topic: str, message: object, now_ns: int) -> Sequence[Output]:
        """Take a packet or a clock model; never raises on what a message holds."""
        if topic == "events" and isinstance(message, EventPacket):
            return self._packet(message, now_ns)
        if topic == "clock/model" and isinstance(message, ClockModel) and message.clock_id == self._clock_id:
            self._time.learn(message)
        return ()

    def tick(self, timer: str, now_ns: int) -> Sequence[Output]:
        """Watch how long packets wait, and close the windows that have ended while the camera says nothing."""
        if self._age.check(self.oldest_ns(), now_ns):
            self._giving_up = self.waiting()
        grace_ns = round(self._parameters.idle_grace_s * _NS_PER_S)
        reached_ns = self._time.sensor_ns(now_ns)
        # A computer that stalls wakes up to this timer first and to the packets that came meanwhile afterwards: only
        # when nothing has come since the last tick either is the camera silent.
        self._idle_ticks += 1
        if self._idle_ticks < _IDLE_TICKS or self.waiting():
            return ()
        if not grace_ns or not self._stage.ready or reached_ns is None or self._last_packet_ns is None:
            return ()
        if now_ns - self._last_packet_ns < grace_ns:
            return ()
        return self._messages(self._stage.advance(reached_ns - grace_ns))

    def deactivate(self, now_ns: int) -> Sequence[Output]:
        """Fall silent; the window that is open is given up, and its events are counted."""
        self._stage.close()
        self.state = "inactive"
        return ()

    def reconfigure(self, parameters: object) -> None:
        """Use other thresholds and rates from now on."""
        if not isinstance(parameters, EventCameraParameters):
            raise TypeError(f"parameters are {type(parameters).__name__}, must be EventCameraParameters")
        self._parameters = parameters
        self._stage.reconfigure(parameters)

    # ---------------------------------------------------------------- sources other than packets

    def set_sensor(self, width: int, height: int, counters: Callable[[], DecodeCounters] | None = None) -> None:
        """Say what sensor the batches of :meth:`feed` come from.

        Parameters
        ----------
        width, height : int
            Of the sensor [px].
        counters : Callable[[], DecodeCounters], optional
            Returns what the reader counts, for diagnostics.

        Raises
        ------
        NeuroRosError
            When the crop or a filter does not fit the sensor.
        """
        CameraStage.check(self._parameters, width, height)
        self._sensor = (width, height)
        self._source_counters = counters

    def feed(
        self, batch: EventBatch, now_ns: int, until_ns: int | None = None, label: Label | None = None
    ) -> Sequence[Output]:
        """Take the next events of a source.

        Parameters
        ----------
        batch : EventBatch
            Not kept.
        now_ns : int
            Host time.
        until_ns : int, optional
            All events before this sensor time have been given: windows that end by then are closed.
        label : Label, optional
            What is shown during this batch, for `truth`.

        Raises
        ------
        RuntimeError
            When :meth:`set_sensor` was not called.
        """
        if self.state in ("inactive", "finished", "failed"):
            return ()
        if self._sensor is None:
            raise RuntimeError("set_sensor has not been called, the size of the sensor is unknown")
        if not self._stage.ready:
            self._stage.fit(*self._sensor)
        if len(batch.events):
            self._last_packet_ns = now_ns
        return self._take(batch, now_ns, until_ns, label)

    def finish(self, now_ns: int) -> Sequence[Output]:
        """End the recording: publish the last, partial window with its nominal bounds."""
        outputs = self._flush()
        if self.state != "inactive":
            self.state = "finished"
        return outputs

    def fail(self, reason: str, now_ns: int) -> Sequence[Output]:
        """Note that the source broke off; what it gave so far is published."""
        outputs = self._flush()
        self.state, self._failure = "failed", reason
        return outputs

    # ---------------------------------------------------------------- packets

    def _packet(self, packet: EventPacket, now_ns: int) -> Sequence[Output]:
        if self.state == "inactive":
            return ()
        outputs: list[Output] = []
        if self._packets.begins_anew(packet):
            outputs += self._flush()
            self._time.forget_arrivals()
        if not self._parameters.frame_id and packet.header.frame_id != self._say.frame_id:
            outputs += self._flush()
            self._say.frame_id = packet.header.frame_id
        batch = self._packets.decode(packet)
        if batch is None:
            return outputs
        if not self._stage.ready or self._sensor != (packet.width, packet.height):
            try:
                self._stage.fit(packet.width, packet.height)
            except NeuroRosError as error:
                self._packets.counters.packets_refused += 1
                self._packets.refusal = str(error)
                return outputs
            self._sensor = (packet.width, packet.height)
        self._last_packet_ns = now_ns
        if self._giving_up:
            self._give_up(batch)
            return outputs
        outputs += self._take(batch, now_ns, None, None)
        return outputs

    def _give_up(self, batch: EventBatch) -> None:
        """Drop a packet of those that waited when events were found to be late, so that what follows is timely."""
        self._giving_up -= 1
        self._idle_ticks = 0
        self._stage.give_up(batch)
        if not self._giving_up:
            self._age.flushed(self.account.events_dropped.get("flush", 0) - self._age.events_flushed)

    # ---------------------------------------------------------------- windows

    @property
    def _clock_id(self) -> str:
        return self._parameters.clock_id or self._say.frame_id

    def _take(self, batch: EventBatch, now_ns: int, until_ns: int | None, label: Label | None) -> list[Output]:
        self._idle_ticks = 0
        self.state = "running"
        newest_ns = int(batch.events["t"][-1]) if len(batch.events) else None
        reached_ns = newest_ns if until_ns is None else until_ns
        if reached_ns is not None:
            self._time.observe(reached_ns, now_ns)
        outputs = [Output("events/trigger", message) for message in self._say.external_triggers(batch)]
        if newest_ns is not None:
            outputs += self._clock_sample(newest_ns, now_ns)
        self._labels.add(label)
        outputs += self._messages(self._stage.take(batch, self.waiting()), label)
        if until_ns is not None:
            outputs += self._messages(self._stage.advance(until_ns), label)
            if self._stage.divides(until_ns):  # nothing of the next window has been shown yet
                self._labels.clear()
        return outputs

    def _flush(self) -> list[Output]:
        outputs = self._messages(self._stage.flush())
        self._stage.end()
        return outputs

    def _messages(self, windows: Iterable[SpikeWindow], label: Label | None = None) -> list[Output]:
        outputs: list[Output] = []
        latest: tuple[SpikeTensor, SpikeWindow] | None = None
        for window in windows:
            shown = self._shown(label)
            for sent in self._stage.decide(window, shown):
                tensor = self._say.tensor(sent.window, sent.withheld, sent.note.closed_at_ns)
                if sent.note.label is not None:
                    outputs.append(Output("truth", self._say.truth(tensor, sent.note.label)))
                outputs.append(Output("spikes", tensor))
                latest = tensor, sent.window
        if latest is not None and self.wanted(_IMAGE):
            tensor, window = latest
            scale = self._parameters.image.scale
            pixels = draw_window(window.bitmap, window.bins, window.height, window.width, scale)
            outputs.append(Output(_IMAGE, self._say.image(tensor, pixels)))
        return outputs

    def _shown(self, label: Label | None) -> _Shown:
        """Return what was shown in the window that has just closed; `label` is shown in the next one."""
        known = any(item is not None for item in self._labels)
        # A window in which the label changed shows neither one gesture nor the other.
        truth = next(iter(self._labels)) if len(self._labels) == 1 else (-1, "")
        self._labels = {label} if label is not None else set()
        return _Shown(truth if known else None, self._clocks.system_ns())

    # ---------------------------------------------------------------- clock and triggers

    def _clock_sample(self, newest_ns: int, now_ns: int) -> list[Output]:
        parameters = self._parameters
        # A recording played at another pace says nothing about a clock.
        if not parameters.clock_sample_rate_hz or (not parameters.live and parameters.rate != 1.0):
            return []
        period_ns = _NS_PER_S / parameters.clock_sample_rate_hz
        last_ns = self._last_sample_ns
        if last_ns is not None and 0 <= now_ns - last_ns < period_ns:
            return []
        self._last_sample_ns = now_ns
        return [Output("clock/sample", self._say.clock_sample(self._clock_id, newest_ns, now_ns))]

    # ---------------------------------------------------------------- health

    def diagnose(self, now_ns: int) -> Sequence[Health]:
        """Judge the source, the windows and the clock."""
        return (self._source_health(now_ns), self._window_health(), self._clock_health())

    def _source_health(self, now_ns: int) -> Health:
        values: dict[str, object] = {
            "state": self.state,
            "source": self._parameters.source,
            "epoch": self._epoch,
            "last_sequence": self._say.sequence - 1,
            "events_read": self.account.events_read,
            "triggers": self._say.triggers,
            **vars(self._packets.counters),
            "packets_relieved": self._stage.overload.packets,
            "packets_waiting": self.waiting(),
        }
        decoder = self._packets.decoder
        counters = decoder.counters if decoder is not None else None
        if counters is None and self._source_counters is not None:
            counters = self._source_counters()
        if counters is not None:
            values |= {f"decoder_{name}": count for name, count in counters.as_dict().items()}
        level, text = self._judge_source(now_ns)
        return Health("source", level, text, values)

    def _judge_source(self, now_ns: int) -> tuple[HealthLevel, str]:
        if self.state == "failed":
            return HealthLevel.ERROR, self._failure
        if not self._parameters.live or self.state in ("inactive", "finished"):
            return HealthLevel.OK, self.state
        if self._last_packet_ns is None and self._packets.counters.packets_refused:
            return HealthLevel.ERROR, f"packets are refused: {self._packets.refusal}"
        silent_ns = now_ns - (self._activated_ns if self._last_packet_ns is None else self._last_packet_ns)
        if silent_ns > self._parameters.event_timeout_s * _NS_PER_S:
            # Not an error: before a still scene an event camera has nothing to say.
            return HealthLevel.WARN, f"no packet for {silent_ns / _NS_PER_S:.1f} s: still scene, or no camera"
        return HealthLevel.OK, self.state

    def _window_health(self) -> Health:
        loss = self.account.loss + self._packets.counters.packets_lost
        lost, self._loss_judged = loss - self._loss_judged, loss
        values: dict[str, object] = {
            **self.account.as_dict(),
            **self._age.values(),
            **self._stage.filter_counters(),
        }
        if self._age.late:
            waited_s, limit_s = self._age.age_ns / _NS_PER_S, self._age.limit_ns / _NS_PER_S
            return Health(
                "windows", HealthLevel.WARN, f"events wait for {waited_s:.3f} s, more than {limit_s:g} s", values
            )
        if lost > 0:
            return Health(
                "windows", HealthLevel.WARN, "events, packets or windows were lost since the last report", values
            )
        return Health("windows", HealthLevel.OK, f"{self.account.windows_sent} windows sent", values)

    def _clock_health(self) -> Health:
        time = self._time
        state = time.state
        name = ("UNLOCKED", "TRACKING", "LOCKED", "HOLDOVER")[state]
        values = {
            "clock_id": self._clock_id,
            "clock_state": name,
            "samples": self._say.samples,
            "models": time.models,
            "models_refused": time.models_refused,
            "models_distrusted": time.models_distrusted,
            "steps": time.steps,
            "rebased": time.rebased,
            "residual_s": math.nan if time.residual_ns is None else time.residual_ns / _NS_PER_S,
        }
        level = HealthLevel.WARN if time.models_refused or state == ClockModel.HOLDOVER else HealthLevel.OK
        return Health("clock", level, f"stamps are {name}", values)
