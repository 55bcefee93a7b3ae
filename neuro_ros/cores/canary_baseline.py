# SPDX-License-Identifier: Apache-2.0
"""Measures what is normal for a model, on simulated people, with the eyes of the canary itself."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from neuro_ros.canary import Baseline, BaselineBuilder, BaselineError, QuantileSketch
from neuro_ros.cores.canary_intake import CanaryIntake
from neuro_ros.cores.messages import Gesture, SnnTelemetry
from neuro_ros.cores.rehearsal import STILL, Rehearsal, Scene, act
from neuro_ros.gestures import LABELS, subject_seeds

__all__ = ["baseline_scenes", "measure_baseline"]

#: Length of a scene [s]: ten reports of a second, and one before them that is not used, because it began in the scene
#: before.
SCENE_S = 11.0
_STILL_S = 3.0
#: Noise of the still scenes, from one subject to the last: about what the light makes in the others.
_NOISE_HZ = (0.1, 1.0)


def baseline_scenes(split: str, subjects: int) -> list[Scene]:
    """Return every gesture by each subject, under conditions of the split, with a still scene and its noise before.

    Parameters
    ----------
    split : str
        A key of `neuro_ros.gestures.SPLIT_TABLE`.
    subjects : int
        The first so many of the split.
    """
    scenes = []
    for subject, noise_hz in zip(subject_seeds(split, subjects), np.linspace(*_NOISE_HZ, subjects), strict=True):
        still = Scene(STILL, _STILL_S, subject, float(noise_hz), split=split)
        scenes += [still, *(replace(still, label=label, seconds=SCENE_S) for label in range(len(LABELS)))]
    return scenes


def measure_baseline(
    model_file: str | Path,
    scenes: Sequence[Scene],
    seed: int,
    measured: dict[str, object] | None = None,
    progress: Callable[[int, int], None] | None = None,
    key: str = "",
    trusted: Sequence[str] = (),
) -> Baseline:
    """Let a model see some scenes and note how it behaves.

    Parameters
    ----------
    model_file : str or Path
        File, or the name of a shipped model; with the eleven gesture labels.
    scenes : sequence of Scene
        Healthy ones, see `baseline_scenes`.
    seed : int
        Performances and sensors.
    measured : dict, optional
        What is noted about the measurement beside what is noted anyway.
    progress : callable, optional
        Called with (scenes done, of).
    key, trusted : str, sequence of str
        What it takes to read an encrypted or a signed model.

    Raises
    ------
    BaselineError
        The model has other labels, or too few scenes moved.
    ModelError, EngineError
        The model cannot be run.
    """
    rehearsal = Rehearsal(str(model_file), key=key, trusted=trusted)
    model = rehearsal.model
    try:
        if model.labels != LABELS:
            raise BaselineError(
                f"the model has labels {', '.join(model.labels)}; simulated scenes need the 11 gestures"
            )
        neurons = [int(np.prod(shape)) for shape in model.network.shapes]
        builder = BaselineBuilder([layer.name for layer in model.network.layers], neurons, len(model.labels))
        intake = CanaryIntake(60.0, 1 << 16)
        times = QuantileSketch(lowest=1e-9)
        current, first, done = None, True, 0
        for scene, tensor in act(scenes, seed, model):
            if scene is not current:
                current, first, done = scene, True, done + 1
                builder.begin_scene()
                if progress is not None:
                    progress(done, len(scenes))
            for item in rehearsal.show(scene, tensor, with_truth=False):
                message = item.message
                if isinstance(message, Gesture):
                    intake.window(tensor)  # telemetry of the time before it has been taken by now
                    intake.gesture(message, item.time_ns)
                    times.add(message.inference_s)
                    if scene.label >= 0 <= message.class_index:
                        builder.add_outcome(scene.label, message.class_index)
                elif isinstance(message, SnnTelemetry):
                    report = intake.telemetry(message)
                    if not first:
                        builder.add_report(report)
                    first = False
            for leading, margin in intake.take(tensor.closed_at, None).margins:
                builder.add_margin(leading, margin)
    finally:
        rehearsal.close()
    latency = {
        "window_time_p50_s": times.quantile(0.50),
        "window_time_p99_s": times.quantile(0.99),
        "step_time_p99_s": times.quantile(0.99) / model.bins,
    }
    moving = [scene for scene in scenes if scene.label >= 0]
    notes = {
        "data": "simulated gestures (neuro_ros.gestures), not people",
        **(measured or {}),
        "seed": seed,
        "recordings": len(moving),
        "subjects": len({scene.subject for scene in moving}),
        "seconds_moving": round(sum(scene.seconds for scene in moving), 3),
        "seconds_still": round(sum(scene.seconds for scene in scenes if scene.label < 0), 3),
        "latency_is": "processor time of the back end 'fixed', one thread",
        "computer": f"{platform.machine()}, Python {platform.python_version()}",
    }
    return builder.build(model.model_id, model.digest, latency, notes)
