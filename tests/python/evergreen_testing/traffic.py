"""Steady load from other processes.

Requests start at fixed instants (an open loop) and are timed from the instant at which they should have
started, so that a server that stalls is charged for the requests that it kept waiting.
"""

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Self

# A POST: a proxy must not ask another server by itself when one goes away after it was asked.
PATH, BODY = "/v1/score", {"model": "churn", "entities": [{"id": "C-1042"}]}


def rest_client(address: str, tls: str | None) -> Callable[[], None]:
    """Returns a function that scores over REST, over one connection. `tls` is the file of a CA
    certificate."""
    import ssl

    import httpx

    verify = ssl.create_default_context(cafile=tls) if tls else False
    client = httpx.Client(base_url=address, timeout=30, verify=verify)

    def ask() -> None:
        assert client.post(PATH, json=BODY).raise_for_status().json()["results"][0]["score"]

    return ask


def grpc_client(address: str, tls: str | None) -> Callable[[], None]:
    """Returns a function that scores over gRPC, over one connection. `tls` is the file of a CA
    certificate."""
    import grpc

    from evergreen_testing.grpc_client import Client

    if tls:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(Path(tls).read_bytes()))
    else:
        channel = grpc.insecure_channel(address)
    method, request = Client(channel).prepare("Score", model="churn", entities=[{"text_id": "C-1042"}])

    def ask() -> None:
        assert method(request, timeout=30).results[0].score

    return ask


CLIENTS = {"rest": rest_client, "grpc": grpc_client}

#: Protocol, seconds per request by phase, failures with their phase.
Result = tuple[str, dict[int, list[float]], list[tuple[int, str]]]


def work(
    kind: str,
    address: str,
    rate: float,
    workers: int,
    tls: str | None,
    phase: Any,
    results: "multiprocessing.Queue[Result]",
) -> None:
    """Sends `rate` requests per second from `workers` threads in turn until the phase is 0; then puts its
    result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    times: dict[int, list[float]] = {}
    failures: list[tuple[int, str]] = []
    lock = threading.Lock()
    asks = [CLIENTS[kind](address, tls) for _ in range(workers)]
    for ask in asks:
        ask()
    start = time.perf_counter()

    def run(number: int, ask: Callable[[], None]) -> None:
        turn = number
        while (now := phase.value) != 0:
            intended = start + turn / rate
            delay = intended - time.perf_counter()
            if delay > 0:
                time.sleep(delay)
            try:
                ask()
            except Exception as error:
                failures.append((now, repr(error)[:300]))
            with lock:
                times.setdefault(now, []).append(time.perf_counter() - intended)
            turn += workers

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(asks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put((kind, times, failures))


class Traffic:
    """Load on one or both protocols for the length of a block.

    `addresses` has one address per protocol (rest, grpc), `rate` is in requests per second over each
    protocol. Setting `phase.value` marks the requests that follow. After the block, `times` has the seconds
    per request by protocol and phase, and `failures` the failures with their phase by protocol.
    """

    def __init__(
        self, addresses: Mapping[str, str], rate: float, workers: int = 4, tls: str | None = None
    ) -> None:
        self.phase = multiprocessing.Value("i", 1)
        self.results: multiprocessing.Queue[Result] = multiprocessing.Queue()
        self.processes = [
            multiprocessing.Process(
                target=work, args=(kind, address, rate, workers, tls, self.phase, self.results)
            )
            for kind, address in addresses.items()
        ]
        self.times: dict[str, dict[int, list[float]]] = {}
        self.failures: dict[str, list[tuple[int, str]]] = {}

    def __enter__(self) -> Self:
        for process in self.processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.phase.value = 0
        for _process in self.processes:
            kind, times, failures = self.results.get(timeout=60)
            self.times[kind], self.failures[kind] = times, failures
        for process in self.processes:
            process.join()

    def asked(self) -> int:
        """Returns the number of requests, after the block."""
        return sum(len(some) for times in self.times.values() for some in times.values())


def percentile(values: Collection[float], share: float) -> float:
    """Returns a percentile of seconds in milliseconds; `share` is 0.99 for the 99th."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3
