# SPDX-License-Identifier: Apache-2.0
"""Simulated gesture recordings: single clips, and endless streams with known labels.

`GestureSimulator` turns (label, duration, subject seed) into events; `GestureStream` acts gestures in a row and
hands them out slice by slice in bounded memory, so that a caller can pace them. Equal arguments give equal events.
The module never looks at a clock: time is the sensor's, in nanoseconds, stamped in whole microseconds.

A subject (`subject.py`) follows the paths of a gesture (`paths.py`), which gives limbs (`body.py`) before a background
(`render.py`, `conditions.py`, `stage.py`) to a sensor's pixels (`dvs.py`); `splits.py` has the ranges of all that is
drawn. Nothing here was fitted to people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuro_ros.events import EVENT_DTYPE
from neuro_ros.gestures.conditions import PLAIN, Conditions
from neuro_ros.gestures.dvs import KEY_P_BITS, KEY_X_BITS, KEY_Y_BITS, DvsPixels
from neuro_ros.gestures.labels import LABELS, label_index
from neuro_ros.gestures.splits import split_named
from neuro_ros.gestures.stage import Performance, Shown, Stage
from neuro_ros.gestures.subject import Action, ParameterRangeError, Subject, SubjectRanges

__all__ = ["STEP_NS", "GestureSimulator", "GestureSlice", "GestureStream", "LabelInterval"]

STEP_NS = 2_500_000  # rendering step; events get their own microsecond within it
_LEAST_SIDE_PX, _MOST_SIDE_PX = 16, 2048


@dataclass(frozen=True)
class LabelInterval:
    """A label and the half-open range of sensor time, in ns, for which it holds."""

    start_ns: int
    end_ns: int
    label: int


@dataclass(frozen=True)
class GestureSlice:
    """A piece of a stream.

    Attributes
    ----------
    events : (n,) EVENT_DTYPE
        Events in [until_ns - slice_ns, until_ns), in ascending time; the caller's own.
    until_ns : int
        End of the slice, exclusive.
    label : int
        Class index acted at the end of the slice.
    """

    events: npt.NDArray[np.void]
    until_ns: int
    label: int

    def __iter__(self) -> Iterator[object]:
        return iter((self.events, self.until_ns, self.label))


def _check_size(width: int, height: int) -> None:
    for name, value in (("width", width), ("height", height)):
        if not _LEAST_SIDE_PX <= value <= _MOST_SIDE_PX:
            raise ParameterRangeError(f"simulator: {name}={value} is outside {_LEAST_SIDE_PX}..{_MOST_SIDE_PX}")


def _unpack(keys: npt.NDArray[np.int64], start_ns: int, out: npt.NDArray[np.void]) -> None:
    out["p"] = keys & ((1 << KEY_P_BITS) - 1)
    out["x"] = (keys >> KEY_P_BITS) & ((1 << KEY_X_BITS) - 1)
    out["y"] = (keys >> (KEY_P_BITS + KEY_X_BITS)) & ((1 << KEY_Y_BITS) - 1)
    out["t"] = (keys >> (KEY_P_BITS + KEY_X_BITS + KEY_Y_BITS)) * 1000 + start_ns


class GestureStream:
    """Gestures acted in a row, handed out slice by slice.

    Parameters
    ----------
    seed : int
        Order and performance of the gestures, thresholds and noise of the sensor.
    labels : sequence of str or int, optional
        Gestures to act. By default all eleven; repeated for ever.
    gesture_duration_s : float
        How long each is acted, including the quarter of a second in which the hands travel from the last one.
    subject_seed : int
        Who acts.
    gestures_per_subject : int
        After so many gestures the next subject (seed + 1) stands there; 0 = never. The sensor starts adapted to
        the new scene (a cut), so the change itself makes no events.
    shuffle : bool
        Whether each round of `labels` is shuffled.
    width, height : int
        Sensor size in pixels.
    slice_ns : int
        Length of a slice; a multiple of `STEP_NS`.
    start_ns : int
        Sensor time of the start; whole microseconds.
    gestures : int
        Number of gestures after which the stream ends; 0 = never.
    threshold, threshold_spread : float
        Pixel parameters, see `neuro_ros.gestures.dvs.PixelModel`.
    noise_hz : float, optional
        Rate of background events a pixel; by default what the light makes, in plain conditions 0.5.
    ranges : SubjectRanges, optional
        Where subjects are drawn from; by default the split's, or the plain look.
    conditions : Conditions, optional
        Light, camera and background; by default drawn from the split's ranges, or plain.
    split : str
        A split of `neuro_ros.gestures.splits.SPLIT_TABLE`, whose ranges are to be drawn from; empty = plain.

    Attributes
    ----------
    intervals : list of LabelInterval
        Ground truth so far: the gestures begun, the current one with its planned end. The last 1024 are kept.

    Raises
    ------
    ParameterRangeError
        If a parameter is outside its range.
    LabelError
        If a label is unknown.

    Notes
    -----
    The label changes when the hands start to travel to the next gesture.

    Examples
    --------
    >>> stream = GestureStream(seed=1, gestures=1, gesture_duration_s=0.01)
    >>> [(piece.until_ns, piece.label >= 0) for piece in stream]
    [(5000000, True), (10000000, True)]
    """

    KEPT_INTERVALS = 1024

    def __init__(
        self,
        seed: int,
        labels: Sequence[str | int] | None = None,
        gesture_duration_s: float = 3.0,
        subject_seed: int = 0,
        gestures_per_subject: int = 0,
        shuffle: bool = True,
        width: int = 128,
        height: int = 128,
        slice_ns: int = 5_000_000,
        start_ns: int = 0,
        gestures: int = 0,
        threshold: float = 0.25,
        threshold_spread: float = 0.06,
        noise_hz: float | None = None,
        ranges: SubjectRanges | None = None,
        conditions: Conditions | None = None,
        split: str = "",
    ) -> None:
        _check_size(width, height)
        if seed < 0 or subject_seed < 0:
            raise ParameterRangeError(f"simulator: seed={seed} and subject_seed={subject_seed} must be 0 or above")
        if slice_ns <= 0 or slice_ns % STEP_NS:
            raise ParameterRangeError(f"simulator: slice_ns={slice_ns} is not a positive multiple of {STEP_NS}")
        if not 2.0 * STEP_NS * 1e-9 <= gesture_duration_s <= 3600.0:
            raise ParameterRangeError(f"simulator: gesture_duration_s={gesture_duration_s} is outside 0.005..3600")
        if start_ns < 0 or start_ns % 1000:
            raise ParameterRangeError(f"simulator: start_ns={start_ns} is not a whole number of microseconds from 0")
        if gestures < 0 or gestures_per_subject < 0:
            raise ParameterRangeError("simulator: gestures and gestures_per_subject must be 0 or above")
        self._labels = [label_index(label) for label in (LABELS if labels is None else labels)]
        if not self._labels:
            raise ParameterRangeError("simulator: no labels given; leave labels out for all eleven")
        self.width, self.height, self.slice_ns = width, height, slice_ns
        self._gesture_ns = round(gesture_duration_s * 1e9 / STEP_NS) * STEP_NS
        self._gestures, self._per_subject, self._shuffle = gestures, gestures_per_subject, shuffle
        if split and ranges is None:
            ranges = split_named(split).subjects
        if conditions is None:
            conditions = split_named(split).draw_conditions(seed, subject_seed) if split else PLAIN
        #: Under what the stream is recorded.
        self.conditions = conditions
        self._ranges = ranges
        self._seed, self._subject_seed = seed, subject_seed
        self._start_ns, self._now_ns = start_ns, start_ns
        self._rng = np.random.default_rng([0x57EA, seed, subject_seed])
        model = conditions.pixels(threshold, threshold_spread, noise_hz)
        self._pixels = DvsPixels(width, height, model, STEP_NS // 1000, seed * 1_000_003 + subject_seed)
        self._order: list[int] = []
        self._begun = 0
        self._last: Performance | None = None
        self.intervals: list[LabelInterval] = []
        self._enter()
        self._now = self._next_performance()
        self._look()

    @property
    def lost(self) -> int:
        """Events that a step's buffer could not hold; 0 unless a scene is absurd."""
        return self._pixels.lost

    @property
    def subject(self) -> Subject:
        """Who acts now."""
        return self._subject

    @property
    def scene(self) -> npt.NDArray[np.float64]:
        """Luminance of what the camera sees now, (height, width), relative; a copy."""
        return self._pixels.scene

    def _enter(self) -> None:
        """Put the subject whose turn it is before the camera."""
        self._subject = Subject.from_seed(self._subject_seed, self._ranges)
        seed = self._seed * 1_000_003 + self._subject_seed
        self._stage = Stage(self._subject, self.conditions, self.width, self.height, seed)
        self._entered_ns = self._now_ns

    def _look(self) -> None:
        """Face the subject with adapted pixels."""
        limbs, behind = self._show(self._now_ns)
        self._pixels.look(self._stage.background, limbs, self._stage.moving, behind)

    def _show(self, t_ns: int) -> Shown:
        return self._stage.show(self._now, self._last, t_ns, self._entered_ns)

    def _next_performance(self) -> Performance:
        """Draw the gesture that begins now, and note it."""
        if not self._order:
            self._order = list(self._labels)
            if self._shuffle:
                keys = self._rng.random(len(self._order))
                self._order = [self._order[i] for i in np.argsort(keys, kind="stable")]
        action = Action.draw(self._order.pop(0), self._rng)
        self._begun += 1
        self.intervals.append(LabelInterval(self._now_ns, self._now_ns + self._gesture_ns, action.label))
        del self.intervals[: -self.KEPT_INTERVALS]
        return Performance(self._stage.body.motion(action), self._now_ns, action.label)

    def _begin(self) -> None:
        """Go on to the next gesture, acted by the next subject when it is that one's turn."""
        comes = bool(self._per_subject) and self._begun % self._per_subject == 0
        if comes:
            self._subject_seed += 1
            self._enter()
        self._last = None if comes else self._now
        self._now = self._next_performance()
        if comes:
            self._look()

    def __iter__(self) -> Iterator[GestureSlice]:
        return self

    def __next__(self) -> GestureSlice:
        """Return the next slice.

        Raises
        ------
        StopIteration
            After the last gesture, if `gestures` was given.
        """
        end_of_all = self._start_ns + self._gestures * self._gesture_ns
        if self._gestures and self._now_ns >= end_of_all:
            raise StopIteration
        pieces: list[npt.NDArray[np.int64]] = []
        starts: list[int] = []
        until_ns = self._now_ns + self.slice_ns
        label = self._now.label
        while self._now_ns < until_ns and not (self._gestures and self._now_ns >= end_of_all):
            if self._now_ns >= self._now.start_ns + self._gesture_ns:
                self._begin()
            label = self._now.label
            keys = self._pixels.step(*self._show(self._now_ns + STEP_NS))
            pieces.append(keys.copy())
            starts.append(self._now_ns)
            self._now_ns += STEP_NS
        # Zeros, not empty: the dtype has padding, and equal streams shall be equal bytes.
        events = np.zeros(sum(keys.size for keys in pieces), EVENT_DTYPE)
        at = 0
        for keys, start_ns in zip(pieces, starts, strict=True):
            _unpack(keys, start_ns, events[at : at + keys.size])
            at += keys.size
        return GestureSlice(events, until_ns, label)


class GestureSimulator:
    """Single gesture recordings.

    Parameters
    ----------
    seed : int
        Sensor (thresholds, noise) and the performances' irregularities.
    width, height : int
        Sensor size in pixels.
    threshold, threshold_spread : float
        Pixel parameters, see `neuro_ros.gestures.dvs.PixelModel`.
    noise_hz : float, optional
        Rate of background events a pixel; by default what the light makes, in plain conditions 0.5.
    ranges : SubjectRanges, optional
        Where subjects are drawn from; by default the split's, or the plain look.
    conditions : Conditions, optional
        Light, camera and background; by default drawn from the split's ranges, or plain.
    split : str
        A split of `neuro_ros.gestures.splits.SPLIT_TABLE`, whose ranges are to be drawn from; empty = plain.

    Raises
    ------
    ParameterRangeError
        If a parameter is outside its range.

    Examples
    --------
    >>> events = GestureSimulator(seed=7).clip("hand_clap", 0.05, subject_seed=3)
    >>> bool((events["t"] < 50_000_000).all())
    True
    """

    def __init__(
        self,
        seed: int,
        width: int = 128,
        height: int = 128,
        threshold: float = 0.25,
        threshold_spread: float = 0.06,
        noise_hz: float | None = None,
        ranges: SubjectRanges | None = None,
        conditions: Conditions | None = None,
        split: str = "",
    ) -> None:
        _check_size(width, height)
        PLAIN.pixels(threshold, threshold_spread, noise_hz)
        if split:
            split_named(split)
        if seed < 0:
            raise ParameterRangeError(f"simulator: seed {seed} is negative; use 0 or above")
        self.seed, self.width, self.height = seed, width, height
        self._options: dict[str, Any] = {
            "threshold": threshold,
            "threshold_spread": threshold_spread,
            "noise_hz": noise_hz,
            "ranges": ranges,
            "split": split,
        }
        self._conditions, self._split = conditions, split

    def conditions(self, subject_seed: int) -> Conditions:
        """Return the conditions under which a subject is recorded, the same for all of its gestures."""
        if self._conditions is not None:
            return self._conditions
        return split_named(self._split).draw_conditions(self.seed, subject_seed) if self._split else PLAIN

    def clip(self, label: str | int, duration_s: float, subject_seed: int) -> npt.NDArray[np.void]:
        """Return the events of one gesture, acted from its first instant on.

        Parameters
        ----------
        label : str or int
            Gesture.
        duration_s : float
            Length, 0.005 to 3600 seconds, rounded to the rendering step.
        subject_seed : int
            Who acts.

        Returns
        -------
        (n,) EVENT_DTYPE
            In ascending time, from 0 ns on.

        Raises
        ------
        LabelError, ParameterRangeError
            If the label is unknown or a value is outside its range.
        """
        events, _ = self.sequence([label], duration_s, subject_seed)
        return events

    def sequence(
        self, labels: Sequence[str | int], gesture_duration_s: float, subject_seed: int
    ) -> tuple[npt.NDArray[np.void], list[LabelInterval]]:
        """Return the events of several gestures in the given order, and who did what when.

        Parameters
        ----------
        labels : sequence of str or int
            Gestures, in order.
        gesture_duration_s : float
            Length of each.
        subject_seed : int
            Who acts.

        Returns
        -------
        events : (n,) EVENT_DTYPE
            In ascending time, from 0 ns on.
        intervals : list of LabelInterval
            Half-open, without gaps.

        Raises
        ------
        LabelError, ParameterRangeError
            If a label is unknown or a value is outside its range.
        """
        stream = self.stream(labels, gesture_duration_s, subject_seed)
        # Joined as whole words: a structured concatenation would leave the padding unset.
        words = [piece.events.view(np.int64) for piece in stream]
        return np.concatenate(words).view(EVENT_DTYPE), list(stream.intervals)

    def stream(self, labels: Sequence[str | int], gesture_duration_s: float, subject_seed: int) -> GestureStream:
        """Return what `sequence` returns as a stream, for what is too long to be held in memory.

        Parameters
        ----------
        labels : sequence of str or int
            Gestures, in order.
        gesture_duration_s : float
            Length of each.
        subject_seed : int
            Who acts.

        Returns
        -------
        GestureStream

        Raises
        ------
        LabelError, ParameterRangeError
            If a label is unknown or a value is outside its range.
        """
        indices = [label_index(label) for label in labels]
        return GestureStream(
            # The label takes part in the seed, so that two gestures of one subject are two performances.
            seed=self.seed * 131 + sum((i + 1) * (label + 1) for i, label in enumerate(indices)),
            labels=indices,
            gesture_duration_s=gesture_duration_s,
            subject_seed=subject_seed,
            shuffle=False,
            width=self.width,
            height=self.height,
            gestures=len(indices),
            conditions=self.conditions(subject_seed),
            **self._options,
        )
