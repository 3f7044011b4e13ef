"""Steady load from processes of its own: requests start at fixed instants (an open loop) and are timed from the instant
at which they should have started, so that a server that stalls is not spared the requests it kept waiting."""

import multiprocessing
import signal
import threading
import time

# A POST: a proxy must not ask another server by itself when one goes away after it was asked.
PATH, BODY = "/v1/score", {"model": "churn", "entities": [{"id": "C-1042"}]}


def rest_client(address, tls):
    """A function that scores over a connection that is kept."""
    import ssl

    import httpx

    verify = ssl.create_default_context(cafile=tls) if tls else False
    client = httpx.Client(base_url=address, timeout=30, verify=verify)

    def ask():
        assert client.post(PATH, json=BODY).raise_for_status().json()["results"][0]["score"]

    return ask


def grpc_client(address, tls):
    import grpc

    from evergreen_testing.grpc_client import Client

    if tls:
        with open(tls, "rb") as file:
            channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()))
    else:
        channel = grpc.insecure_channel(address)
    method, request = Client(channel).prepare("Score", model="churn", entities=[{"text_id": "C-1042"}])

    def ask():
        assert method(request, timeout=30).results[0].score

    return ask


CLIENTS = {"rest": rest_client, "grpc": grpc_client}


def work(kind, address, rate, workers, tls, phase, results):
    """Asks until the phase is 0, by several threads in turn."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    times, failures, lock = {}, [], threading.Lock()
    asks = [CLIENTS[kind](address, tls) for _ in range(workers)]
    for ask in asks:
        ask()
    start = time.perf_counter()

    def run(number, ask):
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
    """Load on one or both protocols, until the block ends. `phase` marks what is measured together."""

    def __init__(self, addresses, rate, workers=4, tls=None):
        self.phase, self.results = multiprocessing.Value("i", 1), multiprocessing.Queue()
        self.processes = [
            multiprocessing.Process(
                target=work, args=(kind, address, rate, workers, tls, self.phase, self.results)
            )
            for kind, address in addresses.items()
        ]
        self.times, self.failures = {}, {}

    def __enter__(self):
        for process in self.processes:
            process.start()
        return self

    def __exit__(self, *_):
        self.phase.value = 0
        for _ in self.processes:
            kind, times, failures = self.results.get(timeout=60)
            self.times[kind], self.failures[kind] = times, failures
        for process in self.processes:
            process.join()

    def asked(self):
        return sum(len(some) for times in self.times.values() for some in times.values())


def percentile(values, share):
    """In milliseconds."""
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] * 1e3
