# SPDX-License-Identifier: Apache-2.0
"""The loop that puts events into a bitmap, and the tables that it looks up crop, scale and polarity in."""

from __future__ import annotations

from typing import Any, no_type_check

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from neuro_ros.events._bits import count_ones, plain_when_interpreted
from neuro_ros.events._vectors import I32, I64, Vectors, array_data
from neuro_ros.events.geometry import Geometry
from neuro_ros.events.types import MARK_DROPPED, MARK_FILTERED

__all__ = [
    "MARK_BITS",
    "OUTSIDE",
    "POLARITY_BIT",
    "SPARE_BYTES",
    "bin_events",
    "make_grid",
    "make_tables",
    "take_bitmap",
]

# Table entries of columns and rows that do not reach the tensor. The sum of three entries says which it was: three
# times the first is still more than half of the second, and no tensor has 2^26 cells.
_CROPPED = -(1 << 26)
OUTSIDE = -(1 << 29)

# Every coordinate that 16 bits hold has its entry in a table, so that none needs a comparison.
_COORDINATES = 1 << 16
# What bits 32 to 41 of an event's second word look up: polarity, and the marks where events carry them.
POLARITY_BIT = 1
MARK_BITS = (MARK_FILTERED | MARK_DROPPED) >> 32

# Events of a block.
_BLOCK = 8
# Cache lines of a block, and events between those that are looked up and those that are fetched.
_LINES = 2
_AHEAD = 128
#: Bytes behind a bitmap that belong to the loop.
SPARE_BYTES = _BLOCK
# Events that are looked up at a time; their places stay in the innermost cache.
_RUN = 1024


@plain_when_interpreted(lambda *_: -1)
@intrinsic
def _look_up_block(
    typing_context: Any,  # noqa: ARG001 - numba's interface
    events: Any,
    index: Any,
    bin_from: Any,
    bin_ns: Any,
    grid: Any,
    scale: Any,
    bin_base: Any,
    nowhere: Any,
    cells: Any,
    bits: Any,
) -> Any:
    """Find the bytes and bits of eight events, which carry no marks that count.

    Parameters
    ----------
    events : (n, 2) int64
        From `index` on, eight of them.
    bin_from, bin_ns : int
        Where the bin begins and how long it is.
    grid : tuple of nine int64
        Of the x axis, then of the y axis: pixels of the sensor, first and number of pixels of the crop, and what one
        step adds to the cell. Then what one polarity adds.
    scale : tuple of two float32
        Cells a pixel, exact as `_exact_scale` says.
    bin_base : int
        First cell of the bin.
    nowhere : int
        First of eight bytes for the events that reach no cell; one for each, so that none waits for another.
    cells, bits : int32
        Written: byte of the bitmap, and bit in it, of each.

    Returns
    -------
    int64
        Number of events within the crop, plus 16 times that of events outside the sensor; -1 when one of them lies
        outside the bin, and nothing of this means anything.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        quads, lanes = Vectors(builder, 4), Vectors(builder, _BLOCK)
        data = array_data(context, builder, signature, arguments, 0)
        start = builder.shl(arguments[1], ir.Constant(I64, 1))
        pairs = [quads.load(data, builder.add(start, ir.Constant(I64, 4 * pair)), I64) for pair in range(4)]
        quads.fetch_ahead(data, builder.add(start, ir.Constant(I64, 2 * _AHEAD)), _LINES)
        # Halves of 128 bits are not crossed, so that the events come as 0 2 1 3, then 4 6 5 7.
        times, tails = (
            [quads.pick(pairs[first], pairs[first + 1], (odd, 4 + odd, 2 + odd, 6 + odd)) for first in (0, 2)]
            for odd in (0, 1)
        )
        # A time is within the bin when neither its distance from the start nor that to the end is negative.
        last = builder.sub(arguments[3], ir.Constant(I64, 1))
        signs = []
        for time in times:
            since = builder.sub(time, quads.spread(arguments[2]))
            signs.append(builder.or_(since, builder.sub(quads.spread(last), since)))
        stray = builder.icmp_signed("<", builder.or_(signs[0], signs[1]), quads.same(0, I64))
        any_stray = builder.icmp_unsigned("!=", builder.bitcast(stray, ir.IntType(4)), ir.Constant(ir.IntType(4), 0))

        words = [builder.bitcast(tail, lanes.type(I32)) for tail in tails]
        places, polarities = (lanes.pick(words[0], words[1], range(odd, 2 * _BLOCK, 2)) for odd in (0, 1))
        coordinates = (
            builder.and_(places, lanes.same(0xFFFF, I32)),
            builder.lshr(places, lanes.same(16, I32)),
        )
        grid_values = [builder.trunc(builder.extract_value(arguments[4], number), I32) for number in range(9)]
        cell = lanes.spread(builder.trunc(arguments[6], I32))
        inside = outside = None
        for axis, coordinate in enumerate(coordinates):
            sensor, first, size, step = (lanes.spread(value) for value in grid_values[4 * axis : 4 * axis + 4])
            beyond = builder.icmp_signed(">=", coordinate, sensor)
            within = builder.sub(coordinate, first)
            kept = builder.icmp_unsigned("<", within, size)
            inside = kept if inside is None else builder.and_(inside, kept)
            outside = beyond if outside is None else builder.or_(outside, beyond)
            cells_a_pixel = lanes.spread(builder.extract_value(arguments[5], axis))
            scaled = builder.fmul(builder.sitofp(within, cells_a_pixel.type), cells_a_pixel)
            whole = builder.fptosi(scaled, lanes.type(I32))
            cell = builder.add(cell, builder.mul(whole, step))
        polarity = builder.and_(polarities, lanes.same(1, I32))
        cell = builder.add(cell, builder.mul(polarity, lanes.spread(grid_values[8])))

        aside = lanes.spread(builder.trunc(arguments[7], I32))
        aside = builder.add(aside, ir.Constant(lanes.type(I32), list(range(_BLOCK))))
        places = builder.select(inside, builder.lshr(cell, lanes.same(3, I32)), aside)
        bits = builder.lshr(lanes.same(0x80, I32), builder.and_(cell, lanes.same(7, I32)))
        for number, values in ((8, places), (9, bits)):
            lanes.store(array_data(context, builder, signature, arguments, number), values)
        count = builder.add(lanes.count(inside), builder.shl(lanes.count(outside), ir.Constant(I64, 4)))
        return builder.select(any_stray, ir.Constant(I64, -1), count)

    return (
        types.int64(events, index, bin_from, bin_ns, grid, scale, bin_base, nowhere, cells, bits),
        generate,
    )


@numba.njit(cache=True, nogil=True)
@no_type_check
def _bin_blocks(events, begin, bin_from, bin_ns, grid, scale, bin_base, bitmap, cells, bits):
    """Put events into the bitmap, eight at a time, up to the first eight of which one lies beyond the bin.

    Returns the place of those, the number of events binned and of events outside the sensor.
    """
    placed = np.int64(0)
    outside = np.int64(0)
    nowhere = len(bitmap) - _BLOCK
    index = begin
    while index + _BLOCK <= len(events):
        found = _look_up_block(events, index, bin_from, bin_ns, grid, scale, bin_base, nowhere, cells, bits)
        if found < 0:
            break
        for lane in range(_BLOCK):
            bitmap[np.uintp(cells[lane])] |= np.uint8(bits[lane])
        placed += found & 0xF
        outside += found >> 4
        index += _BLOCK
    return index, placed, outside


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
        outside += place < OUTSIDE // 2
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
    grid,
    scale,
    plane_cells,
    marked,
    last_ns,
    bitmap,
):
    """Put events into the bitmap until one lies beyond the window or too far before it.

    Without `marked` the padding of the events means nothing. The last eight bytes of the bitmap are for events that
    reach no cell. Returns the place of the event that ended it, how many were binned, filtered, dropped and late, and
    the latest time so far.
    """
    places = np.empty(_RUN, np.int32)
    bits = np.empty(_BLOCK, np.int32)
    in_blocks = scale[0] > 0 and not marked
    run = _BLOCK if in_blocks else _RUN
    looked_up = POLARITY_BIT | MARK_BITS if marked else POLARITY_BIT
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
            if in_blocks:
                index, placed, outside = _bin_blocks(
                    events, index, bin_from, bin_ns, grid, scale, bin_base, bitmap, places, bits
                )
                binned += placed
                dropped += outside
            seen, placed, outside = _look_up(
                events[index : index + run], bin_from, bin_ns, x_table, y_table, p_table, looked_up, places
            )
            for item in range(placed):
                cell = bin_base + places[np.uintp(item)]
                bitmap[np.uintp(cell >> 3)] |= np.uint8(0x80 >> (cell & 7))
            index += seen
            binned += placed
            dropped += outside
            if seen < run:
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


def _exact_scale(pixels: int, cells: int) -> np.float32:
    """Return what a pixel is multiplied with so that the whole part is pixel * cells // pixels for each; 0 if none."""
    numbers = np.arange(pixels, dtype=np.int64)
    scale = np.float32(cells / pixels)
    for _ in range(4):
        if np.array_equal((numbers.astype(np.float32) * scale).astype(np.int64), numbers * cells // pixels):
            return scale
        scale = np.nextafter(scale, np.float32(np.inf))
    return np.float32(0)


def make_grid(
    geometry: Geometry, sensor_width: int, sensor_height: int, polarity: str
) -> tuple[tuple[int, ...], tuple[np.float32, np.float32]]:
    """Say the same as `make_tables` by numbers, as `_look_up_block` takes them; a scale of 0 where that cannot be."""
    scales = (np.float32(0), np.float32(0))
    if polarity != "both" or max(sensor_width, sensor_height) > _COORDINATES:
        return (0,) * 9, scales
    exact = (
        _exact_scale(geometry.crop_width, geometry.width_out),
        _exact_scale(geometry.crop_height, geometry.height_out),
    )
    if all(exact):
        scales = exact
    x_axis = (sensor_width, geometry.crop_x0, geometry.crop_width, 1)
    y_axis = (sensor_height, geometry.crop_y0, geometry.crop_height, geometry.width_out)
    return (*x_axis, *y_axis, geometry.height_out * geometry.width_out), scales


def make_tables(
    geometry: Geometry, sensor_width: int, sensor_height: int, polarity: str
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Tabulate what a column, a row and a polarity with marks add to the place of a cell."""
    tables = []
    for size, first, crop, out, stride in (
        (sensor_width, geometry.crop_x0, geometry.crop_width, geometry.width_out, 1),
        (sensor_height, geometry.crop_y0, geometry.crop_height, geometry.height_out, geometry.width_out),
    ):
        table = np.full(_COORDINATES, OUTSIDE, np.int32)
        table[:size] = _CROPPED
        reached = np.arange(max(min(crop, _COORDINATES - first), 0), dtype=np.int64)
        table[first : first + len(reached)] = reached * out // crop * stride
        tables.append(table)
    kept = {"both": (True, True), "off": (True, False), "on": (False, True)}[polarity]
    plane = geometry.height_out * geometry.width_out
    # By polarity (bit 0), marked as filtered (bit 8), marked as dropped (bit 9); what is lost is lost first.
    p_table = np.full(MARK_BITS + POLARITY_BIT + 1, _CROPPED, np.int32)
    p_table[:2] = [channel * plane if keep else _CROPPED for channel, keep in enumerate(kept)]
    p_table[MARK_DROPPED >> 32 :] = OUTSIDE
    return tables[0], tables[1], p_table
