# SPDX-License-Identifier: Apache-2.0
"""Safetensors files with one JSON head: written whole or not at all, read with suspicion.

Models and states share this container. It refuses to know what the tensors mean.
Reading allocates no more than the file is long and never runs anything from it.
"""

from __future__ import annotations

import io
import json
import os
import secrets
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

__all__ = ["ContainerError", "canonical_json", "pack", "parse", "read", "write", "write_atomically"]

MAX_HEADER_BYTES = 16 << 20  # a header is names, shapes and a manifest; a larger one is not ours
MAX_FILE_BYTES = 2 << 30
PICKLE_MAGIC = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


class ContainerError(Exception):
    """The file cannot be read as, or written to, such a container; the text says why."""


def canonical_json(value: Any) -> bytes:
    """Return `value` as JSON with sorted keys and no spaces, in ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def pack(file_format: str, head: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> bytes:
    """Return the bytes of a file with this head and these tensors."""
    data: bytes = safetensors.numpy.save(
        {name: np.asarray(array, order="C") for name, array in tensors.items()},
        metadata={file_format: canonical_json(head).decode("ascii")},
    )
    return data


def write(path: Path, file_format: str, head: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> None:
    """Write head and tensors to `path` through a temporary file in the same folder.

    Raises
    ------
    ContainerError
        When the folder is missing, unwritable or full. What was at `path` stays.
    """
    try:
        write_atomically(path, pack(file_format, head, tensors))
    except (OSError, ValueError) as error:
        raise ContainerError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data` so that a reader, or a crash, sees the old or the new file, never a part."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}.tmp"
    # os.open rather than tempfile: the file shall have the permissions of any other file under this umask
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # the rename itself survives a power cut only then
    finally:
        os.close(folder)


def read(path: Path, file_format: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the head and the tensors of the container at `path`.

    Raises
    ------
    ContainerError
        When it is missing, truncated, not safetensors, or of another format.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # opening a pipe waits for its other end
            raise ContainerError(f"{path} is not a regular file")
        with path.open("rb") as stream:
            return _read(str(path), stream, os.fstat(stream.fileno()).st_size, file_format)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL byte
        raise ContainerError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def parse(place: str, data: bytes, file_format: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the head and the tensors of a file that is in memory; `place` names it in errors.

    Raises
    ------
    ContainerError
        As `read` does.
    """
    return _read(place, io.BytesIO(data), len(data), file_format)


def _read(place: str, stream: BinaryIO, size: int, file_format: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    if not 8 <= size <= MAX_FILE_BYTES:
        raise ContainerError(f"{place} has {size} bytes, outside 8..{MAX_FILE_BYTES}")
    start = stream.read(8)
    length = int.from_bytes(start, "little")
    if start[:2] in PICKLE_MAGIC and length > MAX_HEADER_BYTES:
        raise ContainerError(f"{place} is a pickle; pickles can run code and are never read")
    if length > min(MAX_HEADER_BYTES, size - 8):
        if int.from_bytes(start, "big") <= size - 8 and stream.read(1) == b"{":
            raise ContainerError(f"{place} has its bytes in another order: these files are little-endian everywhere")
        raise ContainerError(
            f"{place} is truncated or not safetensors: its header claims {length} bytes, the file has {size}"
        )
    data = start + stream.read(length)
    head = _head(place, data[8:], file_format)
    data += stream.read(size - len(data))  # a larger number would be allocated, whatever the file holds
    try:
        tensors = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ContainerError(f"{place} is truncated or damaged: {error}") from None
    return head, tensors


def _head(place: str, raw: bytes, file_format: str) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
        header = json.loads(text)
        compact = json.dumps(header, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise ContainerError(f"{place} is not safetensors: its header is not JSON ({error})") from None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or file_format not in metadata:
        found = ", ".join(sorted(metadata)) if isinstance(metadata, dict) and metadata else "nothing"
        raise ContainerError(f"{place} is not a {file_format} file: its metadata names {found}")
    if compact != text.rstrip(" "):
        # a blank changed into a tab is valid JSON, yet not what was saved
        raise ContainerError(f"{place}: the header is not in its canonical form; the file was changed after saving")
    try:
        head = json.loads(metadata[file_format])
        canonical = canonical_json(head).decode("ascii")
    except (ValueError, TypeError, RecursionError) as error:
        raise ContainerError(f"{place}: the {file_format} entry is not JSON ({error})") from None
    if not isinstance(head, dict) or canonical != metadata[file_format]:
        raise ContainerError(f"{place}: the {file_format} entry differs from its canonical form")
    return head
