"""Derived features: training (evergreen_serving.derive) and serving give the same bits."""

import subprocess
import time

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from evergreen_serving import derive, save_bundle
from evergreen_testing.server_process import serving

DEFINITIONS = {
    "tenure_days": {"days_since": "signed_up"},
    "price_ratio": {"ratio": ["price", "price_before"]},
    "price_change": {"difference": ["price", "price_before"]},
    "rank": {"map": {"of": "plan", "to": {"free": 0, "plus": 1.5, "pro": 7}}},
}
OPERANDS = {
    "signed_up": {"type": "timestamp"},
    "price_before": {"type": "float", "source": "last_price"},
    "plan": {"type": "category"},
}
INPUTS = ["price", *DEFINITIONS]


@pytest.fixture(scope="module")
def frame():
    """Returns rows with timestamps in microseconds, some at midnight, and with zeros, nulls and an unlisted plan."""
    rng, rows = np.random.default_rng(11), 3000
    as_of = pd.Timestamp("2026-11-20T03:00:00Z") - pd.to_timedelta(rng.integers(0, 10**9, rows), unit="us")
    ago = pd.to_timedelta(rng.integers(0, 10**15, rows), unit="us")
    ago = ago.where(rng.random(rows) < 0.7, pd.to_timedelta(rng.integers(0, 3000, rows), unit="D"))
    frame = pd.DataFrame(
        {"id": [f"R-{row}" for row in range(rows)], "as_of": as_of, "signed_up": as_of - ago}
    )
    frame["price"] = np.round(rng.gamma(2, 20, rows), 2)
    frame["last_price"] = np.where(rng.random(rows) < 0.2, 0.0, np.round(rng.gamma(2, 20, rows), 2))
    frame["plan"] = rng.choice(["free", "plus", "pro", "trial"], rows)
    for column in ("signed_up", "price", "last_price", "plan"):
        frame.loc[rng.random(rows) < 0.1, column] = None
    return frame


@pytest.fixture(scope="module")
def derived(frame):
    return derive(frame.rename(columns={"last_price": "price_before"}), DEFINITIONS, now=frame["as_of"])


def target(derived):
    noise = np.random.default_rng(12).normal(0, 1, len(derived))
    signal = (
        derived["tenure_days"].fillna(0) / 1000 + derived["price_ratio"].fillna(1) - derived["rank"].fillna(2)
    )
    return ((signal + noise) > 0).astype(int)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_training_and_serving_agree_to_the_bit(evergreen, frame, derived, library, tmp_path):
    X, y = derived[INPUTS], target(derived)
    if library == "xgboost":
        model = xgboost.train({"objective": "binary:logistic", "max_depth": 6}, xgboost.DMatrix(X, y), 60)
        margins = model.predict(xgboost.DMatrix(X), output_margin=True)
    else:
        model = lightgbm.train(
            {"objective": "binary", "verbosity": -1, "min_data_in_leaf": 2}, lightgbm.Dataset(X, y), 60
        )
        margins = model.predict(X, raw_score=True)
    bundle = save_bundle(model, X, tmp_path / "m" / "1", entity="id", derived=DEFINITIONS, operands=OPERANDS)
    frame.to_parquet(tmp_path / "rows.parquet")
    command = [
        evergreen,
        "score",
        "--model",
        bundle,
        "--input",
        tmp_path / "rows.parquet",
        "--output",
        tmp_path / "out.csv",
    ]
    done = subprocess.run([*command, "--kind", "margin"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = pd.read_csv(tmp_path / "out.csv", float_precision="round_trip")
    ours = found.iloc[:, 1].to_numpy(dtype=margins.dtype)
    differ = int(
        (ours.view(f"u{margins.dtype.itemsize}") != margins.view(f"u{margins.dtype.itemsize}")).sum()
    )
    assert differ == 0, f"{differ} of {len(margins)} margins differ"


def test_a_server_works_them_out_as_of_now(evergreen, frame, derived, tmp_path):
    X = derived[INPUTS]
    model = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, target(derived)), 20)
    save_bundle(
        model, X, tmp_path / "models" / "m" / "1", entity="id", derived=DEFINITIONS, operands=OPERANDS
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    with serving(
        evergreen, tmp_path, models=tmp_path / "models", customers=tmp_path / "rows.parquet"
    ) as server:
        before = time.time()
        for row in range(60):
            answer = server.http.get(f"/v1/models/m/features/R-{row}").json()
            seen = {feature["feature"]: feature["value"] for feature in answer["features"]}
            expected = derive(
                frame.rename(columns={"last_price": "price_before"}).iloc[[row]],
                DEFINITIONS,
                now=pd.Timestamp(before, unit="s", tz="UTC"),
            ).iloc[0]
            for name in INPUTS:
                value = expected[name]
                want = None if pd.isna(value) else np.float32(value)
                got = None if seen[name] is None else np.float32(seen[name])
                assert got == want, (row, name, got, want)
        # The request's value of an operand, or of the feature itself, overrides the stored one.

        def ask(features):
            entities = [{"id": "R-1", "features": features}]
            return server.http.post("/v1/score", json={"model": "m", "entities": entities})

        base = {"price": 10.0, "price_before": 5.0, "plan": "pro", "signed_up": "2020-01-01T00:00:00Z"}
        by_operands = ask(base).json()["results"][0]
        whole_days = float(np.floor((time.time() - 1577836800) / 86400))
        by_features = ask(
            {"price": 10.0, "price_ratio": 2.0, "price_change": 5.0, "rank": 7, "tenure_days": whole_days}
        )
        assert by_operands["score"] == by_features.json()["results"][0]["score"]
        # The mapping does not list this plan.
        unknown = ask({**base, "plan": "gratis"}).json()["results"][0]
        assert unknown["status"] == "degraded" and unknown["features"]["out_of_range"] == ["rank"]
        wrong = ask({**base, "signed_up": "yesterday"}).json()["results"][0]
        assert wrong["status"] == "error" and "signed_up" in wrong["error"]["detail"]


@pytest.mark.parametrize(
    "change, expected",
    [
        ('{ days_since = "price" }', "expected `price` of type timestamp"),
        ('{ days_since = "nothing" }', "`nothing` is neither an [[operand]] nor a stored feature"),
        ('{ ratio = ["price", "rank"] }', "`rank` is neither an [[operand]] nor a stored feature"),
        ('{ median = ["price"] }', "unknown value `median`"),
        ('{ map = { of = "plan", to = { free = "low" } } }', "the result is not a number"),
    ],
)
def test_what_cannot_be_derived_is_named(evergreen, frame, derived, tmp_path, change, expected):
    X = derived[INPUTS]
    model = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, target(derived)), 2)
    bundle = save_bundle(model, X, tmp_path / "m" / "1", entity="id", derived=DEFINITIONS, operands=OPERANDS)
    contract = bundle / "bundle.toml"
    contract.write_text(contract.read_text().replace('{ days_since = "signed_up" }', change))
    done = subprocess.run([evergreen, "check", bundle], capture_output=True, text=True)
    assert done.returncode == 1 and expected in done.stdout + done.stderr, done.stdout + done.stderr


def test_definitions_that_make_no_sense_are_refused_in_training(frame):
    for definition, expected in [
        ({"days_since": "signed_up"}, "pass now="),
        ({"days_since": "nothing"}, 'no column "nothing"'),
        ({"median": "price"}, "median is none of"),
        ({}, "one of days_since"),
    ]:
        with pytest.raises(ValueError, match=expected):
            derive(frame, {"x": definition})
    assert derive(frame.head(1), {}).equals(frame.head(1))
