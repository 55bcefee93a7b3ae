# SPDX-License-Identifier: Apache-2.0
"""Draw docs/clock_alignment.svg: windows of a recording played for ten hours with a drifting sensor clock.

    PYTHONPATH=. python docs/clock_alignment.py test/data/test_events_1 docs/clock_alignment.svg

Takes some minutes: every window goes through the cores of event_camera and clock_sync, with and without the latter.
"""

import argparse
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np

from neuro_ros.cli.benchmarks._clock_alignment import play, read_slices

BIN_MS = 5.0
SEED = 5
NAIVE, ARRIVAL, OURS = "#b5452c", "#8a8f98", "#1f6f8b"


def envelope(t_h, error_ms, pieces=150):
    """Return the middle of each of `pieces` stretches of time, and the least and greatest error in it."""
    edges = np.linspace(t_h[0], t_h[-1], pieces + 1)
    index = np.clip(np.searchsorted(edges, t_h, "right") - 1, 0, pieces - 1)
    bounds = [[f(error_ms[index == k]) for k in range(pieces)] for f in (np.min, np.max)]
    return (edges[1:] + edges[:-1]) / 2, *bounds


def main():
    """Play and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording")
    parser.add_argument("out")
    parser.add_argument("--hours", type=float, default=10.0)
    args = parser.parse_args()
    recorded = read_slices(args.recording)
    aligned = play(recorded, args.hours, SEED)
    alone = play(recorded, args.hours, SEED, with_model=False)
    t_h = aligned.t_s / 3600.0
    settled = aligned.t_s > 10.0

    plt.rcParams.update({"svg.hashsalt": "neuro_ros", "svg.fonttype": "none"})
    plt.rcParams.update({"font.size": 9, "font.family": "sans-serif"})
    figure, (wide, close) = plt.subplots(2, 1, figsize=(7.2, 5.2), sharex=True, layout="constrained")
    step = max(1, len(t_h) // 200)
    wide.plot(t_h[::step], -aligned.naive_ns[::step] / 1e6, color=NAIVE, label="sensor time + first offset")
    wide.plot(t_h[settled][::step], -aligned.error_ns[settled][::step] / 1e6, color=OURS, label="clock model")
    wide.set_ylabel("windows stamped early by [ms]")
    wide.legend(frameon=False, loc="upper left")
    bins = abs(aligned.naive_ns[-1]) / 1e6 / BIN_MS
    wide.annotate(
        f"{bins:.0f} bins", (t_h[-1], -aligned.naive_ns[-1] / 1e6), (-8, -26), textcoords="offset points", ha="right"
    )

    for number, side in enumerate((-BIN_MS, BIN_MS)):
        close.axhline(side, color="#444444", lw=0.8, ls=":", label=None if number else "one bin of 5 ms")
    close.fill_between(
        *envelope(t_h, alone.error_ns / 1e6), color=ARRIVAL, alpha=0.5, lw=0, label="latest arrival (no clock_sync)"
    )
    naive_ms = aligned.naive_ns / 1e6
    shown = naive_ms > -8.0
    close.plot(t_h[shown][::20], naive_ms[shown][::20], color=NAIVE)
    middle, low, high = envelope(t_h[settled], aligned.error_ns[settled] / 1e6)
    close.fill_between(middle, low, high, color=OURS, lw=1.2, ec=OURS, label="clock model (from 10 s on)")
    close.set(ylim=(-8.0, 27.0), xlim=(0.0, args.hours), xlabel="time [h]", ylabel="stamp minus truth [ms]")
    close.legend(frameon=False, loc="upper right", ncols=3)
    worst_us = np.abs(aligned.error_ns[settled]).max() / 1e3
    drift = "sensor clock 50 ppm slow, +-10 ppm by temperature"
    figure.suptitle(f"{drift}; {len(t_h)} windows, off by {worst_us:.0f} us at most with the model", fontsize=9)
    figure.savefig(args.out, metadata={"Date": None})
    sys.stdout.write(
        f"{len(t_h)} windows; worst with the model {worst_us:.1f} us, by the first offset {bins:.0f} bins; "
        f"{aligned.backward} backward\n"
    )


if __name__ == "__main__":
    main()
