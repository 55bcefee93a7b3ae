# SPDX-License-Identifier: Apache-2.0
"""Lava's own process models in one process, without the runtime that starts a process for each of them.

A network of a few processes takes Lava's runtime about a second to start; here it takes some milliseconds, so that many
random networks can be compared. Lava's compiler, its port and variable builders and the arithmetic of its models are
the real ones; only channels and scheduling are replaced: a queue a channel, that casts as Lava's shared memory does,
and a thread a model. The processes themselves are made by `neuro_ros.snn.lava_network`, as in the worker.

As a program it reads pickled ``(network, state, registers, [(indices, bins, values), ...])`` tuples from the standard
input and writes the pickled answers of `run_all`; importing Lava changes the whole process, so tests run it in one of
its own.
"""

import pickle
import queue
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np


class _Channel:
    """A queue with a sending and a receiving end, which Lava's ports tell apart by their names."""

    def __init__(self, source, target):
        items = queue.SimpleQueue()
        self.sender = SimpleNamespace(name=source.name, send=lambda data: items.put(self._cast(data, source)))
        self.receiver = _Receiver(target.name, items)
        self.fail = items.put

    @staticmethod
    def _cast(data, port):
        if data.shape != tuple(port.shape):
            raise ValueError(f"{port.name} sends {data.shape}, declared {port.shape}")
        sent = np.zeros(port.shape, port.d_type)
        sent[...] = data
        return sent


class _Receiver:
    """The end that a port reads; hashable, as Lava maps it to its reshaping functions. It raises what failed."""

    def __init__(self, name, items):
        self.name, self._items = name, items

    def recv(self):
        item = self._items.get()
        if isinstance(item, BaseException):
            raise item
        return item


class Runtime:
    """What `lava.magma` calls a runtime, as far as `neuro_ros.snn.lava_network` uses it."""

    last = None

    def __init__(self, executable, *_, **__):
        self._executable = executable
        self._threads, self._channels, self._failures = [], [], []
        self._messaging_infrastructure = SimpleNamespace(actors=[])
        self.traces = {}  # process id: [(u, v) after each step]
        Runtime.last = self

    def initialize(self):
        from lava.magma.core.process.ports.ports import create_port_id

        builders = self._executable.proc_builders
        for made in self._executable.channel_builders:
            channel = _Channel(made.src_port_initializer, made.dst_port_initializer)
            builders[made.src_process].set_csp_ports([channel.sender])
            builders[made.dst_process].set_csp_ports([channel.receiver])
            source = create_port_id(made.src_process.id, made.src_port_initializer.name)
            builders[made.dst_process].add_csp_port_mapping(source, channel.receiver)
            self._channels.append(channel)
        self._models = {process.id: builder.build() for process, builder in builders.items()}

    def start(self, condition):
        for identity, model in self._models.items():
            arguments = (identity, model, condition.num_steps)
            thread = threading.Thread(target=self._run, args=arguments, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, identity, model, steps):
        try:
            for _ in range(steps):
                model.time_step += 1
                model.run_spk()
                if hasattr(model, "u"):
                    self.traces.setdefault(identity, []).append((model.u.copy(), model.v.copy()))
        except BaseException as error:  # noqa: BLE001  `wait` raises it
            self._failures.append(error)
            for channel in self._channels:  # or the others wait for ever
                channel.fail(error)
            waiting = model.proc_params.get("items", None)
            if waiting is not None:  # as whoever waits at an extractor would
                waiting.put(error)

    def wait(self):
        for thread in self._threads:
            thread.join()
        self._threads = []
        if self._failures:
            raise self._failures[0]

    def _find(self, identity):
        return next(
            (model, model.var_id_to_var_map[identity])
            for model in self._models.values()
            if identity in model.var_id_to_var_map
        )

    def get_var(self, identity, _=None):
        model, name = self._find(identity)
        return np.array(getattr(model, name), float)  # Lava returns floats as well

    def stop(self):
        self._models = {}


def run_all(jobs):
    """Run networks and return a list of (steps, traces, state) a network.

    ``steps[step][layer]`` are spikes as in `WindowResult`, ``traces[step][layer]`` has u and v of shape (c, h, w),
    ``state`` is what `LavaNetwork.state` returns at the end.
    """
    from neuro_ros.snn import lava_shim
    from neuro_ros.snn.lava_network import LavaNetwork
    from neuro_ros.snn.lava_projection import from_lava

    lava = lava_shim.require_lava()
    import lava_endpoints

    for name in ("Injector", "IntegerInjectorModel", "Extractor", "PyLoihiExtractorModel"):
        setattr(lava, name, getattr(lava_endpoints, name))
    from lava.magma.core.process import process

    process.Runtime = Runtime
    answers = []
    for network, state, registers, windows in jobs:
        running = LavaNetwork(lava, network, state, registers, False, lambda actors: None)
        steps = [step for window in windows for step in running.run(*window)]
        columns = [
            [SimpleNamespace(u=from_lava(u), v=from_lava(v)) for u, v in Runtime.last.traces[population.lif.id]]
            for population in running._populations
        ]
        answers.append((steps, list(zip(*columns, strict=True)), running.state()))
        running.stop()
    return answers


def run_in_child(jobs):
    """Return `run_all` of `jobs`, computed in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__],  # SciPy calls what Lava does to sparse matrices inefficient
        input=pickle.dumps(jobs),
        stdout=subprocess.PIPE,
        check=True,
        timeout=1800,
    )
    return pickle.loads(done.stdout)


if __name__ == "__main__":
    sys.path[:0] = [str(__import__("pathlib").Path(__file__).resolve().parents[2])]
    answers = run_all(pickle.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(pickle.dumps(answers))
