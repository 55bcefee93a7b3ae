# SPDX-License-Identifier: Apache-2.0
"""Numba kernels over a range of independent items, on as many threads as torch uses.

The kernels release the interpreter lock, so plain Python threads run them side by side. Who computes an item never
changes what is computed: results are the same bits at any thread count.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

__all__ = ["over_chunks"]

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}  # by number of workers; made when first needed


def _forget() -> None:
    """Let go of pools whose threads a fork has not copied."""
    _pools.clear()


os.register_at_fork(after_in_child=_forget)


def _pool(workers: int) -> ThreadPoolExecutor:
    with _lock:
        if workers not in _pools:
            _pools[workers] = ThreadPoolExecutor(workers, "neuro_ros_training")
        return _pools[workers]


def over_chunks(work: Callable[[int, int], None], items: int, grain: int = 1) -> None:
    """Call ``work(begin, end)`` for ranges that cover 0..items, in parallel.

    Parameters
    ----------
    work : callable
        A kernel that releases the interpreter lock and writes only what belongs to its range.
    items : int
        How many there are.
    grain : int
        Ranges begin at multiples of it, so that threads do not share cache lines.
    """
    threads = min(torch.get_num_threads(), -(-items // grain))
    if threads <= 1:
        work(0, items)
        return
    blocks = -(-items // grain)
    bounds = [min(items, grain * (blocks * k // threads)) for k in range(threads + 1)]
    pool = _pool(threads - 1)  # the caller is one more
    waiting = [pool.submit(work, bounds[k], bounds[k + 1]) for k in range(1, threads)]
    work(bounds[0], bounds[1])
    for future in waiting:
        future.result()
