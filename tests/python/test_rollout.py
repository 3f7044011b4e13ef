"""Canary and shadow on the sample: which version answers which customer, and what is reported."""

import pandas as pd
import pytest

from evergreen_testing.model_repository import Load, bundle, live, order, put, settings
from evergreen_testing.paths import CUSTOMERS
from evergreen_testing.processes import until
from evergreen_testing.server_process import serving

EVERYONE = pd.read_parquet(CUSTOMERS)["customer_id"].tolist()


@pytest.fixture
def server(evergreen, tmp_path):
    """A server with version 1 live and version 2, whose scores differ, loaded."""
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    put(bundle(tmp_path / "new", scale=-0.5), models, 2)
    text = "[models]\npoll_seconds = 0.1\n[models.policy.churn]\nversions = { latest = 2 }\ndefault = 1\n"
    with serving(evergreen, tmp_path, models=models, config=settings(tmp_path, text)) as server:
        yield server


def ask(server, ids, **which):
    body = {"model": "churn", "entities": [{"id": id} for id in ids]} | which
    answer = server.http.post("/v1/score", json=body)
    answer.raise_for_status()
    return answer.json()


def scores(server, **which):
    return {result["id"]: result for result in ask(server, EVERYONE, **which)["results"]}


def trial(server):
    (found,) = server.ops.get("/v1/models/churn").json()["trials"]
    return found


def test_a_canary_takes_its_share_and_a_customer_sees_one_version(server):
    first, second = scores(server, version=1), scores(server, version=2)
    assert order(server, "/v1/models/churn/canary", version=2, share=0.2).status_code == 200
    with Load(server, EVERYONE[:100]) as load:
        answer = ask(server, EVERYONE)
        assert answer["model"]["version"] == 1
        by_canary = {result["id"] for result in answer["results"] if result.get("version") == 2}
        assert 0.15 < len(by_canary) / len(EVERYONE) < 0.25
        for result in answer["results"]:
            expected = second if result["id"] in by_canary else first
            assert result["score"] == expected[result["id"]]["score"]
            assert result["band"] == expected[result["id"]]["band"]
        # Single requests, other protocols and repeated requests select the same customers.
        for id in EVERYONE[:40]:
            single = server.http.get(f"/v1/models/churn/scores/{id}").json()
            assert (single["model"]["version"] == 2) == (id in by_canary)
        tensors = {
            "inputs": [{"name": "customer_id", "shape": [40], "datatype": "BYTES", "data": EVERYONE[:40]}],
            "outputs": [{"name": "version"}, {"name": "score"}],
        }
        outputs = server.http.post("/v2/models/churn/infer", json=tensors).json()["outputs"]
        assert outputs[0]["data"] == [2 if id in by_canary else 1 for id in EVERYONE[:40]]
        # A request that names a version gets that version.
        assert all("version" not in result for result in ask(server, EVERYONE, version=1)["results"])
        # A larger share adds customers and keeps the previous ones.
        order(server, "/v1/models/churn/canary", version=2, share=0.5)
        more = {result["id"] for result in ask(server, EVERYONE)["results"] if result.get("version") == 2}
        assert by_canary < more
        until(lambda: trial(server)["customers"] >= len(by_canary))
        found = trial(server)
        assert (found["kind"], found["base"], found["candidate"], found["share"]) == ("canary", 1, 2, 0.5)
        assert order(server, "/v1/models/churn/canary", method="DELETE").status_code == 200
        assert all("version" not in result for result in ask(server, EVERYONE)["results"])
    load.check()


def test_a_shadow_answers_nobody_and_says_who_would_move(server):
    first, second = scores(server, version=1), scores(server, version=2)
    assert order(server, "/v1/models/churn/shadow", version=2).status_code == 200
    for start in range(0, len(EVERYONE), 200):
        chunk = EVERYONE[start : start + 200]
        answer = ask(server, chunk)
        assert answer["model"]["version"] == 1
        assert [result["score"] for result in answer["results"]] == [first[id]["score"] for id in chunk]
    until(lambda: trial(server)["compared"] + trial(server)["dropped"] >= len(EVERYONE))
    found = trial(server)
    assert found["kind"] == "shadow" and found["dropped"] == 0 and found["failed"] == 0
    order_of = {"low": 0, "medium": 1, "high": 2}
    moves = [order_of[second[id]["band"]] - order_of[first[id]["band"]] for id in EVERYONE]
    assert (found["up"], found["down"]) == (sum(m > 0 for m in moves), sum(m < 0 for m in moves))
    assert found["customers"] == len(EVERYONE) and found["moved_customers"] == sum(m != 0 for m in moves)
    assert found["moved_percent"] == pytest.approx(100 * found["moved_customers"] / len(EVERYONE))
    assert f"would have moved {found['moved_percent']:.1f}% of {len(EVERYONE)} customers" in found["summary"]
    differences = pd.Series([second[id]["score"] - first[id]["score"] for id in EVERYONE])
    edges = [float("-inf"), *found["differences"]["edges"], float("inf")]
    expected = pd.cut(differences, edges, right=False).value_counts(sort=False).tolist()
    assert found["differences"]["counts"] == expected
    metrics = server.ops.get("/metrics").text
    labels = 'base="1",candidate="2",kind="shadow",model="churn"'
    assert f'evergreen_trial_entities_total{{{labels},result="up"}} {found["up"]}' in metrics
    assert f"evergreen_trial_score_difference_count{{{labels}}} {len(EVERYONE)}" in metrics
    # A customer counts once, however often requested.
    ask(server, EVERYONE[:200])
    until(lambda: trial(server)["compared"] >= len(EVERYONE) + 200)
    assert trial(server)["customers"] == len(EVERYONE)


def test_the_same_scores_are_told_as_the_same(evergreen, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    put(bundle(tmp_path / "new"), models, 2)
    text = "[models.policy.churn]\nshadow = { version = 2 }\n"
    with serving(evergreen, tmp_path, models=models, config=settings(tmp_path, text)) as server:
        assert live(server) == 1
        ask(server, EVERYONE)
        until(lambda: trial(server)["compared"] + trial(server)["dropped"] >= len(EVERYONE))
        found = trial(server)
        assert found["compared"] == found["same_score"] == found["same_band"]


def test_what_cannot_be_tried_is_refused_by_name(server):
    def refused(path, **body):
        problem = order(server, path, **body).json()
        return problem["status"], problem["title"], problem["detail"]

    for asked, status, title, part in [
        (refused("/v1/models/churn/canary", version=9, share=0.1), 404, "Model not found", "no version 9"),
        (refused("/v1/models/churn/shadow", version=9), 404, "Model not found", "no version 9"),
        (refused("/v1/models/churn/rollback", version=9), 404, "Model not found", "no version 9"),
        (
            refused("/v1/models/churn/labels/stable", version=9),
            409,
            "Command refused in the present state",
            "load it first",
        ),
        (refused("/v1/models/churn/canary", version=2, share=1.5), 400, "Invalid request", "found 1.5"),
        (refused("/v1/models/churn/shadow", share=0.5), 400, "Invalid request", "version"),
        (
            refused("/v1/models/churn/shadow", version="8"),
            400,
            "Invalid request",
            "version: expected a whole number",
        ),
        (refused("/v1/models/chrun/shadow", version=2), 404, "Model not found", "did you mean `churn`"),
    ]:
        assert asked[:2] == (status, title) and part in asked[2], asked
