# SPDX-License-Identifier: Apache-2.0
"""Vector instructions for eight or sixteen words at once, in LLVM's portable form.

A decoder spends most of its time on words that need no thought: events within the
sensor, one like the other. These functions do a block of them without a branch and
say how many words from its start were of that kind; whatever comes next is the
caller's to treat by itself. They read and write whole blocks, so the caller makes
sure that a block of words is there and that a block of events has room.

With ``NUMBA_DISABLE_JIT`` plain Python stands in.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from neuro_ros.events._bits import plain_when_interpreted
from neuro_ros.events._vectors import I32, I64, Vectors, array_data

__all__ = ["COLUMNS", "EVENTS", "WORDS", "convert_columns", "convert_evt2", "count_plain_evt3", "write_vector"]

#: Events of a block.
EVENTS = 8
#: 16-bit words of a block.
WORDS = 16
#: Events of a vector that are written at a time.
COLUMNS = 4


def _convert_evt2(words: Any, index: int, high_ns: int, width: int, height: int, events: Any, count: int) -> int:
    for lane in range(EVENTS):
        before, word = int(words[index + lane - 1]), int(words[index + lane])
        x, y, low = (word >> 11) & 0x7FF, word & 0x7FF, (word >> 22) & 0x3F
        if word >> 29 or x >= width or y >= height or low < (before >> 22) & 0x3F:
            return lane
        events[count + lane, 0] = high_ns + low * 1000
        events[count + lane, 1] = x | (y << 16) | ((word >> 28) << 32)
    return EVENTS


@plain_when_interpreted(_convert_evt2)
@intrinsic
def convert_evt2(
    typing_context: Any,  # noqa: ARG001 - numba's interface
    words: Any,
    index: Any,
    high_ns: Any,
    width: Any,
    height: Any,
    events: Any,
    count: Any,
) -> Any:
    """Make events of eight EVT2 words.

    Parameters
    ----------
    words : (n,) uint32
        From `index` on, eight of them; the one before the first is an event under the same upper time bits.
    high_ns : int
        What the last upper time bits amount to.
    width, height : int
        0 to 2048.
    events : (m, 2) int64
        From `count` on, eight are written, of which only as many as returned mean anything.

    Returns
    -------
    int64
        Number of words from the first one on that are events within the sensor, none before its predecessor.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, EVENTS)
        words = array_data(context, builder, signature, arguments, 0)
        word = vectors.load(words, arguments[1], I32)
        before = vectors.load(words, builder.sub(arguments[1], ir.Constant(I64, 1)), I32)
        coordinate = vectors.same(0x7FF, I32)
        x = builder.and_(builder.lshr(word, vectors.same(11, I32)), coordinate)
        y = builder.and_(word, coordinate)
        code = builder.lshr(word, vectors.same(28, I32))
        good = builder.icmp_signed("<", code, vectors.same(2, I32))
        for value, limit in ((x, arguments[3]), (y, arguments[4])):
            good = builder.and_(good, builder.icmp_signed("<", value, vectors.spread(builder.trunc(limit, I32))))
        low, low_before = (
            builder.and_(builder.lshr(item, vectors.same(22, I32)), vectors.same(0x3F, I32)) for item in (word, before)
        )
        good = builder.and_(good, builder.icmp_signed("<=", low_before, low))
        low_ns = builder.mul(low, vectors.same(1000, I32))
        place = builder.or_(x, builder.shl(y, vectors.same(16, I32)))
        quads = Vectors(builder, 4)
        high_ns = quads.spread(arguments[2])
        events = array_data(context, builder, signature, arguments, 5)
        for lanes in ((0, 1, 4, 5), (2, 3, 6, 7)):
            # Pairs of 32 bits make 64 in the order that does not cross the halves either.
            pairs = [place for lane in lanes for place in (lane, EVENTS + lane)]
            times = builder.add(
                builder.bitcast(vectors.pick(low_ns, vectors.same(0, I32), pairs), high_ns.type), high_ns
            )
            tails = builder.bitcast(vectors.pick(place, code, pairs), high_ns.type)
            quads.store_events(events, arguments[6], times, tails, lanes)
        return vectors.count_leading(good)

    return types.int64(words, index, high_ns, width, height, events, count), generate


def _count_plain_evt3(words: Any, index: int, high_word: int) -> int:
    for lane in range(WORDS):
        word = int(words[index + lane])
        if word != high_word and (word >> 12 > 7 or word >> 12 == 1):
            return lane
    return WORDS


@plain_when_interpreted(_count_plain_evt3)
@intrinsic
def count_plain_evt3(typing_context: Any, words: Any, index: Any, high_word: Any) -> Any:  # noqa: ARG001
    """Count the EVT3 words, of sixteen, before the first that is more than a row, a column, a vector or lower time.

    Parameters
    ----------
    words : (n,) uint16
        From `index` on, sixteen of them.
    high_word : int
        A word that says nothing new: the upper time bits as they are.

    Returns
    -------
    int64
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, WORDS)
        short = ir.IntType(16)
        word = vectors.load(array_data(context, builder, signature, arguments, 0), arguments[1], short)
        known = vectors.spread(builder.trunc(arguments[2], short))
        code = builder.lshr(word, vectors.same(12, short))
        frequent = builder.and_(
            builder.icmp_unsigned("<", code, vectors.same(8, short)),
            builder.icmp_unsigned("!=", code, vectors.same(1, short)),
        )
        return vectors.count_leading(builder.or_(frequent, builder.icmp_unsigned("==", word, known)))

    return types.int64(words, index, high_word), generate


def _convert_columns(records: Any, index: int, high_ns: int, width: int, height: int, events: Any, count: int) -> int:
    for lane in range(EVENTS):
        before, record = int(records[index + lane - 1]), int(records[index + lane])
        x, y, low = record & 0x7FF, (record >> 16) & 0x7FF, (record >> 32) & 0xFFF
        if x >= width or y >= height or low < (before >> 32) & 0xFFF:
            return lane
        events[count + lane, 0] = high_ns + low * 1000
        events[count + lane, 1] = x | (y << 16) | ((record & 0x800) << 21)
    return EVENTS


@plain_when_interpreted(_convert_columns)
@intrinsic
def convert_columns(
    typing_context: Any,  # noqa: ARG001 - numba's interface
    records: Any,
    index: Any,
    high_ns: Any,
    width: Any,
    height: Any,
    events: Any,
    count: Any,
) -> Any:
    """Make events of eight records of the EVT3 decoder (see there), all of columns; else as `convert_evt2`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        quads = Vectors(builder, 4)
        records, events = (array_data(context, builder, signature, arguments, number) for number in (0, 5))
        x_limit = quads.spread(arguments[3])
        y_limit = quads.spread(builder.shl(arguments[4], ir.Constant(I64, 16)))
        halves = []
        for first in (0, 4):
            record, before = (
                quads.load(records, builder.add(arguments[1], ir.Constant(I64, place)), I64)
                for place in (first, first - 1)
            )
            x = builder.and_(record, quads.same(0x7FF, I64))
            y = builder.and_(record, quads.same(0x7FF << 16, I64))
            low, low_before = (
                builder.and_(builder.lshr(item, quads.same(32, I64)), quads.same(0xFFF, I64))
                for item in (record, before)
            )
            inside = builder.and_(builder.icmp_signed("<", x, x_limit), builder.icmp_signed("<", y, y_limit))
            halves.append(builder.and_(inside, builder.icmp_signed("<=", low_before, low)))
            times = builder.add(builder.mul(low, quads.same(1000, I64)), quads.spread(arguments[2]))
            polarity = builder.shl(builder.and_(record, quads.same(0x800, I64)), quads.same(21, I64))
            tails = builder.or_(builder.or_(x, y), polarity)
            quads.store_events(events, arguments[6], times, tails, range(first, first + 4))
        return Vectors(builder, EVENTS).count_leading(quads.pick(halves[0], halves[1], range(EVENTS)))

    return types.int64(records, index, high_ns, width, height, events, count), generate


def _write_vector(columns: int, time_ns: int, tail: int, events: Any, count: int) -> int:
    for lane in range(COLUMNS):
        events[count + lane, 0] = time_ns
        events[count + lane, 1] = tail + ((int(columns) >> (4 * lane)) & 0xF)
    return count


@plain_when_interpreted(_write_vector)
@intrinsic
def write_vector(typing_context: Any, columns: Any, time_ns: Any, tail: Any, events: Any, count: Any) -> Any:  # noqa: ARG001
    """Make four events of one time that differ in x alone.

    Parameters
    ----------
    columns : int
        What is added to x, in 4 bits each, the first in the lowest.
    time_ns : int
    tail : int
        The second 64-bit word of an event whose x is that of column 0.
    events : (m, 2) int64
        From `count` on, four are written.

    Returns
    -------
    int64
        `count`.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, COLUMNS)
        shifts = ir.Constant(vectors.type(I64), [4 * lane for lane in range(COLUMNS)])
        offsets = builder.and_(builder.lshr(vectors.spread(arguments[0]), shifts), vectors.same(0xF, I64))
        tails = builder.add(offsets, vectors.spread(arguments[2]))
        times = vectors.spread(arguments[1])
        vectors.store_events(
            array_data(context, builder, signature, arguments, 3), arguments[4], times, tails, range(COLUMNS)
        )
        return arguments[4]

    return types.int64(columns, time_ns, tail, events, count), generate
