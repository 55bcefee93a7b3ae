# SPDX-License-Identifier: Apache-2.0
"""One integer network: described, stored, and run by back ends that agree bit for bit.

Knows nothing of ROS, of torch, of gestures or of physical units except in
`neuro_ros.snn.quantisation`. Lava is imported only by `neuro_ros.snn.lava_shim`,
and only in the worker process of the back end that needs it.
"""

from .digest import RunDigest
from .engine import CountsCosts, Engine, LendsWeights, WindowResult, backends, create_engine, register_backend
from .errors import (
    BackendUnavailableError,
    EngineError,
    ModelError,
    ModelKeyError,
    NetworkError,
    StateError,
    UnsupportedLayerError,
)
from .model import Model, load_model, save_model
from .network import Conv2d, Dense, Layer, Lif, Network, Projection, SumPool2d
from .state import LayerState, NetworkState, StateClock
from .state_file import load_state, save_state

__all__ = [
    "BackendUnavailableError",
    "Conv2d",
    "CountsCosts",
    "Dense",
    "Engine",
    "EngineError",
    "Layer",
    "LayerState",
    "LendsWeights",
    "Lif",
    "Model",
    "ModelError",
    "ModelKeyError",
    "Network",
    "NetworkError",
    "NetworkState",
    "Projection",
    "RunDigest",
    "StateClock",
    "StateError",
    "SumPool2d",
    "UnsupportedLayerError",
    "WindowResult",
    "backends",
    "create_engine",
    "load_model",
    "load_state",
    "register_backend",
    "save_model",
    "save_state",
]
