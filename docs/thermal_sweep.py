# SPDX-License-Identifier: Apache-2.0
"""Measure and draw the gesture network on an emulated chip that drifts, from -40 to 85 degrees Celsius.

    PYTHONPATH=. python docs/thermal_sweep.py docs

Writes thermal_sweep.json and thermal_sweep.svg there and prints the table of docs/thermal.md. Needs torch and
matplotlib; takes some minutes on one idle core (``--only`` measures a part and keeps the rest of the file). Every clip
and every stream runs at every temperature, once with the registers of the model and once with compensated ones. The
chip is emulated (`neuro_ros.thermal.chip`), the gestures are simulated (test split, the seed of the model card, but
1.5 s long); nothing here was measured on a chip or on people.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from neuro_ros.cores.files import model_path
from neuro_ros.gestures.splits import subject_seeds
from neuro_ros.snn import create_engine, load_model
from neuro_ros.snn.decision import Evidence, decide
from neuro_ros.thermal import Compensator, Die, DriftingEngine, SiliconOptions, create_silicon, populations
from neuro_ros.training.data import simulate_streams
from neuro_ros.training.gesture import simulate_recordings
from neuro_ros.training.judge.evaluation import HALF_LIFE_S, THRESHOLD, answer, run_recording
from neuro_ros.training.pipeline import window_shape

SEED = 13  # of the test split in the model card
GESTURE_S = 1.5
LOST, KEPT, INK = "#b5452c", "#1f6f8b", "#444444"


def warm_chip(model, silicon, celsius, compensated):
    """Return a chip at a temperature, programmed for it or not, and what its registers come to."""
    chip = DriftingEngine(create_engine(model, "fixed"), Die(silicon, celsius))
    compensator = Compensator(populations(model), silicon, 0.005)
    if compensated:
        compensator.jump(celsius)
    registers = compensator.registers(celsius)
    for layer, du, dv in zip(registers.layer, registers.du, registers.dv, strict=True):
        chip.set_registers(layer, du=du, dv=dv)
    return chip, registers


def score_clips(model, chip, clips):
    """Return the share of clips, each from rest, that are answered rightly."""
    right = 0
    for stream, label in clips:
        right += answer(run_recording(chip, stream.bits, model.bins, model.network.depth)) == label
    return {"right": right / len(clips)}


def score_windows(model, chip, streams):
    """Return the shares of windows, state carried, that decide by the node's rule, and that decide rightly."""
    windows = decided = right = 0
    for stream in streams:
        chip.reset()
        evidence = Evidence(model.network.classes)
        for window in range(len(stream.labels) // model.bins):
            steps = slice(window * model.bins, (window + 1) * model.bins)
            indices = np.flatnonzero(np.unpackbits(stream.bits[steps])).astype(np.uint32)
            evidence.add(chip.run_window(indices, model.bins).spike_counts, model.window_length_ns * 1e-9, HALF_LIFE_S)
            answer, _ = decide(evidence.values, THRESHOLD, model.confidence_exponent)
            windows += 1
            decided += answer >= 0
            right += answer == int(stream.labels[steps][-1])
    return {"decided": decided / windows, "right": int(right) / windows}


def sweep(model, silicon, temperatures, score, inputs, what):
    """Return one row a temperature."""
    rows = []
    for celsius in temperatures:
        row = {"celsius": celsius}
        for name, compensated in (("uncompensated", False), ("compensated", True)):
            chip, registers = warm_chip(model, silicon, celsius, compensated)
            row[name] = {**score(model, chip, inputs), "tau_error": max(registers.remaining_error)}
            chip.close()
        rows.append(row)
        sys.stderr.write(f"{what}, {celsius} degree Celsius: {row['uncompensated']} {row['compensated']}\n")
    return rows


def main():
    """Measure what is asked for, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder")
    parser.add_argument("--model", default="gesture")
    parser.add_argument("--clip-subjects", type=int, default=40, help="eleven clips each")
    parser.add_argument("--stream-subjects", type=int, default=10, help="eleven gestures in a row each")
    parser.add_argument("--step", type=int, default=10, help="between two temperatures [degree Celsius]")
    parser.add_argument("--per-celsius", type=float, default=0.003, help="part of a time constant lost a degree")
    parser.add_argument("--only", choices=("clips", "windows", "nothing"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(model_path(args.model))
    shape = window_shape(model)
    silicon = create_silicon("linear", SiliconOptions(args.per_celsius, args.per_celsius))
    temperatures = sorted({*range(-40, 86, args.step), 25, 85})
    path = args.out / "thermal_sweep.json"
    found = json.loads(path.read_text()) if args.only else {"model": model.model_id, "per_celsius": args.per_celsius}
    began_s = time.process_time()
    if args.only in (None, "clips"):
        clips = simulate_recordings(subject_seeds("test", args.clip_subjects), GESTURE_S, SEED, shape, "test")
        found["clip_count"] = len(clips)
        found["clips"] = sweep(model, silicon, temperatures, score_clips, clips, "clips")
    if args.only in (None, "windows"):
        subjects = subject_seeds("test", args.stream_subjects)
        streams = simulate_streams(subjects, GESTURE_S, SEED, shape, split="test")
        found["window_count"] = sum(len(stream.labels) // model.bins for stream in streams)
        found["windows"] = sweep(model, silicon, temperatures, score_windows, streams, "windows")
    path.write_text(json.dumps(found, indent=1) + "\n")
    sys.stderr.write(f"{time.process_time() - began_s:.0f} s of one core\n")
    sys.stdout.write(table(found))
    draw(args.out / "thermal_sweep.svg", found)


def at_reference(rows):
    """Return what is right at 25 degrees."""
    return next(row["compensated"]["right"] for row in rows if row["celsius"] == 25)


def table(found):
    """Return the table of docs/thermal.md."""
    windows = {row["celsius"]: row for row in found["windows"]}
    lines = [
        "| die | tau off by | compensated | clips right | compensated | windows decide, rightly | compensated |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found["clips"]:
        pairs = [(row[name], windows.get(row["celsius"], {}).get(name)) for name in ("uncompensated", "compensated")]
        cells = [f"{pair[0]['tau_error']:.2%}" for pair in pairs] + [f"{pair[0]['right']:.1%}" for pair in pairs]
        cells += [f"{pair[1]['decided']:.1%}, {pair[1]['right']:.1%}" if pair[1] else "" for pair in pairs]
        lines.append(f"| {row['celsius']} | {' | '.join(cells)} |")
    for name, count in (("clips", found["clip_count"]), ("windows", found["window_count"])):
        rows, reference = found[name], at_reference(found[name])
        worst = [
            100 * max(abs(row[kind]["right"] - reference) for row in rows) for kind in ("uncompensated", "compensated")
        ]
        lines += [
            "",
            f"{count} {name}: within {worst[1]:.2f} points of 25 degrees compensated, {worst[0]:.2f} without.",
        ]
    return "\n".join(lines) + "\n"


def draw(path, found):
    """Draw accuracy per clip and per window, and the error of the time constants, over temperature."""
    plt.rcParams.update({"svg.hashsalt": "neuro_ros", "svg.fonttype": "none"})
    plt.rcParams.update({"font.size": 9, "font.family": "sans-serif"})
    figure, panels = plt.subplots(3, 1, figsize=(7.2, 6.6), sharex=True, layout="constrained")
    for panel, name in zip(panels, ("clips", "windows"), strict=False):
        rows, reference = found[name], 100 * at_reference(found[name])
        panel.axhspan(reference - 0.5, reference + 0.5, color=KEPT, alpha=0.18, lw=0, label="25 degrees +- 0.5 points")
        for kind, colour, label in (
            ("uncompensated", LOST, "registers of the model"),
            ("compensated", KEPT, "compensated"),
        ):
            panel.plot(
                [row["celsius"] for row in rows],
                [100 * row[kind]["right"] for row in rows],
                "o-",
                ms=3,
                color=colour,
                label=label,
            )
    highest = min(100 * at_reference(found["clips"]) + 5.0, 100.0)
    panels[0].set(ylabel=f"of {found['clip_count']} clips right [%]", ylim=(highest - 10.0, highest))
    panels[0].legend(frameon=False, loc="lower center", ncols=3)
    panels[1].set(ylabel=f"of {found['window_count']} windows\ndecided rightly [%]")
    for kind, colour in (("uncompensated", LOST), ("compensated", KEPT)):
        rows = found["clips"]
        panels[2].plot(
            [row["celsius"] for row in rows], [100 * row[kind]["tau_error"] for row in rows], "o-", ms=3, color=colour
        )
    panels[2].axhline(1.0, color=INK, lw=0.8, ls=":", label="1 %")
    panels[2].set(yscale="symlog", ylim=(0.0, 30.0), ylabel="time constant off by [%]", xlabel="die [degree Celsius]")
    panels[2].set_yticks([0, 1, 10, 20], ["0", "1", "10", "20"])
    panels[2].legend(frameon=False, loc="upper center")
    title = f"emulated chip, {found['per_celsius']:.1%} a degree, 12 bit registers; simulated gestures"
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
