"""The sample customers as a store keeps them, and what the server says of them."""

import datetime as dt

import pandas as pd

from evergreen_testing.paths import CUSTOMERS

FRAME = pd.read_parquet(CUSTOMERS)
ID = "customer_id"
IDS = list(FRAME[ID])
FEATURES = [column for column in FRAME.columns if column not in (ID, "as_of")]


def text(value):
    """A value as a program without types writes it into a hash."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


def plain(value):
    """A value as JSON has it."""
    if value is None or value != value:
        return None
    return value.isoformat() if isinstance(value, dt.datetime) else value


ROWS = FRAME.astype(object).to_dict("records")


def scores(server, ids, **request):
    """The results for ids, in batches that a request may have."""
    out = []
    for start in range(0, len(ids), 1000):
        entities = [{"id": id} for id in ids[start : start + 1000]]
        answer = server.http.post("/v1/score", json={"model": "churn", "entities": entities, **request})
        assert answer.status_code == 200, answer.text
        out += answer.json()["results"]
    return out


def metric(server, name, **labels):
    """The value of a metric; 0 when there is none with these labels."""
    total = 0.0
    for line in server.ops.get("/metrics").text.splitlines():
        if line.startswith(name + "{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


def fill(client, rows=ROWS):
    pipeline = client.pipeline(transaction=False)
    for row in rows:
        pipeline.hset(f"customer:{row[ID]}", mapping={name: text(value) for name, value in row.items() if name != ID})
    pipeline.execute()


def strip(results):
    """Results without where the features come from."""
    return [{key: value for key, value in result.items() if key != "features"} for result in results]
