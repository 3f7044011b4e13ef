"""Snapshot reload under load: a valid snapshot replaces the previous one as a whole, an implausible one is rejected."""

import shutil
import subprocess

import pandas as pd
import pytest

from evergreen_testing.model_repository import Load, settings
from evergreen_testing.object_store import BUCKET, object_store
from evergreen_testing.paths import CUSTOMERS, MODELS
from evergreen_testing.processes import until, until_logged
from evergreen_testing.server_process import serving

CONFIG = "[features.watch]\nseconds = 0.1\n"
FRAME = pd.read_parquet(CUSTOMERS)
IDS = FRAME["customer_id"].tolist()


def place(frame, path):
    """Replaces the file in one step."""
    new = path.with_suffix(".new")
    frame.to_parquet(new)
    new.rename(path)


def visits(server, id=IDS[0]):
    """Returns a customer's score, which changes with the snapshot."""
    return server.http.get(f"/v1/models/churn/scores/{id}").json().get("score")


def metric(server, line):
    return line in server.ops.get("/metrics").text


@pytest.fixture
def customers(tmp_path):
    path = tmp_path / "customers.parquet"
    place(FRAME, path)
    return path


@pytest.fixture
def server(evergreen, tmp_path, customers):
    with serving(
        evergreen, tmp_path, models=MODELS, customers=customers, config=settings(tmp_path, CONFIG)
    ) as server:
        yield server


def test_new_customers_are_swapped_in_under_load(server, customers):
    with Load(server, IDS[:50]) as load:
        for count in (3, 2, 1):
            place(FRAME.iloc[: len(FRAME) - count], customers)
            until(lambda: metric(server, f"evergreen_snapshot_rows {len(FRAME) - count}"))
        assert server.http.get(f"/v1/models/churn/scores/{IDS[-1]}").status_code == 404
        assert metric(server, 'evergreen_snapshot_reads_total{result="taken"} 3')
    load.check()


def nulls(frame):
    frame["nps"] = None
    return frame


def out_of_range(frame):
    frame["nps"] = 99
    return frame


def other_categories(frame):
    frame["plan"] = frame["plan"].str.upper()
    return frame


def twice(frame):
    return pd.concat([frame, frame.head(1)])


def text(frame):
    frame["visits_30d"] = "many"
    return frame


BROKEN = {
    "half of the rows are gone": (
        lambda frame: frame.head(len(frame) // 2),
        "rows",
        "features.watch.fewer_rows",
    ),
    "no row is left": (lambda frame: frame.head(0), "rows", "rows: 0"),
    "a column is all nulls": (nulls, "nulls", "column `nps`"),
    "a column is out of its range": (out_of_range, "ranges", "column `nps`"),
    "categories have other names": (other_categories, "ranges", "column `plan`"),
    "a column is gone": (lambda frame: frame.drop(columns="nps"), "unreadable", "missing columns: `nps`"),
    "a column has another type": (text, "unreadable", "visits_30d"),
    "an id stands twice": (twice, "unreadable", "customer_id"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_customers_are_refused_and_the_old_ones_serve_on(server, customers, name):
    spoil, kind, part = BROKEN[name]
    before = visits(server)
    with Load(server, IDS[:50]) as load:
        place(spoil(FRAME.copy()), customers)
        until(lambda: metric(server, f'evergreen_snapshot_refused{{reason="{kind}"}} 1'))
        log = until_logged(server.log, "snapshot rejected", part)
        assert visits(server) == before and metric(server, f"evergreen_snapshot_rows {len(FRAME)}")
        # Logged once, not at every poll.
        assert log.count("snapshot rejected") == 1
        place(FRAME.iloc[:-1], customers)
        until(lambda: metric(server, f"evergreen_snapshot_rows {len(FRAME) - 1}"))
        assert not metric(server, f'evergreen_snapshot_refused{{reason="{kind}"}} 1')
    load.check()


def test_a_torn_file_is_refused_or_waited_for(server, customers):
    data = customers.read_bytes()
    with Load(server, IDS[:50]) as load:
        with customers.open("wb", buffering=0) as file:
            for at in range(0, len(data), 5000):
                file.write(data[at : at + 5000])
        customers.write_bytes(data[: len(data) // 2])
        until(lambda: metric(server, 'evergreen_snapshot_refused{reason="unreadable"} 1'))
        place(FRAME.iloc[:-2], customers)
        until(lambda: metric(server, f"evergreen_snapshot_rows {len(FRAME) - 2}"))
    load.check()


def test_a_sparks_folder_waits_for_success(evergreen, tmp_path):
    folder = tmp_path / "customers"
    folder.mkdir()
    half = len(FRAME) // 2
    FRAME.iloc[:half].to_parquet(folder / "part-00000-a.snappy.parquet")
    config = settings(tmp_path, CONFIG)
    with serving(evergreen, tmp_path, models=MODELS, customers=folder, config=config) as server:
        ready = server.ops.get("/readyz")
        assert ready.status_code == 503
        [reason] = ready.json()["reasons"]
        assert reason.startswith(f"waiting for the snapshot {folder}") and "no _SUCCESS" in reason
        assert "features.watch.success_file" in reason and reason in server.banner
        until(lambda: metric(server, "evergreen_snapshot_waiting 1"))
        FRAME.iloc[half:].to_parquet(folder / "part-00001-a.snappy.parquet")
        (folder / "_SUCCESS").touch()
        until(lambda: server.ops.get("/readyz").status_code == 200)
        assert metric(server, f"evergreen_snapshot_rows {len(FRAME)}")
        with Load(server, IDS[:50]) as load:
            # The next run of the job empties the folder and writes new files.
            shutil.rmtree(folder)
            folder.mkdir()
            (folder / "_temporary").mkdir()
            FRAME.iloc[:-1].to_parquet(folder / "part-00000-b.snappy.parquet")
            until(lambda: metric(server, "evergreen_snapshot_waiting 1"))
            assert metric(server, f"evergreen_snapshot_rows {len(FRAME)}")
            (folder / "_SUCCESS").touch()
            until(lambda: metric(server, f"evergreen_snapshot_rows {len(FRAME) - 1}"))
        load.check()


@pytest.mark.parametrize(
    "log, name",
    [
        (".hoodie/hoodie.properties", "an Apache Hudi table"),
        ("_delta_log/00000000000000000000.json", "a Delta table"),
    ],
)
def test_a_table_with_a_log_of_its_own_is_refused(evergreen, tmp_path, log, name):
    folder = tmp_path / "customers"
    folder.mkdir()
    FRAME.to_parquet(folder / "a.parquet")
    config = settings(tmp_path, CONFIG)
    with serving(evergreen, tmp_path, models=MODELS, customers=folder, config=config) as server:
        assert metric(server, f"evergreen_snapshot_rows {len(FRAME)}")
        (folder / log).parent.mkdir()
        (folder / log).write_text("{}")
        # Another version of the same customers.
        FRAME.to_parquet(folder / "b.parquet")
        until(lambda: metric(server, 'evergreen_snapshot_refused{reason="unreadable"} 1'))
        until_logged(server.log, f"{name}, some of whose files may be outdated")
        assert metric(server, f"evergreen_snapshot_rows {len(FRAME)}")


def test_customers_in_object_storage(evergreen, tmp_path):
    with object_store(tmp_path) as store:
        place(FRAME, tmp_path / "c.parquet")

        def put(key):
            store.client.put_object(Bucket=BUCKET, Key=key, Body=(tmp_path / "c.parquet").read_bytes())

        put("nightly/customers.parquet")
        config = settings(tmp_path, CONFIG + store.settings)
        location = f"s3://{BUCKET}/nightly/customers.parquet"
        with serving(
            evergreen, tmp_path, models=MODELS, customers=location, config=config, **store.environment
        ) as server:
            assert location in server.banner
            with Load(server, IDS[:50]) as load:
                place(FRAME.iloc[:-1], tmp_path / "c.parquet")
                put("nightly/customers.parquet")
                until(lambda: metric(server, f"evergreen_snapshot_rows {len(FRAME) - 1}"))
                store.stop()
                until(lambda: "snapshot poll failed" in server.log.read_text())
                assert visits(server) is not None
                store.start()
            load.check()


def test_parts_of_writers_without_success_are_read_at_once(evergreen, tmp_path):
    for name, config in [
        ("part-0.parquet", ""),
        ("part-00000-a.snappy.parquet", "[features.watch]\nsuccess_file = false\n"),
    ]:
        folder = tmp_path / name / "customers"
        folder.mkdir(parents=True)
        FRAME.to_parquet(folder / name)
        path = settings(tmp_path / name, config)
        with serving(evergreen, tmp_path / name, models=MODELS, customers=folder, config=path) as server:
            assert server.ops.get("/readyz").status_code == 200
            assert metric(server, f"evergreen_snapshot_rows {len(FRAME)}")


def test_a_snapshot_that_does_not_exist_is_named_by_readiness(evergreen, tmp_path):
    folder = tmp_path / "customers"
    folder.mkdir()
    (folder / "part-00000.csv").write_text("customer_id\n")
    with serving(evergreen, tmp_path, models=MODELS, customers=folder) as server:
        shutil.rmtree(folder)
        until(lambda: "it does not exist" in server.ops.get("/readyz").text)


def test_partitions_are_refused_by_name(evergreen, tmp_path):
    folder = tmp_path / "customers"
    (folder / "dt=2026-01-02").mkdir(parents=True)
    FRAME.to_csv(folder / "customers.csv", index=False)
    FRAME.to_csv(folder / "dt=2026-01-02/customers.csv", index=False)
    started = subprocess.run(
        [evergreen, "serve", "--models", MODELS, "--customers", folder, "--http", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert started.returncode == 2 and "the folder dt=2026-01-02 inside would not be read" in started.stderr


def test_times_of_observation_in_the_future_are_refused(evergreen, tmp_path):
    table = FRAME.head(50).copy()
    table["as_of"] = pd.Timestamp.now(tz="UTC") + pd.Timedelta(days=3)
    table.to_parquet(tmp_path / "c.parquet")
    command = [evergreen, "serve", "--models", MODELS, "--customers", tmp_path / "c.parquet"]
    started = subprocess.run([*command, "--http", "127.0.0.1:0"], capture_output=True, text=True, timeout=60)
    assert started.returncode == 2
    assert "column `as_of`: expected times of observation up to now, found 20" in started.stderr
