# SPDX-License-Identifier: Apache-2.0
"""What all formats of exchange share: the error, the options of an import, and what one returns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from neuro_ros.snn.errors import ModelError
from neuro_ros.snn.limits import MAX_CELLS, Shape, cells_of

__all__ = ["ExchangeError", "ImportOptions", "noting", "refuse_all"]

# How a fault begins that says itself where it is.
_PLACES = ("layer '", "node '", "/", "the circle ", "the graph ")


class ExchangeError(ModelError):
    """A network of another library cannot be read, or cannot be expressed, and the text names every reason."""


def refuse_all(faults: list[str]) -> None:
    """Raise one `ExchangeError` that lists all `faults`; nothing happens where there are none."""
    if faults:
        raise ExchangeError("; ".join(dict.fromkeys(faults)))


@contextmanager
def noting(faults: list[str], where: str) -> Iterator[None]:
    """Turn a `ModelError` raised inside into one more of `faults`, with `where` in front unless it names its place."""
    try:
        yield
    except ModelError as error:
        text = str(error)
        faults.append(text if text.startswith(_PLACES) else f"{where}: {text}")


@dataclass(frozen=True)
class ImportOptions:
    """How to read what a file leaves open.

    Parameters
    ----------
    step_s : float, optional
        Length of one network step in the file's unit of time. NIR describes neurons in continuous time and does not
        say what the network was trained with, so such files need it.
    discretisation : {"euler", "exponential"}
        How the library that wrote the file makes steps out of time constants: ``1 - step / tau`` is left after one
        step with the former (snntorch, norse, spikingjelly), ``exp(-step / tau)`` with the latter (sinabs).
    synapse_gain : {"equation", "unit"}
        What a spike adds to the synaptic current of a CubaLIF: ``w_in * step / tau_syn`` (``w_in * (1 - exp(...))``),
        as the equation says, or ``w_in``, as norse means it.
    merge_decays : bool
        Give a population whose neurons decay differently the mean decay, rather than refusing it.
    input_shape : (int, int, int), optional
        Channels, height and width of the input, for a file that does not say it, or that flattens it before it starts.
    """

    step_s: float | None = None
    discretisation: str = "euler"
    synapse_gain: str = "equation"
    merge_decays: bool = False
    input_shape: Shape | None = None

    def __post_init__(self) -> None:
        if self.step_s is not None and not 0.0 < self.step_s < math.inf:
            raise ExchangeError(f"the step is {self.step_s} s; it must be positive and finite")
        if self.discretisation not in ("euler", "exponential"):
            raise ExchangeError(f"unknown discretisation {self.discretisation!r}; known are euler, exponential")
        if self.synapse_gain not in ("equation", "unit"):
            raise ExchangeError(f"unknown synapse gain {self.synapse_gain!r}; known are equation, unit")
        shape = self.input_shape
        if shape is not None and not (len(shape) == 3 and min(shape) >= 1 and cells_of(shape) <= MAX_CELLS):
            raise ExchangeError(
                f"the input's shape is {shape}; give channels, height and width, {MAX_CELLS} cells at most"
            )
