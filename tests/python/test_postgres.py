"""Features from a real PostgreSQL: columns of every type, a query, integer ids, and a restart under load."""

import datetime as dt
import threading
import time

import pytest

from evergreen_testing.feature_stores import postgres_server
from evergreen_testing.processes import until, until_logged
from evergreen_testing.sample_customers import FEATURES, ID, IDS, ROWS, scores, strip
from evergreen_testing.server_process import serving

TYPES = {bool: "boolean", int: "integer", float: "double precision", str: "text", dt.datetime: "timestamptz"}


def literal(value):
    if value is None or value != value:
        return "NULL"
    if isinstance(value, (bool, int, float)):
        return repr(value).lower()
    return "'" + str(value).replace("'", "''") + "'"


def column_type(name):
    if name == "monthly_price":
        return "numeric(12, 2)"  # the usual type for money; read exactly
    found = {type(row[name]) for row in ROWS if row[name] is not None and row[name] == row[name]}
    kind = next(kind for kind in TYPES if any(issubclass(f, kind) for f in found))
    return TYPES[kind]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with postgres_server(tmp_path_factory.mktemp("store")) as postgres:
        columns = [ID, *FEATURES, "as_of"]
        definitions = ", ".join(f'"{name}" {column_type(name)}' for name in columns)
        postgres.sql(
            f"CREATE SCHEMA features; CREATE TABLE features.customers ({definitions}, PRIMARY KEY ({ID}))"
        )
        for start in range(0, len(ROWS), 500):
            rows = ", ".join(
                "(" + ", ".join(literal(row[name]) for name in columns) + ")"
                for row in ROWS[start : start + 500]
            )
            postgres.sql(f"INSERT INTO features.customers VALUES {rows}")
        yield postgres


def settings(folder, store, where, extra='timeout = "5s"\nbulk_timeout = "20s"\ncache.bytes = 0'):
    path = folder / "evergreen.toml"
    path.write_text(f"""
[source.stats]
{extra}
[source.stats.postgres]
connect = "{store.connect}"
as_of = "as_of"
{where}
""")
    return path


def test_a_table_gives_the_snapshots_scores(evergreen, server, store, tmp_path):
    config = settings(tmp_path, store, 'table = "features.customers"')
    with serving(evergreen, tmp_path, customers=None, config=config) as online:
        assert strip(scores(online, IDS, explain=3)) == strip(scores(server, IDS, explain=3))
        [first] = scores(online, IDS[:1])
        assert first["features"]["from"] == "store" and first["features"]["as_of"] == "2026-11-21T03:00:00Z"
        assert online.http.get("/v1/models/churn/scores/C-nobody").status_code == 404


def test_a_query_and_whole_number_ids(evergreen, server, store, tmp_path):
    query = (
        f"SELECT substr({ID}, 3)::bigint AS number, c.* FROM features.customers c "
        f"WHERE substr({ID}, 3)::bigint = ANY($1)"
    )
    config = settings(tmp_path, store, f'id = "number"\nquery = """{query}"""')
    with serving(evergreen, tmp_path, customers=None, config=config) as online:
        numbers = [id.removeprefix("C-") for id in IDS[:200]]
        found, expected = scores(online, numbers), scores(server, IDS[:200])
        assert [result["score"] for result in found] == [result["score"] for result in expected]
        assert scores(online, [int(numbers[0])])[0]["score"] == expected[0]["score"]
        assert scores(online, ["no number"])[0]["status"] == "not_found"


def test_what_the_table_lacks_is_named(evergreen, store, tmp_path):
    store.sql("CREATE VIEW few AS SELECT customer_id, plan, as_of FROM features.customers")
    config = settings(tmp_path, store, 'table = "few"')
    with serving(evergreen, tmp_path, customers=None, config=config) as online:
        [result] = scores(online, IDS[:1])
        assert result["status"] == "error" and "`stats` is unavailable" in result["error"]["detail"]
        until_logged(online.log, "SQLSTATE 42703")


def test_a_restart_under_load_is_survived(evergreen, store, tmp_path):
    extra = 'timeout = "200ms"\ncache.bytes = 0'
    config = settings(tmp_path, store, 'table = "features.customers"', extra)
    with serving(evergreen, tmp_path, customers=None, config=config) as online:
        asked, stop = [], threading.Event()

        def ask():
            while not stop.is_set():
                start = time.monotonic()
                [result] = scores(online, [IDS[len(asked) % len(IDS)]])
                asked.append((start, result["status"], result.get("error", {}).get("kind") == "unavailable"))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.5)
        store.kill()
        time.sleep(1)
        store.start()
        back = time.monotonic()
        time.sleep(6)
        stop.set()
        asking.join()
        assert {status for _, status, _ in asked} == {"ok", "error"}
        assert any(away for *_, away in asked)
        after = max([start - back for start, _, away in asked if away], default=0.0)
        away = sum(away for *_, away in asked)
        print(f"{len(asked)} asked, {away} refused, last refused {after:.3f} s after PostgreSQL was back")
        # Usually a fraction of a second; the limit allows for a busy machine.
        assert after < 5, f"still refused {after:.1f} s after PostgreSQL was back"


def test_a_changed_column_type_costs_no_answer(evergreen, store, tmp_path):
    store.sql("CREATE TABLE changing AS SELECT * FROM features.customers")
    config = settings(tmp_path, store, 'table = "changing"')
    with serving(evergreen, tmp_path, customers=None, config=config) as online:
        before = strip(scores(online, IDS[:20]))
        for kind in ("numeric", "double precision"):
            store.sql(f"ALTER TABLE changing ALTER COLUMN visits_30d TYPE {kind}")
            # Each connection has prepared the statement for the old type.
            for _ in range(6):
                assert strip(scores(online, IDS[:20])) == before


def test_rows_that_no_id_was_asked_for_are_named(evergreen, store, tmp_path):
    columns = ", ".join(f"c.{name}" for name in ROWS[0] if name not in ("customer_id", "plan"))
    query = (
        f"SELECT lower(c.customer_id) AS customer_id, c.plan, {columns}, c.as_of FROM features.customers c "
        "WHERE c.customer_id = ANY($1)"
    )
    config = settings(tmp_path, store, f'query = """{query}"""')
    with serving(evergreen, tmp_path, customers=None, config=config) as online:
        [result] = scores(online, IDS[:1])
        assert result["status"] == "error" and "too little is known" in result["error"]["detail"]
        # A thread of its own writes the log.
        until(lambda: "returns ids that were not asked for" in online.log.read_text())
