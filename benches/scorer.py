"""Compares `Scorer` with each library's own predict: 1, 100 and 1,000,000 rows, the same bits.

    python/build && pip install target/wheels/*.whl hessboost
    python benches/scorer.py [--rows 1000000] [--trees 200] [--rounds 9] [--json FILE]

Models of 30 features are trained with XGBoost, LightGBM and CatBoost. In each round every way takes its turn, so that a
change of the machine's load meets all alike; the table gives medians and the ratio of each way to `Scorer` on the same
input. A way that gives other bits than its library stops the run. `threads` is what each may use.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import xgboost

from evergreen_serving import Scorer, save_bundle

FEATURES = 30
#: A measurement of less time than this repeats the call.
LEAST_SECONDS = 0.02
Way = tuple[str, Callable[[], Any]]


def sample(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(rows, FEATURES)).astype("float32")
    numbers[random.random(numbers.shape) < 0.05] = np.nan
    return pd.DataFrame(numbers, columns=[f"f{number}" for number in range(FEATURES)])


def label(rows: pd.DataFrame) -> Any:
    random = np.random.default_rng(1)
    signal = rows.fillna(0).to_numpy() @ random.normal(size=FEATURES) + random.normal(size=len(rows))
    return (signal > 0).astype(int)


def trained(trees: int, threads: int) -> dict[str, Any]:
    rows = sample(5_000, 0)
    y = label(rows)
    parameters = {"objective": "binary:logistic", "max_depth": 6, "nthread": threads}
    return {
        "xgboost": xgboost.train(parameters, xgboost.DMatrix(rows, y), trees),
        "lightgbm": lightgbm.train(
            {"objective": "binary", "num_leaves": 63, "verbosity": -1, "num_threads": threads},
            lightgbm.Dataset(rows, y),
            trees,
        ),
        "catboost": catboost.CatBoostClassifier(
            iterations=trees, depth=6, verbose=False, thread_count=threads, allow_writing_files=False
        ).fit(rows, y),
    }


def ways(library: str, model: Any, scorer: Any, rows: pd.DataFrame, threads: int) -> dict[str, list[Way]]:
    """Returns, by kind of input, `Scorer` and the library's ways to score it."""
    array = np.ascontiguousarray(rows.to_numpy())
    batch = pa.RecordBatch.from_pandas(rows, preserve_index=False)
    table = pa.Table.from_batches([batch])
    mine: dict[str, Way] = {
        "array": ("Scorer", lambda: scorer.score(array, threads=threads)),
        "table": ("Scorer", lambda: scorer.score(batch, threads=threads)),
        "frame": ("Scorer", lambda: scorer.score(rows, threads=threads)),
    }
    # Arrays have no names to compare.
    plain = {"validate_features": False}
    theirs: dict[str, list[Way]] = {"array": [], "table": [], "frame": []}
    if library == "xgboost":
        theirs["array"] = [
            ("DMatrix + predict", lambda: model.predict(xgboost.DMatrix(array, nthread=threads), **plain)),
            ("inplace_predict", lambda: model.inplace_predict(array, **plain)),
        ]
        theirs["table"] = [
            ("DMatrix + predict", lambda: model.predict(xgboost.DMatrix(table, nthread=threads)))
        ]
        theirs["frame"] = [
            ("DMatrix + predict", lambda: model.predict(xgboost.DMatrix(rows, nthread=threads))),
            ("inplace_predict", lambda: model.inplace_predict(rows)),
        ]
    elif library == "lightgbm":
        theirs["array"] = [("predict", lambda: model.predict(array, num_threads=threads))]
        theirs["table"] = [("predict", lambda: model.predict(table, num_threads=threads))]
        theirs["frame"] = [("predict", lambda: model.predict(rows, num_threads=threads))]
    else:
        probability = {"prediction_type": "Probability", "thread_count": threads}
        theirs["array"] = [("predict", lambda: model.predict(array, **probability)[:, 1])]
        theirs["frame"] = [("predict", lambda: model.predict(rows, **probability)[:, 1])]
    if library != "catboost" and importlib.util.find_spec("hessboost"):
        theirs["array"].append(("hessboost", by_hessboost(model, array)))
    return {kind: [mine[kind], *theirs[kind]] for kind in mine if theirs[kind]}


def by_hessboost(model: Any, array: Any) -> Callable[[], Any]:
    """Returns the way of hessboost, which reads the files of XGBoost and LightGBM."""
    import hessboost

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ("model.json" if isinstance(model, xgboost.Booster) else "model.txt")
        model.save_model(file)
        other = hessboost.Booster(str(file))
    return lambda: other.predict(array)


def numbers(result: Any) -> Any:
    """Returns the scores of any kind of result."""
    if isinstance(result, pa.RecordBatch):
        return result["score"].to_numpy()
    return result["score"].to_numpy() if isinstance(result, pd.DataFrame) else np.asarray(result)


def bits(values: Any) -> Any:
    return np.ascontiguousarray(values).view(f"uint{8 * values.itemsize}")


def measure(call: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def compare(ways: list[Way], rounds: int) -> dict[str, float]:
    """Returns the median seconds of each way; all take turns."""
    results = [numbers(call()) for _, call in ways]
    for (name, _), result in zip(ways, results):
        differing = int((bits(result.astype(results[0].dtype)) != bits(results[0])).sum())
        if differing and name != "hessboost":
            sys.exit(f"{name}: {differing} of {len(result)} scores differ from Scorer's")
    repeats = {name: max(1, int(LEAST_SECONDS / max(measure(call, 1), 1e-7))) for name, call in ways}
    times: dict[str, list[float]] = {name: [] for name, _ in ways}
    for _ in range(rounds):
        for name, call in ways:
            times[name].append(measure(call, repeats[name]))
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--library", choices=("xgboost", "lightgbm", "catboost"), help="only this one")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()

    report = []
    print(f"{options.trees} trees, {FEATURES} features, {options.threads} threads, {options.rounds} rounds")
    print(f"{'library':<10}{'input':<8}{'rows':>9}  {'way':<20}{'median':>12}{'of Scorer':>11}")
    models = trained(options.trees, options.threads)
    with tempfile.TemporaryDirectory() as folder:
        for library, model in models.items():
            if options.library not in (None, library):
                continue
            scorer = Scorer.load(save_bundle(model, sample(2_000, 3), Path(folder) / library / "1"))
            for count in (1, 100, options.rows):
                for kind, found in ways(library, model, scorer, sample(count, 2), options.threads).items():
                    medians = compare(found, options.rounds)
                    for name, seconds in medians.items():
                        ratio = seconds / medians["Scorer"]
                        taken = f"{seconds * 1e6:>9,.1f} µs"
                        print(f"{library:<10}{kind:<8}{count:>9,}  {name:<20}{taken}{ratio:>11.2f}")
                        row = {"library": library, "input": kind, "rows": count, "way": name}
                        report.append({**row, "seconds": seconds, "ratio": ratio})
    print("load:", " ".join(f"{load:.1f}" for load in os.getloadavg()))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
