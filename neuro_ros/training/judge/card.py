# SPDX-License-Identifier: Apache-2.0
"""The card of the gesture model: a page of markdown that says what it is, what it reached, on what, and what it is not.

All of it is made of the model and its training record; what the record does not hold yet is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuro_ros.gestures import CHANGES, LABELS, SPLIT_TABLE
from neuro_ros.snn import Model
from neuro_ros.training.errors import TrainingError

__all__ = ["card_text", "write_card"]

_PICTURES = "../docs/gestures"


def _percent(value: float | None) -> str:
    return "none" if value is None or value != value else f"{100.0 * value:.1f} %"


def _range(ends: Sequence[float], unit: str = "") -> str:
    """Return the ends of a range, or of both halves of one with a gap."""
    pairs = [f"{low:g} to {high:g}" for low, high in zip(ends[::2], ends[1::2], strict=True)]
    return " or ".join(pairs) + unit


def _head(model: Model, record: Mapping[str, Any], size_bytes: int) -> list[str]:
    job = record["job"]
    weights = sum(next(iter(layer.connection.tensors().values())).size for layer in model.network.layers)
    neurons = sum(c * h * w for c, h, w in model.network.shapes)
    rows = [
        ("model id", f"`{model.digest}`"),
        (
            "input",
            (
                f"{' x '.join(str(n) for n in model.network.input_shape)} (OFF/ON, height, width), window "
                f"{model.window_length_ns / 1e6:g} ms in {model.bins} bins, one network step a bin"
            ),
        ),
        ("size", f"{weights} weights of 8 bits, {neurons} neurons, file {size_bytes} bytes"),
        ("data", record["data"]),
        (
            "training",
            (
                f"{job['subjects']} subjects (seeds from {record['splits']['train'][0]}), {_acted(job)} gestures of "
                f"{job['gesture_duration_s']} s in a row; seed {job['seed']}"
            ),
        ),
        (
            "loop",
            (
                f"{record['updates']} updates of {job['batch']} crops of {job['crop_steps']} steps, learning rate "
                f"{job['learning_rate']:g}{_long_steps(model, record)}; loss {record['loss_first']:.2f} to "
                f"{record['loss_last']:.2f}"
            ),
        ),
        ("optimiser", _optimiser(job)),
        *_start_row(record),
        ("command", f"`{record['command']}`"),
        ("software", f"torch {record['torch']}, {record['threads']} thread(s), CPU"),
        ("time", _time_text(record)),
    ]
    return ["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in rows)]


def _acted(job: Mapping[str, Any]) -> str:
    """Return how many gestures each subject acted."""
    gestures = job.get("gestures", len(LABELS))
    return "all" if gestures == len(LABELS) else f"each {gestures} of the {len(LABELS)}"


def _optimiser(job: Mapping[str, Any]) -> str:
    """Return what made the steps, and what taught the hidden layers beside the output."""
    text = {
        "adam": "Adam",
        "muon": "Muon for the weights of the hidden layers, Adam for those of the output",
    }[job.get("optimiser", "adam")]
    if job.get("readout_cost"):
        text += "; linear readouts of the last two hidden layers, forgotten afterwards, teach them too (weight "
        text += f"{job['readout_cost']:g})"
    return text


def _long_steps(model: Model, record: Mapping[str, Any]) -> str:
    """Return what a part in longer steps was, see `neuro_ros.training.coarse`."""
    job = record["job"]
    if record.get("start") is not None or not job.get("coarse_share"):
        return ""
    longer_ms = job["coarse"] * model.window_length_ns / model.bins / 1e6
    return f", both for the first {_percent(job['coarse_share'])} in steps of {longer_ms:g} ms and again for the rest"


def _start_row(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return where the run began, if not from chance."""
    start = record.get("start")
    if start is None:
        return []
    job, by = start.get("job", {}), ""
    if "subjects" in job and "updates" in start:
        by = f": {start['updates']} updates, {job['subjects']} subjects, learning rate {job['learning_rate']:g}"
    return [("began at", f"model `{start['model_id'][:12]}`{by}")]


def _time_text(record: Mapping[str, Any]) -> str:
    text = f"{record['wall_s'] / 60.0:.1f} minutes"
    if "processor_s" in record:
        text += f", {record['processor_s'] / 60.0:.1f} minutes of processor time"
    return text + f", for {record.get('timed', 'simulation, training and validation')}"


def _layers(model: Model, record: Mapping[str, Any]) -> list[str]:
    seen = record.get("test", record["validation"])
    lines = [
        "Layers:",
        "",
        "| layer | kind | neurons (c, h, w) | du | dv | vth | zero weights | spikes a neuron and step | dead neurons |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for i, (layer, shape) in enumerate(zip(model.network.layers, model.network.shapes, strict=True)):
        neuron = layer.neuron
        lines.append(
            f"| {layer.name} | {layer.connection.kind} | {shape} | {neuron.du} | {neuron.dv} | {neuron.vth} "
            f"| {_percent(record['zero_weights'][i])} | {seen['rates'][i]:.3f} | {_percent(seen['dead'][i])} |"
        )
    return lines


def _splits() -> list[str]:
    shown = ("train", "validation", "test", "hard")
    rows: list[tuple[str, list[str]]] = [
        ("subject seeds", [f"{low} to {high - 1}" for low, high in (SPLIT_TABLE[name].seeds for name in shown)]),
        ("speed", [_range(SPLIT_TABLE[name].subjects.speed) for name in shown]),
        ("size in the image (arms stretched, of its width)", [_range(SPLIT_TABLE[n].subjects.size) for n in shown]),
        ("displacement [px of 128]", [_range(SPLIT_TABLE[name].subjects.shift_px) for name in shown]),
        ("light", [", ".join(SPLIT_TABLE[name].conditions.lights) for name in shown]),
        ("noise of the sensor, of the light's own", [_range(SPLIT_TABLE[n].conditions.noise) for n in shown]),
        ("shake of the camera [px of 128]", [_range(SPLIT_TABLE[name].conditions.shake_px) for name in shown]),
        ("background [px/s of 128]", [_range(SPLIT_TABLE[name].conditions.background_px_s) for name in shown]),
        ("still cameras before still walls", [_percent(SPLIT_TABLE[name].conditions.still) for name in shown]),
    ]
    return [
        "| split | " + " | ".join(shown) + " |",
        "| --- |" + " --- |" * len(shown),
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows),
        "",
        "The ranges stand in `neuro_ros/gestures/splits.py` and were fixed before the first training on them.",
    ]


def _accuracy(model: Model, record: Mapping[str, Any]) -> list[str]:
    splits = [name for name in ("validation", "test", "hard") if name in record]
    rows = [
        ("subjects", lambda d: str(d["subjects"])),
        ("seed of sensors and performances", lambda d: str(d["seed"])),
        ("recordings", lambda d: str(d["recordings"])),
        ("**recordings right**", lambda d: f"**{_percent(d['accuracy'])}**"),
        ("subjects of streams", lambda d: str(d.get("stream_subjects", d["subjects"]))),
        ("windows", lambda d: str(d["windows"])),
        ("windows that decide", lambda d: _percent(d["windows_decided"])),
        ("of these right", lambda d: _percent(d["windows_decided_right"])),
        ("gestures of streams right, by most deciding windows", lambda d: _percent(d["stream_accuracy"])),
        (
            "median time from a switch to the first right decision",
            lambda d: "none" if d["decision_ms_median"] is None else f"{d['decision_ms_median']:.0f} ms",
        ),
        ("gestures rightly decided within 1 s of the switch", lambda d: _percent(d["decided_within_1s"])),
        ("expected calibration error of the confidence", lambda d: _percent(d["calibration_error"])),
    ]
    return [
        "## Accuracy of the integer engine (`fixed`)",
        "",
        f"Recordings are {record['job']['recording_s']:g} s long. Per recording: state at rest, and the windows are",
        "joined as independent judgements, by the sum of the logarithms of each class's share of a window's spikes,",
        "half a spike added to each; the plain network below is joined alike. Per window: state carried through all",
        "gestures of a subject in a row, and the node's own rule: evidence with a half-life of 0.1 s, a decision from",
        "a confidence of 0.6 on. Confidence is the leading class's share of the evidence, sharpened by the exponent",
        f"{model.confidence_exponent:g}, which was fitted on the validation subjects. Model and recipe were chosen on",
        "validation subjects alone.",
        *(f"\n{remark}" for remark in record.get("remarks", ())),
        "",
        "| | " + " | ".join(splits) + " |",
        "| --- |" + " --- |" * len(splits),
        *(f"| {name} | {' | '.join(show(record[split]) for split in splits)} |" for name, show in rows),
    ]


def _interval(difference: Mapping[str, Any]) -> str:
    return (
        f"{difference['points']:+.2f} points ({difference['low']:+.2f} to {difference['high']:+.2f}; only one of the "
        f"two right: {difference['only_first']} and {difference['only_second']} of {difference['clips']})"
    )


def _compared(record: Mapping[str, Any]) -> list[str]:
    """Return what other ways of computing the same recordings say."""
    measured = record.get("measured", {})
    lines: list[str] = []
    twin, plain = measured.get("twin"), measured.get("yardstick")
    if twin and plain:
        lines += [
            "",
            "### Against the float twin and a plain network",
            "",
            "The float twin has the real-valued weights behind the integers, and neurons in real numbers. The plain",
            f"network is a convolutional one without spikes or memory, with the same kernels and {plain['weights']}",
            f"weights, on the same windows; it was trained on the same streams, with {plain['updates']} updates of as",
            "many crops, and sums the log-probabilities of a recording's windows. All answered the same recordings;",
            "the intervals are of 95 %, from a bootstrap over subjects.",
            "",
            "| split | integers | float twin | integers minus float | plain network | integers minus plain |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {split} | {_percent(record[split]['accuracy'])} | {_percent(twin[split]['accuracy'])} "
            f"| {_interval(twin[split]['integer_minus_float'])} | {_percent(plain[split]['accuracy'])} "
            f"| {_interval(plain[split]['spiking_minus_plain'])} |"
            for split in ("test", "hard")
        ]
    if "agreement" in measured:
        rows = measured["agreement"]
        total, spikes = sum(r["recordings"] for r in rows.values()), sum(r["spikes"] for r in rows.values())
        wrong = sum(r["mismatches"] for r in rows.values())
        lines += [
            "",
            f"Spike for spike: the forward pass of training and the engine differ in {wrong} of {spikes} spikes of all",
            f"layers, on all {total} recordings of both splits.",
        ]
    if "lava" in measured:
        lava = measured["lava"]
        lines += [
            f"Lava's processes and the engine differ in {lava['mismatches']} of {lava['spikes']} spikes on a sample of",
            f"{lava['recordings']} recordings of the test split, the classes in turn, each by another subject; Lava",
            f"answers {lava['right']} of them rightly.",
        ]
    return lines


def _classes(record: Mapping[str, Any]) -> list[str]:
    if "test" not in record:
        return []
    measured = record.get("measured", {})
    twin = measured.get("twin", {}).get("test", {}).get("per_class", {})
    lines = [
        "",
        "### By class",
        "",
        "Lava computes the spikes of the engine, so its accuracy by class is the engine's.",
        "",
        "| class | test, integers | test, float | hard, integers |",
        "| --- | --- | --- | --- |",
    ]
    hard = record.get("hard", {}).get("per_class", {})
    lines += [
        f"| {i} {name} | {_percent(record['test']['per_class'][name])} | {_percent(twin.get(name))} "
        f"| {_percent(hard.get(name))} |"
        for i, name in enumerate(LABELS)
    ]
    return [
        *lines,
        "",
        f"![rows: acted; columns: class index answered; test and hard split]({_PICTURES}/confusion.svg)",
    ]


def _cost(record: Mapping[str, Any]) -> list[str]:
    cost = record.get("measured", {}).get("cost")
    if not cost:
        return []
    energy = cost["energy_estimate"] or {}
    power = energy.get("power_w")
    estimate = (
        "no estimate: a figure of the chip is not published"
        if power is None or power != power
        else f"{power:.3g} W in real time, {energy['static_j'] / energy['total_j']:.2%} of it static, and "
        f"{1e6 * (energy['total_j'] - energy['static_j']) / cost['windows']:.1f} microjoule a window beside it; "
        f"an estimate ({energy['confidence']} confidence)"
    )
    return [
        "",
        "## Time and energy",
        "",
        f"Measured on {cost['windows']} windows of {cost['clips']}.",
        "",
        "| | |",
        "| --- | --- |",
        (
            f"| processor time of a window, engine `fixed`, one thread | p50 {cost['window_ms_p50']:.2f} ms, "
            f"p99 {cost['window_ms_p99']:.2f} ms |"
        ),
        f"| synaptic operations a step | {cost['synaptic_operations_per_step']:.0f} |",
        (
            f"| `{cost['chip']}` | {'fits' if cost['fits'] else 'does not fit'}: {cost['cores']} of "
            f"{cost['cores_available']:g} cores, {cost['violations']} broken limits |"
        ),
        f"| energy | {estimate} |",
    ]


def _pictures() -> list[str]:
    rows = [f"| {i} {name} | ![{name}]({_PICTURES}/{name}.png) |" for i, name in enumerate(LABELS)]
    return [
        "",
        "## What it sees",
        "",
        "Above the scene before the camera, below the events of the 50 ms before each instant, 100 ms apart.",
        "",
        "| class | |",
        "| --- | --- |",
        *rows,
    ]


def card_text(model: Model, record: Mapping[str, Any], size_bytes: int) -> str:
    """Return the card.

    Parameters
    ----------
    model : Model
        Trained by `neuro_ros.training.pipeline.train_model`.
    record : mapping
        Its training record: what the model itself holds, ``command``, ``wall_s`` and, once measured, ``test``, ``hard``
        (each `Evaluation.as_dict()`) and ``measured`` (see `docs/gesture_card.py`).
    size_bytes : int
        Of the model file.

    Returns
    -------
    str
        Markdown.
    """
    lines = [
        f"# Model card: {model.name}",
        "",
        "Reads eleven arm and hand gestures from an event camera with an integer spiking network.",
        "",
        "**Trained and measured on simulated gestures only; not measured on people.** The figures say how well the",
        "network knows the simulator of `neuro_ros/gestures`. They say nothing about any data set of recorded people.",
        "",
        *_head(model, record, size_bytes),
        "",
        *_layers(model, record),
        "",
        "## Data",
        "",
        *_splits(),
        "",
        *_accuracy(model, record),
        *_compared(record),
        *_classes(record),
        *_cost(record),
        *_pictures(),
        "",
        "## Changes of the simulator after the first training",
        "",
        *(f"* {change}" for change in CHANGES),
        "",
        "## Limits",
        "",
        "* Simulated gestures. No recording of a person was used for training or for any figure above.",
        "* One person, facing the camera, seen from the head to the hips; other people only walk by in the background.",
        "* The right hand is on the left of the image; rotation is as the camera sees it.",
        "* The test split is drawn from the same ranges as training (other subjects, sensors and performances); the",
        "  hard split lies outside of them in speed, distance, noise and shake, all at once.",
        "* No Loihi hardware was at hand; the engine computes the chip's documented integer arithmetic.",
        "* Confidence is calibrated by one exponent, on simulated validation subjects only.",
        "",
    ]
    return "\n".join(lines)


def write_card(path: Path, model: Model, record: Mapping[str, Any], size_bytes: int) -> None:
    """Write the card beside the model; parameters as for `card_text`.

    Raises
    ------
    TrainingError
        If the file cannot be written.
    """
    try:
        path.write_text(card_text(model, record, size_bytes), encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"{path}: the card cannot be written: {error.strerror}") from None
