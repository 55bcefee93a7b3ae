# SPDX-License-Identifier: Apache-2.0
"""How spikes reach their targets: the event-driven walks over the synapses of one projection."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import uint64

from ._fields import (
    BLOCK_BITS,
    CLASS_CHUNKS,
    CLASS_QUEUE,
    CLASS_ROWS,
    CLASS_RUNS,
    DENSE,
    J_CLASSES,
    J_DELAY,
    J_DELAYS,
    J_KIND,
    J_LINE_LENGTH,
    J_LINE_MAGIC,
    J_LINES,
    J_NUMBER_CLASSES,
    J_PITCH,
    J_PLACES,
    J_PRODUCT_FROM,
    J_ROW_TARGET,
    J_ROW_WEIGHT,
    J_RUN_TARGET,
    J_RUN_WEIGHT,
    J_SYNAPSES,
    J_WEIGHTS,
    MAGIC_SHIFT,
    NARROW,
    WIDE,
    compiled,
)
from ._lanes import BLOCK, LANES, add_run, add_scaled_run, gather_rows, walk_queue
from ._product import multiply, paint

__all__ = ["choose", "choose_payloads", "fold", "scatter", "scatter_scaled"]


@compiled
@no_type_check
def scatter_dense(row, weights, a, awake, target, block0, blocks, sources, first, base, count):
    """Add the weights of every source to all targets; return the synaptic operations."""
    pitch, weight = uint64(row[J_PITCH]), uint64(row[J_WEIGHTS])
    weight -= uint64(base * pitch)
    done = uint64(0)
    wide, narrow = uint64(WIDE * LANES), uint64(NARROW * LANES)
    while done + wide <= pitch:
        gather_rows(a, weights, sources, uint64(target + done), uint64(weight + done), first, count, pitch, 8)
        done += wide
    while done < pitch:
        gather_rows(a, weights, sources, uint64(target + done), uint64(weight + done), first, count, pitch, 2)
        done += narrow
    for block in range(blocks):
        awake[uint64(block0 + block)] = 1
    return np.int64(count) * row[J_SYNAPSES]


@compiled
@no_type_check
def scatter_lines(
    row, lines, places, classes, weights, a, awake, target0, block0, sources, first, base, count, queue, fill, full
):
    """Add the kernel of every source around its place; return the synaptic operations.

    With `full`, all blocks of the target are awake already and need not be woken.
    """
    length, magic = uint64(row[J_LINE_LENGTH]), uint64(row[J_LINE_MAGIC])
    lines0, places0, classes0 = uint64(row[J_LINES]), uint64(row[J_PLACES]), uint64(row[J_CLASSES])
    number_classes = uint64(row[J_NUMBER_CLASSES])
    for kind in range(number_classes):
        fill[kind] = classes[uint64(classes0 + kind), CLASS_QUEUE]
    operations = uint64(0)
    half, below, one = uint64(32), uint64(0xFFFFFFFF), uint64(1)
    for position in range(first, uint64(first + count)):
        source = uint64(uint64(sources[position]) - base)
        number = uint64(uint64(source * magic) >> uint64(MAGIC_SHIFT))
        place = uint64(uint64(places0 + uint64(source - uint64(number * length))) << one)
        line = uint64(uint64(lines0 + number) << one)
        of_line, of_place = lines[uint64(line + one)], places[uint64(place + one)]
        kind = uint64(uint64(of_line + of_place) & below)
        slot = fill[kind]
        fill[kind] = np.uint32(slot + np.uint32(1))
        queue[uint64(slot)] = uint64(lines[line] + places[place])
        operations += uint64(uint64(of_line >> half) * uint64(of_place >> half))
    weight0, low = uint64(row[J_WEIGHTS]), uint64(BLOCK_BITS)
    block_shift = uint64(block0 - uint64(target0 >> low))
    row_target, row_weight = uint64(row[J_ROW_TARGET]), uint64(row[J_ROW_WEIGHT])
    run_target, run_weight = uint64(row[J_RUN_TARGET]), uint64(row[J_RUN_WEIGHT])
    for kind in range(number_classes):
        entry = uint64(classes0 + kind)
        rows, runs = uint64(classes[entry, CLASS_ROWS]), uint64(classes[entry, CLASS_RUNS])
        chunks = uint64(classes[entry, CLASS_CHUNKS])
        begin, end = uint64(classes[entry, CLASS_QUEUE]), uint64(fill[kind])
        if full and runs == one:
            walk_queue(a, weights, queue, begin, end, target0, weight0, rows, chunks, row_target, row_weight)
            continue
        last = uint64(uint64(chunks * uint64(LANES)) - one)
        for slot in range(begin, end):
            target = uint64(target0 + uint64(queue[slot] & below))
            weight = uint64(weight0 + uint64(queue[slot] >> half))
            for _ in range(rows):
                run_at, run_of = target, weight
                for _ in range(runs):
                    add_run(a, weights, run_at, run_of, chunks)
                    first_block, last_block = uint64(run_at >> low), uint64(uint64(run_at + last) >> low)
                    awake[uint64(block_shift + first_block)] = 1
                    awake[uint64(block_shift + last_block)] = 1
                    if last_block > first_block + one:
                        for block in range(uint64(first_block + one), last_block):
                            awake[uint64(block_shift + block)] = 1
                    run_at += run_target
                    run_of += run_weight
                target -= row_target
                weight += row_weight
    return np.int64(operations)


@compiled
@no_type_check
def scatter_scaled(tables, row, a, awake, target0, block0, blocks, sources, scales, first, base, count, every):
    """Add payload times weights of the listed sources, or of `every` source; return the synaptic operations.

    With `every`, `first` is the place of the payload of source 0, most payloads are 0, and nothing but the sums
    depends on them.
    """
    lines, places, classes, weights, delays = (
        tables.lines,
        tables.places,
        tables.classes,
        tables.weights,
        tables.delays,
    )
    low, one, half, below = uint64(BLOCK_BITS), uint64(1), uint64(32), uint64(0xFFFFFFFF)
    dense, pitch, synapses = row[J_KIND] == DENSE, uint64(row[J_PITCH]), row[J_SYNAPSES]
    length, magic = uint64(row[J_LINE_LENGTH]), uint64(row[J_LINE_MAGIC])
    lines0, places0, classes0 = uint64(row[J_LINES]), uint64(row[J_PLACES]), uint64(row[J_CLASSES])
    row_target, row_weight = uint64(row[J_ROW_TARGET]), uint64(row[J_ROW_WEIGHT])
    run_target, run_weight = uint64(row[J_RUN_TARGET]), uint64(row[J_RUN_WEIGHT])
    weight0, delay = uint64(row[J_WEIGHTS]), np.uint8(row[J_DELAY])
    block_shift = uint64(block0 - uint64(target0 >> low))
    delayed, delays0 = every and row[J_DELAYS] >= 0, uint64(row[J_DELAYS])
    operations = 0
    for position in range(first, uint64(first + count)):
        source = uint64(position - first) if every else uint64(uint64(sources[position]) - base)
        scale = np.int32(scales[position])
        if delayed:
            scale *= np.int32(delays[uint64(delays0 + source)] == delay)
        if dense:
            add_scaled_run(a, weights, target0, uint64(weight0 + uint64(source * pitch)), pitch >> uint64(3), scale)
            operations += synapses * np.int64(scale != 0)
            continue
        number = uint64(uint64(source * magic) >> uint64(MAGIC_SHIFT))
        place = uint64(uint64(places0 + uint64(source - uint64(number * length))) << one)
        line = uint64(uint64(lines0 + number) << one)
        of_line, of_place = lines[uint64(line + one)], places[uint64(place + one)]
        entry = uint64(classes0 + uint64(uint64(of_line + of_place) & below))
        start = uint64(lines[line] + places[place])
        target, weight = uint64(target0 + uint64(start & below)), uint64(weight0 + uint64(start >> half))
        chunks = uint64(classes[entry, CLASS_CHUNKS])
        last = uint64(uint64(chunks * uint64(LANES)) - one)
        for _ in range(uint64(classes[entry, CLASS_ROWS])):
            run_at, run_of = target, weight
            for _ in range(uint64(classes[entry, CLASS_RUNS])):
                add_scaled_run(a, weights, run_at, run_of, chunks, scale)
                for block in range(uint64(run_at >> low), uint64(uint64(uint64(run_at + last) >> low) + one)):
                    awake[uint64(block_shift + block)] = 1
                run_at += run_target
                run_of += run_weight
            target -= row_target
            weight += row_weight
        operations += np.int64(uint64(of_line >> half) * uint64(of_place >> half)) * np.int64(scale != 0)
    if dense and count != uint64(0):
        for block in range(blocks):
            awake[uint64(block0 + block)] = 1
    return operations


@compiled
@no_type_check
def choose(tables, row, sources, first, base, count, chosen):
    """Copy the sources whose delay is that of the projection; return how many."""
    delays, delay = uint64(row[J_DELAYS]), np.uint8(row[J_DELAY])
    found = uint64(0)
    for position in range(first, uint64(first + count)):
        source = uint64(uint64(sources[position]) - base)
        chosen[found] = np.uint32(source)
        found += uint64(tables.delays[uint64(delays + source)] == delay)
    return found


@compiled
@no_type_check
def choose_payloads(tables, row, sources, scales, first, base, count, payloads):
    """Copy the payloads of the sources that `choose` takes."""
    delays, delay = uint64(row[J_DELAYS]), np.uint8(row[J_DELAY])
    found = uint64(0)
    for position in range(first, uint64(first + count)):
        source = uint64(uint64(sources[position]) - base)
        payloads[found] = scales[position]
        found += uint64(tables.delays[uint64(delays + source)] == delay)


@compiled
@no_type_check
def fold(a, awake, raw, raw_block0, target, block0, blocks, shift):
    """Add a scratch population to its target, shifted right with floor, and clear it."""
    for number in range(blocks):
        if awake[uint64(raw_block0 + number)]:
            awake[uint64(raw_block0 + number)] = 0
            awake[uint64(block0 + number)] = 1
            base = uint64(number << uint64(BLOCK_BITS))
            for j in range(uint64(BLOCK)):
                a[uint64(target + base + j)] += a[uint64(raw + base + j)] >> shift
                a[uint64(raw + base + j)] = 0


@compiled
@no_type_check
def scatter(tables, row, state, target, block0, blocks, sources, first, base, count, scales, graded, full):
    """Carry the spikes of one source through one projection; return the synaptic operations."""
    if count == uint64(0):
        return 0
    if graded:
        return scatter_scaled(
            tables, row, state.a, state.awake, target, block0, blocks, sources, scales, first, base, count, False
        )
    if row[J_KIND] == DENSE:
        return scatter_dense(
            row, tables.weights, state.a, state.awake, target, block0, blocks, sources, first, base, count
        )
    if count >= uint64(row[J_PRODUCT_FROM]):
        done = paint(row, tables.lines, tables.places, tables.image_lines, state.image, sources, first, base, count)
        multiply(row, tables.products, state.image, state.a, state.awake, target, block0, blocks)
        return done
    return scatter_lines(
        row, tables.lines, tables.places, tables.classes, tables.weights, state.a, state.awake, target, block0,
        sources, first, base, count, state.queue, state.fill, full,
    )  # fmt: skip
