# SPDX-License-Identifier: Apache-2.0
"""Where models and saved states lie on disk, and which paths a caller may name.

This module refuses to know about threads and services; it reads and writes when it is called.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path

from neuro_ros.errors import NeuroRosError
from neuro_ros.resources import ResourceError, models_directory
from neuro_ros.snn import Model, NetworkState, StateError, load_state, save_state
from neuro_ros.snn.state_migrate import migrate

__all__ = ["StateDirectory", "StatePathError", "confine", "model_path", "shown_path"]

_SUFFIX = ".safetensors"
_PREFIX = "state-"
_INCOMING = "new"  # mark of a state that is on disk but has not taken its place
#: What is half written for so long belongs to a writer that was killed [ns].
_ABANDONED_NS = 60_000_000_000
#: What the kernel takes as a path, and as a name in it [bytes].
_LONGEST_PATH, _LONGEST_NAME = 4095, 255
#: Of a refused path, so much is repeated [characters].
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


def shown_path(path: str) -> str:
    """Quote a path for a refusal, shortened: whoever sent it may have sent a megabyte."""
    shown = repr(path[:_SHOWN])
    return shown if len(path) <= _SHOWN >= len(shown) else f"{shown[:_SHOWN]}...'"


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
    shown = shown_path(path)
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
    """The folder of saved states, a few files a stream, and nothing outside of it.

    The newest state of a stream is ``state-STREAM.safetensors``; ``state-STREAM~1.safetensors`` is the one before it,
    and so on. At every moment, also when the power fails, each of them is whole. Names that begin with ``state-`` are
    the node's own: it removes the oldest.

    Parameters
    ----------
    directory : str
        The folder; made when it is missing. Empty = none: every call is refused.
    keep : int
        States kept of a stream, at least 1.
    max_streams : int
        Streams of which states are kept; those saved longest ago make room. 0 = any number.

    Raises
    ------
    StatePathError
        When the folder cannot be made.
    """

    def __init__(self, directory: str, keep: int = 1, max_streams: int = 0) -> None:
        self._keep = keep
        self._max_streams = max_streams
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

        At the path that the node itself chooses, the states before it are kept, and those that are too many removed.

        Raises
        ------
        StateError
            When it cannot be written; an older file is whole.
        """
        if path != self.path(state.stream_id):
            save_state(state, path)
            return file_digest(path)
        if self._keep == 1:
            save_state(state, path)
        else:
            incoming = _sibling(path, _INCOMING)  # on disk, whole, before an older one moves
            save_state(state, incoming)
            try:
                self._shift(path)
                incoming.replace(path)
                _sync(path.parent)
            except OSError as error:
                raise StateError(f"cannot write {path}: {error.strerror}") from None
        digest = file_digest(path)
        with contextlib.suppress(OSError):  # the state is on disk; what is left to tidy, the next save finds
            self._tidy(path)
        return digest

    def load(self, path: Path, model: Model) -> tuple[NetworkState, str]:
        """Return the state in `path` and the sha256 of the file.

        Raises
        ------
        StateError
            When the file is not a state of `model`; the text says what differs.
        """
        state = load_state(path, model)
        return state, file_digest(path)

    def load_migrated(self, path: Path, model: Model) -> tuple[NetworkState, str, list[str]]:
        """Return the state in `path` for `model` whatever model it is of, the sha256 of the file, and what is lost.

        Raises
        ------
        StateError
            When the file is no state, or no layer of it is one of `model`.
        """
        state, lines = migrate(load_state(path), model)
        return state, file_digest(path), lines

    def load_all(self, model: Model) -> tuple[list[NetworkState], list[str]]:
        """Return the newest usable state of each stream that the node itself saved, and one line for each refused.

        The stream that was saved last comes last.
        """
        states, refused = [], []
        for paths in self._streams()[-self._max_streams :]:
            for path in paths:
                try:
                    states.append(load_state(path, model))
                    break
                except StateError as error:
                    refused.append(str(error))
        return states, refused

    def _streams(self) -> list[list[Path]]:
        """Return per stream its files, the newest first; the stream that was saved last at the end."""
        families: dict[str, list[tuple[int, Path]]] = {}
        for path in self._root.glob(f"{_PREFIX}*{_SUFFIX}") if self._root is not None else ():
            stream, _, mark = path.name.removesuffix(_SUFFIX).partition("~")
            if mark not in ("", _INCOMING) and not mark.isdecimal():
                continue
            # one that came in whole before the power failed is the newest of all
            age = -1 if mark == _INCOMING else int(mark or 0)
            families.setdefault(stream, []).append((age, path))
        found = [[path for _, path in sorted(family)] for family in families.values()]
        return sorted(found, key=lambda paths: (_modified_ns(paths[0]), paths[0]))

    def _shift(self, path: Path) -> None:
        """Make the state at `path` the one before it, and so on; `path` itself stays."""
        for number in range(self._keep - 2, 0, -1):
            older = _sibling(path, str(number))
            if older.exists():
                older.replace(_sibling(path, str(number + 1)))
        if not path.exists():
            return
        before = _sibling(path, "1")
        before.unlink(missing_ok=True)
        try:
            before.hardlink_to(path)
        except OSError:  # a file system without links, as on memory cards
            path.replace(before)

    def _tidy(self, path: Path) -> None:
        """Remove states beyond `keep` and `max_streams`, and what a killed writer left."""
        streams = self._streams()
        surplus = streams[: -self._max_streams] if self._max_streams else []
        for paths in surplus:
            for file in paths:
                file.unlink(missing_ok=True)
        for file in next((paths for paths in streams if path in paths), [])[self._keep :]:
            file.unlink(missing_ok=True)
        limit_ns = _modified_ns(path) - _ABANDONED_NS
        for file in path.parent.glob(f".{_PREFIX}*{_SUFFIX}.*.tmp"):
            if _modified_ns(file) < limit_ns:
                file.unlink(missing_ok=True)

    def _folder(self) -> Path:
        if self._root is None:
            raise StatePathError("state_directory is not set; states can be neither saved nor loaded")
        return self._root


def _sibling(path: Path, mark: str) -> Path:
    """Return the file beside a stream's newest state; no name of a stream holds a ~."""
    return path.with_name(f"{path.name.removesuffix(_SUFFIX)}~{mark}{_SUFFIX}")


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # gone since it was listed
        return 0


def _sync(folder: Path) -> None:
    """Make what was renamed in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
