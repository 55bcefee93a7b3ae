# SPDX-License-Identifier: Apache-2.0
"""How far the integers spike differently from the floating point network that they were made of.

Both run freely on the same input from rest, so that a spike that comes a step later
counts twice, and what it causes counts too. The float network steps as
`neuro_ros.snn.exchange.physical` says, in float64: what is measured is
quantisation alone, not the difference between our order of update or reset and that
of the library that wrote the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuro_ros.snn.limits import ACTIVATION_SHIFT, Shape, cells_of
from neuro_ros.snn.model import Model
from neuro_ros.snn.reference import ReferenceEngine

from .base import ExchangeError
from .physical import INPUT, FloatLayer, FloatNetwork
from .report import LayerReport

__all__ = ["Difference", "FloatTwin", "LayerDifference", "measure", "random_windows"]

Spikes = NDArray[np.bool_]

_STATE_LIMIT = float(1 << 23)
_MAX_SLOTS = 1024  # of spikes on their way in the float network, whose delays no register limits


@dataclass(frozen=True)
class LayerDifference:
    """One layer over the whole run.

    Parameters
    ----------
    name : str
    spikes_float, spikes_integer : int
    differing : int
        Spikes, by neuron and step, that only one of the two has.
    peak_u, peak_v : float
        Largest magnitude of the float network's current and voltage in parts of what the state holds.
    wrapped, saturated : int
        Steps of neurons in which the integer network's current wrapped and its voltage was clipped.
    """

    name: str
    spikes_float: int
    spikes_integer: int
    differing: int
    peak_u: float
    peak_v: float
    wrapped: int = 0
    saturated: int = 0

    @property
    def share(self) -> float:
        """Differing spikes in parts of all that either has; 0 where there are none."""
        either = (self.spikes_float + self.spikes_integer + self.differing) / 2
        return self.differing / either if either else 0.0


@dataclass(frozen=True)
class Difference:
    """The whole run: where the input came from, how long it was, and each layer."""

    source: str
    steps: int
    layers: tuple[LayerDifference, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it all as plain numbers."""
        layers = [{**asdict(layer), "share": layer.share} for layer in self.layers]
        return {"source": self.source, "steps": self.steps, "layers": layers}


class _State:
    """Current, voltage and rest of one layer in floating point, and the spikes that are under way to it."""

    def __init__(self, layer: FloatLayer, shapes: Sequence[Shape]) -> None:
        self.layer = layer
        self.i, self.v, self.rest = (np.zeros(layer.shape) for _ in range(3))
        self.threshold, self.bias = (
            np.broadcast_to(np.asarray(value, np.float64), layer.shape) for value in (layer.threshold, layer.bias)
        )
        self.peak_i = self.peak_v = 0.0
        self.delays = [
            np.broadcast_to(np.rint(part.delays).astype(np.int64), shape)
            for part, shape in zip(layer.projections, shapes, strict=True)
        ]
        self.slots = 1 + max(int(delays.max()) for delays in self.delays)
        if self.slots > _MAX_SLOTS:
            raise ExchangeError(f"layer '{layer.name}': delays of {self.slots - 1} steps are too long to compare")
        self.coming = np.zeros((self.slots, *layer.shape))
        self.at = 0

    def step(self) -> Spikes:
        """Advance by a step and return the spikes."""
        layer = self.layer
        self.i = self.i * layer.kept_u + self.coming[self.at]
        self.coming[self.at] = 0.0
        self.at = (self.at + 1) % self.slots
        moves = self.rest == 0
        self.v = np.where(moves, self.v * layer.kept_v + self.i + self.bias, self.v)
        self.peak_i = max(self.peak_i, float(np.abs(self.i).max()))
        self.peak_v = max(self.peak_v, float(np.abs(self.v).max()))
        fired = self.v > self.threshold
        self.v = np.where(fired, 0.0, self.v)
        self.rest = np.where(fired, layer.refractory_steps, np.maximum(self.rest - 1, 0))
        return fired

    def receive(self, number: int, spikes: NDArray[Any]) -> None:
        """Take the spikes of this step of the source of a projection."""
        if not spikes.any():
            return
        delays = self.delays[number]
        for delay in np.unique(delays[spikes > 0]):
            part = np.where(delays == delay, spikes, 0.0).astype(np.float64)
            effect = self.layer.projections[number].linear.apply(part[None])[0]
            self.coming[(self.at + int(delay)) % self.slots] += effect


class FloatTwin:
    """A network in floating point, at rest.

    Parameters
    ----------
    network : FloatNetwork
    """

    def __init__(self, network: FloatNetwork) -> None:
        self._input_shape = network.input_shape
        self._names = [layer.name for layer in network.layers]
        self.states = [
            _State(layer, [network.shape_of(part.source) for part in layer.projections]) for layer in network.layers
        ]

    def step(self, spikes: NDArray[Any]) -> list[Spikes]:
        """Advance by a step in which the input (c, y, x) carries `spikes`; return the spikes of each layer."""
        fired = [state.step() for state in self.states]
        for state in self.states:
            for number, part in enumerate(state.layer.projections):
                state.receive(number, spikes if part.source == INPUT else fired[self._names.index(part.source)])
        return fired


def random_windows(shape: Shape, bins: int, windows: int, rate: float, seed: int) -> Iterator[NDArray[np.uint32]]:
    """Yield windows of random input: ascending flat (bin, c, y, x) indices, each cell set with probability `rate`."""
    generator = np.random.default_rng(seed)
    for _ in range(windows):
        yield np.flatnonzero(generator.random(bins * cells_of(shape)) < rate).astype(np.uint32)


def measure(
    network: FloatNetwork,
    model: Model,
    reports: Sequence[LayerReport],
    windows: Iterable[tuple[NDArray[np.uint32], int]],
    source: str,
) -> Difference:
    """Run both networks on the same windows.

    Parameters
    ----------
    network : FloatNetwork
        What the model was made of.
    model : Model
    reports : sequence of LayerReport
        Of the layers of `model`, for the scales.
    windows : iterable of ((active,) uint32, int)
        Ascending flat (bin, c, y, x) indices and the number of bins.
    source : str
        What to say about where the windows come from.

    Raises
    ------
    ExchangeError
        When there are no windows.
    """
    engine = ReferenceEngine(model)
    twin = FloatTwin(network)
    totals = np.zeros((len(network.layers), 5), np.int64)
    steps = 0
    for indices, bins in windows:
        values = np.zeros(bins * cells_of(network.input_shape), np.int64)
        values[indices] = 1
        for bin_ in values.reshape(bins, *network.input_shape):
            for total, fired, got in zip(totals, twin.step(bin_), engine.step(bin_), strict=True):
                differing = int(np.count_nonzero(fired != got.spikes))
                total += [int(fired.sum()), int(got.spikes.sum()), differing, got.wrapped, got.saturated]
        steps += bins
    if not steps:
        raise ExchangeError(f"{source} has no windows to compare on")
    found = []
    for number, (state, report) in enumerate(zip(twin.states, reports, strict=True)):
        exponent = model.network.layers[number].projections[0].connection.weight_exp
        unit = report.scale * 2.0**exponent * (1 << ACTIVATION_SHIFT) / _STATE_LIMIT
        spikes_float, spikes_integer, unlike, wrapped, saturated = totals[number].tolist()
        found.append(
            LayerDifference(
                state.layer.name,
                spikes_float,
                spikes_integer,
                unlike,
                state.peak_i * unit,
                state.peak_v * unit,
                wrapped,
                saturated,
            )
        )
    return Difference(source, steps, tuple(found))
