"""Keys and signatures."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from core.errors import LitesmithError, UsageError
from deploy.store.signing import check_signature, generate, is_signed_by, joined, public_key_id, sign
from tests.deploy.store.store_samples import one_line_of

CONTENT = b'{"release": "demo"}\n'


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A private key and its public half."""
    key = tmp_path_factory.mktemp("keys") / "key"
    return key, generate(key)


def test_what_is_signed_is_accepted(keys: tuple[Path, Path]) -> None:
    check_signature(CONTENT, sign(CONTENT, keys[0]), keys[1], "manifest.json")
    assert sign(CONTENT, keys[0]).split()[:2] == [b"ed25519", public_key_id(keys[1]).encode()]


def test_the_private_key_is_its_owners_alone_and_never_written_over(tmp_path: Path) -> None:
    key = tmp_path / "key"
    public = generate(key)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes(), public.read_bytes()
    with pytest.raises(UsageError) as error:
        generate(key)
    assert "never written over" in one_line_of(error)
    key.unlink()
    with pytest.raises(UsageError):  # the public half is still there
        generate(key)
    assert not key.exists() and public.read_bytes() == before[1]


def test_a_key_for_which_the_disk_is_full_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UsageError) as error:
        generate(tmp_path / "key")
    assert "No space left" in one_line_of(error) and list(tmp_path.iterdir()) == []


def test_a_key_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        generate(tmp_path / "no" / "key")
    assert "cannot be written" in one_line_of(error)


@given(place=st.integers(0, len(CONTENT) - 1), bits=st.integers(1, 255))
def test_every_changed_byte_is_seen(place: int, bits: int, keys: tuple[Path, Path]) -> None:
    changed = bytearray(CONTENT)
    changed[place] ^= bits
    with pytest.raises(LitesmithError) as error:
        check_signature(bytes(changed), sign(CONTENT, keys[0]), keys[1], "manifest.json")
    assert "tampered" in one_line_of(error)


@given(signature=st.binary(max_size=200))
def test_no_other_bytes_are_a_signature(signature: bytes, keys: tuple[Path, Path]) -> None:
    with pytest.raises(LitesmithError) as error:
        check_signature(CONTENT, signature, keys[1], "manifest.json")
    assert one_line_of(error).startswith("manifest.json")
    assert "not enough values" not in str(error.value) and "codec" not in str(error.value)  # Python's words


@given(cut=st.integers(0, 100), flip=st.integers(0, 100))
def test_a_damaged_signature_is_refused(cut: int, flip: int, keys: tuple[Path, Path]) -> None:
    whole = sign(CONTENT, keys[0]).rstrip()
    damaged = bytearray(whole[: max(1, len(whole) - cut)])
    damaged[flip % len(damaged)] ^= 1 if cut == 0 else 0
    with pytest.raises(LitesmithError) as error:
        check_signature(CONTENT, bytes(damaged), keys[1], "manifest.json")
    one_line_of(error)


def test_a_missing_signature_and_another_key_are_told_apart(keys: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(LitesmithError) as error:
        check_signature(CONTENT, None, keys[1], "manifest.json")
    assert "is not signed" in one_line_of(error)
    other = generate(tmp_path / "other")
    with pytest.raises(LitesmithError) as error:
        check_signature(CONTENT, sign(CONTENT, keys[0]), other, "manifest.json")
    text = one_line_of(error)
    assert public_key_id(keys[1]) in text and public_key_id(other) in text


def test_a_file_of_several_signatures_is_accepted_for_each(keys: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    generate(other)
    both = joined(sign(CONTENT, keys[0]), sign(b"old", other) + sign(CONTENT, other), "a")
    assert len(both.splitlines()) == 3
    check_signature(CONTENT, both, keys[1], "a")
    assert is_signed_by(CONTENT, both, other, "a") and is_signed_by(b"old", both, other, "a")
    assert joined(both, both, "a") == both
    assert joined(both, b"damaged", "a") == both
    assert not is_signed_by(CONTENT, b"damaged", other, "a")


def _pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize("kind", ["absent", "a folder", "text", "another kind", "with a password", "public"])
def test_a_private_key_that_cannot_be_used_is_refused(kind: str, keys: tuple[Path, Path], tmp_path: Path) -> None:
    key = tmp_path / "key"
    content = {
        "text": b"secret",
        "another kind": _pem(ec.generate_private_key(ec.SECP256R1())),
        "with a password": _pem(Ed25519PrivateKey.generate(), b"secret"),
        "public": keys[1].read_bytes(),
    }
    if kind == "a folder":
        key.mkdir()
    elif kind != "absent":
        key.write_bytes(content[kind])
    with pytest.raises(UsageError) as error:
        sign(CONTENT, key)
    assert one_line_of(error).startswith(f"--sign_key: {key}")


@pytest.mark.parametrize("kind", ["absent", "text", "private", "another kind"])
def test_a_public_key_that_cannot_be_used_is_refused(kind: str, keys: tuple[Path, Path], tmp_path: Path) -> None:
    key = tmp_path / "key.pub"
    elliptic = ec.generate_private_key(ec.SECP256R1()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    content = {
        "text": b"secret",
        "private": keys[0].read_bytes(),
        "another kind": elliptic.public_bytes(serialization.Encoding.PEM, form),
    }
    if kind != "absent":
        key.write_bytes(content[kind])
    with pytest.raises(UsageError) as error:
        check_signature(CONTENT, sign(CONTENT, keys[0]), key, "manifest.json")
    assert one_line_of(error).startswith(f"--public_key: {key}")
