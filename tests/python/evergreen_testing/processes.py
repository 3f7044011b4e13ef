"""Finding programs and ports, and waiting for what a program does."""

import shutil
import socket
import time
from pathlib import Path

import pytest


def program(name, *folders):
    """The path of a program, or a failure that says what to install."""
    path = shutil.which(name) or next((p for f in folders for p in map(str, Path("/").glob(f"{f}/{name}"))), None)
    return path or pytest.fail(f"{name} is not installed: tests/run installs it (Debian: redis-server, postgresql)")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(ready, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come up")
        time.sleep(0.02)


def until(what, seconds=30):
    """Waits until `what()` is true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.02)
