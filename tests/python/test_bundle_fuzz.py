"""Random models of three libraries on random tables: what save_bundle writes passes the gate, or it says why not.

`EVERGREEN_FUZZ=N` tries N models instead of a few.
"""

import json
import os
import subprocess

import catboost
import lightgbm
import numpy as np
import pandas as pd
import xgboost

from evergreen_serving import BundleError, save_bundle

NAMES = [
    "a",
    "b c",
    "é",
    "日本",
    "o'k",
    "back\\slash",
    "tab\tname",
    "d.o.t",
    "0",
    "Column_1",
    "f0",
    "a=b",
    "#h",
    "a_b",
]
#: Names that LightGBM refuses to train on.
ODD_NAMES = ["x:y", 'q"t', "[br]", "new\nline"]

COLUMNS = {
    "float": lambda rng, n: pd.Series(rng.normal(size=n)).where(rng.random(n) > 0.1),
    "float32": lambda rng, n: pd.Series(rng.normal(size=n).astype("float32")),
    "int": lambda rng, n: pd.Series(rng.integers(-3, 9, n)),
    "large": lambda rng, n: pd.Series(rng.integers(-(2**62), 2**62, n)),
    "uint8": lambda rng, n: pd.Series(rng.integers(0, 255, n).astype("uint8")),
    "bool": lambda rng, n: pd.Series(rng.random(n) < 0.5),
    "Int64": lambda rng, n: pd.Series(pd.array(rng.integers(0, 9, n), dtype="Int64")).where(
        rng.random(n) > 0.1
    ),
    "boolean": lambda rng, n: pd.Series(pd.array(rng.random(n) < 0.5, dtype="boolean")).where(
        rng.random(n) > 0.1
    ),
    "constant": lambda _, n: pd.Series(np.full(n, 7.0)),
    "nothing": lambda _, n: pd.Series(np.full(n, np.nan)),
    "huge": lambda rng, n: pd.Series(rng.choice([1e39, -1e300, 1e38, 0.0, 5.0], n)),
    "tiny": lambda rng, n: pd.Series(rng.choice([1e-46, -1e-320, 1e-38, -0.0, 5e-36], n)),
    "text": lambda rng, n: pd.Series(pd.Categorical(rng.choice(["x", "y", "zé", "", "null"], n))),
    "ordered": lambda rng, n: pd.Series(
        pd.Categorical(rng.choice(list("sml"), n), categories=list("smlq"), ordered=True)
    ).where(rng.random(n) > 0.2),
    "numbers": lambda rng, n: pd.Series(pd.Categorical(rng.choice([5, -1, 30], n))),
    "booleans": lambda rng, n: pd.Series(pd.Categorical(rng.random(n) < 0.5)),
    "wholes": lambda rng, n: pd.Series(pd.Categorical(rng.choice([1.0, 2.0, 3.0], n))),
    "empty": lambda _, n: pd.Series(pd.Categorical([None] * n, categories=[])),
    "alike": lambda rng, n: pd.Series(pd.Categorical(rng.choice(["1", "1.0", "01", "true", "True"], n))),
    "times": lambda _, n: pd.Series(pd.date_range("2020", periods=n, freq="h")),
}


def random_model(seed):
    """Returns a trained model and its table. Raises what the library raises if it refuses the table."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([120, 300]))
    names = NAMES + (ODD_NAMES if rng.random() < 0.2 else [])
    chosen = [str(name) for name in rng.choice(names, int(rng.integers(1, 6)), replace=False)]
    rows = pd.DataFrame({name: COLUMNS[str(rng.choice(list(COLUMNS)))](rng, n) for name in chosen})
    target = (rng.random(n) < 0.5).astype(int)
    labelled = [target, np.where(target, "yes", "no"), target.astype(bool)][rng.integers(3)]
    library = rng.choice(["xgboost", "lightgbm", "catboost"])
    if library == "xgboost":
        objective = rng.choice(
            ["binary:logistic", "reg:squarederror", "count:poisson", "rank:ndcg", "binary:hinge"]
        )
        data = xgboost.DMatrix(rows, target, enable_categorical=True)
        return xgboost.train(
            {"objective": objective, "nthread": 1, "max_depth": 3}, data, int(rng.integers(6))
        ), rows
    if library == "lightgbm":
        return lightgbm.LGBMClassifier(n_estimators=4, n_jobs=1, verbose=-1, min_child_samples=3).fit(
            rows, labelled
        ), rows
    known = [name for name in rows if rows[name].dtype.name == "category" or rng.random() < 0.1]
    for name in known:
        if rows[name].dtype.name == "category" and len(rows[name].cat.categories):
            rows[name] = rows[name].fillna(rows[name].cat.categories[0])
    policy = rng.choice(["SymmetricTree", "Depthwise", "Lossguide"])
    settings = {"iterations": 4, "verbose": 0, "allow_writing_files": False, "thread_count": 1, "depth": 3}
    settings |= {"cat_features": known, "one_hot_max_size": 255, "grow_policy": policy}
    return catboost.CatBoostClassifier(**settings).fit(rows, labelled), rows


def test_random_models_pass_the_gate_or_are_refused_with_a_reason(evergreen, tmp_path):
    passed = 0
    for seed in range(int(os.environ.get("EVERGREEN_FUZZ", "90"))):
        try:
            model, rows = random_model(seed)
        except Exception:  # the library refuses the table: there is no model
            continue
        try:
            bundle = save_bundle(model, rows, tmp_path / str(seed))
        except BundleError:
            continue
        done = subprocess.run([evergreen, "check", "--json", bundle], capture_output=True, text=True)
        assert done.returncode == 0, (seed, dict(rows.dtypes), json.loads(done.stdout)["steps"][-1])
        passed += 1
    assert passed > 20


def stored(rows):
    """Returns a table as a store holds it: categories as texts, numbers and booleans, and an id."""
    out = rows.copy()
    for name in rows.select_dtypes("category"):
        kind = rows[name].cat.categories.dtype.kind
        out[name] = rows[name].astype({"f": "float64", "b": "boolean", "i": "Int64"}.get(kind, object))
    return out.assign(id=range(len(rows)))


def scored(evergreen, folder, model, rows):
    """Scores a table with a bundle or a model file. Returns the margins, or None if the table is refused."""
    stored(rows).to_parquet(folder / "rows.parquet")
    command = [evergreen, "score", "--model", model, "--input", folder / "rows.parquet", "--id", "id"]
    command += ["--output", folder / "margins.jsonl", "--kind", "margin"]
    if subprocess.run(command, capture_output=True).returncode:
        return None
    lines = (folder / "margins.jsonl").read_text().splitlines()
    return np.array([json.loads(line)["margin"] for line in lines])


def library_margins(model, rows):
    """Returns the margins of the library itself."""
    if isinstance(model, xgboost.Booster):
        return model.predict(xgboost.DMatrix(rows, enable_categorical=True), output_margin=True).astype(
            "float64"
        )
    if isinstance(model, lightgbm.LGBMClassifier):
        return model.predict(rows, raw_score=True)
    return model.predict(rows, prediction_type="RawFormulaVal")


def test_random_models_score_files_as_the_library_does(evergreen, tmp_path):
    equal = {"bundle": 0, "file": 0}
    for seed in range(int(os.environ.get("EVERGREEN_FUZZ", "60"))):
        try:
            model, rows = random_model(seed)
            truth = library_margins(model, rows)
        except Exception:  # the library refuses the table
            continue
        found = {}
        try:
            found["bundle"] = scored(
                evergreen, tmp_path, save_bundle(model, rows, tmp_path / str(seed)), rows
            )
        except BundleError:
            continue
        if isinstance(model, lightgbm.LGBMClassifier):
            model.booster_.save_model(tmp_path / "model.txt")
            found["file"] = scored(evergreen, tmp_path, tmp_path / "model.txt", rows)
        elif isinstance(model, xgboost.Booster):
            model.save_model(tmp_path / "model.ubj")
            found["file"] = scored(evergreen, tmp_path, tmp_path / "model.ubj", rows)
        else:
            model.save_model(str(tmp_path / "model.json"), format="json")
            found["file"] = scored(evergreen, tmp_path, tmp_path / "model.json", rows)
        assert found["bundle"] is not None, seed
        for what, margins in found.items():
            if margins is not None:  # a file alone may not say what a value means
                assert (margins == truth).all(), (what, seed, dict(rows.dtypes))
                equal[what] += 1
    assert min(equal.values()) > 10, equal
