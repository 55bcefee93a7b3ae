# SPDX-License-Identifier: Apache-2.0
"""Small files that a crash, a full disk or a stranger must not turn into a wrong answer: written whole, read bounded.

What a file means is its owner's; owners turn `DocumentError` and OSError into errors of their own.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from neuro_ros.errors import NeuroRosError

__all__ = ["DocumentError", "read_json", "write_atomically"]


class DocumentError(NeuroRosError):
    """A file that is missing, too long, not JSON, or of another format or version; one line without the path."""


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data` so that a reader, or a crash, sees the old or the new file, never a part.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    data : bytes
        The whole content.

    Raises
    ------
    OSError
        It cannot be written; what was there stays.
    """
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


def read_json(path: Path, most_bytes: int, format_name: str, version: int, remedy: str = "") -> dict[str, Any]:
    """Return the object in a JSON file that names its own format and version.

    Parameters
    ----------
    path : Path
        The file.
    most_bytes : int
        Longer ones are refused before they are parsed.
    format_name, version : str, int
        What its entries ``format`` and ``version`` must be.
    remedy : str
        Told with a version that does not fit.

    Raises
    ------
    DocumentError
        It is not such a file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL byte
        raise DocumentError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > most_bytes:
        raise DocumentError(f"is longer than {most_bytes} bytes; no {format_name} is")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"is not a {format_name}: {error}") from None
    if not isinstance(content, dict) or content.get("format") != format_name:
        raise DocumentError(f"is not a {format_name}, which names its format so")
    if content.get("version") != version:
        after = f"; {remedy}" if remedy else ""
        raise DocumentError(f"has version {content.get('version')!r}, this release reads version {version}{after}")
    return content
