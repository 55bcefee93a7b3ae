# SPDX-License-Identifier: Apache-2.0
"""Kill a process that saves states in a loop, again and again, and say what is left each time.

    python killed_saver.py FOLDER KILLS KEEP SEED

Each saver is a process of its own, ended by SIGKILL; the next one goes on in the same folder. Every second kill comes
at a random moment, the others as soon as a temporary file is there: a few random ones may all miss the writes. Prints
one JSON object: kills, files that could not be loaded, kills in the middle of a write, and how far the savers came.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from neuro_ros.cores.files import StateDirectory
from neuro_ros.snn import Dense, Layer, LayerState, Lif, Model, Network, NetworkState, StateError, load_state

SAVES = 6  # a saver lives as long as so many saves take, so that every moment of one is met


def made_state(model, number):
    """Return a state whose every value follows from its number."""
    shape = model.network.shapes[0]
    layer = LayerState(*(np.full(shape, number % 1000 + k, np.int32) for k in range(3)))
    return NetworkState.of(model, (layer,)).labelled("cam", number, number, 1)


def save_for_ever(directory, model, number):
    """Save states of rising number until killed."""
    path = directory.path("cam")
    while True:
        directory.save(made_state(model, number), path)
        number += 1


def fault(path, model):
    """Return what is wrong with a file, in a list."""
    try:
        state = load_state(path, model)
    except StateError as error:
        return [str(error)]
    expected = made_state(model, state.sequence).layers[0].parts
    same = all(np.array_equal(array, expected[name]) for name, array in state.layers[0].parts.items())
    return [] if same else [f"{path.name}: another content than that of {state.sequence}"]


def temporary_files(folder):
    """Return the names of what is being written, or was when its writer was killed."""
    return {path.name for path in Path(folder).glob(".*.tmp")}


def wait_for_a_write(folder, before, most_s=5.0):
    """Return when a saver has begun another temporary file, or has not for too long."""
    end_s = time.monotonic() + most_s
    while not temporary_files(folder) - before and time.monotonic() < end_s:
        pass


def main(folder, kills, keep, seed):
    """Kill, look, go on."""
    model = Model(
        Network([Layer("only", Dense(np.full((4000, 1), 2, np.int16)), Lif(0, 0, 1))], (1, 1, 1)),
        [*map(str, range(4000))],
    )
    directory = StateDirectory(folder, keep)
    began_s = time.monotonic()
    for _ in range(5):
        directory.save(made_state(model, 0), directory.path("cam"))
    longest_s = SAVES * (time.monotonic() - began_s) / 5
    chance = random.Random(seed)
    broken, torn, reached = [], 0, 0
    for number in range(kills):
        temporary = temporary_files(folder)
        child = os.fork()
        if not child:
            save_for_ever(directory, model, reached + 1)
        if number % 2:
            wait_for_a_write(folder, temporary)
        else:
            time.sleep(chance.random() * longest_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        torn += len(temporary_files(folder) - temporary)
        for path in Path(folder).glob("state-*"):
            broken += fault(path, model)
        states, refused = directory.load_all(model)
        broken += refused
        if len(states) != 1 or states[0].sequence < reached:
            broken.append(f"restored {[state.sequence for state in states]} after {reached} was there")
        else:
            reached = states[0].sequence
    names = sorted(path.name for path in Path(folder).glob("state-*"))
    sys.stdout.write(
        json.dumps({"kills": kills, "broken": broken, "torn": torn, "reached": reached, "names": names}) + "\n"
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
