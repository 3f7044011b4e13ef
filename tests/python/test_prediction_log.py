"""The prediction log: what it has of each score, read by pyarrow and checked against XGBoost; what is lost, and when."""

import concurrent.futures
import contextlib
import datetime as dt
import hashlib
import hmac
import json
import os
import re
import subprocess
import time
import tomllib
import uuid
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost

from evergreen_serving import save_bundle
from evergreen_testing.killed_logs import kill_repeatedly
from evergreen_testing.model_repository import SAMPLE, bundle, grpc_scorer, put
from evergreen_testing.object_store import BUCKET, object_store
from evergreen_testing.paths import CUSTOMERS
from evergreen_testing.prediction_logs import (
    COLUMNS,
    Sender,
    files,
    inputs,
    log_settings,
    meta,
    replay,
    rows,
    run,
    table,
    unfinished,
)
from evergreen_testing.processes import until, until_logged
from evergreen_testing.sample_customers import FRAME, IDS, ROWS, metric, plain
from evergreen_testing.server_process import serving

TRACE = "0af7651916cd43dd8448eb211c80319c"
LOST = "evergreen_prediction_log_lost_rows_total"


def write(folder, **keys):
    """Writes settings with a log in `folder`, and returns the log's folder and the settings' path."""
    log = folder / "predictions"
    config = folder / "evergreen.toml"
    config.write_text(log_settings(**{"location": log} | keys))
    return log, config


def refused(evergreen, *arguments):
    done = run(evergreen, "replay", *arguments)
    assert done.returncode == 2, done.stderr + done.stdout
    return done.stderr


def bits(values):
    """Returns the bits of floats, so that equal NaNs are equal."""
    values = np.asarray(values)
    return values.view({4: np.uint32, 8: np.uint64}[values.dtype.itemsize]).tolist()


def predict(booster, matrix, **options):
    """Returns XGBoost's probabilities for a matrix of codes and numbers, or what the options say."""
    data = xgboost.DMatrix(
        matrix,
        feature_names=booster.feature_names,
        feature_types=booster.feature_types,
        enable_categorical=True,
    )
    return booster.predict(data, **options)


def sample_booster():
    return xgboost.Booster(model_file=SAMPLE / "model.ubj")


def sample_codes(frame):
    """Returns customers as the sample model sees them: categories by their position in the contract."""
    out = {}
    for feature in tomllib.loads((SAMPLE / "bundle.toml").read_text())["feature"]:
        column = frame[feature["name"]]
        if feature["type"] == "category":
            column = pd.Categorical(column, categories=feature["categories"]).codes
            out[feature["name"]] = np.where(column < 0, np.nan, column)
        else:
            out[feature["name"]] = column.astype("float64")
    return pd.DataFrame(out).to_numpy().astype(np.float32)


def test_the_log_has_every_bit_that_was_scored(evergreen, tmp_path):
    log, config = write(tmp_path)
    start = dt.datetime.now(dt.UTC)
    with serving(evergreen, tmp_path, config=config) as server:
        entities = [{"id": id} for id in IDS]
        answers = []
        for at in range(0, len(entities), 500):
            body = {"model": "churn", "entities": entities[at : at + 500]}
            answers += server.http.post("/v1/score", json=body).json()["results"]
        assert server.stop() == 0
    found = table(log)
    assert found.num_rows == len(IDS) and not unfinished(log)
    names = list(sample_booster().feature_names)
    assert found.column_names == COLUMNS + [f"f:{name}" for name in names]
    assert found["entity"].to_pylist() == IDS
    assert found["sequence"].to_pylist() == list(range(len(IDS)))
    assert len(set(found["request_id"].to_pylist())) == -(-len(IDS) // 500)
    # The values are those of the customers' file, as 32-bit floats; the scores are XGBoost's.
    matrix = inputs(found)
    assert matrix.dtype == np.float32
    expected = sample_codes(FRAME)
    assert (np.isnan(matrix) == np.isnan(expected)).all()
    assert bits(np.nan_to_num(matrix, nan=-1.0)) == bits(np.nan_to_num(expected, nan=-1.0))
    predicted = predict(sample_booster(), matrix).astype(np.float64)
    scores = found["score"].to_numpy()
    assert bits(scores) == bits(predicted) == bits(found["value"].to_numpy())
    margins = predict(sample_booster(), matrix, output_margin=True).astype(np.float64)
    assert bits(found["margin"].to_numpy()) == bits(margins)
    assert bits(scores) == bits([answer["score"] for answer in answers])
    assert found["band"].to_pylist() == [answer["band"] for answer in answers]
    assert found["status"].to_pylist() == [answer["status"] for answer in answers]
    for name, value in {
        "model": "churn",
        "version": 1,
        "arm": "live",
        "origin": "snapshot",
        "sampled": 1.0,
    }.items():
        assert set(found[name].to_pylist()) == {value}, name
    digest = hashlib.sha256((SAMPLE / "model.ubj").read_bytes()).hexdigest()
    assert set(found["sha256"].to_pylist()) == {digest}
    assert len(set(found["writer"].to_pylist())) == 1
    assert found["at"].type == found["as_of"].type == pa.timestamp("us", "UTC")
    assert all(start <= at <= dt.datetime.now(dt.UTC) for at in found["at"].to_pylist())
    as_of = pd.to_datetime(FRAME["as_of"], utc=True)
    assert pd.Series(found["as_of"].to_pylist()).tolist() == as_of.tolist()
    for name in ("feature_times", "trace_id", "overridden", "reasons"):
        assert set(found[name].to_pylist()) == {None}, name


def test_the_path_is_a_hive_layout_and_the_footer_describes_the_columns(evergreen, tmp_path):
    log, config = write(tmp_path)
    with serving(evergreen, tmp_path, config=config) as server:
        server.http.get(f"/v1/models/churn/scores/{IDS[0]}")
        assert server.stop() == 0
    (path,) = files(log)
    day = rows(log)[0]["at"].date().isoformat()
    writer = rows(log)[0]["writer"]
    assert str(path.relative_to(log)) == f"model=churn/version=1/date={day}/{writer}-000001.parquet"
    # As pandas reads a version's folder: the day is a column.
    read = pd.read_parquet(log / "model=churn/version=1")
    assert read["date"].astype(str).tolist() == [day] and read["entity"].tolist() == [IDS[0]]
    described = meta(path)
    assert (described["format"], described["model"], described["version"]) == (1, "churn", 1)
    plan = next(found for found in described["inputs"] if found["name"] == "plan")
    assert plan["type"] == "category" and plan["log"] == "plain"
    assert plan["categories"] == {"starter": 0.0, "showroom": 1.0, "warehouse": 2.0}


def test_issues_overrides_reasons_and_ids_of_requests(evergreen, tmp_path):
    log, config = write(tmp_path)
    complete = {name: plain(ROWS[0][name]) for name in sample_booster().feature_names}
    with serving(evergreen, tmp_path, config=config) as server:
        headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "x-request-id": "mine"}
        body = {
            "model": "churn",
            "explain": 3,
            "entities": [
                {"id": IDS[0], "features": {"plan": "palace", "support_calls_30d": 9}},
                {"features": complete},
                {"id": "unknown"},
            ],
        }
        answer = server.http.post("/v1/score", json=body, headers=headers).json()["results"]
        other = server.http.get(f"/v1/models/churn/scores/{IDS[1]}?version=1")
        over_grpc = grpc_scorer(server.grpc)(IDS[2])
        ids = {"name": "customer_id", "shape": [1], "datatype": "BYTES", "data": [IDS[3]]}
        inferred = server.http.post("/v2/models/churn/infer", json={"inputs": [ids]})
        lines = server.http.post(
            "/v1/models/churn/scores", content=json.dumps({"id": IDS[4]}) + "\n",
            headers={"content-type": "application/x-ndjson"},
        )  # fmt: skip
        assert inferred.status_code == lines.status_code == 200
        assert server.stop() == 0
    first, second, chosen, grpc, infer, line = rows(log)
    assert (first["request_id"], first["trace_id"], first["entity"]) == ("mine", TRACE, IDS[0])
    assert json.loads(first["overridden"]) == ["plan", "support_calls_30d"]
    # One source and one time, that of the features which the request did not set.
    assert first["feature_times"] is None and first["as_of"] is not None
    nulls = [name for name in sample_booster().feature_names if plain(ROWS[0][name]) is None]
    assert json.loads(first["issues"]) == {"null": nulls, "unknown_category": ["plan"]}
    assert (first["status"], first["origin"]) == ("degraded", "snapshot")
    assert np.isnan(first["f:plan"]) and first["f:support_calls_30d"] == 9.0
    reasons = json.loads(first["reasons"])
    assert [reason["contribution"] for reason in reasons] == [
        reason["contribution"] for reason in answer[0]["reasons"]
    ]
    assert [reason["features"][0]["feature"] for reason in reasons] == [
        reason["feature"] for reason in answer[0]["reasons"]
    ]
    # An entity without an id; one without a score is not logged.
    assert (second["entity"], second["origin"], second["as_of"]) == (None, "request", None)
    assert sorted(json.loads(second["overridden"])) == sorted(complete)
    assert second["score"] == answer[1]["score"]
    assert chosen["arm"] == "chosen" and chosen["request_id"] == other.headers["x-request-id"]
    assert (grpc["entity"], grpc["score"], grpc["arm"]) == (IDS[2], over_grpc[1], "live")
    assert len(grpc["request_id"]) == 32
    assert infer["request_id"] == inferred.headers["x-request-id"] and infer["entity"] == IDS[3]
    assert line["request_id"] == lines.headers["x-request-id"] and line["entity"] == IDS[4]


def test_sampling_keeps_the_whole_history_of_an_entity(evergreen, tmp_path):
    log, config = write(tmp_path, sample=0.3)
    ids = IDS[:600]
    with serving(evergreen, tmp_path, config=config) as server:
        for id in ids[:100]:
            server.http.get(f"/v1/models/churn/scores/{id}")
        for _ in range(3):
            entities = [{"id": id} for id in ids]
            server.http.post("/v1/score", json={"model": "churn", "entities": entities})
        assert server.stop() == 0
    counts = Counter(row["entity"] for row in rows(log))
    assert all(count == 3 + (id in ids[:100]) for id, count in counts.items())
    assert 0.2 < len(counts) / len(ids) < 0.4
    assert {row["sampled"] for row in rows(log)} == {0.3}


def test_the_canary_is_an_arm_of_its_own(evergreen, tmp_path):
    models = tmp_path / "models"
    put(bundle(tmp_path / "one"), models, 1)
    put(bundle(tmp_path / "two", scale=-0.5), models, 2)
    policy = "[models.policy.churn]\nversions = { latest = 2 }\ndefault = 1\ncanary = { version = 2, share = 0.5 }\n"
    log, config = write(tmp_path)
    config.write_text(config.read_text() + policy)
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        body = {"model": "churn", "entities": [{"id": id} for id in IDS[:200]]}
        answer = server.http.post("/v1/score", json=body).json()
        assert server.stop() == 0
    versions = {result["id"]: result.get("version", 1) for result in answer["results"]}
    arms = {row["entity"]: (row["version"], row["arm"]) for row in rows(log)}
    assert arms == {id: (version, "canary" if version == 2 else "live") for id, version in versions.items()}
    assert 50 < sum(version == 2 for version in versions.values()) < 150


def hashed(key, name, value):
    return hmac.new(key, name.encode() + b"\0" + value, hashlib.sha256).hexdigest()[:32]


def edited(folder, **policies):
    """Makes a bundle whose contract has these policies by feature, and one for the entity if named."""
    made = bundle(folder)
    contract = made / "bundle.toml"
    text = contract.read_text()
    for name, policy in policies.items():
        value = "false" if policy is False else f'"{policy}"'
        if name == "entity":
            text = text.replace('entity = "customer_id"\n', f'entity = "customer_id"\nlog_entity = {value}\n')
        else:
            text = text.replace(f'name = "{name}"\n', f'name = "{name}"\nlog = {value}\n', 1)
    contract.write_text(text)
    return made


def test_values_are_hashed_or_left_out_by_the_contract(evergreen, tmp_path):
    models = tmp_path / "models"
    put(edited(tmp_path / "new", entity="hash", monthly_price="hash", nps="hash", region=False), models, 1)
    key = b"a key of at least sixteen bytes"
    (tmp_path / "key").write_bytes(key + b"\n")
    log, config = write(tmp_path, key_file=str(tmp_path / "key"))
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        body = {"model": "churn", "explain": 24, "entities": [{"id": id} for id in IDS[:300]]}
        server.http.post("/v1/score", json=body)
        assert server.stop() == 0
    found = table(log)
    assert "f:region" not in found.column_names
    assert found["entity"].to_pylist() == [hashed(key, "customer_id", id.encode()) for id in IDS[:300]]
    assert IDS[0] not in files(log)[0].read_bytes().decode("latin1")
    for name in ("monthly_price", "nps"):
        # The number as the model saw it.
        values = FRAME[name][:300].astype(np.float32)
        expected = [None if np.isnan(v) else hashed(key, name, np.float64(v).tobytes()) for v in values]
        assert found[f"f:{name}"].to_pylist() == expected
    named = {
        part["feature"]
        for text in found["reasons"].to_pylist()
        for reason in json.loads(text)
        for part in reason["features"]
    }
    assert named and not named & {"monthly_price", "nps", "region"}
    policies = {found["name"]: found["log"] for found in meta(files(log)[0])["inputs"]}
    assert (policies["region"], policies["nps"], policies["plan"]) == ("omit", "hash", "plain")
    error = refused(evergreen, log, "--model", models / "churn/1")
    assert "left out of the log" in error or "hashed in the log" in error


def test_without_a_key_nothing_is_hashed_but_left_out(evergreen, tmp_path):
    models = tmp_path / "models"
    put(edited(tmp_path / "new", entity="hash", nps="hash"), models, 1)
    log, config = write(tmp_path)
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        server.http.get(f"/v1/models/churn/scores/{IDS[0]}")
        assert server.stop() == 0
        assert "set prediction_log.key_file" in server.log.read_text()
    (row,) = rows(log)
    assert row["entity"] is None and "f:nps" not in row


def test_settings_are_checked(evergreen, tmp_path):
    (tmp_path / "short").write_text("short")
    for keys, message in [
        ({"sample": 2.0}, "prediction_log.sample: expected 0 to 1"),
        ({"entity": "hash"}, "expected prediction_log.key_file"),
        ({"key_file": "short"}, "at least 16 bytes, found 5"),
        ({"row_group_seconds": 0}, "row_group_seconds: expected 1 to 86400"),
        ({"location": "s3://"}, "prediction_log.location: s3:"),
    ]:
        _, config = write(tmp_path, **keys)
        done = run(evergreen, "serve", "--config", config, "--models", SAMPLE.parent.parent)
        assert done.returncode == 2 and message in done.stderr, done.stderr


def test_save_bundle_writes_the_policies(evergreen, tmp_path):
    frame = pd.DataFrame({"a": np.arange(200.0), "b": np.arange(200.0) % 7})
    model = xgboost.XGBClassifier(n_estimators=3).fit(frame, frame["b"] > 3)
    made = save_bundle(model, frame, tmp_path / "m/1", log={"a": False, "b": "hash"}, log_entity="hash")
    text = (made / "bundle.toml").read_text()
    assert "log = false" in text and 'log = "hash"' in text and 'log_entity = "hash"' in text
    assert run(evergreen, "check", made).returncode == 0
    with pytest.raises(Exception, match="log = 'no' is none of"):
        save_bundle(model, frame, tmp_path / "m/2", log={"a": "no"})


def test_every_row_is_there_after_sigterm(evergreen, tmp_path):
    log, config = write(tmp_path, row_group_seconds=3600)
    with (
        serving(evergreen, tmp_path, config=config) as server,
        Sender(str(server.http.base_url), IDS) as sender,
    ):
        time.sleep(2)
        assert server.stop() == 0
    assert Counter(row["request_id"] for row in rows(log)) == Counter(sender.all())
    assert not unfinished(log)


def test_row_groups_are_bounded_by_seconds(evergreen, tmp_path):
    log, config = write(tmp_path, row_group_seconds=1)
    with serving(evergreen, tmp_path, config=config) as server:
        server.http.get(f"/v1/models/churn/scores/{IDS[0]}")
        until(lambda: files(log))
        assert len(rows(log)) == 1
        assert server.stop() == 0
    assert len(files(log)) == 1


def test_row_groups_are_bounded_by_bytes(evergreen, tmp_path):
    log, config = write(tmp_path, row_group_bytes=65536)
    with serving(evergreen, tmp_path, config=config) as server:
        body = {"model": "churn", "entities": [{"id": id} for id in IDS[:100]]}
        for number in range(3):
            for _ in range(3):
                server.http.post("/v1/score", json=body)
            until(lambda number=number: len(files(log)) > number)
        assert server.stop() == 0
    assert len(rows(log)) == 900
    assert all(pq.ParquetFile(path).metadata.num_row_groups == 1 for path in files(log))


def test_kill_loses_at_most_the_open_row_group(evergreen, tmp_path):
    # Files are written at a low priority: one thread of requests leaves the processors some time for it.
    seconds = 2
    kills = kill_repeatedly(evergreen, tmp_path, kills=3, group_seconds=seconds, threads=1)
    for kill in kills:
        assert kill.answered > 0
        # The next start reports no fewer rows than are lost, but for those of the writer's last moment.
        assert kill.lost <= kill.reported + 10, kill
        # Rows of one row group, and those that came while it was written.
        rate = kill.answered / kill.seconds
        assert kill.lost <= 2.5 * seconds * rate + 50, kill


def small_disk(folder):
    """Mounts a file system of 1 MB at `folder`; skips the test where that is not allowed."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr}")


def fill(path):
    """Writes a file until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass


def test_a_full_disk_stops_nothing_and_what_waits_is_written_later(evergreen, tmp_path):
    disk = tmp_path / "disk"
    small_disk(disk)
    try:
        config = tmp_path / "evergreen.toml"
        config.write_text(log_settings(disk / "log", row_group_seconds=1))
        with serving(evergreen, tmp_path, config=config) as server:
            ask = {"model": "churn", "entities": [{"id": id} for id in IDS]}
            failed = "evergreen_prediction_log_failures_total"
            ballast = disk / "ballast"
            fill(ballast)
            assert server.http.post("/v1/score", json=ask).status_code == 200
            until(lambda: metric(server, failed, stage="write") >= 2)
            assert server.ops.get("/readyz").status_code == 200
            assert server.http.post("/v1/score", json=ask).status_code == 200
            assert metric(server, LOST) == 0
            until_logged(server.log, "file not written, trying again")
            ballast.unlink()
            until(lambda: len(rows(disk / "log")) == 2 * len(IDS), seconds=60)
            assert server.stop() == 0
        assert not unfinished(disk / "log")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_marker_that_a_full_disk_did_not_take_is_made_later(evergreen, tmp_path):
    disk = tmp_path / "disk"
    small_disk(disk)
    try:
        config = tmp_path / "evergreen.toml"
        config.write_text(log_settings(disk / "log", row_group_seconds=3600))
        ballast = disk / "ballast"
        fill(ballast)
        with serving(evergreen, tmp_path, config=config) as server:
            until(lambda: "no marker, lost rows would not be counted" in server.log.read_text())
            # A file can be made, and nothing written to it: an empty one would make every later attempt fail.
            with pytest.raises(OSError, match="No space left"):
                (disk / "probe").write_text("numbered 0 settled 0")
            ballast.unlink()
            until(lambda: unfinished(disk / "log"))
            ask = {"model": "churn", "entities": [{"id": id} for id in IDS[:100]]}
            assert server.http.post("/v1/score", json=ask).status_code == 200
            [marker] = unfinished(disk / "log")
            until(lambda: marker.read_text().split() == ["numbered", "100", "settled", "0"])
            server.process.kill()
            server.process.wait()
        with serving(evergreen, tmp_path, config=config) as server:
            assert metric(server, LOST, reason="killed") == 100
            assert server.stop() == 0
        assert not unfinished(disk / "log")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_rows_beyond_two_row_groups_are_dropped_while_a_folder_cannot_be_written(evergreen, tmp_path):
    # A file where the folder should be.
    (tmp_path / "predictions").write_text("in the way")
    log, config = write(tmp_path, row_group_seconds=1, row_group_bytes=65536)
    with serving(evergreen, tmp_path, config=config) as server:
        ask = {"model": "churn", "entities": [{"id": id} for id in IDS[:100]]}
        for _ in range(20):
            assert server.http.post("/v1/score", json=ask).status_code == 200
        until(lambda: metric(server, LOST, reason="write"))
        assert server.ops.get("/readyz").status_code == 200
        until_logged(server.log, "predictions dropped")
        log.unlink()
        until(lambda: log.is_dir() and files(log), seconds=60)
        assert server.http.post("/v1/score", json=ask).status_code == 200
        dropped = metric(server, LOST)
        assert server.stop() == 0
    found = rows(log)
    assert len(found) == 2100 - dropped
    # Readers see the gap.
    numbers = {row["sequence"] for row in found}
    assert len(set(range(2100)) - numbers) == dropped


def test_a_batch_larger_than_the_queue_is_logged_and_what_finds_no_room_is_counted(evergreen, tmp_path):
    log, config = write(tmp_path, queue_bytes=65536, row_group_seconds=1)
    with serving(evergreen, tmp_path, config=config) as server:

        def written():
            found = re.search(
                r"^evergreen_prediction_log_rows_total (\d+)", server.ops.get("/metrics").text, re.M
            )
            return int(found[1])

        ask = {"model": "churn", "explain": 3, "entities": [{"id": id} for id in IDS[:1000]]}
        assert server.http.post("/v1/score", json=ask).status_code == 200
        assert metric(server, LOST) == 0
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: server.http.post("/v1/score", json=ask).status_code, range(40)))
        assert set(answers) == {200}
        lost = metric(server, LOST, reason="queue")
        assert lost == metric(server, LOST) and lost % 1000 == 0
        # A busy machine may need longer than a stop has time for.
        until(lambda: written() == 41_000 - lost, seconds=120)
        assert server.stop() == 0
    numbers = {row["sequence"] for row in rows(log)}
    assert numbers >= set(range(1000))
    # Every row is in a file or counted, and readers see the gap.
    assert len(numbers) == 41_000 - lost and len(set(range(41_000)) - numbers) == lost


def test_old_files_are_deleted(evergreen, tmp_path):
    log, config = write(tmp_path, keep_days=3)
    old = log / "model=churn/version=1/date=2026-01-01"
    old.mkdir(parents=True)
    (old / "w-000001.parquet").write_bytes(b"old")
    os.utime(old / "w-000001.parquet", (0, time.time() - 4 * 86400))
    (log / "model=churn/version=1/date=2026-01-02").mkdir()
    (log / "model=churn/version=1/date=2026-01-02/w-000002.parquet").write_bytes(b"new")
    with serving(evergreen, tmp_path, config=config) as server:
        until(lambda: not old.exists())
        assert server.stop() == 0
    assert [path.name for path in files(log)] == ["w-000002.parquet"]


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    with object_store(tmp_path_factory.mktemp("objects")) as store:
        yield store


def fetch(objects, prefix, folder):
    """Copies the objects below a prefix into a folder."""
    for key in objects.keys(prefix):
        path = folder / key.removeprefix(f"{prefix}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(objects.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    return folder


def test_files_go_to_object_storage_and_the_spool_outlives_an_outage(evergreen, tmp_path, objects):
    spool = tmp_path / "spool"
    keys = {"location": f"s3://{BUCKET}/logs/a", "spool": str(spool), "row_group_seconds": 1}
    config = tmp_path / "evergreen.toml"
    config.write_text(log_settings(**keys) + objects.settings)
    environment = objects.environment
    ask = {"model": "churn", "entities": [{"id": id} for id in IDS[:50]]}
    with serving(evergreen, tmp_path, config=config, **environment) as server:
        server.http.post("/v1/score", json=ask)
        until(lambda: objects.keys("logs/a"))
        until(lambda: not files(spool))
        assert server.stop() == 0
    assert len(rows(fetch(objects, "logs/a", tmp_path / "first"))) == 50
    done = replay(evergreen, f"s3://{BUCKET}/logs/a", SAMPLE, "--config", config, env=environment)
    assert [(found["rows"], found["differing_rows"]) for found in done] == [(50, 0)]
    # The bucket is away: rows wait in the spool, the server works, and the next start uploads them.
    away = (
        config.read_text()
        .replace(objects.endpoint, "http://127.0.0.1:9")
        .replace("timeout_seconds = 5", "timeout_seconds = 1")
    )
    (tmp_path / "away.toml").write_text(away)
    with serving(evergreen, tmp_path, config=tmp_path / "away.toml", **environment) as server:
        server.http.post("/v1/score", json=ask)
        until(lambda: metric(server, "evergreen_prediction_log_failures_total", stage="upload"), seconds=60)
        assert server.ops.get("/readyz").status_code == 200
        server.process.kill()
        server.process.wait()
    assert len(rows(spool)) == 50
    with serving(evergreen, tmp_path, config=config, **environment) as server:
        until(lambda: not files(spool))
        assert server.stop() == 0
    found = rows(fetch(objects, "logs/a", tmp_path / "second"))
    assert len(found) == 100 == len({(row["writer"], row["sequence"]) for row in found})


@pytest.fixture(scope="module")
def logged(evergreen, tmp_path_factory):
    """A log of the sample version: every customer, some with values of the request."""
    folder = tmp_path_factory.mktemp("logged")
    log, config = write(folder)
    with serving(evergreen, folder, config=config) as server:
        for at in range(0, len(IDS), 500):
            entities = [
                {"id": id, "features": {"support_calls_30d": 7} if n % 10 == 0 else {}}
                for n, id in enumerate(IDS[at : at + 500])
            ]
            assert (
                server.http.post("/v1/score", json={"model": "churn", "entities": entities}).status_code
                == 200
            )
        assert server.stop() == 0
    return log


@pytest.fixture(scope="module")
def candidate(tmp_path_factory):
    """Another model of the same customers: a bundle with other trees, other category codes and one feature less."""
    folder = tmp_path_factory.mktemp("candidate")
    names = [name for name in sample_booster().feature_names if name != "nps"]
    frame = FRAME[names].copy()
    for name in ("plan", "segment", "region"):
        # Other codes than in the sample.
        frame[name] = pd.Categorical(
            frame[name], categories=sorted(frame[name].dropna().unique(), reverse=True)
        )
    for name in ("yearly_contract", "auto_pay"):
        frame[name] = frame[name].astype("boolean")
    rng = np.random.default_rng(3)
    target = (frame["support_calls_30d"].fillna(0) + rng.normal(0, 1, len(frame)) > 1).astype(int)
    model = xgboost.XGBClassifier(n_estimators=30, max_depth=3, enable_categorical=True, n_jobs=1)
    model.fit(frame, target)
    path = save_bundle(model, frame, folder / "churn/2", bands={"low": 0.0, "high": 0.5})
    return path, model.get_booster(), frame


def test_replay_by_the_same_version_gives_every_bit_again(evergreen, logged):
    (found,) = replay(evergreen, logged, SAMPLE)
    assert found["same"] and found["rows"] == len(IDS)
    assert found["differing_rows"] == 0 and not found["differing"] and not found["no_score"]
    done = run(evergreen, "replay", logged, "--model", "churn", "--models", SAMPLE.parent.parent)
    assert done.returncode == 0 and "every bit of every score is as logged" in done.stdout
    assert "\x1b[" not in done.stdout


def test_replay_names_the_rows_whose_bits_differ(evergreen, logged, tmp_path):
    (path,) = files(logged)
    whole = pq.ParquetFile(path).read()
    scores = whole["score"].to_numpy().copy()
    scores[7] = np.nextafter(scores[7], 1.0)
    changed = whole.set_column(
        whole.column_names.index("score"), whole.schema.field("score"), pa.array(scores)
    )
    copy = tmp_path / "changed.parquet"
    pq.write_table(changed, copy)
    (found,) = replay(evergreen, copy, SAMPLE, code=1)
    assert found["differing_rows"] == 1
    (row,) = found["differing"]
    assert (row["entity"], row["sequence"]) == (whole["entity"][7].as_py(), whole["sequence"][7].as_py())
    assert row["logged"]["score"] == scores[7] and row["replayed"]["score"] == whole["score"][7].as_py()
    done = run(evergreen, "replay", copy, "--model", SAMPLE)
    assert (
        done.returncode == 1 and "1 rows differ from the log" in done.stdout and row["entity"] in done.stdout
    )


def contributions(booster, matrix):
    data = xgboost.DMatrix(
        matrix,
        feature_names=booster.feature_names,
        feature_types=booster.feature_types,
        enable_categorical=True,
    )
    return booster.predict(data, pred_contribs=True)[:, :-1]


def test_replay_by_another_version_agrees_with_xgboost(evergreen, logged, candidate):
    path, booster, frame = candidate
    old = table(logged)
    # What the candidate sees: the logged numbers, and its own codes of the categories.
    matrix = np.column_stack([
        frame[name].cat.codes.replace(-1, np.nan).to_numpy(dtype=np.float64)
        if isinstance(frame[name].dtype, pd.CategoricalDtype)
        else old[f"f:{name}"].to_numpy().astype(np.float64)
        for name in frame.columns
    ])  # fmt: skip
    new = predict(booster, matrix).astype(np.float64)
    change = new - old["score"].to_numpy()
    (found,) = replay(evergreen, logged, path, "--models", SAMPLE.parent.parent, "--top", 25)
    assert not found["same"] and found["rows"] == len(IDS) and not found["no_score"]
    assert found["changed_scores"] == int((bits(new) != np.array(bits(old["score"].to_numpy()))).sum())
    assert found["change"]["mean"] == pytest.approx(change.mean(), abs=1e-12)
    assert found["change"]["mean_size"] == pytest.approx(np.abs(change).mean(), abs=1e-12)
    for percent, value in found["change"]["percentiles"].items():
        assert value == pytest.approx(np.percentile(change, float(percent)), abs=1e-12), percent
    bands = Counter(zip(old["band"].to_pylist(), np.where(new >= 0.5, "high", "low").tolist(), strict=True))
    assert {(band["from"], band["to"]): band["rows"] for band in found["bands"]} == bands
    order = np.argsort(-np.abs(change), kind="stable")[:25]
    movers = found["most_changed"]
    assert [mover["entity"] for mover in movers] == [IDS[at] for at in order]
    assert bits([mover["replayed"] for mover in movers]) == bits(new[order])
    before = contributions(sample_booster(), inputs(old)[order])
    after = contributions(booster, matrix[order])
    for at, mover in enumerate(movers):
        parts = {part["feature"]: (part["before"], part["after"]) for part in mover["contributions"]}
        expected = dict.fromkeys(sample_booster().feature_names, (0.0, 0.0))
        for name, value in zip(sample_booster().feature_names, before[at], strict=True):
            expected[name] = (value, 0.0)
        for name, value in zip(frame.columns, after[at], strict=True):
            expected[name] = (expected[name][0], value)
        largest = sorted(expected.values(), key=lambda pair: -abs(pair[1] - pair[0]))[:5]
        assert len(parts) == 5
        for name, pair in parts.items():
            assert pair == pytest.approx(expected[name], abs=1e-4)
        got = sorted((abs(b - a) for a, b in parts.values()), reverse=True)
        assert got == pytest.approx([abs(b - a) for a, b in largest], abs=2e-4)


def test_replay_as_text(evergreen, logged, candidate):
    path, *_ = candidate
    done = run(evergreen, "replay", logged, "--model", path, "--models", SAMPLE.parent.parent, "--top", 3)
    assert done.returncode == 0, done.stderr
    for words in (
        "scores differ",
        "change of the score: mean",
        "bands:",
        "most changed",
        "support_calls_30d",
    ):
        assert words in done.stdout, done.stdout
    without = run(evergreen, "replay", logged, "--model", path, "--models", path.parent.parent / "none")
    assert "name its bundle with --base" in without.stdout
    named = run(evergreen, "replay", logged, "--model", path, "--base", SAMPLE)
    assert named.returncode == 0 and "name its bundle with --base" not in named.stdout


def test_a_changed_calibration_is_another_version(evergreen, logged, tmp_path):
    (found,) = replay(evergreen, logged, bundle(tmp_path / "scaled", scale=-0.5))
    assert not found["same"] and found["changed_scores"] == len(IDS)


def test_what_cannot_be_replayed_is_refused_by_name(evergreen, logged, tmp_path):
    assert "no such file or folder" in refused(evergreen, tmp_path / "nowhere", "--model", SAMPLE)
    (tmp_path / "empty").mkdir()
    assert "no prediction log: expected files" in refused(evergreen, tmp_path / "empty", "--model", SAMPLE)
    assert "no file of a prediction log" in refused(evergreen, CUSTOMERS, "--model", SAMPLE)
    error = refused(evergreen, logged, "--model", SAMPLE, "--log-model", "other")
    assert "no rows of model `other`; the log has: churn" in error
    frame = pd.DataFrame({"support_calls": np.arange(200.0), "visits_30d": np.arange(200.0) % 7})
    model = xgboost.XGBClassifier(n_estimators=3).fit(frame, frame["visits_30d"] > 3)
    made = save_bundle(model, frame, tmp_path / "other/1")
    error = refused(evergreen, logged, "--model", made)
    assert "the model needs `support_calls`, which is not in the log" in error and "did you mean" in error
    error = refused(evergreen, logged, "--model", SAMPLE / "model.ubj")
    assert "expected a bundle with a contract" in error


def test_two_servers_share_a_folder(evergreen, tmp_path):
    log, config = write(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with (
        serving(evergreen, tmp_path / "a", config=config) as one,
        serving(evergreen, tmp_path / "b", config=config) as two,
    ):
        for server in (one, two):
            server.http.get(f"/v1/models/churn/scores/{IDS[0]}", headers={"x-request-id": uuid.uuid4().hex})
        # The second start has not taken the first for a killed one.
        assert metric(two, LOST, reason="killed") == 0 and len(unfinished(log)) == 2
        assert one.stop() == two.stop() == 0
    assert len(rows(log)) == len({row["writer"] for row in rows(log)}) == 2
    assert not unfinished(log)
