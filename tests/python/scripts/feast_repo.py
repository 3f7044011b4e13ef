"""Run by the Python that has Feast: puts the sample customers into a real Feast online store, and writes down what
Feast's own SDK gives for every customer and feature.

    feast_repo.py FOLDER KIND CONNECTION CUSTOMERS      KIND: redis, postgres or sqlite; CONNECTION: a port
"""

import datetime as dt
import json
import sys
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float64, Int64, String

folder, kind, connection, customers = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
VIEWS = {
    "profile": (
        ["plan", "segment", "region", "yearly_contract", "months_to_renewal", "auto_pay", "cohort_age_months"],
        0,
    ),
    "billing": (
        ["times_returned", "days_since_return", "mattresses", "mattresses_change_90d", "monthly_price",
         "price_change_180d", "late_payments_180d", "unpaid_invoices", "days_late_180d"],
        0,
    ),
    # Its values of long ago are stale by Feast's own rules.
    "usage": (
        ["visits_30d", "visits_trend", "days_since_visit", "subscribe_hovers_30d", "support_calls_30d",
         "support_calls_90d", "support_minutes_90d", "nps"],
        3600,
    ),
}  # fmt: skip
TYPES = {"object": String, "str": String, "string": String, "bool": Bool, "int64": Int64, "float64": Float64}

online = {
    "redis": {"type": "redis", "connection_string": f"127.0.0.1:{connection}"},
    "postgres": {"type": "postgres", "host": "127.0.0.1", "port": int(connection or 0), "user": "evergreen",
                 "password": "x", "database": "postgres", "db_schema": "feast", "sslmode": "disable"},
    "sqlite": {"type": "sqlite", "path": str(folder / "online.db")},
}[kind]  # fmt: skip
config = {
    "project": "churn",
    "provider": "local",
    "registry": str(folder / "registry.db"),
    "online_store": online,
    "entity_key_serialization_version": 3,
}
(folder / "feature_store.yaml").write_text(json.dumps(config))

frame = pd.read_parquet(customers)
# What a store really holds: a customer that one view lacks, and nulls of both kinds.
frame["as_of"] = pd.Timestamp.now(tz="UTC").floor("s") - pd.Timedelta(minutes=5)
frame.loc[frame.index % 10 == 3, "as_of"] -= pd.Timedelta(days=2)
frame.to_parquet(folder / "customers.parquet")
source = FileSource(path=str(folder / "customers.parquet"), timestamp_field="as_of")
entity = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
views = [
    FeatureView(
        name=name,
        entities=[entity],
        ttl=dt.timedelta(seconds=ttl),
        schema=[Field(name=column, dtype=TYPES[str(frame[column].dtype)]) for column in columns],
        source=source,
    )
    for name, (columns, ttl) in VIEWS.items()
]
store = FeatureStore(repo_path=str(folder))
store.apply([entity, *views, FeatureService(name="churn_v1", features=views)])
for name, (columns, _) in VIEWS.items():
    rows = frame[["customer_id", "as_of", *columns]]
    if name == "usage":
        rows = rows[rows.index % 7 != 5]
    store.write_to_online_store(name, df=rows.rename(columns={"as_of": "as_of"}))

ids = [*frame["customer_id"], "C-nobody"]
refs = [f"{view}:{column}" for view, (columns, _) in VIEWS.items() for column in columns]
response = store.get_online_features(
    features=refs, entity_rows=[{"customer_id": id} for id in ids], full_feature_names=True
)
proto, out = response.proto, {}
names = list(proto.metadata.feature_names.val)
values = response.to_dict()
for position, name in enumerate(names):
    if name == "customer_id":
        continue
    statuses = [int(status) for status in proto.results[position].statuses]
    times = [time.seconds for time in proto.results[position].event_timestamps]
    out[name.split("__", 1)[1]] = {"values": values[name], "statuses": statuses, "times": times}
(folder / "expected.json").write_text(json.dumps({"ids": ids, "features": out}))
