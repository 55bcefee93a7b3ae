# SPDX-License-Identifier: Apache-2.0
"""The self-test of a network: a stimulus that is always the same, and the answer that is usual.

Rates in flight depend on the scene, and weights of the deep layers may grow by half without leaving what scenes do to
them. An input that is known has an answer that is known: integers are exact, so that the answer of the same weights is
the same on any computer, and any other answer is one of other weights. Windows of moving edges, ever more of them,
make every layer speak.

This module refuses to know how a network is run.

Notes
-----
The stimulus is integer arithmetic on the words of PCG64, whose stream numpy has promised not to change. It carries its
own checksum all the same: an answer to another stimulus is compared with nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuro_ros.canary.errors import BaselineError

__all__ = ["Probe", "SelfTestAnswer", "build_probe"]

_SEED = 0x5E1F
#: Windows, and edges in them, one to so many in turn: from what a slow arm sets to more than people do. More windows
#: wake more neurons, and find more single weights in the last layers (docs/canary.md); these take 0.8 s at 20 Hz.
_WINDOWS = 16
_MOST_EDGES = 8
#: Of 256 cells that an edge passes over in a bin, so many are set.
_SET = 176
#: Places and speeds are counted in these parts of a cell.
_FINE = 64
_UINT32 = 1 << 32


@dataclass(frozen=True, eq=False)
class Probe:
    """A stimulus.

    Parameters
    ----------
    windows : tuple of (active,) uint32
        Ascending flat indices (bin, c, y, x) of the cells set in each window, to be run one after the other from rest.
    bins : int
        Of a window.
    identity : int
        CRC-32 of all that.
    """

    windows: tuple[NDArray[np.uint32], ...]
    bins: int
    identity: int


@dataclass(frozen=True, slots=True)
class SelfTestAnswer:
    """What a network answered to the probe.

    Parameters
    ----------
    probe : int
        Identity of the stimulus.
    spikes : tuple of int
        Spikes of each layer over all windows.
    checksums : tuple of int
        CRC-32 a layer, over the spikes of each neuron and its u and v at the end of each window: one weight that is
        off by the least step changes it, if its synapse has carried a spike of late.

    Raises
    ------
    BaselineError
        The layers are not equally many, none, or a figure is out of range.
    """

    probe: int
    spikes: tuple[int, ...]
    checksums: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.spikes or len(self.spikes) != len(self.checksums):
            raise BaselineError(f"a self-test has {len(self.spikes)} counts and {len(self.checksums)} checksums")
        if not all(0 <= value < _UINT32 for value in (self.probe, *self.checksums)) or min(self.spikes) < 0:
            raise BaselineError("a checksum of a self-test has no 32 bits, or a count is negative")

    def first_difference(self, usual: SelfTestAnswer) -> int | None:
        """Return the first layer that answers otherwise than `usual`; None when none does.

        The layers behind it get other input, so theirs is no news.
        """
        pairs = zip(self.spikes, self.checksums, usual.spikes, usual.checksums, strict=True)
        return next((k for k, (a, b, c, d) in enumerate(pairs) if (a, b) != (c, d)), None)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"probe": self.probe, "spikes": list(self.spikes), "checksums": list(self.checksums)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SelfTestAnswer:
        """Read what `as_dict` wrote; raises KeyError, TypeError, ValueError or BaselineError on anything else."""
        return cls(int(values["probe"]), _integers(values["spikes"]), _integers(values["checksums"]))


def _integers(values: Sequence[Any]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


@lru_cache(maxsize=8)
def build_probe(input_shape: tuple[int, int, int], bins: int) -> Probe:
    """Return the stimulus for networks with such an input.

    Parameters
    ----------
    input_shape : (channels, height, width)
        Of one bin.
    bins : int
        Of a window.
    """
    words = np.random.PCG64(_SEED)
    windows = []
    checksum = zlib.crc32(np.array([bins, *input_shape], "<u4").tobytes())
    for number in range(_WINDOWS):
        cells = np.zeros((bins, *input_shape), bool)
        for _ in range(1 + number % _MOST_EDGES):
            _add_edge(cells, words)
        indices = np.flatnonzero(cells).astype(np.uint32)
        checksum = zlib.crc32(indices.astype("<u4").tobytes(), checksum)
        windows.append(indices)
    return Probe(tuple(windows), bins, checksum)


def _add_edge(cells: NDArray[np.bool_], words: np.random.PCG64) -> None:
    """Have a disc move through a window: its front sets the last channel, its back the first one."""
    bins, channels, height, width = cells.shape
    drawn = [int(word >> 16) for word in words.random_raw(6)]
    radius = _FINE * (2 * min(height, width) + drawn[0] % (min(height, width) + 1)) // 16 + _FINE // 2
    x, y = drawn[1] % (_FINE * width), drawn[2] % (_FINE * height)
    # Up to a whole cell a bin: 200 cells a second at bins of 5 ms.
    vx, vy = drawn[3] % (2 * _FINE + 1) - _FINE, drawn[4] % (2 * _FINE + 1) - _FINE
    between = drawn[5] % channels  # where there are more than two channels, each has its turn
    dy = _FINE * np.arange(height)[:, None] + _FINE // 2
    dx = _FINE * np.arange(width)[None, :] + _FINE // 2
    for step in range(bins):
        right, down = dx - (x + step * vx), dy - (y + step * vy)
        inside = right * right + down * down <= radius * radius
        chance = np.frombuffer(words.random_raw(-(-height * width // 8)).astype("<u8").tobytes(), np.uint8)
        chosen = inside & (chance[: height * width].reshape(height, width) < _SET)
        front = right * vx + down * vy >= 0
        cells[step, -1] |= chosen & front
        cells[step, 0] |= chosen & ~front
        if 0 < between < channels - 1:
            cells[step, between] |= chosen
