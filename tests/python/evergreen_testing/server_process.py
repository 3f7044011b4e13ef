"""Running servers: on free ports for a block, or on ports that are kept over restarts."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from evergreen_testing.paths import CUSTOMERS, MODELS
from evergreen_testing.processes import free_port


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


class Instance:
    """A server on ports that it keeps when it is restarted."""

    def __init__(self, binary, folder, name="a", config="", models=MODELS, customers=CUSTOMERS):
        self.binary, self.folder, self.name = binary, Path(folder), name
        self.models, self.customers = models, customers
        self.ports = {port: free_port() for port in ("http", "grpc", "ops")}
        self.config = self.folder / f"{name}.toml"
        self.config.write_text(config)
        self.log = self.folder / f"{name}.log"
        self.process = None

    def start(self, wait=True, **environment):
        command = [self.binary, "serve", "--config", str(self.config), "--models", str(self.models)]
        command += ["--customers", str(self.customers)] if self.customers else []
        command += [word for port, number in self.ports.items() for word in (f"--{port}", f"127.0.0.1:{number}")]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=log, env=os.environ | environment, cwd=self.folder
            )
        if wait:
            self.until_ready()
        return self

    def ask(self, path, port="ops", method="GET", body=None, timeout=10):
        """Status and text of an answer over a new connection; no status where there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=timeout)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return None, repr(error)
        finally:
            connection.close()

    def until_ready(self, seconds=120):
        end = time.monotonic() + seconds
        while self.ask("/readyz")[0] != 200:
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.002)

    def terminate(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, seconds=60):
        """The exit code, and how long it took from now."""
        start = time.monotonic()
        code = self.process.wait(timeout=seconds)
        return code, time.monotonic() - start

    def stop(self):
        self.terminate()
        return self.wait()

    def reasons(self):
        status, text = self.ask("/readyz")
        return status, json.loads(text)["reasons"] if status else text

    def resident(self):
        """Megabytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
