# SPDX-License-Identifier: Apache-2.0
"""The model card: one page of markdown that says what a model is, what it reached, on what, and what it is not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuro_ros.gestures import CHANGES
from neuro_ros.snn import Model
from neuro_ros.training.errors import TrainingError

__all__ = ["card_text", "write_card"]


def _percent(value: float | None) -> str:
    return "none" if value is None or value != value else f"{100.0 * value:.1f} %"


def card_text(model: Model, test: Mapping[str, Any], command: str, size_bytes: int, wall_s: float) -> str:
    """Return the card.

    Parameters
    ----------
    model : Model
        With a record as `neuro_ros.training.pipeline.train_model` leaves it.
    test : mapping
        `Evaluation.as_dict()` on the test split.
    command : str
        What made the model.
    size_bytes : int
        Of the model file.
    wall_s : float
        Duration of simulation, training and validation together.

    Returns
    -------
    str
        Markdown.
    """
    record = model.record
    validation, job = record["validation"], record["job"]
    weights = sum(next(iter(layer.connection.tensors().values())).size for layer in model.network.layers)
    neurons = sum(c * h * w for c, h, w in model.network.shapes)
    lines = [
        f"# Model card: {model.name}",
        "",
        "Reads eleven arm and hand gestures from an event camera with an integer spiking network.",
        "",
        "**Trained and measured on simulated gestures only; not measured on people.** The figures say how well the",
        "network knows the simulator of `neuro_ros/gestures`, a flat upper body in front of a still background.",
        "They say nothing about any data set of recorded people.",
        "",
        "| | |",
        "| --- | --- |",
        f"| model id | `{model.digest}` |",
        (
            f"| input | {' x '.join(str(n) for n in model.network.input_shape)} (OFF/ON, height, width), "
            f"window {model.window_length_ns / 1e6:g} ms in {model.bins} bins, one network step a bin |"
        ),
        f"| size | {weights} weights of 8 bits, {neurons} neurons, file {size_bytes} bytes |",
        f"| data | {record['data']} |",
        (
            f"| training | {job['subjects']} subjects (seeds from {record['splits']['train'][0]}), all gestures of "
            f"{job['gesture_duration_s']} s in a row; seed {job['seed']} |"
        ),
        (
            f"| loop | {record['updates']} updates of {job['batch']} crops of {job['crop_steps']} steps; loss "
            f"{record['loss_first']:.2f} to {record['loss_last']:.2f} |"
        ),
        (
            f"| splits | subject seeds train {record['splits']['train']}, validation {record['splits']['validation']}, "
            f"test {record['splits']['test']} (half-open) |"
        ),
        f"| command | `{command}` |",
        f"| software | torch {record['torch']}, {record['threads']} thread(s), CPU |",
        f"| time | {wall_s / 60.0:.1f} minutes for simulation, training and validation |",
        "",
        "Layers:",
        "",
        "| layer | kind | neurons (c, h, w) | du | dv | vth | zero weights | spikes a neuron and step | dead neurons |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for i, (layer, shape) in enumerate(zip(model.network.layers, model.network.shapes, strict=True)):
        neuron = layer.neuron
        lines.append(
            f"| {layer.name} | {layer.connection.kind} | {shape} | {neuron.du} | {neuron.dv} | {neuron.vth} "
            f"| {_percent(record['zero_weights'][i])} | {test['rates'][i]:.3f} | {_percent(test['dead'][i])} |"
        )
    lines += [
        "",
        "## Accuracy of the integer engine (`fixed`)",
        "",
        "Training runs the same integers, so there is no separate float figure. Per recording: state at rest, output",
        "spikes summed over the recording. Per window: state carried through all gestures of a subject in a row, and",
        "the node's own rule: evidence with a half-life of 0.1 s, a decision from a confidence of 0.6 on. Confidence",
        f"is the leading class's share of the evidence, sharpened by the exponent {model.confidence_exponent:g}, which",
        "was fitted on the validation subjects.",
        "",
        "| | validation | test |",
        "| --- | --- | --- |",
    ]
    rows = [
        ("subjects", lambda d: str(d["subjects"])),
        ("seed", lambda d: str(d["seed"])),
        ("recordings", lambda d: str(d["recordings"])),
        ("recordings right", lambda d: _percent(d["accuracy"])),
        ("windows", lambda d: str(d["windows"])),
        ("windows that decide", lambda d: _percent(d["windows_decided"])),
        ("of these right", lambda d: _percent(d["windows_decided_right"])),
        ("gestures of streams right, by most deciding windows", lambda d: _percent(d["stream_accuracy"])),
        (
            "median time from a switch to the first right decision",
            lambda d: "none" if d["decision_ms_median"] is None else f"{d['decision_ms_median']:.0f} ms",
        ),
        ("gestures rightly decided within 1 s of the switch", lambda d: _percent(d["decided_within_1s"])),
    ]
    lines += [f"| {name} | {show(validation)} | {show(test)} |" for name, show in rows]
    lines += ["", "Test, per class, and what was answered instead (rows: acted; columns: class index answered):", ""]
    lines += [
        "| class | right | " + " | ".join(str(i) for i in range(len(model.labels))) + " | none |",
        "| --- | --- |" + " --- |" * (len(model.labels) + 1),
    ]
    for i, label in enumerate(model.labels):
        cells = " | ".join(str(n) if n else "" for n in test["confusion"][i])
        lines.append(f"| {i} {label} | {_percent(test['per_class'][label])} | {cells} |")
    lines += [
        "",
        "## Changes of the simulator after the first training",
        "",
        *(f"* {change}" for change in CHANGES),
        "",
        "## Limits",
        "",
        "* Simulated gestures. No recording of a person was used for training or for any figure above.",
        "* A still camera and background, one person in the middle of the image, arms in the image plane.",
        "* The right hand is on the left of the image; rotation is as the camera sees it.",
        "* The test split is drawn from the same ranges as training (other subjects, sensors and performances).",
        "* No Loihi hardware was at hand; the engine computes the chip's documented integer arithmetic.",
        "* Confidence is calibrated by one exponent, on simulated validation subjects only.",
        "",
    ]
    return "\n".join(lines)


def write_card(path: Path, model: Model, test: Mapping[str, Any], command: str, size_bytes: int, wall_s: float) -> None:
    """Write the card beside the model; parameters as for `card_text`.

    Raises
    ------
    TrainingError
        If the file cannot be written.
    """
    try:
        path.write_text(card_text(model, test, command, size_bytes, wall_s), encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"{path}: the card cannot be written: {error.strerror}") from None
