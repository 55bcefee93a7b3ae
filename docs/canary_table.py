# SPDX-License-Identifier: Apache-2.0
"""Print the tables of docs/canary.md: faults put in, what the canary said and when, and false alarms.

    PYTHONPATH=. python docs/canary_table.py --runs 3 --hours 1

Takes some ten minutes of processor time: simulated people, the integer engine and the canary run window for window.
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


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="other scenes each time (default 3)")
    parser.add_argument("--hours", type=float, default=1.0, help="healthy scenes (default 1)")
    parser.add_argument("--hour-seed", type=int, default=1, help="scenes of the hour (default 1)")
    parser.add_argument("--only", default="", help="only faults whose name holds this")
    args = parser.parse_args()
    model = load_model(model_path("gesture"))
    say("| fault | detected | median [s] | longest [s] | alarms, the first one first | right decisions |")
    say("| --- | --- | --- | --- | --- | --- |")
    usual = {}
    shown = {}
    sound = trial.Fault("none", ())
    with tempfile.TemporaryDirectory() as folder:
        for fault in (sound, *trial.FAULTS):
            if args.only not in fault.name:
                continue
            found = []
            if fault.usual_camera != sound.usual_camera and fault.usual_camera not in usual:
                usual[fault.usual_camera] = unusual_baseline(fault.usual_camera)
            for seed in range(args.runs):
                alters_windows = fault.camera != sound.camera or fault.slower_s
                begin_s = trial.HEALTHY_S if alters_windows else 0.0
                if alters_windows:
                    acted = trial.windows(fault, seed, model, begin_s, begin_s + trial.FAULTY_S)
                else:  # the same windows for every weight file
                    if seed not in shown:
                        shown[seed] = list(trial.windows(sound, seed, model, 0.0, trial.FAULTY_S))
                    acted = shown[seed]
                baselines = [usual[fault.usual_camera]] if fault.usual_camera in usual else ()
                found.append(trial.run_fault(fault, acted, Path(folder), begin_s, baselines))
            say(trial.summary(fault, found))
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
