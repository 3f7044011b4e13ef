"""Compares contributions with those of the training libraries, over many rows of each kind of model.

    cargo build --release --features full
    TELCO_CSV=telco-customer-churn.csv python tests/soak/contributions.py --binary target/release/evergreen

Telecom customers, drawn with replacement, and synthetic rows of 30 features, with missing and extreme values. Prints
the largest and the median difference, relative to the sum of the absolute contributions of a row, and by how much
contributions and bias miss the margin. For XGBoost, which computes in single precision, also how far Evergreen and
XGBoost are from the values in double precision (`shapley.py`). Uses the libraries of the Python that runs it.
"""

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

import catboost
import lightgbm
import numpy as np
import pandas as pd
import xgboost

import shapley


def read(path, rows):
    """Returns customers with numbers and categories, some of them missing or far outside of what training saw."""
    frame = pd.read_csv(path, na_values={"TotalCharges": [" "]}, keep_default_na=False)
    label = (frame["Churn"] == "Yes").astype(int)
    frame = frame.drop(columns=["customerID", "Churn"])
    for name in frame.select_dtypes(exclude="number"):
        frame[name] = frame[name].astype("category")
    random = np.random.default_rng(1)
    test = frame.sample(rows, replace=True, random_state=2).reset_index(drop=True)
    for name in ("tenure", "MonthlyCharges", "TotalCharges"):
        test[name] = test[name].astype("float64")
        test.loc[random.random(rows) < 0.05, name] = np.nan
        test.loc[random.random(rows) < 0.02, name] *= 1000
        test.loc[random.random(rows) < 0.02, name] *= -1
    return frame, label, test


def synthetic(rows, features=30):
    """Returns rows of many numeric features, and rows to explain with huge, tiny and missing values."""
    random = np.random.default_rng(3)

    def draw(count):
        numbers = random.normal(size=(count, features)).astype("float32")
        numbers[random.random(numbers.shape) < 0.05] = np.nan
        return pd.DataFrame(numbers, columns=[f"f{number}" for number in range(features)])

    frame, test = draw(10_000), draw(rows)
    filled = frame.fillna(0).to_numpy()
    signal = filled @ random.normal(size=features) + 3 * filled[:, 0] * filled[:, 1]
    label = pd.Series((signal + random.normal(size=len(frame)) > 0).astype(int))
    extremes = np.asarray([3e38, -3e38, 1e-40, -1e-40, 0.0, -0.0], dtype="float32")
    spoiled = random.random(test.shape) < 0.05
    test = test.mask(spoiled, pd.DataFrame(random.choice(extremes, test.shape), columns=test.columns))
    return frame, label, test


def xgboost_model(frame, label, path, rounds=200, **parameters):
    matrix = xgboost.DMatrix(frame, label, enable_categorical=True)
    parameters = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.1, "nthread": 1} | parameters
    model = xgboost.train(parameters, matrix, rounds)
    model.save_model(path / "model.ubj")

    def contributions(test):
        matrix = xgboost.DMatrix(test, enable_categorical=True)
        return model.predict(matrix, pred_contribs=True), model.predict(matrix, output_margin=True)

    return "model.ubj", contributions, lambda test: exact(model, test)


def exact(model, test):
    """Returns XGBoost's contributions in double precision."""
    rows = test.copy()
    for name in rows.select_dtypes("category"):
        rows[name] = rows[name].cat.codes
    found, sums = shapley.contributions(model, rows.to_numpy("float64"))
    margins = model.predict(xgboost.DMatrix(test, enable_categorical=True), output_margin=True)
    apart = margins - sums
    assert np.ptp(apart) < 1e-4, f"the reference takes other leaves: {np.ptp(apart)}"
    return found


def lightgbm_model(frame, label, path, **parameters):
    parameters = {"objective": "binary", "num_threads": 1, "verbose": -1} | parameters
    model = lightgbm.train(parameters, lightgbm.Dataset(frame, label), 100)
    model.save_model(path / "model.txt")

    def contributions(test):
        return model.predict(test, pred_contrib=True), model.predict(test, raw_score=True)

    # In double precision already.
    return "model.txt", contributions, None


def catboost_model(frame, label, path):
    numbers = frame.select_dtypes("number")
    model = catboost.CatBoostClassifier(iterations=200, depth=6, verbose=False, thread_count=1)
    model.fit(numbers, label)
    model.save_model(path / "model.json", format="json")

    def contributions(test):
        pool = catboost.Pool(test[numbers.columns])
        values = model.get_feature_importance(pool, type="ShapValues")
        return values, model.predict(pool, prediction_type="RawFormulaVal")

    return "model.json", contributions, None


MODELS = {
    "XGBoost, 200 trees of depth 6": xgboost_model,
    "XGBoost, DART": lambda *args: xgboost_model(*args, rounds=60, booster="dart", rate_drop=0.1),
    "XGBoost, random forest": lambda *args: xgboost_model(
        *args, rounds=1, num_parallel_tree=100, subsample=0.6, colsample_bynode=0.6, eta=1
    ),
    "XGBoost, 100 trees of depth 12": lambda *args: xgboost_model(*args, rounds=100, max_depth=12),
    "LightGBM, 31 leaves": lightgbm_model,
    "LightGBM, 255 leaves": lambda *args: lightgbm_model(*args, num_leaves=255, min_data_in_leaf=5),
    "CatBoost, symmetric, depth 6": catboost_model,
}


#: Models that are trained on synthetic rows.
SYNTHETIC = {
    "XGBoost, 30 features, 200 trees of depth 6": xgboost_model,
    "XGBoost, 30 features, 50 trees of 255 leaves": lambda *args: xgboost_model(
        *args, rounds=50, max_depth=0, max_leaves=255, grow_policy="lossguide", min_child_weight=0.1
    ),
    "LightGBM, 30 features, 255 leaves": lambda *args: lightgbm_model(
        *args, num_leaves=255, min_data_in_leaf=5
    ),
    "CatBoost, 30 features, depth 6": catboost_model,
}


def compare(binary, name, make, data, work, quick):
    frame, label, test = data
    file, truth, double = make(frame, label, work)
    table, output = work / "rows.parquet", work / "contributions.parquet"
    test.astype(dict.fromkeys(test.select_dtypes("category"), str)).to_parquet(table)
    command = [binary, "score", "--model", str(work / file), "--input", str(table), "--output", str(output)]
    subprocess.run([*command, "--kind", "contributions"], check=True, capture_output=True)
    ours = pd.read_parquet(output).to_numpy("float64")
    theirs, margins = (np.asarray(values, dtype="float64") for values in truth(test))
    theirs = theirs.reshape(len(test), -1)
    ours = ours[:, -theirs.shape[1] :]
    scale = np.maximum(1, np.abs(theirs).sum(axis=1))
    differences = np.abs(ours - theirs).max(axis=1) / scale
    additivity = np.abs(ours.sum(axis=1) - margins) / np.maximum(1, np.abs(ours).sum(axis=1))
    columns = [
        name,
        f"{len(test):,}",
        f"{differences.max():.1e}",
        f"{np.median(differences):.1e}",
        f"{additivity.max():.1e}",
        f"{(np.abs(theirs.sum(axis=1) - margins) / scale).max():.1e}",
    ]
    if quick:
        columns += ["-", "-"]
    elif double:
        reference = double(test)
        for values in (ours, theirs):
            columns.append(f"{(np.abs(values[:, :-1] - reference).max(axis=1) / scale).max():.1e}")
    else:
        columns += [columns[2], "-"]
    print("| " + " | ".join(columns) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", default="target/release/evergreen")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="without the values in double precision")
    arguments = parser.parse_args()
    binary = str(Path(arguments.binary).resolve())
    data = read(os.environ["TELCO_CSV"], arguments.rows)
    print(
        f"XGBoost {xgboost.__version__}, LightGBM {lightgbm.__version__}, CatBoost {catboost.__version__}\n"
    )
    print(
        "| model | rows | largest difference | median | misses the margin by at most | the library misses it by | "
        "from double precision | the library from it |"
    )
    print("|---|---|---|---|---|---|---|---|")
    sets = [(data, MODELS), (synthetic(arguments.rows), SYNTHETIC)]
    for data, name, make in ((data, *model) for data, models in sets for model in models.items()):
        with tempfile.TemporaryDirectory() as work:
            compare(binary, name, make, data, Path(work), arguments.quick)


if __name__ == "__main__":
    main()
