# SPDX-License-Identifier: Apache-2.0
"""The only place that imports ``cryptography``, which most installs do without.

It is asked for when a model is encrypted, decrypted, signed or verified, never before.
"""

from __future__ import annotations

from types import SimpleNamespace

from .errors import ModelKeyError

__all__ = ["INSTALL_HINT", "require_cryptography"]

INSTALL_HINT = "pip install 'neuro_ros[crypto]'"


def require_cryptography(what: str) -> SimpleNamespace:
    """Return the names in use, or raise `ModelKeyError` saying that `what` needs the package.

    Returns
    -------
    SimpleNamespace
        AESGCM, PrivateKey, PublicKey (Ed25519), RAW (arguments of `public_bytes`), InvalidTag, InvalidSignature.
    """
    try:
        from cryptography.exceptions import InvalidSignature, InvalidTag
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    except ImportError as error:
        raise ModelKeyError(
            f"{what} needs the package 'cryptography', which is not usable here ({error}): {INSTALL_HINT}"
        ) from None
    return SimpleNamespace(
        AESGCM=AESGCM,
        PrivateKey=Ed25519PrivateKey,
        PublicKey=Ed25519PublicKey,
        RAW=(Encoding.Raw, PublicFormat.Raw),
        InvalidTag=InvalidTag,
        InvalidSignature=InvalidSignature,
    )
