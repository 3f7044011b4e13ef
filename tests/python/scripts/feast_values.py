"""Run by the Python that has Feast: puts single values into a real Feast online store (SQLite).

feast_values.py FOLDER      FOLDER/values.json: {id: [feature, value]}
"""

import datetime as dt
import json
import sys
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float64, Int64, String, UnixTimestamp

folder = Path(sys.argv[1])
values = json.loads((folder / "values.json").read_text())
TYPES = {"tenure": Int64, "price": Float64, "plan": String, "vip": Bool, "seen": UnixTimestamp}
config = {
    "project": "values",
    "provider": "local",
    "registry": str(folder / "registry.db"),
    "online_store": {"type": "sqlite", "path": str(folder / "online.db")},
    "entity_key_serialization_version": 3,
}
(folder / "feature_store.yaml").write_text(json.dumps(config))
now = pd.Timestamp.now(tz="UTC").floor("s")
frame = pd.DataFrame({"id": list(values), "as_of": now})
for name in TYPES:
    column = [value if feature == name else None for feature, value in values.values()]
    if name == "seen":
        frame[name] = pd.to_datetime(pd.Series(column, dtype="float64"), unit="s", utc=True)
    elif name == "price":
        frame[name] = pd.Series(column, dtype="object").astype(float)
    else:
        frame[name] = pd.Series(column, dtype={"tenure": "Int64", "vip": "boolean"}.get(name, "object"))
frame.to_parquet(folder / "values.parquet")
source = FileSource(path=str(folder / "values.parquet"), timestamp_field="as_of")
view = FeatureView(
    name="all",
    entities=[Entity(name="customer", join_keys=["id"], value_type=ValueType.STRING)],
    ttl=dt.timedelta(0),
    schema=[Field(name=name, dtype=kind) for name, kind in TYPES.items()],
    source=source,
)
store = FeatureStore(repo_path=str(folder))
store.apply([Entity(name="customer", join_keys=["id"], value_type=ValueType.STRING), view,
             FeatureService(name="all", features=[view])])  # fmt: skip
store.materialize(now - dt.timedelta(days=1), now + dt.timedelta(days=1))
