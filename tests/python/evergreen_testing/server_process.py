"""Running servers: on free ports for the length of a block, or on ports that are kept over restarts."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from evergreen_testing import openapi
from evergreen_testing.paths import CUSTOMERS, MODELS
from evergreen_testing.processes import free_port


class Server:
    """A running `evergreen serve` and its addresses.

    `log` is the file of its log, `banner` what it wrote to standard output at the start. `http` and `ops` are
    clients of its REST and operations ports, the first of which compares every response with the OpenAPI
    document. `grpc` is the address of its gRPC port (HOST:PORT).
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path, banner: str) -> None:
        self.process, self.log, self.banner = process, log, banner
        self.http = openapi.Client(base_url=f"http://{self._address('REST')}", timeout=30)
        self.ops = httpx.Client(base_url=f"http://{self._address('operations')}", timeout=30)
        self.grpc = self._address("gRPC")

    def _address(self, word: str) -> str:
        """Returns the HOST:PORT that the banner names after `word`."""
        found = re.search(rf"{word} +(?:https?://)?(\S+)", self.banner)
        assert found, f"no address of {word} in: {self.banner}"
        return found.group(1)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal, waits for the end, and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


@contextlib.contextmanager
def serving(
    evergreen: str,
    folder: Path | str,
    models: Path | str | None = MODELS,
    customers: Path | str | None = CUSTOMERS,
    config: Path | str | None = None,
    user: str | int | None = None,
    preexec: Callable[[], None] | None = None,
    **environment: str,
) -> Iterator[Server]:
    """Starts a server on free ports, waits until it has printed its addresses, and kills it after the block.

    `evergreen` is the path of the binary, `folder` takes its output. `models`, `customers` and `config`
    become options unless they are None; `user` runs the server, `preexec` runs in its process before it starts, and
    `environment` is added to the environment.
    """
    command = [evergreen, "serve"]
    command += ["--models", str(models)] if models else []
    command += ["--customers", str(customers)] if customers else []
    command += [word for port in ("http", "grpc", "ops") for word in (f"--{port}", "127.0.0.1:0")]
    command += ["--config", str(config)] if config else []
    out, err = Path(folder) / "stdout", Path(folder) / "stderr"
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(
            command,
            stdout=stdout,
            stderr=stderr,
            env=os.environ | environment,
            user=user,
            preexec_fn=preexec,
        )
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
    """A server that keeps its ports when it is restarted. Leaving its block kills it.

    `ports` has the ports by name (http, grpc, ops); `config` is its settings file, written from text; `log`
    is the file of its log, to which each start appends.
    """

    process: subprocess.Popen[bytes]

    def __init__(
        self,
        binary: str,
        folder: Path | str,
        name: str = "a",
        config: str = "",
        models: Path | str = MODELS,
        customers: Path | str | None = CUSTOMERS,
    ) -> None:
        self.binary, self.folder, self.name = binary, Path(folder), name
        self.models, self.customers = models, customers
        self.ports = {port: free_port() for port in ("http", "grpc", "ops")}
        self.config = self.folder / f"{name}.toml"
        self.config.write_text(config)
        self.log = self.folder / f"{name}.log"

    def start(self, wait: bool = True, stdout: Any = subprocess.DEVNULL, **environment: str) -> Self:
        """Starts the server, and waits until it is ready unless `wait` is false. `stdout` takes its output."""
        command = [self.binary, "serve", "--config", str(self.config), "--models", str(self.models)]
        command += ["--customers", str(self.customers)] if self.customers else []
        command += [
            word for port, number in self.ports.items() for word in (f"--{port}", f"127.0.0.1:{number}")
        ]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=stdout, stderr=log, env=os.environ | environment, cwd=self.folder
            )
        if wait:
            self.until_ready()
        return self

    def ask(
        self,
        path: str,
        port: str = "ops",
        method: str = "GET",
        body: str | bytes | None = None,
        timeout: float = 10,
        key: str = "",
    ) -> tuple[int | None, str]:
        """Sends a request over a new connection, with a key if there is one. Returns the status and the text of the
        answer; without an answer, None and the error."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=timeout)
        try:
            headers = {"authorization": f"Bearer {key}"} if key else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            return None, repr(error)
        finally:
            connection.close()
        if port == "http":
            document = openapi.description(f"http://127.0.0.1:{self.ports['http']}")
            document.check(method, path.split("?")[0], answer.status, answer.headers, content)
        return answer.status, content.decode()

    def until_ready(self, seconds: float = 120) -> None:
        """Waits until /readyz answers 200. Raises AssertionError with the log after `seconds`, or when the
        server has ended."""
        end = time.monotonic() + seconds
        while self.ask("/readyz")[0] != 200:
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.002)

    def terminate(self, number: int = signal.SIGTERM) -> None:
        """Sends a signal, and does not wait."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 60) -> tuple[int, float]:
        """Waits for the end. Returns the exit code and the seconds it took from now."""
        start = time.monotonic()
        code = self.process.wait(timeout=seconds)
        return code, time.monotonic() - start

    def stop(self) -> tuple[int, float]:
        """Sends SIGTERM and waits for the end. Returns the exit code and the seconds it took."""
        self.terminate()
        return self.wait()

    def reasons(self) -> tuple[int | None, Any]:
        """Returns the status of /readyz and its reasons; without an answer, None and the error."""
        status, text = self.ask("/readyz")
        return status, json.loads(text)["reasons"] if status else text

    def resident(self) -> float:
        """Returns the resident memory in MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        process = getattr(self, "process", None)
        if process and process.poll() is None:
            process.kill()
            process.wait()
