# SPDX-License-Identifier: Apache-2.0
"""Finds a time in a long run of words, as far as was ever asked for.

The words say only the lower part of the time, and time may run back: without a
look at every upper part there is no telling what lies before a place, so that
halving the file again and again would lose events. The look is quick, and is
not taken twice.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from neuro_ros.events.encodings import BytesDecoder

__all__ = ["TimeIndex"]

# What is decoded in vain at most; the state of a decoder is kept for each.
_BLOCK_BYTES = 1 << 20

_ReadBlock = Callable[[int, npt.NDArray[np.uint8]], int]


class TimeIndex:
    """Places in a run of words, with the time that is reached there and the decoder's state.

    Parameters
    ----------
    decoder : BytesDecoder
        As it is before the first word; owned from here on.

    Attributes
    ----------
    usable : bool
        False where the encoding cannot be followed without decoding it.
    """

    def __init__(self, decoder: BytesDecoder) -> None:
        self._decoder = decoder
        self.usable = _BLOCK_BYTES % decoder.word_bytes == 0 and decoder.skip(np.empty(0, np.uint8)) is not None
        self._states: list[Any] = []  # of the decoder at the start of each block
        self._reached_ns: list[int] = []  # by nothing up to the end of each block
        self._ended = False

    def find(self, start_ns: int, read_block: _ReadBlock) -> tuple[int, Any]:
        """Find a place before which nothing reaches a time.

        Parameters
        ----------
        start_ns : int
            The time.
        read_block : callable
            ``(position, block)``: fills the block from that place of the words on, returns the bytes.

        Returns
        -------
        position : int
        state : object
            Of the decoder there.
        """
        if not self._ended and (not self._states or self._reached_ns[-1] <= start_ns):
            self._extend(start_ns, read_block)
        number = bisect.bisect_right(self._reached_ns, start_ns)
        state = self._states[number] if number < len(self._states) else self._decoder.state
        return number * _BLOCK_BYTES, state

    def _extend(self, start_ns: int, read_block: _ReadBlock) -> None:
        """Go on until something may reach the time."""
        block = np.empty(_BLOCK_BYTES, np.uint8)
        reached_ns = self._reached_ns[-1] if self._reached_ns else -1
        while reached_ns <= start_ns:
            count = read_block(len(self._states) * _BLOCK_BYTES, block)
            if count < len(block):
                # The last block is decoded in any case: it may end within a word, which counts as an error.
                self._ended = True
                return
            self._states.append(self._decoder.state)
            reached_ns = max(reached_ns, self._decoder.skip(block) or 0)
            self._reached_ns.append(reached_ns)
