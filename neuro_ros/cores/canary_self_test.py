# SPDX-License-Identifier: Apache-2.0
"""Runs the self-test of a network's weights beside the live streams, one window of the probe at a time.

The probe runs on a state of its own that shares the weights with the live engine, so that no stream notices, and
weights that were damaged in memory are found. Registers are the model's own there, whatever compensation has made of
the live ones: drift is the business of thermal compensation. Whether an answer is right is the canary's.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from neuro_ros.canary.probe import Probe, SelfTestAnswer, build_probe
from neuro_ros.snn import Engine, EngineError, LendsWeights, Model

__all__ = ["SelfTest"]

_NS_PER_S = 1_000_000_000


class SelfTest:
    """The self-test of one model.

    Parameters
    ----------
    model : Model
        Whose input the probe fits.
    engine : Engine or None
        The live one, whose weights are tested; None = it is down.

    Attributes
    ----------
    answer : SelfTestAnswer or None
        Of the last test that came to its end; None = none has.
    answered_ns : int
        Host time at which that test was begun [ns]; 0 = none.
    done : int
        Tests that came to their end, since construction.
    reason : str
        Why there is no test; empty = there is one.
    """

    def __init__(self, model: Model, engine: Engine | None) -> None:
        self._probe: Probe = build_probe(model.network.input_shape, model.bins)
        self._live: Engine | None = None
        self._engine: Engine | None = None
        self._spikes = np.zeros(0, np.int64)
        self._checksums: list[int] = []
        self._borrow(engine)
        self.restart()

    def _borrow(self, engine: Engine | None) -> None:
        """Take a second state beside that of an engine, on the same weights."""
        self._live = engine
        self._engine = engine.lend_weights() if isinstance(engine, LendsWeights) else None

    def restart(self) -> None:
        """Forget the answers, and that a test was ever begun."""
        self.answer: SelfTestAnswer | None = None
        self.answered_ns = self.done = self._left = 0
        self.reason = ""
        self._begun_ns: int | None = None

    @property
    def under_way(self) -> bool:
        """Whether windows of the probe are still to be run."""
        return self._left > 0

    def begin(self, engine: Engine | None, now_ns: int, period_s: float) -> None:
        """Begin a test if one is due.

        Parameters
        ----------
        engine : Engine or None
            The live one, which may have been started again; None = it is down.
        now_ns : int
            Host time [ns].
        period_s : float
            Time from one test to the next [s]; 0 = no tests.
        """
        if not period_s or engine is None:
            self._left = 0
            self.reason = "" if period_s else "switched off"
            return
        if self._left:
            return
        # A clock that stepped back must not put the next test off.
        if self._begun_ns is not None and 0 <= now_ns - self._begun_ns < period_s * _NS_PER_S:
            return
        self._begun_ns = now_ns
        if engine is not self._live:
            self._borrow(engine)
        if self._engine is None:
            self.reason = f"back end {engine.backend} has no second state beside the live one"
            return
        self.reason = ""
        self._engine.reset()
        self._engine.clear_neuron_spikes()
        self._checksums = [0] * len(engine.model.network.layers)
        self._spikes = np.zeros(len(self._checksums), np.int64)
        self._left = len(self._probe.windows)

    def step(self) -> None:
        """Run one window of the probe, if a test is under way."""
        if not self._left or self._engine is None or self._begun_ns is None:
            return
        try:
            self._window(self._engine, self._probe.windows[-self._left])
        except EngineError as error:
            self._left, self.reason = 0, str(error)
            return
        self._left -= 1
        if not self._left:
            spikes = tuple(int(count) for count in self._spikes)
            self.answer = SelfTestAnswer(self._probe.identity, spikes, tuple(self._checksums))
            self.answered_ns = self._begun_ns
            self.done += 1

    def _window(self, engine: Engine, cells: NDArray[np.uint32]) -> None:
        self._spikes += engine.run_window(cells, self._probe.bins).layer_spikes
        for index, (layer, counts) in enumerate(zip(engine.state().layers, engine.neuron_spikes(), strict=True)):
            for values, kind in ((layer.u, "<i4"), (layer.v, "<i4"), (counts, "<i8")):
                self._checksums[index] = zlib.crc32(values.astype(kind).tobytes(), self._checksums[index])
