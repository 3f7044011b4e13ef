"""Tries each attack of `soak_attacks.py` alone, over every protocol that it can use, and prints what it did.

    cargo build --release --features full
    python tests/soak/attacks.py --binary target/release/evergreen [--seconds 5] [--budget 48] [--only NAME]

Two threads repeat the attack for some seconds. Beside them a client asks for a score and for /livez every 10 ms, each
over a new connection, which must be answered. The table has how often the attack ran, the growth of resident memory to
its peak, the longest wait for a score and for /livez, how many of these failed, and the time until no request held
memory any more. Exit code 1: a score or a probe failed, or memory grew by more than the budget and 48 MiB.
"""

import argparse
import contextlib
import http.client
import random
import ssl
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests/python"), str(ROOT / "tests/soak")]

import soak_attacks  # noqa: E402
from evergreen_testing.certificates import Authority  # noqa: E402
from evergreen_testing.hostile import MIB, Http2, Memory, connect, is_idle  # noqa: E402
from evergreen_testing.server_process import serving  # noqa: E402
from soak_attacks import Target  # noqa: E402

# What a server needs beside the budget, in MiB: buffers of connections, TLS, code pages, the allocator.
BESIDE = 48

SCORE = "/v1/models/churn/scores/C-1042"
JSON = ("content-type", "application/json")


class Http2Target(Target):
    """The REST port over HTTP/2."""

    def post(self, path, body, *headers):
        client = Http2(self.rest, tls=self.h2)
        fields = [tuple(header.split(": ", 1)) for header in headers]
        stream = client.request(path, JSON, *fields)
        client.send(stream, body, end=True)
        client.answers([stream])
        client.close()


def held_bodies_http2(target, chance):
    """A hundred bodies that lack their last byte, on one connection."""
    client = Http2(target.rest, tls=target.h2)
    for _ in range(100):
        stream = client.request("/v1/score", JSON, ("content-length", str(MIB)))
        client.send(stream, b" " * 200_000)
        if client.closed:
            break
    time.sleep(chance.uniform(0, 10))
    client.close()


def untaken_http2(target, chance):
    """Sixty answers on a connection whose window stays closed."""
    client = Http2(target.rest, window=0, tls=target.h2)
    body = b'{"model": "churn", "entities": [' + b",".join([b'{"id": "C-1042"}'] * 2000) + b"]}"
    for _ in range(60):
        client.send(client.request("/v1/score", JSON), body, end=True)
    end = time.monotonic() + chance.uniform(1, 15)
    while time.monotonic() < end and not client.closed:
        client.read(0.5)
    client.close()


GRPC = [soak_attacks.grown_message, soak_attacks.held_streams, soak_attacks.untaken, soak_attacks.reset]
HTTP1 = [
    attack for attack in soak_attacks.ATTACKS if attack not in GRPC and attack is not soak_attacks.without_key
]
POSTED = [
    soak_attacks.long_name,
    soak_attacks.many_names,
    soak_attacks.bulk_bomb,
    soak_attacks.zstd_window,
    soak_attacks.grown_json,
]


def ways(ca):
    """Yields attacks with the name of the protocol and the class of the target."""
    secure = " + TLS" if ca else ""
    yield from ((attack, f"HTTP/1.1{secure}", Target) for attack in HTTP1)
    yield from ((attack, f"gRPC{secure}", Target) for attack in GRPC)
    if ca:
        yield from ((attack, "HTTP/2 + TLS", Http2Target) for attack in POSTED)
        yield from ((attack, "HTTP/2 + TLS", Http2Target) for attack in (held_bodies_http2, untaken_http2))


class Client(threading.Thread):
    """Asks one address for a path all the time."""

    def __init__(self, address, path, tls, stop):
        super().__init__()
        self.address, self.path, self.tls, self.stop = address, path, tls, stop
        self.waits, self.failed = [], []

    def ask(self):
        host, port = self.address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        try:
            connection.sock = connect(self.address, self.tls)
            connection.request("GET", self.path)
            answer = connection.getresponse()
            text = answer.read()
            return None if answer.status == 200 else text[:200]
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()

    def run(self):
        while not self.stop.is_set():
            start = time.monotonic()
            if problem := self.ask():
                self.failed.append(problem)
            self.waits.append(time.monotonic() - start)
            time.sleep(0.01)


def until_idle(server):
    """Returns the seconds until no request holds memory."""
    start = time.monotonic()
    while not is_idle(server):
        assert time.monotonic() < start + 60, "requests hold memory a minute later"
        time.sleep(0.02)
    return time.monotonic() - start


def attacked(server, attack, target, seconds):
    """Runs an attack in two threads for some seconds. Returns a row of the table, and the problems."""
    stop = threading.Event()
    clients = [
        Client(target.rest, SCORE, target.tls, stop),
        Client(target.ops, "/livez", None, stop),
    ]
    end = time.monotonic() + seconds
    times = []

    def repeat(seed):
        chance = random.Random(seed)
        while time.monotonic() < end:
            # The server may cut an attack off, and the next one begins.
            with contextlib.suppress(OSError, AssertionError, ssl.SSLError):
                attack(target, chance)
            times.append(1)

    attackers = [threading.Thread(target=repeat, args=(seed,)) for seed in range(2)]
    with Memory(server.process.pid).peak() as peak:
        for thread in clients + attackers:
            thread.start()
        for thread in attackers:
            thread.join()
        quiet = until_idle(server)
        stop.set()
        for thread in clients:
            thread.join()
    failed = [problem for client in clients for problem in client.failed]
    row = f"{len(times):>5} {peak[0]:>8.0f}"
    row += "".join(f"{1000 * max(client.waits):>11.0f}" for client in clients)
    return row + f"{len(failed):>8} {quiet:>8.1f}", peak[0], failed


def main():
    """Parses the command line, tries the attacks, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", required=True, help="the server's program")
    parser.add_argument("--seconds", type=float, default=5, help="how long each attack is repeated (5)")
    parser.add_argument("--budget", type=int, default=48, metavar="MIB", help="the memory budget (48)")
    parser.add_argument(
        "--only", metavar="NAME", help="only the attack of this name, for instance held_bodies"
    )
    options = parser.parse_args()
    bound, wrong = options.budget + BESIDE, []
    print(
        f"{'attack':18} {'over':16} {'times':>5} {'MiB more':>8} {'score ms':>10} {'livez ms':>10}  failed   idle s"
    )
    with tempfile.TemporaryDirectory(prefix="evergreen-attacks-") as folder:
        authority = Authority(folder)
        certificate, key = authority.issue()
        tls = f"[tls]\ncertificate = '{certificate}'\nkey = '{key}'\n"
        for ca in ("", str(authority.file)):
            config = Path(folder) / "e.toml"
            limits = f"[limits]\nmemory = {options.budget * MIB}\n[server]\nresponse_seconds = 3\n"
            config.write_text(limits + (tls if ca else ""))
            with serving(options.binary, folder, config=config, TOKIO_WORKER_THREADS="2") as server:
                addresses = [client.base_url.netloc.decode() for client in (server.http, server.ops)]
                for attack, protocol, kind in ways(ca):
                    if options.only and attack.__name__ != options.only:
                        continue
                    target = kind(addresses[0], server.grpc, addresses[1], ca, "")
                    with contextlib.redirect_stdout(None):
                        row, peak, failed = attacked(server, attack, target, options.seconds)
                    print(f"{attack.__name__.removesuffix('_http2'):18} {protocol:16} {row}", flush=True)
                    wrong += [f"{attack.__name__} over {protocol}: {problem}" for problem in failed[:3]]
                    if peak > bound:
                        wrong.append(
                            f"{attack.__name__} over {protocol}: {peak:.0f} MiB more; expected at most {bound}"
                        )
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
