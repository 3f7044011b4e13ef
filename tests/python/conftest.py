"""The program under test, and servers started from it on free ports."""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
CUSTOMERS = MODELS / "customers.parquet"


@pytest.fixture(scope="session")
def evergreen():
    """Path of the binary: a fresh debug build."""
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--features", "full"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return str(target / "debug" / "evergreen")


class Server:
    """A running `evergreen serve` and its addresses."""

    def __init__(self, process, log, banner):
        self.process, self.log, self.banner = process, log, banner

        def address(word):
            return re.search(rf"{word} +(?:https?://)?(\S+)", banner).group(1)

        self.http = httpx.Client(base_url=f"http://{address('REST')}", timeout=30)
        self.ops = httpx.Client(base_url=f"http://{address('operations')}", timeout=30)
        self.grpc = address("gRPC")

    def stop(self, number=signal.SIGTERM):
        """Sends a signal and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


@contextlib.contextmanager
def serving(evergreen, folder, models=MODELS, customers=CUSTOMERS, config=None, user=None, **environment):
    """Starts a server on free ports and waits until it has said where it listens."""
    command = [evergreen, "serve"]
    command += ["--models", str(models)] if models else []
    command += ["--customers", str(customers)] if customers else []
    command += [word for port in ("http", "grpc", "ops") for word in (f"--{port}", "127.0.0.1:0")]
    command += ["--config", str(config)] if config else []
    out, err = Path(folder) / "stdout", Path(folder) / "stderr"
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=os.environ | environment, user=user)
    try:
        deadline = time.monotonic() + 60
        while "operations" not in out.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the server did not start: {err.read_text()}")
            time.sleep(0.02)
        yield Server(process, err, out.read_text())
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def server(evergreen, tmp_path_factory):
    """A server of the shipped sample, for tests that do not change it."""
    with serving(evergreen, tmp_path_factory.mktemp("server")) as running:
        yield running
