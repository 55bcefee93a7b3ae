# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG001 - the arguments of an intrinsic are read by their position
"""Vector code of the engine, written in LLVM's portable form: eight lanes of 32 bits at a time.

A compiler vectorises a loop only where it can prove that it may, and pays for the proof at run time, once per loop:
too often for runs of 8 to 64 synapses. What is written here is lowered to whatever the processor has, so the same
integers come out everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, no_type_check

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "BLOCK",
    "LANES",
    "add_run",
    "add_scaled_run",
    "expand",
    "gather_rows",
    "lowest",
    "multiply_places",
    "update_block",
    "update_block_biased",
    "update_block_resting",
    "walk_queue",
]

BLOCK = 64  # neurons: one bit each in a word of spike flags
LANES = 8
_UNROLLED = 8  # vectors of a run that are added without a loop
_I1, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return context.make_array(kind)(context, builder, array).data


def _vector(element: ir.IntType, lanes: int = LANES) -> ir.VectorType:
    return ir.VectorType(element, lanes)


def _same(value: int, element: ir.IntType = _I32, lanes: int = LANES) -> ir.Constant:
    return ir.Constant(_vector(element, lanes), [value] * lanes)


def _spread(builder: Any, scalar: Any, lanes: int = LANES) -> Any:
    undefined = ir.Constant(_vector(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, first, _same(0, _I32, lanes))


def _place(builder: Any, data: Any, index: Any, offset: int, lanes: int = LANES) -> Any:
    """Return the address of `lanes` elements, the first of which is `offset` behind `index`."""
    at = builder.add(index, ir.Constant(_I64, offset)) if offset else index
    return builder.bitcast(builder.gep(data, [at]), _vector(data.type.pointee, lanes).as_pointer())


def _load(builder: Any, data: Any, index: Any, offset: int = 0, lanes: int = LANES) -> Any:
    vector = builder.load(_place(builder, data, index, offset, lanes))
    vector.align = data.type.pointee.width // 8
    return vector


def _store(builder: Any, vector: Any, data: Any, index: Any, offset: int = 0) -> None:
    place = _place(builder, data, index, offset, vector.type.count)
    builder.store(vector, place, align=data.type.pointee.width // 8)


def _call(builder: Any, name: str, kind: Any, *arguments: Any) -> Any:
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [a.type for a in arguments]), name)
    return builder.call(function, arguments)


def _decayed(builder: Any, value: Any, factor: Any) -> Any:
    """Multiply by factor / 4096 and round toward zero, without leaving 32 bits.

    |value| <= 2^23 and factor <= 2^12. With value = high * 4096 + low, 0 <= low < 4096, the floor of the quotient is
    high * factor + ((low * factor) >> 12); adding 4095 to the dividend of a negative value makes the floor a ceiling.
    """
    high = builder.ashr(value, _same(12))
    low = builder.and_(value, _same(4095))
    up = builder.lshr(builder.ashr(value, _same(31)), _same(20))
    rest = builder.lshr(builder.add(builder.mul(low, factor), up), _same(12))
    return builder.add(builder.mul(high, factor), rest)


def _update(context: Any, builder: Any, signature: Any, arguments: Any, biased: bool, resting: bool) -> Any:
    """Write a step of one block; the arrays of `arguments` are u, v, a, bias and, where neurons rest, the counters."""
    arrays = 4 + resting
    data = [_data(context, builder, signature.args[k], arguments[k]) for k in range(arrays)]
    u, v, a, bias = data[:4]
    start, arriving = arguments[arrays : arrays + 2]
    registers = arguments[arrays + 2 :]
    # Known to be 13 bits: the compiler may then take a cheaper multiplication.
    u_factor, v_factor = (builder.and_(_spread(builder, x), _same(8191)) for x in registers[:2])
    threshold, right = (_spread(builder, x) for x in registers[2:4])
    top = _same((1 << 23) - 1)
    fired = ir.Constant(_I64, 0)
    rest = _same(0)
    for group in range(0, BLOCK, LANES):
        given = builder.shl(builder.ashr(_load(builder, a, arriving, group), right), _same(6))
        current = builder.add(_decayed(builder, _load(builder, u, start, group), u_factor), given)
        # Back into (-2^23, 2^23]: the accumulator bound keeps it within one turn, so modulo is one subtraction.
        turned = builder.shl(builder.sub(current, _same(1)), _same(8))
        current = builder.add(builder.ashr(turned, _same(8)), _same(1))
        before = _load(builder, v, start, group)
        voltage = builder.add(_decayed(builder, before, v_factor), current)
        if biased:
            voltage = builder.add(voltage, _load(builder, bias, start, group))
        kind = voltage.type
        voltage = _call(builder, f"llvm.smin.v{LANES}i32", kind, voltage, top)
        voltage = _call(builder, f"llvm.smax.v{LANES}i32", kind, voltage, _same(1 - (1 << 23)))
        if resting:
            left = _load(builder, data[4], start, group)
            voltage = builder.select(builder.icmp_signed(">", left, _same(0)), before, voltage)
        spike = builder.icmp_signed(">", voltage, threshold)
        voltage = builder.select(spike, _same(0), voltage)
        _store(builder, _same(0), a, arriving, group)
        _store(builder, current, u, start, group)
        _store(builder, voltage, v, start, group)
        rest = builder.or_(rest, builder.or_(current, voltage))
        if resting:
            left = _call(builder, f"llvm.smax.v{LANES}i32", kind, builder.sub(left, _same(1)), _same(0))
            left = builder.select(spike, _spread(builder, registers[4]), left)
            _store(builder, left, data[4], start, group)
            rest = builder.or_(rest, left)
        bits = builder.zext(builder.bitcast(spike, ir.IntType(LANES)), _I64)
        fired = builder.or_(fired, builder.shl(bits, ir.Constant(_I64, group)))
    active = builder.icmp_signed("!=", rest, _same(0))
    awake = builder.icmp_unsigned("!=", builder.bitcast(active, ir.IntType(LANES)), ir.Constant(ir.IntType(LANES), 0))
    return context.make_tuple(builder, signature.return_type, [fired, builder.zext(awake, _I64)])


_PAIR = types.UniTuple(types.uint64, 2)
_INDEX, _REGISTER = types.uint64, types.int32


@intrinsic
@no_type_check
def update_block(typing, u, v, a, bias, start, arriving, u_factor, v_factor, threshold, right):
    """Advance a block without a bias by one step; return (one bit a neuron that fired, 1 if any state is left).

    The state begins at `start`, its input at `arriving` of `a`: it is shifted right by `right`, with floor, before it
    is aligned with u, and is zero afterwards.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _update(context, builder, signature, arguments, biased=False, resting=False)

    return _PAIR(u, v, a, bias, _INDEX, _INDEX, *[_REGISTER] * 4), generate


@intrinsic
@no_type_check
def update_block_biased(typing, u, v, a, bias, start, arriving, u_factor, v_factor, threshold, right):
    """Do what `update_block` does, with a bias."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _update(context, builder, signature, arguments, biased=True, resting=False)

    return _PAIR(u, v, a, bias, _INDEX, _INDEX, *[_REGISTER] * 4), generate


@intrinsic
@no_type_check
def update_block_resting(
    typing, u, v, a, bias, resting, start, arriving, u_factor, v_factor, threshold, right, refractory
):
    """Do what `update_block` does, with a bias and a refractory period of `refractory` steps."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _update(context, builder, signature, arguments, biased=True, resting=True)

    return _PAIR(u, v, a, bias, resting, _INDEX, _INDEX, *[_REGISTER] * 5), generate


@intrinsic
@no_type_check
def expand(typing, fired, flags, recent, start):
    """Write the bits of a block as bytes, add them to its counters, and return how many are set; no branch."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bytes_of, counters = (_data(context, builder, signature.args[k], arguments[k]) for k in (1, 2))
        bits = builder.bitcast(arguments[0], ir.VectorType(_I1, BLOCK))
        flag = builder.zext(bits, ir.VectorType(_I8, BLOCK))
        _store(builder, flag, bytes_of, arguments[3])
        total = builder.add(_load(builder, counters, arguments[3], 0, BLOCK), flag)
        _store(builder, total, counters, arguments[3])
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64, flags, recent, types.uint64), generate


def _count(builder: Any, times: Any, body: Callable[[Any], None]) -> None:
    """Write a loop over 0..times - 1."""
    with cgutils.for_range(builder, times, intp=_I64) as loop:
        body(loop.index)


def _add_weights(builder: Any, sums: Any, table: Any, to: Any, at: Any, offset: int) -> None:
    """Write the addition of eight weights to as many targets."""
    added = builder.sext(_load(builder, table, at, offset), _vector(_I32))
    _store(builder, builder.add(_load(builder, sums, to, offset), added), sums, to, offset)


@intrinsic
@no_type_check
def add_run(typing, a, weights, target, weight, chunks):
    """Add `chunks` times eight weights to as many targets."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, table = (_data(context, builder, signature.args[k], arguments[k]) for k in range(2))

        def body(number: Any) -> None:
            offset = builder.mul(number, ir.Constant(_I64, LANES))
            to, at = builder.add(arguments[2], offset), builder.add(arguments[3], offset)
            _add_weights(builder, sums, table, to, at, 0)

        _count(builder, arguments[4], body)
        return context.get_dummy_value()

    return types.void(a, weights, types.uint64, types.uint64, types.uint64), generate


@intrinsic
@no_type_check
def walk_queue(typing, a, weights, queue, begin, end, target0, weight0, rows, chunks, row_target, row_weight):
    """Add, for every entry of a queue from `begin` to `end`, `rows` runs of `chunks` times eight weights.

    An entry holds where its first run begins, target below and weight above bit 32; the next run is `row_target`
    before it, its weights `row_weight` behind. The length of the runs is looked at once for all of them.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, table, entries = (_data(context, builder, signature.args[k], arguments[k]) for k in range(3))
        begin, end, target0, weight0, rows, chunks, row_target, row_weight = arguments[3:]

        def walk(groups: int) -> None:
            def each_entry(number: Any) -> None:
                entry = builder.load(builder.gep(entries, [builder.add(begin, number)]))
                target = builder.add(target0, builder.and_(entry, ir.Constant(_I64, 0xFFFFFFFF)))
                weight = builder.add(weight0, builder.lshr(entry, ir.Constant(_I64, 32)))

                def each_row(row: Any) -> None:
                    to = builder.sub(target, builder.mul(row, row_target))
                    at = builder.add(weight, builder.mul(row, row_weight))
                    if groups:
                        for offset in range(0, groups * LANES, LANES):
                            _add_weights(builder, sums, table, to, at, offset)
                        return

                    def each_chunk(chunk: Any) -> None:
                        along = builder.mul(chunk, ir.Constant(_I64, LANES))
                        _add_weights(builder, sums, table, builder.add(to, along), builder.add(at, along), 0)

                    _count(builder, chunks, each_chunk)

                _count(builder, rows, each_row)

            _count(builder, builder.sub(end, begin), each_entry)

        done = builder.append_basic_block("done")
        longer = builder.append_basic_block("longer")
        choice = builder.switch(chunks, longer)
        for groups in range(1, _UNROLLED + 1):
            block = builder.append_basic_block(f"groups{groups}")
            choice.add_case(ir.Constant(_I64, groups), block)
            builder.position_at_end(block)
            walk(groups)
            builder.branch(done)
        builder.position_at_end(longer)
        walk(0)
        builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(a, weights, queue, *[types.uint64] * 8), generate


@intrinsic
@no_type_check
def add_scaled_run(typing, a, weights, target, weight, chunks, scale):
    """Add `chunks` times eight weights, each times `scale`, to as many targets."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, table = (_data(context, builder, signature.args[k], arguments[k]) for k in range(2))
        factor = _spread(builder, arguments[5])

        def body(number: Any) -> None:
            offset = builder.mul(number, ir.Constant(_I64, LANES))
            at, to = builder.add(arguments[3], offset), builder.add(arguments[2], offset)
            added = builder.mul(builder.sext(_load(builder, table, at), _vector(_I32)), factor)
            _store(builder, builder.add(_load(builder, sums, to), added), sums, to)

        _count(builder, arguments[4], body)
        return context.get_dummy_value()

    return types.void(a, weights, types.uint64, types.uint64, types.uint64, types.int32), generate


@intrinsic
@no_type_check
def gather_rows(typing, a, weights, sources, target, weight, source, count, pitch, groups):
    """Add one row of weights a source to `groups` (a number known when compiling) times eight targets."""
    if not isinstance(groups, types.IntegerLiteral):
        return None
    number = groups.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, table, spikes = (_data(context, builder, signature.args[k], arguments[k]) for k in range(3))
        target, weight, source, count, pitch = arguments[3:8]
        totals = []
        for group in range(number):
            total = cgutils.alloca_once(builder, _vector(_I32))
            builder.store(_load(builder, sums, target, group * LANES), total)
            totals.append(total)

        def body(index: Any) -> None:
            spike = builder.load(builder.gep(spikes, [builder.add(source, index)]))
            row = builder.add(weight, builder.mul(builder.zext(spike, _I64), pitch))
            for group, total in enumerate(totals):
                added = builder.sext(_load(builder, table, row, group * LANES), _vector(_I32))
                builder.store(builder.add(builder.load(total), added), total)

        _count(builder, count, body)
        for group, total in enumerate(totals):
            _store(builder, builder.load(total), sums, target, group * LANES)
        return context.get_dummy_value()

    word = types.uint64
    return types.void(a, weights, sources, word, word, word, word, word, groups), generate


@intrinsic
@no_type_check
def multiply_places(typing, a, image, products, target, at, weight, channels, stride, pitch, rows, pairs, places):
    """Add to eight channels of `places` (a number known when compiling) targets the product of image and weights.

    Every row of the image has `pairs` pairs of sources from `at` on, `stride` further for the next target; weights
    follow each other as (row, pair, channel, source of the pair).
    """
    if not isinstance(places, types.IntegerLiteral):
        return None
    number = places.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, sources, table = (_data(context, builder, signature.args[k], arguments[k]) for k in range(3))
        target, at, weight, channels, stride, pitch, rows, pairs = arguments[3:11]
        totals = [cgutils.alloca_once(builder, _vector(_I32)) for _ in range(number)]
        for total in totals:
            builder.store(_same(0), total)
        two_lanes = 2 * LANES
        starts = [builder.add(at, builder.mul(stride, ir.Constant(_I64, place))) for place in range(number)]

        def pair_sums(first: Any, second: Any) -> Any:
            wide = _vector(_I32, two_lanes)
            product = builder.mul(builder.sext(first, wide), builder.sext(second, wide))
            halves = [
                builder.shuffle_vector(product, product, ir.Constant(_vector(_I32), list(range(odd, two_lanes, 2))))
                for odd in (0, 1)
            ]
            return builder.add(*halves)

        def each_row(row: Any) -> None:
            along = builder.mul(row, pitch)
            before = builder.mul(row, pairs)

            def each_pair(pair: Any) -> None:
                place = builder.mul(builder.add(before, pair), ir.Constant(_I64, two_lanes))
                weights = _load(builder, table, builder.add(weight, place), 0, two_lanes)
                offset = builder.add(along, builder.mul(pair, ir.Constant(_I64, 2)))
                for start, total in zip(starts, totals, strict=True):
                    address = builder.gep(sources, [builder.add(start, offset)])
                    both = builder.load(builder.bitcast(address, _I32.as_pointer()))
                    both.align = 2
                    spread = builder.bitcast(_spread(builder, both), _vector(_I16, two_lanes))
                    builder.store(builder.add(builder.load(total), pair_sums(spread, weights)), total)

            _count(builder, pairs, each_pair)

        _count(builder, rows, each_row)
        for place, total in enumerate(totals):
            to = builder.add(target, builder.mul(channels, ir.Constant(_I64, place)))
            _store(builder, builder.add(_load(builder, sums, to), builder.load(total)), sums, to)
        return context.get_dummy_value()

    return types.void(a, image, products, *[types.uint64] * 8, places), generate


@intrinsic
@no_type_check
def lowest(typing, word):
    """Return the number of the lowest bit that is set; `word` is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(_I1, 1))

    return types.uint64(types.uint64), generate
