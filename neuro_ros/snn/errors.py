# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a network, its file, its state and the engine that runs it."""

from neuro_ros.errors import NeuroRosError

__all__ = [
    "BackendUnavailableError",
    "EngineError",
    "ModelError",
    "NetworkError",
    "StateError",
    "UnsupportedLayerError",
]


class ModelError(NeuroRosError):
    """A model file is not what it should be: foreign, truncated, changed, or of another version."""


class NetworkError(ModelError):
    """A network description breaks a limit of the registers; the text names the layer."""


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
