# SPDX-License-Identifier: Apache-2.0
"""What the compiled code of the engine works on: the columns of its tables, and its arrays by name.

``P_`` are columns of the table of populations, ``J_`` of that of projections, ``CLASS_`` of that of classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

BLOCK_BITS = 6
DENSE, LINES = 0, 1
WIDE, NARROW = 8, 2  # vectors of a dense row that are summed in registers at a time
FLUSH = 255  # steps that an 8 bit counter of spikes lasts

# Exact unsigned division of indices below 2^20 by a divisor below 2^20: (i * (2^40 // d + 1)) >> 40.
MAGIC_SHIFT = 40

# fmt: off
POPULATION = (
    "state", "blocks", "block0", "channels", "plane", "channel_magic", "u_factor", "v_factor", "threshold",
    "input_shift", "refractory", "slots", "input", "input_block0",
)
(P_STATE, P_BLOCKS, P_BLOCK0, P_CHANNELS, P_PLANE, P_CHANNEL_MAGIC, P_U_FACTOR, P_V_FACTOR, P_THRESHOLD,
 P_INPUT_SHIFT, P_REFRACTORY, P_SLOTS, P_INPUT, P_INPUT_BLOCK0) = range(len(POPULATION))

PROJECTION = (
    "kind", "source", "layer", "delay", "delays", "shift", "weights", "synapses", "pitch", "cells",
    "line_length", "line_magic", "lines", "places", "classes", "number_classes", "row_target", "row_weight",
    "run_target", "run_weight", "product_from", "products", "image_lines", "image_step", "image_size",
    "image_pitch", "image_stride_y", "image_stride_x", "kernel_rows", "pairs", "height", "width", "channels",
    "vectors",
)
(J_KIND, J_SOURCE, J_LAYER, J_DELAY, J_DELAYS, J_SHIFT, J_WEIGHTS, J_SYNAPSES, J_PITCH, J_CELLS, J_LINE_LENGTH,
 J_LINE_MAGIC, J_LINES, J_PLACES, J_CLASSES, J_NUMBER_CLASSES, J_ROW_TARGET, J_ROW_WEIGHT, J_RUN_TARGET,
 J_RUN_WEIGHT, J_PRODUCT_FROM, J_PRODUCTS, J_IMAGE_LINES, J_IMAGE_STEP, J_IMAGE_SIZE, J_IMAGE_PITCH,
 J_IMAGE_STRIDE_Y, J_IMAGE_STRIDE_X, J_KERNEL_ROWS, J_PAIRS, J_HEIGHT, J_WIDTH, J_OUT_CHANNELS,
 J_VECTORS) = range(len(PROJECTION))

CLASS = ("queue", "rows", "runs", "chunks")
CLASS_QUEUE, CLASS_ROWS, CLASS_RUNS, CLASS_CHUNKS = range(len(CLASS))
# fmt: on


class Tables(NamedTuple):
    """What does not change while a network runs.

    Parameters
    ----------
    projections : (n, fields) int64
        See `PROJECTION`; offsets into the other tables.
    weights : int16
        Already shifted left by a positive weight_exp.
    lines, places : uint64
        Two words a row: target and weight of the first run, then class and a factor of the synapses.
    classes : (n, fields) int32
        See `CLASS`.
    delays : uint8
        Of every source of the projections whose delay differs from source to source.
    products : int16
        Weights as `neuro_ros.snn._product` takes them.
    image_lines : int32
        Where each line of sources begins in the image.
    """

    projections: NDArray[np.int64]
    weights: NDArray[np.int16]
    lines: NDArray[np.uint64]
    places: NDArray[np.uint64]
    classes: NDArray[np.int32]
    delays: NDArray[np.uint8]
    products: NDArray[np.int16]
    image_lines: NDArray[np.int32]


class State(NamedTuple):
    """What does, and scratch memory.

    Parameters
    ----------
    populations : (n, fields) int64
        See `POPULATION`; holds the registers in force.
    u, v, bias, resting : int32
        All populations end to end, padded to blocks.
    a : int32
        Input in flight: of the populations in their order, then the slots of those with delays, then scratch.
    biased, awake : uint8
        One a block; `awake` of the blocks of `a`, the first of which are also those of the state.
    heads : int64
        Slot that is read next, one a population.
    counts, asleep : uint64
        Spikes, and blocks at rest, of each population in the step at hand.
    spikes, queue, fill, chosen, payloads : scratch
    recent, counted : uint8, int64
        Spikes of every neuron. Counting in bytes keeps the counters in the cache.
    image : int16
        Scratch, all zero in between: the source of a product with its zero padding.
    flags : uint8
        For the constant-time form: who spiked, one byte a neuron.
    """

    populations: NDArray[np.int64]
    u: NDArray[np.int32]
    v: NDArray[np.int32]
    bias: NDArray[np.int32]
    resting: NDArray[np.int32]
    a: NDArray[np.int32]
    biased: NDArray[np.uint8]
    awake: NDArray[np.uint8]
    heads: NDArray[np.int64]
    counts: NDArray[np.uint64]
    asleep: NDArray[np.uint64]
    spikes: NDArray[np.uint32]
    queue: NDArray[np.uint64]
    fill: NDArray[np.uint32]
    chosen: NDArray[np.uint32]
    payloads: NDArray[np.uint8]
    recent: NDArray[np.uint8]
    counted: NDArray[np.int64]
    image: NDArray[np.int16]
    flags: NDArray[np.uint8]


def compiled(function: Any) -> Any:
    """Compile a part of the kernel; what is cached is `_kernel.run_steps`, which takes all parts in."""
    return numba.njit(nogil=True, boundscheck=False)(function)
