# SPDX-License-Identifier: Apache-2.0
"""Puts faults into the network, its back end and its camera, and sees what the canary says, and when.

Everything runs as in flight: the windower, the integer engine, the cores of ``snn_inference`` and ``canary``, on
simulated scenes of people who are in no other use, still scenes among them. A fault of the network is a weight file
that was changed; a fault of the memory, the camera or the back end begins after half a minute in which all is well.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from neuro_ros.canary import Baseline
from neuro_ros.cores.files import model_path
from neuro_ros.cores.messages import CanaryReport, Gesture, SpikeTensor
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.rehearsal import Camera, Rehearsal, Scene, act, draw_scenes
from neuro_ros.errors import NeuroRosError
from neuro_ros.events.tensor import decode_tensor, encode_tensor
from neuro_ros.snn import Conv2d, Dense, Model, Projection, load_model, save_model
from neuro_ros.snn._fields import J_WEIGHTS
from neuro_ros.snn.fixed import FixedEngine
from neuro_ros.snn.network import Layer

__all__ = [
    "FIRST_SUBJECT",
    "Detection",
    "Fault",
    "Flights",
    "change_weights",
    "channels",
    "faults",
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
#: In which of a layer's weights in memory a bit flips, every hundredth, and the worth of that bit.
_FLIPPED_EVERY, _FLIPPED_BIT = 100, 8
_SOUND = Camera()


def change_weights(model: Model, layer: str, change: Callable[[np.ndarray], np.ndarray]) -> Model:
    """Return the model with other weights in one layer, even and within their register."""

    def changed(projection: Projection) -> Projection:
        connection = projection.connection
        if not isinstance(connection, Conv2d | Dense):
            return projection
        weight = connection.weight
        other = np.clip(2 * np.round(change(weight.astype(np.float64)) / 2), -256, 254).astype(weight.dtype)
        return replace(projection, connection=replace(connection, weight=other))

    layers = [
        Layer(part.name, [changed(each) for each in part.projections], part.neuron) if part.name == layer else part
        for part in model.network.layers
    ]
    return replace(model, network=replace(model.network, layers=tuple(layers)))


@dataclass(frozen=True)
class Fault:
    """Something that is wrong.

    Parameters
    ----------
    name : str
        For the table.
    expected : tuple of str
        Alarms any of which is right.
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
    damaged : str
        Layer in whose weights bits flip in memory, while the file stays sound.
    """

    name: str
    expected: tuple[str, ...]
    layer: str = ""
    factor: float = 1.0
    dead: int = 0
    camera: Camera = _SOUND
    usual_camera: Camera = _SOUND
    slower_s: float = 0.0
    damaged: str = ""

    @property
    def in_model(self) -> bool:
        """Whether it is the weight file that is wrong."""
        return bool(self.layer)

    @property
    def begin_s(self) -> float:
        """When it begins [s]: a wrong file is wrong from the first window."""
        in_flight = self.camera != self.usual_camera or self.slower_s > 0.0 or self.damaged
        return HEALTHY_S if in_flight else 0.0

    def model_file(self, folder: Path, model: str = "gesture") -> str:
        """Write the wrong weight file and return its path; the right one for other faults."""
        if not self.in_model:
            return model
        sound = load_model(model_path(model))
        if self.dead:
            wrong = change_weights(
                sound, self.layer, lambda weight: np.where(channels(weight) < self.dead, 0.0, weight)
            )
        else:
            wrong = change_weights(sound, self.layer, lambda weight: self.factor * weight)
        path = folder / f"{self.layer}-{self.factor:g}-{self.dead}.safetensors"
        save_model(wrong, path)
        return str(path)


def channels(weight: np.ndarray) -> np.ndarray:
    """Return the output channel of each weight, in a form that broadcasts."""
    return np.arange(len(weight)).reshape(-1, *[1] * (weight.ndim - 1))


def _scaled(layer: str, factor: float) -> Fault:
    expected = ("self_test", "spike_rate", "dead_neurons", "saturated_neurons")
    return Fault(f"weights of {layer} x {factor:g}", expected, layer, factor)


def _dead(layer: str, dead: int, of: int) -> Fault:
    expected = ("self_test", "dead_neurons", "spike_rate", "margin", "accuracy")
    return Fault(f"{dead} of {of} channels of {layer} dead", expected, layer, dead=dead)


def faults(model: Model) -> tuple[Fault, ...]:
    """Return what is put in: every layer's weights scaled, channels of each hidden layer dead, and the rest.

    A quarter of the channels of the first two layers, half of the ones behind them, which have more to spare.
    """
    names = [layer.name for layer in model.network.layers]
    widths = [shape[0] for shape in model.network.shapes]
    hidden = list(enumerate(zip(names, widths, strict=True)))[:-1]
    return (
        *(_scaled(name, factor) for name in names for factor in (0.5, 0.7, 1.5, 2.0)),
        *(_dead(name, of // 4 if index < 2 else of // 2, of) for index, (name, of) in hidden),
        *(Fault(f"bits of {name} flip in memory", ("self_test",), damaged=name) for name in (names[0], names[-2])),
        Fault(f"back end {SLOWER_S * 1e3:g} ms slower a window", ("latency", "step_time"), slower_s=SLOWER_S),
        Fault("camera reports one polarity only", ("polarity",), camera=Camera("on_only")),
        Fault(
            "camera inverts polarity, thresholds unequal",
            ("polarity",),
            camera=Camera("inverted", UNEQUAL),
            usual_camera=Camera(off_kept=UNEQUAL),
        ),
        Fault("camera inverts polarity, thresholds equal", ("polarity",), camera=Camera("inverted")),
    )


def windows(fault: Fault, seed: int, model: Model, begin_s: float, end_s: float) -> Iterator[tuple[Scene, SpikeTensor]]:
    """Act mixed scenes, with the fault from `begin_s` on."""
    rng = np.random.default_rng([0xCA7A, seed])
    before = draw_scenes(begin_s, rng, FIRST_SUBJECT + 1000 * seed) if begin_s else []
    after = draw_scenes(end_s - begin_s, rng, FIRST_SUBJECT + 1000 * seed + 500)
    scenes = [replace(scene, camera=fault.usual_camera) for scene in before]
    scenes += [replace(scene, camera=fault.camera, slower_s=fault.slower_s) for scene in after]
    return act(scenes, 7_000 + 100 * seed, model)


class Flights:
    """The windows of faults; what several of them are shown is simulated once.

    Simulating takes four times as long as running the network. What a camera does to the names of the polarities, it
    does to each cell as it does to each event, so one flight serves all such cameras.

    Parameters
    ----------
    model : Model
        Says how windows and tensors are.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._acted: dict[tuple[int, float, Camera], list[tuple[Scene, SpikeTensor]]] = {}

    def windows(self, fault: Fault, seed: int) -> Iterator[tuple[Scene, SpikeTensor]]:
        """Yield what `windows` does for a fault from its `begin_s` on, `FAULTY_S` long."""
        begin_s, usual = fault.begin_s, fault.usual_camera
        key = (seed, begin_s, usual)
        if key not in self._acted:
            healthy = Fault("none", (), camera=usual, usual_camera=usual)
            self._acted[key] = list(windows(healthy, seed, self._model, begin_s, begin_s + FAULTY_S))
        turns = replace(fault.camera, off_kept=1.0) if fault.camera.off_kept == usual.off_kept else fault.camera
        first_ns = None
        for scene, tensor in self._acted[key]:
            first_ns = tensor.window_start if first_ns is None else first_ns
            if tensor.window_start - first_ns < begin_s * _S:
                yield scene, tensor
            else:
                yield replace(scene, camera=fault.camera, slower_s=fault.slower_s), _seen_by(turns, tensor)


def _seen_by(camera: Camera, tensor: SpikeTensor) -> SpikeTensor:
    """Return a window of a camera of right polarities as another camera with the same pixels sees it."""
    if camera == _SOUND:
        return tensor
    if camera.off_kept < 1.0:
        raise NeuroRosError("a camera with other thresholds has other events; act the scenes before it")
    shape = (tensor.bins, tensor.channels, tensor.height, tensor.width)
    cells = int(np.prod(shape))
    bits = np.unpackbits(decode_tensor(tensor.encoding, tensor.data, cells), count=cells).reshape(shape)
    if camera.polarity == "inverted":
        bits = bits[:, ::-1]
    else:
        bits = np.stack([np.zeros_like(bits[:, 0]), bits[:, 0] | bits[:, 1]], axis=1)
    encoding, data = encode_tensor(np.packbits(bits), cells)
    return replace(tensor, encoding=encoding, data=data, active=int(bits.sum()))


def _damage(rehearsal: Rehearsal, layer: str) -> None:
    """Flip bits of a layer's weights where the engine has them in memory."""
    engine = rehearsal.network.arms.live.network.engine
    if not isinstance(engine, FixedEngine):
        raise NeuroRosError("weights are in this memory with the back end fixed alone")
    tables = engine.program.tables
    index = engine.model.network.layer_index(layer)
    starts = [*(int(row) for row in tables.projections[:, J_WEIGHTS]), tables.weights.size]
    for row in np.flatnonzero(engine.program.layer_of == index):
        tables.weights[starts[row] : starts[row + 1] : _FLIPPED_EVERY] ^= _FLIPPED_BIT


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
    network: SnnInferenceParameters | None = None,
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
    network : SnnInferenceParameters, optional
        Of the network, but for its model.
    """
    rehearsal = Rehearsal(fault.model_file(folder), baselines=baselines, network=network)
    first_s: dict[str, float] = {}
    before: list[str] = []
    damaged = fault.damaged
    text, right, decided, start_ns = "", 0, 0, None
    try:
        for scene, tensor in acted:
            start_ns = tensor.window_start if start_ns is None else start_ns
            if damaged and tensor.window_start - start_ns >= begin_s * _S:
                _damage(rehearsal, damaged)
                damaged = ""
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
