"""Trains a model of each library on the telecom customers, and counts the customers whose numbers differ from it.

    python wheel_bits.py telco-customer-churn.csv FOLDER

Runs with the installed wheel. Writes the bundles to FOLDER, and prints JSON.
"""

import json
import sys
from pathlib import Path

import catboost
import lightgbm
import numpy as np
import pandas as pd
import xgboost

from evergreen_serving import Scorer, save_bundle

csv, folder = Path(sys.argv[1]), Path(sys.argv[2])
frame = pd.read_csv(csv, na_values={"TotalCharges": [" "]}, keep_default_na=False)
y = (frame["Churn"] == "Yes").astype(int)
texts = frame.drop(columns=["customerID", "Churn"])
names = list(texts.select_dtypes(exclude="number"))
X = texts.astype(dict.fromkeys(names, "category"))


def differing(found, truth):
    found, truth = (np.ascontiguousarray(values) for values in (found, truth))
    whole = f"uint{8 * found.itemsize}"
    return int((found.view(whole) != truth.astype(found.dtype).view(whole)).sum())


def with_xgboost():
    matrix = xgboost.DMatrix(X, y, enable_categorical=True)
    model = xgboost.train({"objective": "binary:logistic", "max_depth": 6, "nthread": 2}, matrix, 100)
    return model, X, model.predict(matrix, output_margin=True), model.predict(matrix)


def with_lightgbm():
    model = lightgbm.train({"objective": "binary", "verbosity": -1}, lightgbm.Dataset(X, y), 100)
    return model, X, model.predict(X, raw_score=True), model.predict(X)


def with_catboost():
    model = catboost.CatBoostClassifier(iterations=100, one_hot_max_size=9, verbose=False, thread_count=2)
    model.fit(texts, y, cat_features=names)
    return (
        model,
        texts,
        model.predict(texts, prediction_type="RawFormulaVal"),
        model.predict_proba(texts)[:, 1],
    )


counts = {}
for library, train in (("xgboost", with_xgboost), ("lightgbm", with_lightgbm), ("catboost", with_catboost)):
    model, rows, margins, values = train()
    bundle = save_bundle(model, rows, folder / library / "1", entity="customerID")
    scores = Scorer.load(bundle).score(frame, ["margin", "score"])
    counts[library] = {
        "rows": len(scores),
        "margins": differing(scores["margin"], margins),
        "scores": differing(scores["score"], values),
    }
print(json.dumps(counts))
