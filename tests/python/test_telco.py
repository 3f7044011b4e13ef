"""Real telecom customers: a bundle with XGBoost's categorical splits gives XGBoost's bits.

Needs the IBM sample file `telco-customer-churn.csv` (7,043 customers), named by TELCO_CSV.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xgboost

from evergreen_serving import save_bundle
from evergreen_testing.paths import ROOT
from evergreen_testing.server_process import serving

pytestmark = pytest.mark.telco


@pytest.fixture(scope="module")
def csv():
    path = Path(os.environ.get("TELCO_CSV", ROOT / "../shared/data/telco-customer-churn.csv"))
    assert path.is_file(), f"{path}: not there; name the telecom customers' file with TELCO_CSV"
    return path


@pytest.fixture(scope="module")
def customers(csv):
    """Reads the file as a data scientist would: texts become categories, a blank charge is missing."""
    frame = pd.read_csv(csv, na_values={"TotalCharges": [" "]}, keep_default_na=False)
    features = frame.drop(columns=["customerID", "Churn"])
    for name in features.select_dtypes(exclude="number"):
        features[name] = features[name].astype("category")
    return frame["customerID"], features, (frame["Churn"] == "Yes").astype(int)


@pytest.fixture(scope="module")
def trained(customers, tmp_path_factory):
    _, features, label = customers
    matrix = xgboost.DMatrix(features, label, enable_categorical=True)
    parameters = {
        "objective": "binary:logistic",
        "max_depth": 6,
        "eta": 0.1,
        "max_cat_to_onehot": 4,
        "nthread": 2,
    }
    booster = xgboost.train(parameters, matrix, 200)
    models = tmp_path_factory.mktemp("models")
    save_bundle(booster, features, models / "telco/1", entity="customerID", bands={"low": 0.0, "high": 0.5})
    return models, booster, matrix


def bits(values):
    return np.asarray(values, dtype="float32").view("uint32")


def differing(found, truth):
    return int((bits(found) != bits(truth)).sum())


def test_all_customers_get_xgboosts_probability_over_rest(evergreen, trained, customers, csv, tmp_path):
    models, booster, matrix = trained
    ids = customers[0].tolist()
    with serving(evergreen, tmp_path, models=models, customers=csv) as server:
        body = {"model": "telco", "entities": [{"id": id} for id in ids]}
        results = server.http.post("/v1/score", json=body).json()["results"]
    assert len(ids) == 7043 and {result["status"] for result in results} == {"ok"}
    assert sum("null" in result["features"] for result in results) == 11
    assert differing([result["score"] for result in results], booster.predict(matrix)) == 0


@pytest.mark.parametrize("kind", ["margin", "probability"])
@pytest.mark.parametrize("model", ["telco/1", "telco/1/model.ubj"])
def test_all_customers_get_xgboosts_numbers_offline(evergreen, trained, csv, tmp_path, kind, model):
    models, booster, matrix = trained
    out = tmp_path / "out.parquet"
    command = [evergreen, "score", "--model", models / model, "--input", csv, "--output", out, "--kind", kind]
    subprocess.run(command, check=True)
    found = pd.read_parquet(out)[kind].to_numpy()
    assert len(found) == 7043 and found.dtype == np.float32
    assert differing(found, booster.predict(matrix, output_margin=kind == "margin")) == 0
