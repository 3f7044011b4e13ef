"""save_bundle with the real training libraries."""

import datetime as dt
import hashlib
import json
import math
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from evergreen_serving.bundle import (
    BundleError,
    save,
    save_bundle,
)
from evergreen_serving.bundle.command import main

ROOT = Path(__file__).parents[2]

ROWS = 400
CITIES = ["Utrecht", "Łódź", "“Oslo”"]  # realistic: beyond ASCII, and not in alphabetical order


@pytest.fixture(scope="module")
def X():
    """Every type of column that XGBoost accepts, with missing values in all that allow them."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "spend": rng.gamma(2, 50, ROWS),
            "ratio": rng.random(ROWS).astype("float32"),
            "calls": rng.poisson(2, ROWS),
            "nps": pd.array(rng.integers(0, 11, ROWS), dtype="Int64"),
            "auto_pay": rng.random(ROWS) < 0.5,
            "consent": pd.array(rng.random(ROWS) < 0.3, dtype="boolean"),
            "city": pd.Categorical(rng.choice(CITIES, ROWS), categories=CITIES),
            "tier": pd.Categorical(rng.choice([30, 10, 20], ROWS), categories=[30, 10, 20]),
        }
    )
    for i, column in enumerate(["spend", "nps", "consent", "city", "tier"]):
        frame.loc[rng.random(ROWS) < 0.05 * (i + 1), column] = None
    return frame


@pytest.fixture(scope="module")
def y(X):
    rng = np.random.default_rng(8)
    signal = X["spend"].fillna(0) / 100 + X["calls"] - 2.0 * X["auto_pay"] + (X["city"] == "Łódź")
    signal += rng.normal(0, 1, ROWS)
    return (signal > signal.median()).astype(int)


@pytest.fixture(scope="module")
def plain(X):
    """The part that LightGBM and CatBoost accept: no nullable types, and for CatBoost no missing categories."""
    out = X.astype({"nps": "float64", "consent": "float64"})
    return out.assign(city=out["city"].fillna("Utrecht"), tier=out["tier"].fillna(10))


XGB = {"max_depth": 3, "nthread": 1, "objective": "binary:logistic"}


def matrix(X, y=None):
    return xgboost.DMatrix(X, y, enable_categorical=True)


@pytest.fixture(scope="module")
def booster(X, y):
    return xgboost.train(XGB, matrix(X, y), 12)


def contract(bundle):
    return tomllib.loads((bundle / "bundle.toml").read_text(encoding="utf-8"))


def golden(bundle):
    lines = (bundle / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON")) for line in lines
    ]


def reference(bundle):
    return json.loads((bundle / "reference.json").read_text(encoding="utf-8"))


def rebuilt(bundle, like):
    """Returns the golden rows as a frame, read only from the bundle; category dtypes as in training."""
    frame = pd.DataFrame([row["features"] for row in golden(bundle)])
    for feature in contract(bundle)["feature"]:
        name = feature["name"]
        if feature["type"] == "category":
            codes = [
                feature["categories"].index(cell) if isinstance(cell, str) else -1 for cell in frame[name]
            ]
            frame[name] = pd.Categorical.from_codes(codes, dtype=like[name].dtype)
        else:
            frame[name] = pd.array(frame[name].to_numpy(), dtype="object")
            frame[name] = (
                frame[name].map(lambda cell: math.nan if cell is None else float(cell)).astype("float64")
            )
    return frame


def outputs(bundle, key):
    return np.array([row[key] for row in golden(bundle)]).squeeze()


def assert_same_bits(left, right):
    """Asserts that the values are equal as f64; widening f32 is exact."""
    left, right = (np.asarray(side, dtype="float64").squeeze() for side in (left, right))
    assert left.shape == right.shape
    assert (left.view("int64") == right.view("int64")).all()


# --- XGBoost ---------------------------------------------------------------------------------------------------------


def test_the_file_on_disk_gives_the_golden_outputs(X, booster, tmp_path):
    bundle = save_bundle(booster, X, tmp_path / "churn" / "1")
    served = xgboost.Booster(model_file=bundle / "model.ubj")
    rows = matrix(rebuilt(bundle, X))
    assert_same_bits(served.predict(rows, output_margin=True), outputs(bundle, "margin"))
    assert_same_bits(served.predict(rows), outputs(bundle, "value"))


def test_types_and_categories_come_from_the_columns(X, booster, tmp_path):
    features = {f.pop("name"): f for f in contract(save_bundle(booster, X, tmp_path / "b"))["feature"]}
    assert list(features) == list(X.columns)
    assert {name: f["type"] for name, f in features.items()} == {
        "spend": "float", "ratio": "float", "calls": "int", "nps": "int", "auto_pay": "bool", "consent": "bool",
        "city": "category", "tier": "category",
    }  # fmt: skip
    assert features["city"]["categories"] == CITIES
    assert features["tier"]["categories"] == ["30", "10", "20"]
    assert not any("range" in f for f in features.values()), "a range is never guessed"


def test_golden_cells_have_the_type_of_the_feature(X, booster, tmp_path):
    rows = [row["features"] for row in golden(save_bundle(booster, X, tmp_path / "b"))]
    for name, type_ in {
        "spend": float,
        "calls": int,
        "nps": int,
        "auto_pay": bool,
        "city": str,
        "tier": str,
    }.items():
        assert {type(row[name]) for row in rows} == {type_, type(None)}, name


def test_columns_may_be_in_any_order_and_more_than_needed(X, booster, tmp_path):
    save_bundle(booster, X, tmp_path / "as_is", trained_at=dt.datetime(2026, 1, 1), name="m")
    shuffled = X[X.columns[::-1]].assign(customer_id="x", signed_up=pd.Timestamp("2026-01-01"))
    save_bundle(booster, shuffled, tmp_path / "shuffled", trained_at=dt.datetime(2026, 1, 1), name="m")
    for file in ("bundle.toml", "golden.jsonl", "reference.json", "model.ubj"):
        assert (tmp_path / "as_is" / file).read_bytes() == (tmp_path / "shuffled" / file).read_bytes()


def test_categories_in_another_order_than_the_model_s_keep_the_model_s_codes(X, y, tmp_path):
    X = X[["tier", "calls"]].assign(
        plan=pd.Categorical(np.where(X["calls"] > 2, "b", "a"), categories=["b", "a", "c"])
    )
    model = xgboost.train(XGB, matrix(X, y), 5)
    tiers, plans = X["tier"].cat.set_categories([10, 20, 30, 40]), X["plan"].cat.set_categories(["a", "b"])
    bundle = save_bundle(model, X.assign(tier=tiers, plan=plans), tmp_path / "b")
    assert [f.get("categories") for f in contract(bundle)["feature"]] == [
        ["30", "10", "20"],
        None,
        ["b", "a", "c"],
    ]
    assert_same_bits(model.predict(matrix(rebuilt(bundle, X))), outputs(bundle, "value"))


def test_names_that_xgboost_garbles(tmp_path):
    """XGBoost 3.2 makes two of these names equal; training and serving use codes, so no category is confused."""
    names = ["ą", "ć", "ę", "ł"]
    X = pd.DataFrame({"town": pd.Categorical(names * 50, categories=names), "n": np.arange(200.0) % 7})
    model = xgboost.train({"nthread": 1, "max_depth": 3}, matrix(X, X["town"].cat.codes), 30)
    bundle = save_bundle(model, X, tmp_path / "b")
    assert contract(bundle)["feature"][0]["categories"] == names
    for row in golden(bundle):
        if row["features"]["town"] is not None:
            assert row["value"][0] == pytest.approx(names.index(row["features"]["town"]), abs=0.01)
    with pytest.raises(BundleError, match='"town": XGBoost garbled the names.* in the same order'):
        save_bundle(model, X.assign(town=X["town"].cat.set_categories(names[::-1])), tmp_path / "c")


def test_a_wrapper_predicts_up_to_its_best_iteration(X, y, tmp_path):
    model = xgboost.XGBClassifier(
        n_estimators=80, max_depth=6, early_stopping_rounds=3, n_jobs=1, enable_categorical=True
    )
    model.fit(X[:250], y[:250], eval_set=[(X[250:], y[250:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    bundle = save_bundle(model, X, tmp_path / "b")
    assert contract(bundle)["model"]["iterations"] == "best"
    assert_same_bits(model.predict_proba(rebuilt(bundle, X))[:, 1], outputs(bundle, "value"))

    # A Booster predicts with all its trees; so does its bundle unless `iterations` says otherwise.
    bare = save_bundle(model.get_booster(), X, tmp_path / "bare")
    assert contract(bare)["model"]["iterations"] == "all"
    assert (outputs(bare, "margin") != outputs(bundle, "margin")).any()
    told = save_bundle(model.get_booster(), X, tmp_path / "told", iterations="best")
    assert_same_bits(outputs(told, "margin"), outputs(bundle, "margin"))


def test_best_without_early_stopping_is_refused(X, booster, tmp_path):
    with pytest.raises(BundleError, match="without early stopping"):
        save_bundle(booster, X, tmp_path / "b", iterations="best")


@pytest.mark.parametrize(
    "objective, kind, width",
    [
        ("multi:softprob", "class", (3, 3)),
        ("multi:softmax", "class", (3, 1)),
        ("reg:squarederror", "value", (1, 1)),
        ("binary:logitraw", "margin", (1, 1)),
        ("count:poisson", "value", (1, 1)),
    ],
)
def test_objectives(X, y, objective, kind, width, tmp_path):
    params = XGB | {"objective": objective} | ({"num_class": 3} if "multi" in objective else {})
    target = y + X["auto_pay"] if "multi" in objective else y
    told = {"kind": "class"} if objective == "multi:softprob" else {}  # its probabilities are no score
    bundle = save_bundle(xgboost.train(params, matrix(X, target), 5), X, tmp_path / "b", **told)
    assert contract(bundle)["output"] == {"kind": kind}
    assert (len(golden(bundle)[0]["margin"]), len(golden(bundle)[0]["value"])) == width
    assert ("score" in reference(bundle)) == (width[1] == 1)


def test_a_model_without_names_takes_those_of_the_columns(X, y, tmp_path):
    numbers = X[["spend", "calls"]].astype("float64")
    for model in (
        xgboost.train(XGB, xgboost.DMatrix(numbers.to_numpy(), y), 5),
        lightgbm.train({"verbose": -1, "objective": "binary"}, lightgbm.Dataset(numbers.to_numpy(), y), 5),
        catboost.CatBoostClassifier(iterations=5, verbose=0, allow_writing_files=False).fit(
            numbers.to_numpy(), y
        ),
    ):
        bundle = save_bundle(model, numbers, tmp_path / type(model).__module__.split(".")[0])
        assert [f["name"] for f in contract(bundle)["feature"]] == ["spend", "calls"]
        with pytest.raises(BundleError, match="trained without feature names.* 2 features.* 3 columns"):
            save_bundle(model, numbers.assign(more=1), tmp_path / "b")


def test_codes_as_categories(X, y, tmp_path):
    """A model trained on codes stores no categories; the bundle uses those of X."""
    coded = pd.DataFrame({"spend": X["spend"], "city": X["city"].cat.codes.replace(-1, np.nan)})
    data = xgboost.DMatrix(coded, y, feature_types=["float", "c"])
    model = xgboost.train(XGB, data, 5)
    bundle = save_bundle(model, X, tmp_path / "b")
    assert contract(bundle)["feature"][1]["categories"] == CITIES
    rows = rebuilt(bundle, X)
    rows["city"] = rows["city"].cat.codes.replace(-1, np.nan)
    assert_same_bits(
        model.predict(xgboost.DMatrix(rows, feature_types=["float", "c"])), outputs(bundle, "value")
    )


def test_a_missing_value_other_than_nan_is_refused(X, y, tmp_path):
    model = xgboost.XGBClassifier(n_estimators=2, n_jobs=1, missing=-1.0).fit(X[["calls"]], y)
    with pytest.raises(BundleError, match="missing=nan"):
        save_bundle(model, X, tmp_path / "b")


# --- LightGBM --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapped", [False, True])
def test_lightgbm(X, y, wrapped, tmp_path):
    X = X.astype({"nps": "float64", "consent": "float64"}).rename(columns={"spend": "total spend"})
    if wrapped:
        model = lightgbm.LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1).fit(X, y)
    else:
        model = lightgbm.train(
            {"objective": "binary", "num_threads": 1, "verbose": -1}, lightgbm.Dataset(X, y), 10
        )
    bundle = save_bundle(model, X[X.columns[::-1]], tmp_path / "b")
    features = contract(bundle)["feature"]
    assert features[0] == {"name": "total_spend", "type": "float", "source": "total spend"}, (
        "LightGBM's own renaming"
    )
    assert features[6]["categories"] == CITIES
    assert contract(bundle)["output"]["kind"] == "probability"
    served = lightgbm.Booster(model_file=bundle / "model.txt")
    rows = rebuilt(bundle, X)
    assert_same_bits(served.predict(rows, raw_score=True), outputs(bundle, "margin"))
    assert_same_bits(served.predict(rows), outputs(bundle, "value"))


def test_lightgbm_writes_only_the_best_rounds(plain, y, tmp_path):
    train = lightgbm.Dataset(plain[:250], y[:250])
    model = lightgbm.train(
        {"objective": "binary", "num_threads": 1, "verbose": -1},
        train,
        200,
        valid_sets=[lightgbm.Dataset(plain[250:], y[250:], reference=train)],
        callbacks=[lightgbm.early_stopping(3, verbose=False)],
        keep_training_booster=True,  # without it LightGBM drops the other rounds
    )
    assert model.best_iteration < model.num_trees()
    bundle = save_bundle(model, plain, tmp_path / "b")
    assert contract(bundle)["model"]["iterations"] == "all"
    assert lightgbm.Booster(model_file=bundle / "model.txt").num_trees() == model.best_iteration
    assert_same_bits(model.predict(rebuilt(bundle, plain)), outputs(bundle, "value"))
    everything = save_bundle(model, plain, tmp_path / "all", iterations="all")
    assert lightgbm.Booster(model_file=everything / "model.txt").num_trees() == model.num_trees()
    assert_same_bits(
        model.predict(rebuilt(everything, plain), num_iteration=-1), outputs(everything, "value")
    )


def test_lightgbm_multiclass(plain, y, tmp_path):
    model = lightgbm.LGBMClassifier(n_estimators=3, n_jobs=1, verbose=-1).fit(plain, y + plain["auto_pay"])
    row = golden(save_bundle(model, plain, tmp_path / "b", kind="class"))[0]
    assert len(row["margin"]) == len(row["value"]) == 3 and math.isclose(sum(row["value"]), 1)


def test_lightgbm_wants_the_category_columns_of_the_training(plain, y, tmp_path):
    model = lightgbm.LGBMClassifier(n_estimators=3, n_jobs=1, verbose=-1).fit(plain, y)
    with pytest.raises(BundleError, match=r"2 pandas category columns, X has 1 \(city\)"):
        save_bundle(model, plain.astype({"tier": "int64"}), tmp_path / "b")


# --- CatBoost --------------------------------------------------------------------------------------------------------

CAT = {"iterations": 8, "verbose": 0, "allow_writing_files": False, "thread_count": 1, "one_hot_max_size": 10}


def test_catboost(plain, y, tmp_path):
    model = catboost.CatBoostClassifier(**CAT, cat_features=["city", "tier"]).fit(plain, y)
    bundle = save_bundle(model, plain[plain.columns[::-1]], tmp_path / "b")
    rows = rebuilt(bundle, plain)
    assert rows["spend"].isna().any() and not rows["city"].isna().any()
    assert_same_bits(model.predict(rows, prediction_type="RawFormulaVal"), outputs(bundle, "margin"))
    assert_same_bits(model.predict(rows, prediction_type="Probability")[:, 1], outputs(bundle, "value"))
    # The file contains exactly these leaves. CatBoost's own reader rounds some wrongly, so compare the file itself.
    trees = json.loads((bundle / "model.json").read_bytes())["oblivious_trees"]
    assert_same_bits(np.concatenate([tree["leaf_values"] for tree in trees]), model.get_leaf_values())
    served = catboost.CatBoost().load_model(str(bundle / "model.json"), format="json")
    assert served.predict(rows, prediction_type="RawFormulaVal") == pytest.approx(
        outputs(bundle, "margin"), rel=1e-12
    )
    assert contract(bundle)["output"]["kind"] == "probability"


def test_catboost_regression_and_multiclass(plain, y, tmp_path):
    numbers = plain[["spend", "calls"]]
    regressor = catboost.CatBoostRegressor(**CAT).fit(numbers, y)
    bundle = save_bundle(regressor, numbers, tmp_path / "regressor")
    assert contract(bundle)["output"]["kind"] == "value"
    assert_same_bits(outputs(bundle, "margin"), outputs(bundle, "value"))
    classifier = catboost.CatBoostClassifier(**CAT).fit(numbers, y + plain["auto_pay"])
    row = golden(save_bundle(classifier, numbers, tmp_path / "classes", kind="class"))[0]
    assert len(row["margin"]) == len(row["value"]) == 3


def test_catboost_text_is_refused(plain, y, tmp_path):
    frame = plain[["calls"]].assign(note=[f"called {i} times about springs" for i in plain["calls"]])
    model = catboost.CatBoostClassifier(**CAT, text_features=["note"]).fit(frame, y)
    with pytest.raises(BundleError, match=r"text features cannot be served \(note\)"):
        save_bundle(model, frame, tmp_path / "b")


def test_catboost_missing_category_is_refused_with_its_row(plain, y, tmp_path):
    model = catboost.CatBoostClassifier(**CAT, cat_features=["city", "tier"]).fit(plain, y)
    hole = plain.copy()
    hole.loc[17, "city"] = None
    with pytest.raises(BundleError, match='"city", row 17: catboost does not take missing categories'):
        save_bundle(model, hole, tmp_path / "b")


# --- Errors ----------------------------------------------------------------------------------------------------------


def change(**columns):
    return lambda X: X.assign(**columns)


@pytest.mark.parametrize(
    "changed, options, says",
    [
        (lambda X: X.drop(columns=["nps", "city"]), {}, "X lacks 2 of the model's 8 features: nps, city"),
        (lambda X: X.iloc[:0], {}, "has no rows"),
        (lambda X: X.to_numpy(), {}, "X is a ndarray: pass a pandas DataFrame"),
        (lambda X: pd.concat([X, X[["nps"]]], axis=1), {}, "more than one column named nps"),
        (lambda X: X.astype({"city": "str"}), {}, r'"city".*(str|object).*X\["city"\]\.astype\("category"\)'),
        (change(spend="12"), {}, r'"spend": dtype (str|object) is neither.*astype\("category"\)'),
        (change(calls=pd.Timestamp("2026-01-01")), {}, r'"calls".*types=\{"calls": "timestamp"\}'),
        (change(calls=pd.Timedelta("1h")), {}, r"total_seconds"),
        (change(calls=lambda X: X["calls"].astype("category")), {}, '"calls": X has categories.* numbers'),
        (change(tier=lambda X: X["tier"].cat.rename_categories({30: 99})), {},
         r'"tier", row \d+: the model was not trained on the category 99; it knows 30, 10, 20'),
        (change(), {"types": {"spend": "int"}}, r'"spend", row \d+: declared int, but the value is \d+\.\d+'),
        (change(), {"types": {"calls": "bool"}}, r'"calls", row \d+: declared bool, but the value is \d\.0'),
        (change(), {"types": {"calls": "whole"}}, "'whole' is none of float, int"),
        (change(), {"labels": {"call": "Calls"}}, 'label given for "call".* did you mean "calls"?'),
        (change(), {"required": ["calls"], "defaults": {"calls": 0}}, '"calls": both required and with a default'),
        (change(), {"defaults": {"calls": 1.5}}, "1.5 is no int"),
        (change(), {"defaults": {"city": "Rome"}}, "'Rome' is none of its categories"),
        (change(), {"defaults": {"spend": math.nan}}, "leave it out"),
        (change(), {"ranges": {"spend": (5, 1)}}, r"\(lowest, highest\)"),
        (change(), {"max_age": "two days"}, "36h"),
        (change(), {"out_of_range": "ignore"}, "none of keep, clamp, missing, reject"),
        (change(), {"kind": "logit"}, "none of probability, margin"),
        (change(), {"bands": {"high": 0.5, "low": 0.0}}, "each must start above the one before"),
        (change(), {"bands": {"low": 0.2, "high": 0.5}}, "the first must start at 0"),
        (change(), {"calibration": {"kind": "platt", "x": [1]}}, "give kind = platt with numbers a and b"),
        (change(), {"calibration": {"kind": "platt", "a": -1, "b": 0}},
         'on is missing: was it fitted on the probability or on the margin.*"on": "probability"'),
        (change(), {"calibration": {"kind": "platt", "on": "logit", "a": -1, "b": 0}}, 'expected "probability" or'),
        (change(), {"calibration": {"kind": "platt", "on": "margin", "a": math.nan, "b": 0}}, "finite"),
        (change(), {"calibration": {"kind": "isotonic", "on": "margin", "x": [1, 0], "y": [0, 1]}}, "strictly ascending"),
        (change(), {"calibration": {"kind": "isotonic", "on": "margin", "x": [0, 1], "y": [1, 0]}}, "y must be ascending"),
        (change(), {"calibration": {"kind": "platt", "on": "margin", "a": -1, "b": 0}, "kind": "margin"},
         'a calibrated score is a probability'),
        (change(), {"calibration": object()}, "calibration is a object: expected a fitted CalibratedClassifierCV"),
        (change(), {"bands": {"low": 0, "high": 70}}, "no probability reaches 70: expected at most 1"),
        (change(), {"iterations": "some"}, '"all" or "best"'),
        (change(), {"row_p99_us": 0}, "row_p99_us = 0: expected microseconds above 0"),
        (change(spend=math.inf), {}, "infinite"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(X, booster, changed, options, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        save_bundle(booster, changed(X), tmp_path / "b", **options)
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_other_models_are_refused(X, tmp_path):
    with pytest.raises(
        BundleError, match="pandas.*DataFrame: pass the trained XGBoost, LightGBM or CatBoost model"
    ):
        save_bundle(X, X, tmp_path / "b")


# --- The files -------------------------------------------------------------------------------------------------------


def test_the_whole_contract(X, y, tmp_path):
    frame = X[["calls", "city"]].assign(seen=pd.Timestamp("2026-11-20 12:00:00.5"))
    numbers = frame.assign(seen=frame["seen"].astype("int64") / 1e6)
    bundle = save_bundle(
        xgboost.train(XGB, matrix(numbers, y), 2),
        frame,
        tmp_path / "churn" / "3",
        bands={"low": 0, "high": 0.7},
        labels={"calls": 'Support "calls"'},
        types={"seen": "timestamp"},
        sources={"calls": "customer_stats:calls"},
        defaults={"city": "Łódź"},
        required=["calls"],
        ranges={"calls": (0, 500)},
        out_of_range={"calls": "clamp"},
        max_age="36h",
        stale={"calls": "reject"},
        calibration={"kind": "platt", "on": "margin", "a": -1, "b": 0},
        lineage={"run": "42", "data set": "a\\b"},
        trained_at=dt.datetime(2026, 11, 20, 5, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        margin_ulp=1,
        row_p99_us=500,
    )
    digest = {file: hashlib.sha256((bundle / file).read_bytes()).hexdigest() for file in
              ("model.ubj", "golden.jsonl", "reference.json")}  # fmt: skip
    assert contract(bundle) == {
        "format": 1,
        "model": {
            "name": "churn", "file": "model.ubj", "format": "xgboost", "entity": "customer_id", "iterations": "all",
            "trained_at": dt.datetime(2026, 11, 20, 4, tzinfo=dt.UTC),
            "lineage": {"library": f"xgboost {xgboost.__version__}", "run": "42", "data set": "a\\b"},
        },
        "output": {
            "kind": "probability",
            "bands": [{"name": "low", "from": 0.0}, {"name": "high", "from": 0.7}],
            "calibration": {"kind": "platt", "on": "margin", "a": -1.0, "b": 0.0},
        },
        "feature": [
            {"name": "calls", "type": "int", "label": 'Support "calls"', "source": "customer_stats:calls",
             "required": True, "range": [0.0, 500.0], "out_of_range": "clamp", "max_age": "36h", "stale": "reject"},
            {"name": "city", "type": "category", "categories": CITIES, "default": "Łódź", "max_age": "36h"},
            {"name": "seen", "type": "timestamp", "max_age": "36h"},
        ],
        "golden": {"file": "golden.jsonl", "margin_ulp": 1, "value_ulp": 0},
        "budget": {"row_p99_us": 500.0},
        "files": digest,
    }  # fmt: skip
    assert (
        golden(bundle)[0]["features"]["seen"]
        == dt.datetime(2026, 11, 20, 12, 0, 0, 500000, dt.UTC).timestamp()
    )


def test_golden_rows_cover_every_feature_and_stay_few(X, booster, tmp_path):
    rows = pd.DataFrame([row["features"] for row in golden(save_bundle(booster, X, tmp_path / "b"))])
    assert len(rows) == 200
    for name in X:
        assert rows[name].isna().any(), name
    for name in ("spend", "calls", "nps"):
        assert rows[name].min() == X[name].min() and rows[name].max() == X[name].max()

    wide = pd.DataFrame(np.random.default_rng(1).random((50, 300)), columns=[f"f{i}" for i in range(300)])
    bundle = save_bundle(xgboost.train(XGB, matrix(wide, wide["f0"] > 0.5), 2), wide, tmp_path / "wide")
    rows = pd.DataFrame([row["features"] for row in golden(bundle)])
    assert len(rows) <= 200 and rows.isna().any().all()
    assert (rows.max() == wide.max()).all() and (rows.min() == wide.min()).all()


def test_infinite_rows_are_no_golden_rows(X, y, tmp_path):
    frame = pd.DataFrame({"x": np.where(X.index % 3, X["calls"], np.inf), "nps": X["nps"].astype("float64")})
    model = lightgbm.train({"verbose": -1, "objective": "binary"}, lightgbm.Dataset(frame, y), 3)
    bundle = save_bundle(model, frame, tmp_path / "b")
    assert len(golden(bundle)) == 200
    x = reference(bundle)["features"]["x"]
    assert x["max"] == X["calls"].max() and sum(x["counts"]) == x["count"] == ROWS


def test_reference_bins(X, booster, tmp_path):
    out = reference(save_bundle(booster, X, tmp_path / "b"))
    assert out["rows"] == ROWS
    for name, stats in out["features"].items():
        assert stats["missing"] == X[name].isna().sum()
        if stats["kind"] == "category":
            expected = X[name].value_counts()
            assert stats["counts"] == {
                str(category): expected[category] for category in X[name].cat.categories
            }
            continue
        # XGBoost reads 32-bit floats, and two values that are one for it are one here.
        present = X[name].dropna().astype("float32")
        limits = np.array([stats["min"], stats["max"]], dtype="float32")
        assert (stats["count"], *limits) == (len(present), present.min(), present.max())
        assert stats["mean"] == pytest.approx(present.astype("float64").mean())
        bounds = np.array([-math.inf, *stats["edges"], math.inf], dtype="float32")
        assert stats["counts"] == [
            ((present >= low) & (present < high)).sum() for low, high in zip(bounds, bounds[1:])
        ]
        assert all(stats["counts"]) and (np.diff(bounds) > 0).all()
    assert sum(out["score"]["counts"]) == ROWS
    assert out["score"]["mean"] == pytest.approx(booster.predict(matrix(X)).mean())


def test_a_column_without_any_value(X, y, tmp_path):
    frame = X[["calls"]].assign(empty=np.nan, tags=pd.Categorical([None] * ROWS, categories=["a"]))
    bundle = save_bundle(xgboost.train(XGB, matrix(frame, y), 2), frame, tmp_path / "b")
    assert reference(bundle)["features"]["empty"] == {
        "kind": "numeric", "count": 0, "missing": ROWS, "min": None, "max": None, "mean": None,
        "edges": [], "counts": [0],
    }  # fmt: skip
    assert reference(bundle)["features"]["tags"] == {"kind": "category", "missing": ROWS, "counts": {"a": 0}}


def test_an_existing_bundle_is_replaced_only_on_request(X, booster, tmp_path):
    bundle = save_bundle(booster, X, tmp_path / "b", name="one")
    with pytest.raises(BundleError, match="new version number"):
        save_bundle(booster, X, bundle, name="two")
    assert contract(bundle)["model"]["name"] == "one"
    (bundle / "stray").touch()
    save_bundle(booster, X, bundle, name="two", overwrite=True)
    assert contract(bundle)["model"]["name"] == "two" and not (bundle / "stray").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_failure_half_way_leaves_what_was(X, booster, tmp_path, monkeypatch):
    bundle = save_bundle(booster, X, tmp_path / "b", name="one")
    monkeypatch.setattr(save, "toml", lambda _: 1 / 0)
    for directory in (bundle, tmp_path / "new"):
        with pytest.raises(ZeroDivisionError):
            save_bundle(booster, X, directory, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert contract(bundle)["model"]["name"] == "one"


def test_the_server_may_read_what_another_user_wrote(X, booster, tmp_path):
    (tmp_path / "plain").mkdir()
    mode = save_bundle(booster, X, tmp_path / "b").stat().st_mode
    assert stat.S_IMODE(mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_the_sample_is_left_alone(X, booster, tmp_path):
    before = X.copy()
    save_bundle(booster, X, tmp_path / "b")
    pd.testing.assert_frame_equal(X, before)


def test_no_library_is_imported_before_it_is_needed():
    code = "import sys, evergreen_serving.bundle; print([m for m in ('xgboost', 'lightgbm', 'catboost') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "python/serving/src",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


# --- Command line ----------------------------------------------------------------------------------------------------


def test_command_line(plain, y, tmp_path, capsys):
    plain = plain.drop(columns=["tier"])  # Parquet supports categories of strings only
    plain.to_parquet(tmp_path / "sample.parquet")
    numbers = plain.drop(columns=["city"])
    xgboost.train(XGB, matrix(plain, y), 3).save_model(tmp_path / "m.ubj")
    lightgbm.train({"verbose": -1, "objective": "binary"}, lightgbm.Dataset(plain, y), 3).save_model(
        tmp_path / "m.txt"
    )
    cat = catboost.CatBoostClassifier(**CAT).fit(numbers, y)
    cat.save_model(str(tmp_path / "m.cbm"))
    cat.save_model(str(tmp_path / "m.json"), format="json")
    for model, library in {
        "m.ubj": "xgboost",
        "m.txt": "lightgbm",
        "m.cbm": "catboost",
        "m.json": "catboost",
    }.items():
        bundle = tmp_path / library / str(len(model))
        options = ["--entity", "account", "--band", "low=0", "--band", "high=0.5", "--overwrite"]
        main([str(tmp_path / model), str(tmp_path / "sample.parquet"), str(bundle), *options])
        assert f"evergreen check {bundle}" in capsys.readouterr().out
        made = contract(bundle)
        assert (made["model"]["format"], made["model"]["entity"], made["model"]["name"]) == (
            library,
            "account",
            library,
        )
        assert made["output"]["bands"][1] == {"name": "high", "from": 0.5}


@pytest.mark.parametrize(
    "model, sample, says",
    [
        ("m.ubj", "sample.parquet", "error: X lacks 7 of the model's 8 features"),
        ("m.pkl", "sample.parquet", "unknown ending"),
        ("m.ubj", "none.parquet", "none.parquet"),
    ],
)
def test_command_line_errors(X, booster, model, sample, says, tmp_path):
    booster.save_model(tmp_path / "m.ubj")
    X[["calls"]].to_parquet(tmp_path / "sample.parquet")
    with pytest.raises(SystemExit, match=says):
        main([str(tmp_path / model), str(tmp_path / sample), str(tmp_path / "b")])
