"""The times of features in the prediction log, if a model has several sources: a snapshot, and stores with and without times."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import pytest
import redis
import xgboost

from evergreen_serving import derive, save_bundle
from evergreen_testing.feature_stores import redis_server
from evergreen_testing.prediction_logs import log_settings, rows
from evergreen_testing.server_process import serving

SNAPSHOT = "2026-11-20T03:00:00Z"
ONLINE = "2026-11-21T08:30:00.25Z"
EARLIER = "2026-11-19T00:00:00Z"
DERIVED = {"price_change": {"difference": ["price", "price_before"]}}
OPERANDS = {"price_before": {"type": "float", "source": "online:price_before"}}
INPUTS = ["price", "calls", "visits", "price_change"]


@pytest.fixture(scope="module")
def logged(evergreen, tmp_path_factory):
    """The rows of each kind of request, and the times before and after the first one."""
    folder = tmp_path_factory.mktemp("times")
    rng = np.random.default_rng(4)
    stored = ["price", "price_before", "calls", "visits"]
    frame = derive(pd.DataFrame({name: rng.gamma(2, 10, 400) for name in stored}), DERIVED)
    model = xgboost.train({"max_depth": 2}, xgboost.DMatrix(frame[INPUTS], frame["calls"]), 3)
    save_bundle(
        model, frame[INPUTS], folder / "models/m/1", entity="id", derived=DERIVED, operands=OPERANDS,
        sources={"calls": "online:calls", "visits": "clicks:visits"}, min_known=0,
    )  # fmt: skip
    ids = ["both", "earlier", "alone"]
    pd.DataFrame({"id": ids, "as_of": pd.Timestamp(SNAPSHOT), "price": 7.5}).to_parquet(
        folder / "ids.parquet"
    )
    with redis_server(folder / "redis") as store:
        client = redis.Redis(port=store.port)
        for id, as_of in [("both", ONLINE), ("earlier", EARLIER)]:
            client.hset(f"online:{id}", mapping={"as_of": as_of, "calls": 3, "price_before": 6})
            client.hset(f"clicks:{id}", mapping={"visits": 9})
        config = folder / "evergreen.toml"
        config.write_text(
            f"""
[source.online.redis]
key = "online:{{id}}"
as_of = "as_of"
server = {{ urls = ["{store.url}"] }}
[source.clicks.redis]
key = "clicks:{{id}}"
server = {{ urls = ["{store.url}"] }}
"""
            + log_settings(folder / "log")
        )
        with serving(
            evergreen, folder, models=folder / "models", customers=folder / "ids.parquet", config=config
        ) as server:

            def ask(name, entity):
                body = {"model": "m", "entities": [entity]}
                answer = server.http.post("/v1/score", json=body, headers={"x-request-id": name})
                assert answer.status_code == 200 and "score" in answer.json()["results"][0], answer.text

            before = dt.datetime.now(dt.UTC)
            ask("both", {"id": "both"})
            after = dt.datetime.now(dt.UTC)
            ask("cached", {"id": "both"})
            ask("earlier", {"id": "earlier"})
            ask("alone", {"id": "alone"})
            ask("price", {"id": "both", "features": {"price": 8}})
            ask("derived", {"id": "both", "features": {"price_change": 1, "calls": 2}})
            ask("request", {"features": dict.fromkeys(INPUTS, 1)})
            assert server.stop() == 0
    return {row["request_id"]: row for row in rows(folder / "log")}, before, after


def times(row):
    """Returns the features by time, as the log has them."""
    return [(entry["as_of"], entry["features"]) for entry in json.loads(row["feature_times"])]


def test_each_feature_has_the_time_of_its_source(logged):
    found, before, after = logged
    (snapshot, of_snapshot), (online, of_online), (fetched, of_fetched) = times(found["both"])
    # A derived feature is as old as the oldest value that it is made from.
    assert (snapshot, of_snapshot) == (SNAPSHOT, ["price", "price_change"])
    assert (online, of_online) == (ONLINE, ["calls"])
    # A store without times: the values are at least as old as their fetch, also when they come from the cache.
    assert before <= dt.datetime.fromisoformat(fetched) <= after and of_fetched == ["visits"]
    assert found["both"]["origin"] == "store" and found["cached"]["origin"] == "cache"
    assert times(found["cached"]) == times(found["both"]) and found["cached"]["at"] > found["both"]["at"]
    assert found["both"]["as_of"] == dt.datetime.fromisoformat(SNAPSHOT)
    first, second, _ = times(found["earlier"])
    assert first == (EARLIER, ["calls", "price_change"]) and second == (SNAPSHOT, ["price"])
    assert found["earlier"]["as_of"] == dt.datetime.fromisoformat(EARLIER)


def test_what_no_source_has_or_the_request_gave_has_no_time(logged):
    found, *_ = logged
    assert times(found["alone"]) == [(SNAPSHOT, ["price", "price_change"])]
    assert times(found["price"])[0] == (ONLINE, ["calls", "price_change"])
    listed = [name for _, names in times(found["derived"]) for name in names]
    assert listed == ["price", "visits"]
    assert found["request"]["feature_times"] is None and found["request"]["as_of"] is None
