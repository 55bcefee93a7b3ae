# SPDX-License-Identifier: Apache-2.0
"""Networks of other libraries, read into integers with a report of what that changed, and models written for them.

A format is one entry of `FORMATS`: a reader to `FloatNetwork` and a writer of a
model. Everything between them (kinds of connection, registers, the report, the
spike difference) is the same for all.

* ``netx``: HDF5 of lava-dl, integers; `neuro_ros.snn.exchange.netx_read`.
* ``nir``: the Neuromorphic Intermediate Representation, which snntorch, norse, sinabs and spikingjelly write too;
  `neuro_ros.snn.exchange.nir_read`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuro_ros.snn.model import Model

from .base import ExchangeError, ImportOptions
from .difference import Difference, FloatTwin, LayerDifference, measure, random_windows
from .netx_read import read_netx
from .netx_write import write_netx
from .nir_read import read_nir
from .nir_write import write_nir
from .physical import FloatLayer, FloatNetwork, FloatProjection
from .registers import quantise
from .report import Change, ImportReport, LayerReport, ProjectionReport

__all__ = [
    "FORMATS",
    "Change",
    "Difference",
    "ExchangeError",
    "FloatLayer",
    "FloatNetwork",
    "FloatProjection",
    "FloatTwin",
    "Format",
    "ImportOptions",
    "ImportReport",
    "Imported",
    "LayerDifference",
    "LayerReport",
    "ProjectionReport",
    "export_model",
    "import_model",
    "measure",
    "random_windows",
]

Path_ = str | os.PathLike[str]


@dataclass(frozen=True)
class Format:
    """One format.

    Parameters
    ----------
    text : str
        For people.
    read : callable
        ``(path, ImportOptions)`` to a `FloatNetwork`.
    write : callable
        ``(model, path)``.
    """

    text: str
    read: Callable[[Path_, ImportOptions], FloatNetwork]
    write: Callable[[Model, Path_], None]


FORMATS = {
    "netx": Format("lava-dl netx (HDF5)", read_netx, write_netx),
    "nir": Format("Neuromorphic Intermediate Representation (HDF5)", read_nir, write_nir),
}


@dataclass(frozen=True, eq=False)
class Imported:
    """A network that was read: the model, the report, and the floating point network that it was made of."""

    model: Model
    report: ImportReport
    network: FloatNetwork

    def compared(self, windows: Iterable[tuple[NDArray[np.uint32], int]], source: str) -> Imported:
        """Return it with the spike difference on `windows`, see `neuro_ros.snn.exchange.difference.measure`."""
        difference = measure(self.network, self.model, self.report.layers, windows, source)
        return replace(self, report=replace(self.report, difference=difference.as_dict()))


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise ExchangeError(f"unknown format {name!r}; known are {', '.join(FORMATS)}")
    return FORMATS[name]


def import_model(
    path: Path_,
    format: str,  # noqa: A002 - as the option is called
    options: ImportOptions | None = None,
    labels: Sequence[str] | None = None,
    window_length_ns: int | None = None,
    bins: int | None = None,
    name: str | None = None,
) -> Imported:
    """Read a network of another library.

    Parameters
    ----------
    path : path-like
    format : str
        A name in `FORMATS`.
    options : ImportOptions, optional
    labels : sequence of str, optional
        One an output neuron; of the file where it is one of ours, else class0, class1 and so on.
    window_length_ns, bins : int, optional
        Of the file where it is one of ours, else 50 ms in 10 bins, one network step a bin.
    name : str, optional
        Of the model; of the file where it is one of ours, else after the file.

    Raises
    ------
    ExchangeError
        When the file cannot be read or expressed; every reason is named.
    ModelError
        When the result breaks a limit of the network or of the model.
    """
    network = _format(format).read(path, options or ImportOptions())
    integers, reports = quantise(network)
    kept = _kept(network.remarks, integers.classes)
    chosen: dict[str, Any] = {"name": name, "window_length_ns": window_length_ns, "bins": bins}
    chosen["labels"] = tuple(labels) if labels is not None else None
    fields = {
        "labels": tuple(f"class{index}" for index in range(integers.classes)),
        "name": re.sub(r"[^A-Za-z0-9_-]", "_", Path(path).stem)[:64] or "imported",
        **kept,
        **{key: value for key, value in chosen.items() if value is not None},
    }
    if "record" not in fields:
        fields["record"] = {"imported_from": {"format": format, "file": Path(path).name}}
    report = ImportReport(format, reports, network.notes)
    return Imported(Model(integers, **fields), report, network)


def _kept(remarks: Any, classes: int) -> dict[str, Any]:
    """Return what a file of ours keeps of the model around the network, as far as it is of the right kind."""
    kinds = {"name": str, "normalisation": str, "labels": list, "window_length_ns": int, "bins": int, "record": dict}
    kept = {key: remarks[key] for key, kind in kinds.items() if isinstance(remarks.get(key), kind)}
    if len(kept.get("labels", ())) != classes:
        kept.pop("labels", None)
    return kept


def export_model(model: Model, path: Path_, format: str) -> None:  # noqa: A002 - as the option is called
    """Write a model for another library.

    Raises
    ------
    ExchangeError
        When the format cannot say it exactly, or the file cannot be written; every layer concerned is named.
    """
    _format(format).write(model, path)
