# SPDX-License-Identifier: Apache-2.0
"""Many windows at once: streams that know nothing of each other through one model, for evaluation.

The streams share the tables of the network, which are most of its memory, and each has its own state. Results are
those of as many single engines, whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from .engine import WindowResult, check_indices, check_values
from .errors import EngineError
from .fixed import FixedEngine
from .model import Model

__all__ = ["FixedBatch"]


class FixedBatch:
    """Run windows of several streams on the CPU.

    Parameters
    ----------
    model : Model
    streams : int
        Number of streams; 1..65536.
    threads : int
        How many run at the same time; the compiled code holds no lock of the interpreter.

    Attributes
    ----------
    engines : tuple of FixedEngine
        One a stream, for its state, registers and counters.

    Raises
    ------
    EngineError
        When a number is out of range.
    UnsupportedLayerError
        As `FixedEngine`.

    Examples
    --------
    >>> batch = FixedBatch(model, streams=2)  # doctest: +SKIP
    >>> results = batch.run_windows([first_clip, second_clip], bins=10)  # doctest: +SKIP
    """

    def __init__(self, model: Model, streams: int, threads: int = 1) -> None:
        for name, number, most in (("streams", streams, 65536), ("threads", threads, 256)):
            if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 1 <= number <= most:
                raise EngineError(f"{name} is {number!r}, outside 1..{most}")
        self.model = model
        first = FixedEngine(model)
        self.engines = (first, *(FixedEngine(model, program=first.program) for _ in range(streams - 1)))
        self._closed = False
        self._pool = ThreadPoolExecutor(threads, "fixed-batch") if threads > 1 and streams > 1 else None

    def run_windows(
        self,
        windows: Sequence[NDArray[np.uint32]],
        bins: int,
        record: bool = False,
        values: Sequence[NDArray[np.uint8] | None] | None = None,
    ) -> list[WindowResult]:
        """Run one window of every stream, as `FixedEngine.run_window` does.

        Parameters
        ----------
        windows : sequence of (n,) uint32
            Ascending flat (bin, c, y, x) cells, one array a stream.
        bins : int
            Steps of each window.
        record : bool
            Whether to return the spikes of every step.
        values : sequence of (n,) uint8 or None
            Payloads, one array a stream.

        Raises
        ------
        EngineError
            When there are not as many windows as streams, or one of them does not fit; no stream moves then.
        """
        if self._closed:
            raise EngineError("the batch is closed; create another one")
        payloads = [None] * len(windows) if values is None else list(values)
        if not len(windows) == len(payloads) == len(self.engines):
            raise EngineError(
                f"{len(windows)} windows and {len(payloads)} arrays of values for {len(self.engines)} streams"
            )
        for window, own in zip(windows, payloads, strict=True):
            checked = check_indices(window, bins, self.model.cells)
            if own is not None:
                check_values(own, checked, self.model.network.input_bits)

        def run(stream: int) -> WindowResult:
            return self.engines[stream].run_window(windows[stream], bins, record, payloads[stream])

        streams = range(len(self.engines))
        return list(map(run, streams) if self._pool is None else self._pool.map(run, streams))

    def reset(self) -> None:
        """Put the state of every stream to zero; registers stay."""
        for engine in self.engines:
            engine.reset()

    def close(self) -> None:
        """Release the threads and forbid further use; closing twice is fine."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown()
        for engine in self.engines:
            engine.close()
