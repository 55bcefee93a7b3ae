# SPDX-License-Identifier: Apache-2.0
"""The card of a model that was trained on a data set: what it is, what from, and what it reached on validation."""

from __future__ import annotations

from pathlib import Path

from neuro_ros.snn import Model
from neuro_ros.snn.container import write_atomically
from neuro_ros.training.errors import TrainingError

__all__ = ["dataset_card_text", "write_dataset_card"]


def _percent(value: float | None) -> str:
    return "none" if value is None or value != value else f"{100.0 * value:.1f} %"


def dataset_card_text(model: Model, command: str, size_bytes: int, wall_s: float) -> str:
    """Return the card.

    Parameters
    ----------
    model : Model
        With a record as `neuro_ros.training.dataset_job` leaves it.
    command : str
        What made the model.
    size_bytes : int
        Of the model file.
    wall_s : float
        Duration of reading, training and validation together.

    Returns
    -------
    str
        Markdown.
    """
    record, network = model.record, model.network
    validation, job = record["validation"], record["job"]
    weights = sum(next(iter(layer.connection.tensors().values())).size for layer in network.layers)
    neurons = sum(c * h * w for c, h, w in network.shapes)
    held = record["recordings"]
    lines = [
        f"# Model card: {model.name}",
        "",
        f"An integer spiking network with {len(model.labels)} classes, trained on a data set of the kind",
        f"`{record['data']}`. The test split was not looked at for this card: `neuro_ros evaluate` does that.",
        "",
        "| | |",
        "| --- | --- |",
        f"| model id | `{model.digest}` |",
        (
            f"| input | {' x '.join(str(n) for n in network.input_shape)} (OFF/ON, height, width), "
            f"window {model.window_length_ns / 1e6:g} ms in {model.bins} bins, one network step a bin |"
        ),
        f"| size | {weights} weights of 8 bits, {neurons} neurons, file {size_bytes} bytes |",
        (
            f"| training recordings | {sum(held.values())}: "
            + ", ".join(f"{label} {count}" for label, count in held.items())
            + f"; {record['skipped']} could not be used |"
        ),
        f"| division | seed {record['split_seed']} of what is carved out |",
        f"| layers | `{job['layers']}` |",
        (
            f"| loop | seed {job['seed']}; {record['updates']} updates of {job['batch']} crops of "
            f"{job['crop_windows']} window(s), judged by {job['judged']}; loss {record['loss_first']:.2f} to "
            f"{record['loss_last']:.2f} |"
        ),
        (
            "| augmentation | "
            + (", ".join(f"{name} {value:g}" for name, value in _strengths(job["augmentation"]).items()) or "none")
            + " |"
        ),
        f"| command | `{command}` |",
        f"| software | torch {record['torch']}, {record['threads']} thread(s) |",
        f"| time | {wall_s / 60.0:.1f} minutes for reading, training and validation |",
        "",
        "| layer | kind | neurons (c, h, w) | du | dv | vth | zero weights | spikes a neuron and step | dead neurons |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for i, (layer, shape) in enumerate(zip(network.layers, network.shapes, strict=True)):
        neuron = layer.neuron
        lines.append(
            f"| {layer.name} | {layer.connection.kind} | {shape} | {neuron.du} | {neuron.dv} | {neuron.vth} "
            f"| {_percent(record['zero_weights'][i])} | {validation['rates'][i]:.3f} "
            f"| {_percent(validation['dead'][i])} |"
        )
    median_ms = validation["decision_ms_median"]
    lines += [
        "",
        "## Accuracy of the integer engine (`fixed`) on the validation split",
        "",
        "Per recording: state at rest, output spikes summed over the recording. Per window: leaky evidence over the",
        f"recording from rest, shares sharpened by the exponent {model.confidence_exponent:g}, which was fitted on",
        "this very split, a decision from a confidence of 0.6 on.",
        "",
        "| | |",
        "| --- | --- |",
        f"| recordings | {validation['recordings']}, {validation['skipped']} could not be used |",
        f"| recordings right | {_percent(validation['accuracy'])} |",
        f"| windows that decide | {_percent(validation['windows_decided'])} of {validation['windows']} |",
        f"| of these right | {_percent(validation['windows_decided_right'])} |",
        f"| median time to the first right decision | {'none' if median_ms is None else f'{median_ms:.0f} ms'} |",
        "",
        "Per class, and what was answered instead (rows: truth; columns: class index answered):",
        "",
        "| class | right | " + " | ".join(str(i) for i in range(len(model.labels))) + " | none |",
        "| --- | --- |" + " --- |" * (len(model.labels) + 1),
    ]
    for i, label in enumerate(model.labels):
        cells = " | ".join(str(n) if n else "" for n in validation["confusion"][i])
        lines.append(f"| {i} {label} | {_percent(validation['per_class'][label])} | {cells} |")
    lines += [
        "",
        "## Limits",
        "",
        "* The figures hold for recordings like these: same sensor, same kind of scene, same people where the data set",
        "  does not tell them apart.",
        "* No Loihi hardware was at hand; the engine computes the chip's documented integer arithmetic.",
        "",
    ]
    return "\n".join(lines)


def _strengths(augmentation: dict[str, object]) -> dict[str, float]:
    """Return what is varied at all."""
    found = {name: float(value) for name, value in augmentation.items() if isinstance(value, (int, float)) and value}
    if augmentation.get("mirror") is None:
        found.pop("flip", None)
    return found


def write_dataset_card(path: Path, model: Model, command: str, size_bytes: int, wall_s: float) -> None:
    """Write the card beside the model; parameters as for `dataset_card_text`.

    Raises
    ------
    TrainingError
        If the file cannot be written.
    """
    try:
        write_atomically(path, dataset_card_text(model, command, size_bytes, wall_s).encode())
    except OSError as error:
        raise TrainingError(f"{path}: the card cannot be written: {error.strerror}") from None
