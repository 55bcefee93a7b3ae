# SPDX-License-Identifier: Apache-2.0
"""The event-driven step in compiled code.

A step has two halves: every population advances and lists its spikes, then every projection adds the weights of the
spikes of its source to the input of its target. Input is read one step after it was written, or later where there is
an axonal delay, whichever way a projection leads.

Populations lie flat in (y, x, c) order, each padded to whole blocks of `BLOCK` neurons. A block is asleep while u, v,
input, bias and refractory counters of its neurons are all zero: the equations then map rest to rest, so skipping it
changes nothing and idle neurons cost nothing.

A spike walks only its own synapses. In (y, x, c) order the targets of one row of a kernel are one contiguous run over
(x_out, c_out), and the kernels are stored so that their run is contiguous too (see `neuro_ros.snn._tables`). Where a
run begins depends on the line of the source (its y) and on the place within the line (its x and c): two small tables
instead of arithmetic for each spike. How many rows and how long they are depends on the phase of the stride and on the
border; a branch on that would be mispredicted every other time, so spikes are queued by class, and each class is
walked with a fixed number of rows of a fixed length.

In the constant-time form every block advances and every source adds its weights times 0 or 1 (or its payload):
neither the instructions nor the addresses depend on the spikes.

Nothing is allocated in here, and the GIL is not held. Loops over spikes call nothing but intrinsics: a call counts a
reference to each array up and down, atomically. Indices are unsigned, because an unsigned index needs no test
for a negative one.

Numba's cache watches this file only: after a change in `_fields`, `_lanes`, `_product` or `_walks`, touch it.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
from numba import uint64

from ._fields import (
    BLOCK_BITS,
    FLUSH,
    J_CELLS,
    J_DELAY,
    J_DELAYS,
    J_LAYER,
    J_SHIFT,
    J_SOURCE,
    J_VECTORS,
    MAGIC_SHIFT,
    P_BLOCK0,
    P_BLOCKS,
    P_CHANNEL_MAGIC,
    P_CHANNELS,
    P_INPUT,
    P_INPUT_BLOCK0,
    P_INPUT_SHIFT,
    P_PLANE,
    P_REFRACTORY,
    P_SLOTS,
    P_STATE,
    P_THRESHOLD,
    P_U_FACTOR,
    P_V_FACTOR,
    compiled,
)
from ._lanes import expand, lowest, update_block, update_block_biased, update_block_resting
from ._product import multiply, paint_all
from ._walks import choose, choose_payloads, fold, scatter, scatter_scaled

__all__ = ["run_steps"]


@compiled
@no_type_check
def _wake(row, head, awake):
    """Wake the blocks that something arrives at, in a population whose input has slots of its own."""
    blocks, block0 = uint64(row[P_BLOCKS]), uint64(row[P_BLOCK0])
    slot0 = uint64(uint64(row[P_INPUT_BLOCK0]) + uint64(uint64(head) * blocks))
    for number in range(blocks):
        awake[uint64(block0 + number)] |= awake[uint64(slot0 + number)]
        awake[uint64(slot0 + number)] = 0


@compiled
@no_type_check
def _update(row, head, u, v, a, bias, resting, biased, awake, spikes, recent):
    """Advance one population, list its spikes in ascending order; return their number and the blocks asleep."""
    u_factor, v_factor = np.int32(row[P_U_FACTOR]), np.int32(row[P_V_FACTOR])
    threshold, right, rest = np.int32(row[P_THRESHOLD]), np.int32(row[P_INPUT_SHIFT]), np.int32(row[P_REFRACTORY])
    state, block0, blocks = uint64(row[P_STATE]), uint64(row[P_BLOCK0]), uint64(row[P_BLOCKS])
    given = uint64(uint64(row[P_INPUT]) + uint64(uint64(uint64(head) * blocks) << uint64(BLOCK_BITS)))
    count, asleep = uint64(0), uint64(0)
    for number in range(blocks):
        block = uint64(block0 + number)
        if awake[block] == 0:
            asleep += uint64(1)
            continue
        base = uint64(number << uint64(BLOCK_BITS))
        start, arriving = uint64(state + base), uint64(given + base)
        if rest:
            fired, left = update_block_resting(
                u, v, a, bias, resting, start, arriving, u_factor, v_factor, threshold, right, rest
            )
            awake[block] = np.uint8(left) | biased[block]
        elif biased[block]:
            fired, left = update_block_biased(u, v, a, bias, start, arriving, u_factor, v_factor, threshold, right)
        else:
            fired, left = update_block(u, v, a, bias, start, arriving, u_factor, v_factor, threshold, right)
            awake[block] = np.uint8(left)
        while fired != uint64(0):
            bit = lowest(fired)
            fired &= uint64(fired - uint64(1))
            spikes[uint64(state + count)] = np.uint32(base + bit)
            recent[uint64(start + bit)] += np.uint8(1)
            count += uint64(1)
        asleep += uint64(awake[block] == 0)
    return count, asleep


@compiled
@no_type_check
def _update_all(row, head, u, v, a, bias, resting, flags, recent):
    """Advance one population in constant time; write one flag a neuron and return how many are set."""
    u_factor, v_factor = np.int32(row[P_U_FACTOR]), np.int32(row[P_V_FACTOR])
    threshold, right, rest = np.int32(row[P_THRESHOLD]), np.int32(row[P_INPUT_SHIFT]), np.int32(row[P_REFRACTORY])
    state, blocks = uint64(row[P_STATE]), uint64(row[P_BLOCKS])
    given = uint64(uint64(row[P_INPUT]) + uint64(uint64(uint64(head) * blocks) << uint64(BLOCK_BITS)))
    count = uint64(0)
    for number in range(blocks):
        base = uint64(number << uint64(BLOCK_BITS))
        start = uint64(state + base)
        fired, _ = update_block_resting(
            u, v, a, bias, resting, start, uint64(given + base), u_factor, v_factor, threshold, right, rest
        )
        count += expand(fired, flags, recent, start)
    return count


@compiled
@no_type_check
def _count_spikes(recent, counted):
    """Move the recent spikes into the counters that last."""
    for k in range(recent.size):
        counted[k] += recent[k]
        recent[k] = 0


@compiled
@no_type_check
def _record(row, spikes, count, recorded, written):
    """Write the spikes of one population as (c, y, x) indices, unsorted."""
    state = uint64(row[P_STATE])
    for k in range(count):
        own = np.int64(spikes[uint64(state + k)])
        place = (own * row[P_CHANNEL_MAGIC]) >> MAGIC_SHIFT
        channel = own - place * row[P_CHANNELS]
        recorded[uint64(written + k)] = channel * row[P_PLANE] + place


@numba.njit(nogil=True, cache=True, boundscheck=False)
@no_type_check
def run_steps(
    tables,
    state,
    indices,
    values,
    frames,
    bins,
    cells,
    graded,
    constant,
    age,
    layer_spikes,
    operations,
    output,
    record,
    recorded,
    record_counts,
):
    """Run `bins` steps of all layers; return the steps since the recent spikes were counted.

    Parameters
    ----------
    tables, state : Tables, State
    indices : uint32
        Ascending flat (bin, c, y, x); `cells` a bin. Empty in the constant-time form.
    values : uint8
        Payloads of the indices, read where `graded`.
    frames : uint8
        The input of the constant-time form, one payload a cell; else empty.
    age : int
        Steps since the recent spikes were counted, when this begins.
    layer_spikes, operations, output : counters, added to; one a layer, projection and output neuron.
    record : bool
        `recorded`, `record_counts` take (c, y, x) indices per step and layer, unsorted.
    """
    populations, projections = state.populations, tables.projections
    layers = populations.shape[0]
    cursor, size, written = uint64(0), uint64(indices.size), uint64(0)
    counts, asleep = state.counts, state.asleep
    for step in range(bins):
        for layer in range(layers):
            row, head = populations[layer], state.heads[layer]
            if constant:
                counts[layer] = _update_all(
                    row, head, state.u, state.v, state.a, state.bias, state.resting, state.flags, state.recent
                )
            else:
                if row[P_SLOTS] > 1:
                    _wake(row, head, state.awake)
                counts[layer], asleep[layer] = _update(
                    row, head, state.u, state.v, state.a, state.bias, state.resting, state.biased, state.awake,
                    state.spikes, state.recent,
                )  # fmt: skip
            state.heads[layer] = head + 1 if head + 1 < row[P_SLOTS] else 0
            layer_spikes[layer] += np.int64(counts[layer])
        last = uint64(populations[layers - 1, P_STATE])
        if constant:
            for k in range(uint64(output.size)):
                output[k] += np.int32(state.flags[uint64(last + k)])
        else:
            for k in range(counts[layers - 1]):
                output[state.spikes[uint64(last + k)]] += 1
        age += 1
        if age == FLUSH:
            age = 0
            _count_spikes(state.recent, state.counted)
        if record:
            for layer in range(layers):
                first = uint64(populations[layer, P_STATE])
                if constant:
                    found = uint64(0)
                    for k in range(uint64(uint64(populations[layer, P_BLOCKS]) << uint64(BLOCK_BITS))):
                        state.spikes[uint64(first + found)] = k
                        found += uint64(state.flags[uint64(first + k)])
                record_counts[step, layer] = counts[layer]
                _record(populations[layer], state.spikes, counts[layer], recorded, written)
                written += counts[layer]
        bin_start = uint64(uint64(step) * uint64(cells))
        bin_end = uint64(bin_start + uint64(cells))
        input_first = cursor
        while cursor < size and uint64(indices[cursor]) < bin_end:
            cursor += uint64(1)
        input_count = uint64(cursor - input_first)
        for number in range(projections.shape[0]):
            row = projections[number]
            source, layer = row[J_SOURCE], row[J_LAYER]
            into = populations[layer]
            blocks = uint64(into[P_BLOCKS])
            slot = uint64(uint64(state.heads[layer] + row[J_DELAY]) % uint64(into[P_SLOTS]))
            final = uint64(uint64(into[P_INPUT]) + uint64(uint64(slot * blocks) << uint64(BLOCK_BITS)))
            final_block0 = uint64(uint64(into[P_INPUT_BLOCK0]) + uint64(slot * blocks))
            target, block0 = final, final_block0
            full = asleep[layer] == 0 and into[P_SLOTS] == 1 and row[J_SHIFT] == 0
            if row[J_SHIFT]:
                block0 = uint64(uint64(state.awake.size) - uint64(blocks + uint64(1)))
                target = uint64(block0 << uint64(BLOCK_BITS))
            if constant:
                # Whether a source is the input is known to everybody; what it holds is not.
                flags = frames if source < 0 else state.flags
                own = bin_start if source < 0 else uint64(populations[source, P_STATE])
                if row[J_VECTORS]:
                    done = paint_all(
                        row, tables.lines, tables.places, tables.image_lines, tables.delays, state.image, flags, own
                    )
                    multiply(row, tables.products, state.image, state.a, state.awake, target, block0, blocks)
                else:
                    done = scatter_scaled(
                        tables, row, state.a, state.awake, target, block0, blocks, indices, flags, own, uint64(0),
                        uint64(row[J_CELLS]), True,
                    )  # fmt: skip
            elif row[J_DELAYS] >= 0:
                if source < 0:
                    count = choose(tables, row, indices, input_first, bin_start, input_count, state.chosen)
                    if graded:
                        choose_payloads(
                            tables, row, indices, values, input_first, bin_start, input_count, state.payloads
                        )
                else:
                    own = uint64(populations[source, P_STATE])
                    count = choose(tables, row, state.spikes, own, uint64(0), counts[source], state.chosen)
                done = scatter(
                    tables, row, state, target, block0, blocks, state.chosen, uint64(0), uint64(0), count,
                    state.payloads, graded and source < 0, full,
                )  # fmt: skip
            elif source < 0:
                done = scatter(
                    tables, row, state, target, block0, blocks, indices, input_first, bin_start, input_count, values,
                    graded, full,
                )  # fmt: skip
            elif counts[source] == uint64(0):
                done = 0
            else:
                own = uint64(populations[source, P_STATE])
                done = scatter(
                    tables, row, state, target, block0, blocks, state.spikes, own, uint64(0), counts[source], values,
                    False, full,
                )  # fmt: skip
            if row[J_SHIFT]:
                fold(state.a, state.awake, target, block0, final, final_block0, blocks, row[J_SHIFT])
            operations[number] += done
    return age
