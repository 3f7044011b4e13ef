"""Run by the Python that has Feast: makes the output of a scoring job the source of a feature view, copies it to the
online store as its command does, and writes down what Feast's own SDK then gives for some customers.

    feast_scores.py FOLDER SCORES ID...      SCORES: a folder of Parquet files with id, probability, band and scored_at
"""

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float32, String

folder, scores, ids = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
config = {
    "project": "churn",
    "provider": "local",
    "registry": str(folder / "registry.db"),
    "online_store": {"type": "sqlite", "path": str(folder / "online.db")},
    "entity_key_serialization_version": 3,
}
(folder / "feature_store.yaml").write_text(json.dumps(config))
customer = Entity(name="customer", join_keys=["id"], value_type=ValueType.STRING)
view = FeatureView(
    name="churn_scores",
    entities=[customer],
    ttl=dt.timedelta(days=2),
    schema=[Field(name="probability", dtype=Float32), Field(name="band", dtype=String)],
    source=FileSource(path=scores, timestamp_field="scored_at"),
)
store = FeatureStore(repo_path=str(folder))
store.apply([customer, view])
feast = Path(sys.executable).with_name("feast")
end = dt.datetime.now(dt.UTC).isoformat()
subprocess.run([feast, "--chdir", folder, "materialize-incremental", end], check=True, capture_output=True)
answer = store.get_online_features(
    features=["churn_scores:probability", "churn_scores:band"], entity_rows=[{"id": id} for id in ids]
)
(folder / "online.json").write_text(json.dumps(answer.to_dict()))
