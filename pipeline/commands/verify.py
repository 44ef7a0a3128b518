"""Command `verify`: a release's folder, or what `pull` has written, against its manifest and golden outputs."""

from __future__ import annotations

from pathlib import Path

from core.errors import EXIT_DONE, EXIT_FAILED, LitesmithError, UsageError
from deploy.app.verify import verify_release
from deploy.manifest import MANIFEST
from deploy.store.layout import signature_of
from deploy.store.signing import check_signature, public_key_id
from pipeline.call import Call


def run(call: Call) -> int:
    """Prints a line for each model and each group of files; 1 if one is not as the release made it, or if the manifest
    is not signed by --public_key."""
    if len(call.arguments) != 1:
        raise UsageError(f"verify: expected one folder with a release; got {' '.join(call.arguments) or 'none'}")
    folder, public_key = Path(call.arguments[0]), call.file("public_key")
    if public_key is not None:
        public_key_id(public_key)
    found = verify_release(folder)
    width = max((len(checked.name) for checked in found), default=0)
    for checked in found:
        print(f"{'ok      ' if checked.ok else 'MISMATCH'}  {checked.name:{width}}  {checked.detail}")
    if public_key is not None:
        _check_signature(folder, public_key)
    return EXIT_DONE if all(checked.ok for checked in found) else EXIT_FAILED


def _check_signature(folder: Path, public_key: Path) -> None:
    manifest, signature = folder / MANIFEST, folder / signature_of(MANIFEST)
    try:
        content = signature.read_bytes() if signature.exists() else None
    except OSError as error:
        raise LitesmithError(f"{signature}: cannot be read ({error.strerror})") from error
    check_signature(manifest.read_bytes(), content, public_key, str(manifest))
    print(f"ok        {MANIFEST} is signed with {public_key}")
