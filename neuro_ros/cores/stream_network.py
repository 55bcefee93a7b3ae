# SPDX-License-Identifier: Apache-2.0
"""One network shared by several streams, each with a state of its own, on a back end that may fail.

The engine holds the state of one stream; the others are parked. States are handed out and taken in as `NetworkState`.
This module refuses to know about messages, policies and files.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuro_ros.cores.continuity import Position
from neuro_ros.cores.registers import RegisterCompensation
from neuro_ros.snn import Engine, EngineError, Model, NetworkState, StateError, WindowResult, create_engine
from neuro_ros.snn.decision import Evidence

__all__ = ["Stream", "StreamNetwork"]

_LOG = logging.getLogger(__name__)
#: A back end that failed is started again at once, and then at most this often [ns].
_RETRY_NS = 1_000_000_000


@dataclass(slots=True)
class Stream:
    """What is kept of one camera: where it stands, its evidence, and its state while another one is in the engine."""

    evidence: Evidence
    position: Position | None = None
    parked: NetworkState | None = None
    idle_ns: int = 0  # time that the node was active and no window came


class StreamNetwork:
    """A model on a back end, with a state per stream.

    Parameters
    ----------
    model : Model
        What to run.
    backend : str
        Where.
    max_streams : int
        So many states are kept; the stream that was silent longest makes room.
    around : Callable[[Engine], Engine], optional
        Put around every engine that is made, such as a chip that drifts.

    Attributes
    ----------
    streams : OrderedDict of str to Stream
        The one used last at the end.
    registers : RegisterCompensation
        Register values in force.
    resets : int
        Times that a state was set to zero, since `restart_counters`.
    evicted, expired, restarts, restored : int
        Streams forgotten for want of room, and for silence; back ends started again; states taken in; since
        construction.
    error : str
        What the back end failed of last.

    Raises
    ------
    EngineError
        When the back end is missing, cannot represent the model exactly, or does not start.
    """

    def __init__(
        self,
        model: Model,
        backend: str,
        max_streams: int,
        around: Callable[[Engine], Engine] | None = None,
        constant_time: bool = False,
    ) -> None:
        self.model = model
        self.streams: OrderedDict[str, Stream] = OrderedDict()
        self.registers = RegisterCompensation()
        self.resets = self.evicted = self.expired = self.restarts = self.restored = 0
        self.error = ""
        self._backend = backend
        self._max_streams = max_streams
        self._around = around
        self._constant_time = constant_time
        self._engine: Engine | None = self._make()
        self._current: str | None = None
        self._checkpoint: NetworkState | None = None
        self._retry_ns = 0
        # Whatever a back end does only once, it does before the first window waits for it.
        self.run(np.zeros(-(-model.bins * model.cells // 8), np.uint8) if constant_time else np.zeros(0, np.uint32))
        self._engine.reset()
        self._engine.clear_neuron_spikes()

    def _make(self) -> Engine:
        options = {"constant_time": True} if self._constant_time else {}
        engine = create_engine(self.model, self._backend, **options)
        return engine if self._around is None else self._around(engine)

    @property
    def engine(self) -> Engine | None:
        """The back end, None while it is down."""
        return self._engine

    @property
    def last_stream(self) -> str:
        """The stream used last, empty before the first."""
        return next(reversed(self.streams)) if self.streams else ""

    def add(self, stream_id: str) -> Stream:
        """Keep a new stream at rest, at the cost of the one that was silent longest."""
        while len(self.streams) >= self._max_streams:
            forgotten, _ = self.streams.popitem(last=False)
            self.evicted += 1
            if self._current == forgotten:
                self._current = None
            _LOG.warning("stream %r is forgotten: max_streams %d are kept", forgotten, self._max_streams)
        stream = self.streams[stream_id] = Stream(Evidence(len(self.model.labels)))
        return stream

    def expire(self, elapsed_ns: int, idle_s: float) -> None:
        """Forget streams without a window for `idle_s` (0 = never), `elapsed_ns` after the last call.

        Only time in which the node is active counts: a pause, or a clock that steps, makes no stream silent.
        """
        for stream_id, stream in list(self.streams.items()):
            stream.idle_ns += elapsed_ns
            if 0.0 < idle_s <= stream.idle_ns / 1e9:
                del self.streams[stream_id]
                self.expired += 1
                if self._current == stream_id:
                    self._current = None
                _LOG.info("stream %r was silent for %g s: its state is forgotten", stream_id, stream.idle_ns / 1e9)

    def select(self, stream_id: str, now_ns: int) -> bool:
        """Bring the state of a stream into the engine; False when there is no working back end."""
        self.streams.move_to_end(stream_id)
        self.streams[stream_id].idle_ns = 0
        if self._engine is None and not self._revive(now_ns):
            return False
        if self._current == stream_id:
            return True
        stream, engine = self.streams[stream_id], self._working()
        try:
            if self._current is not None:
                self.streams[self._current].parked = engine.state()
            self._current = None
            self._install(stream.parked)
        except EngineError as error:
            self.fail(error, now_ns)
            return False
        stream.parked = None
        self._current = stream_id
        return True

    def run(self, cells: NDArray[Any]) -> WindowResult:
        """Run one window of the selected stream.

        Parameters
        ----------
        cells : (active,) uint32, or (ceil(bins * cells / 8),) uint8
            Indices of the active cells; in constant time the bitmap.

        Raises
        ------
        EngineError
            When the back end fails.
        """
        engine: Any = self._working()  # a bitmap is taken by the back end fixed alone
        run = engine.run_bitmap if self._constant_time else engine.run_window
        result: WindowResult = run(cells, self.model.bins)
        return result

    def reset(self) -> None:
        """Put the selected stream at rest; raises `EngineError` when the back end fails."""
        self._working().reset()
        if self._current is not None:
            self.streams[self._current].evidence.reset()
        self.resets += 1

    def fail(self, error: EngineError, now_ns: int) -> bool:
        """Replace a back end that failed; return True when the selected stream goes on from its last snapshot."""
        _LOG.error("back end %s failed: %s; starting it again", self._backend, error)
        self.error = str(error)
        failed, self._engine = self._engine, None
        if failed is not None:
            failed.close()
        kept = None
        if self._current is not None:
            stream = self.streams[self._current]
            if self._checkpoint is not None and self._checkpoint.stream_id == self._current:
                kept = self._checkpoint
            stream.parked = kept
            stream.evidence.reset()
            if kept is not None:
                stream.evidence.restore(kept.evidence, kept.decision)
            else:
                self.resets += 1
            self._current = None
        self._retry_ns = now_ns
        self._revive(now_ns)
        return kept is not None

    def _revive(self, now_ns: int) -> bool:
        if now_ns < self._retry_ns:
            return False
        self._retry_ns = now_ns + _RETRY_NS
        try:
            self._engine = self._make()
        except EngineError as error:
            self.error = str(error)
            return False
        self.restarts += 1
        return True

    def snapshot(self, stream_id: str = "") -> NetworkState | None:
        """Return a copy of a stream's state, labelled with where the stream stands.

        Parameters
        ----------
        stream_id : str
            Empty = the stream used last.

        Returns
        -------
        NetworkState or None
            None when no window of that stream was seen, or the back end is down.
        """
        name = stream_id or self.last_stream
        stream = self.streams.get(name)
        if stream is None or stream.position is None or self._engine is None:
            return None
        state = self._engine.state() if name == self._current else stream.parked
        if state is None:
            return None
        position = stream.position
        state = state.labelled(
            name,
            position.sequence,
            position.sensor_end_ns,
            position.epoch,
            tuple(stream.evidence.values.tolist()),
            stream.evidence.decision,
            self.registers.applied_id,
        )
        if name == self._current:
            self._checkpoint = state
        return state

    def restore(self, state: NetworkState, stream_id: str = "", adopt: bool = False) -> str:
        """Take up a saved state and return the stream that it was given to.

        Parameters
        ----------
        state : NetworkState
            A live stream goes on from it at its own place; a stream that was not seen yet continues where the state
            was saved, so that windows missing in between count as lost.
        stream_id : str
            Empty = the stream named in the state.
        adopt : bool
            For a stream that was not seen yet: its first window continues the state whatever its epoch.

        Raises
        ------
        StateError
            When it is the state of another model; nothing changes then.
        EngineError
            When the back end fails.
        """
        state.check(self.model)
        evidence = Evidence(len(self.model.labels))
        if state.evidence and not evidence.restore(state.evidence, state.decision):
            raise StateError(
                f"the state holds evidence for {len(state.evidence)} classes, not {len(self.model.labels)}"
            )
        if self.registers.adopt(state) and self._engine is not None:
            self.registers.apply(self._engine)  # the stream in the engine runs with them from now on, too
        name = stream_id or state.stream_id
        stream = self.streams.get(name) or self.add(name)
        if name == self._current:
            self._install(state)
        else:
            stream.parked = state
        stream.evidence = evidence
        if stream.position is None:
            known = state.sequence >= 0 and state.epoch >= 0
            stream.position = Position(
                max(state.epoch, 0), state.sequence, state.sensor_end_ns, restored=True, adopt=adopt or not known
            )
        self.restored += 1
        return name

    def restart_counters(self) -> None:
        """Count resets and the spikes of neurons from zero."""
        self.resets = 0
        self.clear_neuron_spikes()

    def clear_neuron_spikes(self) -> None:
        """Count the spikes of neurons from zero."""
        if self._engine is not None:
            self._engine.clear_neuron_spikes()

    def close(self) -> None:
        """Release the back end; safe twice."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _install(self, state: NetworkState | None) -> None:
        """Put a state (None = at rest) into the engine, under the register values that are in force now."""
        engine = self._working()
        if state is None:
            engine.reset()
        else:
            engine.set_state(state)
        self.registers.apply(engine)

    def _working(self) -> Engine:
        if self._engine is None:
            raise EngineError(f"back end {self._backend} is not running: {self.error or 'it was closed'}")
        return self._engine
