"""One worker of search.parallel: evaluates the candidates that come through a connection until it is closed.

Run as `python -m search.parallel_worker DESCRIPTOR PARENT_PID`. What the two say to each other, pickled pairs:

- first the parent sends the EvaluatorFactory; the worker makes its evaluator and answers (READY, None);
- then for each (Candidate, epochs) the worker answers (DONE, Attempt), or (RAISE, exception) for one that ends the
  search. In between it may send (ALONE, None); the parent answers when no other worker computes, and lets them go on
  after (TOGETHER, None).
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from core.errors import LitesmithError, UsageError, one_line
from core.process import die_with_parent
from search.evaluate import attempt

READY, DONE, RAISE, ALONE, TOGETHER = "ready", "done", "raise", "alone", "together"


def main() -> int:
    """Works until the parent closes the connection or dies."""
    descriptor, parent_pid = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(descriptor, False)  # no program that is started here must keep the connection open
    die_with_parent(parent_pid)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _work(Connection(descriptor))
    return 0


def _work(connection: Connection) -> None:
    try:
        evaluator = connection.recv()(_alone(connection))
    except EOFError:
        raise
    except Exception as error:
        connection.send((RAISE, _portable(error)))
        return
    connection.send((READY, None))
    while True:
        candidate, epochs = connection.recv()
        try:
            answer: tuple[str, Any] = (DONE, attempt(evaluator, candidate, epochs))
        except (UsageError, OSError) as error:
            answer = (RAISE, _portable(error))
        connection.send(answer)


def _alone(connection: Connection) -> Any:
    @contextlib.contextmanager
    def alone() -> Iterator[None]:
        connection.send((ALONE, None))
        connection.recv()
        try:
            yield
        finally:
            connection.send((TOGETHER, None))

    return alone


def _portable(error: Exception) -> Exception:
    """The exception itself if it is one that the caller of a search tells apart and can be pickled."""
    if isinstance(error, (LitesmithError, OSError)):
        with contextlib.suppress(Exception):
            if type(pickle.loads(pickle.dumps(error))) is type(error):
                return error
    return LitesmithError(one_line(error))


if __name__ == "__main__":
    sys.exit(main())
