# SPDX-License-Identifier: Apache-2.0
"""Keys for model files: 32 bytes of a stated kind, from a file or a named environment variable.

A key is one line of text, the kind in it so that no key is taken for another::

    neuro_ros-key aes256 <64 hexadecimal digits>

Kinds: ``aes256`` encrypts, ``ed25519-private`` signs, ``ed25519-public`` says whose
signature is trusted. Wherever a key is asked for, its source is given as the path
of such a file, as ``env:NAME`` for a variable that holds such a line, or as the 32
bytes themselves. No variable is looked at unless it is named.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from .crypto_shim import require_cryptography
from .errors import ModelKeyError

__all__ = ["AES", "PRIVATE", "PUBLIC", "KeySource", "generate", "key_id", "public_of", "read_key", "write_key"]

AES, PRIVATE, PUBLIC = "aes256", "ed25519-private", "ed25519-public"
KEY_BYTES = 32
_PREFIX = "neuro_ros-key"
_MAX_FILE_BYTES = 4096

KeySource = bytes | str | os.PathLike[str]


def generate(kind: str) -> bytes:
    """Return a new random key of kind ``aes256`` or ``ed25519-private``; both are plain random bytes."""
    if kind not in (AES, PRIVATE):
        raise ModelKeyError(f"a key of kind {kind!r} is not made at random; known are {AES} and {PRIVATE}")
    return secrets.token_bytes(KEY_BYTES)


def public_of(private: bytes) -> bytes:
    """Return the public key that verifies what `private` signs.

    Raises
    ------
    ModelKeyError
        When ``cryptography`` is missing.
    """
    crypto = require_cryptography("a public key")
    public: bytes = crypto.PrivateKey.from_private_bytes(private).public_key().public_bytes(*crypto.RAW)
    return public


def key_id(key: bytes) -> bytes:
    """Return 8 bytes that tell keys apart and say nothing about them."""
    return hashlib.sha256(b"neuro_ros key id\0" + key).digest()[:8]


def write_key(path: str | os.PathLike[str], kind: str, key: bytes) -> None:
    """Write a key to a new file that only its owner can read (a public key: anybody).

    Raises
    ------
    ModelKeyError
        When the file exists, or cannot be written.
    """
    text = f"{_PREFIX} {kind} {key.hex()}\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644 if kind == PUBLIC else 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(text)
    except OSError as error:
        raise ModelKeyError(f"cannot write the key {os.fspath(path)}: {error.strerror or error}") from None


def read_key(source: KeySource, kind: str) -> bytes:
    """Return the 32 bytes of a key of `kind`; see the module for what a source is.

    Raises
    ------
    ModelKeyError
        When there is no such file or variable, or it does not hold a key of this kind. The text never holds the key.
    """
    if isinstance(source, bytes):
        if len(source) != KEY_BYTES:
            raise ModelKeyError(f"the {kind} key has {len(source)} bytes, {KEY_BYTES} are needed")
        return source
    place = os.fspath(source)
    if place.startswith("env:"):
        place = f"environment variable {place[4:]}"
        value = os.environ.get(os.fspath(source)[4:])
        if value is None:
            raise ModelKeyError(f"{place} is not set; it should hold the {kind} key")
        text = value
    else:
        try:
            with Path(place).open("rb") as stream:
                text = stream.read(_MAX_FILE_BYTES).decode("ascii", errors="replace")
        except (OSError, ValueError) as error:
            raise ModelKeyError(f"cannot read the key {place}: {getattr(error, 'strerror', None) or error}") from None
    words = text.split()
    if len(words) != 3 or words[0] != _PREFIX:
        raise ModelKeyError(f"{place} holds no key: one line '{_PREFIX} {kind} <64 hexadecimal digits>' is needed")
    if words[1] != kind:
        raise ModelKeyError(f"{place} holds a key of kind {words[1][:32]!r}, {kind!r} is needed")
    try:
        key = bytes.fromhex(words[2])
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ModelKeyError(f"{place} holds no {kind} key: {2 * KEY_BYTES} hexadecimal digits are needed")
    return key
