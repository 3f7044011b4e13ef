"""The windows of drift go on after a restart: what was saved counts, each customer once, and a useless file is ignored."""

import json
import signal
import stat

import pandas as pd
import pytest
import xgboost

from evergreen_serving import save_bundle
from evergreen_testing.model_repository import SAMPLE, bundle, put, sign
from evergreen_testing.paths import CUSTOMERS
from evergreen_testing.processes import until
from evergreen_testing.sample_customers import IDS
from evergreen_testing.server_process import Instance


@pytest.fixture
def instance(evergreen, tmp_path):
    put(bundle(tmp_path / "v1"), tmp_path / "models", 1)
    config = f"[drift]\nstate_file = '{tmp_path}/drift.json'\n"
    with Instance(evergreen, tmp_path, config=config, models=tmp_path / "models") as server:
        yield server.start()


def score(instance, ids):
    entities = [{"id": id} for id in ids]
    status, text = instance.ask(
        "/v1/score", "http", "POST", json.dumps({"model": "churn", "entities": entities})
    )
    assert status == 200 and all("score" in result for result in json.loads(text)["results"]), text


def drift(instance, window="day"):
    status, text = instance.ask(f"/v1/models/churn/drift?window={window}", "http")
    assert status == 200, text
    return json.loads(text)


def test_a_stop_loses_nothing_and_a_customer_counts_once(instance, tmp_path):
    score(instance, IDS[:2000])
    before = {window: drift(instance, window) for window in ("hour", "day")}
    assert before["day"]["rows"] == 2000
    assert instance.stop()[0] == 0
    saved = tmp_path / "drift.json"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600 and not any(id in saved.read_text() for id in IDS)
    assert [path.name for path in tmp_path.glob("drift*")] == ["drift.json"]
    instance.start()
    assert {window: drift(instance, window) for window in ("hour", "day")} == before
    score(instance, IDS[1000:])
    once = drift(instance)
    assert once["rows"] == len(IDS)
    # The same as without a restart.
    assert instance.stop()[0] == 0
    saved.unlink()
    instance.start()
    assert drift(instance)["rows"] == 0
    score(instance, IDS)
    assert drift(instance) == once


def test_a_kill_costs_what_came_after_the_last_save(instance, tmp_path):
    saved = tmp_path / "drift.json"
    score(instance, IDS[:1000])
    until(saved.exists, 90)
    # This one may have begun before the scores.
    first = saved.stat().st_mtime_ns
    assert drift(instance)["rows"] == 1000
    score(instance, IDS[1000:1500])
    assert saved.stat().st_mtime_ns == first
    instance.process.send_signal(signal.SIGKILL)
    instance.process.wait()
    # A kill in the middle of a save leaves such a file.
    (tmp_path / "drift.partial").write_text(saved.read_text()[:1000])
    instance.start()
    assert drift(instance)["rows"] == 1000
    score(instance, IDS[:1500])
    assert drift(instance)["rows"] == 1500
    assert instance.stop()[0] == 0 and not (tmp_path / "drift.partial").exists()
    instance.start()
    assert drift(instance)["rows"] == 1500


def test_a_file_that_is_of_no_use_is_ignored_and_replaced(instance, tmp_path):
    saved = tmp_path / "drift.json"
    score(instance, IDS[:300])
    assert instance.stop()[0] == 0
    good = saved.read_text()
    for wrong in (good[: len(good) // 2], "", good.replace('"form":2', '"form":1')):
        saved.write_text(wrong)
        instance.log.write_text("")
        instance.start()
        # A thread of its own writes the log.
        until(lambda: "saved windows of drift ignored" in instance.log.read_text())
        assert drift(instance)["rows"] == 0
        score(instance, IDS[:500])
        assert instance.stop()[0] == 0
        instance.start()
        assert drift(instance)["rows"] == 500
        assert instance.stop()[0] == 0


def test_windows_of_another_version_or_reference_are_not_taken(instance, tmp_path):
    score(instance, IDS[:300])
    assert instance.stop()[0] == 0
    # Another reference under the same number.
    first = instance.models / "churn/1"
    reference = json.loads((SAMPLE / "reference.json").read_text())
    feature = next(found for found in reference["features"].values() if found["kind"] == "numeric")
    feature["counts"][0] -= 1
    feature["counts"][1] += 1
    (first / "reference.json").write_text(json.dumps(reference))
    sign(first, "reference.json")
    instance.start()
    assert drift(instance)["rows"] == 0
    score(instance, IDS[:400])
    assert instance.stop()[0] == 0
    put(bundle(tmp_path / "v2", scale=0.1), instance.models, 2)
    instance.start()
    assert drift(instance)["model"]["version"] == 2 and drift(instance)["rows"] == 0


@pytest.mark.parametrize("state_file", [True, False])
def test_files_that_are_written_again_cost_no_windows(evergreen, tmp_path, state_file):
    put(bundle(tmp_path / "v1"), tmp_path / "models", 1)
    config = f"[models]\npoll_seconds = 0.1\n[drift]\nstate_file = '{tmp_path}/drift.json'\n"
    config = config if state_file else config.split("[drift]")[0]
    with Instance(evergreen, tmp_path, config=config, models=tmp_path / "models") as instance:
        instance.start()
        for known in (300, 500, 700):
            score(instance, IDS[:known])
            before = {window: drift(instance, window) for window in ("hour", "day")}
            assert before["day"]["rows"] == known
            loads = instance.log.read_text().count("version loaded")
            (tmp_path / "models/churn/1/bundle.toml").touch()
            until(lambda loads=loads: instance.log.read_text().count("version loaded") > loads)
            until(lambda: instance.ask("/readyz")[0] == 200)
            assert {window: drift(instance, window) for window in ("hour", "day")} == before


def test_a_file_that_cannot_be_written_is_logged_and_stops_nothing(evergreen, tmp_path):
    config = f"[drift]\nstate_file = '{tmp_path}/none/drift.json'\n"
    with Instance(evergreen, tmp_path, config=config) as instance:
        instance.start()
        score(instance, IDS[:300])
        assert drift(instance)["rows"] == 300 and instance.stop()[0] == 0
        assert "windows of drift not saved" in instance.log.read_text()


def test_a_version_that_could_not_be_prepared_at_first_has_its_windows_later(evergreen, tmp_path):
    frame, models = pd.read_parquet(CUSTOMERS), tmp_path / "models"
    names = ["visits_30d", "support_calls_30d", "nps"]
    for version, used in ((1, names[:2]), (2, names)):
        data = xgboost.DMatrix(frame[used], frame["visits_30d"] < 6)
        # They agree, so that the first does not stay live.
        model = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 3)
        save_bundle(model, frame[used], models / f"churn/{version}", entity="customer_id")
    customers, other = tmp_path / "customers.parquet", tmp_path / "other.parquet"
    frame.to_parquet(customers)
    config = f"[drift]\nstate_file = '{tmp_path}/drift.json'\n[features.watch]\nseconds = 0.1\n"
    config += "[models]\npoll_seconds = 0.1\n"
    with Instance(evergreen, tmp_path, config=config, models=models, customers=customers) as instance:
        instance.start()
        score(instance, IDS[:300])
        before = drift(instance)
        assert (before["model"]["version"], before["rows"]) == (2, 300)
        assert instance.stop()[0] == 0
        # The repository has the second version late, and the nightly job has written texts.
        (models / "churn/2").rename(tmp_path / "late")
        frame.assign(nps="many").to_parquet(customers)
        instance.start()
        (tmp_path / "late").rename(models / "churn/2")
        until(lambda: 'step="features"' in instance.log.read_text())
        assert drift(instance)["model"]["version"] == 1
        frame.to_parquet(other)
        other.rename(customers)
        until(lambda: "new snapshot live" in instance.log.read_text())
        # A refused version is looked at again when its files change.
        (models / "churn/2/bundle.toml").touch()
        until(lambda: drift(instance)["model"]["version"] == 2)
        assert drift(instance) == before
