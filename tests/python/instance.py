"""A server on ports that it keeps when it is restarted, and how it goes up and down."""

import http.client
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from conftest import CUSTOMERS, MODELS
from stores import free_port


class Instance:
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
