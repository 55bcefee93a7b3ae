# SPDX-License-Identifier: Apache-2.0
"""Encryption of a file at rest: AES-256-GCM over its bytes, in memory only.

Layout::

    offset  bytes
         0     16  b"neuro_ros.sealed"
        16      4  version, uint32 little-endian: 1
        20      8  key id: the first 8 bytes of SHA-256("neuro_ros key id" NUL key)
        28     12  nonce, random for each file
        40      n  the plain file, encrypted
    40 + n     16  authentication tag

Header (bytes 0 to 39) and content are authenticated together, so that any changed
byte is refused. A random nonce of 96 bits allows 2^32 files a key (NIST SP 800-38D,
8.3). This module refuses to know what the plain file is.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from neuro_ros.documents import write_atomically

from . import keys
from .crypto_shim import require_cryptography
from .errors import ModelError, ModelKeyError

__all__ = ["is_sealed", "open_sealed", "write_sealed"]

MAGIC = b"neuro_ros.sealed"
VERSION = 1
HEADER_BYTES = 40
NONCE_BYTES = 12
TAG_BYTES = 16
MAX_PLAIN_BYTES = (1 << 31) - 64  # cryptography takes less than 2 GiB in one call


def is_sealed(path: Path) -> bool:
    """Return whether the file at `path` says that it is encrypted; False where it cannot be read."""
    try:
        if not path.is_file():  # opening a pipe would wait for its other end
            return False
        with path.open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False  # whoever reads it as a plain file says why


def write_sealed(path: Path, data: bytes, key: bytes) -> None:
    """Encrypt `data` and write it to `path` as a whole or not at all.

    Raises
    ------
    ModelError
        When ``cryptography`` is missing, the data is too long, or the file cannot be written.
    """
    crypto = require_cryptography("encryption")
    if len(data) > MAX_PLAIN_BYTES:
        raise ModelError(f"cannot encrypt {len(data)} bytes, the limit is {MAX_PLAIN_BYTES}")
    nonce = secrets.token_bytes(NONCE_BYTES)
    header = MAGIC + VERSION.to_bytes(4, "little") + keys.key_id(key) + nonce
    sealed = header + crypto.AESGCM(key).encrypt(nonce, data, header)
    try:
        write_atomically(path, sealed)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None


def open_sealed(path: Path, key: bytes) -> bytes:
    """Return the plain bytes of the file at `path`.

    Raises
    ------
    ModelKeyError
        When the key is another one, or ``cryptography`` is missing.
    ModelError
        When the file was changed, truncated, or is of another version.
    """
    crypto = require_cryptography(f"{path} is encrypted, which")
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if not HEADER_BYTES + TAG_BYTES <= size <= MAX_PLAIN_BYTES:
                raise ModelError(f"{path} is truncated or too long: it is encrypted and has {size} bytes")
            header = stream.read(HEADER_BYTES)
            version = int.from_bytes(header[16:20], "little")
            if header[:16] != MAGIC or version != VERSION:
                raise ModelError(f"{path}: encryption layout {version}, this release reads {VERSION}")
            if header[20:28] != keys.key_id(key):
                raise ModelKeyError(
                    f"{path} is encrypted with the key of id {header[20:28].hex()}, "
                    f"the key given has id {keys.key_id(key).hex()}; give the right one"
                )
            sealed = stream.read(size - HEADER_BYTES)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        plain: bytes = crypto.AESGCM(key).decrypt(header[28:40], sealed, header)
    except crypto.InvalidTag:
        raise ModelError(f"{path} cannot be decrypted: it was changed after it was saved") from None
    return plain
