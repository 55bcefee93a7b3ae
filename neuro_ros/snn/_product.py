# SPDX-License-Identifier: Apache-2.0
"""A convolution as a dense product: the same sums as the walk over spikes, for a cost that does not depend on them.

The source is painted as an image of int16 with its zero padding. For eight output channels and four neighbouring
targets at a time, pairs of sources are multiplied by pairs of weights and summed in registers: two synapses a lane
where a walk adds one, and nothing is loaded and stored in between. It wins where many sources spike.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import uint64

from ._fields import (
    J_CELLS,
    J_DELAY,
    J_DELAYS,
    J_HEIGHT,
    J_IMAGE_LINES,
    J_IMAGE_PITCH,
    J_IMAGE_SIZE,
    J_IMAGE_STEP,
    J_IMAGE_STRIDE_X,
    J_IMAGE_STRIDE_Y,
    J_KERNEL_ROWS,
    J_LINE_LENGTH,
    J_LINE_MAGIC,
    J_LINES,
    J_OUT_CHANNELS,
    J_PAIRS,
    J_PLACES,
    J_PRODUCTS,
    J_VECTORS,
    J_WIDTH,
    MAGIC_SHIFT,
    compiled,
)
from ._lanes import LANES, multiply_places

__all__ = ["TOGETHER", "multiply", "paint", "paint_all"]

TOGETHER = 4  # targets of one row that share the weights in registers


@compiled
@no_type_check
def paint(row, lines, places, image_lines, image, sources, first, base, count):
    """Write 1 at every listed source; return the synapses of all."""
    one, half = uint64(1), uint64(32)
    length, magic, step = uint64(row[J_LINE_LENGTH]), uint64(row[J_LINE_MAGIC]), uint64(row[J_IMAGE_STEP])
    lines0, places0, image0 = uint64(row[J_LINES]), uint64(row[J_PLACES]), uint64(row[J_IMAGE_LINES])
    operations = uint64(0)
    for position in range(first, uint64(first + count)):
        source = uint64(uint64(sources[position]) - base)
        number = uint64(uint64(source * magic) >> uint64(MAGIC_SHIFT))
        within = uint64(source - uint64(number * length))
        of_line = lines[uint64(uint64(uint64(lines0 + number) << one) + one)]
        of_place = places[uint64(uint64(uint64(places0 + within) << one) + one)]
        operations += uint64(uint64(of_line >> half) * uint64(of_place >> half))
        image[uint64(uint64(image_lines[uint64(image0 + number)]) + uint64(within * step))] = 1
    return np.int64(operations)


@compiled
@no_type_check
def paint_all(row, lines, places, image_lines, delays, image, flags, first):
    """Write the payload of every source, whatever it is; return the synapses of those that are not 0."""
    one, half = uint64(1), uint64(32)
    length, step = uint64(row[J_LINE_LENGTH]), uint64(row[J_IMAGE_STEP])
    lines0, places0, image0 = uint64(row[J_LINES]), uint64(row[J_PLACES]), uint64(row[J_IMAGE_LINES])
    delayed, delays0, delay = row[J_DELAYS] >= 0, uint64(row[J_DELAYS]), np.uint8(row[J_DELAY])
    operations = 0
    source = uint64(0)
    for number in range(uint64(uint64(row[J_CELLS]) // length)):
        of_line = lines[uint64(uint64(uint64(lines0 + number) << one) + one)]
        at = uint64(image_lines[uint64(image0 + number)])
        for within in range(length):
            value = np.int16(flags[uint64(first + source)])
            if delayed:
                value *= np.int16(delays[uint64(delays0 + source)] == delay)
            of_place = places[uint64(uint64(uint64(places0 + within) << one) + one)]
            operations += np.int64(uint64(of_line >> half) * uint64(of_place >> half)) * np.int64(value != 0)
            image[uint64(at + uint64(within * step))] = value
            source += one
    return operations


@compiled
@no_type_check
def multiply(row, products, image, a, awake, target0, block0, blocks):
    """Add the product of the image and the kernels to all targets, and clear the image."""
    rows, pairs, pitch = uint64(row[J_KERNEL_ROWS]), uint64(row[J_PAIRS]), uint64(row[J_IMAGE_PITCH])
    stride_y, stride_x = uint64(row[J_IMAGE_STRIDE_Y]), uint64(row[J_IMAGE_STRIDE_X])
    width, channels = uint64(row[J_WIDTH]), uint64(row[J_OUT_CHANNELS])
    together, two, lanes = uint64(TOGETHER), uint64(2), uint64(LANES)
    of_vector = uint64(uint64(rows * pairs) * uint64(two * lanes))
    for y in range(uint64(row[J_HEIGHT])):
        line = uint64(y * stride_y)
        for vector in range(uint64(row[J_VECTORS])):
            weight = uint64(uint64(row[J_PRODUCTS]) + uint64(vector * of_vector))
            target = uint64(uint64(target0 + uint64(uint64(y * width) * channels)) + uint64(vector * lanes))
            x = uint64(0)
            while x + together <= width:
                at = uint64(line + uint64(x * stride_x))
                to = uint64(target + uint64(x * channels))
                multiply_places(a, image, products, to, at, weight, channels, stride_x, pitch, rows, pairs, 4)
                x += together
            while x < width:
                at = uint64(line + uint64(x * stride_x))
                to = uint64(target + uint64(x * channels))
                multiply_places(a, image, products, to, at, weight, channels, stride_x, pitch, rows, pairs, 1)
                x += uint64(1)
    image[: row[J_IMAGE_SIZE]] = 0
    for block in range(blocks):
        awake[uint64(block0 + block)] = 1
