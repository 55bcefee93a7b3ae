# SPDX-License-Identifier: Apache-2.0
"""The model file: a network with its labels, geometry, window and training record.

The container is safetensors (no code runs when a file is read) with one metadata
entry of JSON. A digest over the manifest and every tensor lies inside, so a
changed byte is refused with what differs. This module knows nothing of engines.

Layout, version 1::

    metadata["neuro_ros.model"] = {"version": 1, "digest": "<sha256>", "manifest": {...}}
    tensors "<layer>.connection.<tensor>", "<layer>.neuron.<tensor>"

The digest is SHA-256 over the canonical JSON of the manifest and, for each
tensor in the order of its name: name, dtype, shape, then the bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import container
from .errors import ModelError, NetworkError
from .network import (
    BIAS_EXP_RANGE,
    BIAS_MANT_RANGE,
    DECAY_RANGE,
    VTH_RANGE,
    WEIGHT_EXP_RANGE,
    WEIGHT_RANGE,
    Conv2d,
    Dense,
    Layer,
    Lif,
    Network,
)

__all__ = ["MODEL_FORMAT", "MODEL_VERSION", "Model", "load_model", "save_model"]

MODEL_FORMAT = "neuro_ros.model"
MODEL_VERSION = 1

# Stated in every file, so that a reader of another project knows what the integers mean.
WIDTHS = {
    "weight": {"range": list(WEIGHT_RANGE), "step": 2},
    "weight_exp": {"range": list(WEIGHT_EXP_RANGE)},
    "du": {"bits": 12, "range": list(DECAY_RANGE)},
    "dv": {"bits": 12, "range": list(DECAY_RANGE)},
    "vth": {"bits": 17, "range": list(VTH_RANGE)},
    "bias_mant": {"bits": 13, "range": list(BIAS_MANT_RANGE)},
    "bias_exp": {"bits": 3, "range": list(BIAS_EXP_RANGE)},
    "u": {"bits": 24, "overflow": "wraps"},
    "v": {"bits": 24, "overflow": "saturates"},
}

_CONNECTIONS: dict[str, Any] = {"dense": Dense, "conv2d": Conv2d}
_NEURONS: dict[str, Any] = {"lif": Lif}


@dataclass(frozen=True, eq=False)
class Model:
    """A network with everything that is needed to feed it and to read it.

    Parameters
    ----------
    network : Network
        The integers.
    labels : tuple of str
        One a class, in class-index order; as many as the last population has neurons.
    window_length_ns : int
        Length of the window of sensor time that one inference covers.
    bins : int
        Steps a window; one network step a bin.
    name : str
        Short name: letters, digits, ``_`` and ``-``.
    record : mapping
        Free-form JSON: normalisation, training data, split, seed, accuracy. ``confidence_exponent`` is read by
        `confidence_exponent`.
    """

    network: Network
    labels: tuple[str, ...]
    window_length_ns: int = 50_000_000
    bins: int = 10
    name: str = "model"
    record: Mapping[str, Any] = field(default_factory=dict)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        if len(self.labels) != self.network.classes:
            raise ModelError(
                f"{len(self.labels)} labels for {self.network.classes} output neurons; give one label a neuron"
            )
        if len(set(self.labels)) != len(self.labels) or not all(isinstance(x, str) and x for x in self.labels):
            raise ModelError(f"labels {list(self.labels)} must be unique, non-empty strings")
        if not isinstance(self.bins, int) or not 1 <= self.bins <= 1024:
            raise ModelError(f"bins is {self.bins!r}, outside 1..1024")
        if not isinstance(self.window_length_ns, int) or not self.bins <= self.window_length_ns <= 3_600 * 10**9:
            raise ModelError(f"window_length_ns is {self.window_length_ns!r}, outside {self.bins}..3600e9")
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", self.name):
            raise ModelError(f"name {self.name!r} must be 1 to 64 letters, digits, '_' and '-'")
        try:
            record = json.loads(json.dumps(dict(self.record), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ModelError(f"record is not plain JSON: {error}") from None
        exponent = record.get("confidence_exponent", 1.0)
        if isinstance(exponent, bool) or not isinstance(exponent, (int, float)) or not 0.1 <= exponent <= 100.0:
            raise ModelError(f"confidence_exponent is {exponent!r}, outside 0.1..100")
        object.__setattr__(self, "record", record)
        object.__setattr__(self, "digest", _digest(_manifest(self), _tensors(self)))

    @property
    def model_id(self) -> str:
        """Name and the first 12 digits of the digest: what messages and states carry."""
        return f"{self.name}-{self.digest[:12]}"

    @property
    def confidence_exponent(self) -> float:
        """How the shares of the evidence are sharpened, see `neuro_ros.snn.decision`; 1 where the record has none."""
        return float(self.record.get("confidence_exponent", 1.0))

    @property
    def cells(self) -> int:
        """Cells of one bin of the input tensor."""
        return int(np.prod(self.network.input_shape))


def save_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Write `model` to `path` as a whole or not at all.

    Raises
    ------
    ModelError
        When the file cannot be written; an older file stays as it was.
    """
    head = {"version": MODEL_VERSION, "digest": model.digest, "manifest": _manifest(model)}
    try:
        container.write(Path(path), MODEL_FORMAT, head, _tensors(model))
    except container.ContainerError as error:
        raise ModelError(str(error)) from None


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model file and check every part of it.

    Raises
    ------
    ModelError
        When the file is missing, foreign, truncated, of another version, or when
        a byte of it differs from what was saved.
    """
    path = Path(path)
    try:
        head, tensors = container.read(path, MODEL_FORMAT)
    except container.ContainerError as error:
        raise ModelError(f"not a usable model file: {error}") from None
    version = head.get("version")
    if version != MODEL_VERSION:
        raise ModelError(
            f"{path}: model format version {version!r}, this release reads version {MODEL_VERSION}; "
            "convert the file with the release that wrote it"
        )
    manifest = head.get("manifest")
    if not isinstance(manifest, dict):
        raise ModelError(f"{path}: the manifest is missing")
    expected = _digest(manifest, tensors)
    if head.get("digest") != expected:
        raise ModelError(
            f"{path}: integrity digest is {head.get('digest')!r} but the content has {expected}; "
            "the file was changed after it was saved"
        )
    try:
        model = _from_manifest(manifest, tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: the manifest does not describe a model: {error!r}") from None
    except (ModelError, NetworkError) as error:
        raise ModelError(f"{path}: {error}") from None
    if model.digest != expected:
        raise ModelError(
            f"{path}: the manifest holds entries that this release does not know; refused rather than ignored"
        )
    return model


def _manifest(model: Model) -> dict[str, Any]:
    channels, height, width = model.network.input_shape
    return {
        "name": model.name,
        "input": {"channels": channels, "height": height, "width": width},
        "window": {"length_ns": model.window_length_ns, "bins": model.bins},
        "labels": list(model.labels),
        "widths": WIDTHS,
        "layers": [
            {
                "name": layer.name,
                "connection": {"kind": layer.connection.kind, **layer.connection.parameters()},
                "neuron": {"kind": layer.neuron.kind, **layer.neuron.parameters()},
            }
            for layer in model.network.layers
        ],
        "record": model.record,
    }


def _tensors(model: Model) -> dict[str, NDArray[Any]]:
    tensors = {}
    for layer in model.network.layers:
        for part, owner in (("connection", layer.connection), ("neuron", layer.neuron)):
            for name, array in owner.tensors().items():
                tensors[f"{layer.name}.{part}.{name}"] = array
    return tensors


def _digest(manifest: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(container.canonical_json(manifest))
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(container.canonical_json([name, array.dtype.str, list(array.shape)]))
        digest.update(array.tobytes())
    return digest.hexdigest()


def _from_manifest(manifest: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Model:
    layers = []
    for entry in manifest["layers"]:
        parts = []
        for part, kinds in (("connection", _CONNECTIONS), ("neuron", _NEURONS)):
            parameters = dict(entry[part])
            kind = parameters.pop("kind")
            if kind not in kinds:
                raise ModelError(f"layer '{entry['name']}': unknown {part} kind {kind!r}; known are {', '.join(kinds)}")
            prefix = f"{entry['name']}.{part}."
            own = {key[len(prefix) :]: array for key, array in tensors.items() if key.startswith(prefix)}
            try:
                parts.append(kinds[kind](**parameters, **own))
            except NetworkError as error:
                raise ModelError(f"layer '{entry['name']}': {error}") from None
        layers.append(Layer(entry["name"], *parts))
    shape = manifest["input"]
    network = Network(tuple(layers), (shape["channels"], shape["height"], shape["width"]))
    window = manifest["window"]
    return Model(
        network, tuple(manifest["labels"]), window["length_ns"], window["bins"], manifest["name"], manifest["record"]
    )
