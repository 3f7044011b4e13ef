"""Measures what a server costs on this machine, and prints the tables of docs/capacity.md.

    cargo build --profile dist --features full
    python benches/capacity.py [--binary target/dist/evergreen] [--seconds 4] [--only NAME]

The cost of a score is the CPU time of the server's process (/proc/PID/stat) divided by the number of scores, so that
load generators and neighbours on the same cores count for little. Memory is resident memory, or what the server and
Redis report. redis-server must be installed. `--only` runs one of the measurements: snapshot, store or memory;
`--figures FILE` measures nothing, and calculates with the values of a JSON file, by the names of the first table.
"""

import argparse
import asyncio
import json
import math
import os
import socket
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "python"))

import pandas as pd  # noqa: E402
import redis  # noqa: E402

from evergreen_testing.feature_stores import redis_server  # noqa: E402
from evergreen_testing.hostile import SCORE, field, message  # noqa: E402
from evergreen_testing.paths import CUSTOMERS  # noqa: E402
from evergreen_testing.sample_customers import IDS, fill  # noqa: E402
from evergreen_testing.server_process import Instance  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
STORE = """
[source.online]
timeout = "5s"
cache = {{ bytes = {cache} }}
[source.online.redis]
key = "customer:{{id}}"
[source.online.redis.server]
urls = ["{url}"]
[features]
default = "online"
"""


def cpu(pid):
    """Returns the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def rest_load(port, entities, seconds):
    """Asks over eight connections, each as soon as it has its answer. Returns the number of requests."""
    bodies = []
    for start in range(64):
        some = [{"id": IDS[(start * entities + n) % len(IDS)]} for n in range(entities)]
        body = json.dumps({"model": "churn", "entities": some}).encode()
        head = f"POST /v1/score HTTP/1.1\r\nhost: x\r\naccept-encoding: identity\r\ncontent-length: {len(body)}\r\n\r\n"
        bodies.append(head.encode() + body)
    end = time.monotonic() + seconds

    async def one(number):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        count = 0
        while time.monotonic() < end:
            writer.write(bodies[(number + count) % 64])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.split()[1] == b"200", head
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            count += 1
        writer.close()
        return count

    return sum(await asyncio.gather(*map(one, range(8))))


async def grpc_load(port, entities, seconds):
    """The same over gRPC: two connections with four calls each."""
    import grpc

    contents = [
        message(field(1, b"churn") + b"".join(
            field(3, field(1, IDS[(start * entities + n) % len(IDS)].encode())) for n in range(entities)
        ))[5:]
        for start in range(64)
    ]  # fmt: skip
    end = time.monotonic() + seconds

    async def one(call, number):
        count = 0
        while time.monotonic() < end:
            await call(contents[(number + count) % 64])
            count += 1
        return count

    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) for _ in range(2)]
    calls = [channel.unary_unary(SCORE) for channel in channels]
    found = sum(await asyncio.gather(*(one(calls[number % 2], number) for number in range(8))))
    for channel in channels:
        await channel.close()
    return found


def cost(instance, load, port, entities, seconds, other=None):
    """Returns the CPU µs per score of the server, and of `other` (a process id), the median of three runs."""
    asyncio.run(load(instance.ports[port], entities, 1))
    own, others = [], []
    for _ in range(3):
        before = cpu(instance.process.pid), cpu(other) if other else 0
        count = asyncio.run(load(instance.ports[port], entities, seconds)) * entities
        own.append((cpu(instance.process.pid) - before[0]) / count * 1e6)
        others.append(((cpu(other) if other else 0) - before[1]) / count * 1e6)
    return round(statistics.median(own), 2), round(statistics.median(others), 2)


def metric(instance, name):
    """Returns the sum of a metric's samples."""
    lines = instance.ask("/metrics")[1].splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def many(folder, rows):
    """Writes a snapshot of so many rows, which are the sample's under other ids."""
    frame = pd.read_parquet(CUSTOMERS)
    copies = [frame.assign(customer_id=frame["customer_id"] + f"-{n}") for n in range(rows // len(frame) + 1)]
    pd.concat([frame, *copies]).to_parquet(folder / "many.parquet")
    return folder / "many.parquet"


def snapshot(options, work):
    """Scores from the snapshot, over both protocols, one customer and a hundred at a time."""
    with Instance(options.binary, work, "snapshot") as instance:
        instance.start()
        found = {}
        for name, load, port in (("rest", rest_load, "http"), ("grpc", grpc_load, "grpc")):
            for entities in (1, 100):
                found[f"{name}_{entities}"] = cost(instance, load, port, entities, options.seconds)[0]
        return found


def store(options, work):
    """Scores through Redis: every one from the cache, and every one missing in it."""
    found = {}
    with redis_server(work / "redis") as server:
        client = redis.Redis(port=server.port)
        empty = client.info("memory")["used_memory"]
        fill(client)
        found["redis_bytes"] = round((client.info("memory")["used_memory"] - empty) / client.dbsize())
        for name, cache in (("hit", 256 << 20), ("miss", 0)):
            config = STORE.format(cache=cache, url=server.url)
            with Instance(options.binary, work, name, config, customers=None) as instance:
                instance.start()
                if name == "hit":
                    for start in range(0, len(IDS), 1000):
                        entities = [{"id": id} for id in IDS[start : start + 1000]]
                        body = json.dumps({"model": "churn", "entities": entities})
                        assert instance.ask("/v1/score", "http", "POST", body)[0] == 200
                    entries = metric(instance, "evergreen_source_cache_entries")
                    found["cache_bytes"] = round(
                        metric(instance, "evergreen_source_cache_bytes") / max(1, entries)
                    )
                for entities in (1, 100):
                    of = cost(instance, rest_load, "http", entities, options.seconds, server.process.pid)
                    found[f"{name}_{entities}"] = of[0]
                    if name == "miss":
                        found[f"redis_{entities}"] = of[1]
    return found


def memory(options, work):
    """Bytes per customer in the snapshot, per idle connection, and of a server without either."""
    found, rows = {}, options.rows
    with Instance(options.binary, work, "few") as instance:
        instance.start()
        idle = instance.resident()
        found["idle_mb"] = round(idle, 1)
        for port in ("http", "grpc"):
            before, clients = instance.resident(), []
            for _ in range(500):
                client = socket.create_connection(("127.0.0.1", instance.ports[port]))
                if port == "http":
                    client.sendall(b"GET /v1/models/churn/scores/C-1042 HTTP/1.1\r\nhost: x\r\n\r\n")
                else:
                    client.sendall(
                        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">I", 0)[1:] + b"\x04\0\0\0\0\0"
                    )
                client.recv(4096)
                clients.append(client)
            found[f"{port}_connection_kb"] = round((instance.resident() - before) / 500 * 1024, 1)
            for client in clients:
                client.close()
    with Instance(options.binary, work, "many", customers=many(work, rows)) as instance:
        start = time.monotonic()
        instance.start()
        found["load_s_per_million"] = round((time.monotonic() - start) / rows * 1e6, 2)
        found["snapshot_bytes"] = round(metric(instance, "evergreen_snapshot_bytes") / rows, 1)
        found["resident_bytes"] = round((instance.resident() - idle) * (1 << 20) / rows, 1)
    return found


#: What the plan assumes; see docs/capacity.md.
CORES, UTILISATION, POD_GB, HIT, NODE_GB, HOT = 4, 0.6, 32, 0.9, 32, 0.1


def plan(found):
    """Returns the rows of the plan: rate, customers, where the features are, and what it takes."""
    rows = []
    for rate in (1_000, 100_000, 1_000_000):
        for customers in (1_000_000, 100_000_000, 1_000_000_000):
            # A reload holds two snapshots.
            size = customers * found["resident_bytes"] * 2 / 1e9
            in_snapshot = size < POD_GB
            one = found["rest_1"] if in_snapshot else HIT * found["hit_1"] + (1 - HIT) * found["miss_1"]
            many = (
                found["rest_100"] if in_snapshot else HIT * found["hit_100"] + (1 - HIT) * found["miss_100"]
            )
            pods = [
                max(2, math.ceil(rate * micros / 1e6 / UTILISATION / CORES) + 1) for micros in (one, many)
            ]
            row = [f"{rate:,}", f"{customers:,}", "snapshot" if in_snapshot else "Redis", pods[0], pods[1]]
            if in_snapshot:
                row += [f"{max(0.5, size + 0.3):.1f}", "", "", ""]
            else:
                cache = min(customers * HOT * found["cache_bytes"] / 1e9, POD_GB / 2)
                data = customers * found["redis_bytes"] / 1e9
                by_data = math.ceil(data / NODE_GB)
                by_rate = math.ceil(rate * (1 - HIT) * found["redis_1"] / 1e6 / UTILISATION)
                row += [f"{cache + 0.5:.1f}", f"{cache:.1f}", f"{data:,.0f}", max(1, by_data, by_rate)]
            rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", type=Path, default=ROOT / "target/dist/evergreen")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rows", type=int, default=500_000, help="customers of the large snapshot")
    parser.add_argument("--figures", type=Path, help="JSON file with figures to calculate with")
    parser.add_argument("--only", choices=["snapshot", "store", "memory"])
    options = parser.parse_args()
    options.binary = str(options.binary.resolve())
    found = json.loads(options.figures.read_text()) if options.figures else {}
    for measure in (snapshot, store, memory):
        if not options.figures and options.only in (None, measure.__name__):
            with tempfile.TemporaryDirectory(prefix="evergreen-capacity-") as work:
                found |= measure(options, Path(work))
    print("| measured | value |\n|---|---|")
    for name, value in found.items():
        score = "_1" in name and not name.endswith("kb")
        each = f" µs CPU per score, {1e6 / value:,.0f} scores/s and core" if score and value else ""
        print(f"| {name} | {value}{each} |")
    if options.only is None:
        heads = ["scores/s", "customers", "features in", "pods, 1 per request", "pods, 100 per request",
                 "GB per pod", "of it cache", "Redis GB", "Redis masters"]  # fmt: skip
        print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
        for row in plan(found):
            print("| " + " | ".join(map(str, row)) + " |")


if __name__ == "__main__":
    main()
