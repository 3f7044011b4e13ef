"""Scores by Spark: executors of their own, two versions of PySpark, and Spark Connect, against the libraries' own bits."""

import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import xgboost

from evergreen_serving import save_bundle
from evergreen_testing.object_store import BUCKET, object_store
from evergreen_testing.paths import ROOT
from evergreen_testing.python_package import build_wheel

ROWS = 1200
PLANS = ["basic", "плюс", "pro"]
LIBRARIES = ["catboost", "lightgbm", "xgboost"]
#: Two executors, each a process with Python workers of its own; a local master would hide what is not sent to them.
CLUSTER = "local-cluster[2,1,1024]"
KINDS = {
    "4": ("SPARK_4_PYTHON", CLUSTER),
    "3.5": ("SPARK_35_PYTHON", CLUSTER),
    "connect": ("SPARK_4_PYTHON", "connect"),
}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with what the wheel installs."""
    folder = tmp_path_factory.mktemp("package")
    with zipfile.ZipFile(build_wheel("serving")) as content:
        content.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The rows as pandas has them, and the path of a Parquet file in which half of the missing numbers are null and half NaN."""
    rng = np.random.default_rng(11)
    rows = pd.DataFrame(
        {
            "spend": rng.gamma(2, 50, ROWS),
            "ratio": rng.normal(0, 1, ROWS),
            "calls": rng.poisson(2, ROWS),
            "flag": rng.random(ROWS) < 0.5,
            "plan": rng.choice(PLANS, ROWS),
        }
    )
    for name in ("spend", "ratio"):
        rows.loc[rng.random(ROWS) < 0.1, name] = np.nan
    columns = {name: pa.array(rows[name], from_pandas=False) for name in rows}
    for name in ("spend", "ratio"):
        nan = pc.is_nan(columns[name]).to_numpy(zero_copy_only=False)
        columns[name] = pa.array(rows[name], mask=nan & (np.arange(ROWS) % 2 == 0))
        assert columns[name].null_count > 20 and nan.sum() > columns[name].null_count
    columns["position"] = pa.array(np.arange(ROWS))
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    return rows, path


@pytest.fixture(scope="module")
def located(run, models, tmp_path_factory):
    """A signed bundle with its public key, and the URI of a bundle that is in object storage only."""
    folder = tmp_path_factory.mktemp("located")
    key = run("key", "team", "--signing", folder / "team.pem").stdout.split()[0]
    run(
        "publish",
        "--sign",
        folder / "team.pem",
        "--model",
        "xgboost",
        models[0] / "xgboost/1",
        folder / "models",
    )
    # Another contract, so that no worker has it already.
    bundle = shutil.copytree(models[0] / "xgboost/1", folder / "stored/1")
    contract = (bundle / "bundle.toml").read_text(encoding="utf-8")
    (bundle / "bundle.toml").write_text("# stored\n" + contract, encoding="utf-8")
    with object_store(folder) as store:
        store.put(bundle, "stored/1")
        uri = f"s3://tester:secret@{BUCKET}/stored/1?scheme=http&region=us-east-1"
        yield folder / "models/xgboost/1", key, f"{uri}&endpoint_override=127.0.0.1:{store.port}"


@pytest.fixture(scope="module")
def models(table, tmp_path_factory):
    """The folder with a bundle of each library, and the scores and margins that each library gives."""
    rows, _ = table
    folder = tmp_path_factory.mktemp("bundles")
    label = (rows["spend"].fillna(90) + 40 * rows["ratio"].fillna(0) + 20 * rows["calls"] > 140).astype(int)
    coded = rows.assign(plan=pd.Categorical(rows["plan"], categories=PLANS))
    matrix = xgboost.DMatrix(coded, label, enable_categorical=True)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 5}, matrix, 40)
    gbm = lightgbm.train({"objective": "binary", "verbosity": -1}, lightgbm.Dataset(coded, label), 40)
    cat = catboost.CatBoostClassifier(iterations=40, depth=5, verbose=False, one_hot_max_size=9)
    cat.fit(rows, label, cat_features=["plan"])
    bands = {"low": 0.0, "high": 0.5}
    save_bundle(booster, coded, folder / "xgboost/1", bands=bands)
    save_bundle(gbm, coded, folder / "lightgbm/1", bands=bands)
    save_bundle(cat, rows, folder / "catboost/1", bands=bands)
    scores = {
        "xgboost": booster.predict(matrix),
        "lightgbm": gbm.predict(coded),
        "catboost": cat.predict_proba(rows)[:, 1],
    }
    margin = booster.predict(matrix, output_margin=True)
    contributions = booster.predict(matrix, pred_contribs=True)
    return folder, scores, margin, contributions


#: Those of this run; `tests/run --spark` has all of them.
RUNS = os.environ.get("SPARK_RUNS", "4").split()


@pytest.fixture(scope="module", params=RUNS)
def report(request, models, located, table, package, tmp_path_factory):
    """What a run of Spark found."""
    variable, master = KINDS[request.param]
    python = os.environ.get(variable)
    assert python, f"{variable} does not name the Python of an environment with PySpark; tests/run makes it"
    folder = tmp_path_factory.mktemp("spark")
    environment = os.environ | {
        "PYTHONPATH": str(package),
        "PYSPARK_PYTHON": python,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_WORKER_DIR": str(folder / "work"),
        "SPARK_LOCAL_DIRS": str(folder / "local"),
    }
    script = ROOT / "tests/python/scripts/spark_scores.py"
    command = [python, script, master, models[0], *located, table[1], folder / "report.json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-8000:]
    found = json.loads((folder / "report.json").read_text()) | {"kind": request.param}
    assert found["pyspark"].startswith("3.5" if request.param == "3.5" else "4.")
    return found


def differing(positions, found, truth):
    """Counts scores whose bits are not those of the library for the row with this position."""
    kind, whole = (np.float32, np.uint32) if truth.dtype == np.float32 else (np.float64, np.uint64)
    found = np.array(found, dtype=kind)
    return int((found.view(whole) != truth[np.array(positions)].view(whole)).sum())


def test_no_bit_differs_for_any_partitions_and_batches_and_rows_keep_their_order(report, models, table):
    missing = table[0][["spend", "ratio"]].isna().sum(axis=1).to_numpy()
    assert len(report["combinations"]) == 9
    for combination in report["combinations"]:
        columns = combination["columns"]
        place = combination["partitions"], combination["batch"]
        assert combination["in_order"], place
        assert sorted(columns["position"]) == list(range(ROWS)), place
        for library in LIBRARIES:
            truth = models[1][library]
            assert differing(columns["position"], columns[f"{library}_score"], truth) == 0, (place, library)
            assert columns[f"{library}_missing"] == missing[columns["position"]].tolist()
            expected = "float" if truth.dtype == np.float32 else "double"
            assert combination["types"][f"{library}_score"] == expected


def test_other_outputs_are_the_librarys_too(report, models, table):
    _, scores, margin, contributions = models
    found = report["kinds"]
    assert report["kept"] == [*table[0].columns, "position", "score", "margin", "band", "contributions"]
    assert differing(found["position"], found["score"], scores["xgboost"]) == 0
    assert differing(found["position"], found["margin"], margin) == 0
    expected = ["high" if score >= 0.5 else "low" for score in scores["xgboost"][found["position"]]]
    assert found["band"] == expected
    names = [*table[0].columns, "bias"]
    given = np.column_stack([found[name] for name in names])
    assert np.abs(given - contributions[found["position"]]).max() < 2e-5
    assert differing(report["by_uri"]["position"], report["by_uri"]["score"], scores["xgboost"]) == 0
    # A stream that ends, and a model file without a contract.
    assert sorted(report["streamed"]["position"]) == list(range(ROWS))
    assert differing(report["streamed"]["position"], report["streamed"]["score"], scores["xgboost"]) == 0
    if report["kind"] == "connect":
        assert re.search(
            r"^ValueError: bundle: .*xgboost.1 is a path on the driver, .*file:///", report["stream_sends"]
        )
    else:
        assert report["stream_sends"] is None
    bare = 1 / (1 + np.exp(-np.array(report["bare"]["margin"])))
    assert len(bare) == ROWS and np.abs(bare - scores["catboost"][report["bare"]["position"]]).max() < 1e-12
    assert report["empty"] == []
    kept = report["kept_types"]
    assert kept["same"] and kept["wrong"] == 0
    assert differing(kept["columns"]["position"], kept["columns"]["score"], scores["xgboost"]) == 0


def test_signed_bundles_and_object_storage(report, models):
    for name in ("signed", "stored", "stored_scorer"):
        assert differing(report[name]["position"], report[name]["score"], models[1]["xgboost"]) == 0, name
    assert len(report["unsigned"]) == 3
    for error in report["unsigned"]:
        assert "bundle.toml.sig is missing: trusted_keys asks for a signature" in error, error


def test_files_are_scored_by_the_workers_that_read_them(report, models):
    files = report["files"]
    scored = files["scored"]
    assert scored["position"] == list(range(ROWS)), "in the order of files and rows"
    assert scored["part"] == ["a"] * (ROWS // 2) + ["b"] * (ROWS // 2)
    assert set(scored["note"]) == set(PLANS)
    # Row groups of 100 rows, 6 in a file, at least 250 rows in a task.
    assert files["sizes"] == [300, 300, 300, 300]
    for library in LIBRARIES:
        assert differing(scored["position"], scored[f"{library}_score"], models[1][library]) == 0, library
    expected = {"position": "bigint", "part": "string", "note": "string", "xgboost_score": "float"}
    assert expected.items() <= files["types"].items()
    assert files["all"][-1] == "score" and "spend" in files["all"]
    stored = files["stored"]
    assert differing(stored["position"], stored["score"], models[1]["xgboost"]) == 0
    for name, pattern in {
        "none": r"^FileNotFoundError: .*nowhere: no such file or folder",
        "empty": r"^FileNotFoundError: expected at least one Parquet file or folder, found none",
        "id": r"^ValueError: id: 'customer' is not a column; the columns are spend, ratio",
        "text": r"^ValueError: .*_SUCCESS: not Parquet",
        "cell": r"broken\.parquet, row group 0, rows from 0 on: row 7, column `calls`: .*0\.5",
        "rows": r"^ValueError: rows_per_task: expected 1 or more, found 0",
        "running": r"^ValueError: .*job: the folder has part files but no _SUCCESS: .*still running",
    }.items():
        error = files["errors"][name]
        assert error and re.search(pattern, error, re.DOTALL), (name, error)
    for name in ("anyway", "file", "ended", "signed"):
        assert files["errors"][name] is None, (name, files["errors"][name])
    pattern = r"^ValueError: id: column 'account' is uint\d+, .*cast it to int64 or string"
    assert len(files["errors"]["unsigned"]) == 4
    for error in files["errors"]["unsigned"]:
        assert error and re.search(pattern, error), error


def test_a_worker_loads_a_model_once(report):
    # Three bundles and a model file; the same by a URI is the same by its sum.
    assert report["workers"] and all(models <= 4 for _, models in report["workers"])


def test_what_does_not_fit_is_refused_before_the_job_begins(report):
    errors = report["errors"]
    for name, pattern in {
        "type": r"^ValueError: row 0, column `spend`: expected a number, found the text .*spend string",
        "missing": r"^ValueError: .*ratio",
        "id": r"^ValueError: id: 'customer' is not a column; the columns are spend, ratio",
        "twice": r"^ValueError: 'score' is both a kept column and an output",
        "kind": r"^ValueError: kind: expected one of score, .* found.*scores",
        "none": r"^ValueError: expected at least one model",
    }.items():
        assert errors[name] and re.search(pattern, errors[name]), (name, errors[name])
    # A value that does not fit is only seen in the job: its row is named.
    assert re.search(r"partition 0, batch 0 of 1000 rows: .*row 7.*calls.*2?\.5", errors["cell"], re.DOTALL)
    nulls = report["nulls"]
    at = nulls["position"].index(7)
    assert nulls["score"][at] is None and "calls" in nulls["error"][at]
    assert sum(score is None for score in nulls["score"]) == 1


def test_a_column_function_gives_the_same_where_the_version_has_it(report, models):
    if report["pyspark"].startswith("3.5"):
        assert "needs PySpark 4.1" in report["column"]
        return
    column = report["column"]
    assert differing(column["position"], column["score"], models[1]["xgboost"]) == 0
    assert Path(models[0]).exists()
