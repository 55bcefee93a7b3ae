# SPDX-License-Identifier: Apache-2.0
"""Measure the shipped gesture model on the splits that it has never seen, and write its card.

    PYTHONPATH=. python docs/gesture_card.py models/gesture.safetensors

Everything in the card that is not in the model's own training record is measured here and added to it: accuracy on the
test and the hard split, the float twin and the plain network of the same size on the same clips, the spikes of the
training forward pass and of Lava against those of the engine, time and an estimate of energy. Needs torch, matplotlib
and Lava; takes about an hour of one core (`--only` measures a part again and keeps the rest). The accuracy parts
look at the test split: choose nothing by them.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from neuro_ros.cli.chip_text import as_dict
from neuro_ros.gestures import LABELS, subject_seeds
from neuro_ros.gestures.datasets import SampleCache, SimulatedGestures
from neuro_ros.snn import create_engine, load_model
from neuro_ros.snn.chips import chip_profile, estimate_energy, map_network, measure_activity
from neuro_ros.training.data import simulate_streams
from neuro_ros.training.gesture import GESTURE_LAYERS, GestureCrops, gesture_network, simulate_training
from neuro_ros.training.judge.agreement import engine_spikes, mismatches, network_of, network_spikes
from neuro_ros.training.judge.card import write_card
from neuro_ros.training.judge.evaluation import answer, score_recordings, score_streams
from neuro_ros.training.judge.statistics import paired_difference
from neuro_ros.training.judge.twin import FloatTwin
from neuro_ros.training.judge.yardstick import answer_recording, fit_frames, frame_network
from neuro_ros.training.network.master import MASTER_SUFFIX, load_master_weights
from neuro_ros.training.pipeline import EVALUATION_SEEDS, RECORDING_S, Evaluation, window_shape
from neuro_ros.training.run.loop import TrainingSettings

PARTS = ("accuracy", "twin", "yardstick", "agreement", "lava", "cost")
SPLITS = ("test", "hard")
CHIP = "loihi2"
KEPT, INK = "#1f6f8b", "#444444"


def say(line):
    """Print a line at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def processor_s():
    """Return the processor time of this process and of those that it has waited for [s]."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Clips:
    """The clips of a split: the first subjects, every gesture once each."""

    def __init__(self, split, subjects, shape, cache):
        data = SimulatedGestures({split: subjects, "train": 1}, RECORDING_S, EVALUATION_SEEDS[split])
        samples = list(data.tensors(split, shape, cache=cache))
        self.split, self.subjects = split, subjects
        self.streams = [sample.steps for sample in samples]
        self.labels = np.array([sample.entry.label for sample in samples])
        self.people = np.array([int(sample.entry.subject) for sample in samples])

    def by_person(self):
        """Yield the clips of one subject after the other."""
        for person in dict.fromkeys(self.people.tolist()):
            yield [stream for stream, who in zip(self.streams, self.people, strict=True) if who == person]


def accuracy_of(answers, labels):
    """Return the share right, in all and by class."""
    right = answers == labels
    return {
        "accuracy": float(right.mean()),
        "per_class": {name: float(right[labels == i].mean()) for i, name in enumerate(LABELS)},
    }


def measure_accuracy(model, clips, stream_subjects, shape):
    """Return what `neuro_ros evaluate` says of a split, and the answers clip by clip."""
    recordings = score_recordings(model, list(zip(clips.streams, clips.labels.tolist(), strict=True)))
    seed = EVALUATION_SEEDS[clips.split]
    streams = simulate_streams(subject_seeds(clips.split, stream_subjects), RECORDING_S, seed, shape, split=clips.split)
    found = Evaluation(clips.split, seed, clips.subjects, recordings, score_streams(model, streams)).as_dict()
    return {**found, "stream_subjects": stream_subjects, "answers": recordings.answers.tolist()}


def measure_twin(model, weights, clips, answers):
    """Return the float twin's accuracy, and the integers' against it."""
    twin = FloatTwin(model, weights)
    theirs = np.array([answer(counts) for streams in clips.by_person() for counts in twin.count(streams)])
    difference = paired_difference(answers == clips.labels, theirs == clips.labels, clips.people)
    return {**accuracy_of(theirs, clips.labels), "integer_minus_float": difference.as_dict()}


def all_updates(record):
    """Return the updates of a run, with those of the runs that it went on from."""
    start = record.get("start")
    return record["updates"] + (all_updates(start) if start else 0)


def train_yardstick(job, updates, shape, weights, folder):
    """Return the plain network, trained on the streams, the crops and as many updates as the model.

    With a folder it is kept there, and taken from there.
    """
    torch.manual_seed(job["seed"])
    network = frame_network(GESTURE_LAYERS, shape, weights)
    kept = None if folder is None else folder / "yardstick.pt"
    if kept is not None and kept.is_file():
        found = torch.load(kept, weights_only=True)
        if found["made_of"] == [job, updates]:
            network.load_state_dict(found["state"])
            return network, found["about"]
    began_s = processor_s()
    streams = simulate_training(
        subject_seeds("train", job["subjects"]), job["gesture_duration_s"], job["seed"], shape,
        lambda done, of: say(f"simulated {done} of {of} subjects") if done % 60 == 0 else None,
        gestures=job.get("gestures", len(LABELS)),
    )  # fmt: skip
    simulation_s = processor_s() - began_s
    crops = GestureCrops(streams, job["crop_steps"], job["batch"], job["seed"], shape)
    began_s = processor_s()
    losses = fit_frames(
        network, crops, TrainingSettings(updates=updates),
        report=lambda update, loss: say(f"yardstick, update {update}: loss {loss:.3f}") if update % 500 == 0 else None,
    )  # fmt: skip
    crops.close()
    about = {
        "weights": network.weights,
        "updates": len(losses),
        "loss_last": float(np.mean(losses[-20:])),
        "processor_s": round(processor_s() - began_s, 1),
        "simulation_processor_s": round(simulation_s, 1),
    }
    if kept is not None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"made_of": [job, updates], "state": network.state_dict(), "about": about}, kept)
    return network, about


def measure_yardstick(network, shape, clips, answers):
    """Return the plain network's accuracy, and the integers' against it."""
    theirs = np.array([answer_recording(network, stream, shape) for stream in clips.streams])
    difference = paired_difference(answers == clips.labels, theirs == clips.labels, clips.people)
    return {**accuracy_of(theirs, clips.labels), "spiking_minus_plain": difference.as_dict()}


def measure_agreement(model, weights, clips, shape):
    """Return how many spikes of all layers differ between the training forward pass and the engine."""
    network = network_of(model, gesture_network(shape), weights)
    engine = create_engine(model, "fixed")
    compared = differing = 0
    for stream in clips.streams:
        ours = engine_spikes(engine, stream, model.bins, model.network.depth)
        differing += mismatches(ours, network_spikes(network, stream, model.network.depth))
        compared += sum(map(len, ours))
    engine.close()
    return {"recordings": len(clips.streams), "spikes": compared, "mismatches": differing}


def by_window(spikes, steps, bins):
    """Return the output spikes (windows, classes) of a recording from their steps and indices, the tail in the last."""
    window = np.minimum(spikes // len(LABELS), steps - 1) // bins
    counts = np.zeros((-(-steps // bins), len(LABELS)), np.int64)
    np.add.at(counts, (window, spikes % len(LABELS)), 1)
    return counts


def measure_lava(model, clips, count):
    """Return the same for Lava's processes, on `count` clips: of every class in turn, of one person after the other."""
    places = [(k * (len(LABELS) + 1)) % len(clips.streams) for k in range(count)]
    engine, lava = create_engine(model, "fixed"), create_engine(model, "lava")
    compared = differing = right = 0
    for place in places:
        ours = engine_spikes(engine, clips.streams[place], model.bins, model.network.depth)
        theirs = engine_spikes(lava, clips.streams[place], model.bins, model.network.depth)
        differing += mismatches(ours, theirs)
        compared += sum(map(len, ours))
        right += answer(by_window(theirs[-1], len(clips.streams[place].bits), model.bins)) == clips.labels[place]
        say(f"lava, clip {place}: {differing} of {compared} spikes differ so far")
    engine.close()
    lava.close()
    labels = [LABELS[clips.labels[place]] for place in places]
    return {"recordings": count, "spikes": compared, "mismatches": differing, "right": int(right), "labels": labels}


def measure_cost(model, clips):
    """Return times of the engine, and what the mapper and the energy estimate say, on a person's eleven clips."""
    feeds = []
    for stream in clips.streams[: len(LABELS)]:
        for begin in range(0, len(stream.bits), model.bins):
            piece = stream.bits[begin : begin + model.bins]
            feeds.append((np.flatnonzero(np.unpackbits(piece)).astype(np.uint32), len(piece), begin == 0))
    engine = create_engine(model, "fixed")
    times = []
    for indices, bins, restart in [*feeds[:20], *feeds]:  # the first ones warm up
        if restart:
            engine.reset()
        began = time.thread_time_ns()
        engine.run_window(indices, bins)
        times.append((time.thread_time_ns() - began) * 1e-6)
    engine.close()
    origin = f"{len(LABELS)} clips of {clips.split} subject {clips.people[0]}"
    activity = measure_activity(model, feeds, origin)
    profile, period_s = chip_profile(CHIP), model.window_length_ns * 1e-9 / model.bins
    mapping = map_network(model.network, profile, period_s, activity)
    operations = sum(core.synaptic_operations for core in mapping.cores) * activity.steps
    updates = sum(core.neurons for core in mapping.cores) * activity.steps
    energy = estimate_energy(profile, operations, updates, activity.steps * period_s)
    chip = as_dict(mapping, (), energy)
    kept = ("chip", "fits", "cores", "cores_available", "step_period_s", "step_time_s", "energy_estimate")
    p50, p99 = np.quantile(times[20:], (0.5, 0.99))
    return {
        "windows": len(feeds),
        "clips": origin,
        "window_ms_p50": float(p50),
        "window_ms_p99": float(p99),
        "synaptic_operations_per_step": operations / activity.steps,
        **{name: chip[name] for name in kept},
        "violations": len(chip["violations"]),
        "busiest_core": chip["utilisation"]["max"],
    }


def draw_confusion(path, record):
    """Draw what was answered to each gesture on both splits: shares of a row, and the numbers."""
    plt.rcParams.update({"svg.hashsalt": "neuro_ros", "svg.fonttype": "none"})
    plt.rcParams.update({"font.size": 8, "font.family": "sans-serif"})
    shades = matplotlib.colors.LinearSegmentedColormap.from_list("shades", ["#ffffff", KEPT])
    figure, panels = plt.subplots(1, 2, figsize=(9.6, 4.8), sharey=True, layout="constrained")
    for panel, split in zip(panels, SPLITS, strict=True):
        counts = np.array(record[split]["confusion"])
        shares = counts / counts.sum(1, keepdims=True)
        panel.imshow(shares, cmap=shades, vmin=0.0, vmax=1.0, aspect="auto")
        for row, column in np.argwhere(counts):
            colour = "white" if shares[row, column] > 0.5 else INK
            panel.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=7)
        panel.set_xticks(range(counts.shape[1]), [*map(str, range(len(LABELS))), "none"])
        panel.set(xlabel="answered", title=f"{split}: {100 * record[split]['accuracy']:.1f} % of {counts.sum()} right")
        panel.tick_params(length=0)
        panel.spines[:].set_color("#bbbbbb")
    panels[0].set_yticks(range(len(LABELS)), [f"{name.replace('_', ' ')}  {i}" for i, name in enumerate(LABELS)])
    figure.savefig(path, metadata={"Date": None})


def main():
    """Measure what is asked for, keep it in the record, write card and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--subjects", type=int, default=60, help="of each split, eleven clips each (default 60)")
    parser.add_argument("--stream-subjects", type=int, default=20, help="gestures in a row (default 20)")
    parser.add_argument("--lava-clips", type=int, default=22, help="default 22")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS, help="measure these; none = write the card")
    parser.add_argument("--cache", type=Path, help="folder to keep simulated clips in")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, shape = load_model(args.model), None
    shape = window_shape(model)
    record_file = args.model.with_suffix(".training.json")
    record = json.loads(record_file.read_text(encoding="utf-8"))
    if record["model_id"] != model.digest:
        parser.error(f"{record_file} is not the record of {args.model}")
    weights = load_master_weights(args.model.with_suffix(MASTER_SUFFIX))
    cache = None if args.cache is None else SampleCache(args.cache)
    clips = {split: Clips(split, args.subjects, shape, cache) for split in SPLITS} if args.only else {}
    measured = record.setdefault("measured", {})
    yardstick = None
    if "yardstick" in args.only:
        size = sum(next(iter(layer.connection.tensors().values())).size for layer in model.network.layers)
        yardstick, about = train_yardstick(record["job"], all_updates(record), shape, size, args.cache)
        measured["yardstick"] = dict(about)
    for split, shown in clips.items():
        if "accuracy" in args.only:
            record[split] = measure_accuracy(model, shown, args.stream_subjects, shape)
            say(f"{split}: {record[split]['accuracy']:.4f}")
        answers = np.array(record[split]["answers"])
        if "twin" in args.only:
            measured.setdefault("twin", {})[split] = measure_twin(model, weights, shown, answers)
            say(f"{split}, float: {measured['twin'][split]}")
        if yardstick is not None:
            measured["yardstick"][split] = measure_yardstick(yardstick, shape, shown, answers)
            say(f"{split}, plain network: {measured['yardstick'][split]}")

    def keep():
        record_file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    keep()
    if "agreement" in args.only:
        measured["agreement"] = {
            split: measure_agreement(model, weights, shown, shape) for split, shown in clips.items()
        }
        say(f"spikes: {measured['agreement']}")
    keep()
    if "lava" in args.only:
        measured["lava"] = measure_lava(model, clips["test"], args.lava_clips)
    if "cost" in args.only:
        measured["cost"] = measure_cost(model, clips["test"])
        say(f"cost: {measured['cost']}")
    keep()
    draw_confusion(Path(__file__).parent / "gestures" / "confusion.svg", record)
    write_card(args.model.with_suffix(".md"), model, record, args.model.stat().st_size)


if __name__ == "__main__":
    main()
