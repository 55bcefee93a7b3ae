# SPDX-License-Identifier: Apache-2.0
"""The table of packets at the end of an AEDAT4 file, by which a reader begins in the middle.

It is believed only where it is whole: where its packets lie end to end over all
the data, each with a time, and where the times of a stream rise. Otherwise it is
of no use, and everything is read.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from neuro_ros.events.formats import _flatbuffers as flatbuffers

__all__ = ["PacketTable"]

# More packets than that, which is hours of a camera, are damage.
_MAX_PACKETS = 1 << 21
_HEADER_BYTES = 8


class PacketTable:
    """The packets of a file.

    Parameters
    ----------
    data : bytes
        The unpacked table.
    data_start, data_end : int
        Where the first packet begins and the last one ends.

    Raises
    ------
    ValueError, struct.error
        When it is damaged, or does not tell of all packets.
    """

    def __init__(self, data: bytes, data_start: int, data_end: int) -> None:
        places = flatbuffers.Table.root(data).tables(0, _MAX_PACKETS)
        offsets, packets, elements, self._first_us, self._last_us = flatbuffers.columns(
            data, places, ((0, "<i8", 0), (1, "<i8", 0), (2, "<i8", 0), (3, "<i8", 0), (4, "<i8", 0))
        )
        # The header of a packet is one field: the stream, and above it the size.
        self._streams = packets & 0xFFFFFFFF
        sizes = packets >> 32
        self._starts = offsets - _HEADER_BYTES
        ends = offsets + sizes
        if not np.array_equal(np.append(data_start, ends), np.append(self._starts, data_end)) or (sizes < 0).any():
            raise ValueError("the table of packets does not cover the data")
        if (elements <= 0).any() or (self._first_us > self._last_us).any():
            raise ValueError("the table of packets names no times")
        self._data_end = data_end

    def place_of(self, start_us: int, streams: Iterable[int]) -> int | None:
        """Return where to begin to read.

        Parameters
        ----------
        start_us : int
            Nothing of this time or later lies before the place.
        streams : iterable of int
            Those that matter.

        Returns
        -------
        int or None
            The start of a packet, or the end of the data; None where time runs back from packet to packet.
        """
        place = self._data_end
        for stream in streams:
            (chosen,) = np.nonzero(self._streams == stream)
            first_us, last_us = self._first_us[chosen], self._last_us[chosen]
            if (first_us[1:] < last_us[:-1]).any():
                return None
            index = int(np.searchsorted(last_us, start_us))
            if index < len(chosen):
                place = min(place, int(self._starts[chosen[index]]))
        return place
