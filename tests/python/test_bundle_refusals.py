"""Models and columns that save_bundle refuses early, each with the line to change; and those it takes after all."""

import json
import subprocess

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from evergreen_serving.bundle import BundleError, save_bundle
from evergreen_serving.bundle.command import main
from evergreen_testing.bundle_models import cat, frame, labels, lgb, xgb

LGB = {"objective": "binary"}


@pytest.fixture(scope="module")
def rows():
    return frame(("spend", "calls"), missing=False)


@pytest.fixture(scope="module")
def two(rows):
    return labels(rows, "two")


def contract(bundle):
    import tomllib

    return tomllib.loads((bundle / "bundle.toml").read_text(encoding="utf-8"))


def golden(bundle):
    return [json.loads(line) for line in (bundle / "golden.jsonl").read_text(encoding="utf-8").splitlines()]


# --- Scores of several numbers ---------------------------------------------------------------------------------------


def several_outputs(rows):
    three, number = labels(rows, "three"), labels(rows, "number")
    pair = np.stack([number, -number], axis=1)
    quantiles = {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9], "tree_method": "hist"}
    leaves = {"multi_strategy": "multi_output_tree", "tree_method": "hist"}
    multi = {"loss_function": "MultiQuantile:alpha=0.1,0.5,0.9"}
    return {
        "softprob": (xgb({"objective": "multi:softprob", "num_class": 3})(rows, three), 'kind="class"'),
        "quantiles": (xgb(quantiles)(rows, number), "one model per level.*quantile_alpha"),
        "vector leaf": (xgb(leaves)(rows, pair), "without multi_strategy"),
        "targets": (xgb({})(rows, pair), "one model per target, each with one column as y"),
        "multiclass": (lgb({"objective": "multiclass", "num_class": 3})(rows, three), 'kind="class"'),
        "MultiClass": (cat({"loss_function": "MultiClass"})(rows, three), 'kind="class"'),
        "MultiQuantile": (cat(multi)(rows, number), "one model per quantile.*Quantile:alpha=0.5"),
        "MultiRMSE": (cat({"loss_function": "MultiRMSE"})(rows, pair), "one model per target"),
    }


def test_several_numbers_are_no_score(rows, tmp_path):
    for name, (model, says) in several_outputs(rows).items():
        with pytest.raises(
            BundleError, match=rf"gives [23] numbers per row, and a score is one number: .*{says}"
        ):
            save_bundle(model, rows, tmp_path / "b")
        if 'kind="class"' in says:  # the advice works
            assert "class" in golden(save_bundle(model, rows, tmp_path / name, kind="class"))[0]
        else:
            with pytest.raises(BundleError, match="has no classes"):
                save_bundle(model, rows, tmp_path / "b", kind="class")


@pytest.mark.parametrize(
    "train, kind, labelled, says",
    [
        (
            xgb({"objective": "reg:squarederror"}),
            "probability",
            "number",
            'gives no probability: kind="value"',
        ),
        (xgb({"objective": "binary:logitraw"}), "class", "two", 'has no classes: kind="margin"'),
        (lgb({"objective": "poisson"}), "class", "count", 'has no classes: kind="value"'),
        (cat({"loss_function": "RMSE"}), "probability", "number", 'gives no probability: kind="value"'),
    ],
)
def test_a_kind_that_the_model_lacks_is_refused(rows, tmp_path, train, kind, labelled, says):
    with pytest.raises(BundleError, match=says):
        save_bundle(train(rows, labels(rows, labelled)), rows, tmp_path / "b", kind=kind)


# --- What the engine does not evaluate -------------------------------------------------------------------------------


def test_linear_boosters_are_refused(rows, two, tmp_path):
    model = xgboost.train({"booster": "gblinear"}, xgboost.DMatrix(rows, two), 3)
    with pytest.raises(BundleError, match='gblinear" has no trees.*booster="gbtree" or "dart"'):
        save_bundle(model, rows, tmp_path / "b")


def test_statistics_of_categories_are_refused_with_the_setting(tmp_path):
    rows = frame(("spend", "plan"), missing=False)
    target = labels(rows, "two")
    with pytest.raises(BundleError, match=r"plan by statistics of the target \(CTR\).*one_hot_max_size=3"):
        save_bundle(
            cat({"one_hot_max_size": 2, "loss_function": "Logloss"})(rows, target), rows, tmp_path / "b"
        )
    model = cat({"one_hot_max_size": 3, "loss_function": "Logloss"})(rows, target)  # what the message says
    assert save_bundle(model, rows, tmp_path / "b").is_dir()


def test_embeddings_and_losses_are_refused(rows, two, tmp_path):
    vectors = rows.assign(face=[[float(a), float(b)] for a, b in zip(rows["spend"], rows["calls"])])
    pool = catboost.Pool(vectors, two, embedding_features=["face"])
    model = catboost.CatBoostClassifier(iterations=2, verbose=0, allow_writing_files=False).fit(pool)
    with pytest.raises(BundleError, match=r"embedding features cannot be served \(face\): train without"):
        save_bundle(model, vectors, tmp_path / "b")
    focal = cat({"loss_function": "Focal:focal_alpha=0.5;focal_gamma=2.0"})(rows, two)
    with pytest.raises(BundleError, match='loss_function = "Focal" is not supported.*such as "Logloss"'):
        save_bundle(focal, rows, tmp_path / "b")


def test_a_binary_catboost_model_is_taken_from_memory(rows, two, tmp_path):
    model = cat({"loss_function": "Logloss"})(rows, two)
    model.save_model(str(tmp_path / "m.cbm"))
    rows.to_parquet(tmp_path / "sample.parquet")
    main([str(tmp_path / "m.cbm"), str(tmp_path / "sample.parquet"), str(tmp_path / "b")])
    assert contract(tmp_path / "b")["model"]["file"] == "model.json"


# --- Containers of scikit-learn, and objects that are no models ------------------------------------------------------


def test_containers_of_scikit_learn(rows, two, tmp_path):
    classifier = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(rows, two)
    calibrated = CalibratedClassifierCV(FrozenEstimator(classifier)).fit(rows, two)
    for model, says in [
        (
            make_pipeline(StandardScaler(), classifier),
            r"cannot bundle a Pipeline.*save_bundle\(pipeline\[-1\], rows",
        ),
        (calibrated, r"CalibratedClassifierCV as the model.*calibration=calibrated"),
        (
            HistGradientBoostingClassifier().fit(rows, two),
            r"pickle, which is code. Train lightgbm.LGBMClassifier",
        ),
        (HistGradientBoostingRegressor().fit(rows, two), r"Train lightgbm.LGBMRegressor"),
        (RandomForestClassifier().fit(rows, two), "pass the trained XGBoost, LightGBM or CatBoost model"),
        (GridSearchCV(classifier, {}), r"GridSearchCV has no best_estimator_: call fit first"),
    ]:
        with pytest.raises(BundleError, match=says):
            save_bundle(model, rows, tmp_path / "b")


def test_a_search_is_taken_for_its_best_model(rows, two, tmp_path):
    classifier = xgboost.XGBClassifier(n_estimators=5, n_jobs=1)
    search = GridSearchCV(classifier, {"max_depth": [2, 3]}, cv=2).fit(rows, two)
    bundles = [
        save_bundle(m, rows, tmp_path / str(n)) for n, m in enumerate([search, search.best_estimator_])
    ]
    assert golden(bundles[0]) == golden(bundles[1])
    frozen = save_bundle(FrozenEstimator(search.best_estimator_), rows, tmp_path / "frozen")
    assert golden(frozen) == golden(bundles[0])


def test_the_advice_for_a_pipeline_works(rows, two, tmp_path):
    pipeline = make_pipeline(StandardScaler(), xgboost.XGBClassifier(n_estimators=5, n_jobs=1))
    pipeline.set_output(transform="pandas").fit(rows, two)
    seen = pipeline[:-1].set_output(transform="pandas").transform(rows)
    bundle = save_bundle(pipeline[-1], seen, tmp_path / "b")
    first = golden(bundle)[0]
    assert first["value"] == [float(pipeline.predict_proba(rows)[0, 1])]


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda X, y: xgboost.DMatrix(X, y), "model is a DMatrix, which holds data"),
        (lambda X, y: xgboost.QuantileDMatrix(X, y), "model is a QuantileDMatrix, which holds data"),
        (lambda X, y: lightgbm.Dataset(X, y), "model is a Dataset, which holds data"),
        (lambda X, y: catboost.Pool(X, y), "model is a Pool, which holds data"),
        (lambda X, y: lightgbm.cv({"verbose": -1}, lightgbm.Dataset(X, y), 2, nfold=2, stratified=False,
                                  return_cvbooster=True)["cvbooster"], r"CVBooster.*save_bundle\(model.boosters\[0\]"),
        (lambda X, y: xgboost.XGBClassifier(), r"XGBClassifier is not trained: call fit\(X, y\) first"),
        (lambda X, y: lightgbm.LGBMClassifier(), "LGBMClassifier is not trained"),
        (lambda X, y: catboost.CatBoostClassifier(), "CatBoostClassifier is not trained"),
        (lambda X, y: xgboost.XGBClassifier(n_estimators=2, missing=-1.0).fit(X, y), "train with missing=nan"),
    ],
)  # fmt: skip
def test_objects_that_are_no_trained_models(rows, two, tmp_path, make, says):
    with pytest.raises(BundleError, match=says):
        save_bundle(make(rows, two), rows, tmp_path / "b")


def test_missing_none_means_nan(rows, two, tmp_path):
    model = xgboost.XGBClassifier(n_estimators=2, n_jobs=1, missing=None).fit(rows, two)
    assert save_bundle(model, rows, tmp_path / "b").is_dir()


def test_infinite_predictions_are_refused_with_the_row(rows, two, tmp_path):
    poisson = cat({"loss_function": "Poisson"})(rows, two)
    poisson.set_scale_and_bias(1e6, [800.0])
    with pytest.raises(
        BundleError, match=r"the model's value is \[inf\].*'spend': .*expected finite numbers"
    ):
        save_bundle(poisson, rows, tmp_path / "b")


# --- Names and categories --------------------------------------------------------------------------------------------


def test_an_exact_name_goes_before_one_that_lightgbm_would_rename(two, tmp_path):
    rows = frame(("spend", "calls"), missing=False).rename(columns={"spend": "plan_cost"})
    model = lgb(LGB)(rows, two)
    both = rows.assign(**{"plan cost": -1.0})
    bundle = save_bundle(model, both, tmp_path / "b")
    assert "source" not in contract(bundle)["feature"][0]
    assert golden(bundle) == golden(save_bundle(model, rows, tmp_path / "same"))


def test_two_columns_for_one_renamed_feature_are_refused(two, tmp_path):
    rows = frame(("spend", "calls"), missing=False).rename(columns={"spend": "a b c"})
    model = lgb(LGB)(rows, two)
    with pytest.raises(BundleError, match='"a_b_c".*X has "a b c" and "a b_c": drop the one'):
        save_bundle(model, rows.assign(**{"a b_c": 0.0}), tmp_path / "b")


def test_columns_of_several_levels(two, tmp_path):
    rows = frame(("spend", "calls"), missing=False)
    rows.columns = pd.MultiIndex.from_tuples([("a", "spend"), ("b", "calls")])
    for model, names in [
        (xgboost.train({"nthread": 1}, xgboost.DMatrix(rows, two), 3), ["a spend", "b calls"]),
        (
            catboost.CatBoostClassifier(iterations=2, verbose=0, allow_writing_files=False).fit(rows, two),
            ["('a', 'spend')", "('b', 'calls')"],
        ),
    ]:
        made = contract(save_bundle(model, rows, tmp_path / type(model).__name__))
        assert [feature["name"] for feature in made["feature"]] == names


@pytest.mark.parametrize(
    "categories, says",
    [
        ([0.5, 1.5], r"contains codes only, and X has the categories \[0.5, 1.5\].*rename_categories\(str\)"),
        ([1, "1"], 'several categories are written "1"'),
        (
            list(pd.to_datetime(["2020-01-01", "2021-01-01"])),
            "is a Timestamp: expected a text, a whole number",
        ),
    ],
)
def test_categories_without_a_text_of_their_own_are_refused(tmp_path, categories, says):
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 2, 300)
    rows = pd.DataFrame(
        {"c": pd.Categorical.from_codes(codes, categories=pd.Index(categories, dtype=object))}
    )
    if isinstance(categories[0], float):
        rows["c"] = pd.Categorical.from_codes(codes, categories=categories)
    plain = rows["c"].cat.rename_categories(["x", "y"]).to_frame()
    model = xgb({"objective": "binary:logistic"})(plain.assign(n=rng.random(300)), codes)
    booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(
        pd.DataFrame({"c": codes, "n": rng.random(300)}), codes, feature_types=["c", "float"]), 2)  # fmt: skip
    assert model.num_features() == booster.num_features() == 2
    with pytest.raises(BundleError, match=says):
        save_bundle(booster, rows.assign(n=0.5), tmp_path / "b")


def test_fractions_are_no_categories(two, tmp_path):
    rows = frame(("spend", "calls"), missing=False)
    rows["half"] = pd.Categorical(np.where(two, 0.5, 1.5))
    with pytest.raises(BundleError, match=r"category 0.5 is a number with decimals.*astype\(str\)"):
        save_bundle(lgb(LGB)(rows, two), rows, tmp_path / "b")


def test_codes_of_xgboost_are_taken_as_they_are(evergreen, tmp_path):
    """A sample without one of the codes must not shift the codes behind it."""
    rng = np.random.default_rng(4)
    rows = pd.DataFrame({"code": rng.integers(0, 6, 400), "n": rng.random(400)})
    data = xgboost.DMatrix(rows.to_numpy(), rows["code"] % 2, feature_types=["c", "float"])
    model = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 8)
    sample = rows[rows["code"] != 2].reset_index(drop=True)
    bundle = save_bundle(model, sample, tmp_path / "m/1")
    assert contract(bundle)["feature"][0] == {"name": "code", "type": "int"}
    for row in golden(bundle):
        if row["features"]["code"] is not None:
            assert row["class"] == row["features"]["code"] % 2
    assert subprocess.run([evergreen, "check", bundle], capture_output=True).returncode == 0
    shifted = sample.assign(code=sample["code"].astype("category"))
    with pytest.raises(
        BundleError, match=r"the model contains codes only.*astype\(.float64.\).*rename_categories"
    ):
        save_bundle(model, shifted, tmp_path / "b")


@pytest.mark.parametrize(
    "change, options, says",
    [
        (
            lambda X: X.assign(calls=2**60 + X.index),
            {},
            r'"calls", row 0: \d+ is beyond 2\^53.*types=\{"calls": "float"',
        ),
        (lambda X: X, {"margin_ulp": 20}, "expected 0 to 16 units in the last place"),
        (lambda X: X, {"max_age": "0s"}, "36h"),
    ],
)
def test_what_the_gate_would_refuse(rows, two, tmp_path, change, options, says):
    changed = change(rows)
    model = lgb(LGB)(changed, two)
    with pytest.raises(BundleError, match=says):
        save_bundle(model, changed, tmp_path / "b", **options)


def test_a_column_without_categories_is_not_used(evergreen, two, tmp_path):
    rows = frame(("spend", "calls"), missing=False)
    rows["tags"] = pd.Categorical([None] * len(rows), categories=[])
    bundle = save_bundle(lgb(LGB)(rows, two), rows, tmp_path / "m/1")  # XGBoost cannot train on such a column
    assert contract(bundle)["feature"][2] == {"name": "tags", "type": "category", "categories": []}
    done = subprocess.run([evergreen, "check", bundle], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_catboost_borders_that_json_cannot_hold(tmp_path):
    rows = frame(("spend", "calls"), missing=False)
    rows["spend"] = np.random.default_rng(2).choice([1e39, -1e300, 1e38, 0.0, 5.0], len(rows))
    two = rows["spend"] > 1e38
    model = cat({"loss_function": "Logloss"})(rows, two)
    with pytest.raises(
        BundleError, match="cannot write the model as JSON.*beyond the range of 32-bit floats"
    ):
        save_bundle(model, rows, tmp_path / "b")


def test_the_mean_of_huge_values_is_finite(two, tmp_path):
    rows = frame(("spend", "calls"), missing=False).assign(spend=1.7e308)
    bundle = save_bundle(lgb(LGB)(rows, two), rows, tmp_path / "b")
    stored = json.loads((bundle / "reference.json").read_text())["features"]["spend"]
    assert stored["mean"] == pytest.approx(1.7e308)


def test_lineage_is_text(rows, two, tmp_path):
    bundle = save_bundle(lgb(LGB)(rows, two), rows, tmp_path / "b", lineage={"run": 42})
    assert contract(bundle)["model"]["lineage"]["run"] == "42"


@pytest.mark.parametrize("kind", ["yes", "agreed", "text", "tier"])
def test_catboost_takes_categories_of_any_column(tmp_path, kind):
    """CatBoost hashes the text of a value; of a boolean the text 1 or 0."""
    rows = frame(("spend", kind), missing=False)
    model = cat({"loss_function": "Logloss"})(rows, labels(rows, "two"))
    spec = contract(save_bundle(model, rows, tmp_path / "b"))["feature"][1]
    assert spec["type"] == "category"
    known = {"yes": ["0", "1"], "agreed": ["0", "1"], "tier": ["30", "10", "20"]}
    assert spec["categories"] == known.get(kind, sorted(set(rows[kind])))


# --- Command line ----------------------------------------------------------------------------------------------------


def test_files_of_the_command_line(rows, two, tmp_path, capsys):
    rows.to_parquet(tmp_path / "sample.parquet")
    deep = cat({"loss_function": "Logloss", "grow_policy": "Depthwise"})(rows, two)
    deep.save_model(str(tmp_path / "deep.json"), format="json")
    deep.save_model(str(tmp_path / "m.cbm"))
    xgb({})(rows, two).save_model(tmp_path / "m.json")
    lgb(LGB)(rows, two).save_model(tmp_path / "m.txt")
    main([str(tmp_path / "deep.json"), str(tmp_path / "sample.parquet"), str(tmp_path / "b")])
    assert contract(tmp_path / "b")["model"]["format"] == "catboost"
    for name in ("m.cbm", "m.json", "m.txt"):
        cut = tmp_path / f"cut{name[1:]}"
        cut.write_bytes((tmp_path / name).read_bytes()[:400])
        with pytest.raises(SystemExit) as stopped:
            main([str(cut), str(tmp_path / "sample.parquet"), str(tmp_path / "c")])
        said = str(stopped.value)
        assert said.startswith(f"error: {cut}: ") and "save the model again" in said and "\n" not in said
    (tmp_path / "dump.json").write_text("[]")
    with pytest.raises(SystemExit, match="neither a model of XGBoost.*save_model"):
        main([str(tmp_path / "dump.json"), str(tmp_path / "sample.parquet"), str(tmp_path / "c")])
    with pytest.raises(SystemExit, match="--band high: expected NAME=FROM, such as high=0.7"):
        main(
            [
                str(tmp_path / "m.json"),
                str(tmp_path / "sample.parquet"),
                str(tmp_path / "c"),
                "--band",
                "high",
            ]
        )
    capsys.readouterr()
