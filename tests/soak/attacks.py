"""Tries each attack of `soak_attacks.py` alone, over every protocol that it can use, and prints what it did.

    cargo build --release --features full
    python tests/soak/attacks.py --binary target/release/evergreen [--seconds 5] [--budget 48] [--only held_bodies]

Each attack has a server of its own. A process of low priority, with two threads, repeats the attack for some seconds.
Beside it one client asks for a score and one for /livez, each over a new connection, again 10 ms after each answer. The
table has how often the attack ended by itself and how often it was cut off, the growth of resident memory to its peak,
the longest wait for a score and for /livez, how many of these failed, and the time until no request held memory any
more. Exit code 1: a score or a probe failed, memory grew by more than SECURITY.md says or was held for a minute, or an
attack was always cut off that the server should bear.
"""

import argparse
import contextlib
import functools
import http.client
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests/python"), str(ROOT / "tests/soak")]

import soak_attacks  # noqa: E402
from evergreen_testing.certificates import Authority  # noqa: E402
from evergreen_testing.hostile import MIB, Http2, Memory, connect, is_idle  # noqa: E402
from evergreen_testing.server_process import serving  # noqa: E402
from soak_attacks import Target  # noqa: E402

# What a server needs beside the budget, in MiB: buffers of connections, TLS, code pages. Freed memory may add half of
# the budget.
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
# What a server must not let a client finish.
CUT_OFF = [soak_attacks.reset]
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


def plain_name(attack):
    """Returns the name of an attack without that of the protocol."""
    return attack.__name__.removesuffix("_http2")


class Client(threading.Thread):
    """Asks one address for a path again and again."""

    def __init__(self, address, path, tls, stop):
        super().__init__(daemon=True)
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


def repeat(attack, target, seconds, results):
    """Runs an attack in two threads for some seconds; puts how often it ended, and by what it was cut off."""
    os.nice(5)
    end = time.monotonic() + seconds
    seen = Counter()

    def work(seed):
        chance = random.Random(seed)
        while time.monotonic() < end:
            try:
                attack(target(), chance)
                seen["ended"] += 1
            except Exception as error:
                seen[type(error).__name__] += 1

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(seen)


def until_idle(server):
    """Returns the seconds until no request holds memory, or None after a minute."""
    start = time.monotonic()
    while not is_idle(server):
        if time.monotonic() > start + 60:
            return None
        time.sleep(0.02)
    return time.monotonic() - start


def attacked(server, attack, kind, ca, options):
    """Attacks a server. Returns a row of the table, and what is wrong."""
    rest, ops = (client.base_url.netloc.decode() for client in (server.http, server.ops))
    target = functools.partial(kind, rest, server.grpc, ops, ca, "")
    stop, results = threading.Event(), multiprocessing.Queue()
    clients = [Client(rest, SCORE, target().tls, stop), Client(ops, "/livez", None, stop)]
    attacker = multiprocessing.Process(
        target=repeat, args=(attack, target, options.seconds, results), daemon=True
    )
    with contextlib.redirect_stdout(None), Memory(server.process.pid).peak() as peak:
        attacker.start()
        for client in clients:
            client.start()
        # An attack waits for a minute at most; if its process ends otherwise, so does this one.
        seen = results.get(timeout=options.seconds + 180)
        attacker.join()
        idle = until_idle(server)
        stop.set()
        for client in clients:
            client.join()
    wrong = [problem for client in clients for problem in client.failed]
    row = f"{seen['ended']:>5} {seen.total() - seen['ended']:>7} {peak[0]:>8.0f}"
    row += "".join(f" {1000 * max(client.waits):>8.0f}" for client in clients)
    row += f" {len(wrong):>6} " + ("    never" if idle is None else f"{idle:>9.1f}")
    if idle is None:
        wrong.append("requests hold memory a minute later")
    most = 1.5 * options.budget + BESIDE
    if peak[0] > most:
        wrong.append(f"{peak[0]:.0f} MiB more; expected at most {most:.0f}")
    if bool(seen["ended"]) == (attack in CUT_OFF):
        wrong.append(f"ended and cut off: {dict(seen)}")
    return row, wrong


def main():
    """Parses the command line, tries the attacks, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", required=True, help="the server's program")
    parser.add_argument("--seconds", type=float, default=5, help="how long each attack is repeated (5)")
    parser.add_argument("--budget", type=int, default=48, metavar="MIB", help="the memory budget (48)")
    names = sorted({plain_name(attack) for attack, _, _ in ways("ca")})
    parser.add_argument("--only", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    options = parser.parse_args()
    print(f"{'attack':16} {'over':15} ended cut off MiB more score ms livez ms failed idle in s", flush=True)
    wrong = []
    with tempfile.TemporaryDirectory(prefix="evergreen-attacks-") as folder:
        authority = Authority(folder)
        certificate, key = authority.issue()
        config = Path(folder) / "e.toml"
        limits = f"[limits]\nmemory = {options.budget * MIB}\n[server]\nresponse_seconds = 3\n"
        for ca in ("", str(authority.file)):
            tls = f"[tls]\ncertificate = '{certificate}'\nkey = '{key}'\n" if ca else ""
            config.write_text(limits + tls)
            for attack, protocol, kind in ways(ca):
                name = plain_name(attack)
                if options.only not in (None, name):
                    continue
                with serving(options.binary, folder, config=config, TOKIO_WORKER_THREADS="2") as server:
                    row, problems = attacked(server, attack, kind, ca, options)
                print(f"{name:16} {protocol:15} {row}", flush=True)
                wrong += [f"{name} over {protocol}: {problem}" for problem in problems[:3]]
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
