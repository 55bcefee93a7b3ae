# SPDX-License-Identifier: Apache-2.0
"""What was computed from files is kept under a digest of all that decided it: in a folder, and before it in memory.

An entry of the folder is a file: the SHA-256 of its content, then the content. It is written under another name and
moved in place, so that neither a second writer nor a kill leaves half of one; what was damaged on the disk does not
match its digest, is thrown away and computed anew. When the folder grows beyond its bound, what was not used for
longest goes. Where it cannot be written, no space being left, work goes on without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

__all__ = ["MemoryCache", "SampleCache", "TensorCache"]

_logger = logging.getLogger(__name__)

_DIGEST_BYTES = 32
_SUFFIX, _PARTIAL = ".sample", ".partial"
# A partial file that is older was left by a process that is gone.
_STALE_S = 3600.0
# Down to which share of the bound the folder is cleared, so that not each new entry looks through it.
_CLEARED = 0.8
# After so many entries of our own, what other processes have written is counted again.
_RECOUNT = 64


class TensorCache(Protocol):
    """Bytes by key; whatever it does not keep is computed again."""

    def get(self, key: str) -> bytes | None:
        """Return what was put under a key; None when it is not there."""

    def put(self, key: str, content: bytes) -> None:
        """Keep something under a key, if there is room."""


class MemoryCache:
    """Bytes by key, bounded, in memory, before another cache.

    Training passes over all recordings again and again, so that throwing out the least recently used would keep
    nothing: what came first stays, and what finds no room is left to the cache behind.

    Parameters
    ----------
    max_bytes : int
        Most that it holds.
    behind : TensorCache, optional
        Asked for what is not here, and given what is put.
    """

    def __init__(self, max_bytes: int = 1 << 30, behind: TensorCache | None = None) -> None:
        self.max_bytes, self.behind = int(max_bytes), behind
        self._kept: dict[str, bytes] = {}
        self._bytes = 0

    def get(self, key: str) -> bytes | None:
        """Return what was put under a key; None when it is neither here nor behind."""
        content = self._kept.get(key)
        if content is None and self.behind is not None:
            content = self.behind.get(key)
            if content is not None:
                self._keep(key, content)
        return content

    def put(self, key: str, content: bytes) -> None:
        """Keep something under a key here, if there is room, and behind."""
        self._keep(key, content)
        if self.behind is not None:
            self.behind.put(key, content)

    def _keep(self, key: str, content: bytes) -> None:
        if key not in self._kept and self._bytes + len(content) <= self.max_bytes:
            self._kept[key] = content
            self._bytes += len(content)


class SampleCache:
    """Bytes by key, bounded, on disk; any number of processes may share a folder.

    Parameters
    ----------
    folder : path-like
        Made when needed.
    max_bytes : int
        Most that it holds, but for what other processes write between two looks at it.
    clock_s : callable
        Wall clock, to tell what is stale.

    Attributes
    ----------
    hits, misses, damaged : int
        Of `get`, so far.
    trouble : str
        Why it is no longer written; empty = it is.
    """

    def __init__(
        self, folder: str | os.PathLike[str], max_bytes: int = 4 << 30, clock_s: Callable[[], float] = time.time
    ) -> None:
        self.folder, self.max_bytes = Path(folder), int(max_bytes)
        self.hits = self.misses = self.damaged = 0
        self.trouble = ""
        self._clock_s = clock_s
        self._bytes = 0
        self._since_count = _RECOUNT  # the first entry counts what is there

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def get(self, key: str) -> bytes | None:
        """Return what was put under a key; None when it is not there, or damaged.

        Parameters
        ----------
        key : str
            A digest in hexadecimal.
        """
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            self.misses += 1
            return None
        content = data[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != data[:_DIGEST_BYTES]:
            self.damaged += 1
            self.misses += 1
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        self.hits += 1
        with contextlib.suppress(OSError):  # evicted by another process, or a folder that is only read
            os.utime(path)
        return content

    def put(self, key: str, content: bytes) -> None:
        """Keep something under a key; after a failure, nothing any more.

        Parameters
        ----------
        key : str
            A digest in hexadecimal.
        content : bytes
            Larger than the bound is not kept.
        """
        size = len(content) + _DIGEST_BYTES
        if self.trouble or size > self.max_bytes:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(size)
            self._write(self._path(key), content)
        except OSError as error:
            self.trouble = error.strerror or str(error)
            _logger.warning("%s: nothing more is cached: %s", self.folder, self.trouble)
            return
        self._bytes += size
        self._since_count += 1

    def _write(self, path: Path, content: bytes) -> None:
        handle, name = tempfile.mkstemp(_PARTIAL, path.stem[:16] + ".", self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(content).digest())
                file.write(content)
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise

    def _make_room(self, size: int) -> None:
        """Count what is there now and then, and clear the folder when an entry would not fit."""
        if self._since_count < _RECOUNT and self._bytes + size <= self.max_bytes:
            return
        files: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            if path.suffix not in (_SUFFIX, _PARTIAL):
                continue  # somebody else's
            with contextlib.suppress(OSError):  # gone since
                stat = path.stat()
                if path.suffix == _PARTIAL and self._clock_s() - stat.st_mtime > _STALE_S:
                    path.unlink()
                else:
                    files.append((stat.st_mtime, stat.st_size, path))
        self._bytes = sum(held for _, held, _ in files)
        self._since_count = 0
        if self._bytes + size <= self.max_bytes:
            return
        for _, held, path in sorted(entry for entry in files if entry[2].suffix == _SUFFIX):
            with contextlib.suppress(OSError):
                path.unlink()
            self._bytes -= held
            if self._bytes + size <= _CLEARED * self.max_bytes:
                break
