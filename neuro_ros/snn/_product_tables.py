# SPDX-License-Identifier: Apache-2.0
"""The weights of a convolution as `neuro_ros.snn._product` takes them, and from how many spikes on it is quicker."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ._lanes import LANES
from .connections import Conv2d
from .limits import Shape

if TYPE_CHECKING:
    from ._tables import ProjectionTables

__all__ = ["with_product"]

# Painting a source; for each target and eight channels a row of the kernel, and a pair of sources of it [ns].
PAINT_NS, ROW_NS, PAIR_NS = 3.5, 1.2, 0.26
_MOST_CELLS = 1 << 22  # of an image and of a table: beyond it a walk is taken whatever the activity


def with_product(
    tables: ProjectionTables, connection: Conv2d, shape_in: Shape, shape_out: Shape, from_input: bool, walk_ns: float
) -> ProjectionTables:
    """Return `tables` with those of the product added.

    Parameters
    ----------
    tables : ProjectionTables
        Of the walk.
    connection : Conv2d
        Without groups and dilation.
    shape_in, shape_out : (int, int, int)
        Of source and target.
    from_input : bool
        Whether sources are numbered in (c, y, x) order instead of (y, x, c).
    walk_ns : float
        What a spike costs on the walk [ns].
    """
    c_out, c_in, k_y, k_x = connection.weight.shape
    (stride_y, stride_x), (pad_y, pad_x) = connection.stride, connection.padding
    (_, h_in, w_in), (_, height, width) = shape_in, shape_out
    pairs, vectors = -(-k_x * c_in // 2), -(-c_out // LANES)
    image_rows = max((height - 1) * stride_y + k_y, h_in + pad_y)
    pitch = max((width - 1) * stride_x + k_x, w_in + pad_x) * c_in
    image_size = image_rows * pitch + 2  # a pair may end behind the last row, where its weight is 0
    if max(image_size, vectors * k_y * pairs * 2 * LANES) > _MOST_CELLS:
        return tables
    weight = np.zeros((vectors * LANES, k_y, pairs * 2), np.int16)
    shifted = connection.weight << np.int16(max(connection.weight_exp, 0))
    weight[:c_out, :, : k_x * c_in] = shifted.transpose(0, 2, 3, 1).reshape(c_out, k_y, k_x * c_in)
    # (vector, row, pair, channel of the vector, source of the pair)
    products = weight.reshape(vectors, LANES, k_y, pairs, 2).transpose(0, 2, 3, 1, 4)
    lines = (np.arange(h_in) + pad_y) * pitch + pad_x * c_in
    if from_input:
        lines = np.add.outer(np.arange(c_in), lines).ravel()
    product_ns = height * width * vectors * k_y * (ROW_NS + pairs * PAIR_NS)
    fields = {
        **tables.fields,
        "product_from": int(product_ns / max(walk_ns - PAINT_NS, 1.0)) + 1,
        "image_step": c_in if from_input else 1,
        "image_size": image_size,
        "image_pitch": pitch,
        "image_stride_y": stride_y * pitch,
        "image_stride_x": stride_x * c_in,
        "kernel_rows": k_y,
        "pairs": pairs,
        "height": height,
        "width": width,
        "channels": c_out,
        "vectors": vectors,
    }
    return replace(
        tables,
        fields=fields,
        products=np.ascontiguousarray(products).ravel(),
        image_lines=lines.astype(np.int32),
        image_size=image_size,
    )
