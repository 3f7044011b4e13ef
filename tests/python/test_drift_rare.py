"""Bins and drift of features that are almost always one value: counts of rare events, flags, changes around zero."""

import json
import subprocess

import numpy as np
import pandas as pd
import pytest
import xgboost

from evergreen_serving import save_bundle
from test_drift import by_name, truth

ROWS = 6000
#: Least rows of each of several bins beside the common value.
LEAST = 20


def rare(rng, rows, share, values):
    """Returns zeros, and in a share of the rows one of the values."""
    return np.where(rng.random(rows) < share, rng.choice(values, rows), 0.0)


def population(rows, seed):
    """Customers with features that are 0 for most, each with another rest."""
    rng = np.random.default_rng(seed)
    few = np.arange(1.0, 10.0)
    return pd.DataFrame(
        {
            "complaints": rare(rng, rows, 0.06, few),
            "refund": rare(rng, rows, 0.15, rng.gamma(2, 30, rows).round(2)),
            "change": rare(rng, rows, 0.12, [-30.0, -20.0, -10.0, 5.0, 10.0, 40.0]),
            "flag": rare(rng, rows, 0.03, [1.0]),
            "full": 10.0 - rare(rng, rows, 0.1, few),
            "spend": rng.gamma(2, 50, rows).round(2),
        }
    )


def exactly(rest, rows=ROWS):
    """Returns a column of zeros that ends with these values."""
    return np.concatenate([np.zeros(rows - len(rest)), rest])


def trained(frame):
    rng = np.random.default_rng(5)
    risk = frame.iloc[:, 0] - frame.iloc[:, 0].mean() + rng.normal(0, 1, len(frame))
    settings = {"objective": "binary:logistic", "nthread": 1, "max_depth": 3}
    return xgboost.train(settings, xgboost.DMatrix(frame, (risk > 0).astype(int)), 10)


def features(bundle):
    return json.loads((bundle / "reference.json").read_text())["features"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    frame = population(ROWS, seed=1)
    return save_bundle(trained(frame), frame, tmp_path_factory.mktemp("rare") / "churn/1")


def drift(evergreen, bundle, frame, folder, window=None):
    frame.to_parquet(folder / "rows.parquet")
    command = [evergreen, "drift", folder / "rows.parquet", "--model", bundle, "--json"]
    command += ["--window-rows", str(window)] if window else []
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["windows"]


def test_save_bundle_and_init_make_the_same_bins(evergreen, tmp_path):
    rng = np.random.default_rng(2)
    frame = population(ROWS, seed=1).assign(
        # Any rest has a bin, several bins need enough rows each.
        single=exactly([1.0]),
        twice=exactly(rng.random(2 * LEAST)),
        less=exactly(rng.random(2 * LEAST - 1)),
        # One number for a model that sees 32-bit floats.
        merged=np.where(rng.random(ROWS) < 0.85, 0.3, 0.1 * 3),
        tenths=np.where(rng.random(ROWS) < 0.5, 0.0, 4e-9) + rng.integers(1, 10, ROWS) / 10,
        cents=20_000_000 + rng.integers(0, 2000, ROWS) / 100,
        # The common value has four fifths, and one row less.
        fifth=exactly(rng.permutation(ROWS // 5) + 1.0),
        more=exactly(rng.permutation(ROWS // 5 + 1) + 1.0),
        # A bin of one row would be left over.
        uneven=exactly([1.0] * 60 + [2.0]),
        lone=exactly([1.0] + [2.0] * 60),
        sides=exactly([*range(-100, -40), *range(1, 30)]),
        constant=np.ones(ROWS),
    )
    frame.loc[rng.random(ROWS) < 0.1, "refund"] = np.nan
    model = trained(frame)
    model.save_model(tmp_path / "model.ubj")
    frame.assign(customer_id=[f"C-{row}" for row in range(ROWS)]).to_parquet(tmp_path / "rows.parquet")
    command = [evergreen, "init", "--model", tmp_path / "model.ubj", "--rows", tmp_path / "rows.parquet"]
    done = subprocess.run([*map(str, command), tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [path] = (tmp_path / "out/models").glob("*/1")
    ours, theirs = features(save_bundle(model, frame, tmp_path / "m/1")), features(path)
    for name in frame:
        for key in ("edges", "counts", "min", "max"):
            assert ours[name][key] == theirs[name][key], (name, key)
    assert ours["single"]["counts"] == [ROWS - 1, 1]
    assert ours["twice"]["counts"] == [ROWS - 2 * LEAST, LEAST, LEAST]
    assert ours["less"]["counts"] == [ROWS - 2 * LEAST + 1, 2 * LEAST - 1]
    assert ours["merged"]["edges"] == ours["constant"]["edges"] == []
    assert (
        all(edge == round(edge, 1) for edge in ours["tenths"]["edges"]) and len(ours["tenths"]["edges"]) == 8
    )
    # What the server counts of the rows at training is what the reference has.
    for bundle in (tmp_path / "m/1", path):
        [window] = drift(evergreen, bundle, frame, tmp_path)
        assert {found["psi"] for found in window["features"]} == {0}
    assert ours["fifth"]["edges"] == [1, 301, 601, 901]
    # Deciles.
    assert len(ours["more"]["edges"]) == 2 and len(ours["spend"]["edges"]) == 9
    assert ours["uneven"]["edges"] == ours["lone"]["edges"] == [1]
    # Those below have three whole quarters of 20, those above no more than one bin.
    assert ours["sides"]["edges"] == [-80, -60, 0, 1]


def test_the_common_value_has_a_bin_of_its_own_and_the_others_have_enough_rows(bundle):
    frame, found = population(ROWS, seed=1), features(bundle)
    for name in ["complaints", "refund", "change", "flag", "full"]:
        edges, common = found[name]["edges"], frame[name].mode()[0]
        bins = pd.cut(frame[name], [-np.inf, *edges, np.inf], right=False, labels=False)
        counts = bins.value_counts().sort_index()
        assert counts.tolist() == found[name]["counts"]
        of_common = bins[frame[name] == common].iloc[0]
        assert (frame[name][bins == of_common] == common).all(), name
        assert counts.min() >= LEAST and len(counts) <= 9


def test_a_flag_of_few_rows_at_training_is_named_when_it_flips(evergreen, tmp_path):
    frame = population(ROWS, seed=1)[["spend"]].assign(blocked=exactly([1.0] * (LEAST - 1)))
    bundle = save_bundle(trained(frame), frame, tmp_path / "churn/1")
    [window] = drift(evergreen, bundle, frame.sample(2000, random_state=1), tmp_path)
    assert not any(found["drifted"] for found in window["features"])
    [window] = drift(evergreen, bundle, frame.tail(2000).assign(blocked=1.0), tmp_path)
    assert by_name(window)["blocked"]["causes"] == ["values"]


def more_often(frame):
    """Three times as many customers have the event, with values as before."""
    out = frame["complaints"]
    for seed in (3, 4):
        again = frame["complaints"].sample(frac=1, random_state=seed).to_numpy()
        out = out.where(out > 0, again)
    return frame.assign(complaints=out)


def larger(frame):
    """As many customers as before, with the large values of before."""
    large = frame["refund"].quantile(0.97)
    return frame.assign(refund=frame["refund"].where(frame["refund"] == 0, large))


def to_the_other_side(frame):
    return frame.assign(change=frame["change"].where(frame["change"] >= 0, 5.0))


def flagged(frame):
    return frame.assign(flag=np.where(frame.index % 10 == 0, 1.0, frame["flag"]))


CHANGES = [
    ("complaints", more_often),
    ("refund", larger),
    ("change", to_the_other_side),
    ("flag", flagged),
]


@pytest.mark.parametrize("name, change", CHANGES, ids=[name for name, _ in CHANGES])
def test_a_shift_within_the_range_of_training_is_named(evergreen, bundle, tmp_path, name, change):
    frame = change(population(2000, seed=9))
    at_training = population(ROWS, seed=1)[name]
    assert frame[name].between(at_training.min(), at_training.max()).all()
    [window] = drift(evergreen, bundle, frame, tmp_path)
    drifted = {found["feature"]: found["causes"] for found in window["features"] if found["drifted"]}
    assert drifted == {name: ["values"]}
    feature, known = by_name(window)[name], features(bundle)[name]
    bins = pd.cut(frame[name], [-np.inf, *known["edges"], np.inf], right=False, labels=False)
    observed = [int((bins == bin).sum()) for bin in range(len(known["counts"]))]
    psi, chance, p_value = truth(known["counts"], observed)
    assert feature["psi"] == pytest.approx(psi, rel=1e-9)
    assert feature["chance"] == pytest.approx(chance, rel=1e-6)
    assert feature["p_value"] == pytest.approx(p_value, rel=1e-6, abs=1e-300)


def test_a_default_that_replaces_rare_values_is_named(evergreen, tmp_path):
    """A store that lost a feature where few customers have another value than the default."""
    rng = np.random.default_rng(6)
    frame = population(ROWS, seed=1).assign(rarest=rare(rng, ROWS, 0.01, [1.0]))
    defaults = {"flag": 0.0, "rarest": 0.0}
    bundle = save_bundle(trained(frame), frame, tmp_path / "churn/1", defaults=defaults)
    now = population(3000, seed=9).assign(rarest=rare(rng, 3000, 0.01, [1.0]))
    # Half of the customers have no value, but as many as before another one than the default.
    half = now.assign(rarest=now["rarest"].where((now["rarest"] == 1) | (now.index % 2 == 0)))
    # At 3 % the distribution shows it.
    for rows, expected in (
        (now, {}),
        (half, {}),
        (now.assign(flag=np.nan), {"flag": ["values"]}),
        (now.assign(rarest=np.nan), {"rarest": ["default"]}),
        (now.assign(rarest=np.nan).head(500), {}),
    ):
        [window] = drift(evergreen, bundle, rows, tmp_path)
        drifted = [feature for feature in window["features"] if feature["drifted"]]
        assert {feature["feature"]: feature["causes"] for feature in drifted} == expected
        text = by_name(window)["rarest"]["text"]
        if "rarest" in expected:
            assert text == (
                "rarest: the default stands for 100% of 3,000 customers; 0% have another value, at training "
                f"{100 * frame['rarest'].mean():.1f}%"
            )


def test_rare_events_raise_no_false_alarms(evergreen, bundle, tmp_path):
    """As of all features: of 300 windows without drift at most 2 name one."""
    windows = drift(evergreen, bundle, population(300 * 300, seed=11), tmp_path, window=300)
    assert len(windows) == 300 and all(window["enough"] for window in windows)
    assert sum(any(found["drifted"] for found in window["features"]) for window in windows) <= 2
    p_values = np.array([found["p_value"] for window in windows for found in window["features"]])
    assert (p_values < 0.01).mean() <= 0.015


def test_many_rare_flags_raise_no_more_alarms_than_the_level(evergreen, tmp_path):
    """Twenty flags that few rows at training have, in small windows, where an empty bin alone means little: of 1,000 windows
    one is expected to name anything at the level of 0.1 %. By PSI alone it would be three or four."""

    def flags(rows, seed):
        rng = np.random.default_rng(seed)
        return pd.DataFrame({f"flag{number}": (rng.random(rows) < 0.04) * 1.0 for number in range(20)})

    frame = flags(500, seed=21)
    bundle = save_bundle(trained(frame), frame, tmp_path / "flags/1")
    windows = drift(evergreen, bundle, flags(200 * 1000, seed=22), tmp_path, window=200)
    named = [window for window in windows if any(found["drifted"] for found in window["features"])]
    assert len(windows) == 1000 and len(named) <= 1
