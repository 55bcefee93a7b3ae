# SPDX-License-Identifier: Apache-2.0
"""A state file as it lies on disk: version, manifest and tensors, whole but not yet understood.

Between the file and `NetworkState`. Conversion works here, so that what this release
does not know is kept where the protocol allows it. This module refuses to know about
networks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import container
from .errors import StateError
from .state_fields import KNOWN, STATE_FORMAT, VERSIONS

__all__ = ["StateDocument", "read_document"]

#: Entry of the manifest that declares the optional fields, and the only one of a declaration.
DECLARATIONS, MUST_UNDERSTAND = "optional", "must_understand"


@dataclass(frozen=True, eq=False)
class StateDocument:
    """The content of a state file.

    Parameters
    ----------
    version : int
        One of `VERSIONS`.
    manifest : mapping
        JSON.
    tensors : mapping of str to array
        By name.

    Raises
    ------
    StateError
        When the declarations of optional fields are none.
    """

    version: int
    manifest: Mapping[str, Any]
    tensors: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        declared = self.manifest.get(DECLARATIONS, {})
        if not isinstance(declared, dict) or not all(
            isinstance(entry, dict) and isinstance(entry.get(MUST_UNDERSTAND), bool) for entry in declared.values()
        ):
            raise StateError(f"the manifest's entry '{DECLARATIONS}' does not declare fields with {MUST_UNDERSTAND}")

    @property
    def declared(self) -> dict[str, bool]:
        """The optional fields that the writer declared, and whether they must be understood."""
        if self.version == 1:
            return {}
        return {name: entry[MUST_UNDERSTAND] for name, entry in self.manifest.get(DECLARATIONS, {}).items()}

    @property
    def unknown(self) -> list[str]:
        """Fields that this release does not know, declared or not."""
        names = {*self.declared, *self.manifest, *(name.partition(".")[0] for name in self.tensors)}
        return sorted(name for name in names - {DECLARATIONS} if name not in KNOWN)

    def require_understood(self) -> None:
        """Raise `StateError` naming the fields that must be understood and are not known here."""
        missing = [name for name in self.unknown if self.declared.get(name)]
        if missing:
            raise StateError(
                f"the state holds {', '.join(missing)}, which this release does not know and which must be understood; "
                "use the release that wrote it"
            )

    def group(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the tensors of a field by their full names."""
        return {full: array for full, array in self.tensors.items() if full.partition(".")[0] == name}

    def digest(self) -> str:
        """Return the SHA-256 of the manifest and, in the order of their names, of the tensors."""
        digest = hashlib.sha256(container.canonical_json(self.manifest))
        for name in sorted(self.tensors):
            array = np.asarray(self.tensors[name])
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(container.canonical_json([name, array.dtype.str, list(array.shape)]))
            digest.update(array.tobytes())
        return digest.hexdigest()

    def write(self, path: str | os.PathLike[str]) -> str:
        """Write the file as a whole or not at all and return `digest`.

        Raises
        ------
        StateError
            When it cannot be written; an older file stays as it was.
        """
        digest = self.digest()
        head = {"version": self.version, "digest": digest, "manifest": dict(self.manifest)}
        try:
            container.write(Path(path), STATE_FORMAT, head, dict(self.tensors))
        except container.ContainerError as error:
            raise StateError(str(error)) from None
        return digest


def read_document(path: str | os.PathLike[str]) -> StateDocument:
    """Read a state file and check that it is whole and of a version that is known.

    Raises
    ------
    StateError
        When the file is missing, foreign, truncated, changed, or of another version; the text says what is wrong.
    """
    try:
        head, tensors = container.read(Path(path), STATE_FORMAT)
    except container.ContainerError as error:
        raise StateError(f"not a usable state file: {error}") from None
    version = head.get("version")
    if type(version) is not int or version not in VERSIONS:
        raise StateError(
            f"{path}: state format version {version!r}, this release reads {' and '.join(map(str, VERSIONS))}; "
            "convert it with the release that wrote it (neuro_ros state convert --version)"
        )
    manifest = head.get("manifest")
    if not isinstance(manifest, dict):
        raise StateError(f"{path}: the manifest is missing")
    try:
        document = StateDocument(version, manifest, tensors)
    except StateError as error:
        raise StateError(f"{path}: {error}") from None
    expected = document.digest()
    if head.get("digest") != expected:
        raise StateError(
            f"{path}: integrity digest is {head.get('digest')!r} but the content has {expected!r}; "
            "the file was changed after it was saved"
        )
    return document
