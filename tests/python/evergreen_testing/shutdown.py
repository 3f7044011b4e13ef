"""Graceful shutdown in the middle of something: each function makes one such moment and returns what was
seen."""

import contextlib
import functools
import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from evergreen_testing.feature_stores import Redis
from evergreen_testing.paths import CUSTOMERS
from evergreen_testing.server_process import Instance

PATH = "/v1/models/churn/scores/C-1042"
STORE = """
[source.online]
groups = ["features"]
timeout = "{timeout}"
bulk_timeout = "{timeout}"
cache = {{ bytes = 0 }}
[source.online.redis]
key = "customer:{{id}}"
[source.online.redis.server]
urls = ["{url}"]
[features]
default = "online"
"""


def many_customers(folder: Path | str, rows: int) -> Path:
    """Writes the shipped customers again and again under other ids, as CSV, which is slow to read; returns
    the path."""
    shipped = pd.read_csv(CUSTOMERS) if CUSTOMERS.suffix == ".csv" else pd.read_parquet(CUSTOMERS)
    path = Path(folder) / "many.csv"
    for copy in range(rows // len(shipped) + 1):
        shipped.assign(customer_id=[f"{id}-{copy}" for id in shipped["customer_id"]]).to_csv(
            path, mode="w" if copy == 0 else "a", header=copy == 0, index=False
        )
    return path


def stopped(instance: Instance, start: float) -> tuple[int, float]:
    """Waits for the end, and returns the exit code and the seconds since `start`."""
    code, _ = instance.wait()
    return code, time.monotonic() - start


def during_load(binary: str, folder: Path | str, rows: int) -> dict[str, Any]:
    """Sends SIGTERM while the server reads its customers. Returns what the probes answered before (`said`),
    the exit `code`, the `seconds` it took, and whether the customers were `loaded`."""
    instance = Instance(binary, folder, customers=many_customers(folder, rows))
    with instance.start(wait=False):
        while "version loaded" not in instance.log.read_text():
            time.sleep(0.01)
        said = {
            "livez": instance.ask("/livez")[0],
            "readyz": instance.reasons(),
            "metrics": instance.ask("/metrics")[0],
        }
        said["http"] = instance.ask(PATH, port="http")
        start = time.monotonic()
        instance.terminate()
        code, seconds = stopped(instance, start)
        loaded = "snapshot loaded" in instance.log.read_text()
    return {"said": said, "code": code, "seconds": seconds, "loaded": loaded}


def fill(redis: Redis) -> None:
    """Writes some of the shipped customers, C-1042 among them, into Redis as hashes."""
    import redis as client

    frame = pd.read_parquet(CUSTOMERS).head(50).drop(columns=["as_of"], errors="ignore")
    frame = pd.concat([frame, pd.read_parquet(CUSTOMERS).query("customer_id == 'C-1042'")[frame.columns]])
    with client.Redis.from_url(redis.url) as opened:
        for row in frame.to_dict("records"):
            values = {key: str(value) for key, value in row.items() if not pd.isna(value)}
            opened.hset(f"customer:{row['customer_id']}", mapping=values)


def during_outage(
    binary: str, folder: Path | str, redis: Redis, how: str, timeout: float, waits: int
) -> dict[str, Any]:
    """Sends SIGTERM while the store is away and `waits` requests wait for it. `how` takes the store away:
    "kill" ends it, "stop" pauses it for two thirds of `timeout` (seconds). Returns the exit `code`, the
    `seconds` it took, and how many requests were `answered` (with a score, or that the store is unavailable),
    answered with the score from before (`whole`), and `failed`."""
    fill(redis)
    with Instance(
        binary, folder, config=STORE.format(timeout=f"{timeout}s", url=redis.url), customers=None
    ) as instance:
        instance.start()
        before = json.loads(instance.ask(PATH, port="http")[1])
        redis.kill() if how == "kill" else redis.signal(signal.SIGSTOP)
        answers: list[tuple[int | None, str]] = []
        asked = [
            threading.Thread(target=lambda: answers.append(instance.ask(PATH, port="http", timeout=60)))
            for _ in range(waits)
        ]
        for thread in asked:
            thread.start()
        time.sleep(0.3)
        start = time.monotonic()
        instance.terminate()
        if how == "stop":
            time.sleep(timeout * 2 / 3)
            redis.signal(signal.SIGCONT)
        for thread in asked:
            thread.join()
        code, seconds = stopped(instance, start)
        answered = [
            text for status, text in answers if status == 200 or (status == 503 and "unavailable" in text)
        ]
        scores = [json.loads(text)["score"] for status, text in answers if status == 200]
        return {
            "code": code,
            "seconds": seconds,
            "answered": len(answered),
            "whole": sum(score == before["score"] for score in scores),
            "failed": waits - len(answered),
        }


@contextlib.contextmanager
def idle_connections(instance: Instance, count: int) -> Iterator[list[http.client.HTTPConnection]]:
    """Yields connections that have been used once and are kept alive; closes them after the block."""
    opened: list[http.client.HTTPConnection] = []
    try:
        for _ in range(count):
            connection = http.client.HTTPConnection("127.0.0.1", instance.ports["http"], timeout=30)
            connection.request("GET", PATH)
            assert connection.getresponse().read()
            opened.append(connection)
        yield opened
    finally:
        for connection in opened:
            connection.close()


def with_idle_connections(binary: str, folder: Path | str, count: int, drain: float = 0) -> dict[str, Any]:
    """Sends SIGTERM to a server with idle connections. Returns the exit `code`, the `seconds` it took, and
    how many connections the server `closed`."""
    with Instance(binary, folder, config=f"[server]\ndrain_seconds = {drain}\n") as instance:
        instance.start()
        with idle_connections(instance, count) as connections:
            start = time.monotonic()
            instance.terminate()
            closed = sum(connection.sock.recv(1) == b"" for connection in connections)
            code, seconds = stopped(instance, start)
        return {"code": code, "seconds": seconds, "closed": closed}


def with_request_under_way(binary: str, folder: Path | str, duration: float) -> dict[str, Any]:
    """Sends SIGTERM while a request arrives over `duration` seconds. Returns the exit `code`, the `seconds`
    it took, the `answer` as bytes, and whether a new connection was `refused` meanwhile."""
    with Instance(binary, folder) as instance:
        instance.start()
        # Enough bytes for ten seconds: a body that arrives too slowly is refused.
        body = json.dumps({"model": "churn", "entities": [{"id": "C-1042"}] * 1500}).encode()
        with socket.create_connection(("127.0.0.1", instance.ports["http"])) as client:
            client.sendall(
                f"POST /v1/score HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            )
            time.sleep(0.2)
            start = time.monotonic()
            instance.terminate()
            refused = False
            for part in range(10):
                time.sleep(duration / 10)
                client.sendall(body[len(body) * part // 10 : len(body) * (part + 1) // 10])
                refused = refused or instance.ask(PATH, port="http")[0] is None
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        code, seconds = stopped(instance, start)
        return {"code": code, "seconds": seconds, "answer": answer, "refused": refused}


def with_new_connections(binary: str, folder: Path | str, clients: int) -> dict[str, int]:
    """Sends SIGTERM while `clients` threads open a connection for each of their requests. Returns the exit `code`, how
    many connections were `answered`, and how many were accepted and `lost`."""
    asked = f"GET {PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
    answered: list[bytes] = []
    lost: list[bytes] = []

    def ask(port: int) -> None:
        while True:
            try:
                client = socket.create_connection(("127.0.0.1", port), timeout=30)
            except ConnectionRefusedError:
                return
            with client:
                try:
                    client.sendall(asked)
                    answer = b"".join(iter(functools.partial(client.recv, 65536), b""))
                except ConnectionError as error:
                    answer = repr(error).encode()
            (answered if answer.startswith(b"HTTP/1.1 200 ") else lost).append(answer)

    with Instance(binary, folder, config="[server]\ndrain_seconds = 0\n") as instance:
        instance.start()
        threads = [threading.Thread(target=ask, args=[instance.ports["http"]]) for _ in range(clients)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        code, _ = instance.stop()
        for thread in threads:
            thread.join()
    return {"code": code, "answered": len(answered), "lost": len(lost)}
