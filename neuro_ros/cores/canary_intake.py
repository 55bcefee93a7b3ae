# SPDX-License-Identifier: Apache-2.0
"""Turns the messages that the canary hears into what its alarms are shown.

Gestures, windows, telemetry and labels of one window come in any order and on topics of their own; they are brought
together here by epoch and sequence, in bounded memory. What any of it means is `neuro_ros.canary`'s business.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque

import numpy as np

from neuro_ros.canary import (
    Baseline,
    BaselineError,
    GestureStatistics,
    GestureSummary,
    LayerReport,
    Observation,
    RecentValues,
    SceneStatistics,
    SelfTestAnswer,
    isolated,
    leader,
    look,
    margin,
)
from neuro_ros.canary.scene import COHERENCE_MOVING
from neuro_ros.cores.messages import ClockModel, Gesture, SnnTelemetry, SpikeTensor, ThermalCompensation
from neuro_ros.events.tensor import TensorError, decode_tensor

__all__ = ["CanaryIntake"]

_CLOCK_STATES = ("UNLOCKED", "TRACKING", "LOCKED", "HOLDOVER")
_THERMAL_STATES = ("NOMINAL", "COMPENSATING", "STALE", "FAILSAFE")
#: Windows, decisions and labels that wait for their counterpart; three seconds and more at 20 Hz.
_WAITING = 64
#: Telemetry messages, margins and outcomes between two reports that are judged; more are a flood.
_REPORTS_PENDING = 64
_PENDING = 4096
#: Clocks that are remembered.
_CLOCKS = 16
#: A model that is older than this says nothing about now [ns]; clock_sync renews it once a second.
_CLOCK_AGE_NS = 10_000_000_000
#: Cells of a tensor that are looked at; a larger one is not ours (`SpikeTensor` is refused above 400 KB).
_MAX_CELLS = 1 << 22


class _Waiting(OrderedDict[tuple[str, int, int], int]):
    """The last few entries by stream, epoch and sequence."""

    def put(self, key: tuple[str, int, int], value: int) -> None:
        self[key] = value
        while len(self) > _WAITING:
            self.popitem(last=False)


def _key(message: Gesture | SpikeTensor) -> tuple[str, int, int]:
    return (message.header.frame_id, message.epoch, message.sequence)


class CanaryIntake:
    """Collects what came since the last observation.

    Parameters
    ----------
    period_s : float
        Sliding period of latencies, decisions and accuracy [s].
    capacity : int
        Gestures kept at most.

    Attributes
    ----------
    gestures : GestureStatistics
        Of the last period.
    frame_id : str
        Stream of the last gesture.
    gesture_gaps : int
        Gestures that are missing by their sequence.
    unreadable : int
        Windows whose data contradicts their description.
    moving_share, on_share : float
        Of the last telemetry period, see `SceneSummary`.
    """

    def __init__(self, period_s: float, capacity: int) -> None:
        self.gestures = GestureStatistics(period_s, capacity)
        self.frame_id = ""
        self.gesture_gaps = self.unreadable = 0
        self.moving_share = self.on_share = math.nan
        self._sequence: tuple[int, int] | None = None
        self._steps = 0
        self._scene = SceneStatistics()
        self._leaders: Counter[int] = Counter()
        self._right = RecentValues(period_s, capacity)
        self._moved, self._decided, self._labels = _Waiting(), _Waiting(), _Waiting()
        self._reports: deque[LayerReport] = deque(maxlen=_REPORTS_PENDING)
        self._margins: deque[tuple[int, float]] = deque(maxlen=_PENDING)
        self._outcomes: deque[tuple[int, int]] = deque(maxlen=_PENDING)
        self._clocks: OrderedDict[str, tuple[int, ClockModel]] = OrderedDict()
        self._stamps_unlocked = False
        self._thermal: ThermalCompensation | None = None

    def forget_model(self) -> None:
        """Drop what another model did and has not been judged yet."""
        self._reports.clear()
        self._margins.clear()
        self._outcomes.clear()
        self._decided.clear()
        self._leaders.clear()
        self._right.clear()

    # -- messages ------------------------------------------------------------------------------------------------

    def window(self, message: SpikeTensor) -> None:
        """Take a window, for what it shows of the scene; one that cannot be read is counted."""
        sites = message.height * message.width
        cells = message.bins * message.channels * sites
        self._steps = message.bins
        if not 0 < cells <= _MAX_CELLS:
            self.unreadable += 1
            return
        try:
            bitmap = decode_tensor(message.encoding, message.data, cells)
        except TensorError:
            self.unreadable += 1
            return
        bits = np.unpackbits(bitmap, count=cells).reshape(message.bins, message.channels, sites)
        window = look(bits)
        alone = isolated(bits, message.height, message.width) if message.channels == 2 else None
        self._scene.add(window, message.windows_withheld, message.events_in, message.events_dropped, alone)
        self._moved.put(_key(message), int(window.coherence >= COHERENCE_MOVING))
        self._stamps_unlocked = message.clock_state == SpikeTensor.CLOCK_UNLOCKED

    def gesture(self, message: Gesture, now_ns: int) -> None:
        """Take a gesture of the live arm."""
        self.frame_id = message.header.frame_id
        if self._sequence is not None and message.epoch == self._sequence[0]:
            self.gesture_gaps += max(0, message.sequence - self._sequence[1] - 1)
        self._sequence = (message.epoch, message.sequence)
        step_s = message.inference_s / self._steps if self._steps else math.nan
        self.gestures.add(now_ns, message.latency_s, message.class_index, message.spike_counts, step_s)
        key = _key(message)
        leading = leader(message.spike_counts)
        # A still scene gives output spikes too, of which nobody knows what they should be.
        if leading >= 0 and self._moved.get(key, not self._moved):
            self._margins.append((leading, margin(message.spike_counts)))
            self._leaders[leading] += 1
        if message.class_index >= 0:
            self._decided.put(key, message.class_index)
            self._match(key, now_ns)

    def truth(self, message: Gesture, now_ns: int) -> None:
        """Take a label."""
        if message.class_index >= 0:
            self._labels.put(_key(message), message.class_index)
            self._match(_key(message), now_ns)

    def _match(self, key: tuple[str, int, int], now_ns: int) -> None:
        if key in self._labels and key in self._decided:
            label, decided = self._labels.pop(key), self._decided.pop(key)
            self._outcomes.append((label, decided))
            self._right.add(float(label == decided), now_ns)

    def telemetry(self, message: SnnTelemetry) -> LayerReport:
        """Take telemetry of the live arm, and return it with the scene of the same time."""
        scene = self._scene.take()
        self.moving_share, self.on_share = scene.moving_share, scene.on_share
        leaders = self._leaders.most_common(1)
        self._leaders.clear()
        report = LayerReport(
            stamp_ns=message.header.stamp,
            input_rate=message.input_rate,
            layer=tuple(message.layer),
            firing_rate=tuple(message.firing_rate),
            dead_neurons=tuple(message.dead_neurons),
            saturated_neurons=tuple(message.saturated_neurons),
            windows_lost=message.windows_lost,
            moving_share=scene.moving_share,
            on_share=scene.on_share,
            events_in=scene.events_in,
            events_dropped=scene.events_dropped,
            core_utilisation=tuple(message.core_utilisation),
            leader=leaders[0][0] if leaders else -1,
            isolated=scene.isolated,
            isolated_on=scene.isolated_on,
            self_test=_answer(message),
            self_test_ns=message.self_test_stamp,
        )
        self._reports.append(report)
        return report

    def clock(self, message: ClockModel, now_ns: int) -> None:
        """Take a clock model."""
        self._clocks[message.clock_id] = (now_ns, message)
        self._clocks.move_to_end(message.clock_id)
        while len(self._clocks) > _CLOCKS:
            self._clocks.popitem(last=False)

    def thermal(self, message: ThermalCompensation) -> None:
        """Take the state of thermal compensation."""
        self._thermal = message

    # -- figures -------------------------------------------------------------------------------------------------

    def summary(self, now_ns: int) -> GestureSummary:
        """Return the figures of the gestures."""
        return self.gestures.summary(now_ns)

    def accuracy(self, now_ns: int) -> tuple[float, int]:
        """Return the share of right decisions of the period, NaN without labels, and how many were labelled."""
        right = self._right.values(now_ns)
        return (math.fsum(right) / len(right) if right else math.nan), len(right)

    def take(self, now_ns: int, baseline: Baseline | None, model_id: str = "", on_trial: bool = False) -> Observation:
        """Return the observation since the last call; the other arguments as in `Observation`."""
        summary = self.gestures.summary(now_ns)
        state, sigma_s = self._worst_clock(now_ns)
        thermal = self._thermal
        known = thermal is not None and 0 <= thermal.state < len(_THERMAL_STATES)
        observation = Observation(
            latency_p99_s=summary.latency_p99_s,
            latency_samples=summary.latency_samples,
            step_time_p99_s=summary.step_time_p99_s,
            step_samples=summary.step_samples,
            reports=tuple(self._reports),
            margins=tuple(self._margins),
            outcomes=tuple(self._outcomes),
            clock_state=state,
            clock_sigma_s=sigma_s,
            stamps_unlocked=self._stamps_unlocked,
            thermal_state=_THERMAL_STATES[thermal.state] if thermal is not None and known else "",
            temperature_celsius=thermal.temperature_celsius if thermal is not None else math.nan,
            throttle_level=thermal.throttle_level if thermal is not None else 0,
            baseline=baseline,
            model_id=model_id,
            on_trial=on_trial,
        )
        self._reports.clear()
        self._margins.clear()
        self._outcomes.clear()
        return observation

    def _worst_clock(self, now_ns: int) -> tuple[str, float]:
        """Return state and uncertainty of the clock that is known least; one that nobody renews is out of date."""
        worst, found = -1.0, ("", math.nan)
        for heard_ns, model in self._clocks.values():
            if model.state >= len(_CLOCK_STATES):
                continue
            state = _CLOCK_STATES[model.state]
            if not 0 <= now_ns - heard_ns <= _CLOCK_AGE_NS:
                state = "UNLOCKED"
            sigma_s = model.sigma_ns * 1e-9
            rank = math.inf if state == "UNLOCKED" else (0.0 if math.isnan(sigma_s) else sigma_s)
            if rank > worst:
                worst, found = rank, (state, sigma_s)
        return found


def _answer(message: SnnTelemetry) -> SelfTestAnswer | None:
    """Return the answer of the last self-test; None = none was run, or what is told of it cannot be."""
    try:
        return SelfTestAnswer(
            message.self_test_probe, tuple(message.self_test_spikes), tuple(message.self_test_checksum)
        )
    except BaselineError:
        return None
