"""The margins of the prediction log, judged by the raw margins of XGBoost, LightGBM and CatBoost."""

import json

import catboost
import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost

from evergreen_serving import save_bundle
from evergreen_testing.bundle_models import CASES, NUMBERS, ROWS, frame, labels
from evergreen_testing.prediction_logs import files, log_settings, replay, table
from evergreen_testing.server_process import serving

#: A link function of each kind, a base score, averaged trees, a border of classes, and classes without one margin.
CHOSEN = {
    "xgboost binary:logistic": "score",
    "xgboost count:poisson": "score",
    "xgboost no rounds, base": "score",
    "xgboost multi:softprob": "none",
    "lightgbm binary": "score",
    "lightgbm sigmoid": "score",
    "lightgbm rf": "score",
    "lightgbm sqrt": "score",
    "lightgbm multiclass": "none",
    "catboost Logloss": "score",
    "catboost RMSE": "score",
    "catboost threshold": "score",
    "catboost MultiClass": "none",
}
#: More than the log computes at a time.
REPEATS = 2


def folder_name(case):
    return "".join(letter if letter.isalnum() else "-" for letter in case)


def raw_margins(model, rows):
    """Returns the library's margins as 64-bit numbers."""
    if isinstance(model, xgboost.Booster):
        margins = model.predict(xgboost.DMatrix(rows), output_margin=True)
    elif isinstance(model, lightgbm.Booster):
        margins = model.predict(rows, raw_score=True)
    else:
        assert isinstance(model, catboost.CatBoost)
        margins = model.predict(rows, prediction_type="RawFormulaVal")
    return np.asarray(margins).astype(np.float64)


@pytest.fixture(scope="module")
def logged(evergreen, tmp_path_factory):
    """The log of a server with all models, each asked for the same rows; and the models, bundles and rows."""
    folder = tmp_path_factory.mktemp("margins")
    rows = frame(NUMBERS, missing=True)
    models = {}
    for case in CASES:
        if case.name in CHOSEN:
            model = case.train(rows.copy(), labels(rows, case.labels))
            path = folder / "models" / folder_name(case.name) / "1"
            bundle = save_bundle(model, rows, path, **case.options)
            models[case.name] = (model, bundle)
    config = folder / "evergreen.toml"
    config.write_text(log_settings(folder / "log"))
    records = json.loads(rows.to_json(orient="records", double_precision=15))
    with serving(evergreen, folder, models=folder / "models", customers=None, config=config) as server:
        for name in models:
            entities = [{"id": id, "features": row} for id, row in enumerate(records)]
            for _ in range(REPEATS):
                body = {"model": folder_name(name), "entities": entities}
                answer = server.http.post("/v1/score", json=body)
                assert answer.status_code == 200, answer.text
        assert server.stop() == 0
    return folder / "log", models


@pytest.mark.parametrize("case", CHOSEN)
def test_margins_are_those_of_the_library_to_the_bit(evergreen, logged, case):
    log, models = logged
    model, bundle = models[case]
    log /= f"model={folder_name(case)}"
    found = table(log)
    assert found.num_rows == REPEATS * ROWS and found["margin"].type == pa.float64()
    if CHOSEN[case] == "none":
        assert found["margin"].null_count == found.num_rows
    else:
        # The inputs as the model saw them.
        seen = found.select([f"f:{name}" for name in NUMBERS]).rename_columns(list(NUMBERS)).to_pandas()
        expected = raw_margins(model, seen)
        margins = found["margin"].to_numpy()
        assert len(np.unique(margins)) > 10 or "no rounds" in case
        assert (margins.view(np.uint64) == expected.view(np.uint64)).all()
    (report,) = replay(evergreen, log, bundle)
    assert report["same"] and report["rows"] == found.num_rows and report["differing_rows"] == 0


def test_replay_names_rows_whose_margin_differs_and_reads_logs_without_margins(evergreen, logged, tmp_path):
    log, models = logged
    _, bundle = models["xgboost binary:logistic"]
    (path,) = files(log / "model=xgboost-binary-logistic")
    whole = pq.ParquetFile(path).read()
    place = whole.column_names.index("margin")
    margins = whole["margin"].to_numpy().copy()
    # The probability of a 32-bit margin does not show so small a change.
    margins[3] = np.nextafter(margins[3], 1.0)
    changed = tmp_path / "changed.parquet"
    pq.write_table(whole.set_column(place, whole.schema.field("margin"), pa.array(margins)), changed)
    (report,) = replay(evergreen, changed, bundle, code=1)
    (row,) = report["differing"]
    assert row["sequence"] == whole["sequence"][3].as_py() and report["differing_rows"] == 1
    assert row["logged"]["margin"] == margins[3] != row["replayed"]["margin"] == whole["margin"][3].as_py()
    assert row["logged"]["score"] == row["replayed"]["score"]
    older = tmp_path / "older.parquet"
    pq.write_table(whole.drop_columns(["margin", "feature_times"]), older)
    (report,) = replay(evergreen, older, bundle)
    assert report["same"] and report["rows"] == whole.num_rows and report["differing_rows"] == 0
