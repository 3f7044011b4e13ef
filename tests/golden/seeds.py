"""Writes the seeds of the fuzz targets: the smallest models that exercise every part of each parser.

    python seeds.py FUZZ_SEEDS_DIRECTORY

The seed of the `gbdt` crate's parser was cut by hand from a model of `examples/train_gbdt.rs`: only the crate
writes such files, and one tree of them says it all.
"""

import json
import pathlib
import sys
import warnings

import catboost as cb
import lightgbm as lgb
import numpy as np
import xgboost as xgb

import data

warnings.filterwarnings("ignore")
OUT = pathlib.Path(sys.argv[1])


def place(target, name):
    """Where a seed belongs."""
    path = OUT / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return str(path)


def xgboost():
    """Each layout of the booster, in both encodings."""
    matrix, _kinds = data.table(rows=120)
    signal = data.score(matrix)
    plain = matrix[:, :3]
    label = np.digitize(signal, [0, 1])
    for name, params, rows, y in [
        ("logistic", {"objective": "binary:logistic"}, plain, signal > 0),
        ("classes", {"objective": "multi:softprob", "num_class": 3}, plain, label),
        ("dart", {"booster": "dart", "rate_drop": 0.5}, plain, signal),
        ("vector", {"multi_strategy": "multi_output_tree"}, plain, np.stack([signal, -signal], 1)),
        ("category", {"objective": "binary:logistic"}, matrix[:, 6:], signal > 0),
    ]:
        types = ["float", "c", "c"] if name == "category" else None
        train = xgb.DMatrix(rows, y, feature_types=types, enable_categorical=True)
        booster = xgb.train({"max_depth": 2, "tree_method": "hist", **params}, train, 2)
        booster.set_attr(best_iteration="0")
        booster.save_model(place("xgboost_json", f"{name}.json"))
        booster.save_model(place("xgboost_ubjson", f"{name}.ubj"))


def lightgbm():
    """Missing values, categories, classes, linear leaves, averages."""
    matrix, kinds = data.table(rows=200)
    matrix = matrix.astype(np.float64)
    signal = data.score(matrix)
    for name, params, y in [
        ("binary", {"objective": "binary"}, signal > 0),
        ("zero", {"objective": "regression", "zero_as_missing": True}, signal),
        ("classes", {"objective": "multiclass", "num_class": 3}, np.digitize(signal, [0, 1])),
        ("linear", {"objective": "regression", "linear_tree": True}, signal),
        (
            "forest",
            {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
            signal > 0,
        ),
    ]:
        params = {"num_leaves": 4, "verbosity": -1, "min_data_in_leaf": 5, "min_data_per_group": 5, **params}
        categories = [int(at) for at in np.flatnonzero(kinds)] if name != "linear" else []
        booster = lgb.train(params, lgb.Dataset(matrix, y, categorical_feature=categories), 2)
        text = booster.model_to_string()
        # The parameters are half of a small file, and not read.
        head, _, rest = text.partition("\nparameters:")
        _, _, tail = rest.partition("end of parameters\n")
        pathlib.Path(place("lightgbm", f"{name}.txt")).write_text(head + tail)


def catboost():
    """Symmetric and nested trees, one-hot features, classes."""
    import pandas as pd

    matrix, _ = data.table(rows=120, categories=False)
    signal = data.score(matrix)
    frame = pd.DataFrame(matrix[:, :3], columns=["a", "b", "c"])
    frame["text"] = np.array(["x", "yy", "zzz"])[np.arange(120) % 3]
    for name, params, y in [
        ("symmetric", {"loss_function": "Logloss"}, (signal > 0) ^ (frame["text"] == "x")),
        ("nested", {"loss_function": "RMSE", "grow_policy": "Lossguide"}, signal),
        ("classes", {"loss_function": "MultiClass"}, np.digitize(signal, [0, 1])),
    ]:
        params = {"iterations": 2, "depth": 2, "one_hot_max_size": 5, "verbose": False, "allow_writing_files": False, **params}  # fmt: skip
        model = cb.CatBoost(params).fit(cb.Pool(frame, y, cat_features=["text"]))
        path = place("catboost", f"{name}.json")
        model.save_model(path, format="json")
        saved = json.loads(pathlib.Path(path).read_text())
        # Of the report on the training only this is read.
        saved["model_info"] = {"params": {"loss_function": saved["model_info"]["params"]["loss_function"]}}
        pathlib.Path(path).write_text(json.dumps(saved))


xgboost()
lightgbm()
catboost()
