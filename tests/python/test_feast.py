"""Real Feast online stores with the sample customers: Evergreen reads the same values as Feast's SDK."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from evergreen_testing.feature_stores import postgres_server, redis_server
from evergreen_testing.paths import CUSTOMERS, MODELS, SCRIPTS
from evergreen_testing.processes import free_port, wait_for
from evergreen_testing.sample_customers import scores
from evergreen_testing.server_process import serving

FEAST = os.environ.get("FEAST_PYTHON")

STALE = 3600  # TTL of the view "usage"


def feast(*arguments, **options):
    """Runs the Python with Feast, whose requirements conflict with those of the other libraries."""
    if not FEAST:
        pytest.fail("FEAST_PYTHON names no Python with Feast: run tests/run, which makes one")
    return subprocess.run(
        [FEAST, *map(str, arguments)], check=True, capture_output=True, text=True, **options
    )


def populate(folder, kind, connection=""):
    folder.mkdir()
    try:
        feast(SCRIPTS / "feast_repo.py", folder, kind, connection, CUSTOMERS)
    except subprocess.CalledProcessError as error:
        pytest.fail(error.stderr[-3000:])
    return json.loads((folder / "expected.json").read_text())


def settings(folder, repo, store):
    path = folder / "evergreen.toml"
    path.write_text(f"""
[source.feast]
timeout = "20s"
bulk_timeout = "60s"
cache.bytes = 0
[source.feast.feast]
project = "churn"
registry = "{repo / "registry.db"}"
service = "churn_v1"
registry_seconds = 1
{store}
""")
    return path


def same(ours, theirs):
    if theirs is None or (isinstance(theirs, float) and math.isnan(theirs)):
        return ours is None
    if isinstance(theirs, float):
        # The model takes 32-bit floats, so compare after rounding to those.
        import struct

        return struct.pack("f", ours) == struct.pack("f", theirs)
    return ours == theirs and type(ours) is type(theirs)


def compare(server, expected, every=1):
    """Compares every customer and feature; returns the number of comparisons and the differences."""
    compared, wrong, now = 0, [], time.time()
    for row, id in list(enumerate(expected["ids"]))[::every]:
        answer = server.http.get(f"/v1/models/churn/features/{id}")
        unknown = all(column["statuses"][row] == 3 for column in expected["features"].values()) or all(
            column["values"][row] is None and column["times"][row] <= 0
            for column in expected["features"].values()
        )
        if unknown:
            assert answer.status_code == 404, (id, answer.text)
            continue
        assert answer.status_code == 200, (id, answer.text)
        seen = {feature["feature"]: feature for feature in answer.json()["features"]}
        for name, column in expected["features"].items():
            value, status, second = column["values"][row], column["statuses"][row], column["times"][row]
            want = {"missing"} if status == 3 or (value is None and second <= 0) else set()
            if not want and (value is None or value != value):
                want = {"null"}
            elif not want and name in USAGE and now - second > STALE:
                want = {"stale"}
            ours = set(seen[name]["status"])
            # A default of the contract replaces a missing value.
            ours_value, defaulted = seen[name]["value"], "default" in ours
            statuses = (ours - {"default", "present", "out_of_range"}) or (want if defaulted else set())
            compared += 1
            if statuses != want or not (defaulted or same(ours_value, value)):
                wrong.append((id, name, value, status, ours_value, sorted(ours)))
    return compared, wrong


USAGE = ["visits_30d", "visits_trend", "days_since_visit", "subscribe_hovers_30d", "support_calls_30d"]
USAGE += ["support_calls_90d", "support_minutes_90d", "nps"]


def check(evergreen, tmp_path, repo, store, expected, every=1):
    with serving(evergreen, tmp_path, customers=None, config=settings(tmp_path, repo, store)) as online:
        compared, wrong = compare(online, expected, every)
        print(f"{compared} values compared with Feast's SDK, {len(wrong)} differ", file=sys.stderr)
        assert not wrong, (len(wrong), wrong[:5])
        assert compared > 24 * 3000 / every
        # The same in bulk: one customer in seven has no usage.
        results = scores(online, expected["ids"])
        assert results[-1]["status"] == "not_found"
        assert {result["status"] for result in results[:-1]} == {"ok", "degraded"}


def test_redis_says_what_feasts_sdk_says(evergreen, tmp_path):
    with redis_server(tmp_path / "redis") as redis:
        expected = populate(tmp_path / "repo", "redis", redis.port)
        check(evergreen, tmp_path, tmp_path / "repo", f'redis = {{ urls = ["{redis.url}"] }}', expected)


def test_postgres_says_what_feasts_sdk_says(evergreen, tmp_path):
    with postgres_server(tmp_path) as postgres:
        expected = populate(tmp_path / "repo", "postgres", postgres.port)
        store = f'postgres = {{ connect = "{postgres.connect}", schema = "feast" }}'
        check(evergreen, tmp_path, tmp_path / "repo", store, expected)


def test_sqlite_says_what_feasts_sdk_says(evergreen, tmp_path):
    expected = populate(tmp_path / "repo", "sqlite")
    check(evergreen, tmp_path, tmp_path / "repo", f'sqlite = "{tmp_path / "repo" / "online.db"}"', expected)


def test_the_feature_server_says_what_feasts_sdk_says(evergreen, tmp_path):
    expected = populate(tmp_path / "repo", "sqlite")
    port = free_port()
    command = [
        Path(FEAST).parent / "feast",
        "-c",
        tmp_path / "repo",
        "serve",
        "--port",
        str(port),
        "--no-access-log",
    ]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:

        def ready():
            try:
                return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
            except httpx.HTTPError:
                return False

        wait_for(ready, f"Feast's feature server ({(tmp_path / 'server.log').read_text()[-500:]})", 60)
        # Feast's server takes about 10 ms per customer, so check every fifth.
        check(
            evergreen, tmp_path, tmp_path / "repo", f'server = "http://127.0.0.1:{port}"', expected, every=5
        )
    finally:
        server.terminate()
        server.wait()


def test_what_the_registry_lacks_is_named(evergreen, tmp_path):
    populate(tmp_path / "repo", "sqlite")
    config = settings(tmp_path, tmp_path / "repo", f'sqlite = "{tmp_path / "repo" / "online.db"}"')
    config.write_text(config.read_text().replace('service = "churn_v1"', 'service = "churn_v2"'))
    ports = [word for port in ("http", "grpc", "ops") for word in (f"--{port}", "127.0.0.1:0")]
    command = [evergreen, "serve", "--models", MODELS, "--config", config, *ports]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "the registry has no feature service `churn_v2`" in done.stderr, (
        done.stderr
    )
    config.write_text(config.read_text().replace("registry.db", "no-registry.db"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "no-registry.db" in done.stderr, done.stderr


def test_a_changed_registry_is_taken_over_and_a_worse_one_is_not(evergreen, tmp_path):
    """A TTL of an hour makes every tenth usage stale; then the registry gets a longer TTL, then loses the view."""
    with redis_server(tmp_path / "redis") as redis:
        expected = populate(tmp_path / "repo", "redis", redis.port)
        config = settings(tmp_path, tmp_path / "repo", f'redis = {{ urls = ["{redis.url}"] }}')
        with serving(evergreen, tmp_path, customers=None, config=config) as online:
            [before] = scores(online, expected["ids"][3:4])
            assert "visits_30d" in before["features"]["stale"]
            feast(SCRIPTS / "feast_change.py", tmp_path / "repo", "ttl", 7 * 24 * 3600)
            wait_for(
                lambda: scores(online, expected["ids"][3:4])[0]["status"] == "ok",
                "the registry's new TTL",
                10,
            )
            feast(SCRIPTS / "feast_change.py", tmp_path / "repo", "drop")
            wait_for(
                lambda: "registry reload failed" in online.log.read_text(),
                "the log's word on the worse registry",
                10,
            )
            assert scores(online, expected["ids"][3:4])[0]["status"] == "ok"


def test_a_version_that_feast_cannot_feed_is_refused_and_the_live_one_serves_on(evergreen, tmp_path):
    """The version's view has integer keys; the views of the live version have text keys."""
    with redis_server(tmp_path / "redis") as redis:
        expected = populate(tmp_path / "repo", "redis", redis.port)
        feast(SCRIPTS / "feast_change.py", tmp_path / "repo", "numbers")
        config = settings(tmp_path, tmp_path / "repo", f'redis = {{ urls = ["{redis.url}"] }}')
        config.write_text("[models]\npoll_seconds = 0.1\n" + config.read_text())
        models = tmp_path / "models"
        shutil.copytree(MODELS / "churn", models / "churn")
        with serving(evergreen, tmp_path, models=models, customers=None, config=config) as online:
            before = scores(online, expected["ids"][:50])
            assert {result["status"] for result in before} <= {"ok", "degraded"}
            shutil.copytree(models / "churn/1", models / "churn/.2")
            contract = models / "churn/.2/bundle.toml"
            name = 'name = "visits_30d"\n'
            contract.write_text(contract.read_text().replace(name, name + 'source = "numbers:visits_30d"\n'))
            (models / "churn/.2").rename(models / "churn/2")

            def refused():
                versions = online.http.get("/v1/models/churn").json()["versions"]
                return next((v for v in versions if v["version"] == 2 and v["state"] == "refused"), None)

            wait_for(refused, "the refusal of version 2", 20)
            assert "its `customer_id` has another type" in refused()["reason"], refused()
            assert scores(online, expected["ids"][:50]) == before
