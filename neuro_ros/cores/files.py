# SPDX-License-Identifier: Apache-2.0
"""Where models and saved states lie on disk, and which paths a caller may name.

This module refuses to know about threads and services; it reads and writes when it is called.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from neuro_ros.errors import NeuroRosError
from neuro_ros.resources import ResourceError, models_directory
from neuro_ros.snn import Model, NetworkState, StateError, load_state, save_state

__all__ = ["StateDirectory", "StatePathError", "confine", "model_path"]

_SUFFIX = ".safetensors"
_PREFIX = "state-"
#: What the kernel takes as a path, and as a name in it [bytes].
_LONGEST_PATH, _LONGEST_NAME = 4095, 255
#: Of a refused path, so much is repeated [characters]: whoever sent it may have sent a megabyte.
_SHOWN = 120


class StatePathError(NeuroRosError):
    """A state file was named that lies outside the configured folder, or there is no such folder."""


def model_path(name: str) -> Path:
    """Return the file of a model given by path or by the name of a shipped one.

    Parameters
    ----------
    name : str
        A path (anything with a folder or the suffix ``.safetensors``), or a bare name such as ``gesture``.
    """
    path = Path(name).expanduser()
    if path.suffix == _SUFFIX or len(path.parts) > 1:
        return path
    try:
        return models_directory() / f"{name}{_SUFFIX}"
    except ResourceError:
        return path


def confine(path: str, root: Path, parameter: str) -> Path:
    """Return the file that a remote peer names, when it lies inside a folder.

    Parameters
    ----------
    path : str
        As it was sent: relative to `root`, or absolute.
    root : Path
        The folder, resolved.
    parameter : str
        What configures the folder, for the text of a refusal.

    Returns
    -------
    Path
        Absolute, with every link followed. It need not exist.

    Raises
    ------
    StatePathError
        When it leads outside, also by a link or ``..``, cannot be a path, or names something that is no file: a folder,
        a pipe that would never come to an end, a device.
    """
    shown = repr(path[:_SHOWN])
    shown = shown if len(path) <= _SHOWN >= len(shown) else f"{shown[:_SHOWN]}...'"
    encoded = path.encode("utf-8", "replace")
    if len(encoded) > _LONGEST_PATH or max(map(len, encoded.split(b"/"))) > _LONGEST_NAME:
        raise StatePathError(f"{shown} is too long for a path")
    try:
        resolved = (root / path).resolve()
        inside = bool(path) and resolved != root and resolved.is_relative_to(root)
        usable = inside and (resolved.is_file() or not resolved.exists())
    except (OSError, RuntimeError, ValueError) as error:  # loops of links, NUL bytes
        raise StatePathError(f"{shown} is not a path: {error}") from None
    if not inside:
        raise StatePathError(f"{shown} is not a file inside {parameter} {root}")
    if not usable:
        raise StatePathError(f"{shown} in {parameter} {root} is there, but is no file")
    return resolved


class StateDirectory:
    """The folder of saved states, one file a stream, and nothing outside of it.

    Parameters
    ----------
    directory : str
        The folder; made when it is missing. Empty = none: every call is refused.

    Raises
    ------
    StatePathError
        When the folder cannot be made.
    """

    def __init__(self, directory: str) -> None:
        self._root = Path(directory).expanduser().resolve() if directory else None
        if self._root is not None:
            try:
                self._root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StatePathError(f"state_directory {self._root} cannot be made: {error.strerror}") from None

    def __bool__(self) -> bool:
        return self._root is not None

    def path(self, stream_id: str) -> Path:
        """Return the file that the node itself chooses for a stream."""
        safe = re.sub(r"[^A-Za-z0-9_.-]", "_", stream_id)[:80]
        if safe != stream_id:  # two streams must never share a file
            safe = f"{safe}-{hashlib.sha256(stream_id.encode()).hexdigest()[:8]}"
        return self._folder() / f"{_PREFIX}{safe}{_SUFFIX}"

    def confine(self, path: str) -> Path:
        """Return `path` inside the folder.

        Raises
        ------
        StatePathError
            As `confine`.
        """
        return confine(path, self._folder(), "state_directory")

    def save(self, state: NetworkState, path: Path) -> str:
        """Write `state` as a whole or not at all and return the sha256 of the file.

        Raises
        ------
        StateError
            When it cannot be written; an older file is whole.
        """
        save_state(state, path)
        return file_digest(path)

    def load(self, path: Path, model: Model) -> tuple[NetworkState, str]:
        """Return the state in `path` and the sha256 of the file.

        Raises
        ------
        StateError
            When the file is not a state of `model`; the text says what differs.
        """
        state = load_state(path, model)
        return state, file_digest(path)

    def load_all(self, model: Model) -> tuple[list[NetworkState], list[str]]:
        """Return the usable states that the node itself saved, and one line for each that was refused."""
        paths = sorted(self._root.glob(f"{_PREFIX}*{_SUFFIX}")) if self._root is not None else []
        found = [_load_or_reason(path, model) for path in paths]
        return [item for item in found if isinstance(item, NetworkState)], [x for x in found if isinstance(x, str)]

    def _folder(self) -> Path:
        if self._root is None:
            raise StatePathError("state_directory is not set; states can be neither saved nor loaded")
        return self._root


def _load_or_reason(path: Path, model: Model) -> NetworkState | str:
    try:
        return load_state(path, model)
    except StateError as error:
        return str(error)


def file_digest(path: Path) -> str:
    """Return the sha256 of a file.

    Raises
    ------
    StateError
        When it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}") from None
