# SPDX-License-Identifier: Apache-2.0
"""Finds a time in a recording whose times may run back, as far as was ever asked for.

Times run back, start over, or are damaged: without a look at all of them there
is no telling what lies before a place, so that halving the file again and again
would lose events. The look is quicker than decoding, and is not taken twice.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from neuro_ros.events.encodings import BytesDecoder

__all__ = ["NEVER_PASSED", "TimeIndex", "can_follow", "follow_words"]

#: In place of a time, of the last piece of a recording: it is read in any case, for what there is to say of the end.
NEVER_PASSED = math.inf

# What is decoded in vain at most; the state of a decoder is kept for each.
_BLOCK_BYTES = 1 << 20


class TimeIndex:
    """Places in a recording, with the time that is reached before the next one.

    Parameters
    ----------
    follow : callable
        Returns an iterator over the pieces of the recording in order: a place, which may be anything, and a time
        [ns] that nothing between it and the next place reaches. The last one's is `NEVER_PASSED`.
    """

    def __init__(self, follow: Callable[[], Iterator[tuple[Any, float]]]) -> None:
        self._follow = follow
        self._begin()

    def _begin(self) -> None:
        self._pieces = self._follow()
        self._places: list[Any] = []
        self._reached_ns: list[float] = []  # by nothing up to the end of each piece

    def find(self, start_ns: int) -> Any:
        """Find a place before which nothing reaches a time."""
        try:
            self._extend(start_ns)
        except BaseException:  # of a disc, or of a user who has no time: what broke off cannot go on
            self._begin()
            raise
        return self._places[bisect.bisect_right(self._reached_ns, start_ns)]

    def _extend(self, start_ns: int) -> None:
        """Go on until something may reach the time."""
        reached_ns = self._reached_ns[-1] if self._reached_ns else -math.inf
        while reached_ns <= start_ns:
            place, piece_ns = next(self._pieces)
            reached_ns = max(reached_ns, piece_ns)
            self._places.append(place)
            self._reached_ns.append(reached_ns)


def can_follow(decoder: BytesDecoder) -> bool:
    """Tell whether words can be followed without decoding them."""
    return _BLOCK_BYTES % decoder.word_bytes == 0 and decoder.skip(np.empty(0, np.uint8)) is not None


def follow_words(
    decoder: BytesDecoder, state: Any, file: BinaryIO, offset: int
) -> Iterator[tuple[tuple[int, Any], float]]:
    """Cut a run of words into pieces for a `TimeIndex`.

    Parameters
    ----------
    decoder : BytesDecoder
        Of words that `can_follow`; nobody else's.
    state : object
        Of the decoder, before the first word.
    file : binary file
        Not buffered; where it stands is changed.
    offset : int
        Where the words begin [bytes].

    Yields
    ------
    place : (int, object)
        Where a piece begins in the file [bytes], and the decoder's state there.
    reached_ns : float
    """
    block = np.empty(_BLOCK_BYTES, np.uint8)
    decoder.state = state
    position = offset
    while _fill(file, position, block) == len(block):
        place = position, decoder.state
        yield place, decoder.skip(block) or 0
        position += len(block)
    yield (position, decoder.state), NEVER_PASSED


def _fill(file: BinaryIO, position: int, block: np.ndarray) -> int:
    """Read from a place on until the block is full or the file ends; return the bytes."""
    file.seek(position)
    view = block.data
    count = 0
    while count < len(block) and (more := file.readinto(view[count:])):  # type: ignore[attr-defined]
        count += more
    return count
