# SPDX-License-Identifier: Apache-2.0
"""The model file: a network with its labels, geometry, window and training record.

The container is safetensors (no code runs when a file is read) with one metadata
entry of JSON. A digest over the manifest and every tensor lies inside, so a
changed byte is refused with what differs. This module knows nothing of engines.

Layout::

    metadata["neuro_ros.model"] = {"version": 1 or 2, "digest": "<sha256>", "manifest": {...}, "signature": {...}}
    tensors, and the manifest's description of the layers: see `neuro_ros.snn.manifest`

A file has the oldest version that can say what is in it: a network that version 1
can describe keeps its digest and its model id for ever.

The digest is SHA-256 over the canonical JSON of the manifest and, for each
tensor in the order of its name: name, dtype, shape, then the bytes. The signature
is optional (`neuro_ros.snn.signing`), and so is the encryption of the whole file
(`neuro_ros.snn.sealing`); neither changes digest or model id.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import container, keys, sealing, signing
from .errors import ModelError, ModelKeyError, NetworkError
from .keys import KeySource
from .manifest import describe, rebuild
from .network import Network

__all__ = [
    "MODEL_FORMAT",
    "MODEL_VERSIONS",
    "NORMALISATIONS",
    "Model",
    "load_model",
    "load_with_signer",
    "protect_model",
    "save_model",
]

MODEL_FORMAT = "neuro_ros.model"
MODEL_VERSIONS = (1, 2)  # that this release reads
NORMALISATIONS = ("binary", "count")


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
        Free-form JSON: training data, split, seed, accuracy. ``confidence_exponent`` is read by `confidence_exponent`.
    normalisation : str
        How the events of a cell become its value: ``binary`` = 1 when at least one fell in it, ``count`` = their
        number, at most the largest payload of the network.
    """

    network: Network
    labels: tuple[str, ...]
    window_length_ns: int = 50_000_000
    bins: int = 10
    name: str = "model"
    record: Mapping[str, Any] = field(default_factory=dict)
    normalisation: str = "binary"
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
        if self.normalisation not in NORMALISATIONS:
            raise ModelError(f"normalisation is {self.normalisation!r}; known are {', '.join(NORMALISATIONS)}")
        if self.normalisation == "count" and not self.network.input_bits:
            raise ModelError("normalisation 'count' needs a network with input_bits of at least 1; this one is binary")
        object.__setattr__(self, "record", record)
        object.__setattr__(self, "digest", _contents(self)[1])

    @property
    def model_id(self) -> str:
        """Name and the first 12 digits of the digest: what messages and states carry."""
        return f"{self.name}-{self.digest[:12]}"

    @property
    def confidence_exponent(self) -> float:
        """How the shares of the evidence are sharpened, see `neuro_ros.snn.decision`; 1 where the record has none."""
        return float(self.record.get("confidence_exponent", 1.0))

    def require_binary_windows(self) -> None:
        """Raise `ModelError` unless windows that say only which cells are set are what the network was made for."""
        if self.normalisation != "binary":
            raise ModelError(
                f"model {self.model_id} takes the {self.normalisation} of events in a cell, but a spike tensor says "
                "only whether there were any; use a model with normalisation 'binary'"
            )

    @property
    def cells(self) -> int:
        """Cells of one bin of the input tensor."""
        return int(np.prod(self.network.input_shape))


def save_model(
    model: Model,
    path: str | os.PathLike[str],
    key: KeySource | None = None,
    signer: KeySource | None = None,
) -> None:
    """Write `model` to `path` as a whole or not at all.

    Parameters
    ----------
    model : Model
    path : str or path
    key : KeySource, optional
        Encrypts the file; see `neuro_ros.snn.keys` for what a source of a key is.
    signer : KeySource, optional
        Private key that signs the model.

    Raises
    ------
    ModelError
        When the file cannot be written; an older file stays as it was.
    ModelKeyError
        When a key cannot be had, or ``cryptography`` is missing.
    """
    path = Path(path)
    version, digest, manifest, tensors = _contents(model)
    head = {"version": version, "digest": digest, "manifest": manifest}
    if signer is not None:
        head["signature"] = signing.sign(version, digest, keys.read_key(signer, keys.PRIVATE))
    if key is not None:
        sealing.write_sealed(path, container.pack(MODEL_FORMAT, head, tensors), keys.read_key(key, keys.AES))
        return
    try:
        container.write(path, MODEL_FORMAT, head, tensors)
    except container.ContainerError as error:
        raise ModelError(str(error)) from None


def load_model(
    path: str | os.PathLike[str],
    key: KeySource | None = None,
    trusted: Sequence[KeySource] = (),
) -> Model:
    """Read a model file and check every part of it.

    Parameters
    ----------
    path : str or path
    key : KeySource, optional
        Of an encrypted file, which is decrypted in memory only. With a key, a file that is not encrypted is refused.
    trusted : sequence of KeySource
        Public keys; if any is given, the model must be signed by one of them.

    Raises
    ------
    ModelError
        When the file is missing, foreign, truncated, of another version, or when
        a byte of it differs from what was saved.
    ModelKeyError
        When the key is missing or wrong, no trusted key signed the model, or
        ``cryptography`` is needed and missing.
    """
    return load_with_signer(path, key, trusted)[0]


def load_with_signer(
    path: str | os.PathLike[str], key: KeySource | None = None, trusted: Sequence[KeySource] = ()
) -> tuple[Model, str | None]:
    """Do what `load_model` does and say also who signed: the public key in hexadecimal, None = nobody."""
    path = Path(path)
    keyring = [keys.read_key(source, keys.PUBLIC) for source in trusted]
    head, tensors = _read(path, key)
    if not set(head) <= {"version", "digest", "manifest", "signature"}:
        raise ModelError(f"{path}: the head holds entries that this release does not know; refused rather than ignored")
    version = head.get("version")
    if type(version) is not int or version not in MODEL_VERSIONS:
        raise ModelError(
            f"{path}: model format version {version!r}, this release reads versions "
            f"{' and '.join(map(str, MODEL_VERSIONS))}; convert the file with the release that wrote it"
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
    signer = signing.check_signature(str(path), head, keyring)
    try:
        model = _from_manifest(version, manifest, tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: the manifest does not describe a model: {error!r}") from None
    except (ModelError, NetworkError) as error:
        raise ModelError(f"{path}: {error}") from None
    if model.digest != expected:
        raise ModelError(
            f"{path}: the manifest holds entries that this release does not know; refused rather than ignored"
        )
    return model, signer


def protect_model(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    key: KeySource | None = None,
    trusted: Sequence[KeySource] = (),
    encrypt: KeySource | None = None,
    signer: KeySource | None = None,
) -> Model:
    """Write a copy of a model file that is encrypted, signed, or both, and return the model.

    Without `signer` the copy keeps the signature of the original: who encrypts need not be who vouches for it.

    Parameters
    ----------
    source, target : str or path
        The same path replaces the file.
    key, trusted
        To read `source`, as in `load_model`.
    encrypt, signer
        To write `target`, as in `save_model`; at least one of them.

    Raises
    ------
    ModelError, ModelKeyError
        As `load_model` and `save_model` do, and when there is nothing to do.
    """
    if encrypt is None and signer is None:
        raise ModelKeyError("nothing to do: give a key to encrypt with, a key to sign with, or both")
    model = load_model(source, key, trusted)
    if signer is not None:
        save_model(model, target, encrypt, signer)
    elif encrypt is not None:
        source = Path(source)
        aes = keys.read_key(encrypt, keys.AES)
        if key is not None:
            plain = sealing.open_sealed(source, keys.read_key(key, keys.AES))
        else:
            plain = source.read_bytes()
        sealing.write_sealed(Path(target), plain, aes)
    return model


def _read(path: Path, key: KeySource | None) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return head and tensors of a plain or an encrypted file."""
    sealed = sealing.is_sealed(path)
    if sealed and key is None:
        raise ModelKeyError(f"{path} is encrypted; give its key")
    if key is not None and not sealed and path.is_file():
        raise ModelKeyError(f"{path} is not encrypted although a key was given; give none, or the encrypted file")
    try:
        if sealed and key is not None:
            plain = sealing.open_sealed(path, keys.read_key(key, keys.AES))
            return container.parse(str(path), plain, MODEL_FORMAT)
        return container.read(path, MODEL_FORMAT)
    except container.ContainerError as error:
        raise ModelError(f"not a usable model file: {error}") from None


def _contents(model: Model) -> tuple[int, str, dict[str, Any], dict[str, NDArray[Any]]]:
    """Return version, digest, manifest and tensors of the file of `model`."""
    version, description, tensors = describe(model.network, model.normalisation)
    manifest = {
        "name": model.name,
        "window": {"length_ns": model.window_length_ns, "bins": model.bins},
        "labels": list(model.labels),
        "record": model.record,
        **description,
    }
    return version, _digest(manifest, tensors), manifest, tensors


def _digest(manifest: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(container.canonical_json(manifest))
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(container.canonical_json([name, array.dtype.str, list(array.shape)]))
        digest.update(array.tobytes())
    return digest.hexdigest()


def _from_manifest(version: int, manifest: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Model:
    network, normalisation = rebuild(version, manifest, tensors)
    window = manifest["window"]
    return Model(
        network,
        tuple(manifest["labels"]),
        window["length_ns"],
        window["bins"],
        manifest["name"],
        manifest["record"],
        normalisation,
    )
