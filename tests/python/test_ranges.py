"""A value that equals a bound of its range is in range on every path, also where 32-bit floats round the bound."""

import json

import grpc
import numpy as np
import pandas as pd
import pytest
import xgboost

from evergreen_serving import save_bundle
from evergreen_testing.grpc_client import Client
from evergreen_testing.server_process import serving

#: Rounded to 32 bits, the first grows and the second shrinks.
BOUNDS = [0.3, 0.7]
ROWS = pd.DataFrame({"customer_id": ["low", "high", "above"], "rate": [*BOUNDS, 0.700001], "z": 0.1})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder with a model that rejects values out of range, and its customers."""
    folder, rng = tmp_path_factory.mktemp("ranges"), np.random.default_rng(7)
    sample = pd.DataFrame({"rate": rng.choice(BOUNDS, 400), "z": rng.normal(size=400)})
    settings = {"objective": "binary:logistic", "max_depth": 2, "nthread": 1}
    booster = xgboost.train(settings, xgboost.DMatrix(sample, sample["z"] + sample["rate"] > 0.5), 3)
    save_bundle(booster, sample, folder / "models/m/1", ranges={"rate": BOUNDS}, out_of_range="reject")
    ROWS.to_parquet(folder / "customers.parquet")
    ROWS.to_csv(folder / "customers.csv", index=False)
    ROWS.to_json(folder / "customers.jsonl", orient="records", lines=True)
    return folder


EXPECTED = ["ok", "ok", "error"]


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_requests_and_snapshots(evergreen, folder, tmp_path, ending):
    ids = [{"id": id} for id in ROWS["customer_id"]]
    given = [{"features": {"rate": rate, "z": 0.1}} for rate in ROWS["rate"]]
    customers = folder / f"customers.{ending}"
    with serving(evergreen, tmp_path, models=folder / "models", customers=customers) as server:
        for entities in (ids, given):
            answer = server.http.post("/v1/score", json={"model": "m", "entities": entities}).json()
            assert [result["status"] for result in answer["results"]] == EXPECTED
        lines = "".join(json.dumps(entity) + "\n" for entity in given)
        bulk = server.http.post(
            "/v1/models/m/scores", content=lines, headers={"content-type": "application/x-ndjson"}
        )
        assert [json.loads(line)["status"] for line in bulk.text.splitlines()] == EXPECTED
        with grpc.insecure_channel(server.grpc) as channel:
            fields = [{"rate": {"number": rate}, "z": {"number": 0.1}} for rate in ROWS["rate"]]
            found = Client(channel)("Score", model="m", entities=[{"features": row} for row in fields])
        assert [bool(result.HasField("score")) for result in found.results] == [True, True, False]


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_tables(run, folder, tmp_path, ending):
    command = ["score", "--model", folder / "models/m/1", "--input", folder / f"customers.{ending}"]
    run(*command, "--output", tmp_path / "out.csv", "--columns", "none", code=3)
    assert pd.read_csv(tmp_path / "out.csv").iloc[:, 1].notna().tolist() == [True, True, False]


def test_the_scorer(scorer_class, folder):
    scorer = scorer_class.load(folder / "models/m/1")
    numbers = ROWS[["rate", "z"]]
    for table in (numbers, numbers.assign(plan="x"), numbers.to_numpy()):
        scores = scorer.score(table)
        scores = scores["score"].to_numpy() if isinstance(scores, pd.DataFrame) else scores
        assert np.isnan(scores).tolist() == [False, False, True]
    rows = numbers.to_dict("records")
    assert [scorer.score(row)["score"] is None for row in rows] == [False, False, True]
