# SPDX-License-Identifier: Apache-2.0
"""The loop that puts events into a bitmap, and the tables that it looks up crop, scale and polarity in."""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.events._bits import count_ones
from neuro_ros.events.geometry import Geometry
from neuro_ros.events.types import MARK_DROPPED, MARK_FILTERED

__all__ = ["bin_events", "make_tables", "take_bitmap"]

# Table entries of columns and rows that do not reach the tensor. The sum of three entries says which it was: three
# times the first is still more than half of the second, and no tensor has 2^26 cells.
_CROPPED = -(1 << 26)
_OUTSIDE = -(1 << 29)

# Every coordinate that 16 bits hold has its entry in a table, so that none needs a comparison.
_COORDINATES = 1 << 16
# What bits 32 to 41 of an event's second word look up: polarity, and the marks where events carry them.
_POLARITY_BIT = 1
_MARK_BITS = (MARK_FILTERED | MARK_DROPPED) >> 32

# Events that are looked up at a time; their places stay in the innermost cache.
_RUN = 1024


@numba.njit(cache=True, nogil=True)
@no_type_check
def _look_up(events, bin_from, bin_ns, x_table, y_table, p_table, looked_up, places):
    """Find the places within a bin of the events up to the first that lies beyond it.

    Returns the number of those events, of places, and of events outside the sensor.
    """
    seen = len(events)
    placed = np.int64(0)
    outside = np.int64(0)
    for index in range(len(events)):
        if np.uint64(events[np.uintp(index), 0] - bin_from) >= bin_ns:
            seen = index
            break
        word = events[np.uintp(index), 1]
        place = (
            x_table[np.uintp(word & 0xFFFF)]
            + y_table[np.uintp((word >> 16) & 0xFFFF)]
            + p_table[np.uintp((word >> 32) & looked_up)]
        )
        places[np.uintp(placed)] = place
        # Which events the crop leaves out is hard to predict: they are passed over without a branch.
        placed += place >= 0
        outside += place < _OUTSIDE // 2
    return seen, placed, outside


@numba.njit(cache=True, nogil=True)
@no_type_check
def bin_events(
    events,
    begin,
    start_ns,
    length_ns,
    earliest_ns,
    bins,
    x_table,
    y_table,
    p_table,
    plane_cells,
    marked,
    last_ns,
    bitmap,
):
    """Put events into the bitmap until one lies beyond the window or too far before it.

    Without `marked` the padding of the events means nothing. Returns the place of that event, how many were binned,
    filtered, dropped and late, and the latest time so far.
    """
    places = np.empty(_RUN, np.int32)
    looked_up = _POLARITY_BIT | _MARK_BITS if marked else _POLARITY_BIT
    binned = np.int64(0)
    dropped = np.int64(0)
    late = np.int64(0)
    end_ns = start_ns + length_ns
    index = begin
    while index < len(events):
        time_ns = events[np.uintp(index), 0]
        if time_ns >= end_ns or time_ns < earliest_ns:
            break
        last_ns = max(last_ns, time_ns)
        if time_ns < start_ns:
            late += 1
            index += 1
            continue
        # Events come nearly in order, so that this is rare and the loop below is long.
        number = (time_ns - start_ns) * bins // length_ns
        bin_from = start_ns + (number * length_ns + bins - 1) // bins
        bin_ns = np.uint64(start_ns + ((number + 1) * length_ns + bins - 1) // bins - bin_from)
        bin_base = number * plane_cells
        while index < len(events):
            seen, placed, outside = _look_up(
                events[index : index + _RUN], bin_from, bin_ns, x_table, y_table, p_table, looked_up, places
            )
            for item in range(placed):
                cell = bin_base + places[np.uintp(item)]
                bitmap[np.uintp(cell >> 3)] |= np.uint8(0x80 >> (cell & 7))
            index += seen
            binned += placed
            dropped += outside
            if seen < _RUN:
                break
    if index > begin:
        last_ns = max(last_ns, events[index - 1, 0])
    filtered = index - begin - late - dropped - binned
    return index, binned, filtered, dropped, late, last_ns


@numba.njit(cache=True, nogil=True)
@no_type_check
def take_bitmap(bitmap, taken):
    """Move the bitmap, 64 cells a word, into another array and clear it; return the number of cells set."""
    active = np.uint64(0)
    for index in range(len(bitmap)):
        word = bitmap[index]
        taken[index] = word
        bitmap[index] = 0
        active += count_ones(word)
    return np.int64(active)


def make_tables(
    geometry: Geometry, sensor_width: int, sensor_height: int, polarity: str
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Tabulate what a column, a row and a polarity with marks add to the place of a cell."""
    tables = []
    for size, first, crop, out, stride in (
        (sensor_width, geometry.crop_x0, geometry.crop_width, geometry.width_out, 1),
        (sensor_height, geometry.crop_y0, geometry.crop_height, geometry.height_out, geometry.width_out),
    ):
        table = np.full(_COORDINATES, _OUTSIDE, np.int32)
        table[:size] = _CROPPED
        table[first : first + crop] = np.arange(crop, dtype=np.int64) * out // crop * stride
        tables.append(table)
    kept = {"both": (True, True), "off": (True, False), "on": (False, True)}[polarity]
    plane = geometry.height_out * geometry.width_out
    # What is lost is lost first.
    p_table = np.full(_MARK_BITS + _POLARITY_BIT + 1, _CROPPED, np.int32)
    p_table[:2] = [channel * plane if keep else _CROPPED for channel, keep in enumerate(kept)]
    p_table[MARK_DROPPED >> 32 :] = _OUTSIDE
    return tables[0], tables[1], p_table
