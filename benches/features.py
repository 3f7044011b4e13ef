"""The way from an id to a score through Redis beside a bare HMGET, Feast's SDK and Feast's feature server, in one run.

    python benches/features.py [--delay MS]

It needs redis-server, and a Python with Feast that FEAST_PYTHON names (tests/run makes one).

--delay puts so many milliseconds between the program and Redis, both ways together (through a proxy).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "python"))

import redis  # noqa: E402

from evergreen_testing.feature_stores import Proxy, redis_server  # noqa: E402
from evergreen_testing.paths import SCRIPTS  # noqa: E402
from evergreen_testing.processes import free_port  # noqa: E402
from evergreen_testing.sample_customers import (  # noqa: E402
    ID,
    IDS,
    ROWS,
    fill,
)

FEAST = """
import json, sys, time
from feast import FeatureStore
store = FeatureStore(repo_path=sys.argv[1])
ids, service = json.load(open(sys.argv[2])), store.get_feature_service("churn_v1")
out = {}
for entities in (1, 64):
    times = []
    for start in range(0, 100 * entities, entities):
        rows = [{"customer_id": ids[(start + i) % len(ids)]} for i in range(entities)]
        begin = time.perf_counter()
        store.get_online_features(features=service, entity_rows=rows)
        times.append(time.perf_counter() - begin)
    out[entities] = sorted(times)[len(times) // 2] * 1e6
print(json.dumps(out))
"""


def feast(folder, store_port, ids):
    """Medians of Feast's SDK and of its feature server, in µs, by number of entities."""
    python = os.environ.get("FEAST_PYTHON")
    if not python:
        sys.exit("FEAST_PYTHON names no Python with Feast: tests/run makes one in target/venv-feast")
    repo = folder / "repo"
    repo.mkdir()
    script = SCRIPTS / "feast_repo.py"
    subprocess.run(
        [python, script, repo, "redis", str(store_port), ROOT / "models" / "customers.parquet"],
        check=True,
        capture_output=True,
    )
    done = subprocess.run([python, "-c", FEAST, repo, ids], check=True, capture_output=True, text=True)
    sdk = {int(entities): micros for entities, micros in json.loads(done.stdout.splitlines()[-1]).items()}
    port = free_port()
    command = [Path(python).parent / "feast", "-c", repo, "serve", "--port", str(port), "--no-access-log"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    import httpx

    client, medians = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30), {}
    try:
        while True:
            try:
                client.get("/health")
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        for entities in (1, 64):
            times = []
            for start in range(0, 50 * entities, entities):
                some = [IDS[(start + i) % len(IDS)] for i in range(entities)]
                begin = time.perf_counter()
                answer = client.post(
                    "/get-online-features", json={"feature_service": "churn_v1", "entities": {ID: some}}
                )
                times.append(time.perf_counter() - begin)
                assert answer.status_code == 200, answer.text
            medians[entities] = sorted(times)[len(times) // 2] * 1e6
    finally:
        server.terminate()
    return sdk, medians


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--delay", type=float, default=0.0, metavar="MS", help="network delay to Redis, both ways together"
    )
    delay = parser.parse_args().delay
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name) / "redis") as server:
        folder = Path(name)
        fill(redis.Redis(port=server.port), ROWS)
        port = Proxy(server.port, delay / 1000).port if delay else server.port
        (folder / "ids").write_text("\n".join(IDS))
        (folder / "ids.json").write_text(json.dumps(IDS))
        environment = os.environ | {
            "BENCH_REDIS": f"redis://127.0.0.1:{port}",
            "BENCH_IDS": str(folder / "ids"),
        }
        subprocess.run(
            ["cargo", "bench", "--quiet", "--bench", "features"], cwd=ROOT, env=environment, check=True
        )
        sdk, medians = feast(folder, port, folder / "ids.json")
        print("\n| entities | Feast's SDK | Feast's feature server |\n|---|---|---|")
        for entities in (1, 64):
            print(f"| {entities} | {sdk[entities]:,.0f} µs | {medians[entities]:,.0f} µs |")


if __name__ == "__main__":
    main()
