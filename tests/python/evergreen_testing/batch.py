"""Models and rows for tests of `evergreen score`, and helpers that run it and read what it writes."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xgboost

from evergreen_serving import save_bundle

FEATURES = list("abcde")
PLANS = ["basic", "plus", "pro"]


def make_rows(count: int, seed: int = 3) -> pd.DataFrame:
    """Returns rows with an id, five numbers and a category; some cells are missing."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(count, len(FEATURES))).astype("float32")
    frame = pd.DataFrame(numbers, columns=FEATURES)
    frame = frame.mask(rng.random(frame.shape) < 0.1)
    frame["plan"] = pd.Categorical(rng.choice(PLANS, count), categories=PLANS)
    frame.insert(0, "id", [f"C-{number:07}" for number in range(count)])
    return frame


def make_booster(frame: pd.DataFrame, rounds: int = 20, seed: int = 4) -> xgboost.Booster:
    """Trains a classifier on the rows."""
    rng = np.random.default_rng(seed)
    signal = frame[FEATURES].fillna(0).sum(axis=1).to_numpy() + (frame["plan"] == "pro").to_numpy()
    label = (signal + rng.normal(size=len(frame)) > 0).astype(int)
    data = xgboost.DMatrix(frame[[*FEATURES, "plan"]], label, enable_categorical=True)
    parameters = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1, "seed": seed}
    return xgboost.train(parameters, data, rounds)


def make_bundle(
    folder: Path, booster: xgboost.Booster, frame: pd.DataFrame, version: int = 1, **more: Any
) -> Path:
    """Writes version `version` of the model `risk` into the repository `folder`."""
    bands = {"low": 0.0, "mid": 0.3, "high": 0.6}
    path = folder / "risk" / str(version)
    save_bundle(
        booster, frame[[*FEATURES, "plan"]], path, entity="id", name="risk", bands=bands, min_known=0, **more
    )
    return path


def predict(booster: xgboost.Booster, frame: pd.DataFrame, **more: Any) -> "np.ndarray[Any, Any]":
    """Returns the library's own prediction."""
    rows = frame[[*FEATURES, "plan"]].astype({"plan": pd.CategoricalDtype(PLANS)})
    data = xgboost.DMatrix(rows.astype(dict.fromkeys(FEATURES, "float32")), enable_categorical=True)
    return np.asarray(booster.predict(data, **more))


def bits(values: Any) -> "np.ndarray[Any, Any]":
    """Returns the bits of 32-bit floats."""
    return np.asarray(values).astype("float32").view("uint32")


def score(evergreen: str, *arguments: Any, code: int = 0, **more: Any) -> "subprocess.CompletedProcess[str]":
    """Runs `evergreen score` to its end, and checks the exit code."""
    command = [evergreen, "score", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, **more)
    assert ended.returncode == code, (ended.returncode, ended.stderr)
    return ended


def read(path: Path) -> pd.DataFrame:
    """Reads a table, or the parts of a folder in their order, with its numbers exactly as written."""
    if path.is_dir():
        return pd.concat([read(part) for part in sorted(path.glob("part-*"))], ignore_index=True)
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if ".jsonl" in path.name:
        return pd.read_json(path, orient="records", lines=True, precise_float=True)
    separator = "\t" if ".tsv" in path.name else ","
    return pd.read_csv(path, float_precision="round_trip", sep=separator)


def lines(path: Path) -> list[dict[str, Any]]:
    """Reads JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]
