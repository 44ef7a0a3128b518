"""Command `release`: what changes a store. Its actions are publish, promote, rebuild and keygen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.errors import EXIT_DONE, UsageError, bad_value, one_of
from core.progress import Reporter
from deploy.store.channels import set_channel
from deploy.store.filesystem import open_store
from deploy.store.index import rebuild
from deploy.store.resolve import resolve
from deploy.store.signing import generate
from pipeline.call import Call
from pipeline.publish import publish_run

DEFAULT_CHANNEL = "latest"


def run(call: Call) -> int:
    """Does the one action that the argument names."""
    if len(call.arguments) != 1:
        raise UsageError(f"release: expected {one_of(ACTIONS)}; got {' '.join(call.arguments) or 'none'}")
    action = call.arguments[0]
    if action not in ACTIONS:
        raise bad_value("release", action, one_of(ACTIONS))
    do, legal = ACTIONS[action]
    for name in (*call.flags, *(("workdir",) if call.has_workdir else ())):
        if name not in legal:
            raise UsageError(f"--{name}: release {action} does not take it; legal are --{', --'.join(legal)}")
    return do(call)


def _publish(call: Call) -> int:
    """What the gates of the run say decides; pipeline.publish has it, and the command `run` ends with the same."""
    workdir, url = call.workdir(), _url(call)
    channel, key = call.flags.get("channel", DEFAULT_CHANNEL), call.file("sign_key")
    allowed = bool(call.flags.get("allow_regression"))
    return publish_run(workdir, url, channel, str(key) if key else None, allowed, Reporter())


def _promote(call: Call) -> int:
    store = open_store(_url(call), must_exist=True)
    asked = call.needed("release", "the channel or ID of a release")
    name = call.needed("channel", "the channel to set")
    key = call.file("sign_key")
    found = resolve(store, asked, None, "--release")
    reporter = Reporter()
    channel = set_channel(store, name, found.release_id, key, reporter)
    signed = ", signed" if key else ""
    reporter.line(f"{store.url}: {channel.channel} is {channel.release} (sequence {channel.sequence}{signed})")
    return EXIT_DONE


def _rebuild(call: Call) -> int:
    store, reporter = open_store(_url(call), must_exist=True), Reporter()
    entries = rebuild(store, reporter)
    reporter.line(f"{store.url}: index of {len(entries)} releases")
    return EXIT_DONE


def _keygen(call: Call) -> int:
    out = Path(call.needed("out", "a file for the private key"))
    public = generate(out)
    reporter = Reporter()
    reporter.line(f"{out}: the private key; --sign_key={out} signs with it; keep it secret")
    reporter.line(f"{public}: the public key; --public_key={public} refuses what is not signed with the other")
    return EXIT_DONE


def _url(call: Call) -> str:
    return str(call.needed("store", "a folder or URL for releases"))


ACTIONS: dict[str, tuple[Callable[[Call], int], tuple[str, ...]]] = {
    "publish": (_publish, ("workdir", "store", "channel", "sign_key", "allow_regression")),
    "promote": (_promote, ("store", "release", "channel", "sign_key")),
    "rebuild": (_rebuild, ("store",)),
    "keygen": (_keygen, ("out",)),
}
