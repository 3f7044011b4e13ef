"""The sample customers as a store keeps them, and what a server answers about them."""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import xgboost

from evergreen_testing.paths import CUSTOMERS, MODELS
from evergreen_testing.server_process import Server

FRAME = pd.read_parquet(CUSTOMERS)
#: The column of the ids.
ID = "customer_id"
IDS: list[str] = list(FRAME[ID])
#: The columns of the features: all but the id and `as_of`.
FEATURES: list[str] = [column for column in FRAME.columns if column not in (ID, "as_of")]
#: One dictionary per customer, by column.
ROWS: list[dict[str, Any]] = FRAME.astype(object).to_dict("records")


def library_scores(frame: pd.DataFrame = FRAME) -> pd.Series:
    """Returns XGBoost's own scores of the shipped model by id, as 32-bit floats."""
    booster = xgboost.Booster(model_file=MODELS / "churn/1/model.ubj")
    assert booster.feature_names and booster.feature_types
    rows = frame[booster.feature_names].copy()
    for name, kind in zip(booster.feature_names, booster.feature_types):
        if kind == "c":
            rows[name] = pd.Categorical(rows[name], categories=sorted(FRAME[name].dropna().unique()))
    return pd.Series(booster.inplace_predict(rows), index=frame[ID])


def text(value: Any) -> str:
    """Returns a value as a program without types writes it into a hash; "" for a missing one."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


def plain(value: Any) -> Any:
    """Returns a value as JSON has it; None for a missing one."""
    if value is None or value != value:
        return None
    return value.isoformat() if isinstance(value, dt.datetime) else value


def scores(server: Server, ids: Sequence[str], **request: Any) -> list[dict[str, Any]]:
    """Scores `ids` over REST in batches of 1,000, and returns their results in order. `request` adds fields
    to each request."""
    out = []
    for start in range(0, len(ids), 1000):
        entities = [{"id": id} for id in ids[start : start + 1000]]
        answer = server.http.post("/v1/score", json={"model": "churn", "entities": entities, **request})
        assert answer.status_code == 200, answer.text
        out += answer.json()["results"]
    return out


def metric(server: Server, name: str, **labels: str) -> float:
    """Returns the sum of a metric's samples with these labels; 0 where there are none. The metric needs at
    least one label."""
    total = 0.0
    for line in server.ops.get("/metrics").text.splitlines():
        if line.startswith(name + "{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


def fill(client: Any, rows: Iterable[dict[str, Any]] = ROWS) -> None:
    """Writes customers into Redis as hashes `customer:ID`."""
    pipeline = client.pipeline(transaction=False)
    for row in rows:
        values = {name: text(value) for name, value in row.items() if name != ID}
        pipeline.hset(f"customer:{row[ID]}", mapping=values)
    pipeline.execute()


def strip(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns results without the field that tells where their features come from."""
    return [{key: value for key, value in result.items() if key != "features"} for result in results]
