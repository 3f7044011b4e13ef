"""Bundles of every library from save_bundle pass the gate and serve the library's scores."""

import json
import subprocess

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from evergreen_serving import save_bundle
from evergreen_testing.server_process import serving

CITIES = ["Delft", "Łódź", "Gent", "Århus", "Utrecht", "Breda"]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(11)
    size = 2000
    frame = pd.DataFrame(
        {
            "spend": rng.gamma(2.0, 50.0, size),
            "calls": rng.poisson(2, size),
            "auto_pay": rng.random(size) < 0.4,
            "city": pd.Categorical(rng.choice(CITIES, size), categories=CITIES),
        }
    )
    signal = frame["spend"] / 100 + frame["calls"] - frame["auto_pay"] + frame["city"].cat.codes.isin([1, 4])
    label = (signal + rng.normal(0, 1, size) > signal.median()).astype(int)
    frame.loc[rng.random(size) < 0.1, "spend"] = np.nan
    return frame, label


def train_xgboost(frame, label):
    model = xgboost.XGBClassifier(
        n_estimators=40, max_depth=4, enable_categorical=True, max_cat_to_onehot=2, n_jobs=1
    )
    return model.fit(frame, label), lambda model, frame: model.predict_proba(frame)[:, 1]


def train_lightgbm(frame, label):
    model = lightgbm.LGBMClassifier(n_estimators=40, n_jobs=1, verbose=-1)
    return model.fit(frame, label), lambda model, frame: model.predict_proba(frame)[:, 1]


def train_catboost(frame, label):
    model = catboost.CatBoostClassifier(
        iterations=40, depth=4, one_hot_max_size=10, thread_count=1, verbose=False, allow_writing_files=False
    )
    return model.fit(frame, label, cat_features=["city"]), lambda model, frame: model.predict_proba(frame)[
        :, 1
    ]


@pytest.mark.parametrize(
    "train", [train_xgboost, train_lightgbm, train_catboost], ids=lambda train: train.__name__
)
def test_a_bundle_serves_its_librarys_numbers(evergreen, tmp_path, data, train):
    frame, label = data
    model, predict = train(frame, label)
    bundle = tmp_path / "models/m/1"
    save_bundle(model, frame, bundle, entity="id", bands={"low": 0.0, "high": 0.5})
    judged = subprocess.run([evergreen, "check", "--json", bundle], capture_output=True, text=True)
    steps = json.loads(judged.stdout)["steps"]
    assert judged.returncode == 0, steps[-1]
    golden = next(step for step in steps if step["step"] == "golden")
    assert "margins bit-equal" in golden["detail"]
    customers = tmp_path / "customers.parquet"
    frame.assign(id=[f"C-{row}" for row in range(len(frame))], city=frame["city"].astype(str)).to_parquet(
        customers
    )
    with serving(evergreen, tmp_path, models=tmp_path / "models", customers=customers) as server:
        body = {"model": "m", "entities": [{"id": f"C-{row}"} for row in range(len(frame))]}
        results = server.http.post("/v1/score", json=body).json()["results"]
    found = np.array([result["score"] for result in results])
    truth = predict(model, frame).astype(float)
    ulp = np.abs(found.view("int64") - truth.view("int64")).max()
    # Margins have equal bits (golden rows); values may differ because each library has its own exp.
    assert ulp <= 2 if train is not train_xgboost else (found == truth).all()


def test_reasons_of_a_class_are_those_of_its_margin(evergreen, tmp_path, data):
    frame = data[0].drop(columns=["city"])
    label = np.digitize(frame["calls"] + frame["spend"].fillna(0) / 100, [2, 4])
    matrix = xgboost.DMatrix(frame, label)
    booster = xgboost.train({"objective": "multi:softprob", "num_class": 3, "nthread": 1}, matrix, 10)
    save_bundle(booster, frame, tmp_path / "models/m/1", entity="id", kind="class")
    customers = tmp_path / "customers.parquet"
    frame.assign(id=range(len(frame))).to_parquet(customers)
    contributions, classes = (
        booster.predict(matrix, pred_contribs=True),
        booster.predict(matrix).argmax(axis=1),
    )
    with serving(evergreen, tmp_path, models=tmp_path / "models", customers=customers) as server:
        body = {"model": "m", "entities": [{"id": row} for row in range(60)], "explain": 9}
        results = server.http.post("/v1/score", json=body).json()["results"]
    assert {result["score"] for result in results} == {0, 1, 2}
    for row, result in enumerate(results):
        assert result["score"] == classes[row]
        truth = dict(zip(frame.columns, contributions[row, classes[row]].tolist()))
        for reason in result["reasons"]:
            assert reason["contribution"] == pytest.approx(truth[reason["feature"]], abs=1e-5)


def test_a_model_that_the_customers_cannot_feed_leaves_the_others_live(evergreen, tmp_path, data):
    frame, label = data
    good, _ = train_lightgbm(frame.drop(columns=["city"]), label)
    wide, _ = train_lightgbm(frame.drop(columns=["city"]).assign(extra=1.0), label)
    save_bundle(good, frame.drop(columns=["city"]), tmp_path / "models/good/1", entity="id")
    save_bundle(wide, frame.drop(columns=["city"]).assign(extra=1.0), tmp_path / "models/wide/1", entity="id")
    customers = tmp_path / "customers.csv"
    frame.assign(id=range(len(frame))).to_csv(customers, index=False)
    with serving(evergreen, tmp_path, models=tmp_path / "models", customers=customers) as server:
        assert server.ops.get("/readyz").status_code == 200
        assert server.http.get("/v1/models/good/scores/7").json()["status"] == "ok"
        step = server.http.get("/v1/models/wide").json()["versions"][0]["steps"][-1]
        assert step["step"] == "features" and "missing columns: `extra`" in step["detail"]
