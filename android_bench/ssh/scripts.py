"""The programs for sh that run on a board. POSIX sh and what coreutils or busybox have; nothing is installed.

Everything that a connection starts there carries its mark, LITESMITH_RUN=TOKEN.PART, in the environment, where the
kernel keeps it in /proc/PID/environ: a process that went into a group of its own or lost its parent is found by it.
"""

from __future__ import annotations

import shlex

MARK = "LITESMITH_RUN"
# Parts of a mark. What a measurement started can be ended without the guard that waits for the connection's end.
GUARD, WORK = "guard", "work"
# Nothing else of this project begins so: the board may be a computer on which the project runs too.
FOLDER_PREFIX = "litesmith-board-"

CONNECTED, READY, EXIT = "litesmith connected", "litesmith ready", "litesmith exit"

# sweep MARK: kills every process that carries a mark beginning so, but for this shell. It looks again until there is
# none, because one may have started another in the meantime. (The grep lists itself too, and is gone by then.)
_SWEEP = f"""
sweep() {{
  for round in 1 2 3 4 5 6 7 8 9; do
    found=
    for file in $(grep -l -F "{MARK}=$1" /proc/[0-9]*/environ 2>/dev/null); do
      pid=${{file#/proc/}}; pid=${{pid%/environ}}
      [ "$pid" = $$ ] || {{ kill -KILL "$pid" 2>/dev/null && found=1; }}
    done
    [ -n "$found" ] || return 0
  done
}}
"""


def guard(token: str, previous: str = "") -> str:
    """Keeps the board for one connection: waits for its turn, makes the folder, and undoes everything at the end.

    It reads its standard input, which this computer holds open. At its end (the connection was closed or dropped, or
    the program here was killed) every process of the connection is killed and the folder removed. The lock is the
    kernel's, on the folder for temporary files itself, so that it leaves no file; a folder of another connection that
    is there while the lock is held was left by a board that lost its power. `previous` is the token of a connection
    of this program that dropped: its guard may not have noticed.
    """
    # A function, so that the shell has read the whole script before anything in it reads the same input.
    return f"""
{_SWEEP}
undo() {{ sweep "$1."; rm -rf "$base/{FOLDER_PREFIX}$1"; }}
main() {{
trap '' HUP PIPE INT TERM
umask 077
base=${{TMPDIR:-/tmp}}
echo "{CONNECTED}"
previous={shlex.quote(previous)}
[ -z "$previous" ] || undo "$previous"
lock=none
if command -v flock >/dev/null 2>&1 && exec 9<"$base"; then
  flock 9 && lock=flock
fi
if [ $lock = flock ]; then
  for old in "$base"/{FOLDER_PREFIX}*; do
    [ -O "$old" ] && undo "${{old##*/{FOLDER_PREFIX}}}"
  done
fi
if mkdir "$base/{FOLDER_PREFIX}{token}"; then
  free=$(df -P -k "$base" | {{ read -r _; read -r _ _ _ free _; echo "$free"; }})
  echo "{READY} $lock ${{free:-unknown}} $base/{FOLDER_PREFIX}{token}"
  cat >/dev/null
fi
undo {token}
}}
main
"""


def end_work(token: str) -> str:
    """Kills what measurements of the connection started, not its guard."""
    return f"{_SWEEP}\nsweep {token}.{WORK}\n"


def with_exit_code(script: str) -> str:
    """The script, followed by a line that tells its exit code: ssh's own is 255 for a signal and for a drop alike."""
    return f"(\n{script}\n) </dev/null\nprintf '\\n{EXIT} %s\\n' $?\n"
