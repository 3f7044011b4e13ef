"""Measures what-if of one customer: all curves, and the search for the smallest changes.

    cargo build --release --features full
    python tests/soak/what_if.py --binary target/release/evergreen

Trains a model of 500 trees of depth 6 over 30 features with XGBoost, all of them actionable, and asks for one customer
after another over one connection. Prints the median and the 99th percentile in milliseconds, and the number of steps.
"""

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "python/serving/src"), str(ROOT / "tests/python")]
from evergreen_serving import save_bundle  # noqa: E402
from evergreen_testing.server_process import serving  # noqa: E402

FEATURES = 30
HIGH = 0.5


def trained(rows, trees, bins):
    """Returns a model, and rows of its features."""
    random = np.random.default_rng(7)
    X = pd.DataFrame(random.normal(size=(rows, FEATURES)), columns=[f"f{i}" for i in range(FEATURES)])
    weights = random.normal(size=FEATURES) / 3
    risk = X.to_numpy() @ weights + np.sin(3 * X["f0"] * X["f1"]) + random.normal(size=rows)
    parameters = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.05, "max_bin": bins}
    return xgboost.train(parameters, xgboost.DMatrix(X, (risk > 1).astype(int)), trees), X


def measured(server, path, bodies):
    """Returns the milliseconds of each request, and the answers."""
    # A plain client: others take longer than the server to read an answer.
    connection = http.client.HTTPConnection(str(server.http.base_url).split("//")[1].strip("/"))
    times, answers = [], []
    for body in bodies:
        text = json.dumps(body)
        start = time.perf_counter()
        connection.request("POST", path, text, {"content-type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        times.append(1000 * (time.perf_counter() - start))
        if answer.status != 200:
            raise SystemExit(content.decode())
        answers.append(json.loads(content))
    return times, answers


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", required=True, help="the program to measure")
    parser.add_argument("--customers", type=int, default=200)
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--bins", type=int, default=256, help="bins of a feature in training")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, X = trained(20_000, arguments.trees, arguments.bins)
        save_bundle(
            model,
            X,
            Path(folder) / "models/what-if/1",
            actionable=dict.fromkeys(X.columns, "any"),
            bands={"low": 0.0, "high": HIGH},
        )
        at_risk = X[model.predict(xgboost.DMatrix(X)) >= HIGH].head(arguments.customers)
        with serving(arguments.binary, folder, models=Path(folder) / "models", customers=None) as server:
            print(
                f"{arguments.trees} trees of depth 6, {FEATURES} features, {len(at_risk)} customers at risk\n"
            )
            print("| what | p50 ms | p99 ms | found |")
            print("|---|---|---|---|")
            for name, wanted in (
                ("one score", None),
                ("all curves and single changes", {"curves": list(X.columns), "pairs": False}),
                ("single changes", {"curves": [], "pairs": False}),
                ("single changes and pairs", {"curves": [], "pairs": True}),
            ):
                rows = [{"features": row.to_dict()} for _, row in at_risk.iterrows()]
                if wanted is None:
                    bodies = [{"model": "what-if", "entities": [row]} for row in rows]
                    times, _ = measured(server, "/v1/score", bodies)
                    found = ""
                else:
                    bodies = [{**row, **wanted} for row in rows]
                    times, answers = measured(server, "/v1/models/what-if/what-if", bodies)
                    found = summary(answers)
                p99 = np.quantile(times, 0.99)
                print(f"| {name} | {statistics.median(times):.1f} | {p99:.1f} | {found} |", flush=True)
        steps = {(split, at) for split, at in zip(*splits(model))}
        print(f"\n{len(steps)} different thresholds in the model")


def summary(answers):
    """What the answers found, in words."""
    points = statistics.mean(sum(len(curve["points"]) for curve in answer["curves"]) for answer in answers)
    singles = sum(any(len(change["features"]) == 1 for change in answer["changes"]) for answer in answers)
    pairs = [
        answer for answer in answers if any(len(change["features"]) == 2 for change in answer["changes"])
    ]
    complete = sum(answer.get("pairs_complete", True) for answer in answers)
    words = [f"{points:.0f} points"] if points else []
    words += [f"one change for {singles}", f"a smaller pair for {len(pairs)}"]
    words += [f"search complete for {complete} of {len(answers)}"]
    return ", ".join(words)


def splits(model):
    frame = model.trees_to_dataframe()
    inner = frame[frame["Feature"] != "Leaf"]
    return inner["Feature"], inner["Split"]


if __name__ == "__main__":
    main()
