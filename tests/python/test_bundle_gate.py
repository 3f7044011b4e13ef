"""What save_bundle writes passes the gate, for every type of model; and the gate finds what differs."""

import json
import re
import subprocess

import lightgbm
import numpy as np
import pytest
from catboost import CatBoostClassifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from xgboost import XGBClassifier

from evergreen_serving import BundleError, save_bundle
from evergreen_testing.bundle_models import CASES, NUMBERS, ModelCase, frame, labels
from evergreen_testing.server_process import serving


def check(evergreen, path):
    """Returns the exit code of `evergreen check` and the details of its steps by name."""
    done = subprocess.run([evergreen, "check", "--json", path], capture_output=True, text=True)
    steps = json.loads(done.stdout)["steps"]
    return done.returncode, {step["step"]: step["detail"] for step in steps}


@pytest.mark.parametrize("missing", [False, True], ids=["full", "missing"])
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_save_bundle_writes_passes_the_gate(evergreen, tmp_path, case: ModelCase, missing):
    catboost = case.name.startswith("catboost")
    rows = frame(case.columns, missing and not (catboost and case.columns != NUMBERS))
    model = case.train(rows, labels(rows, case.labels))
    bundle = save_bundle(model, rows, tmp_path / "m/1", **case.options)
    code, steps = check(evergreen, bundle)
    assert code == 0, steps
    assert "margins bit-equal" in steps["golden"]
    line = json.loads((bundle / "golden.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert ("class" in line) == ("classes equal" in steps["golden"])


def test_a_wrong_class_fails_the_gate(evergreen, tmp_path):
    rows = frame(NUMBERS, missing=False)
    model = CatBoostClassifier(iterations=8, verbose=0, allow_writing_files=False).fit(
        rows, labels(rows, "two")
    )
    model.set_probability_threshold(0.2)
    bundle = save_bundle(model, rows, tmp_path / "m/1", kind="class")
    contract, file = bundle / "bundle.toml", bundle / "model.json"
    text = file.read_text()
    assert '"binclass_probability_threshold":"0.2"' in text.replace(": ", ":").replace(" :", ":")
    rewrite(contract, file, text.replace('"0.2"', '"0.9"'))
    code, steps = check(evergreen, bundle)
    assert code == 1
    assert "class: expected 1 as the library predicts, found 0" in steps["golden"]


def rewrite(contract, file, text):
    """Changes a file of a bundle, and its checksum in the contract."""
    import hashlib

    def digest():
        return hashlib.sha256(file.read_bytes()).hexdigest()

    before = digest()
    file.write_text(text, encoding="utf-8")
    contract.write_text(contract.read_text(encoding="utf-8").replace(before, digest()), encoding="utf-8")


CLASSIFIERS = {
    "xgboost": lambda: XGBClassifier(n_estimators=20, max_depth=3, n_jobs=1),
    "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=20, n_jobs=1, verbose=-1),
    "catboost": lambda: CatBoostClassifier(iterations=20, verbose=0, allow_writing_files=False),
}


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("library", CLASSIFIERS)
def test_a_calibrated_classifier_is_served_as_scikit_learn_computes_it(evergreen, tmp_path, library, method):
    rows = frame(("spend", "calls"), missing=False)
    target = labels(rows, "two")
    model = CLASSIFIERS[library]().fit(rows[:300], target[:300])
    calibrated = CalibratedClassifierCV(FrozenEstimator(model), method=method).fit(rows[300:], target[300:])
    bundle = save_bundle(model, rows, tmp_path / "models/m/1", entity="id", calibration=calibrated)
    code, steps = check(evergreen, bundle)
    assert code == 0 and re.search("scores (within|bit-equal)", steps["golden"]), steps
    contract = (bundle / "bundle.toml").read_text()
    on = "margin" if hasattr(model, "decision_function") else "probability"
    assert f'on = "{on}"' in contract

    customers = tmp_path / "customers.parquet"
    rows.assign(id=range(len(rows))).to_parquet(customers)
    with serving(evergreen, tmp_path, models=tmp_path / "models", customers=customers) as server:
        body = {"model": "m", "entities": [{"id": row} for row in range(len(rows))]}
        results = server.http.post("/v1/score", json=body).json()["results"]
    truth = calibrated.predict_proba(rows)[:, 1]
    assert np.abs([result["score"] for result in results] - truth).max() < 1e-6

    # The other scale gives other scores: the gate refuses it.
    other = {"margin": "probability", "probability": "margin"}[on]
    (bundle / "bundle.toml").write_text(contract.replace(f'on = "{on}"', f'on = "{other}"'))
    code, steps = check(evergreen, bundle)
    assert code == 1 and "check `on`, the scale of [output] calibration" in steps["golden"], steps


def test_calibrations_that_cannot_be_served_are_refused(tmp_path):
    rows = frame(("spend", "calls"), missing=False)
    target = labels(rows, "two")
    model, other = (CLASSIFIERS["xgboost"]().fit(rows[:n], target[:n]) for n in (300, 200))
    folds = CalibratedClassifierCV(CLASSIFIERS["xgboost"](), method="sigmoid", cv=3).fit(rows, target)
    alien = CalibratedClassifierCV(FrozenEstimator(other)).fit(rows[300:], target[300:])
    three = labels(rows, "three")
    several = CLASSIFIERS["lightgbm"]().fit(rows, three)
    curves = CalibratedClassifierCV(FrozenEstimator(several)).fit(rows, three)
    for calibration, says in [
        (folds, r"averages 3 models, one per fold.*FrozenEstimator\(classifier\)"),
        (alien, "fitted for another model than the one given"),
        (curves, "3 curves, one per class: expected a model of two classes"),
        (model, "calibration is a XGBClassifier: expected a fitted CalibratedClassifierCV"),
    ]:
        with pytest.raises(BundleError, match=says):
            save_bundle(model, rows, tmp_path / "b", calibration=calibration)


def test_a_bundle_without_the_new_golden_columns_still_loads(evergreen, tmp_path):
    rows = frame(("spend", "calls"), missing=False)
    model = CLASSIFIERS["xgboost"]().fit(rows, labels(rows, "two"))
    calibration = {"kind": "platt", "on": "margin", "a": -1.5, "b": 0.1}
    bundle = save_bundle(model, rows, tmp_path / "m/1", calibration=calibration)
    contract, golden = bundle / "bundle.toml", bundle / "golden.jsonl"
    contract.write_text(contract.read_text().replace('on = "margin", ', "").replace('on = "margin"\n', ""))
    lines = [json.loads(line) for line in golden.read_text().splitlines()]
    old = [{key: line[key] for key in ("features", "margin", "value")} for line in lines]
    assert "score" in lines[0] and "class" in lines[0]
    # Platt scaling without `on` means the margin, as it always did.
    assert check(evergreen, bundle)[0] == 0
    rewrite(contract, golden, "".join(json.dumps(line) + "\n" for line in old))
    code, steps = check(evergreen, bundle)
    assert code == 0 and "calibrated scores not compared" in steps["golden"]


def test_the_model_inside_a_calibration_is_served(evergreen, tmp_path):
    rows = frame(("spend", "calls"), missing=False)
    calibrated = CalibratedClassifierCV(CLASSIFIERS["xgboost"](), method="sigmoid", ensemble=False)
    calibrated.fit(rows, labels(rows, "two"))
    inner = calibrated.calibrated_classifiers_[0].estimator
    code, steps = check(evergreen, save_bundle(inner, rows, tmp_path / "m/1", calibration=calibrated))
    assert code == 0 and "scores" in steps["golden"], steps


def test_the_gate_names_the_kinds_that_a_model_has(evergreen, tmp_path):
    rows = frame(NUMBERS, missing=False)
    case = {case.name: case for case in CASES}
    classes = case["xgboost multi:softprob"].train(rows, labels(rows, "three"))
    number = case["lightgbm poisson"].train(rows, labels(rows, "count"))
    for name, model, kind, told, says in [
        ("classes", classes, "class", "probability", 'the model gives 3: use "class"'),
        ("number", number, "value", "probability", 'gives no probability: use "value" or "margin"'),
        (
            "margin",
            number,
            "value",
            "class",
            'no class output: its objective has no classes: use "value" or "margin"',
        ),
    ]:
        bundle = save_bundle(model, rows, tmp_path / name, kind=kind)
        text = (bundle / "bundle.toml").read_text()
        (bundle / "bundle.toml").write_text(text.replace(f'kind = "{kind}"', f'kind = "{told}"'))
        code, steps = check(evergreen, bundle)
        assert code == 1 and says in steps["contract"], steps


def test_a_few_rows_are_no_reference(evergreen, tmp_path):
    rows = frame(("spend", "calls"), missing=False)
    model = CLASSIFIERS["xgboost"]().fit(rows, labels(rows, "two"))
    with pytest.warns(UserWarning, match="X has 5 rows: too few to recognise drift"):
        bundle = save_bundle(model, rows[:5], tmp_path / "m/1")
    code, steps = check(evergreen, bundle)
    assert code == 0 and "warning: too few to recognise drift" in steps["reference"]


@pytest.mark.parametrize("store", ["parquet", "csv", "jsonl"])
def test_booleans_and_whole_numbers_are_categories_in_every_file(evergreen, tmp_path, store):
    """A boolean category column of one model must not keep the others from being served."""
    rows = frame(("spend", "whole", "yes", "tier"), missing=False)
    model = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1},
        lightgbm.Dataset(rows, labels(rows, "two")),
        8,
    )
    agreed = frame(("spend", "agreed"), missing=False)
    catboost = CatBoostClassifier(
        iterations=8, verbose=0, allow_writing_files=False, cat_features=["agreed"], one_hot_max_size=4
    ).fit(agreed, labels(agreed, "two"))
    save_bundle(model, rows, tmp_path / "models/lightgbm/1", entity="id")
    save_bundle(catboost, agreed, tmp_path / "models/catboost/1", entity="id")
    plain = rows.assign(
        id=range(len(rows)), agreed=agreed["agreed"], whole=rows["whole"].astype("float64"),
        yes=rows["yes"].astype(bool), tier=rows["tier"].astype("int64"),
    )  # fmt: skip
    customers = tmp_path / f"customers.{store}"
    if store == "parquet":
        plain.to_parquet(customers)
    elif store == "csv":
        plain.to_csv(customers, index=False)
    else:
        plain.to_json(customers, orient="records", lines=True, double_precision=15)
    for name, truth in {
        "lightgbm": model.predict(rows),
        "catboost": catboost.predict_proba(agreed.assign(spend=rows["spend"]))[:, 1],
    }.items():
        with serving(evergreen, tmp_path, models=tmp_path / "models", customers=customers) as server:
            ids = [{"id": row} for row in range(len(rows))]
            stored = server.http.post("/v1/score", json={"model": name, "entities": ids}).json()["results"]
            told = [
                {
                    "id": row,
                    "features": {
                        key: value for key, value in cells.items() if key in ("whole", "yes", "tier")
                    },
                }
                for row, cells in enumerate(json.loads(plain.head(20).to_json(orient="records")))
            ]
            if name == "catboost":
                told = [{"id": row, "features": {"agreed": bool(agreed["agreed"][row])}} for row in range(20)]
            given = server.http.post("/v1/score", json={"model": name, "entities": told}).json()["results"]
        assert [result for result in stored + given if result.get("status") != "ok"] == []
        assert np.abs([result["score"] for result in stored] - truth).max() < 1e-9
        assert np.abs([result["score"] for result in given] - truth[:20]).max() < 1e-9
