"""Clients during restarts, overload and certificate rotation; start-up time and memory of a server.

    cargo build --profile dist --features full
    python tests/soak/delivery.py rolling|sigterm|overload|rotation|footprint --binary target/dist/evergreen

rolling    two servers behind nginx are restarted in turn under steady load on REST and gRPC; with --old BINARY each
           restart changes from that release to the other, or back
sigterm    SIGTERM during start-up, during an outage of the store, with idle connections, with a request in flight
overload   ten times the load that the server can handle, --rounds times for --seconds; with --hostile next to a hostile
           client (soak_attacks.py). On a machine whose speed changes, many short rounds tell more than a few long ones
rotation   repeated certificate changes under steady load
footprint  the time from start to ready, and the memory of an idle server

nginx (rolling) and redis-server (sigterm) must be installed. Short forms run in `tests/run`.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests/python"), str(ROOT / "tests/soak")]

from overload import overload  # noqa: E402


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


COMMANDS = {each.__name__: each for each in (rolling, sigterm, overload, rotation, footprint)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=COMMANDS)
    parser.add_argument("--binary", default=str(ROOT / "target/dist/evergreen"))
    parser.add_argument("--old", help="rolling: the binary of another release")
    parser.add_argument(
        "--rounds",
        type=int,
        choices=range(1, 1000),
        metavar="N",
        help="overload: how often (3); rolling: restarts of each server (20)",
    )
    parser.add_argument(
        "--seconds",
        type=int,
        choices=range(3, 3601),
        metavar="N",
        help="overload: how long a round takes (60)",
    )
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
    if options.rounds and options.what not in ("overload", "rolling"):
        parser.error(f"--rounds is not for {options.what}")
    more = {"hostile": True, "hostile_rate": options.hostile_rate} if options.hostile else {}
    if options.seconds and options.what != "overload":
        parser.error(f"--seconds is not for {options.what}")
    if options.seconds:
        more["seconds"] = options.seconds
    if options.rounds:
        more["rounds"] = options.rounds
    if options.old:
        more["old"] = str(Path(options.old).resolve())
    with tempfile.TemporaryDirectory(prefix="evergreen-delivery-") as work:
        found = COMMANDS[options.what](str(Path(options.binary).resolve()), Path(work), **more)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
