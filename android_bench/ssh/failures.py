"""What ssh's own messages mean, in words that tell the user where to look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no connection. `transient`: another try may succeed; otherwise the user has to do something."""

    reason: str
    transient: bool = False


# What OpenSSH's client prints, in lower case, the most telling first: a changed host key is also "host key
# verification failed", and a refused key may be followed by "connection closed".
_KNOWN = (
    ("host identification has changed", Failure("its host key is not the one in known_hosts (another machine?)")),
    ("host key verification failed", Failure("its host key is not in known_hosts; connect once by hand to accept it")),
    ("no matching host key type", Failure("its host key is of a type that this ssh does not accept")),
    ("bad configuration option", Failure("the ssh configuration has an error")),
    ("can't open user config file", Failure("the ssh configuration file cannot be read")),
    ("permission denied", Failure("permission denied: no key that it accepts (no password is asked for)")),
    ("too many authentication failures", Failure("permission denied: too many keys were offered")),
    ("could not resolve hostname", Failure("unknown host")),
    ("connection refused", Failure("connection refused: no ssh server on that port")),
    ("no route to host", Failure("no route to the host", transient=True)),
    ("network is unreachable", Failure("the network is unreachable", transient=True)),
    ("timed out", Failure("no answer in time", transient=True)),
    ("connection reset", Failure("the connection was reset", transient=True)),
    ("connection closed", Failure("the connection was closed", transient=True)),
    ("broken pipe", Failure("the connection dropped", transient=True)),
)


def explain(stderr: str) -> Failure:
    """The failure that the client's messages tell of; its own last line is quoted."""
    lowered = stderr.lower()
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    for phrase, failure in _KNOWN:
        if phrase in lowered:
            quoted = next(line for line in reversed(lines) if phrase in line.lower())
            return Failure(f"{failure.reason} [{_shortened(quoted)}]", failure.transient)
    if not lines:
        return Failure("the connection dropped", transient=True)
    return Failure(f"ssh failed [{_shortened(lines[-1])}]", transient=True)


def _shortened(line: str, length: int = 160) -> str:
    line = " ".join(line.split())
    return line if len(line) <= length else line[:length] + "..."
