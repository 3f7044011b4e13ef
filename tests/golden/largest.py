"""Trains a model of more than 100 MB of JSON and loads it with XGBoost and with the engine, in one run.

    cargo build --release --package evergreen-forest --example load_model
    python largest.py DIRECTORY [--trees 1800] [--depth 10]

Each loader runs in a process of its own, three times; the best time counts, and the process's peak memory.
"""

import argparse
import pathlib
import subprocess
import sys

import numpy as np
import xgboost as xgb

ROOT = pathlib.Path(__file__).parents[2]

LOADER = """
import resource, sys, time
import xgboost
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
best = 1e9
for _ in range(3):
    start = time.perf_counter()
    booster = xgboost.Booster(model_file=sys.argv[1])
    best = min(best, time.perf_counter() - start)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(f"XGBoost {xgboost.__version__}: {best:.3f} s, peak {(after - before) * 1024} bytes above its start")
"""


def train(directory, trees, depth):
    """Trains on noise, of which trees can never learn enough, and saves in both encodings."""
    paths = [directory / "largest.json", directory / "largest.ubj"]
    if not all(path.exists() for path in paths):
        rng = np.random.default_rng(1)
        # Ten features train three times as fast as thirty, and the file is as large.
        matrix = rng.normal(size=(40_000, 10)).astype(np.float32)
        train_on = xgb.QuantileDMatrix(matrix, rng.normal(size=40_000) + matrix[:, 0])
        params = {"max_depth": depth, "tree_method": "hist", "eta": 0.05, "min_child_weight": 1, "nthread": 2}
        booster = xgb.train(params, train_on, trees)
        for path in paths:
            booster.save_model(str(path))
    return paths


def main():
    """Trains once, then compares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--trees", type=int, default=1800)
    parser.add_argument("--depth", type=int, default=10)
    options = parser.parse_args()
    for path in train(options.directory, options.trees, options.depth):
        print(path.name, path.stat().st_size, "bytes")
        subprocess.run([sys.executable, "-c", LOADER, str(path)], check=True)
        loader = ROOT / "target/release/examples/load_model"
        subprocess.run([str(loader), str(path), "3"], check=True)


if __name__ == "__main__":
    main()
