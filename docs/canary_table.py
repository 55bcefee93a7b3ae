# SPDX-License-Identifier: Apache-2.0
"""Print the tables of docs/canary.md: faults put in, what the canary said and when, and false alarms.

    PYTHONPATH=. python docs/canary_table.py --runs 3 --hours 0    # the faults alone
    PYTHONPATH=. python docs/canary_table.py --runs 0 --hours 1    # the healthy hour alone, beside it

Simulated people, the integer engine and the canary run window for window.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from neuro_ros.cli.benchmarks import _canary_trial as trial
from neuro_ros.cores.canary_baseline import baseline_scenes, measure_baseline
from neuro_ros.cores.files import model_path
from neuro_ros.cores.rehearsal import act
from neuro_ros.snn import load_model

#: Subjects on whom the baseline of an unusual camera is measured.
SUBJECTS = 2


def say(line):
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def unusual_baseline(camera):
    """Measure the shipped model behind a camera whose thresholds are not equal."""
    scenes = [replace(scene, camera=camera) for scene in baseline_scenes("validation", SUBJECTS)]
    return measure_baseline("gesture", scenes, 12)


def print_faults(model, runs, only):
    """Print a row for each fault."""
    say("| fault | detected | median [s] | longest [s] | alarms, the first one first | right decisions |")
    say("| --- | --- | --- | --- | --- | --- |")
    flights, usual, sound = trial.Flights(model), {}, trial.Fault("none", ())
    with tempfile.TemporaryDirectory() as folder:
        for fault in (sound, *trial.faults(model)):
            if only not in fault.name:
                continue
            camera = fault.usual_camera
            if camera != sound.usual_camera and camera not in usual:
                usual[camera] = unusual_baseline(camera)
            baselines = [usual[camera]] if camera in usual else ()
            found = [
                trial.run_fault(fault, flights.windows(fault, seed), Path(folder), fault.begin_s, baselines)
                for seed in range(runs)
            ]
            say(trial.summary(fault, found))


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="other scenes each time (default 3); 0 = no faults")
    parser.add_argument("--hours", type=float, default=1.0, help="healthy scenes (default 1)")
    parser.add_argument("--hour-seed", type=int, default=1, help="scenes of the hour (default 1)")
    parser.add_argument("--only", default="", help="only faults whose name holds this")
    args = parser.parse_args()
    model = load_model(model_path("gesture"))
    if args.runs:
        print_faults(model, args.runs, args.only)
    if args.hours:
        scenes = trial.healthy_scenes(3600.0 * args.hours, args.hour_seed)
        acted = act(scenes, trial.HEALTHY_SEED + 50_000 * args.hour_seed, model)
        false, judged, still = trial.healthy_flight(acted)
        say(f"\n{args.hours:g} h of {len(scenes)} healthy scenes, {still:.0%} of the time still:")
        say(f"reports with an alarm {sum(false.values())} {false or ''}")
        say("reports with evidence: " + ", ".join(f"{name} {count}" for name, count in judged.items()))
    return 0


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    sys.exit(main())
