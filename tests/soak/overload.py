"""A flood of requests beside probes and a hostile client, for `delivery.py overload`."""

import asyncio
import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import threading
import time


class Exchange(asyncio.BufferedProtocol):
    """A connection of HTTP/1.1 that keeps the head of an answer and only counts the bytes of its body: what is read
    goes to memory that all connections share."""

    def __init__(self, scratch):
        self.scratch, self.head, self.left, self.answered = scratch, b"", None, None
        self.ended = None

    def ask(self, message):
        """Sends a request; returns what waits for its status and whether it has a time to retry."""
        if self.ended:
            raise self.ended
        self.head, self.left = b"", None
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(message)
        return self.answered

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        self.ended = error or ConnectionError("the server closed the connection")
        if self.answered and not self.answered.done():
            self.answered.set_exception(self.ended)

    def get_buffer(self, sizehint):
        return self.scratch

    def buffer_updated(self, count):
        if self.left is None:
            self.head += self.scratch[:count]
            if b"\r\n\r\n" not in self.head:
                return
            head, body = self.head.split(b"\r\n\r\n", 1)
            self.head = head.lower()
            self.left = int(self.head.split(b"\r\ncontent-length:")[1].split(b"\r\n")[0])
            count = len(body)
        self.left -= count
        if self.left == 0:
            self.answered.set_result((int(self.head.split()[1]), b"\r\nretry-after:" in self.head))


class Flood:
    """Requests over many connections. It must need less CPU than the server, or it would measure itself."""

    def __init__(self, port, entities, explain, key):
        body = json.dumps(
            {"model": "churn", "explain": explain, "entities": [{"id": "C-1042"}] * entities}
        ).encode()
        lines = (f"authorization: Bearer {key}", "accept-encoding: identity", f"content-length: {len(body)}")
        head = "\r\n".join(("POST /v1/score HTTP/1.1", "host: x", *lines, "", ""))
        self.port, self.message, self.seen = port, head.encode() + body, []
        self.scratch = memoryview(bytearray(1 << 20))

    async def worker(self, queue, end):
        connect = asyncio.get_running_loop().create_connection
        transport, exchange = await connect(lambda: Exchange(self.scratch), "127.0.0.1", self.port)
        while (now := time.perf_counter()) < end:
            intended = now if queue is None else await queue.get()
            if intended is None:
                break
            status, retry = await exchange.ask(self.message)
            self.seen.append((intended, time.perf_counter() - intended, status, retry))
        transport.close()

    async def run(self, seconds, workers, rate=None):
        """Closed loop: each worker sends its next request after an answer. With a rate, requests are due at fixed times
        and are timed from those. Returns what was asked, and the answers with scores in a second, but for the first
        second."""
        self.seen = []
        start = time.perf_counter()
        end = start + seconds
        queue = asyncio.Queue() if rate else None
        tasks = [asyncio.create_task(self.worker(queue, end)) for _ in range(workers)]
        if rate:
            count = 0
            while time.perf_counter() < end:
                due = int((time.perf_counter() - start) * rate) - count
                for _ in range(due):
                    queue.put_nowait(start + count / rate)
                    count += 1
                await asyncio.sleep(0.002)
            for _ in tasks:
                queue.put_nowait(None)
        await asyncio.gather(*tasks)
        # Answers that came after the end do not count, nor those of the first second, in which the server fills up:
        # else short and long rounds would differ.
        good = sum(status == 200 and start + 1 <= due + took <= end for due, took, status, _ in self.seen)
        return self.seen, good / (seconds - 1)


class Probes:
    """Asks for liveness and readiness for the length of a block."""

    def __init__(self, instance):
        self.instance, self.done, self.answers = instance, threading.Event(), []
        self.thread = threading.Thread(target=self.work)

    def work(self):
        while not self.done.is_set():
            for path in ("/livez", "/readyz"):
                start = time.perf_counter()
                status, text = self.instance.ask(path)
                self.answers.append((time.perf_counter() - start, status, text))
            time.sleep(0.05)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def attack(*arguments):
    """Attacks with what other clients leave of their core: else they could not ask in time, and the server idles."""
    import soak_attacks

    os.nice(10)
    soak_attacks.work(*arguments)


@contextlib.contextmanager
def hostile_client(instance, key, seed):
    """Runs one hostile client, with its four threads and a key, for the length of a block. Yields a list that has the
    number of its attacks at the end."""
    begun, attacks = multiprocessing.RawArray("i", 4), []
    ports = [f"127.0.0.1:{instance.ports[port]}" for port in ("http", "grpc", "ops")]
    never, results = multiprocessing.Event(), multiprocessing.Queue()
    process = multiprocessing.Process(target=attack, args=(seed, (*ports, "", key), never, results, begun))
    process.start()
    # So that it attacks when the block begins.
    time.sleep(2)
    try:
        yield attacks
    finally:
        if not process.is_alive():
            raise RuntimeError(f"the hostile client ended with {process.exitcode}")
        # Its connections end with it.
        process.kill()
        process.join()
        attacks.append(sum(begun))


@contextlib.contextmanager
def own_cores():
    """Gives what starts now one half of the cores, and after a call of what it yields the other half."""
    cores = sorted(os.sched_getaffinity(0))
    half = set(cores[: max(1, len(cores) // 2)])
    os.sched_setaffinity(0, half)
    try:
        yield lambda: os.sched_setaffinity(0, set(cores) - half or half)
    finally:
        os.sched_setaffinity(0, cores)


def make_key(binary, name, limits=""):
    """Returns a key that may score, and its entry of the key file with these limits."""
    command = [binary, "key", name, "--role", "score"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    return made.stderr.split()[-1], made.stdout + limits


def slow_until(instance, key, seconds=3):
    """Asks for single scores, one after another. Returns after how many seconds none failed or took 50 ms."""
    last, start = 0.0, time.perf_counter()
    while (now := time.perf_counter()) < start + seconds:
        status, _ = instance.ask("/v1/models/churn/scores/C-1042", port="http", key=key)
        if status != 200 or time.perf_counter() - now > 0.05:
            last = now - start
    return last


def overload(
    binary,
    work,
    rounds=3,
    seconds=60,
    warm=8,
    entities=400,
    explain=3,
    in_flight=10_000,
    factor=10,
    hostile=False,
    hostile_rate=0,
):
    """Returns goodput relative to the peak, p99 of admitted requests, probes, memory and recovery time. Server and
    clients have their own cores, as on machines of their own: else what a hostile client computes would count against
    the server. The hostile client has a key of its own, with `hostile_rate` entities a second; 0: no limit.

    A machine that others use, too, changes its speed within a minute. So the peak is measured before and after every
    overload, and the mean of both counts."""
    from evergreen_testing.server_process import Instance
    from evergreen_testing.traffic import percentile

    key, entry = make_key(binary, "front-end")
    hostile_key, hostile_entry = make_key(
        binary, "hostile", f"rate = {float(hostile_rate)}\n" if hostile_rate else ""
    )
    (work / "keys.toml").write_text(entry + hostile_entry)
    # The default would be half of this machine; 200 MiB are that of a container of 512.
    config = f"[limits]\nin_flight = {in_flight}\nbatch = {in_flight}\nmemory = {200 << 20}\n[log]\nlevel = 'warn'\n"
    config += f"[auth]\nfile = '{work}/keys.toml'\n"
    seen, calm, probes, memory, slow, peaks, ratios, busy, attacks = [], [], [], [], [], [], [], [], []
    with own_cores() as clients, Instance(binary, work, config=config) as instance:
        instance.start()
        clients()
        flood = Flood(instance.ports["http"], entities, explain, key)

        def peak():
            # Two requests in flight per two cores, and two more, keep the server busy; further ones would only wait.
            answers, per_second = asyncio.run(flood.run(warm, workers=4))
            calm.extend(answers)
            peaks.append(per_second)

        peak()
        memory.append(instance.resident())
        for number in range(rounds):
            used = time.process_time()
            attacking = (
                hostile_client(instance, hostile_key, number) if hostile else contextlib.nullcontext([])
            )
            with attacking as begun, Probes(instance) as probing:
                answers, goodput = asyncio.run(flood.run(seconds, workers=400, rate=factor * peaks[-1]))
                memory.append(instance.resident())
            busy.append((time.process_time() - used) / seconds)
            slow.append(slow_until(instance, key))
            time.sleep(2)
            memory.append(instance.resident())
            seen += answers
            attacks += begun
            probes += probing.answers
            peak()
            ratios.append(goodput / statistics.mean(peaks[-2:]))
    good = [took for _, took, status, _ in seen if status == 200]
    refused = [took for _, took, status, _ in seen if status == 429]
    return {
        "goodput_to_peak": round(statistics.median(ratios), 3),
        "of_each_round": [round(each, 3) for each in ratios],
        "attacks_of_each_round": attacks,
        "peaks_per_s": [round(each, 1) for each in peaks],
        "offered_per_s": round(factor * statistics.mean(peaks[:-1]), 1),
        "asked_per_s": round(len(seen) / seconds / rounds, 1),
        "other_answers": len(seen) - len(good) - len(refused),
        "refused": len(refused),
        "with_retry_after": sum(retry for _, _, status, retry in seen if status == 429),
        "p99_at_peak_ms": round(percentile([took for _, took, status, _ in calm if status == 200], 0.99), 1),
        "p99_admitted_ms": round(percentile(good, 0.99), 1),
        "p99_refused_ms": round(percentile(refused, 0.99), 1) if refused else None,
        "probes": len(probes),
        "probes_failed": sum(status != 200 for _, status, _ in probes),
        "first_failed": [text for _, status, text in probes if status != 200][:3],
        "p99_probe_ms": round(percentile([took for took, *_ in probes], 0.99), 1),
        "resident_mb": [round(each) for each in memory],
        "normal_after_s": round(max(slow), 2),
        # Close to 1: the clients are what is measured.
        "cpu_of_clients": round(max(busy), 2),
    }
