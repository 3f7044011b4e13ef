"""The hostile clients of `hostile.py`: each attack once broke an earlier release. They run at a low priority, so that
it is the server that has to bear them and not the scheduler."""

import contextlib
import functools
import gzip
import json
import os
import random
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from evergreen_testing.hostile import INFER, SCORE, Http2, connect, field, head, message, read_answer

MIB = 1 << 20
# Parallel clients of a burst.
CLIENTS = 30
ENTITIES = field(1, b"churn") + field(3, field(1, b"C-1042")) * 4000


class Target:
    """The ports of the server (HOST:PORT), the file of its CA ("" without TLS), and a key that may score."""

    def __init__(self, rest: str, grpc: str, ops: str, ca: str, key: str) -> None:
        self.rest, self.grpc, self.ops, self.key = rest, grpc, ops, key
        self.tls = ssl.create_default_context(cafile=ca) if ca else None
        self.h2 = ssl.create_default_context(cafile=ca) if ca else None
        if self.h2:
            self.h2.set_alpn_protocols(["h2"])

    def headers(self) -> list[tuple[str, str]]:
        """Returns the metadata of a call."""
        return [("authorization", f"Bearer {self.key}")]

    def post(self, path: str, body: bytes, *headers: str) -> bytes:
        """Sends a whole request and returns the beginning of its answer."""
        client = connect(self.rest, self.tls, timeout=30)
        with client:
            lines = (f"authorization: Bearer {self.key}", "connection: close", *headers)
            client.sendall(head(path, len(body), *lines) + body)
            return client.recv(64)

    def http2(self, window: int = 65535) -> Http2:
        return Http2(self.grpc, window=window, tls=self.h2)

    def call(self, client: Http2, path: str, content: bytes, *headers: tuple[str, str]) -> int:
        return client.call(path, content, *self.headers(), *headers)


def long_name(target: Target, chance: random.Random) -> None:
    name = chance.choice(["x" * 400_000, "`a`, " * 80_000, "`, expected `" * 30_000, "\u0000" * 60_000])
    body = chance.choice([{"model": "churn", name: 1}, {"model": name, "entities": [{"id": "C-1042"}]},
                          {"model": "churn", "entities": [{"id": "C-1042", "features": {name: 1}}]}])  # fmt: skip
    target.post("/v1/score", json.dumps(body).encode())


def many_names(target: Target, chance: random.Random) -> None:
    start = chance.randrange(1000)
    entities = [{"features": {f"{'support_call' * 30}{start + number}": 1}} for number in range(9000)]
    target.post("/v1/score", json.dumps({"model": "churn", "entities": entities}).encode())


@functools.cache
def packed(text: bytes, times: int, start: bytes = b"") -> bytes:
    """Returns a text again and again, compressed; once, because the time is better spent on attacks."""
    return gzip.compress(start + text * times)


def bulk_bomb(target: Target, chance: random.Random) -> None:
    body = chance.choice([(b"\n", 64 * MIB), (b'{"id": "' + b"x" * 65_000 + b'"}\n', 600)])
    target.post("/v1/models/churn/scores", packed(*body), "content-encoding: gzip")


def zstd_window(target: Target, chance: random.Random) -> None:
    frame = bytes.fromhex("28b52ffd") + bytes([0x00, (chance.randint(18, 27) - 10) << 3]) + b"\x03\x80\x3e\n"
    for _ in range(20):
        target.post("/v1/score", frame, "content-encoding: zstd")


def grown_message(target: Target, chance: random.Random) -> None:
    path, number = chance.choice([(INFER, 5), (SCORE, 3), (INFER, 7)])
    body = message(packed(field(number, b""), 1_000_000, field(1, b"churn")), True)
    client = target.http2()
    client.answers([target.call(client, path, body, ("grpc-encoding", "gzip")) for _ in range(8)], 30)
    client.close()


def grown_json(target: Target, chance: random.Random) -> None:
    target.post("/v1/score", b'{"model": "churn", "entities": [' + b"{}," * 1_300_000 + b"{}]}")


def held_bodies(target: Target, chance: random.Random) -> None:
    body, clients = b" " * MIB, []
    with contextlib.suppress(OSError):
        for _ in range(60):
            client = connect(target.rest, target.tls, timeout=0.5)
            clients.append(client)
            with contextlib.suppress(OSError):
                start = head("/v1/score", len(body) + 1, f"authorization: Bearer {target.key}")
                client.sendall(start + body)
    time.sleep(chance.uniform(0, 10))
    for client in clients:
        client.close()


def held_streams(target: Target, chance: random.Random) -> None:
    client = target.http2()
    for _ in range(100):
        stream = client.request(
            SCORE, ("content-type", "application/grpc"), ("te", "trailers"), *target.headers()
        )
        client.send(stream, b"\0" + (4 * MIB).to_bytes(4, "big") + b"\x0a" * 200_000)
        if client.closed:
            break
    time.sleep(chance.uniform(0, 10))
    client.close()


def untaken(target: Target, chance: random.Random) -> None:
    client = target.http2(window=chance.choice([0, 1]))
    for _ in range(60):
        target.call(client, SCORE, message(ENTITIES))
    end = time.monotonic() + chance.uniform(1, 15)
    while time.monotonic() < end and not client.closed:
        client.read(0.5)
    client.close()


def untaken_http1(target: Target, chance: random.Random) -> None:
    body = json.dumps({"model": "churn", "entities": [{"id": "C-1042"}] * 2000, "explain": 50}).encode()
    clients = []
    for _ in range(6):
        client = connect(target.rest, target.tls)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(head("/v1/score", len(body), f"authorization: Bearer {target.key}") + body)
        clients.append(client)
    time.sleep(chance.uniform(1, 15))
    for client in clients:
        client.close()


def idle(target: Target, chance: random.Random) -> None:
    clients = []
    with contextlib.suppress(OSError):
        for number in range(300):
            port = chance.choice([target.rest, target.grpc, target.ops])
            # Every third one finishes the handshake.
            tls = target.tls if number % 3 == 0 and port != target.ops else None
            clients.append(connect(port, tls, timeout=5))
    time.sleep(chance.uniform(1, 15))
    for client in clients:
        client.close()


def reset(target: Target, chance: random.Random) -> None:
    client = target.http2()
    for _ in range(2000):
        if client.closed:
            break
        stream = client.request(SCORE, ("content-type", "application/grpc"), *target.headers())
        client.h2.reset_stream(stream)
        client.flush()
    client.close()


def garbage(target: Target, chance: random.Random) -> None:
    for port in (target.rest, target.grpc, target.ops):
        for tls in (None, target.tls):
            with (
                contextlib.suppress(OSError),
                connect(port, None if port == target.ops else tls, 1) as client,
            ):
                client.sendall(chance.randbytes(chance.randrange(1, 100_000)))
                client.recv(64)


def lengths(target: Target, chance: random.Random) -> None:
    for length in (5 * MIB, 2**63, 2**64 - 3, -1):
        with connect(target.rest, target.tls, timeout=5) as client:
            client.sendall(head("/v1/score", length, "expect: 100-continue", "connection: close"))
            read_answer(client)


def slow_heads(target: Target, chance: random.Random) -> None:
    clients = [connect(target.rest, target.tls) for _ in range(30)]
    for _ in range(12):
        for client in clients:
            with contextlib.suppress(OSError):
                client.sendall(
                    b"GET /v1/models HTTP/1.1\r\nhost: x\r\n"[:1] if chance.random() < 0.5 else b"x"
                )
        time.sleep(1)
    for client in clients:
        client.close()


def packed_spaces(target: Target) -> None:
    target.post("/v1/score", packed(b" ", 3_900_000), "content-encoding: gzip")


def torn_body(target: Target) -> None:
    with connect(target.rest, target.tls, timeout=5) as client:
        client.sendall(head("/v1/score", 4_000_000, f"authorization: Bearer {target.key}") + b" " * 50_000)
        client.settimeout(0.5)
        client.recv(64)


@functools.cache
def unknown_features() -> bytes:
    """Returns a request with fifty thousand features that no model has."""
    features = {f"k{number}": 1 for number in range(50_000)}
    return json.dumps({"model": "churn", "entities": [{"id": "C-1042", "features": features}]}).encode()


def left_lines(target: Target) -> None:
    """A bulk request whose client leaves while the answer comes."""
    lines = b'{"id":"C-1042"}\n' * 30_000
    with connect(target.rest, target.tls, timeout=2) as client:
        start = head("/v1/models/churn/scores", len(lines), f"authorization: Bearer {target.key}")
        client.sendall(start + lines)
        end = time.monotonic() + 0.5
        while time.monotonic() < end and client.recv(65536):
            pass


def bursts(target: Target, chance: random.Random) -> None:
    """Clients at once, three times, of one kind after the other: what one kind leaves in the allocator is no use
    to the next."""

    def quietly(send: Callable[[Target], Any]) -> None:
        with contextlib.suppress(OSError):
            send(target)

    for send in (packed_spaces, torn_body, lambda to: to.post("/v1/score", unknown_features()), left_lines):
        for _ in range(3):
            threads = [threading.Thread(target=quietly, args=(send,)) for _ in range(CLIENTS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


def without_key(target: Target, chance: random.Random) -> None:
    own, target.key = target.key, "egk_" + "x" * chance.choice([1, 40, 8000])
    try:
        for attack in (grown_json, grown_message, held_bodies):
            attack(target, chance)
    finally:
        target.key = own


ATTACKS = [
    long_name, many_names, bulk_bomb, zstd_window, grown_message, grown_json, held_bodies, held_streams, untaken,
    untaken_http1, idle, reset, garbage, lengths, slow_heads, bursts, without_key,
]  # fmt: skip


def work(
    seed: int, addresses: tuple[str, str, str, str, str], stop: Any, results: Any, begun: Any = None
) -> None:
    """Runs attacks in random order in four threads until `stop` is set; then puts how often each ran, and how often
    the server cut one off, which is what a hostile client has to expect. `begun` counts those of each thread for
    other processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    seen: Counter[str] = Counter()

    def run(number: int) -> None:
        chance = random.Random(4 * seed + number)
        while not stop.is_set():
            attack = chance.choice(ATTACKS)
            seen[attack.__name__] += 1
            if begun is not None:
                begun[number] += 1
            try:
                attack(Target(*addresses), chance)
            except Exception as error:
                seen[f"cut off: {type(error).__name__}"] += 1

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join(10)
    # An attack that still waits for the server ends with the process, and its connections with it.
    results.put((f"hostile {seed}", dict(seen)))
