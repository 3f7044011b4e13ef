"""What-if: curves against XGBoost at random values, and the smallest changes against trying every value."""

import itertools
import json
import tomllib

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest

from evergreen_serving import save_bundle
from evergreen_testing.paths import MODELS
from evergreen_testing.server_process import serving
from test_explain import FRAME, Truth

CONTRACT = tomllib.loads((MODELS / "churn/1/bundle.toml").read_text())
FEATURES = {feature["name"]: feature for feature in CONTRACT["feature"]}
REFERENCE = json.loads((MODELS / "churn/1/reference.json").read_text())["features"]
BANDS = [(band["name"], band["from"]) for band in CONTRACT["output"]["bands"]]
ACTIONABLE = [name for name, feature in FEATURES.items() if "actionable" in feature]
ALL_IDS = FRAME["customer_id"].astype(str)


@pytest.fixture(scope="module")
def truth():
    return Truth()


@pytest.fixture(scope="module")
def at_risk(truth):
    """Customers above the lowest band."""
    return truth.rows[truth.score(truth.rows) >= BANDS[1][1]]


def what_if(server, id=None, status=200, model="churn", **body):
    answer = server.http.post(f"/v1/models/{model}/what-if", json={"id": id, **body} if id else body)
    assert answer.status_code == status, answer.text
    return answer.json()


def coded(name, value):
    """A value of the API as the model sees it."""
    if value is None:
        return np.nan
    if FEATURES[name]["type"] == "category":
        return value
    return float(value)


def variants(truth, row, name, values):
    """The row with other values of one feature."""
    rows = row.iloc[np.zeros(len(values), dtype=int)].reset_index(drop=True)
    if name in truth.categories:
        rows[name] = pd.Categorical(values, categories=truth.categories[name])
    else:
        rows[name] = np.array(values, dtype="float64")
    return rows


def bounds(name, current):
    low, high = FEATURES[name].get("range") or (REFERENCE[name]["min"], REFERENCE[name]["max"])
    return min(low, current), max(high, current)


def distances(name, start, ends):
    """The share of training rows between a value and each other one, and a thousandth of the change relative to the range."""
    if FEATURES[name]["type"] in ("category", "bool"):
        return np.full(len(ends), 0.5)
    known, ends = REFERENCE[name], np.array(ends)
    edges = [known["min"], *known["edges"], known["max"]]
    below = np.concatenate([[0], np.cumsum(known["counts"])]) / sum(known["counts"])
    passed = abs(np.interp(ends, edges, below) - np.interp(start, edges, below))
    low, high = bounds(name, start)
    return passed + 0.001 * abs(ends - start) / (high - low)


def reachable(name, current):
    """Every value that somebody can change a feature to."""
    feature = FEATURES[name]
    if feature["type"] == "category":
        return [value for value in feature["categories"] if value != current]
    if np.isnan(current):
        return []
    if feature["type"] == "bool":
        other = 1.0 - current
        fits = {"up": other > current, "down": other < current, "any": True}[feature["actionable"]]
        return [other] if fits else []
    low, high = bounds(name, current)
    step = feature["step"]
    up = [current + step * n for n in range(1, int((high - current) / step) + 2)]
    down = [current - step * n for n in range(1, int((current - low) / step) + 2)]
    allowed = {"up": up, "down": down, "any": up + down}[feature["actionable"]]
    return [value for value in allowed if low <= value <= high]


def current_of(row, name):
    value = row[name].iloc[0]
    return value if FEATURES[name]["type"] == "category" else float(value)


def limit_of(score):
    """Below which score the band is lower."""
    return max(start for _, start in BANDS if score >= start)


def test_a_curve_is_the_score_at_every_value(server, truth):
    rng = np.random.default_rng(5)
    ids = rng.choice(ALL_IDS, 12, replace=False)
    compared = 0
    for id in ids:
        row = truth.rows.loc[[id]]
        found = what_if(server, id, curves=list(FEATURES), pairs=False)
        assert {curve["feature"] for curve in found["curves"]} == set(FEATURES) and "skipped" not in found
        assert np.float32(found["score"]) == truth.score(row)[0]
        for curve in found["curves"]:
            name, points = curve["feature"], curve["points"]
            current = current_of(row, name)
            if curve["value"] is None:
                assert np.isnan(current)
            else:
                assert coded(name, curve["value"]) == pytest.approx(current)
            if FEATURES[name]["type"] in ("category", "bool"):
                values, scores = [coded(name, point["from"]) for point in points], points
                assert len(points) == len(FEATURES[name].get("categories", [False, True]))
            else:
                starts = [point["from"] for point in points]
                assert starts == sorted(starts) and points[-1]["to"] is not None
                assert [point["to"] for point in points[:-1]] == starts[1:]
                assert all(a["score"] != b["score"] for a, b in itertools.pairwise(points))
                low, high = starts[0], points[-1]["to"]
                own, known = FEATURES[name].get("range"), REFERENCE[name]
                expected = own or (known["min"], known["max"])
                if curve["value"] is not None:
                    expected = bounds(name, curve["value"])
                assert (low, high) == pytest.approx(tuple(expected), rel=1e-6)
                # Starts of intervals, numbers right before them, and random ones.
                inner = np.float32(starts[1:])
                values = np.concatenate(
                    [starts, np.nextafter(inner, np.float32(-np.inf)), rng.uniform(low, high, 30), [high]]
                ).astype("float64")
                if FEATURES[name]["type"] == "int":
                    values = np.unique(np.concatenate([starts, np.round(values), np.array(starts[1:]) - 1]))
                values = values[(values >= low) & (values <= high)]
                places = np.searchsorted(np.float32(starts), np.float32(values), side="right") - 1
                scores = [points[place] for place in places]
            expected = truth.score(variants(truth, row, name, values))
            assert np.array_equal(np.float32([point["score"] for point in scores]), expected), (id, name)
            for point in points:
                assert point["band"] == [band for band, start in BANDS if point["score"] >= start][-1]
            compared += len(values)
    assert compared > 5_000


def test_a_single_change_is_the_smallest_that_reaches_a_lower_band(server, truth, at_risk):
    cases = reached = 0
    for id in at_risk.index[:: max(1, len(at_risk) // 150)]:
        row = at_risk.loc[[id]]
        score = truth.score(row)[0]
        found = what_if(server, id, curves=[], pairs=False)
        assert found["curves"] == [] and "pairs_complete" not in found
        changes = {change["features"][0]["feature"]: change for change in found["changes"]}
        assert [change["distance"] for change in found["changes"]] == sorted(
            change["distance"] for change in found["changes"]
        )
        for name in ACTIONABLE:
            cases += 1
            current = current_of(row, name)
            values = reachable(name, current)
            enough = np.array([])
            if values:
                scores = truth.score(variants(truth, row, name, values))
                enough = distances(name, current, values)[scores < limit_of(score)]
            assert (name in changes) == (len(enough) > 0), (id, name)
            if not len(enough):
                continue
            reached += 1
            change = changes[name]
            part = change["features"][0]
            to = coded(name, part["to"])
            assert change["distance"] == pytest.approx(min(enough), abs=2e-7) and change["optimal"], (
                id,
                name,
            )
            assert to in values or np.isclose(values, to, rtol=1e-6).any()
            after = truth.score(variants(truth, row, name, [to]))[0]
            assert np.float32(change["score"]) == after < limit_of(score)
            assert str(part["text"]).startswith(FEATURES[name]["label"])
    assert cases >= 1000 and reached > 100, (cases, reached)


def grid(truth, row, names):
    """Every pair of reachable values of two features, and its distance."""
    currents = [current_of(row, name) for name in names]
    lists = [reachable(name, current) for name, current in zip(names, currents)]
    pairs = list(itertools.product(*lists))
    lengths = [distances(*known) for known in zip(names, currents, lists)]
    rows = row.iloc[np.zeros(len(pairs), dtype=int)].reset_index(drop=True)
    for at, name in enumerate(names):
        values = [pair[at] for pair in pairs]
        if name in truth.categories:
            rows[name] = pd.Categorical(values, categories=truth.categories[name])
        else:
            rows[name] = np.array(values, dtype="float64")
    return rows, np.add.outer(*lengths).ravel()


def test_two_changes_are_the_smallest_of_all_pairs(server, truth, at_risk):
    found_pairs = 0
    for id in at_risk.index[:: max(1, len(at_risk) // 25)][:25]:
        row = at_risk.loc[[id]]
        limit = limit_of(truth.score(row)[0])
        found = what_if(server, id, curves=[])
        assert found["pairs_complete"] is True
        pairs = [change for change in found["changes"] if len(change["features"]) == 2]
        singles = [change["distance"] for change in found["changes"] if len(change["features"]) == 1]
        best = np.inf
        for names in itertools.combinations(ACTIONABLE, 2):
            rows, lengths = grid(truth, row, names)
            near = lengths < min(best, min(singles, default=np.inf))
            if near.any():
                scores = truth.score(rows[near].reset_index(drop=True))
                best = min(best, lengths[near][scores < limit].min(initial=np.inf))
        assert len(pairs) == int(np.isfinite(best)), (id, best, found["changes"])
        if pairs:
            found_pairs += 1
            assert pairs[0]["distance"] == pytest.approx(best, abs=4e-7) and pairs[0]["optimal"], id
            assert found["changes"][0] == pairs[0]
            changed = row.copy()
            for part in pairs[0]["features"]:
                changed = variants(truth, changed, part["feature"], [coded(part["feature"], part["to"])])
            assert truth.score(changed)[0] == np.float32(pairs[0]["score"]) < limit
    assert found_pairs >= 3, found_pairs


def test_values_of_the_request_replace_those_of_the_customer(server, truth):
    row = truth.rows.loc[["C-1042"]]
    found = what_if(server, "C-1042", features={"visits_30d": 14}, curves=["visits_30d"], pairs=False)
    assert np.float32(found["score"]) == truth.score(variants(truth, row, "visits_30d", [14]))[0]
    assert found["curves"][0]["value"] == 14 and "not what customers do" in found["note"]


def test_a_customer_in_the_lowest_band_needs_no_change(server, truth):
    calm = truth.rows.index[truth.score(truth.rows) < 0.02][0]
    found = what_if(server, calm)
    assert found["changes"] == [] and found["band"] == "low" and "pairs_complete" not in found
    assert [curve["feature"] for curve in found["curves"]] == ACTIONABLE


def test_wrong_questions_say_what_is_wrong(server):
    error = what_if(server, "C-1042", status=400, curves=["visits_30"])
    assert "visits_30d" in error["detail"]
    assert what_if(server, "C-99999999", status=404)["detail"]
    assert what_if(server, "C-1042", status=404, model="chrn")["detail"]
    assert "steps" in what_if(server, "C-1042", status=400, steps=1)["detail"]
    error = what_if(server, "C-1042", status=400, features={"visits_30d": "many"})
    assert "visits_30d" in json.dumps(error)


@pytest.fixture(scope="module")
def lightgbm_server(evergreen, tmp_path_factory):
    """A model of LightGBM with 64-bit thresholds and missing zeros."""
    rng = np.random.default_rng(3)
    X = pd.DataFrame({name: rng.normal(size=2000).round(3) for name in ("a", "b", "c")})
    X.loc[rng.random(2000) < 0.1, "c"] = np.nan
    y = (X["a"] - X["b"] + rng.normal(size=2000) > 0).astype(int)
    model = lgb.train({"objective": "binary", "num_leaves": 15, "verbose": -1}, lgb.Dataset(X, y), 60)
    folder = tmp_path_factory.mktemp("what-if")
    save_bundle(
        model,
        X,
        folder / "models/lgb/1",
        actionable={"a": "down", "b": "any"},
        bands={"low": 0.0, "high": 0.5},
    )
    with serving(evergreen, folder, models=folder / "models", customers=None) as running:
        yield running, model, X


def test_curves_of_lightgbm(lightgbm_server):
    running, model, X = lightgbm_server
    rng = np.random.default_rng(4)
    for number in range(20):
        row = X.iloc[number]
        features = {name: None if np.isnan(value) else value for name, value in row.items()}
        found = what_if(running, model="lgb", features=features, curves=["a", "b", "c"])
        for curve in found["curves"]:
            points = curve["points"]
            starts = np.array([point["from"] for point in points])
            inner = starts[1:]
            values = np.concatenate(
                [starts, np.nextafter(inner, -np.inf), rng.uniform(starts[0], points[-1]["to"], 50)]
            )
            rows = np.repeat(row.to_numpy()[None, :], len(values), axis=0)
            rows[:, list(X).index(curve["feature"])] = values
            places = np.searchsorted(starts, values, side="right") - 1
            scores = np.array([points[place]["score"] for place in places])
            assert np.array_equal(scores, model.predict(rows)), curve["feature"]
        for change in found["changes"]:
            rows = row.to_numpy()[None, :].copy()
            for part in change["features"]:
                rows[0, list(X).index(part["feature"])] = part["to"]
            assert model.predict(rows)[0] == change["score"] < 0.5
