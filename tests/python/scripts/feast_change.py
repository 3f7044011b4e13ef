"""Run by the Python that has Feast: what a team changes in a registry while models are served.

feast_change.py REPO ttl SECONDS      another TTL for the view "usage"
feast_change.py REPO numbers          a view "numbers", whose customers are whole numbers
feast_change.py REPO drop             takes the view "usage" out of the registry
"""

import datetime as dt
import sys

from feast import Entity, FeatureStore, FeatureView, Field, ValueType
from feast.types import Int64

store = FeatureStore(repo_path=sys.argv[1])
if sys.argv[2] == "ttl":
    usage = store.get_feature_view("usage")
    usage.ttl = dt.timedelta(seconds=int(sys.argv[3]))
    store.apply([usage])
elif sys.argv[2] == "numbers":
    number = Entity(name="customer_number", join_keys=["customer_id"], value_type=ValueType.INT64)
    schema = [Field(name="customer_id", dtype=Int64), Field(name="visits_30d", dtype=Int64)]
    store.apply(
        [
            number,
            FeatureView(
                name="numbers",
                entities=[number],
                schema=schema,
                source=store.get_feature_view("usage").batch_source,
            ),
        ]
    )
else:
    # Its data stays in the store.
    store.registry.delete_feature_view("usage", store.project)
