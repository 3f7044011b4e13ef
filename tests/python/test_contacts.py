"""Contacts and kept scores of single customers, from both stores of outcomes."""

import datetime as dt
import re

import numpy as np
import pandas as pd
import pytest

from evergreen_testing import clock
from evergreen_testing.feature_stores import postgres_server
from evergreen_testing.paths import MODELS
from evergreen_testing.processes import until
from evergreen_testing.sample_customers import IDS, library_scores, metric, scores
from evergreen_testing.server_process import serving

STORES = pytest.mark.parametrize("kind", ["folder", "postgres"])
PATH = "/v1/models/churn/ranking"
DAY = 86_400


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with postgres_server(tmp_path_factory.mktemp("contacts")) as postgres:
        yield postgres


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """The path of a library that moves the clock of a program."""
    return clock.build(tmp_path_factory.mktemp("shim"))


def settings(folder, kind, request, extra=""):
    if kind == "folder":
        store = f'[outcomes]\nfolder = "{folder}/outcomes"\n'
    else:
        database = request.getfixturevalue("database")
        schema = "s" + re.sub(r"\W", "", str(folder))[-50:]
        database.sql(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        store = f'[outcomes.postgres]\nconnect = "{database.connect}"\nschema = "{schema}"\n'
    path = folder / "e.toml"
    path.write_text(store + extra)
    return path


def at(days):
    return (dt.datetime.now(dt.UTC) + dt.timedelta(days=days)).isoformat()


def get(server, path=PATH, status=200, **query):
    answer = server.http.get(path, params=query)
    assert answer.status_code == status, answer.text
    return answer.json()


def record(server, *outcomes):
    answer = server.http.post("/v1/outcomes", json={"outcomes": list(outcomes)})
    assert answer.status_code == 200, answer.text


def history(server, id, status=200):
    return get(server, f"/v1/models/churn/scores/{id}/history", status)


@STORES
def test_contacts_are_listed_hidden_and_shown_alike(evergreen, tmp_path, kind, request):
    with serving(evergreen, tmp_path, config=settings(tmp_path, kind, request)) as server:
        until(lambda: server.http.get(PATH).status_code == 200)
        order = [item["id"] for item in get(server, page_size=8)["items"]]
        called, offered, gone, alone, back, other = order[:6]
        record(
            server,
            {"customer": called, "action": "call", "detail": "yearly contract", "time": at(-3)},
            {"customer": called, "action": "offer", "time": at(-9)},
            {"customer": offered, "action": "offer", "time": at(-40), "id": "crm-1"},
            {"customer": offered, "result": "stayed", "time": at(-20)},
            # A date: some time of that day, after what else is known of it.
            {"customer": gone, "result": "left", "time": at(-100)[:10]},
            {"customer": gone, "result": "stayed", "time": at(-100)[:10] + "T15:00:00Z"},
            {"customer": alone, "action": "none", "time": at(-1)},
            {"customer": back, "result": "left", "time": at(-50)},
            {"customer": back, "result": "stayed", "time": at(-5)},
        )
        items = get(server, fields="id,contact", page_size=6)["items"]
        contacts = {item["id"]: item["contact"] for item in items}
        assert (contacts[called]["action"], contacts[called]["detail"]) == ("call", "yearly contract")
        assert (contacts[offered]["action"], contacts[offered]["result"]) == ("offer", "stayed")
        assert (contacts[gone]["action"], contacts[gone]["result"]) == (None, "left")
        assert contacts[back]["result"] == "stayed"
        assert contacts[alone] is None and contacts[other] is None
        for days, hidden in ((30, {called, gone}), (60, {called, offered, gone}), (0, {gone})):
            page = get(server, hide_contacted_days=days, page_size=20)
            shown = [item["id"] for item in page["items"]]
            assert shown[: 6 - len(hidden)] == [id for id in order[:6] if id not in hidden]
            assert (page["total_size"], page["contacted"]) == (len(IDS) - len(hidden), len(hidden))
        # A new contact counts at once, also while others come in all the time.
        for id in IDS[100:110]:
            record(server, {"customer": id, "action": "call", "time": at(0)})
            found = get(server, hide_contacted_days=30, search=id)
            assert id not in {item["id"] for item in found["items"]}, id
        recorded = get(server, "/v1/outcomes", customer=called)["outcomes"]
        assert [outcome["action"] for outcome in recorded] == ["call", "offer"]
        [first, second] = get(server, "/v1/outcomes", customer=offered)["outcomes"]
        assert (first["result"], second["id"]) == ("stayed", "crm-1")
        assert get(server, "/v1/outcomes", customer=other)["outcomes"] == []
        record(server, {"customer": offered, "action": "call", "time": at(-40), "id": "crm-1"})
        assert get(server, "/v1/outcomes", customer=offered)["outcomes"][1]["action"] == "call"


@STORES
def test_the_first_score_of_each_week_is_the_history(evergreen, shim, tmp_path, kind, request):
    """The same customers are scored in three weeks, with other data in each; XGBoost says with which scores."""
    extra = '[features]\nas_of = ""\n'
    config = settings(tmp_path, kind, request, extra)
    frame = pd.read_parquet(MODELS / "customers.parquet")
    ids = IDS[:20]
    expected = {id: [] for id in ids}
    for week in (-21, -14, -7):
        frame["visits_30d"] = (frame["visits_30d"] + 4).clip(upper=100)
        customers = tmp_path / f"customers{-week}.parquet"
        frame.to_parquet(customers)
        clock_moved = {"LD_PRELOAD": str(shim), "SHIFT": str(week * DAY), "SHIFTED": str(tmp_path)}
        with serving(evergreen, tmp_path, customers=customers, config=config, **clock_moved) as server:
            for _ in range(2):
                scores(server, ids)
            until(lambda: metric(server, "evergreen_outcome_scores_total", result="kept") == len(ids))
            for id, score in zip(ids, library_scores(frame).loc[ids]):
                expected[id].append((week, score))
            # Read before the next week begins, too: from the journal that is being written.
            for id in ids[:3]:
                check(history(server, id), expected[id])
            assert server.stop() == 0
    with serving(evergreen, tmp_path, customers=customers, config=config) as server:
        for id in ids:
            check(history(server, id), expected[id])
        assert history(server, "nobody") == {"model": "churn", "id": "nobody", "scores": []}
        assert history(server, IDS[50])["scores"] == []
        assert get(server, "/v1/models/x/scores/a/history", 404)["detail"]


def check(found, expected):
    assert [(entry["version"], np.float32(entry["score"])) for entry in found["scores"]] == [
        (1, score) for _, score in reversed(expected)
    ]
    now = dt.datetime.now(dt.UTC)
    for entry, (week, _) in zip(found["scores"], reversed(expected)):
        age = now - dt.datetime.fromisoformat(entry["time"])
        assert abs(age - dt.timedelta(days=-week)) < dt.timedelta(hours=1)


def test_without_a_store_there_is_no_history(server):
    assert "outcomes.folder" in history(server, "C-1042", 409)["detail"]
