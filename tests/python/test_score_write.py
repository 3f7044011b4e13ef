"""`evergreen score --write`: scores in a real Redis and PostgreSQL, read back by their own clients and by Evergreen."""

import json
import os
import signal
import subprocess
import time

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from evergreen_testing.batch import bits, make_booster, make_bundle, make_rows, predict, read, score
from evergreen_testing.feature_stores import Redis, postgres_server, redis_cluster, redis_server
from evergreen_testing.paths import SCRIPTS
from evergreen_testing.processes import until

ROWS = 20_000


@pytest.fixture(scope="module")
def rows():
    return make_rows(ROWS)


@pytest.fixture(scope="module")
def booster(rows):
    return make_booster(rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, rows, booster):
    folder = tmp_path_factory.mktemp("write")
    make_bundle(folder / "models", booster, rows)
    rows.to_parquet(folder / "rows.parquet", row_group_size=5000)
    return folder


def options(folder, to, *more):
    given = ["--model", folder / "models/risk/1", "--input", folder / "rows.parquet", "--write", to]
    return [*given, "--part-rows", "4000", *more]


def hashes(client, ids):
    pipeline = client.pipeline(transaction=False)
    for id in ids:
        pipeline.hgetall(f"score:risk:{id}")
    return pipeline.execute()


def check_redis(client, rows, booster):
    found = hashes(client, rows["id"])
    expected = predict(booster, rows)
    assert (bits([float(one["score"]) for one in found]) == bits(expected)).all()
    bands = ["high" if value >= 0.6 else "mid" if value >= 0.3 else "low" for value in expected.astype(float)]
    assert [one["band"] for one in found] == bands
    assert {one["version"] for one in found} == {"1"} and {len(one["sha256"]) for one in found} == {64}
    assert [int(one["missing"]) for one in found] == rows[list("abcde")].isna().sum(axis=1).tolist()
    assert {one["status"] for one in found} == {"ok"}


def test_redis_gets_every_score_with_an_expiry(evergreen, folder, tmp_path, rows, booster):
    with redis_server(tmp_path) as server:
        client = redis.Redis(port=server.port, decode_responses=True)
        client.hset("score:risk:C-0000000", mapping={"old": "field", "score": "7"})
        done = score(evergreen, *options(folder, server.url, "--expire", "2d"))
        assert "20,000 scores written to the store" in done.stderr
        assert client.dbsize() == ROWS
        check_redis(client, rows, booster)
        assert "old" not in client.hgetall("score:risk:C-0000000")
        assert 172_000 < client.ttl("score:risk:C-0000042") <= 172_800
        at = pd.Timestamp(client.hget("score:risk:C-0000042", "scored_at"))
        assert abs(at.timestamp() - time.time()) < 600
        client.flushall()
        score(evergreen, *options(folder, server.url, "--key", "x:{id}", "--explain", "2"))
        one = client.hgetall("x:C-0000007")
        assert client.ttl("x:C-0000007") == -1
        reasons = json.loads(one["reasons"])
        assert [set(reason) for reason in reasons] == [
            {"feature", "value", "contribution", "direction", "text"}
        ] * 2
        wrong = score(evergreen, *options(folder, server.url, "--key", "x"), code=2)
        assert "expected a key with {id}" in wrong.stderr


def test_a_redis_cluster_and_a_source_of_the_settings(evergreen, folder, tmp_path, rows, booster):
    with redis_cluster(tmp_path) as nodes:
        config = tmp_path / "evergreen.toml"
        urls = json.dumps([node.url for node in nodes[:3]])
        config.write_text(
            f"[source.online.redis]\nkey = 'x:{{id}}'\nserver = {{ urls = {urls}, cluster = true }}\n"
        )
        score(evergreen, *options(folder, "online", "--config", config))
        client = redis.RedisCluster("127.0.0.1", nodes[0].port, decode_responses=True)
        some = rows.head(300)
        found = [client.hgetall(f"score:risk:{id}") for id in some["id"]]
        assert (bits([float(one["score"]) for one in found]) == bits(predict(booster, some))).all()
        # Ids that two pipelines have, one after the other: the last row of an id counts, whatever the nodes get first.
        first, last = rows.iloc[:1000], rows.iloc[1000:2000].copy()
        last.loc[last.index[:50], "id"] = first["id"].to_numpy()[950:]
        pd.concat([first, last], ignore_index=True).to_parquet(tmp_path / "twice.parquet")
        given = options(folder, "online", "--config", config)
        given[given.index("--input") + 1] = tmp_path / "twice.parquet"
        for _ in range(5):
            client.flushall(target_nodes="primaries")
            score(evergreen, *given)
            found = [client.hgetall(f"score:risk:{id}") for id in last["id"].head(50)]
            expected = predict(booster, last.head(50))
            assert (bits([float(one["score"]) for one in found]) == bits(expected)).all()
    unknown = score(evergreen, *options(folder, "offline", "--config", config), code=2)
    assert "the name of a source in the settings" in unknown.stderr


def test_a_store_that_fails_for_a_moment_loses_nothing(evergreen, folder, tmp_path, rows, booster):
    server = Redis(tmp_path / "redis").start()
    try:
        process = subprocess.Popen(
            [evergreen, "score", *map(str, options(folder, server.url))], stderr=subprocess.PIPE, text=True
        )
        client = redis.Redis(port=server.port, decode_responses=True)
        while client.dbsize() < 4096:
            time.sleep(0.005)
        server.kill()
        time.sleep(1)
        server.start()
        _, text = process.communicate(timeout=120)
        assert process.returncode == 0, text
        check_redis(redis.Redis(port=server.port, decode_responses=True), rows, booster)
    finally:
        server.kill()


def test_a_store_that_stays_away_ends_the_job_and_it_goes_on_later(
    evergreen, folder, tmp_path, rows, booster
):
    server = Redis(tmp_path / "redis").start()
    command = options(folder, server.url, "--checkpoint", tmp_path / "job.json")
    try:
        process = subprocess.Popen(
            [evergreen, "score", *map(str, command)], stderr=subprocess.PIPE, text=True
        )
        client = redis.Redis(port=server.port, decode_responses=True)
        while client.dbsize() < 6000:
            time.sleep(0.005)
        server.kill()
        _, text = process.communicate(timeout=120)
        assert process.returncode == 1, text
        assert (
            "after 6 attempts" in text
            and "rows are complete, and the same command continues after them" in text
        )
        complete = json.loads((tmp_path / "job.json").read_text())["counts"]["rows"]
        assert 4000 <= complete < ROWS and f"{complete:,} rows are complete" in text
        # A checkpoint is of one store, and of one time after which its scores expire.
        elsewhere = options(folder, "redis://:word@127.0.0.1:1/0", *command[-2:])
        refused = score(evergreen, *elsewhere, code=2)
        assert f'begun with --write "{server.url}' in refused.stderr
        assert 'and now it is "redis://127.0.0.1:1/0"' in refused.stderr
        assert "begun with --expire" in score(evergreen, *command, "--expire", "1d", code=2).stderr
        server.start()
        client = redis.Redis(port=server.port, decode_responses=True)
        done = score(evergreen, *command)
        assert f"{complete:,} of the rows were scored by an earlier run" in done.stderr
        check_redis(client, rows, booster)
        # The next night the same command writes everything again: the scores of this one have expired.
        assert not (tmp_path / "job.json").exists()
        client.flushall()
        again = score(evergreen, *command)
        assert "20,000 scores written to the store" in again.stderr
        check_redis(client, rows, booster)
        score(evergreen, *command, "--restart")
        check_redis(client, rows, booster)
    finally:
        server.kill()
    refused = score(evergreen, *options(folder, "redis://:secret@127.0.0.1:1/0"), code=1)
    assert "secret" not in refused.stderr and "after 6 attempts" in refused.stderr


def test_a_checkpoint_replaces_no_other_file(evergreen, folder, tmp_path):
    rows, other = tmp_path / "rows.parquet", tmp_path / "other.csv"
    rows.write_bytes((folder / "rows.parquet").read_bytes())
    other.write_text("id,a\n1,2\n")
    (tmp_path / "link.json").symlink_to(rows)
    given = options(folder, "redis://127.0.0.1:1/0", "--rejects", tmp_path / "rejects.csv", "--restart")
    given[given.index("--input") + 1] = rows
    before = rows.read_bytes()
    for checkpoint, reason in [
        (rows, "choose another --checkpoint"),
        (tmp_path / "link.json", "choose another --checkpoint"),
        (tmp_path / "rejects.csv", "expected different files for --rejects and --checkpoint"),
        (other, "expected a checkpoint of evergreen score, found another file"),
    ]:
        refused = score(evergreen, *given, "--checkpoint", checkpoint, code=2)
        assert reason in refused.stderr, refused.stderr
    assert rows.read_bytes() == before and other.read_text() == "id,a\n1,2\n"


def test_a_killed_writer_goes_on(evergreen, folder, tmp_path, rows, booster):
    with redis_server(tmp_path) as server:
        command = options(folder, server.url, "--checkpoint", tmp_path / "job.json")
        client = redis.Redis(port=server.port, decode_responses=True)
        for at in (3000, 9000, 15000):
            process = subprocess.Popen([evergreen, "score", *map(str, command)], stderr=subprocess.DEVNULL)
            while client.dbsize() < at and process.poll() is None:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.wait()
        score(evergreen, *command)
        assert client.dbsize() == ROWS
        check_redis(client, rows, booster)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    with postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server


def url(server):
    return f"postgres://evergreen@127.0.0.1:{server.port}/postgres"


def test_postgres_gets_every_score(evergreen, folder, tmp_path, rows, booster, postgres):
    score(evergreen, *options(folder, url(postgres), "--expire", "36h", "--explain", "1"))
    found = postgres.rows(
        "SELECT *, extract(epoch FROM expires_at - scored_at)::float8 AS lasts FROM precomputed_scores ORDER BY id"
    )
    assert [row["id"] for row in found] == rows["id"].tolist()
    assert {(row["model"], row["version"], round(row["lasts"])) for row in found} == {("risk", 1, 36 * 3600)}
    assert (bits([row["score"] for row in found]) == bits(predict(booster, rows))).all()
    assert [row["missing"] for row in found] == rows[list("abcde")].isna().sum(axis=1).tolist()
    assert all(set(row["reasons"][0]) >= {"feature", "text"} for row in found)
    # Written again, with ids that occur twice and without an expiry: the last row of an id counts.
    twice = pd.concat([rows.head(3000), rows.head(10).assign(a=9.0)], ignore_index=True)
    twice.to_parquet(tmp_path / "twice.parquet")
    postgres.sql("UPDATE precomputed_scores SET expires_at = now() - interval '1 s' WHERE id > 'C-0019000'")
    given = options(folder, url(postgres))
    given[given.index("--input") + 1] = tmp_path / "twice.parquet"
    score(evergreen, *given)
    found = postgres.rows("SELECT id, score, expires_at FROM precomputed_scores ORDER BY id")
    # What has expired is removed.
    assert [row["id"] for row in found] == rows["id"].tolist()[:19_001]
    assert (bits([row["score"] for row in found[:10]]) == bits(predict(booster, twice.tail(10)))).all()
    assert all(row["expires_at"] is None for row in found[:3000]) and found[3000]["expires_at"]


def test_expired_rows_are_deleted_in_batches_by_the_key(evergreen, folder, postgres):
    given = options(folder, url(postgres), "--table", "expiry")
    score(evergreen, *given)
    values = "0.5, NULL, 'ok', 0, 0, 1, '', NULL, now()"
    numbers = "generate_series(1, 150000) AS number"
    hours = "now() + (CASE WHEN number % 3 = 0 THEN 1 ELSE -1 END) * interval '1 h'"
    for model in ("risk", "other"):
        postgres.sql(f"INSERT INTO expiry SELECT '{model}', 'E-' || number, {values}, {hours} FROM {numbers}")
    postgres.sql("ANALYZE expiry")
    # What each statement deletes.
    postgres.sql("CREATE TABLE deleted (rows bigint)")
    postgres.sql(
        "CREATE FUNCTION count_deleted() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO deleted SELECT count(*) FROM gone; RETURN NULL; END'"
    )
    postgres.sql(
        "CREATE TRIGGER deletions AFTER DELETE ON expiry REFERENCING OLD TABLE AS gone "
        "FOR EACH STATEMENT EXECUTE FUNCTION count_deleted()"
    )
    scans = "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'expiry'"
    [before] = postgres.rows(scans)
    score(evergreen, *given)
    until(lambda: postgres.rows(scans)[0]["idx_scan"] > before["idx_scan"])
    assert postgres.rows(scans)[0]["seq_scan"] == before["seq_scan"]
    deleted = [row["rows"] for row in postgres.rows("SELECT rows FROM deleted")]
    assert sum(deleted) == 100_000 and max(deleted) <= 20_000, deleted
    kept = (
        "SELECT model, count(*), count(*) FILTER (WHERE expires_at < now()) AS expired FROM expiry GROUP BY 1"
    )
    assert {row["model"]: (row["count"], row["expired"]) for row in postgres.rows(kept)} == {
        "risk": (ROWS + 50_000, 0),
        "other": (150_000, 100_000),
    }


def test_postgres_takes_a_table_of_its_own_and_names_what_is_wrong(evergreen, folder, postgres):
    postgres.sql('CREATE SCHEMA "Bulk"')
    score(evergreen, *options(folder, url(postgres), "--table", "Bulk.Scores"))
    assert postgres.rows('SELECT count(*) FROM "Bulk"."Scores"') == [{"count": ROWS}]
    postgres.sql("CREATE TABLE wrong (id text)")
    # To try again does not help, so that the job ends at once, with what the server says.
    ended = score(evergreen, *options(folder, url(postgres), "--table", "wrong"), code=2)
    assert "SQLSTATE 42" in ended.stderr and "does not exist" in ended.stderr
    assert "attempts" not in ended.stderr
    wrong = score(evergreen, *options(folder, url(postgres), "--table", "a.b.c"), code=2)
    assert "expected table or schema.table" in wrong.stderr
    secret = "postgres://evergreen:secret@127.0.0.1:1/postgres"
    assert "secret" not in score(evergreen, *options(folder, secret), code=1).stderr


def test_parts_and_a_store_at_once(evergreen, folder, tmp_path, rows, booster):
    with redis_server(tmp_path / "redis") as server:
        output = tmp_path / "out"
        command = options(folder, server.url, "--output", f"{output}/")
        process = subprocess.Popen([evergreen, "score", *map(str, command)], stderr=subprocess.DEVNULL)
        while not list(output.glob("part-00001*")) and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        process.wait()
        score(evergreen, *command)
        client = redis.Redis(port=server.port, decode_responses=True)
        check_redis(client, rows, booster)
        found = pd.concat([pd.read_parquet(path) for path in sorted(output.glob("part-*"))])
        assert found["id"].tolist() == rows["id"].tolist()


def test_a_row_without_an_id_is_not_stored(evergreen, folder, tmp_path, rows):
    some = rows.head(50).copy()
    some.loc[[3, 7], "id"] = None
    some.to_parquet(tmp_path / "rows.parquet")
    with redis_server(tmp_path / "redis") as server:
        given = options(folder, server.url)
        given[given.index("--input") + 1] = tmp_path / "rows.parquet"
        done = score(evergreen, *given, code=3)
        assert "no id (2)" in done.stderr
        assert redis.Redis(port=server.port).dbsize() == 48


def test_a_row_whose_id_no_store_takes_is_not_stored(evergreen, folder, tmp_path, rows, postgres):
    some = rows.head(50).copy()
    some.loc[[3, 7], "id"] = ["C\0", "x" * 3000]
    some.loc[5, "id"] = "x" * 2600
    some.to_parquet(tmp_path / "rows.parquet")
    given = options(folder, url(postgres), "--table", "unfit")
    given[given.index("--input") + 1] = tmp_path / "rows.parquet"
    done = score(evergreen, *given, code=3)
    assert "an id that a store refuses (2)" in done.stderr
    assert {row["id"] for row in postgres.rows("SELECT id FROM unfit")} == set(some["id"].drop([3, 7]))


def test_feast_serves_what_the_job_has_written(evergreen, folder, tmp_path, rows, booster):
    # A folder for each night: Feast reads all of them and takes the newest rows.
    output = tmp_path / "scores/date=2026-11-29"
    given = [
        "--model",
        folder / "models/risk/1",
        "--input",
        folder / "rows.parquet",
        "--output",
        f"{output}/",
    ]
    score(evergreen, *given, "--columns", "band,scored_at", "--part-rows", "8000")
    schema = pq.read_schema(next(output.glob("part-*")))
    assert schema.field("scored_at").type == pa.timestamp("us", tz="UTC")
    last_night = pa.concat_tables(map(pq.read_table, sorted(output.glob("part-*")))).to_pandas()
    last_night["scored_at"] -= pd.Timedelta(days=1)
    last_night["probability"] *= 0.5
    (tmp_path / "scores/date=2026-11-28").mkdir()
    table = pa.Table.from_pandas(last_night, schema, preserve_index=False)
    pq.write_table(table, tmp_path / "scores/date=2026-11-28/part-00000.parquet")
    feast = os.environ.get("FEAST_PYTHON")
    assert feast, "FEAST_PYTHON names no Python with Feast: run tests/run, which makes one"
    some = rows.iloc[::997]
    command = [feast, SCRIPTS / "feast_scores.py", tmp_path, f"{output.parent}/", *some["id"], "C-nobody"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    online = json.loads((tmp_path / "online.json").read_text())
    assert online["id"] == [*some["id"], "C-nobody"]
    assert online["probability"][-1] is None and online["band"][-1] is None
    assert (bits(online["probability"][:-1]) == bits(predict(booster, some))).all()
    assert set(online["band"][:-1]) == {"low", "mid", "high"}


@pytest.mark.parametrize("name", ["scores.csv", "scores.jsonl"])
def test_the_moment_of_a_score_in_text(evergreen, folder, tmp_path, name):
    given = ["--model", folder / "models/risk/1", "--input", folder / "rows.parquet"]
    score(evergreen, *given, "--output", tmp_path / name, "--columns", "scored_at")
    found = pd.to_datetime(read(tmp_path / name)["scored_at"], utc=True)
    assert found.nunique() == 1 and abs(found[0].timestamp() - time.time()) < 600
