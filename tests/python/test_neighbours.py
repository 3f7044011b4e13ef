"""One client's ids never change another client's answers: for every store, the answers while a client sends bad ids are those
of an undisturbed run. NEIGHBOUR_REQUESTS sets the number of requests (10,000 for the figures in the changelog)."""

import os
import re
import threading

import httpx
import pandas as pd
import pytest
import redis

from evergreen_testing.feature_stores import Proxy, postgres_server, redis_server
from evergreen_testing.paths import CUSTOMERS
from evergreen_testing.sample_customers import IDS, ROWS, fill, strip
from evergreen_testing.server_process import serving
from test_feast import populate
from test_feast import settings as feast_settings
from test_postgres import settings as postgres_settings
from test_redis import settings as redis_settings

REQUESTS = int(os.environ.get("NEIGHBOUR_REQUESTS", "1000"))
CLIENTS = 4

# Ids that stores refuse, or that look like something else in their protocols.
BAD = [
    "a\0b", "\0", "", " ", "C-1042 ", "c-1042", "'; DROP TABLE x; --", "{id}", "*", "\r\nGET x", "ünïcödé\u2028",
    "9" * 30, "-1", "1e5", "x" * 20_000, "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "67e55044-10b1-426f-9247-bb680e5fe0c8", "NaN", "null", "[]", "$1", "%00", "\\x00",
]  # fmt: skip


def uuid_of(id: str) -> str:
    return f"00000000-0000-0000-0000-{int(id.removeprefix('C-')):012d}"


def redis_store(folder):
    with redis_server(folder / "redis") as store:
        fill(redis.Redis(port=store.port), ROWS)
        yield redis_settings(folder, store.url, "cache.bytes = 0\ntimeout = '5s'"), {}


def postgres_store(folder, key: str):
    """The sample customers with a key column of another type; `key` is its SQL."""
    with postgres_server(folder / "store") as store:
        frame = pd.read_parquet(CUSTOMERS)
        frame.to_csv(folder / "customers.csv", index=False)
        kinds = {
            "object": "text",
            "str": "text",
            "bool": "boolean",
            "int64": "bigint",
            "float64": "double precision",
        }
        columns = ", ".join(
            f"{name} {kinds.get(str(kind), 'timestamptz')}" for name, kind in frame.dtypes.items()
        )
        (folder / "customers.csv").chmod(0o644)
        store.sql(f"CREATE TABLE raw ({columns})")
        store.sql(f"COPY raw FROM '{folder / 'customers.csv'}' CSV HEADER")
        rest = ", ".join(name for name in frame.columns if name != "customer_id")
        store.sql(f"CREATE TABLE customers AS SELECT {key} AS customer_id, {rest} FROM raw")
        query = {
            "text": 'table = "customers"',
            "char": 'table = "customers"',
            "uuid": 'table = "customers"',
            "cast": 'query = "SELECT * FROM customers WHERE customer_id = ANY($1::text[]::uuid[])"',
        }
        name = {"customer_id": "text", "customer_id::char(10)": "char"}.get(key, "uuid")
        names = ("uuid", "cast") if name == "uuid" else (name,)
        for name in names:
            yield postgres_settings(folder, store, query[name], "cache.bytes = 0\ntimeout = '5s'"), name


UUID = "('00000000-0000-0000-0000-' || lpad(substr(customer_id, 3), 12, '0'))::uuid"


def answers(server, ids, number: int):
    """Asks for `number` customers, one a request, from several clients; returns the answers by position."""
    found: list[object] = [None] * number

    def ask(start):
        with httpx.Client(base_url=server.http.base_url, timeout=60) as client:
            for position in range(start, number, CLIENTS):
                body = {"model": "churn", "entities": [{"id": ids[position % len(ids)]}]}
                found[position] = strip(client.post("/v1/score", json=body).json()["results"])

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def disturb(server, ids, stop):
    """Sends bad ids, alone and among good ones, until `stop`; returns how many requests it sent."""
    sent = 0
    with httpx.Client(base_url=server.http.base_url, timeout=60) as client:
        while not stop.is_set():
            bad = BAD[sent % len(BAD)]
            batch = [bad] if sent % 3 == 0 else [ids[sent % len(ids)], bad, ids[(sent * 7) % len(ids)]]
            answer = client.post(
                "/v1/score", json={"model": "churn", "entities": [{"id": id} for id in batch]}
            )
            results = answer.json()["results"]
            assert len(results) == len(batch), results
            assert all(
                result["status"] == "ok" for id, result in zip(batch, results, strict=True) if id in ids
            ), results
            sent += 1
    return sent


def compare(evergreen, folder, config, ids):
    with serving(evergreen, folder, customers=None, config=config) as server:
        undisturbed = answers(server, ids, min(REQUESTS, len(ids)))
        assert all(results[0]["status"] == "ok" for results in undisturbed)
        stop, sent, failure = threading.Event(), [], []

        def run():
            try:
                sent.append(disturb(server, ids, stop))
            except BaseException as error:
                failure.append(error)

        other = threading.Thread(target=run)
        other.start()
        found = answers(server, ids, REQUESTS)
        stop.set()
        other.join()
        assert not failure, failure
        differing = sum(
            results != undisturbed[position % len(undisturbed)]
            for position, results in enumerate(found)
            if position % len(ids) < len(undisturbed)
        )
        print(f"{differing} of {REQUESTS} answers differ, {sent[0]} bad requests")
        assert differing == 0 and sent[0] > 20


def test_redis(evergreen, tmp_path):
    for config, _ in redis_store(tmp_path):
        compare(evergreen, tmp_path, config, IDS)


@pytest.mark.parametrize("key", ["customer_id", "customer_id::char(10)", UUID], ids=["text", "char", "uuid"])
def test_postgres(evergreen, tmp_path, key):
    for config, name in postgres_store(tmp_path, key):
        ids = [uuid_of(id) for id in IDS] if name in ("uuid", "cast") else IDS
        compare(evergreen, tmp_path, config, ids)


def test_many_bad_ids_over_a_slow_network(evergreen, tmp_path):
    """The store answers within the timeout, but not hundreds of times in a row."""
    for config, name in postgres_store(tmp_path, UUID):
        if name != "cast":
            continue
        connect = next(line for line in config.read_text().splitlines() if line.startswith("connect"))
        between = Proxy(int(re.search(r"port=(\d+)", connect)[1]))
        between.delay = 0.002
        text = config.read_text().replace("timeout = '5s'", "timeout = '400ms'")
        config.write_text(re.sub(r"port=\d+", f"port={between.port}", text))
        ids = [uuid_of(id) for id in IDS]
        with serving(evergreen, tmp_path, customers=None, config=config) as server:
            bad = {"model": "churn", "entities": [{"id": f"no uuid {number}"} for number in range(60)]}
            for _ in range(40):
                results = server.http.post("/v1/score", json=bad).json()["results"]
                assert {result["status"] for result in results} <= {"not_found", "error"}
                [one] = server.http.post(
                    "/v1/score", json={"model": "churn", "entities": [{"id": ids[7]}]}
                ).json()["results"]
                assert one["status"] == "ok", one


def test_feast(evergreen, tmp_path):
    repo = tmp_path / "repo"
    populate(repo, "sqlite")
    config = feast_settings(tmp_path, repo, f'sqlite = "{repo / "online.db"}"')
    with serving(evergreen, tmp_path, customers=None, config=config) as server:
        found = answers(server, IDS, len(IDS))
    complete = [id for id, results in zip(IDS, found, strict=True) if results[0]["status"] == "ok"]
    assert len(complete) > 100
    compare(evergreen, tmp_path, config, complete)
