# SPDX-License-Identifier: Apache-2.0
"""The float twin of a trained network: the same neurons without a grid for weights and without rounding of state.

Against it stands what quantisation costs: the twin has the real-valued weights behind the integers (`master.py`), and
its neurons are those of `neuron.py` in real numbers, in units of the layer's threshold::

    u_t = u_{t-1} (4095 - du) / 4096 + a_{t-1}
    w_t = v_{t-1} (4096 - dv) / 4096 + u_t
    s_t = w_t > 1,    v_t = 0 where s_t, else w_t

Nothing wraps and nothing is clipped. Sums over synapses are float32, states float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from neuro_ros.snn import Conv2d, Dense, Lif, Model
from neuro_ros.training.data import StepStream
from neuro_ros.training.errors import TrainingError

__all__ = ["FloatTwin"]


@numba.njit(cache=True, nogil=True)
@no_type_check
def _scan(sums, keep_u, keep_v, spikes):
    """Advance all neurons over all steps: sums and spikes are (steps, neurons)."""
    steps, neurons = sums.shape
    u = np.zeros(neurons)
    v = np.zeros(neurons)
    for t in range(steps):
        for i in range(neurons):
            u[i] = u[i] * keep_u + (np.float64(sums[t - 1, i]) if t > 0 else 0.0)
            level = v[i] * keep_v + u[i]
            fires = level > 1.0
            spikes[t, i] = 1.0 if fires else 0.0
            v[i] = 0.0 if fires else level


class FloatTwin:
    """A feed-forward network in real numbers.

    Parameters
    ----------
    model : Model
        Whose structure, decays and labels it has; a chain of convolutions and dense layers of LIF neurons.
    weights : mapping of str to float32 array
        Real-valued weights by layer, in units of the threshold; see `load_master_weights`.

    Raises
    ------
    TrainingError
        If a layer is of another kind, or weights are missing or of another shape.
    """

    def __init__(self, model: Model, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
        self.model = model
        self._layers: list[tuple[Conv2d | Dense, Lif, torch.Tensor, torch.Tensor]] = []
        sources = [model.network.input_shape, *model.network.shapes]
        for layer, source in zip(model.network.layers, sources, strict=False):
            connection, neuron = layer.connection, layer.neuron
            if not isinstance(connection, Conv2d | Dense) or type(neuron) is not Lif:
                raise TrainingError(
                    f"layer '{layer.name}' has no float twin; convolutions and dense layers of LIF have one"
                )
            master = weights.get(layer.name)
            if master is None or master.shape != connection.weight.shape:
                found = "missing" if master is None else f"of shape {master.shape}"
                raise TrainingError(f"the weights of '{layer.name}' are {found}; {connection.weight.shape} is needed")
            delays = torch.from_numpy(layer.projections[0].source_delays(source).astype(np.int64))
            self._layers.append((connection, neuron, torch.from_numpy(np.ascontiguousarray(master)), delays))

    @torch.no_grad()
    def count(self, streams: Sequence[StepStream], tail: bool = True) -> npt.NDArray[np.int64]:
        """Return the output spikes (recordings, windows, classes) of recordings, each run from rest.

        Parameters
        ----------
        streams : sequence of StepStream
            All of the same length.
        tail : bool
            Whether as many empty steps follow as the network is deep, in the last window, as in `run_recording`.
        """
        shape = self.model.network.input_shape
        depth = self.model.network.depth if tail else 0
        size = int(np.prod(shape))  # the last byte of a step may be filled up
        cells = np.stack([np.unpackbits(stream.bits, axis=1, count=size) for stream in streams], axis=1)
        steps, batch = cells.shape[:2]
        flow = torch.zeros((steps + depth, batch, *shape))
        flow[:steps] = torch.from_numpy(cells.reshape(steps, batch, *shape))
        for connection, neuron, weight, delays in self._layers:
            if delays.any():
                late = torch.zeros_like(flow)
                for delay in delays.unique().tolist():
                    late[delay:] += torch.where(delays == delay, flow[: len(flow) - delay], 0.0)
                flow = late
            flat = flow.flatten(0, 1)
            if isinstance(connection, Conv2d):
                sums = functional.conv2d(
                    flat, weight, None, connection.stride, connection.padding, connection.dilation, connection.groups
                )
            else:
                sums = (flat.flatten(1) @ weight.t())[:, :, None, None]
            rows = sums.reshape(steps + depth, -1).numpy()
            spikes = np.empty(rows.shape, np.float32)
            _scan(rows, (4095 - neuron.du) / 4096, (4096 - neuron.dv) / 4096, spikes)
            flow = torch.from_numpy(spikes).reshape(steps + depth, batch, *sums.shape[1:])
        begins = np.arange(0, steps, self.model.bins)
        counts: npt.NDArray[np.int64] = np.add.reduceat(flow.flatten(2).to(torch.int64).numpy(), begins, axis=0)
        return counts.transpose(1, 0, 2)
