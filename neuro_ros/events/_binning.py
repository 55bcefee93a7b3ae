# SPDX-License-Identifier: Apache-2.0
"""The loop that puts events into a bitmap, and the tables that it looks up crop, scale and polarity in."""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events.geometry import Geometry

__all__ = ["BINNED", "DROPPED", "FILTERED", "LAST_NS", "LATE", "SLOTS", "bin_events", "make_tables"]

# Table entries of columns and rows that do not reach the tensor. The sum of three entries says which it was: three
# times the first is still more than half of the second, and no tensor has 2^26 cells.
_CROPPED = -(1 << 26)
_OUTSIDE = -(1 << 29)

# Slots of the kernel's counts.
BINNED, FILTERED, DROPPED, LATE, LAST_NS, SLOTS = range(6)


@numba.njit(cache=True, nogil=True)
@no_type_check
def bin_events(
    events, begin, start_ns, length_ns, earliest_ns, bins, x_table, y_table, p_table, plane_cells, marks, bitmap, counts
):
    """Put events into the bitmap until one lies beyond the window or too far before it; return its place.

    `marks` is 6 where the events carry marks, 0 where their padding means nothing.
    """
    width = len(x_table) - 1
    height = len(y_table) - 1
    binned = np.int64(0)
    filtered = np.int64(0)
    dropped = np.int64(0)
    late = np.int64(0)
    end_ns = start_ns + length_ns
    last_ns = counts[LAST_NS]
    # Events come nearly in order, so that the division is rare.
    bin_from = np.int64(1)
    bin_until = np.int64(0)
    bin_base = np.int64(0)
    index = begin
    while index < len(events):
        time_ns = events[np.uintp(index), 0]
        if not bin_from <= time_ns < bin_until:
            if time_ns >= end_ns or time_ns < earliest_ns:
                break
            last_ns = max(last_ns, time_ns)
            if time_ns < start_ns:
                late += 1
                index += 1
                continue
            number = (time_ns - start_ns) * bins // length_ns
            bin_from = start_ns + (number * length_ns + bins - 1) // bins
            bin_until = start_ns + ((number + 1) * length_ns + bins - 1) // bins
            bin_base = number * plane_cells
        word = events[np.uintp(index), 1]
        x = min(word & 0xFFFF, width)
        y = min((word >> 16) & 0xFFFF, height)
        place = (
            np.int64(x_table[np.uintp(x)])
            + np.int64(y_table[np.uintp(y)])
            + np.int64(p_table[np.uintp(((word >> 32) & 1) | ((word >> 39) & marks))])
        )
        if place >= 0:
            place += bin_base
            bitmap[np.uintp(place >> 3)] |= np.uint8(0x80 >> (place & 7))
            binned += 1
        elif place < _OUTSIDE // 2:
            dropped += 1
        else:
            filtered += 1
        index += 1
    if index > begin:
        last_ns = max(last_ns, events[index - 1, 0])
    counts[BINNED] += binned
    counts[FILTERED] += filtered
    counts[DROPPED] += dropped
    counts[LATE] += late
    counts[LAST_NS] = last_ns
    return index


def make_tables(
    geometry: Geometry, sensor_width: int, sensor_height: int, polarity: str
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Tabulate what a column, a row and a polarity add to the place of a cell; the last entry is beyond the sensor."""
    tables = []
    for size, first, crop, out, stride in (
        (sensor_width, geometry.crop_x0, geometry.crop_width, geometry.width_out, 1),
        (sensor_height, geometry.crop_y0, geometry.crop_height, geometry.height_out, geometry.width_out),
    ):
        table = np.full(size + 1, _CROPPED, np.int32)
        table[first : first + crop] = np.arange(crop, dtype=np.int64) * out // crop * stride
        table[size] = _OUTSIDE
        tables.append(table)
    kept = {"both": (True, True), "off": (True, False), "on": (False, True)}[polarity]
    plane = geometry.height_out * geometry.width_out
    # By polarity (bit 0), marked as filtered (bit 1), marked as dropped (bit 2); what is lost is lost first.
    p_table = np.full(8, _CROPPED, np.int32)
    p_table[:2] = [channel * plane if keep else _CROPPED for channel, keep in enumerate(kept)]
    p_table[4:] = _OUTSIDE
    return tables[0], tables[1], p_table
