# SPDX-License-Identifier: Apache-2.0
"""Ed25519 signatures of model files: who says that this is the network to run.

The signature lies in the head of the file, beside the digest that it covers::

    "signature": {"algorithm": "ed25519", "public_key": "<hex>", "value": "<hex>"}

Signed are the bytes ``"neuro_ros.model signature" NUL version NUL digest`` (ASCII).
As the digest is a SHA-256 over the manifest and every tensor, so is the signature.
Digest and model id are those of the unsigned model, and states stay with it.

A signature is verified whenever a signed file is read, so that a changed one is
refused; only the list of trusted keys says whether it is worth anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import keys
from .crypto_shim import require_cryptography
from .errors import ModelError, ModelKeyError

__all__ = ["check_signature", "sign"]

ALGORITHM = "ed25519"


def _signed_bytes(version: Any, digest: Any) -> bytes:
    return b"\0".join((b"neuro_ros.model signature", str(version).encode(), str(digest).encode()))


def sign(version: int, digest: str, private: bytes) -> dict[str, str]:
    """Return the signature entry of a file of this version and digest."""
    crypto = require_cryptography("a signature")
    signature = crypto.PrivateKey.from_private_bytes(private).sign(_signed_bytes(version, digest))
    return {"algorithm": ALGORITHM, "public_key": keys.public_of(private).hex(), "value": signature.hex()}


def check_signature(place: str, head: dict[str, Any], trusted: Iterable[bytes]) -> str | None:
    """Verify the signature in `head`, and that one of the keys in `trusted` made it if there are any.

    Returns
    -------
    str or None
        The public key of the signer in hexadecimal; None = not signed.

    Raises
    ------
    ModelKeyError
        When the file is not signed though keys are trusted, or by none of these; or ``cryptography`` is missing.
    ModelError
        When the signature does not belong to the file.
    """
    known = {key.hex() for key in trusted}
    entry = head.get("signature")
    if entry is None:
        if known:
            raise ModelKeyError(f"{place} is not signed; it must be, by one of the {len(known)} trusted keys")
        return None
    crypto = require_cryptography(f"{place} is signed, which")
    if not isinstance(entry, dict) or sorted(entry) != ["algorithm", "public_key", "value"]:
        raise ModelError(f"{place}: the signature entry is not one")
    if entry["algorithm"] != ALGORITHM:
        raise ModelError(f"{place}: signed with {entry['algorithm']!r}, this release knows {ALGORITHM}")
    signer = entry["public_key"]
    try:
        public, value = bytes.fromhex(signer), bytes.fromhex(entry["value"])
        if (public.hex(), value.hex()) != (signer, entry["value"]):
            raise ValueError("capitals or blanks, which nobody signed")
        crypto.PublicKey.from_public_bytes(public).verify(value, _signed_bytes(head.get("version"), head.get("digest")))
    except (crypto.InvalidSignature, TypeError, ValueError):
        raise ModelError(f"{place}: the signature does not belong to this file; it was changed after signing") from None
    if known and signer not in known:
        raise ModelKeyError(f"{place} is signed by {signer[:16]}..., which is none of the {len(known)} trusted keys")
    return str(signer)
