# SPDX-License-Identifier: Apache-2.0
"""Hosts with clock_sync cores and skewed clocks on a simulated network; true time is the only time that moves."""

import heapq
import itertools

import numpy as np
from two_hosts import START, Clock, Path, S

from neuro_ros.cores.clock_sync import ClockSyncCore
from neuro_ros.cores.messages import ClockModel, PtpMessage
from neuro_ros.cores.parameters import build
from neuro_ros.cores.parameters.clock_sync import ClockSyncParameters


class Host:
    """One host: a core, a clock over true time, and what it has published."""

    def __init__(self, name, clock, **parameters):
        self.name, self.clock = name, clock
        values = {key if "." in key else f"ptp.{key}": value for key, value in parameters.items()}
        values.setdefault("ptp.publish_period_s", 0.1)  # more to look at than by default
        self.core = ClockSyncCore(build(ClockSyncParameters, values), identity=name)
        self.up = True
        self.models = []  # (true time, model)
        self.log = []
        self.sent = 0
        self.tick = 0  # of which activation the running timers are

    def errors(self, after_s=0.0):
        """Error of the modelled offset [ns] and the model, of every usable model after a time; arrays of floats."""
        rows = [
            (
                (true_ns - START) / S,
                model.offset_ns - self.clock.offset_at(true_ns),
                model.sigma_ns,
                model.state,
            )
            for true_ns, model in self.models
            if model.state != ClockModel.UNLOCKED and true_ns - START >= after_s * S
        ]
        return np.array(rows).T if rows else np.empty((4, 0))

    def state(self):
        """State of the last model."""
        return self.models[-1][1].state if self.models else ClockModel.UNLOCKED


class Network:
    """Everybody hears everybody, after a delay of the pair's own, unless something is in the way."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.hosts = {}
        self.now_ns = START
        self.loss, self.duplication = 0.0, 0.0
        self.cut = set()  # names that nobody hears and that hear nobody
        self.paths = {}  # (from, to) -> Path; a default one otherwise
        self.tamper = None  # (host, message) -> message or None
        self._queue = []
        self._order = itertools.count()

    def add(self, name, clock=None, **parameters):
        """Add a host and activate it."""
        host = self.hosts[name] = Host(name, clock or Clock(), **parameters)
        self.start(host)
        return host

    def start(self, host):
        """Activate a host; its timers start at a moment of their own."""
        host.up, host.tick = True, host.tick + 1
        self._publish(host, host.core.activate(host.clock.at(self.now_ns)), self.now_ns)
        for timer, period_ns in host.core.timers().items():
            self._at(self.now_ns + int(self.rng.integers(1, period_ns)), self._fire, host, timer, period_ns, host.tick)

    def stop(self, host):
        """Deactivate a host."""
        self._publish(host, host.core.deactivate(host.clock.at(self.now_ns)), self.now_ns)
        host.up = False

    def run(self, seconds):
        """Let time pass."""
        end_ns = self.now_ns + round(seconds * S)
        while self._queue and self._queue[0][0] <= end_ns:
            self.now_ns, _, function, arguments = heapq.heappop(self._queue)
            function(*arguments)
        self.now_ns = end_ns
        return self

    def inject(self, message, to):
        """Have a message arrive at a host at once, past any path."""
        self._arrive(to, message)

    def _at(self, true_ns, function, *arguments):
        heapq.heappush(self._queue, (true_ns, next(self._order), function, arguments))

    def _fire(self, host, timer, period_ns, activation):
        if host.up and host.tick == activation:
            self._publish(host, host.core.tick(timer, host.clock.at(self.now_ns)), self.now_ns)
            self._at(self.now_ns + period_ns, self._fire, host, timer, period_ns, activation)

    def _publish(self, host, outputs, true_ns):
        for output in outputs:
            if isinstance(output.message, ClockModel):
                host.models.append((true_ns, output.message))
            elif isinstance(output.message, PtpMessage):
                self._send(host, output.message, true_ns)
        host.log += host.core.take_news()

    def _send(self, host, message, true_ns):
        host.sent += 1
        sent = self.tamper(host, message) if self.tamper else message
        for other in self.hosts.values():
            if sent is None or self.cut & {host.name, other.name} or not other.up:
                continue
            if other is host:
                self._at(true_ns + 100_000, self._arrive, other, sent)
                continue
            path = self.paths.setdefault((host.name, other.name), Path(self.rng))
            copies = 0 if self.rng.random() < self.loss else 1 + (self.rng.random() < self.duplication)
            for _ in range(copies):
                self._at(true_ns + path(), self._arrive, other, sent)
        self._publish(host, host.core.departed(message, host.clock.at(true_ns)), true_ns)

    def _arrive(self, host, message):
        if host.up:
            self._publish(host, host.core.receive("ptp", message, host.clock.at(self.now_ns)), self.now_ns)
