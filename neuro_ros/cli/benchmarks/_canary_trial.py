# SPDX-License-Identifier: Apache-2.0
"""Puts faults into the network, its back end and its camera, and sees what the canary says, and when.

Everything runs as in flight: the windower, the integer engine, the cores of ``snn_inference`` and ``canary``, on
simulated scenes of people who are in no other use, still scenes among them. A fault of the network is a weight file
that was changed; a fault of the camera or the back end begins after half a minute in which all is well.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neuro_ros.canary import Baseline
from neuro_ros.cores.files import model_path
from neuro_ros.cores.messages import CanaryReport, Gesture, SpikeTensor
from neuro_ros.cores.rehearsal import Camera, Rehearsal, Scene, act, draw_scenes
from neuro_ros.snn import Model, load_model, save_model
from neuro_ros.snn.network import Layer, Network

__all__ = [
    "FAULTS",
    "FIRST_SUBJECT",
    "Detection",
    "Fault",
    "healthy_flight",
    "healthy_scenes",
    "run_fault",
    "summary",
    "windows",
]

#: People from here on are in no split and in no other use.
FIRST_SUBJECT = 31_000
#: Time in which all is well before a fault of the camera or the back end begins [s], and time that a fault is given.
HEALTHY_S, FAULTY_S = 30.0, 90.0
#: Seed of the healthy scenes' performances and sensors.
HEALTHY_SEED = 90_000
#: Time that a slowed back end takes longer for a window [s].
SLOWER_S = 0.06
#: Share of the OFF events of a camera whose thresholds differ.
UNEQUAL = 0.6
_S = 1_000_000_000
_SOUND = Camera()
_LAYERS = ("conv1", "conv2", "conv3", "dense", "output")
_SOUND = Camera()
_LAYERS = ("conv1", "conv2", "conv3", "dense", "output")


def _change(model: Model, layer: str, change: Callable[[np.ndarray], np.ndarray]) -> Model:
    """Return the model with other weights in one layer, even and within their register."""
    layers = []
    for part in model.network.layers:
        if part.name == layer:
            connection: Any = part.connection
            weight = connection.weight
            changed = np.clip(2 * np.round(change(weight.astype(np.float64)) / 2), -256, 254).astype(weight.dtype)
            part = Layer(part.name, replace(connection, weight=changed), part.neuron)
        layers.append(part)
    return replace(model, network=Network(tuple(layers), model.network.input_shape))


@dataclass(frozen=True)
class Fault:
    """Something that is wrong.

    Parameters
    ----------
    name : str
        For the table.
    expected : tuple of str
        Alarms any of which is right; empty = none, because nothing that the network computes changes.
    layer, factor : str, float
        Weights of a layer multiplied; 1 = not.
    dead : int
        First so many output channels of the layer without weights.
    camera : Camera
        What the camera does from the fault on.
    usual_camera : Camera
        What it does before, and when the baseline is measured.
    slower_s : float
        Time that each window takes longer [s].
    certain : bool
        False: too mild to be noticed in every flight.
    """

    name: str
    expected: tuple[str, ...]
    layer: str = ""
    factor: float = 1.0
    dead: int = 0
    camera: Camera = _SOUND
    usual_camera: Camera = _SOUND
    slower_s: float = 0.0
    certain: bool = True

    @property
    def in_model(self) -> bool:
        """Whether it is the weight file that is wrong."""
        return bool(self.layer)

    def model_file(self, folder: Path, model: str = "gesture") -> str:
        """Write the wrong weight file and return its path; the right one for other faults."""
        if not self.in_model:
            return model
        sound = load_model(model_path(model))
        if self.dead:
            wrong = _change(sound, self.layer, lambda weight: np.where(_channel(weight) < self.dead, 0.0, weight))
        else:
            wrong = _change(sound, self.layer, lambda weight: self.factor * weight)
        path = folder / f"{self.layer}-{self.factor:g}-{self.dead}.safetensors"
        save_model(wrong, path)
        return str(path)


def _channel(weight: np.ndarray) -> np.ndarray:
    return np.arange(len(weight)).reshape(-1, *[1] * (weight.ndim - 1))


def _scaled(layer: str, factor: float) -> Fault:
    # Excitation and inhibition of the deep layers grow together, and many doubled weights are clipped at their
    # register: such a network decides as well as before, and is not noticed each time.
    certain = layer in ("conv1", "conv2") or factor == 0.5 or (layer, factor) == ("dense", 0.7)
    expected = ("spike_rate", "dead_neurons", "saturated_neurons")
    return Fault(f"weights of {layer} x {factor:g}", expected, layer, factor, certain=certain)


def _dead(layer: str, dead: int, of: int) -> Fault:
    expected = ("dead_neurons", "spike_rate", "margin", "accuracy")
    return Fault(f"{dead} of {of} channels of {layer} dead", expected, layer, dead=dead)


FAULTS: tuple[Fault, ...] = (
    *(_scaled(layer, factor) for layer in _LAYERS for factor in (0.5, 0.7, 1.5, 2.0)),
    _dead("conv1", 4, 16),
    _dead("conv2", 8, 32),
    _dead("conv3", 32, 64),
    _dead("dense", 48, 128),
    Fault(f"back end {SLOWER_S * 1e3:g} ms slower a window", ("latency", "step_time"), slower_s=SLOWER_S),
    Fault("camera reports one polarity only", ("polarity",), camera=Camera("on_only")),
    Fault(
        "camera inverts polarity, thresholds unequal",
        ("polarity",),
        camera=Camera("inverted", UNEQUAL),
        usual_camera=Camera(off_kept=UNEQUAL),
    ),
    Fault("camera inverts polarity, thresholds equal", (), camera=Camera("inverted")),
)


def windows(fault: Fault, seed: int, model: Model, begin_s: float, end_s: float) -> Iterator[tuple[Scene, SpikeTensor]]:
    """Act mixed scenes, with the fault from `begin_s` on."""
    rng = np.random.default_rng([0xCA7A, seed])
    before = draw_scenes(begin_s, rng, FIRST_SUBJECT + 1000 * seed) if begin_s else []
    after = draw_scenes(end_s - begin_s, rng, FIRST_SUBJECT + 1000 * seed + 500)
    scenes = [replace(scene, camera=fault.usual_camera) for scene in before]
    scenes += [replace(scene, camera=fault.camera, slower_s=fault.slower_s) for scene in after]
    return act(scenes, 7_000 + 100 * seed, model)


@dataclass(frozen=True)
class Detection:
    """What the canary said of a fault.

    Parameters
    ----------
    first_s : dict of str to float
        Alarm to the time from the fault on at which it was first raised [s].
    before : tuple of str
        Alarms that were raised before the fault began: false ones.
    text : str
        What the first alarm said.
    accuracy : float
        Share of right ones among the decided windows, from the fault on.
    """

    first_s: dict[str, float]
    before: tuple[str, ...]
    text: str
    accuracy: float

    def time_s(self, expected: Sequence[str]) -> float | None:
        """Return when the first of some alarms was raised; None = never."""
        times = [self.first_s[name] for name in expected if name in self.first_s]
        return min(times) if times else None


def run_fault(
    fault: Fault,
    acted: Iterable[tuple[Scene, SpikeTensor]],
    folder: Path,
    begin_s: float,
    baselines: Sequence[Baseline] = (),
) -> Detection:
    """Show windows to a network with a fault and note the canary's alarms.

    Parameters
    ----------
    fault : Fault
        Its model file is written into `folder`; the rest of it is in the windows.
    acted : iterable of (Scene, SpikeTensor)
        See `windows`.
    folder : Path
        For weight files.
    begin_s : float
        When the fault begins [s].
    baselines : sequence of Baseline
        Instead of the shipped one, if of the same model.
    """
    rehearsal = Rehearsal(fault.model_file(folder), baselines=baselines)
    first_s: dict[str, float] = {}
    before: list[str] = []
    text, right, decided, start_ns = "", 0, 0, None
    try:
        for scene, tensor in acted:
            start_ns = tensor.window_start if start_ns is None else start_ns
            for item in rehearsal.show(scene, tensor):
                message = item.message
                time_s = (item.time_ns - start_ns) / _S - begin_s
                if isinstance(message, CanaryReport):
                    for name, why in zip(message.alarms, message.explanation, strict=True):
                        if time_s <= 0.0:
                            before.append(name)
                        elif name not in first_s:
                            text = text or why
                            first_s[name] = time_s
                elif isinstance(message, Gesture) and time_s > 0.0 and scene.label >= 0 <= message.class_index:
                    decided += 1
                    right += message.class_index == scene.label
    finally:
        rehearsal.close()
    return Detection(first_s, tuple(before), text, right / decided if decided else float("nan"))


def healthy_scenes(seconds: float, seed: int) -> list[Scene]:
    """Return healthy scenes, still ones among them, of that length together."""
    return draw_scenes(seconds, np.random.default_rng([0x0421, seed]), FIRST_SUBJECT + 100_000 + 1000 * seed)


def healthy_flight(
    acted: Iterable[tuple[Scene, SpikeTensor]], progress: Callable[[float, dict[str, str]], None] | None = None
) -> tuple[dict[str, int], dict[str, int], float]:
    """Show nothing but healthy scenes.

    Parameters
    ----------
    acted : iterable of (Scene, SpikeTensor)
        From `healthy_scenes` and `act`.
    progress : callable, optional
        Called every minute with the time [s] and the raised alarms.

    Returns
    -------
    false : dict of str to int
        Alarm to the number of reports in which it was raised.
    judged : dict of str to int
        Alarm to the number of reports in which it had evidence.
    still_share : float
        Share of the windows in which nothing moved.
    """
    rehearsal = Rehearsal("gesture")
    false: dict[str, int] = {}
    told_s, still, shown = 0.0, 0, 0
    try:
        for scene, tensor in acted:
            shown += 1
            still += scene.label < 0
            for item in rehearsal.show(scene, tensor):
                if isinstance(item.message, CanaryReport):
                    for name in item.message.alarms:
                        false[name] = false.get(name, 0) + 1
            if progress is not None and tensor.sensor_end_ns / _S >= told_s + 60.0:
                told_s = tensor.sensor_end_ns / _S
                progress(told_s, rehearsal.canary.alarms)
        return false, rehearsal.canary.judged, still / max(1, shown)
    finally:
        rehearsal.close()


def summary(fault: Fault, detections: Sequence[Detection]) -> str:
    """Return a row of the table: fault, detected in so many runs, median and longest time, alarms, accuracy."""
    times = [detection.time_s(fault.expected) for detection in detections]
    found = sorted(time for time in times if time is not None)
    names: list[str] = []
    for detection in detections:
        names += [name for name in detection.first_s if name not in names]
    median = f"{statistics.median(found):.0f}" if found else "-"
    longest = f"{found[-1]:.0f}" if found else "-"
    accuracy = statistics.mean(detection.accuracy for detection in detections)
    return (
        f"| {fault.name} | {len(found)} of {len(detections)} | {median} | {longest} | {', '.join(names) or 'none'} "
        f"| {accuracy:.0%} |"
    )
