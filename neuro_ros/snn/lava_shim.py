# SPDX-License-Identifier: Apache-2.0
"""The only module that imports Lava, and what it takes to import it.

lava-nc 0.10.0 declares Python 3.10. One thing breaks later: since 3.11 a dataclass
refuses a default value whose class is unhashable, and Lava's variable models have
such a default. While Lava is imported, its dataclasses get an identity hash. And
its reshaping ports name an argument that NumPy 2.1 deprecated and later removed;
they are given the same function with the argument by position. Lava's injector
sends floating-point numbers, whose products the integer models cannot shift: payloads
go through the same injector with an integer port.

Importing Lava sets the process's multiprocessing start method to fork and starts
nothing yet; it is done in the worker process only, see `neuro_ros.snn.lava_worker`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["INSTALL_HINT", "LOIHI_EXTENSION", "has_lava", "require_lava", "require_loihi"]

INSTALL_HINT = (
    "pip install lava-nc==0.10.0 on Python 3.10; later: pip install --ignore-requires-python --no-deps "
    "lava-nc==0.10.0, then scipy networkx asteval scikit-learn cloudpickle"
)
# Neuro-core process models and their compiler come with Intel's extension, to members of its research community only.
LOIHI_EXTENSION = ("lava.magma.core.model.nc.model", "lava.magma.compiler.subcompilers.nc")


def has_lava() -> bool:
    """Return whether Lava is installed, without importing it."""
    try:
        return importlib.util.find_spec("lava.magma") is not None
    except ImportError:  # there is no package `lava`, or it is another one
        return False


@contextmanager
def _identity_hashes() -> Iterator[None]:
    """Give Lava's dataclasses that lose their hash by `eq` that of `object` while the block runs."""
    original = dataclasses.dataclass

    def decorate(cls: type) -> type:
        if cls.__module__.startswith("lava.") and getattr(cls, "__hash__", None) is None:
            type.__setattr__(cls, "__hash__", object.__hash__)
        return cls

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        if cls is not None:
            return decorate(original(cls, **options))
        plain = original(**options)
        return lambda given: decorate(plain(given))

    dataclasses.dataclass = dataclass
    try:
        yield
    finally:
        dataclasses.dataclass = original


def require_lava() -> SimpleNamespace:
    """Import Lava and return the names that this package uses.

    Raises
    ------
    ImportError
        The original one, when Lava or something that it needs is missing.
    """
    needed = {
        "lava.magma.core.model.py.ports": ("PyOutPort",),
        "lava.magma.core.model.py.type": ("LavaPyType",),
        "lava.magma.core.run_conditions": ("RunSteps",),
        "lava.magma.core.run_configs": ("Loihi2HwCfg", "Loihi2SimCfg"),
        "lava.proc.conv.models": ("PyConvModelFixed",),
        "lava.proc.conv.process": ("Conv",),
        "lava.proc.dense.models": ("PyDelayDenseModelBitAcc", "PyDenseModelBitAcc"),
        "lava.proc.dense.process": ("DelayDense", "Dense"),
        "lava.proc.io.extractor": ("Extractor", "PyLoihiExtractorModel"),
        "lava.proc.io.injector": ("Injector", "PyLoihiInjectorModel"),
        "lava.proc.lif.models": ("PyLifModelBitAcc",),
        "lava.proc.lif.process": ("LIF",),
        "lava.proc.sparse.models": ("PyDelaySparseModelBitAcc", "PySparseModelBitAcc"),
        "lava.proc.sparse.process": ("DelaySparse", "Sparse"),
        "lava.utils.weightutils": ("SignMode",),
        "scipy.sparse": ("csr_matrix",),
    }
    names = {}
    with _identity_hashes():
        for module, wanted in needed.items():
            loaded = importlib.import_module(module)
            names.update({name: getattr(loaded, name) for name in wanted})
    integers = names["LavaPyType"](names["PyOutPort"].VEC_DENSE, np.int32)
    injector = names["PyLoihiInjectorModel"]
    names["IntegerInjectorModel"] = type("IntegerInjectorModel", (injector,), {"out_port": integers})
    ports = importlib.import_module("lava.magma.core.process.ports.ports")
    ports.ReshapePort.get_transform_func_fwd = lambda port: functools.partial(_reshape, port.shape)
    ports.ReshapePort.get_transform_func_bwd = lambda port: functools.partial(_reshape, port.old_shape)
    return SimpleNamespace(**names)


def _reshape(shape: tuple[int, ...], data: NDArray[Any]) -> NDArray[Any]:
    return data.reshape(shape)


def require_loihi() -> None:
    """Import Intel's extension for Loihi hardware.

    Raises
    ------
    ImportError
        The original one, when the extension is missing.
    """
    with _identity_hashes():
        for module in LOIHI_EXTENSION:
            if module not in sys.modules:
                importlib.import_module(module)
