# SPDX-License-Identifier: Apache-2.0
"""Acts scenes in front of the network and the canary, without a camera, a robot or real time.

Simulated people (and still scenes, which are sensor noise alone) go through the windower, the core of ``snn_inference``
and the core of ``canary`` on the bus, on a host clock that stands in for the real one. So a baseline is measured by
what will judge by it, and a fault can be put in anywhere to see what is noticed, and when.

Durations are the processor time that the network really took, so that they do not depend on what else the computer
does. This module refuses to know about training, files other than the model, and whether the figures are good.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from neuro_ros.canary import Baseline
from neuro_ros.cores.bus import Bus, Published
from neuro_ros.cores.camera_messages import spike_tensor
from neuro_ros.cores.canary import CanaryCore
from neuro_ros.cores.core import Clocks
from neuro_ros.cores.messages import Gesture, Header, SpikeTensor
from neuro_ros.cores.parameters.canary import CanaryParameters
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.snn_inference import SnnInferenceCore
from neuro_ros.errors import NeuroRosError
from neuro_ros.events import EVENT_DTYPE, EventBatch, Geometry, Windower
from neuro_ros.events.window_base import SpikeWindow
from neuro_ros.gestures import LABELS, GestureStream
from neuro_ros.snn import Model

__all__ = ["STILL", "Camera", "Rehearsal", "Scene", "act", "draw_scenes"]

_S = 1_000_000_000
_STREAM = "rehearsal_optical"
#: Host time at which a rehearsal begins; any time after the epoch does.
_BEGIN_NS = 1_700_000_000 * _S
#: Label of a scene in which nobody moves.
STILL = -1
_POLARITIES = ("right", "inverted", "on_only")


@dataclass(frozen=True)
class Camera:
    """What the camera or its driver makes of the events.

    Parameters
    ----------
    polarity : str
        ``right``, ``inverted`` (ON and OFF exchanged) or ``on_only`` (every event is called ON).
    off_kept : float
        Share of the OFF events that the pixels make at all, 0..1; below 1 their two thresholds differ.
    """

    polarity: str = "right"
    off_kept: float = 1.0

    def __post_init__(self) -> None:
        if self.polarity not in _POLARITIES:
            raise NeuroRosError(f"polarity: {self.polarity!r} is not one of {', '.join(_POLARITIES)}")
        if not 0.0 <= self.off_kept <= 1.0:
            raise NeuroRosError(f"off_kept: {self.off_kept!r} is not a share")

    def take(self, events: npt.NDArray[np.void], rng: np.random.Generator) -> npt.NDArray[np.void]:
        """Return what comes out of the camera."""
        if self.off_kept < 1.0:
            events = events[(events["p"] == 1) | (rng.random(len(events)) < self.off_kept)]
        if self.polarity == "inverted":
            events["p"] = 1 - events["p"]
        elif self.polarity == "on_only":
            events["p"] = 1
        return events


@dataclass(frozen=True)
class Scene:
    """A stretch of time in front of the camera.

    Parameters
    ----------
    label : int
        Class index of the gesture, `STILL` = nothing moves.
    seconds : float
        How long; rounded to whole windows of the model.
    subject : int
        Seed of the person.
    noise_hz : float
        Noise of each pixel where nothing moves; where somebody does, the light makes it.
    camera : Camera
        What the camera makes of it.
    slower_s : float
        Time that each window takes longer in the back end than it does [s].
    split : str
        From whose ranges people, light, noise, shake and background are drawn; see `neuro_ros.gestures.SPLIT_TABLE`.
    """

    label: int
    seconds: float
    subject: int = 0
    noise_hz: float = 0.5
    camera: Camera = field(default_factory=Camera)
    slower_s: float = 0.0
    split: str = "test"


def draw_scenes(
    seconds: float, rng: np.random.Generator, first_subject: int, still_share: float = 0.3, longest_s: float = 20.0
) -> list[Scene]:
    """Draw scenes of mixed length, people, gestures and sensor noise, still ones among them.

    Parameters
    ----------
    seconds : float
        Length of all together.
    rng : numpy Generator
        Source of chance.
    first_subject : int
        Subject seed of the first person; each stays for one to eight scenes.
    still_share : float
        Share of the scenes in which nothing moves.
    longest_s : float
        Longest scene; the shortest lasts 2 s, and short ones are more frequent.
    """
    scenes: list[Scene] = []
    subject, left, noise_hz = first_subject, 0, 0.5
    while (missing_s := seconds - sum(scene.seconds for scene in scenes)) > 1e-9:
        if left == 0:
            subject, left = subject + 1, int(rng.integers(1, 9))
            noise_hz = 0.1 + 0.9 * float(rng.random())
        left -= 1
        label = STILL if rng.random() < still_share else int(rng.integers(len(LABELS)))
        length_s = 2.0 * (longest_s / 2.0) ** float(rng.random())
        scenes.append(Scene(label, min(missing_s, round(length_s, 1)), subject, noise_hz))
    return scenes


class _Clock:
    """The host's clock: stands still between windows, and then runs with the processor time of this thread."""

    def __init__(self) -> None:
        self.set(_BEGIN_NS, 0.0)

    def set(self, host_ns: int, slower_s: float) -> None:
        """Let it be `host_ns` now, and the network need `slower_s` more than it does [s]."""
        self._host_ns, self._slower_ns = host_ns, round(slower_s * _S)
        self._mark_ns, self._asked = time.thread_time_ns(), 0

    def stopwatch_ns(self) -> int:
        """Return the time since `set`, with the delay once it was asked a second time: the network has run."""
        self._asked += 1
        return 1 + self._elapsed_ns()

    def system_ns(self) -> int:
        """Return the host time."""
        return self._host_ns + self._elapsed_ns()

    def _elapsed_ns(self) -> int:
        return time.thread_time_ns() - self._mark_ns + (self._slower_ns if self._asked > 1 else 0)


class Rehearsal:
    """A network and its canary on one bus.

    Parameters
    ----------
    model_file : str
        As the parameter ``model`` of ``snn_inference``.
    parameters : CanaryParameters, optional
        Of the canary.
    baselines : sequence of Baseline
        Known besides those of the canary's folders.
    key, trusted : str, sequence of str
        As the parameters ``model_key`` and ``trusted_keys`` of ``snn_inference``.
    network : SnnInferenceParameters, optional
        The other parameters of ``snn_inference``.

    Attributes
    ----------
    network : SnnInferenceCore
        Runs the model.
    model : Model
        The network.
    canary : CanaryCore
        Judges it.
    """

    def __init__(
        self,
        model_file: str,
        parameters: CanaryParameters | None = None,
        baselines: Sequence[Baseline] = (),
        key: str = "",
        trusted: Sequence[str] = (),
        network: SnnInferenceParameters | None = None,
    ) -> None:
        self._clock = _Clock()
        clocks = Clocks(system_ns=self._clock.system_ns, stopwatch_ns=self._clock.stopwatch_ns)
        given = network or SnnInferenceParameters()
        settings = replace(given, model=model_file, model_key=key, trusted_keys=tuple(trusted))
        self.network = SnnInferenceCore(settings, clocks)
        self.model: Model = self.network.model
        self.canary = CanaryCore(parameters or CanaryParameters(), clocks, baselines)
        self._bus = Bus({"snn_inference": self.network, "canary": self.canary})
        self._bus.activate(_BEGIN_NS)

    def show(self, scene: Scene, tensor: SpikeTensor, with_truth: bool = True) -> list[Published]:
        """Show a window to network and canary.

        Parameters
        ----------
        scene : Scene
            That it belongs to.
        tensor : SpikeTensor
            What `act` yields for this model.
        with_truth : bool
            Whether its label is published.

        Returns
        -------
        list of Published
            What network and canary said since the last window.
        """
        now_ns = tensor.closed_at
        self._bus.advance(now_ns)
        self._clock.set(now_ns, scene.slower_s)
        self._bus.publish("spikes", tensor, now_ns)
        if with_truth and scene.label >= 0:
            truth = Gesture(
                header=Header(tensor.header.stamp, _STREAM),
                sequence=tensor.sequence,
                epoch=tensor.epoch,
                label=LABELS[scene.label],
                class_index=scene.label,
            )
            self._bus.publish("truth", truth, now_ns)
        return self._bus.take()

    def close(self) -> None:
        """Release the network."""
        self.network.close()


def act(
    scenes: Iterable[Scene], seed: int, model: Model, width: int = 128, height: int = 128
) -> Iterator[tuple[Scene, SpikeTensor]]:
    """Act scenes one after the other in front of a camera, and cut what it sees into windows.

    Parameters
    ----------
    scenes : iterable of Scene
        Each begins with a cut: the sensor is adapted to it, so the change itself makes no events.
    seed : int
        Performances and sensors.
    model : Model
        Says how windows and tensors are.
    width, height : int
        Of the sensor [px].

    Yields
    ------
    (Scene, SpikeTensor)
        A window and the scene that it belongs to.
    """
    _, model_height, model_width = model.network.input_shape
    length_ns = model.window_length_ns
    geometry = Geometry.fit(width, height, model_width, model_height)
    begin_ns = sequence = 0
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng([0x5CE7E, seed + number])
        end_ns = begin_ns + max(1, round(scene.seconds * _S / length_ns)) * length_ns
        windower = Windower(length_ns, model.bins, geometry, width, height)
        times = (begin_ns, end_ns, length_ns)
        seen = _moving(scene, seed + number, times, width, height) if scene.label >= 0 else None
        for events in seen or _still(scene, rng, times, width, height):
            for window in windower.push(EventBatch(scene.camera.take(events, rng))):
                yield scene, _tensor(window, sequence)
                sequence += 1
        for window in windower.flush():
            yield scene, _tensor(window, sequence)
            sequence += 1
        begin_ns = end_ns


_Times = tuple[int, int, int]  # begin, end, window length [ns]


def _moving(scene: Scene, seed: int, times: _Times, width: int, height: int) -> Iterator[npt.NDArray[np.void]]:
    begin_ns, end_ns, length_ns = times
    stream = GestureStream(
        seed=seed,
        labels=[scene.label],
        gesture_duration_s=(end_ns - begin_ns) / _S,
        subject_seed=scene.subject,
        width=width,
        height=height,
        slice_ns=length_ns,
        start_ns=begin_ns,
        gestures=1,
        split=scene.split,
    )
    for piece in stream:
        yield piece.events


def _still(
    scene: Scene, rng: np.random.Generator, times: _Times, width: int, height: int
) -> Iterator[npt.NDArray[np.void]]:
    """Yield noise alone: a Poisson process over all pixels, as the simulator's pixels have it."""
    begin_ns, end_ns, length_ns = times
    for start_ns in range(begin_ns, end_ns, length_ns):
        events = np.zeros(int(rng.poisson(scene.noise_hz * width * height * length_ns / _S)), EVENT_DTYPE)
        events["t"] = np.sort(rng.integers(0, length_ns // 1000, len(events))) * 1000 + start_ns
        events["x"] = rng.integers(0, width, len(events))
        events["y"] = rng.integers(0, height, len(events))
        events["p"] = rng.integers(0, 2, len(events))
        yield events


def _tensor(window: SpikeWindow, sequence: int) -> SpikeTensor:
    end_ns = _BEGIN_NS + window.end_ns
    return spike_tensor(
        window,
        header=Header(end_ns, _STREAM),
        sequence=sequence,
        epoch=1,
        window_start=_BEGIN_NS + window.start_ns,
        closed_at=end_ns,
        clock_state=SpikeTensor.CLOCK_LOCKED,
    )
