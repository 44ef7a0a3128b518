"""Ed25519 signatures (RFC 8032) of manifests and channels.

A signature file has one line for each signature: `ed25519 KEY-ID BASE64`, over the exact bytes of the file beside it.
It has several while a channel changes (the old content's stays until the new content is in place) and where a release
was signed again with another key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from core.errors import LitesmithError, UsageError, one_line

ALGORITHM = "ed25519"
PUBLIC_SUFFIX = ".pub"


def generate(out: Path) -> Path:
    """Writes a new private key to `out` (PEM, for its owner alone) and its public half to `out`.pub; returns that.

    Raises UsageError if one of them is there already: a key is never written over.
    """
    public_file = out.with_name(out.name + PUBLIC_SUFFIX)
    for path in (out, public_file):
        if path.exists() or path.is_symlink():
            raise UsageError(f"--out: {path} is there already; a key is never written over, so name another file")
    key = Ed25519PrivateKey.generate()
    _write_new(
        out,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        0o600,
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        _write_new(public_file, public, 0o644)
    except UsageError:
        out.unlink(missing_ok=True)
        raise
    return public_file


def sign(content: bytes, key_file: Path) -> bytes:
    """The signature file of `content`: one line. Raises UsageError if the private key cannot be used."""
    key = _private_key(key_file)
    signature = base64.b64encode(key.sign(content)).decode()
    return f"{ALGORITHM} {_id_of(key.public_key())} {signature}\n".encode()


def check_signature(content: bytes, signature: bytes | None, public_key: Path, where: str) -> None:
    """Requires that one of the signatures is `public_key`'s of `content`.

    Raises LitesmithError naming `where` if there is none, if it is another key's or another content's; UsageError if
    the key cannot be used.
    """
    key = _public_key(public_key)
    if signature is None:
        raise LitesmithError(f"{where}: is not signed, but a public key is given ({public_key})")
    lines = _parse(signature, where)
    ours = [value for key_id, value in lines if key_id == _id_of(key)]
    if not ours:
        known = ", ".join(sorted({key_id for key_id, _ in lines}))
        raise LitesmithError(f"{where}: signed with key {known}, not with {_id_of(key)} ({public_key})")
    if not any(_verifies(key, value, content) for value in ours):
        raise LitesmithError(f"{where}: the signature is of another content: it was tampered with, or is damaged")


def is_signed_by(content: bytes, signature: bytes | None, key_file: Path, where: str) -> bool:
    """Whether one of the signatures is of `content` and by the private key `key_file`."""
    key = _private_key(key_file).public_key()
    try:
        lines = _parse(signature or b"", where)
    except LitesmithError:
        return False
    return any(key_id == _id_of(key) and _verifies(key, value, content) for key_id, value in lines)


def joined(first: bytes, others: bytes | None, where: str) -> bytes:
    """A signature file with the lines of two, each once; damaged `others` are left out."""
    try:
        _parse(others or b"", where)
    except LitesmithError:
        return first
    lines = [*first.decode().splitlines(), *(others or b"").decode().splitlines()]
    return "".join(f"{line}\n" for line in dict.fromkeys(lines)).encode()


def public_key_id(public_key: Path) -> str:
    """The ID of a key: the first 16 hex digits of the SHA-256 of its 32 bytes."""
    return _id_of(_public_key(public_key))


def check_private_key(key_file: Path) -> None:
    """Raises UsageError if the private key cannot be used."""
    _private_key(key_file)


def _id_of(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _verifies(key: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _parse(signature: bytes, where: str) -> list[tuple[str, bytes]]:
    """The key IDs and signatures of a signature file."""
    try:
        lines = [line.split(" ") for line in signature.decode("ascii").splitlines()]
        found = [(key_id, base64.b64decode(value, validate=True)) for algorithm, key_id, value in lines]
    except (ValueError, binascii.Error):  # another encoding, another number of words, or no base64
        lines, found = [], []
    if not found or any(line[0] != ALGORITHM for line in lines):
        raise LitesmithError(f"{where}: damaged signature file (expected lines of '{ALGORITHM} KEY-ID BASE64')")
    return found


def _private_key(path: Path) -> Ed25519PrivateKey:
    content = _read_key(path, "--sign_key")
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError as error:
        raise UsageError(f"--sign_key: {path} has a password; expected a key without one (release keygen)") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"--sign_key: {path} is no private key in PEM form (release keygen writes one)") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"--sign_key: {path} is not an Ed25519 key (release keygen writes one)")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    content = _read_key(path, "--public_key")
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        hint = f"; it is a private key, whose public half is {path.name}.pub" if b"PRIVATE KEY" in content else ""
        raise UsageError(f"--public_key: {path} is no public key in PEM form{hint}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"--public_key: {path} is not an Ed25519 key (release keygen writes one)")
    return key


def _read_key(path: Path, flag: str) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UsageError(f"{flag}: {path} cannot be read ({reason}); expected a key file in PEM form") from error


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Writes a file that is not there yet; nobody else could open it before it has its mode."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:  # a full disk, say
            path.unlink()
            raise
    except OSError as error:
        raise UsageError(f"--out: {path} cannot be written ({error.strerror})") from error
