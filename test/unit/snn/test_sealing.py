# SPDX-License-Identifier: Apache-2.0
"""Encrypted and signed model files: wrong keys, changed bytes, missing package, nothing plain on the disk."""

import hashlib
import resource
import sys

import numpy as np
import pytest

from neuro_ros.snn import (
    Dense,
    Layer,
    Lif,
    Model,
    ModelError,
    ModelKeyError,
    Network,
    keys,
    load_model,
    save_model,
    sealing,
)
from neuro_ros.snn.crypto_shim import INSTALL_HINT
from neuro_ros.snn.sealing import HEADER_BYTES, TAG_BYTES

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


@pytest.fixture
def model():
    network = Network([Layer("out", Dense(np.arange(-8, 8, 2, np.int16).reshape(2, 4)), Lif(1, 2, 3))], (1, 2, 2))
    return Model(network, ("left", "right"), name="secret")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.safetensors"


@pytest.fixture
def crypto():
    """Skip where the optional package is missing; what must be refused then is tested everywhere."""
    return pytest.importorskip("cryptography", reason=f"cryptography is not installed: {INSTALL_HINT}")


def refused(error, text, call, *arguments, **options):
    with pytest.raises(error, match=text) as refusal:
        call(*arguments, **options)
    assert "\n" not in str(refusal.value)
    for key in (KEY, OTHER):
        assert key.hex() not in str(refusal.value)


def test_keys_return_from_file_and_environment(tmp_path, monkeypatch):
    path = tmp_path / "k"
    keys.write_key(path, keys.AES, KEY)
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.read_key(path, keys.AES) == KEY == keys.read_key(str(path), keys.AES)
    monkeypatch.setenv("MODEL_KEY", path.read_text())
    assert keys.read_key("env:MODEL_KEY", keys.AES) == KEY
    refused(ModelKeyError, "File exists", keys.write_key, path, keys.AES, KEY)
    refused(ModelKeyError, "'aes256', 'ed25519-public' is needed", keys.read_key, path, keys.PUBLIC)
    refused(ModelKeyError, "No such file", keys.read_key, tmp_path / "none", keys.AES)
    refused(ModelKeyError, "embedded null", keys.read_key, "a\0b", keys.AES)
    refused(ModelKeyError, "environment variable NONE is not set", keys.read_key, "env:NONE", keys.AES)
    refused(ModelKeyError, "has 3 bytes, 32 are needed", keys.read_key, b"abc", keys.AES)
    for text in ("", "neuro_ros-key aes256", KEY.hex(), "neuro_ros-key aes256 " + "zz" * 32, "\xff" * 9000):
        path.write_bytes(text.encode("latin-1"))
        refused(ModelKeyError, "no key|no aes256 key", keys.read_key, path, keys.AES)
    path.write_text(f"neuro_ros-key aes256 {KEY.hex()[:-2]}\n")
    refused(ModelKeyError, "64 hexadecimal digits", keys.read_key, path, keys.AES)
    assert len({keys.generate(kind) for kind in (keys.AES, keys.PRIVATE) for _ in range(2)}) == 4
    refused(ModelKeyError, "not made at random", keys.generate, keys.PUBLIC)


def test_sealed_models_return_with_their_key_only(crypto, model, path):
    save_model(model, path, key=KEY)
    data = path.read_bytes()
    assert data.startswith(b"neuro_ros.sealed")
    for plain in (b"secret", b"left", b"neuro_ros.model", model.network.layers[0].connection.weight.tobytes()):
        assert plain not in data
    assert load_model(path, key=KEY).model_id == model.model_id
    refused(ModelKeyError, "is encrypted; give its key", load_model, path)
    refused(ModelKeyError, "is encrypted with the key of id .* the key given has id", load_model, path, key=OTHER)
    save_model(model, path, key=KEY)
    assert path.read_bytes()[28:40] != data[28:40], "a nonce was used twice"
    save_model(model, path)
    refused(ModelKeyError, "is not encrypted although a key was given", load_model, path, key=KEY)
    refused(ModelError, "No such file", load_model, path.with_name("none"), key=KEY)


def test_layout_of_a_sealed_file_is_as_written_down(crypto, model, path):
    """Opened with the package alone, by the description in `neuro_ros.snn.sealing`."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    save_model(model, path, key=KEY)
    data = path.read_bytes()
    assert data[16:20] == b"\1\0\0\0"
    assert data[20:28] == hashlib.sha256(b"neuro_ros key id\0" + KEY).digest()[:8]
    plain = AESGCM(KEY).decrypt(data[28:40], data[40:], data[:40])
    save_model(model, path)
    assert plain == path.read_bytes()


def test_every_changed_byte_of_a_sealed_file_is_refused(crypto, model, path, counts):
    save_model(model, path, key=KEY)
    data = path.read_bytes()
    positions = counts("changed bytes of a sealed file", reduced=200, full=len(data))
    spread = np.unique(np.linspace(0, len(data) - 1, positions).astype(int)).tolist()
    for position in sorted({*range(HEADER_BYTES + 1), *spread}):
        changed = bytearray(data)
        changed[position] ^= 0x01
        path.write_bytes(changed)
        refused(ModelError, "m.safetensors", load_model, path, key=KEY)
    for length in (0, 15, 16, HEADER_BYTES, HEADER_BYTES + TAG_BYTES - 1, HEADER_BYTES + TAG_BYTES, len(data) - 1):
        path.write_bytes(data[:length])
        refused(ModelError, "m.safetensors", load_model, path, key=KEY)
    path.write_bytes(data + b"\0")
    refused(ModelError, "cannot be decrypted: it was changed", load_model, path, key=KEY)


def test_nothing_plain_touches_the_disk(crypto, model, path, monkeypatch):
    written = []
    real = sealing.write_atomically
    monkeypatch.setattr(sealing, "write_atomically", lambda target, data: written.append(data) or real(target, data))
    save_model(model, path, key=KEY)
    assert written == [path.read_bytes()]
    assert written[0].startswith(b"neuro_ros.sealed")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # not one byte can go into a file
    try:
        with pytest.raises(OSError, match="too large"):
            path.with_name("probe").write_bytes(b"x")
        loaded = load_model(path, key=KEY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert loaded.digest == model.digest


def test_signatures_say_who_and_nothing_else_changes(crypto, model, path, tmp_path):
    public, other = keys.public_of(KEY), keys.public_of(OTHER)
    keys.write_key(tmp_path / "public", keys.PUBLIC, public)
    save_model(model, path, signer=KEY)
    assert load_model(path).digest == model.digest
    assert load_model(path, trusted=[other, tmp_path / "public"]).digest == model.digest
    refused(ModelKeyError, "which is none of the 1 trusted keys", load_model, path, trusted=[other])
    save_model(model, path)
    refused(ModelKeyError, "is not signed; it must be, by one of the 1 trusted", load_model, path, trusted=[public])
    save_model(model, path, key=OTHER, signer=KEY)
    assert load_model(path, key=OTHER, trusted=[public]).digest == model.digest


def test_every_changed_byte_of_a_signed_file_is_refused(crypto, model, path, counts):
    save_model(model, path, signer=KEY)
    data = path.read_bytes()
    start = data.index(b"signature")
    end = data.index(b"version", start)
    positions = counts("changed bytes of a signed file", reduced=100, full=len(data))
    spread = np.unique(np.linspace(0, len(data) - 1, positions).astype(int)).tolist()
    for position in sorted({*range(start, end), *spread}):
        for mask in (0x01, 0x20):  # 0x20 turns a small letter into a capital one
            changed = bytearray(data)
            changed[position] ^= mask
            path.write_bytes(changed)
            refused(ModelError, "m.safetensors", load_model, path)


def test_a_signature_does_not_move_to_another_model(crypto, model, path):
    save_model(model, path, signer=KEY)
    signed = path.read_bytes()
    other = Model(model.network, ("right", "left"), name="secret")  # labels exchanged, of the same length
    save_model(other, path, signer=KEY)
    theirs = path.read_bytes()
    start, end = (signed.index(mark) for mark in (b'\\"signature', b'\\"version'))
    assert theirs.index(b'\\"version') == end
    path.write_bytes(theirs[:start] + signed[start:end] + theirs[end:])
    refused(ModelError, "the signature does not belong to this file", load_model, path)


def test_without_the_package_the_extra_is_named(model, path, monkeypatch):
    for name in list(sys.modules):
        if name == "cryptography" or name.startswith("cryptography."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for options in ({"key": KEY}, {"signer": KEY}):
        refused(ModelKeyError, r"pip install 'neuro_ros\[crypto\]'", save_model, model, path, **options)
    assert not path.exists()
    path.write_bytes(b"neuro_ros.sealed" + bytes(100))
    refused(ModelKeyError, "is encrypted, which needs the package 'cryptography'", load_model, path, key=KEY)
    save_model(model, path)
    assert load_model(path).digest == model.digest
    refused(ModelKeyError, "is not signed", load_model, path, trusted=[KEY])
