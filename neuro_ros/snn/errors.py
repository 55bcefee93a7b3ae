# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a network, its file, its state and the engine that runs it."""

from collections.abc import Iterator
from contextlib import contextmanager

from neuro_ros.errors import NeuroRosError

__all__ = [
    "BackendUnavailableError",
    "EngineError",
    "ModelError",
    "ModelKeyError",
    "NetworkError",
    "StateError",
    "UnsupportedLayerError",
    "naming_layer",
]


class ModelError(NeuroRosError):
    """A model file is not what it should be: foreign, truncated, changed, or of another version."""


class ModelKeyError(ModelError):
    """A key is missing, wrong or not trusted, or what uses keys is not installed; the file may be fine."""


class NetworkError(ModelError):
    """A network description breaks a limit of the registers; the text names the layer."""


@contextmanager
def naming_layer(name: str) -> Iterator[None]:
    """Put the name of a layer in front of a `ModelError` that is raised inside."""
    try:
        yield
    except ModelError as error:
        raise type(error)(f"layer '{name}': {error}") from None


class StateError(NeuroRosError):
    """A network state does not belong to this network, or its file is not whole."""


class EngineError(NeuroRosError):
    """A running back end failed: it crashed, hung, or was used after it was closed."""


class BackendUnavailableError(EngineError):
    """A back end needs software or hardware that is not here."""


class UnsupportedLayerError(EngineError):
    """A back end cannot represent a layer exactly.

    Parameters
    ----------
    backend : str
        Registered name of the back end that refuses.
    layer : str
        Name of the layer.
    reason : str
        What the back end cannot do, with value and limit.
    """

    def __init__(self, backend: str, layer: str, reason: str) -> None:
        super().__init__(f"back end '{backend}' cannot represent layer '{layer}' exactly: {reason}")
        self.backend = backend
        self.layer = layer
        self.reason = reason
