# SPDX-License-Identifier: Apache-2.0
"""Draw docs/thermal_sweep.svg: the gesture network on an emulated chip that drifts, from -40 to 85 degrees Celsius.

    PYTHONPATH=. python docs/thermal_sweep.py docs/thermal_sweep.svg

Needs torch and matplotlib. Takes some minutes on one core: every clip runs at every temperature, once with the
registers of the model and once with compensated ones. The chip is emulated (`neuro_ros.thermal.chip`), the gestures are
simulated (test split, the seed of the model card); nothing here was measured on a chip or on people. Prints the table
of docs/thermal.md.
"""

import argparse
import sys
import time

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from neuro_ros.cores.files import model_path
from neuro_ros.gestures.splits import subject_seeds
from neuro_ros.snn import create_engine, load_model
from neuro_ros.thermal import Compensator, Die, DriftingEngine, SiliconOptions, create_silicon, populations
from neuro_ros.training.evaluation import run_recording
from neuro_ros.training.gesture import simulate_recordings
from neuro_ros.training.pipeline import window_shape

SEED = 13  # of the test split in the model card
REFERENCE_CELSIUS = 25.0
LOST, KEPT, INK = "#b5452c", "#1f6f8b", "#444444"


def accuracy(model, clips, silicon, celsius, compensated):
    """Return the share of clips answered rightly on a chip at `celsius`, and the largest error of a time constant."""
    chip = DriftingEngine(create_engine(model, "fixed"), Die(silicon, celsius))
    compensator = Compensator(populations(model), silicon, 0.005)
    if compensated:
        compensator.jump(celsius)
    registers = compensator.registers(celsius)
    for layer, du, dv in zip(registers.layer, registers.du, registers.dv, strict=True):
        chip.set_registers(layer, du=du, dv=dv)
    right = 0
    for stream, label in clips:
        counts = run_recording(chip, stream.bits, model.bins, model.network.depth)
        right += bool(counts.any() and counts.argmax() == label)
    chip.close()
    return right / len(clips), max(registers.remaining_error)


def main():
    """Run and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--model", default="gesture")
    parser.add_argument("--subjects", type=int, default=40, help="of the test split, eleven clips each")
    parser.add_argument("--step", type=int, default=10, help="between two temperatures [degree Celsius]")
    parser.add_argument("--per-celsius", type=float, default=0.003, help="part of a time constant lost a degree")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(model_path(args.model))
    began_s = time.perf_counter()
    clips = simulate_recordings(subject_seeds("test", args.subjects), 1.5, SEED, window_shape(model))
    simulated_s = time.perf_counter() - began_s
    silicon = create_silicon("linear", SiliconOptions(args.per_celsius, args.per_celsius))
    sweep = sorted({*range(-40, 86, args.step), 25, 85})

    began_s = time.perf_counter()
    digital, _ = accuracy(model, clips, create_silicon("digital"), 85.0, compensated=False)
    rows = []
    for celsius in sweep:
        ratio = silicon.drift("", celsius).membrane
        lost, lost_error = accuracy(model, clips, silicon, celsius, compensated=False)
        kept, kept_error = accuracy(model, clips, silicon, celsius, compensated=True)
        rows.append((celsius, ratio, lost, lost_error, kept, kept_error))
        sys.stderr.write(f"{celsius} degree Celsius: {lost:.4f} uncompensated, {kept:.4f} compensated\n")
    ran_s = time.perf_counter() - began_s
    at_reference = next(row[4] for row in rows if row[0] == REFERENCE_CELSIUS)

    out = sys.stdout
    out.write("| degree Celsius | time constants x | uncompensated | tau off by | compensated | tau off by | to 25 |\n")
    out.write("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
    for celsius, ratio, lost, lost_error, kept, kept_error in rows:
        out.write(
            f"| {celsius} | {ratio:.3f} | {lost:.1%} | {lost_error:.1%} | {kept:.1%} | {kept_error:.2%} | "
            f"{100 * (kept - at_reference):+.2f} |\n"
        )
    worst = max(abs(row[4] - at_reference) for row in rows)
    out.write(
        f"\n{len(clips)} clips, {model.model_id}, digital {digital:.1%}; compensated within {100 * worst:.2f} points "
        f"of 25 degrees, uncompensated down by {100 * (at_reference - min(row[2] for row in rows)):.1f}; "
        f"simulated in {simulated_s:.0f} s, run in {ran_s:.0f} s\n"
    )
    draw(args.out, rows, at_reference, len(clips), args.per_celsius)


def draw(path, rows, at_reference, clips, per_celsius):
    """Draw accuracy and the error of the time constants over temperature."""
    celsius, _, lost, lost_error, kept, kept_error = np.array(rows).T
    plt.rcParams.update({"svg.hashsalt": "neuro_ros", "svg.fonttype": "none"})
    plt.rcParams.update({"font.size": 9, "font.family": "sans-serif"})
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7.2, 5.2), sharex=True, layout="constrained")
    top.axhspan(
        100 * at_reference - 0.5, 100 * at_reference + 0.5, color=KEPT, alpha=0.15, lw=0, label="25 degrees +- 0.5"
    )
    top.plot(celsius, 100 * lost, "o-", ms=3, color=LOST, label="registers of the model")
    top.plot(celsius, 100 * kept, "o-", ms=3, color=KEPT, label="compensated")
    top.set(ylabel="clips answered rightly [%]")
    top.legend(frameon=False, loc="lower center")
    bottom.plot(celsius, 100 * lost_error, "o-", ms=3, color=LOST)
    bottom.plot(celsius, 100 * kept_error, "o-", ms=3, color=KEPT)
    bottom.axhline(1.0, color=INK, lw=0.8, ls=":", label="1 %")
    bottom.set(yscale="symlog", ylim=(0.0, 30.0), ylabel="time constant off by [%]", xlabel="die [degree Celsius]")
    bottom.set_yticks([0, 1, 10, 20], ["0", "1", "10", "20"])
    bottom.legend(frameon=False, loc="center")
    title = f"emulated chip, {per_celsius:.1%} a degree; simulated gestures, {clips} clips, 12 bit registers"
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
