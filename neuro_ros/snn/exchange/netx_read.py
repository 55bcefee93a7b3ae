# SPDX-License-Identifier: Apache-2.0
"""Networks of lava-dl in the HDF5 layout that `lava.lib.dl.slayer` writes and `lava.lib.dl.netx` reads.

``/layer/<n>/`` holds a ``type`` and what that type needs; integers throughout, so
that nothing is rounded: w in -256..254, even; ``iDecay = du + 1``, ``vDecay = dv``,
``vThMant = vth``; a bias is added to the voltage, shifted by 6. Slayer computes the
same step as ours, in int64: it neither wraps nor saturates. It spikes at ``v >= vth +
0.01 / 4096`` to mean ``v > vth``, and its outputs leave one step late, which is the
step that our connections take: step for step, spikes are the same. From rest, a population with a bias has stepped once
more here when its first input arrives, as in Lava; that one step of bias is all that differs.

What differs, and how it is taken:

* An axonal delay belongs to the layer that spikes; here it becomes a delay of the projection out of it. That of the
  last layer has none, and is dropped: it only shifts what leaves the network.
* ``pool`` has neurons and is a layer. Slayer pads a plane that the window does not divide at the far end only, and
  slides the window over channels and rows as one axis: a window that does not tile the plane mixes channels, and is
  refused.
* ``average`` has no neurons. In front of a ``dense`` it is folded into it exactly: the weights are repeated, the sums
  become n times as large, and so do threshold and bias. At the end it becomes a layer that fires once for n spikes.
* ``flatten`` is nothing, since a dense connection reads (c, y, x) in C order as slayer does.
* iDecay 0 and vDecay 4096 have no register; the nearest is taken and reported.

References
----------
lava-dl 0.6.0 (BSD-3-Clause): `lava/lib/dl/slayer/block/base.py`, `export_hdf5` of each block;
`lava/lib/dl/slayer/neuron/cuba.py`; `lava/lib/dl/netx/hdf5.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from neuro_ros.snn.limits import Shape, cells_of
from neuro_ros.snn.network import INPUT

from .base import ExchangeError, ImportOptions, refuse_all
from .fields import Fields, read_fields
from .kinds import Grid
from .linear import ConvMap, DenseMap, Floats, LinearMap, identity, pool
from .physical import FloatLayer, FloatNetwork, FloatProjection, Hints, uniform

__all__ = ["read_netx"]

_UNITY = 4096
_MAX_LAYERS = 1024
# float32, in which slayer compares, no longer holds threshold + 0.01 / 4096 from here on
_EPS_LOST = 4096


@dataclass
class _Chain:
    """What has been read so far: layers in a row, and what the last of them leaves for the next."""

    options: ImportOptions
    shape: Shape | None = None
    source: str = INPUT
    delays: Any = 0.0
    average_of: int = 1
    layers: list[FloatLayer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    input_shape: Shape | None = None

    def known_shape(self, fields: Fields) -> Shape:
        if self.shape is None:
            raise ExchangeError(
                f"{fields.place}: the file has no input layer; give the input's shape (--input-shape C,H,W)"
            )
        return self.shape

    def start(self, shape: Shape) -> None:
        """Take the shape of the input, unless it is known."""
        if self.shape is None:
            self.shape = self.input_shape = shape


def _shape(fields: Fields) -> Shape:
    sizes = fields.wholes("shape")
    if not 1 <= len(sizes) <= 3 or min(sizes) < 1:
        raise ExchangeError(f"{fields.place}/shape is {list(sizes)}; one to three positive sizes are expected")
    if len(sizes) == 2:
        return 1, sizes[0], sizes[1]
    return (sizes[0], 1, 1) if len(sizes) == 1 else (sizes[0], sizes[1], sizes[2])


def _decay(neuron: Fields, name: str, options: ImportOptions) -> float:
    """Return what is left after a step of a decay in 1/4096."""
    values = neuron.array(name)
    if values.min() < 0 or values.max() > _UNITY:
        raise ExchangeError(f"{neuron.place}/{name} spans {values.min():g}..{values.max():g}, outside 0..{_UNITY}")
    common = uniform(values)
    if common is None and not options.merge_decays:
        raise ExchangeError(
            f"{neuron.place}/{name} spans {values.min():g}..{values.max():g}: a layer has one decay "
            "(--merge-decays takes the mean)"
        )
    return 1.0 - float(values.mean() if common is None else common) / _UNITY


def _neuron(fields: Fields, name: str, parts: list[FloatProjection], shape: Shape, chain: _Chain) -> FloatLayer:
    """Return a layer with the neurons of a group."""
    if "neuron" not in fields:
        raise ExchangeError(f"{fields.place} has no neurons: a read-out without spikes has no counterpart")
    neuron = fields.group("neuron")
    kind = neuron.text("type")
    if kind not in ("CUBA", "LOIHI"):
        raise ExchangeError(f"{neuron.place} is of type {kind!r}; CUBA alone has a counterpart")
    if neuron.number("gradedSpike", 0.0):
        raise ExchangeError(f"{neuron.place} sends graded spikes, which layers do not")
    threshold: float = neuron.whole("vThMant")
    notes = []
    if threshold >= _EPS_LOST:
        notes.append(
            f"vThMant {threshold:g}: slayer's float32 loses its threshold_eps from {_EPS_LOST} on, it spikes at v = vth"
        )
    if "weight_exp" in neuron:
        exponent = neuron.whole("weight_exp")
        if abs(exponent) > 16:
            raise ExchangeError(f"{neuron.place}/weight_exp is {exponent}, outside -16..16")
        threshold = threshold * 2.0**exponent
        notes.append(f"the norm divides by 2^{exponent}: the threshold was multiplied by it (netx ignores it)")
    bias: Any = 0.0
    if "bias" in fields:
        values = fields.array("bias").ravel()
        if values.size == 1:
            bias = values[0]
        elif values.size == shape[0]:
            bias = values[:, None, None]
        else:
            raise ExchangeError(f"{fields.place}/bias has {values.size} values for {shape[0]} channels")
    rest = neuron.whole("refDelay", 1)
    if not 0 <= rest <= 1 << 16:
        raise ExchangeError(f"{neuron.place}/refDelay is {rest}, outside 0..65536")
    factor = chain.average_of
    chain.average_of = 1
    return FloatLayer(
        name,
        tuple(parts),
        shape,
        _decay(neuron, "iDecay", chain.options),
        _decay(neuron, "vDecay", chain.options),
        threshold * factor,
        bias * factor,
        max(rest - 1, 0),
        _hints(parts),
        notes=tuple(notes),
    )


def _hints(parts: list[FloatProjection]) -> Hints:
    """Return what keeps integers as they are: the even grid, or that of one sign where there are odd ones."""
    grids = []
    for part in parts:
        weight = part.linear.weight
        odd = bool((weight % 2 != 0).any())
        grids.append(
            Grid(
                8, "excitatory" if odd and weight.min() >= 0 else "inhibitory" if odd and weight.max() <= 0 else "mixed"
            )
        )
    return Hints(1.0, (0,) * len(parts), tuple(grids), bias_exp=6, bias_ndim=1)


def _add(chain: _Chain, fields: Fields, kind: str, linear: LinearMap, recurrent: LinearMap | None = None) -> None:
    """Append a layer that is fed by what came before, and read the delays of its spikes."""
    name = f"layer{len(chain.layers)}_{kind}"
    shape = linear.output_shape(chain.known_shape(fields))
    if "shape" in fields and cells_of(_shape(fields)) != cells_of(shape):
        raise ExchangeError(f"{fields.place}/shape is {_shape(fields)}, its weights make {shape}")
    parts = [FloatProjection(linear, chain.source, chain.delays)]
    if recurrent is not None:
        parts.append(FloatProjection(recurrent, name))
    chain.layers.append(_neuron(fields, name, parts, shape, chain))
    chain.shape, chain.source, chain.delays = shape, name, 0.0
    if "delay" in fields:
        chain.delays = _delays(fields, shape)


def _delays(fields: Fields, shape: Shape) -> Any:
    """Return the delays of the spikes of a layer, one, one a channel, or one a neuron (c, h, w)."""
    values = np.floor(fields.array("delay").ravel())
    if values.size == 1:
        return float(values[0])
    if values.size == cells_of(shape):
        return values.reshape(shape)
    if values.size == shape[0]:
        return np.broadcast_to(values[:, None, None], shape)
    raise ExchangeError(f"{fields.place}/delay has {values.size} values for {shape[0]} channels")


def _read_input(fields: Fields, chain: _Chain) -> None:
    if chain.layers:
        raise ExchangeError(f"{fields.place}: a second input")
    if "shape" in fields:
        chain.start(_shape(fields))
    if "neuron" not in fields:
        return
    weight = fields.number("weight", 64.0)
    _add(chain, fields, "input", identity(chain.known_shape(fields), weight))
    if "bias" in fields and chain.layers[0].kept_u > 0.0:
        raise ExchangeError(
            f"{fields.place}/bias feeds the current, which a bias of ours does not unless iDecay is 4096"
        )


def _matrix(fields: Fields, name: str) -> Floats:
    weight = fields.array(name, 1, 2)
    return weight if weight.ndim == 2 else weight.reshape(cells_of(_shape(fields)), -1)


def _read_dense(fields: Fields, chain: _Chain, recurrent: bool = False) -> None:
    weight = _matrix(fields, "weight")
    chain.start((weight.shape[1], 1, 1))
    if chain.average_of > 1:
        chain.notes.append(
            f"{fields.place}: the average of {chain.average_of} in front was folded in: weights repeated, "
            f"threshold and bias times {chain.average_of}"
        )
        weight = np.repeat(weight, chain.average_of, axis=1)
    if recurrent:
        _add(chain, fields, "dense_rec", DenseMap(weight), DenseMap(_matrix(fields, "weight_rec")))
    else:
        _add(chain, fields, "dense", DenseMap(weight))


def _read_dense_rec(fields: Fields, chain: _Chain) -> None:
    _read_dense(fields, chain, recurrent=True)


def _read_conv(fields: Fields, chain: _Chain) -> None:
    linear = ConvMap(
        fields.array("weight", 4),
        fields.pair("stride", 1, 1),
        fields.pair("padding", 0, 0),
        fields.pair("dilation", 1, 1),
        fields.whole("groups", 1),
    )
    if linear.groups < 1 or linear.weight.shape[0] % linear.groups:
        raise ExchangeError(
            f"{fields.place}: {linear.weight.shape[0]} channels do not divide into {linear.groups} groups"
        )
    if chain.shape is None and "shape" in fields and linear.stride == (1, 1):
        # without a stride, the output tells the input
        _, *plane = _shape(fields)
        sides = [plane[axis] + linear.extent[axis] - 1 - 2 * linear.padding[axis] for axis in (0, 1)]
        chain.start((linear.weight.shape[1] * linear.groups, sides[0], sides[1]))
    _add(chain, fields, "conv", linear)


def _read_pool(fields: Fields, chain: _Chain) -> None:
    weight = fields.array("weight", 4)
    kernel = (weight.shape[2], weight.shape[3])
    channels, height, width = chain.known_shape(fields)
    stride, padding = fields.pair("stride", 1, kernel[0]), fields.pair("padding", 0, 0)
    common = uniform(weight)
    if common is None or weight.shape[:2] != (1, 1):
        raise ExchangeError(f"{fields.place}/weight {weight.shape} is not one number for all taps")
    extra = tuple(side % window for side, window in zip((height, width), kernel, strict=True))
    tiles = all((side + more) % window == 0 for side, more, window in zip((height, width), extra, kernel, strict=True))
    if stride != kernel or padding != (0, 0) or fields.pair("dilation", 1, 1) != (1, 1) or not tiles:
        raise ExchangeError(
            f"{fields.place}: a window of {kernel} with stride {stride} and padding {padding} does not tile "
            f"the plane of {height} x {width}; lava-dl's own pool mixes channels there"
        )
    if extra == (0, 0):
        linear = pool(channels, kernel, kernel, weight=common)
    else:
        # the rows that slayer adds at the far end: pad both ends, and let the near end see zeros of a larger kernel
        kernels = np.zeros((channels, 1, kernel[0] + extra[0], kernel[1] + extra[1]))
        kernels[:, :, extra[0] :, extra[1] :] = common
        linear = ConvMap(kernels, kernel, extra, groups=channels)
    _add(chain, fields, "pool", linear)


def _read_flatten(fields: Fields, chain: _Chain) -> None:
    """Do nothing: dense connections read (c, y, x) in C order."""
    if chain.shape is not None and "shape" in fields and cells_of(_shape(fields)) != cells_of(chain.shape):
        raise ExchangeError(f"{fields.place}/shape is {_shape(fields)}, what it flattens is {chain.shape}")


def _read_average(fields: Fields, chain: _Chain) -> None:
    if "shape" not in fields:
        raise ExchangeError(f"{fields.place} does not say its shape (the export of average in lava-dl 0.6.0 fails)")
    outputs = cells_of(_shape(fields))
    size = cells_of(chain.known_shape(fields))
    if size % outputs:
        raise ExchangeError(f"{fields.place}: {size} neurons do not divide into {outputs} averages")
    chain.average_of *= size // outputs


_READERS: dict[str, Callable[[Fields, _Chain], None]] = {
    "input": _read_input,
    "dense": _read_dense,
    "dense_rec": _read_dense_rec,
    "conv": _read_conv,
    "pool": _read_pool,
    "flatten": _read_flatten,
    "average": _read_average,
}


def _finish_average(chain: _Chain) -> None:
    """Express an average at the end as a layer that fires once for as many spikes as it averages."""
    size, shape = chain.average_of, chain.shape
    if size == 1 or shape is None:
        return
    weight = np.repeat(2.0 * np.eye(cells_of(shape) // size), size, axis=1)
    parts = [FloatProjection(DenseMap(weight), chain.source, chain.delays)]
    name = f"layer{len(chain.layers)}_average"
    note = f"the average of {size} neurons at the end is a layer that fires once for {size} spikes, a step later"
    chain.layers.append(
        FloatLayer(
            name, tuple(parts), (len(weight), 1, 1), 0.0, 1.0, 2.0 * size - 1.0, hints=_hints(parts), notes=(note,)
        )
    )
    chain.delays = 0.0


def read_netx(path: str | os.PathLike[str], options: ImportOptions) -> FloatNetwork:
    """Read a netx file; the scale of all its layers is 1.

    Raises
    ------
    ExchangeError
        When it cannot be read, or holds what has no counterpart; everything of that kind is named.
    """
    file = read_fields(path)
    if "layer" not in file:
        raise ExchangeError(
            f"{path}: no group 'layer', so this is no netx network; there are {', '.join(file.names())}"
        )
    groups = file.group("layer")
    count = len(groups.names())
    if not 1 <= count <= _MAX_LAYERS:
        raise ExchangeError(f"{path}: {count} layers, outside 1..{_MAX_LAYERS}")
    chain = _Chain(options)
    if options.input_shape is not None:
        chain.start(options.input_shape)
    layers = [groups.group(str(index)) for index in range(count)]
    refuse_all(
        [
            f"{layer.place}: layers of type {layer.text('type')!r} have no counterpart"
            for layer in layers
            if layer.text("type") not in _READERS
        ]
    )
    for layer in layers:
        _READERS[layer.text("type")](layer, chain)
    _finish_average(chain)
    if not chain.layers or chain.input_shape is None:
        raise ExchangeError(f"{path}: no layer has neurons")
    longest = float(np.max(chain.delays))
    if longest:
        last = chain.layers[-1]
        text = f"delays of up to {longest:g} steps of the last layer, which only shift what leaves the network"
        chain.layers[-1] = replace(last, dropped=(*last.dropped, text))
    return FloatNetwork(tuple(chain.layers), chain.input_shape, 1.0, "euler", tuple(chain.notes))
