"""Clients during restarts, overload and certificate rotation; start-up time and memory of a server.

    cargo build --profile dist --features full
    python tests/soak/delivery.py rolling|sigterm|overload|rotation|footprint --binary target/dist/evergreen

rolling    two servers behind nginx are restarted in turn under steady load on REST and gRPC; with --old BINARY each
           restart changes from that release to the other, or back
sigterm    SIGTERM during start-up, during an outage of the store, with idle connections, with a request in flight
overload   ten times the load that the server can handle; with --hostile next to a hostile client (soak_attacks.py)
rotation   repeated certificate changes under steady load
footprint  the time from start to ready, and the memory of an idle server

nginx (rolling) and redis-server (sigterm) must be installed. Short forms run in `tests/run`.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests/python"), str(ROOT / "tests/soak")]


def rolling(binary, work, rounds=20, rate=200, steady=10, drain=2, pause=0.5, old=None):
    """Restarts two servers in turn. Returns failures, and p99 during restarts and in steady load, by protocol. nginx
    skips a server that refused it for up to two seconds: `drain` plus `pause` must be longer. With `old`, both begin
    with this binary, odd rounds upgrade them and even ones roll them back; each keeps its state file."""
    from evergreen_testing.nginx import nginx
    from evergreen_testing.server_process import Instance
    from evergreen_testing.traffic import Traffic, percentile

    config = f"[server]\ndrain_seconds = {drain}\n[log]\nlevel = 'warn'\n"
    instances = [
        Instance(old or binary, work, name, f"{config}[models]\nstate_file = '{work}/{name}.json'\n")
        for name in ("a", "b")
    ]
    codes = []
    with instances[0], instances[1], nginx(work / "nginx", instances) as addresses:
        for instance in instances:
            instance.start()
        with Traffic(addresses, rate) as traffic:
            time.sleep(2)
            traffic.phase.value = 2
            time.sleep(steady)
            traffic.phase.value = 3
            for number in range(rounds):
                for instance in instances:
                    instance.binary = old if old and number % 2 else binary
                    codes.append(instance.stop()[0])
                    instance.start()
                    time.sleep(pause)
            traffic.phase.value = 2
            time.sleep(steady)
    found = {"restarts": len(codes), "codes": sorted(set(codes)), "asked": traffic.asked()}
    found["nginx"] = log_of_nginx(work / "nginx")
    for kind, times in traffic.times.items():
        calm, during = percentile(times[2], 0.99), percentile(times[3], 0.99)
        failed = traffic.failures[kind]
        found[kind] = {
            "failed": len(failed),
            "first": failed[:3],
            "p99_steady_ms": round(calm, 2),
            "p99_during_ms": round(during, 2),
            "ratio": round(during / calm, 2),
        }
    return found


def log_of_nginx(folder):
    """Returns what nginx says of failures, but for connections that a stopped server refuses."""
    lines = (folder / "error.log").read_text().splitlines()
    return [line for line in lines if "[error]" in line and "111: Connection refused" not in line]


def sigterm(binary, work, rows=3_000_000, idle=500, duration=10):
    """Sends SIGTERM in four situations; returns exit code, seconds and failed requests."""
    from evergreen_testing import shutdown
    from evergreen_testing.feature_stores import redis_server

    def at(name):
        folder = work / name
        folder.mkdir()
        return folder

    found = {"load": shutdown.during_load(binary, at("load"), rows)}
    for how in ("kill", "stop"):
        with redis_server(at(f"redis-{how}")) as redis:
            found[f"outage_{how}"] = shutdown.during_outage(
                binary, at(how), redis, how, timeout=duration, waits=50
            )
    found["idle"] = shutdown.with_idle_connections(binary, at("idle"), idle)
    found["request"] = shutdown.with_request_under_way(binary, at("request"), duration)
    found["request"]["answer"] = found["request"]["answer"].split(b"\r\n")[0].decode()
    return found


class Flood:
    """Raw HTTP/1.1 over asyncio: the client must use less CPU than the server."""

    def __init__(self, port, entities, explain, key):
        body = json.dumps(
            {"model": "churn", "explain": explain, "entities": [{"id": "C-1042"}] * entities}
        ).encode()
        lines = (f"authorization: Bearer {key}", "accept-encoding: identity", f"content-length: {len(body)}")
        head = "\r\n".join(("POST /v1/score HTTP/1.1", "host: x", *lines, "", ""))
        self.port, self.message, self.seen = port, head.encode() + body, []

    async def one(self, streams):
        reader, writer = streams
        writer.write(self.message)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        await reader.readexactly(length)
        return int(head.split()[1]), b"retry-after" in head.lower()

    async def worker(self, queue, end):
        streams = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        while (now := time.perf_counter()) < end:
            intended = now if queue is None else await queue.get()
            if intended is None:
                break
            status, retry = await self.one(streams)
            self.seen.append((intended, time.perf_counter() - intended, status, retry))
        streams[1].close()

    async def run(self, seconds, workers, rate=None):
        """Closed loop: each worker sends its next request after an answer. With a rate, requests are due at fixed times
        and are timed from those. Returns what was asked, and the answers with scores in a second."""
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
        # Answers that came later do not count.
        good = sum(status == 200 and due + took <= end for due, took, status, _ in self.seen)
        return self.seen, good / seconds


def probing(instance, done, times):
    while not done.is_set():
        for path in ("/livez", "/readyz"):
            start = time.perf_counter()
            status, text = instance.ask(path)
            times.append((time.perf_counter() - start, status, text))
        time.sleep(0.05)


@contextlib.contextmanager
def hostile_client(instance, key):
    """Runs one hostile client, with its four threads and a key, for the length of a block."""
    import soak_attacks

    stop, results = multiprocessing.Event(), multiprocessing.Queue()
    ports = [f"127.0.0.1:{instance.ports[port]}" for port in ("http", "grpc", "ops")]
    process = multiprocessing.Process(target=soak_attacks.work, args=(0, (*ports, "", key), stop, results))
    process.start()
    try:
        yield
    finally:
        stop.set()
        process.join(60)
        process.kill()


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


def overload(
    binary,
    work,
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
    the server. The hostile client has a key of its own, with `hostile_rate` entities a second; 0: no limit."""
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
    with own_cores() as clients, Instance(binary, work, config=config) as instance:
        instance.start()
        clients()
        flood = Flood(instance.ports["http"], entities, explain, key)
        # Two requests in flight per two cores, and two more, keep the server busy; further ones would only wait.
        peak_seen, peak = asyncio.run(flood.run(warm, workers=4))
        calm = percentile([took for _, took, status, _ in peak_seen if status == 200], 0.99)
        memory = [instance.resident()]
        done, probes = threading.Event(), []
        prober = threading.Thread(target=probing, args=(instance, done, probes))
        prober.start()
        with hostile_client(instance, hostile_key) if hostile else contextlib.nullcontext():
            seen, goodput = asyncio.run(flood.run(seconds, workers=400, rate=factor * peak))
            memory.append(instance.resident())
        done.set()
        prober.join()
        # After the overload, single requests must work as before.
        after = []
        end = time.perf_counter() + 3
        while time.perf_counter() < end:
            start = time.perf_counter()
            status, _ = instance.ask("/v1/models/churn/scores/C-1042", port="http", key=key)
            after.append((start - end + 3, time.perf_counter() - start, status))
        time.sleep(2)
        memory.append(instance.resident())
        good = [took for _, took, status, _ in seen if status == 200]
        refused = [took for _, took, status, _ in seen if status == 429]
        slow = [at for at, took, status in after if status != 200 or took > 0.05]
        return {
            "peak_per_s": round(peak, 1),
            "offered_per_s": round(factor * peak, 1),
            "asked_per_s": round(len(seen) / seconds, 1),
            "goodput_to_peak": round(goodput / peak, 3),
            "other_answers": len(seen) - len(good) - len(refused),
            "refused": len(refused),
            "with_retry_after": sum(retry for _, _, status, retry in seen if status == 429),
            "p99_at_peak_ms": round(calm, 1),
            "p99_admitted_ms": round(percentile(good, 0.99), 1),
            "p99_refused_ms": round(percentile(refused, 0.99), 1) if refused else None,
            "probes": len(probes),
            "probes_failed": sum(status != 200 for _, status, _ in probes),
            "first_failed": [text for _, status, text in probes if status != 200][:3],
            "p99_probe_ms": round(percentile([took for took, *_ in probes], 0.99), 1),
            "resident_mb": [round(each) for each in memory],
            "normal_after_s": round(max(slow, default=0), 2),
        }


def rotation(binary, work, changes=30, rate=100, pause=1.0):
    """Changes the certificate every `pause` seconds; returns failures on existing and new connections."""
    from evergreen_testing.certificates import Authority, settings
    from evergreen_testing.server_process import Instance
    from evergreen_testing.traffic import Traffic

    authority = Authority(work)
    certificate, key = authority.issue()
    config = settings(work, certificate, key, more="[log]\nlevel = 'info'\n").read_text()
    with Instance(binary, work, config=config) as instance:
        instance.start()
        addresses = {
            "rest": f"https://127.0.0.1:{instance.ports['http']}",
            "grpc": f"localhost:{instance.ports['grpc']}",
        }
        new, failed = [0], []
        done = threading.Event()

        def connect():
            import http.client
            import ssl

            context = ssl.create_default_context(cafile=str(authority.file))
            while not done.is_set():
                connection = http.client.HTTPSConnection(
                    "127.0.0.1", instance.ports["http"], context=context, timeout=30
                )
                try:
                    connection.request("GET", "/v1/models/churn/scores/C-1042")
                    assert connection.getresponse().status == 200
                except Exception as error:
                    failed.append(repr(error))
                connection.close()
                new[0] += 1

        connecting = threading.Thread(target=connect)
        with Traffic(addresses, rate, tls=str(authority.file)) as traffic:
            connecting.start()
            for number in range(changes):
                time.sleep(pause)
                # Replace each file atomically, one after the other.
                fresh, its_key = authority.issue(f"fresh-{number}")
                its_key.rename(key)
                fresh.rename(certificate)
            time.sleep(pause)
            done.set()
            connecting.join()
        log = instance.log.read_text()
    return {
        "changes": changes,
        "read": log.count("TLS certificate loaded"),
        "not_taken": log.count("TLS certificate rejected"),
        "asked": traffic.asked(),
        "new_connections": new[0],
        "failed": sum(map(len, traffic.failures.values())) + len(failed),
        "first": [*failed, *itertools.chain.from_iterable(traffic.failures.values())][:3],
    }


def footprint(binary, work, starts=10):
    """Returns the time from start to ready, and resident memory before any request and after a thousand."""
    from evergreen_testing.server_process import Instance

    ready, idle, after = [], [], []
    for number in range(starts):
        with Instance(binary, work, f"i{number}") as instance:
            start = time.perf_counter()
            instance.start()
            ready.append((time.perf_counter() - start) * 1e3)
            time.sleep(1)
            idle.append(instance.resident())
            for _ in range(1000):
                instance.ask("/v1/models/churn/scores/C-1042", port="http")
            after.append(instance.resident())
            instance.stop()
    return {
        "ready_ms": [round(each, 1) for each in (min(ready), statistics.median(ready), max(ready))],
        "idle_mb": round(statistics.median(idle), 1),
        "after_1000_requests_mb": round(statistics.median(after), 1),
        "binary_mb": round(Path(binary).stat().st_size / 1e6, 1),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["rolling", "sigterm", "overload", "rotation", "footprint"])
    parser.add_argument("--binary", default=str(ROOT / "target/dist/evergreen"))
    parser.add_argument("--old", help="rolling: the binary of another release")
    parser.add_argument("--hostile", action="store_true", help="overload: next to a hostile client")
    parser.add_argument(
        "--hostile-rate",
        type=float,
        default=0,
        help="entities a second that its key may have scored; 0: no limit",
    )
    options = parser.parse_args()
    if options.hostile_rate and not options.hostile:
        parser.error("--hostile-rate needs --hostile")
    more = {"hostile": True, "hostile_rate": options.hostile_rate} if options.hostile else {}
    if options.old:
        more["old"] = str(Path(options.old).resolve())
    with tempfile.TemporaryDirectory(prefix="evergreen-delivery-") as work:
        found = globals()[options.what](str(Path(options.binary).resolve()), Path(work), **more)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
