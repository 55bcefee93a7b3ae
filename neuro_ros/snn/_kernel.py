# SPDX-License-Identifier: Apache-2.0
"""The event-driven step in compiled code.

Populations lie flat in (y, x, c) order, each padded to whole blocks of `BLOCK`
neurons. A block is asleep while u, v, input and bias of its neurons are all zero:
the equations then map rest to rest, so skipping it changes nothing and idle
neurons cost nothing. Awake blocks run branch-free in 32 bit lanes.

A spike walks only its own synapses. In (y, x, c) order the targets of one kernel
row are one contiguous run over (x_out, c_out); the kernels are stored so that
their run is contiguous too, one table a phase of the stride.

Nothing is allocated in here, and the GIL is not held. Inner loops index with
unsigned offsets instead of slices: a slice counts a reference up and down
atomically, which costs more than the few additions that it frames, and an unsigned
index needs no test for a negative one.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["BLOCK", "CONV", "DENSE", "FIELDS", "MAGIC_SHIFT", "run_steps"]

BLOCK = 64
WORD = 8  # neurons whose spike flags are looked at in one go
DENSE, CONV = 0, 1

# Exact unsigned division of indices below 2^20 by a divisor below 2^20: (i * (2^40 // d + 1)) >> 40.
MAGIC_SHIFT = 40

# fmt: off
FIELDS = (
    "kind", "neurons", "state_offset", "blocks", "block_offset", "channels", "plane", "weight_offset",
    "u_factor", "v_factor", "threshold", "input_shift", "c_in", "h_in", "w_in", "h_out", "w_out", "k_y", "k_x",
    "stride_y", "stride_x", "pad_y", "pad_x", "taps_x", "c_in_magic", "w_in_magic", "stride_y_magic", "stride_x_magic",
    "out_magic",
)
(_KIND, _NEURONS, _STATE, _BLOCKS, _BLOCK0, _CHANNELS, _PLANE, _WEIGHTS, _U_FACTOR, _V_FACTOR, _THRESHOLD, _SHIFT,
 _C_IN, _H_IN, _W_IN, _H_OUT, _W_OUT, _K_Y, _K_X, _STRIDE_Y, _STRIDE_X, _PAD_Y, _PAD_X, _TAPS_X, _C_IN_MAGIC,
 _W_IN_MAGIC, _STRIDE_Y_MAGIC, _STRIDE_X_MAGIC, _OUT_MAGIC) = range(len(FIELDS))
# fmt: on


@numba.njit(inline="always")
def _decay(value, factor):  # type: ignore[no-untyped-def]
    """Multiply by factor / 4096 and round toward zero, without leaving 32 bits.

    |value| <= 2^23 and factor <= 2^12: split |value| = high * 4096 + low, then
    (|value| * factor) >> 12 = high * factor + ((low * factor) >> 12), each below 2^24.
    """
    sign = np.int32(value >> 31)
    magnitude = np.int32(np.int32(value ^ sign) - sign)
    high = np.int32(magnitude >> 12)
    low = np.int32(magnitude & 4095)
    scaled = np.int32(np.int32(high * factor) + np.int32(np.int32(low * factor) >> 12))
    return np.int32(np.int32(scaled ^ sign) - sign)


@numba.njit(nogil=True, cache=True, boundscheck=False)
def _update_block(start, u, v, a, bias, fired, u_factor, v_factor, threshold, shift):  # type: ignore[no-untyped-def]
    """Advance one block by one step; return (any spike, any state left)."""
    any_fired = np.int32(0)
    left = np.int32(0)
    full = np.int32(1 << 24)
    half = np.int32(1 << 23)
    top = np.int32((1 << 23) - 1)
    for j in range(BLOCK):
        i = np.uint64(start + j)
        current = np.int32(_decay(u[i], u_factor) + np.int32(np.int32(a[i] >> shift) << 6))
        wrapped = np.int32(current - full) if current > half else current
        wrapped = np.int32(current + full) if wrapped <= -half else wrapped
        voltage = np.int32(np.int32(_decay(v[i], v_factor) + wrapped) + bias[i])
        voltage = top if voltage > top else voltage
        voltage = np.int32(-top) if voltage < -top else voltage
        spike = np.int32(1) if voltage > threshold else np.int32(0)
        voltage = np.int32(0) if voltage > threshold else voltage
        a[i] = 0
        u[i] = wrapped
        v[i] = voltage
        fired[j] = np.uint8(spike)
        any_fired = np.int32(any_fired | spike)
        left = np.int32(left | np.int32(wrapped | voltage))
    return any_fired, left


@numba.njit(nogil=True, cache=True, boundscheck=False)
def _update_layer(row, u, v, a, bias, biased, awake, fired, words, spikes, neuron_spikes):  # type: ignore[no-untyped-def]
    """Advance one population; write ascending flat (y, x, c) indices to `spikes` and return how many."""
    u_factor, v_factor = np.int32(row[_U_FACTOR]), np.int32(row[_V_FACTOR])
    threshold, shift = np.int32(row[_THRESHOLD]), np.int32(row[_SHIFT])
    state, block0 = row[_STATE], row[_BLOCK0]
    count = 0
    for block in range(row[_BLOCKS]):
        if awake[block0 + block] == 0:
            continue
        start = state + block * BLOCK
        any_fired, left = _update_block(start, u, v, a, bias, fired, u_factor, v_factor, threshold, shift)
        if any_fired:
            for word in range(BLOCK // WORD):
                if words[word] == 0:
                    continue
                for j in range(word * WORD, word * WORD + WORD):
                    if fired[j]:
                        spikes[state + count] = block * BLOCK + j
                        neuron_spikes[start + j] += 1
                        count += 1
        awake[block0 + block] = 1 if left or biased[block0 + block] else 0
    return count


@numba.njit(nogil=True, cache=True, boundscheck=False)
def _scatter_dense(row, weights, a, awake, sources, count):  # type: ignore[no-untyped-def]
    """Add the weights of every source to all targets; return the synaptic operations."""
    if count == 0:
        return 0
    neurons, state, offset = row[_NEURONS], row[_STATE], row[_WEIGHTS]
    for k in range(count):
        column = offset + np.int64(sources[k]) * neurons
        for j in range(neurons):
            a[np.uint64(state + j)] += weights[np.uint64(column + j)]
    awake[row[_BLOCK0] : row[_BLOCK0] + row[_BLOCKS]] = 1
    return count * neurons


@numba.njit(nogil=True, cache=True, boundscheck=False)
def _scatter_conv(row, weights, a, awake, sources, count):  # type: ignore[no-untyped-def]
    """Add the kernel of every source around its place; return the synaptic operations."""
    c_in, w_in, c_out, h_out, w_out = row[_C_IN], row[_W_IN], row[_CHANNELS], row[_H_OUT], row[_W_OUT]
    k_y, k_x, stride_y, stride_x, taps = row[_K_Y], row[_K_X], row[_STRIDE_Y], row[_STRIDE_X], row[_TAPS_X]
    pad_y, pad_x, state, block0 = row[_PAD_Y], row[_PAD_X], row[_STATE], row[_BLOCK0]
    row_length = taps * c_out
    operations = 0
    for k in range(count):
        source = np.int64(sources[k])
        place = (source * row[_C_IN_MAGIC]) >> MAGIC_SHIFT
        c = source - place * c_in
        y = (place * row[_W_IN_MAGIC]) >> MAGIC_SHIFT
        x = place - y * w_in + pad_x
        y += pad_y
        last_x = (x * row[_STRIDE_X_MAGIC]) >> MAGIC_SHIFT  # of the target columns, before clipping
        phase = x - last_x * stride_x
        # the kernel's columns phase, phase + stride, ...: one fewer in the later phases of an uneven kernel
        missing = 0 if phase < k_x - (taps - 1) * stride_x else 1
        first_x = last_x - taps + 1 + missing
        low = max(first_x, 0)
        high = min(last_x, w_out - 1)
        if low > high:
            continue
        last_y = (y * row[_STRIDE_Y_MAGIC]) >> MAGIC_SHIFT
        tap_y = y - last_y * stride_y
        length = (high - low + 1) * c_out
        table = row[_WEIGHTS] + ((c * stride_x + phase) * k_y) * row_length + (missing + low - first_x) * c_out
        while tap_y < k_y and last_y >= 0:
            if last_y < h_out:
                start = (last_y * w_out + low) * c_out
                target = state + start
                tap = table + tap_y * row_length
                for j in range(length):
                    a[np.uint64(target + j)] += weights[np.uint64(tap + j)]
                for block in range(start // BLOCK, (start + length - 1) // BLOCK + 1):
                    awake[block0 + block] = 1
                operations += length
            tap_y += stride_y
            last_y -= 1
    return operations


@numba.njit(nogil=True, cache=True, boundscheck=False)
def run_steps(  # type: ignore[no-untyped-def]
    rows,
    u,
    v,
    a,
    bias,
    biased,
    awake,
    weights,
    indices,
    bins,
    channels,
    plane,
    fired,
    words,
    inputs,
    spikes,
    neuron_spikes,
    layer_spikes,
    operations,
    output,
    record,
    recorded,
    record_counts,
):
    """Run `bins` steps of all layers.

    Layers are walked from the last to the first: each consumes the activations of
    the previous step before its source writes those of this step, which is the
    one-step delay of a connection.

    Parameters
    ----------
    rows : (layers, len(FIELDS)) int64, one description a layer.
    u, v, a, bias : int32, all populations, padded to blocks.
    biased, awake : uint8, one a block.
    weights : int16 tables, already shifted left by a positive weight_exp.
    indices : uint32, ascending flat (bin, c, y, x); `channels` x `plane` cells a bin.
    fired : (BLOCK,) uint8 scratch, `words` the same memory in uint64; few neurons spike, so most words are 0.
    inputs, spikes : int32 scratch.
    neuron_spikes, layer_spikes, operations, output : counters, added to.
    record : bool; `recorded`, `record_counts` take (c, y, x) indices per step and layer, unsorted.
    """
    layers = rows.shape[0]
    cells = channels * plane
    cursor = 0
    written = 0
    for step in range(bins):
        for layer in range(layers - 1, -1, -1):
            row = rows[layer]
            count = _update_layer(row, u, v, a, bias, biased, awake, fired, words, spikes, neuron_spikes)
            own = spikes[row[_STATE] : row[_STATE] + count]
            layer_spikes[layer] += count
            if layer == layers - 1:
                for k in range(count):
                    output[own[k]] += 1
            else:
                following = rows[layer + 1]
                if following[_KIND] == DENSE:
                    operations[layer + 1] += _scatter_dense(following, weights, a, awake, own, count)
                else:
                    operations[layer + 1] += _scatter_conv(following, weights, a, awake, own, count)
            if record:
                record_counts[step, layer] = count
                for k in range(count):
                    place = (np.int64(own[k]) * row[_OUT_MAGIC]) >> MAGIC_SHIFT
                    channel = own[k] - place * row[_CHANNELS]
                    recorded[written + k] = channel * row[_PLANE] + place
                written += count
        base = np.int64(step) * cells
        channel = 0
        count = 0
        while cursor < indices.size and np.int64(indices[cursor]) < base + cells:
            place = np.int64(indices[cursor]) - base - channel * plane
            while place >= plane:
                place -= plane
                channel += 1
            inputs[count] = place * channels + channel
            count += 1
            cursor += 1
        if rows[0, _KIND] == DENSE:
            operations[0] += _scatter_dense(rows[0], weights, a, awake, inputs, count)
        else:
            operations[0] += _scatter_conv(rows[0], weights, a, awake, inputs, count)
