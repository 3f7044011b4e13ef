"""Scores that `evergreen score --write` stores are features of another model, through Evergreen's own sources."""

import pytest
import xgboost

from evergreen_testing.batch import bits, make_booster, make_bundle, make_rows, predict, save_bundle, score
from evergreen_testing.feature_stores import postgres_server, redis_server
from evergreen_testing.server_process import serving

ROWS = 400


@pytest.fixture(scope="module")
def rows():
    return make_rows(ROWS)


@pytest.fixture(scope="module")
def booster(rows):
    return make_booster(rows)


def second_model(folder, rows, booster, source):
    """Writes a model whose only feature is the score of the first one. Returns its scores."""
    frame = rows[["id"]].assign(score=predict(booster, rows).astype("float32"))
    label = (frame["score"] > frame["score"].median()).astype(int)
    data = xgboost.DMatrix(frame[["score"]], label)
    model = xgboost.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, data, 5)
    save_bundle(
        model, frame[["score"]], folder / "second/1", entity="id", sources={"score": f"{source}:score"}
    )
    return model.predict(data)


def check(evergreen, tmp_path, rows, booster, settings):
    expected = second_model(tmp_path / "second", rows, booster, "batch")
    config = tmp_path / "evergreen.toml"
    config.write_text(settings)
    with serving(evergreen, tmp_path, models=tmp_path / "second", customers=None, config=config) as server:
        body = {"model": "second", "entities": [{"id": id} for id in rows["id"]]}
        results = server.http.post("/v1/score", json=body).json()["results"]
    assert {result["status"] for result in results} == {"ok"}, results[0]
    assert (bits([result["score"] for result in results]) == bits(expected)).all()


def test_redis_is_a_source(evergreen, tmp_path, rows, booster):
    make_bundle(tmp_path / "models", booster, rows)
    rows.to_parquet(tmp_path / "rows.parquet")
    common = ["--model", tmp_path / "models/risk/1", "--input", tmp_path / "rows.parquet"]
    with redis_server(tmp_path / "redis") as redis:
        score(evergreen, *common, "--write", redis.url, "--expire", "1d")
        settings = f"[source.batch.redis]\nkey = 'score:risk:{{id}}'\nas_of = 'scored_at'\nserver = {{ urls = ['{redis.url}'] }}\n"
        check(evergreen, tmp_path, rows, booster, settings)


def test_postgres_is_a_source(evergreen, tmp_path, rows, booster):
    make_bundle(tmp_path / "models", booster, rows)
    rows.to_parquet(tmp_path / "rows.parquet")
    common = ["--model", tmp_path / "models/risk/1", "--input", tmp_path / "rows.parquet"]
    with postgres_server(tmp_path / "postgres") as postgres:
        url = f"postgres://evergreen@127.0.0.1:{postgres.port}/postgres"
        score(evergreen, *common, "--write", url, "--expire", "1d")
        query = "SELECT id, score, scored_at FROM precomputed_scores WHERE model = 'risk' AND expires_at > now() AND id = ANY($1)"
        settings = f"[source.batch.postgres]\nconnect = \"{url}\"\nquery = \"{query}\"\nid = 'id'\nas_of = 'scored_at'\n"
        check(evergreen, tmp_path, rows, booster, settings)
