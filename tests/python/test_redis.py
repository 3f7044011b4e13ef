"""Features from real Redis servers: hashes, JSON documents, clusters, passwords, TLS, invalid data and outages."""

import json
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest
import redis

from evergreen_testing import openapi
from evergreen_testing.feature_stores import Proxy, redis_cluster, redis_server
from evergreen_testing.paths import MODELS
from evergreen_testing.processes import until, until_logged
from evergreen_testing.sample_customers import ID, IDS, ROWS, fill, metric, plain, scores, strip, text
from evergreen_testing.server_process import serving

KEY = "customer:{id}"


def settings(folder, url, extra='timeout = "5s"', redis_extra=""):
    """Returns settings with one Redis source."""
    path = folder / "evergreen.toml"
    path.write_text(f"""
[source.online]
{extra}
[source.online.redis]
key = "{KEY}"
as_of = "as_of"
{redis_extra}
[source.online.redis.server]
urls = {json.dumps([url] if isinstance(url, str) else url)}
""")
    return path


@pytest.fixture
def store(tmp_path):
    with redis_server(tmp_path / "redis") as server:
        client = redis.Redis(port=server.port)
        fill(client)
        server.client = client
        yield server


def test_every_customer_has_the_snapshots_score(evergreen, server, store, tmp_path):
    expected = scores(server, IDS, explain=3)
    with serving(evergreen, tmp_path, customers=None, config=settings(tmp_path, store.url)) as online:
        found = scores(online, IDS, explain=3)
        assert strip(found) == strip(expected)
        assert {result["features"]["from"] for result in found} == {"store"}
        assert found[0]["features"]["as_of"] == "2026-11-21T03:00:00Z"
        again = scores(online, IDS, explain=3)
        assert strip(again) == strip(expected) and {r["features"]["from"] for r in again} == {"cache"}
        assert metric(online, "evergreen_source_fetches_total", result="ok") == -(-len(IDS) // 1000)
        # The cache updates its entry count with a delay.
        until(lambda: metric(online, "evergreen_source_cache_entries", source="online") == len(IDS))
        missing = online.http.get("/v1/models/churn/scores/C-nobody")
        assert missing.status_code == 404 and missing.json()["detail"] == "no customer_id `C-nobody`"


def test_documents_are_read_by_their_paths(evergreen, server, tmp_path):
    """One nested JSON document per customer, with some numbers stored as text."""
    models = tmp_path / "models" / "churn" / "1"
    models.mkdir(parents=True)
    for file in (MODELS / "churn" / "1").iterdir():
        shutil.copy(file, models / file.name)
    contract = models / "bundle.toml"
    written = contract.read_text()
    for name in ("visits_30d", "nps"):
        assert written.count(f'name = "{name}"\n') == 1
        path = f"$.events['{name}'].value"
        written = written.replace(
            f'name = "{name}"\n', f'name = "{name}"\nsource = "{path}"\nparse = "tolerant"\n'
        )
    for line in [line for line in written.splitlines() if line.startswith("source = ") and "$" not in line]:
        written = written.replace(line + "\n", "")
    written = re.sub(r'(\[\[feature\]\]\nname = "(\w+)"\n)(?!source)', r'\1source = "$.\2"\n', written)
    contract.write_text(written)
    with redis_server(tmp_path / "redis") as store:
        client = redis.Redis(port=store.port)
        pipeline = client.pipeline(transaction=False)
        for row in ROWS[:500]:
            document = {name: plain(value) for name, value in row.items()}
            document["events"] = {
                "visits_30d": {"value": f" {row['visits_30d']:,} "},
                "nps": {"value": None if row["nps"] != row["nps"] else str(int(row["nps"]))},
            }
            del document["visits_30d"], document["nps"]
            pipeline.set(f"customer:{row[ID]}", json.dumps(document))
        pipeline.execute()
        config = (
            settings(tmp_path, store.url, redis_extra='document = "json"')
            .read_text()
            .replace('"as_of"', '"$.as_of"')
        )
        (tmp_path / "evergreen.toml").write_text(config)
        with serving(
            evergreen,
            tmp_path,
            models=tmp_path / "models",
            customers=None,
            config=tmp_path / "evergreen.toml",
        ) as online:
            assert strip(scores(online, IDS[:500])) == strip(scores(server, IDS[:500]))


def test_garbage_counts_as_missing_and_is_named(evergreen, store, tmp_path):
    first, second, third = IDS[:3]
    store.client.hset(f"customer:{first}", "monthly_price", "a lot")
    store.client.hset(f"customer:{first}", "visits_30d", "9007199254740993")
    store.client.delete(f"customer:{second}")
    store.client.set(f"customer:{second}", "not a hash")
    store.client.hdel(f"customer:{third}", "nps")
    with serving(evergreen, tmp_path, customers=None, config=settings(tmp_path, store.url)) as online:
        one, two, three, four = scores(online, IDS[:4])
        assert one["status"] == "degraded" and one["features"]["missing"] == ["monthly_price", "visits_30d"]
        # Nothing is known of the second: a score would be the same for every such customer.
        assert two["status"] == "error" and "too little is known for a score: 0%" in two["error"]["detail"]
        assert three["status"] == "degraded" and three["features"]["missing"] == ["nps"]
        assert four["status"] == "ok"
        view = online.http.get(f"/v1/models/churn/features/{first}").json()
        states = {feature["feature"]: feature for feature in view["features"]}
        assert states["monthly_price"]["status"] == ["missing"] and states["monthly_price"]["value"] is None
        assert states["plan"]["status"] == ["present"] and states["plan"]["value"] == ROWS[0]["plan"]
        assert metric(online, "evergreen_features_total", feature="monthly_price", status="missing") == 1
        assert "a lot" not in until_logged(online.log, "monthly_price")


def test_a_cluster_answers_and_follows_a_moved_slot(evergreen, server, tmp_path):
    with redis_cluster(tmp_path / "cluster") as nodes:
        client = redis.RedisCluster(host="127.0.0.1", port=nodes[0].port)
        for row in ROWS:
            client.hset(f"customer:{row[ID]}", mapping={k: text(v) for k, v in row.items() if k != ID})
        config = settings(
            tmp_path, [nodes[0].url, nodes[1].url], 'timeout = "2s"\ncache.bytes = 0'
        ).read_text()
        (tmp_path / "evergreen.toml").write_text(config + "cluster = true\n")
        with serving(evergreen, tmp_path, customers=None, config=tmp_path / "evergreen.toml") as online:
            expected = strip(scores(server, IDS))
            assert strip(scores(online, IDS)) == expected
            move_slots(nodes[0], 300)
            assert strip(scores(online, IDS)) == expected
            nodes[0].kill()  # its replica is promoted
            deadline = time.monotonic() + 20
            while strip(scores(online, IDS)) != expected:
                assert time.monotonic() < deadline, "the cluster's new master was not found"
                time.sleep(0.2)


def move_slots(node, count):
    ask = lambda *words: subprocess.run(node.cli(*words), capture_output=True, text=True, check=True).stdout  # noqa: E731
    masters = [line.split() for line in ask("cluster", "nodes").splitlines() if "master" in line]
    mine = next(fields[0] for fields in masters if "myself" in fields[2])
    other = next(fields[0] for fields in masters if fields[0] != mine)
    command = node.cli(
        "--cluster", "reshard", f"127.0.0.1:{node.port}", "--cluster-from", mine, "--cluster-to", other
    )
    command += ["--cluster-slots", str(count), "--cluster-yes"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def test_users_passwords_and_certificates(evergreen, tmp_path):
    make = lambda *words: subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=tmp_path)  # noqa: E731
    make(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-days",
        "2",
        "-subj",
        "/CN=ca",
    )
    make(
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "server.key",
        "-out",
        "server.csr",
        "-subj",
        "/CN=localhost",
    )
    (tmp_path / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    make("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
         "-out", "server.pem", "-extfile", "names")  # fmt: skip
    from evergreen_testing.processes import free_port

    tls = free_port()
    arguments = [
        "--tls-port",
        str(tls),
        "--tls-cert-file",
        tmp_path / "server.pem",
        "--tls-key-file",
        tmp_path / "server.key",
    ]
    arguments += ["--tls-ca-cert-file", tmp_path / "ca.pem", "--tls-auth-clients", "no"]
    arguments += ["--user", "scorer", "on", ">sesame", "~customer:*", "+@read", "+@connection"]
    with redis_server(tmp_path / "redis", *map(str, arguments)) as store:
        fill(redis.Redis(port=store.port), ROWS[:10])
        config = settings(tmp_path, f"rediss://localhost:{tls}", 'timeout = "5s"').read_text()
        config += f'ca = "{tmp_path / "ca.pem"}"\nusername = "scorer"\n'
        (tmp_path / "evergreen.toml").write_text(config)
        variable = "EVERGREEN_SOURCE__ONLINE__REDIS__SERVER__PASSWORD"
        right = {variable: "sesame"}
        with serving(
            evergreen, tmp_path, customers=None, config=tmp_path / "evergreen.toml", **right
        ) as online:
            assert {result["status"] for result in scores(online, IDS[:10])} == {"ok"}
        with serving(
            evergreen, tmp_path, customers=None, config=tmp_path / "evergreen.toml", **{variable: "wrong"}
        ) as online:
            [result] = scores(online, IDS[:1])
            assert result["status"] == "error" and "`online` is unavailable" in result["error"]["detail"]
            assert "wrong" not in until_logged(online.log, "uthentication failed")
            # The administrator corrects the password; the server reconnects without a restart.
            redis.Redis(port=store.port).execute_command("ACL", "SETUSER", "scorer", ">wrong")
            time.sleep(0.5)
            assert scores(online, IDS[:1])[0]["status"] == "ok"


def test_ten_thousand_requests_for_one_cold_key_are_one_fetch(evergreen, store, tmp_path):
    import asyncio

    import httpx

    config = settings(tmp_path, store.url, 'timeout = "5s"')
    with serving(evergreen, tmp_path, customers=None, config=config) as online:

        async def ask():
            limits = httpx.Limits(max_connections=100)
            async with openapi.AsyncClient(
                base_url=online.http.base_url, limits=limits, timeout=60
            ) as client:
                # Pause the store, so that all requests join the same fetch.
                store.signal(signal.SIGSTOP)
                body = {"model": "churn", "entities": [{"id": IDS[0]}] * 100}
                asked = [asyncio.ensure_future(client.post("/v1/score", json=body)) for _ in range(100)]
                await asyncio.sleep(0.7)
                store.signal(signal.SIGCONT)
                return await asyncio.gather(*asked)

        answers = asyncio.run(ask())
        results = [result for answer in answers for result in answer.json()["results"]]
        assert len(results) == 10_000 and {result["status"] for result in results} == {"ok"}
        assert metric(online, "evergreen_source_fetches_total") == 1


def load(online, until, out):
    """Requests one score after the other; appends each result and its duration to `out`."""
    while time.monotonic() < until():
        start = time.monotonic()
        [result] = scores(online, [IDS[len(out) % len(IDS)]])
        out.append((start, time.monotonic() - start, result["status"], unavailable(result)))


def unavailable(result):
    """Whether an entity got no score because a store is away."""
    return result.get("error", {}).get("kind") == "unavailable"


@pytest.mark.parametrize("fault", ["killed", "paused", "reset", "slow"])
def test_every_request_is_answered_while_the_store_is_away(evergreen, store, tmp_path, fault):
    between = Proxy(store.port)
    config = settings(tmp_path, f"redis://127.0.0.1:{between.port}", "cache.bytes = 0\ntimeout = '200ms'")
    with serving(evergreen, tmp_path, customers=None, config=config) as online:
        end, asked = [time.monotonic() + 60], []
        asking = threading.Thread(target=load, args=(online, lambda: end[0], asked))
        asking.start()
        time.sleep(0.5)
        if fault == "killed":
            store.kill()
            time.sleep(1.5)
            store.start()
        elif fault == "paused":
            store.signal(signal.SIGSTOP)
            time.sleep(5)
            store.signal(signal.SIGCONT)
        elif fault == "slow":
            between.delay = 1.0
            time.sleep(5)
            between.delay = 0.0
        else:
            for _ in range(20):
                subprocess.run(store.cli("client", "kill", "type", "normal"), capture_output=True)
                time.sleep(0.05)
        back = time.monotonic()
        time.sleep(6)
        end[0] = 0
        asking.join()
        statuses = {status for _, _, status, _ in asked}
        assert statuses <= {"ok", "error"}, statuses
        refused = sum(away for *_, away in asked)
        assert refused == sum(status == "error" for _, _, status, _ in asked)
        assert fault == "reset" or refused > 0
        after = max([start - back for start, _, _, away in asked if away], default=0.0)
        slowest = max(took for _, took, _, _ in asked)
        print(
            f"{fault}: {len(asked)} asked, {refused} refused, slowest {slowest:.3f} s, "
            f"last refused {after:.3f} s after"
        )
        # Usually a fraction of a second; the limit allows for a busy machine.
        assert after < 5, f"still refused {after:.1f} s after the store was back"


def test_the_cache_answers_while_the_store_is_away_and_can_be_emptied(evergreen, store, tmp_path):
    config = settings(tmp_path, store.url, 'timeout = "1s"\ncache = { soft = "1s", hard = "1h" }')
    with serving(evergreen, tmp_path, customers=None, config=config) as online:
        assert scores(online, IDS[:5])[0]["features"]["from"] == "store"
        store.kill()
        time.sleep(1.3)  # past the soft limit: each entity is fetched again, and the fetch fails
        for _ in range(5):
            results = scores(online, IDS[:5])
            assert {(r["status"], r["features"]["from"]) for r in results} == {("ok", "cache")}
        assert metric(online, "evergreen_source_cache_total", result="ageing") > 0
        assert online.ops.delete(f"/cache/online/{IDS[0]}").status_code == 204
        first, second = scores(online, IDS[:2])
        assert unavailable(first) and second["status"] == "ok"
        assert online.ops.delete("/cache").status_code == 204
        assert unavailable(scores(online, IDS[1:2])[0])
        assert online.ops.delete("/cache/onlin").status_code == 404
        store.start()
        time.sleep(0.6)
        assert scores(online, IDS[:1])[0]["status"] == "ok"


@pytest.mark.parametrize("least, expected", [(0, "degraded"), (0.5, "error")])
def test_a_store_that_is_away_may_degrade_scores_within_the_contracts_limit(
    evergreen, store, tmp_path, least, expected
):
    models = tmp_path / "models"
    shutil.copytree(MODELS / "churn", models / "churn")
    written = (models / "churn/1/bundle.toml").read_text()
    assert "min_known" not in written
    (models / "churn/1/bundle.toml").write_text(
        written.replace("[output]\n", f"[output]\nmin_known = {least}\n")
    )
    config = settings(tmp_path, store.url, 'on_failure = "degrade"\ncache.bytes = 0')
    with serving(evergreen, tmp_path, models=models, customers=None, config=config) as online:
        store.kill()
        [result] = scores(online, ["C-nobody"])
        assert result["status"] == expected
        if expected == "degraded":
            assert result["features"]["unavailable"] == ["online"] and "score" in result
        else:
            assert "score" not in result and "band" not in result
            assert "too little is known for a score: 0%" in result["error"]["detail"]


def test_no_score_without_the_store(evergreen, store, tmp_path):
    config = settings(tmp_path, store.url, "cache.bytes = 0")
    with serving(evergreen, tmp_path, customers=None, config=config) as online:
        assert scores(online, IDS[:1])[0]["status"] == "ok"
        store.kill()
        [result] = scores(online, IDS[:1])
        assert result["status"] == "error" and result["error"]["kind"] == "unavailable"
        answer = online.http.get(f"/v1/models/churn/scores/{IDS[0]}")
        assert answer.status_code == 503 and "`online` is unavailable" in answer.json()["detail"]


def test_the_next_run_begins_with_warm_caches(evergreen, store, tmp_path):
    config = settings(tmp_path, store.url)
    config.write_text(f'[features]\nwarm = "{tmp_path / "warm.json"}"\n' + config.read_text())
    with serving(evergreen, tmp_path, customers=None, config=config) as online:
        scores(online, IDS[:50])
        assert online.stop() == 0
    assert sorted(json.loads((tmp_path / "warm.json").read_text())["online"]) == sorted(IDS[:50])
    with serving(evergreen, tmp_path, customers=None, config=config) as online:
        deadline = time.monotonic() + 10
        while online.ops.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline
        assert {result["features"]["from"] for result in scores(online, IDS[:50])} == {"cache"}
        assert scores(online, IDS[50:51])[0]["features"]["from"] == "store"


@pytest.mark.parametrize(
    "config, expected",
    [
        ('[source.online]\n', "[source.online] set exactly one of the tables redis, feast and postgres"),
        ('[source.online.redis]\nkey = "customer"\n', "redis.key: expected a text with {id}"),
        ('[source.online.redis]\nkeyy = "x"\n', "unknown field `keyy`"),
        ('[source.online]\ntimeout = "soon"\nredis = {}\n', 'expected a duration such as "50ms"'),
        ('[features]\ndefault = "onlin"\n[source.online]\nredis = {}\n', "no [source.onlin]; did you mean `online`?"),
        ('[source.online]\nredis = { server = { urls = ["redis://a", "redis://b"] } }\n', "set cluster = true or keep one"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_named(evergreen, tmp_path, config, expected):
    path = tmp_path / "evergreen.toml"
    path.write_text(config)
    done = subprocess.run([evergreen, "serve", "--config", path], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and expected in done.stderr, done.stderr


def test_versions_are_compared_with_features_of_the_store(evergreen, store, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(MODELS / "churn", models / "churn")
    (tmp_path / "ids.txt").write_text("\n".join([*IDS[:800], "C-nobody"]))
    config = settings(tmp_path, store.url)
    watch = "[models]\npoll_seconds = 0.05\n[models.watch]\nids = 'ids.txt'\n"
    config.write_text(config.read_text() + watch)
    with serving(evergreen, tmp_path, models=models, customers=None, config=config) as online:
        shutil.copytree(models / "churn/1", tmp_path / "2")
        (tmp_path / "2").rename(models / "churn/2")
        found = until(lambda: [
            event["what"]
            for event in online.ops.get("/v1/models/churn").json()["events"]
            if "was compared with 1" in event["what"]
        ])  # fmt: skip
        assert found == ["version 2 was compared with 1: gives the same answers for 800 customers"]
