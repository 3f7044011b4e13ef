"""How often drift is reported without any, and after how many customers each kind of drift is named.

    cargo build --release --features full
    TELCO_CSV=telco-customer-churn.csv python tests/soak/drift_windows.py --binary target/release/evergreen

A model is trained on half of the telecom customers; windows are drawn from the other half, which has the same
distribution. Prints the share of windows that name anything, and for changed customers the least number at which the
change is named in nine of ten windows.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost

sys.path.insert(0, str(Path(__file__).parents[2] / "python/serving/src"))
from evergreen_serving import save_bundle


def read(path):
    frame = pd.read_csv(path, na_values={"TotalCharges": [" "]}, keep_default_na=False)
    features = frame.drop(columns=["customerID", "Churn"])
    for name in features.select_dtypes(exclude="number"):
        features[name] = features[name].astype("category")
    return features, (frame["Churn"] == "Yes").astype(int)


def reports(binary, model, frame, rows, work):
    """Judges every `rows` rows on their own."""
    path = work / "rows.parquet"
    frame.astype(dict.fromkeys(frame.select_dtypes("category"), str)).to_parquet(path)
    command = [binary, "drift", str(path), "--model", str(model), "--json", "--window-rows", str(rows)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["windows"]


def draw(pool, rows, seed):
    return pool.sample(rows, replace=True, random_state=seed).reset_index(drop=True)


def longer(frame):
    frame["MonthlyCharges"] *= 1.15


def missing(frame):
    frame.loc[frame.index % 5 == 0, "TotalCharges"] = np.nan


def category(frame):
    names = frame["PaymentMethod"].astype(str)
    frame["PaymentMethod"] = names.where(frame.index % 20 != 0, "Instant transfer").astype("category")


def unit(frame):
    frame["tenure"] *= 30


CHANGES = {
    "MonthlyCharges": ("prices 15 % higher", longer),
    "TotalCharges": ("a fifth of the values missing", missing),
    "PaymentMethod": ("a new category for one in twenty", category),
    "tenure": ("months turned into days", unit),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", default="target/release/evergreen")
    parser.add_argument("--windows", type=int, default=1000)
    arguments = parser.parse_args()
    binary = str(Path(arguments.binary).resolve())
    features, label = read(os.environ["TELCO_CSV"])
    half = np.random.default_rng(3).permutation(len(features)) < len(features) // 2
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model = xgboost.XGBClassifier(n_estimators=100, max_depth=4, enable_categorical=True, n_jobs=2)
        model.fit(features[half], label[half])
        bundle = work / "telco/1"
        save_bundle(model, features[half], bundle, bands={"low": 0, "high": 0.5})
        pool = features[~half]
        for rows in (200, 500, 2000):
            found = reports(binary, bundle, draw(pool, rows * arguments.windows, rows), rows, work)
            named = sum(any(f["drifted"] for f in one["features"]) or one["score"]["moved"] for one in found)
            above = sum(any((f.get("psi") or 0) > 0.1 for f in one["features"]) for one in found)
            print(
                f"{rows} customers: {named} of {len(found)} windows without drift name something; "
                f"a plain limit of 0.1 would in {above}"
            )
        for name, (what, change) in CHANGES.items():
            for rows in (200, 300, 400, 600, 1000, 2000, 4000):
                frame = draw(pool, rows * 50, rows)
                change(frame)
                found = reports(binary, bundle, frame, rows, work)
                named = [{f["feature"] for f in one["features"] if f["drifted"]} for one in found]
                if sum(name in one for one in named) >= 45:
                    others = sum(len(one - {name}) for one in named)
                    [text] = [f["text"] for f in found[0]["features"] if f["feature"] == name]
                    print(
                        f"{name}, {what}: named from {rows} customers on ({others} others in 50 windows): {text}"
                    )
                    break
            else:
                print(f"{name}, {what}: not named within 4000 customers")


if __name__ == "__main__":
    main()
