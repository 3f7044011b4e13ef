"""Explanations: what reasons say, whether their numbers are XGBoost's, decision paths, and what changed."""

import json
import math
import re
import subprocess
import tomllib
from itertools import pairwise

import grpc
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from evergreen_testing.grpc_client import Client
from evergreen_testing.model_repository import bundle, put, settings
from evergreen_testing.paths import CUSTOMERS, MODELS
from evergreen_testing.processes import until
from evergreen_testing.server_process import serving

FRAME = pd.read_parquet(CUSTOMERS)
IDS = FRAME["customer_id"].astype(str).tolist()[:60]
REFERENCE = json.loads((MODELS / "churn/1/reference.json").read_text())["features"]
# Contributions of XGBoost are 32-bit floats.
NEAR = 2e-5


class Truth:
    """The sample model in XGBoost, with one column per feature as the model sees it."""

    def __init__(self):
        self.booster = xgb.Booster(model_file=str(MODELS / "churn/1/model.ubj"))
        self.names = self.booster.feature_names
        contract = (MODELS / "churn/1/bundle.toml").read_text()
        self.categories = {}
        for block in contract.split("[[feature]]")[1:]:
            lines = dict(line.split(" = ", 1) for line in block.strip().splitlines() if " = " in line)
            if "categories" in lines:
                self.categories[json.loads(lines["name"])] = json.loads(lines["categories"])
        self.rows = self.frame(FRAME).set_index(FRAME["customer_id"].astype(str))

    def frame(self, frame):
        columns = {}
        for name in self.names:
            if name in self.categories:
                columns[name] = pd.Categorical(frame[name], categories=self.categories[name])
            else:
                columns[name] = frame[name].astype("float64")
        return pd.DataFrame(columns)

    def matrix(self, rows):
        return xgb.DMatrix(rows[self.names], enable_categorical=True)

    def score(self, rows):
        return self.booster.predict(self.matrix(rows))

    def contributions(self, rows):
        found = self.booster.predict(self.matrix(rows), pred_contribs=True)
        return pd.DataFrame(found, columns=[*self.names, "bias"], index=rows.index)


@pytest.fixture(scope="module")
def truth():
    return Truth()


def ask(server, ids=IDS, **wanted):
    body = {"model": "churn", "entities": [{"id": id} for id in ids], **wanted}
    answer = server.http.post("/v1/score", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def parts(reason):
    """The contribution of each feature of a reason."""
    alone = [{"feature": reason["feature"], "contribution": reason["contribution"]}]
    return {part["feature"]: part["contribution"] for part in reason.get("parts", alone)}


@pytest.mark.parametrize("count", [3, 24])
def test_reasons_add_up_to_xgboosts_margin(server, truth, count):
    rows = truth.rows.loc[IDS]
    expected = truth.contributions(rows)
    margins = truth.booster.predict(truth.matrix(rows), output_margin=True)
    results = ask(server, explain=count)
    for result, margin, (_, row) in zip(results, margins, expected.iterrows(), strict=True):
        explanation = result["explanation"]
        pushes = sum(reason["contribution"] for reason in result["reasons"])
        assert explanation["base"] == pytest.approx(row["bias"], abs=NEAR)
        total = explanation["base"] + pushes + explanation["remainder"]
        assert total == pytest.approx(margin, abs=NEAR)
        assert explanation["base_score"] == pytest.approx(1 / (1 + math.exp(-row["bias"])), abs=1e-6)
        for reason in result["reasons"]:
            for feature, contribution in parts(reason).items():
                assert contribution == pytest.approx(row[feature], abs=NEAR), feature
            assert reason["contribution"] == pytest.approx(sum(parts(reason).values()), abs=1e-9)
            assert reason["direction"] == ("raises" if reason["contribution"] > 0 else "lowers")
        sizes = [abs(reason["contribution"]) for reason in result["reasons"]]
        assert sizes == sorted(sizes, reverse=True)


def test_features_of_a_group_are_one_reason(server):
    for result in ask(server, explain=24):
        groups = [reason["group"] for reason in result["reasons"]]
        assert len(set(groups)) == len(groups) <= 9
        for reason in result["reasons"]:
            strongest, *_ = parts(reason)
            assert strongest == reason["feature"]


def test_raising_and_lowering_reasons_are_asked_for_separately(server):
    everything = ask(server, explain=24)
    chosen = ask(server, explain_raising=2, explain_lowering=1)
    for whole, some in zip(everything, chosen, strict=True):
        by_direction = {
            way: [reason for reason in whole["reasons"] if reason["direction"] == way]
            for way in ("raises", "lowers")
        }
        expected = by_direction["raises"][:2] + by_direction["lowers"][:1]
        key = lambda reason: -abs(reason["contribution"])  # noqa: E731
        assert some["reasons"] == sorted(expected, key=key)
    one = server.http.get(f"/v1/models/churn/scores/{IDS[0]}?explain_lowering=1").json()
    assert [reason["direction"] for reason in one["reasons"]] == ["lowers"]


def usual_of(feature):
    """What is usual for a feature, as the reference has it: the value that effects are measured against, NaN if most have
    none."""
    found = REFERENCE[feature]
    counts = found["counts"]
    present = sum(counts.values()) if found["kind"] == "category" else found["count"]
    if found["missing"] > present:
        return np.nan
    if found["kind"] == "category":
        return max(counts, key=counts.get)
    return found["quartiles"][1]


def test_usual_is_the_middle_half_of_the_reference(server):
    everybody = FRAME["customer_id"].astype(str).tolist()[:400]
    usual = {
        reason["feature"]: reason["usual"]
        for result in ask(server, ids=everybody, explain=24)
        for reason in result["reasons"]
    }
    assert len(usual) > 12
    for feature, found in usual.items():
        distribution = REFERENCE[feature]
        expected = usual_of(feature)
        rows = json.loads((MODELS / "churn/1/reference.json").read_text())["rows"]
        assert found.pop("missing") == pytest.approx(distribution["missing"] / rows)
        assert found.pop("value") == (None if pd.isna(expected) else expected), feature
        if distribution["kind"] == "category":
            counts = distribution["counts"]
            assert found == {"share": pytest.approx(max(counts.values()) / sum(counts.values()))}
        elif "share" in found:
            ones = distribution["counts"][-1] / distribution["count"]
            assert found == {"share": pytest.approx(max(ones, 1 - ones))}
        else:
            low, _, high = distribution["quartiles"]
            assert found == {"low": low, "high": high}, feature


def test_the_effect_is_the_score_less_that_with_usual_values(server, truth):
    """All values of a reason's group are replaced by their usual ones; XGBoost scores the row."""
    contract = tomllib.loads((MODELS / "churn/1/bundle.toml").read_text())
    group_of = {feature["name"]: feature["reason"]["group"] for feature in contract["feature"]}
    checked = 0
    for result in ask(server, explain=24):
        row = truth.rows.loc[[result["id"]]]
        for reason in result["reasons"]:
            changed = row.copy()
            for feature, group in group_of.items():
                if group == reason["group"]:
                    known = truth.categories.get(feature)
                    value = usual_of(feature)
                    changed[feature] = pd.Categorical([value], categories=known) if known else float(value)
            expected = float(truth.score(row)[0]) - float(truth.score(changed)[0])
            assert reason["effect"] == pytest.approx(expected, abs=1e-9), reason["group"]
            checked += 1
    assert checked > 400


def in_100(share):
    return "less than 1" if 0 < share < 0.01 else f"{100 * share:.0f}"


def test_a_sentence_names_value_usual_and_effect(server):
    kinds = {"usual": 0, "together": 0, "alone": 0}
    for result in ask(server, explain=24):
        for reason in result["reasons"]:
            text = reason["text"]
            assert text.endswith(".") and "{" not in text and not set(text) & set('<>"')
            assert "the risk of leaving" in text
            now, usual = in_100(result["score"]), in_100(result["score"] - reason["effect"])
            does = f"{reason['direction']} the risk of leaving"
            if len(reason.get("parts", [])) > 1:
                group = f"“{reason['group']}”"
                would = f"With usual values of {group}, the risk of leaving would be {usual} in 100 instead of {now}."
                end = {"usual": would, "together": f"values, {group} {does}.", "alone": f". {group} {does}."}
            else:
                would = f". This {does}: {now} in 100 instead of {usual}."
                end = {"usual": would, "together": f"values, this {does}.", "alone": f". This {does}."}
            agrees = (reason["effect"] > 0) == (reason["direction"] == "raises")
            kind = "alone" if now == usual else "usual" if agrees else "together"
            assert text.endswith(end[kind]), (text, end[kind])
            kinds[kind] += 1
            if (say := reason.get("say")) is not None:
                assert reason["direction"] == "raises" and "{" not in say
                # What was watched is never quoted.
                assert reason["group"] != "Visits"
    assert min(kinds.values()) > 10, kinds


def test_grpc_gives_the_same_explanations(server):
    with grpc.insecure_channel(server.grpc) as channel:
        answer = Client(channel)(
            "Score", model="churn", entities=[{"text_id": id} for id in IDS], explain=4, explain_lowering=2
        )
    for result, other in zip(answer.results, ask(server, explain=4, explain_lowering=2), strict=True):
        for name in ("base", "base_score", "remainder"):
            assert getattr(result.explanation, name) == other["explanation"][name]
        for reason, same in zip(result.reasons, other["reasons"], strict=True):
            for name in ("feature", "label", "text", "contribution", "effect", "group"):
                assert getattr(reason, name) == same[name]
            assert (reason.say or None, reason.advice or None) == (same.get("say"), same.get("advice"))
            assert [part.contribution for part in reason.parts] == [
                part["contribution"] for part in same.get("parts", [])
            ]


def features_above(tree):
    """By leaf of a tree as XGBoost dumps it, the features that its path asks for."""
    found = {}

    def walk(node, asked):
        if "leaf" in node:
            found[node["nodeid"]] = asked
        for child in node.get("children", []):
            walk(child, asked | {node["split"]})

    walk(json.loads(tree), set())
    return found


def holds(rule, value):
    """Whether a rule holds for a value."""
    if pd.isna(value):
        return rule["missing"]
    if "categories" in rule:
        return value in rule["categories"]
    low, high = (rule.get(end) for end in ("lower", "upper"))
    return (low is None or value > low["value"] or (low["inclusive"] and value == low["value"])) and (
        high is None or value < high["value"] or (high["inclusive"] and value == high["value"])
    )


def test_paths_are_xgboosts(server, truth):
    trees = [features_above(tree) for tree in truth.booster.get_dump(dump_format="json")]
    for id in IDS[:10]:
        answer = server.http.get(f"/v1/models/churn/scores/{id}/paths?trees=1000").json()
        assert answer["all_trees"] == len(trees) == len(answer["trees"])
        leaves = truth.booster.predict(truth.matrix(truth.rows.loc[[id]]), pred_leaf=True)[0]
        contributions = truth.contributions(truth.rows.loc[[id]]).iloc[0]
        total = 0
        for found in answer["trees"]:
            assert found["leaf"] == leaves[found["tree"]]
            asked = trees[found["tree"]][found["leaf"]]
            for rule in found["rules"]:
                assert holds(rule, truth.rows.loc[id, rule["feature"]]), rule
            assert {rule["feature"] for rule in found["rules"]} == asked
            total += found["contribution"]
        # All trees together are the margin less the bias.
        assert total == pytest.approx(contributions.drop("bias").sum(), abs=1e-4)
        sizes = [abs(found["contribution"]) for found in answer["trees"]]
        assert all(a >= b for a, b in pairwise(sizes))


def test_the_score_is_the_same_within_an_interval_and_changes_at_an_end(server, truth):
    """The interval that all trees leave: its ends keep the score's bits."""
    changed = 0
    for id in IDS[:10]:
        answer = server.http.get(f"/v1/models/churn/scores/{id}/paths").json()
        for same in answer["features"]:
            rule, feature = same["rule"], same["rule"]["feature"]
            if feature in truth.categories or same["value"] is None or isinstance(same["value"], bool):
                continue
            row = truth.rows.loc[[id]].copy()
            for end, step in (("lower", -1), ("upper", 1)):
                if end not in rule:
                    continue
                bound = rule[end]
                inside = (
                    bound["value"]
                    if bound["inclusive"]
                    else np.nextafter(np.float32(bound["value"]), np.float32(-step * np.inf))
                )
                row[feature] = float(inside)
                assert truth.score(row)[0] == np.float32(answer["score"]), (id, rule)
                whole = float(same["value"]).is_integer() and bound["inclusive"]
                row[feature] = float(bound["value"]) + step * (
                    1 if whole else 1e-3 * abs(bound["value"]) + 1e-3
                )
                changed += truth.score(row)[0] != np.float32(answer["score"])
    assert changed > 50


@pytest.fixture
def snapshots(evergreen, tmp_path):
    """A server whose snapshot was replaced once: every customer has 20 visits less, or none."""
    path = tmp_path / "customers.parquet"
    FRAME.to_parquet(path)
    config = settings(tmp_path, "[features.watch]\nseconds = 0.1\n")
    later = FRAME.copy()
    later["visits_30d"] = (later["visits_30d"] - 20).clip(lower=0)
    later["as_of"] = later["as_of"] + pd.Timedelta(days=1)
    with serving(evergreen, tmp_path, models=MODELS, customers=path, config=config) as server:
        yield server, later, path


def replace(server, frame, path):
    before = server.http.get(f"/v1/models/churn/scores/{IDS[0]}").json()["features"]["as_of"]
    new = path.with_suffix(".new")
    frame.to_parquet(new)
    new.rename(path)
    until(lambda: server.http.get(f"/v1/models/churn/scores/{IDS[0]}").json()["features"]["as_of"] != before)


def test_changes_are_the_differences_of_xgboosts_contributions(snapshots, truth):
    server, later, path = snapshots
    refused = server.http.get(f"/v1/models/churn/scores/{IDS[0]}/changes")
    assert refused.status_code == 404 and "no previous snapshot" in refused.json()["detail"]
    replace(server, later, path)
    now = truth.frame(later).set_index(later["customer_id"].astype(str)).loc[IDS]
    before = truth.rows.loc[IDS]
    difference = truth.contributions(now) - truth.contributions(before)
    for id in IDS:
        answer = server.http.get(f"/v1/models/churn/scores/{id}/changes?explain=24").json()
        scores = truth.score(now.loc[[id]])[0], truth.score(before.loc[[id]])[0]
        assert (answer["now"]["score"], answer["before"]["score"]) == tuple(map(float, scores))
        assert answer["difference"] == answer["now"]["score"] - answer["before"]["score"]
        found = {reason["feature"]: reason["contribution"] for reason in answer["reasons"]}
        for feature in truth.names:
            assert found.get(feature, 0.0) == pytest.approx(difference.loc[id, feature], abs=NEAR), feature
        assert answer["remainder"] == pytest.approx(0, abs=1e-12)
        assert answer["before"]["as_of"] < answer["now"]["as_of"]
        for reason in answer["reasons"]:
            assert ("as before" in reason["text"]) == (reason["value"] == reason["before"]), reason
    with grpc.insecure_channel(server.grpc) as channel:
        message = Client(channel)("GetChanges", model="churn", id=IDS[0], explain=24)
    answer = server.http.get(f"/v1/models/churn/scores/{IDS[0]}/changes?explain=24").json()
    assert message.text == answer["text"] and message.now.score == answer["now"]["score"]
    assert [reason.contribution for reason in message.reasons] == [
        reason["contribution"] for reason in answer["reasons"]
    ]


def test_a_customer_who_was_not_in_the_previous_snapshot_is_not_found(snapshots):
    server, later, path = snapshots
    newcomer = later.head(1).assign(customer_id="C-new")
    replace(server, pd.concat([later, newcomer]), path)
    answer = server.http.get("/v1/models/churn/scores/C-new/changes")
    assert answer.status_code == 404


def test_grpc_gives_the_same_paths(server):
    with grpc.insecure_channel(server.grpc) as channel:
        message = Client(channel)("GetPaths", model="churn", id=IDS[0], trees=5)
    answer = server.http.get(f"/v1/models/churn/scores/{IDS[0]}/paths?trees=5").json()
    assert (message.score, message.all_trees) == (answer["score"], answer["all_trees"])
    for tree, same in zip(message.trees, answer["trees"], strict=True):
        assert (tree.tree, tree.leaf, tree.contribution) == (same["tree"], same["leaf"], same["contribution"])
        assert [rule.text for rule in tree.rules] == [rule["text"] for rule in same["rules"]]
    for feature, same in zip(message.features, answer["features"], strict=True):
        assert (feature.rule.text, feature.trees) == (same["rule"]["text"], same["trees"])


@pytest.mark.parametrize(
    "bad, message",
    [
        ("{vaule} visits", "no placeholder `vaule`; expected one of value, label"),
        ("<b>{value}</b>", "safe in HTML"),
        ("=1+{value}", "formula"),
    ],
)
def test_the_gate_refuses_bad_words(evergreen, tmp_path, bad, message):
    folder = bundle(tmp_path / "made")
    contract = folder / "bundle.toml"
    contract.write_text(contract.read_text().replace("{value} visits in 30 days", bad))
    checked = subprocess.run([evergreen, "check", str(folder)], capture_output=True, text=True, check=False)
    assert checked.returncode == 1
    assert message in checked.stdout + checked.stderr


def test_without_words_a_reason_has_its_label(evergreen, tmp_path):
    folder = bundle(tmp_path / "made")
    contract = folder / "bundle.toml"
    text = re.sub(r"^(reason|outcome) = .*\n", "", contract.read_text(), flags=re.MULTILINE)
    contract.write_text(text)
    put(folder, tmp_path / "models", 1)
    with serving(evergreen, tmp_path, models=tmp_path / "models") as server:
        reasons = ask(server, ids=["C-1042"], explain=24)[0]["reasons"]
        assert len(reasons) > 9 and all("group" not in reason for reason in reasons)
        [visits] = [reason for reason in reasons if reason["feature"] == "visits_30d"]
        assert visits["text"].startswith("Visits to the site, last 30 days: 4, ")
        assert "the score" in visits["text"]


def test_unknown_names_and_numbers_are_refused(server):
    for query, part in (("explain_up=1", "explain_raising"), ("explain_raising=many", "whole number")):
        answer = server.http.get(f"/v1/models/churn/scores/{IDS[0]}?{query}")
        assert answer.status_code == 400 and part in answer.text
    assert server.http.get("/v1/models/churn/scores/nobody/paths").status_code == 404
    assert server.http.get("/v1/models/chrun/scores/C-1042/paths").status_code == 404
