"""Programs to start, free ports for them, and waiting for what they do."""

import contextlib
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")


def program(name: str, *folders: str) -> str:
    """Returns the path of a program: from PATH, else from `folders` (patterns below /). Fails the test where
    there is none, and says what to install."""
    below = (str(path) for folder in folders for path in Path("/").glob(f"{folder}/{name}"))
    path = shutil.which(name) or next(below, "")
    if not path:
        pytest.fail(f"{name} is not installed: tests/run installs it (Debian: redis-server, postgresql)")
    return path


def free_port() -> int:
    """Returns a TCP port of 127.0.0.1 that is free now; another program may take it before it is used."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(ready: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Waits until `ready()` is true. Fails the test after `seconds`; `what` names what is missing."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come up")
        time.sleep(0.02)


def until(what: Callable[[], T | None], seconds: float = 30) -> T:
    """Calls `what` until its result is true, and returns the result. Raises AssertionError after
    `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.02)


def until_logged(log: Path, *texts: str) -> str:
    """Waits until a log has all texts, and returns it: a server writes its log by a thread of its own, after the
    answer of a request."""

    def missing() -> list[str]:
        return [text for text in texts if text not in log.read_text()]

    with contextlib.suppress(AssertionError):
        until(lambda: not missing())
    assert not missing(), f"{missing()} not logged; the log ends with: {log.read_text()[-2000:]}"
    return log.read_text()
