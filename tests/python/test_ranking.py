"""The ranking of all customers: order and bits against XGBoost, pages, filters, exports, contacts, and swaps of the model and
of the snapshot under load."""

import base64
import csv
import datetime as dt
import io
import itertools
import json
import random
import subprocess
import threading
import tomllib

import grpc
import httpx
import numpy as np
import pandas as pd
import pytest
import xgboost

from evergreen_testing.grpc_client import Client
from evergreen_testing.model_repository import bundle, live, put, settings
from evergreen_testing.paths import MODELS
from evergreen_testing.processes import until
from evergreen_testing.sample_customers import FRAME, ID, IDS
from evergreen_testing.server_process import serving

PATH = "/v1/models/churn/ranking"
CONTRACT = tomllib.loads((MODELS / "churn/1/bundle.toml").read_text())
BANDS = {band["name"]: band["from"] for band in CONTRACT["output"]["bands"]}
BOOSTER = xgboost.Booster(model_file=MODELS / "churn/1/model.ubj")


def predictions(frame):
    """Returns XGBoost's own scores by id."""
    rows = frame[BOOSTER.feature_names].copy()
    kinds = dict(zip(BOOSTER.feature_names, BOOSTER.feature_types))
    for feature in CONTRACT["feature"]:
        if kinds[feature["name"]] == "c":
            rows[feature["name"]] = pd.Categorical(rows[feature["name"]], categories=feature["categories"])
    return dict(zip(frame[ID], BOOSTER.inplace_predict(rows).tolist()))


SCORES = predictions(FRAME)
ROWS = FRAME.set_index(ID)


def ordered(scores, descending=True):
    """Returns ids by score, then by id; ascending is the reverse."""
    ids = sorted(scores, key=lambda id: (-scores[id], id))
    return ids if descending else ids[::-1]


def band(score):
    return next((name for name, start in reversed(BANDS.items()) if score >= start), None)


def get(server, status=200, **parameters):
    answer = server.http.get(PATH, params=parameters)
    assert answer.status_code == status, answer.text
    return answer.json()


def ready(server, model="churn"):
    """Waits until the ranking is of the present version and snapshot."""

    def is_ready():
        answer = server.http.get(f"/v1/models/{model}/ranking", params={"page_size": 1})
        return answer.status_code == 200 and not answer.json()["stale"]

    until(is_ready)
    return server


def pages(server, **parameters):
    """Returns the items of all pages."""
    items, token = [], ""
    while True:
        page = get(server, **parameters, **({"page_token": token} if token else {}))
        items += page["items"]
        token = page["next_page_token"]
        if not token:
            assert len(items) == page["total_size"]
            return items


@pytest.fixture(scope="module")
def ranked(server):
    return ready(server)


def place(frame, path):
    """Replaces the file in one step."""
    new = path.with_suffix(".new")
    frame.to_parquet(new)
    new.rename(path)


# --- Order and pages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("descending", [True, False])
def test_every_customer_has_xgboosts_score_in_its_order(ranked, descending):
    order = "score desc" if descending else "score asc"
    items = pages(ranked, page_size=1000, order_by=order)
    assert [item["id"] for item in items] == ordered(SCORES, descending)
    assert {item["id"]: item["score"] for item in items} == SCORES
    ranks = [item["rank"] for item in items]
    assert ranks == list(range(1, len(IDS) + 1))[:: 1 if descending else -1]
    assert all(item["band"] == band(item["score"]) for item in items)


def test_the_bits_are_those_of_the_score_of_one_customer(ranked):
    for item in get(ranked, page_size=20)["items"]:
        one = ranked.http.get(f"/v1/models/churn/scores/{item['id']}").json()
        assert (one["score"], one["band"]) == (item["score"], item["band"])


def test_the_head_says_what_is_ranked(ranked):
    page = get(ranked, page_size=1)
    model = ranked.http.get("/v1/models/churn/scores/C-1042").json()["model"]
    assert page["model"] == model and page["stale"] is False and page["unscored"] == 0
    assert page["total_size"] == len(IDS) and page["contacted"] is None
    assert page["data"]["as_of"] == page["data"]["as_of_latest"] == "2026-11-21T03:00:00Z"
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(page["ranked_at"])
    assert dt.timedelta() <= age < dt.timedelta(hours=1)
    counts = {name: [score for score in SCORES.values() if band(score) == name] for name in BANDS}
    assert [found["name"] for found in page["bands"]] == ["high", "medium", "low"]
    for found in page["bands"]:
        of_band = counts[found["name"]]
        assert (found["customers"], found["from"]) == (len(of_band), BANDS[found["name"]])
        assert found["expected"] == pytest.approx(sum(of_band), rel=1e-12) and found["change"] is None


@pytest.mark.parametrize("size", [1, 7, 50, 999, 1000, 5000])
def test_pages_of_any_size_have_each_customer_once(ranked, size):
    if size == 1:
        items = pages(ranked, page_size=1, band="high")
        assert [item["id"] for item in items] == [id for id in ordered(SCORES) if band(SCORES[id]) == "high"]
        return
    items = pages(ranked, page_size=size)
    assert [item["id"] for item in items] == ordered(SCORES)
    first = get(ranked, page_size=size)["items"]
    assert len(first) == min(size, 1000)


def test_answers_with_personal_data_are_not_kept(ranked):
    for answer in (ranked.http.get(PATH), ranked.http.post(PATH, json={"ids": ["C-1042"]})):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


# --- Filters ---------------------------------------------------------------------------------------------------------

VISITS = ROWS["visits_30d"]
FILTERS = {
    "plan=showroom": ROWS["plan"] == "showroom",
    "plan!=showroom": ROWS["plan"] != "showroom",
    "visits_30d<=2": VISITS <= 2,
    "visits_30d<2": VISITS < 2,
    "visits_30d>10": VISITS > 10,
    "visits_30d>=10": VISITS >= 10,
    "visits_30d=0": VISITS == 0,
    "yearly_contract=true": ROWS["yearly_contract"].astype(bool),
    "nps=": ROWS["nps"].isna(),
    "nps!=": ROWS["nps"].notna(),
    "nps<=4": ROWS["nps"] <= 4,
    "monthly_price>=99.42": ROWS["monthly_price"].astype("float32") >= np.float32(99.42),
}


@pytest.mark.parametrize("text", FILTERS)
@pytest.mark.parametrize("order", ["score desc", "score asc"])
def test_a_filter_selects_what_pandas_selects(ranked, text, order):
    mask = FILTERS[text].fillna(False).astype(bool)
    expected = [id for id in ordered(SCORES, order == "score desc") if mask[id]]
    assert 0 < len(expected) < len(IDS)
    items = pages(ranked, filter=text, order_by=order, page_size=400)
    assert [item["id"] for item in items] == expected


def test_filters_bands_and_search_hold_together(ranked):
    mask = (ROWS["plan"] == "showroom") & (VISITS <= 6)
    expected = [
        id
        for id in ordered(SCORES)
        if mask[id] and band(SCORES[id]) in ("high", "low") and "c-1" in id.lower()
    ]
    found = pages(
        ranked,
        filter=["plan=showroom", "visits_30d<=6"],
        band="low,high",
        search="c-1",
        page_size=11,
        fields="id",
    )
    assert [item["id"] for item in found] == expected and len(expected) > 11
    assert get(ranked, search="no such customer")["items"] == []


@pytest.mark.parametrize("text", ["c-10", "C-10", "042", "-", "C-1042"])
def test_a_part_of_an_id_is_found(ranked, text):
    expected = [id for id in ordered(SCORES) if text.lower() in id.lower()]
    assert [item["id"] for item in pages(ranked, search=text, page_size=1000)] == expected


WRONG = [
    ({"page_size": "many"}, "page_size: expected a whole number from 0, such as 3, found"),
    ({"page_token": "AAAA"}, "page_token: expected next_page_token of the last page, unchanged"),
    ({"page_token": "x" * 9000}, "page_token: expected at most 8192 bytes, found 9000"),
    ({"band": "hihg"}, "band: no band `hihg`; expected one of high, medium, low; did you mean `high`?"),
    ({"filter": "visits=1"}, "filter: no feature `visits`"),
    ({"filter": "plan=shworoom"}, "did you mean `showroom`?"),
    ({"filter": "plan>showroom"}, "filter: plan: expected = or !="),
    ({"filter": "visits_30d<=few"}, "filter: visits_30d: expected"),
    ({"filter": "visits_30d"}, "filter: expected NAME=VALUE"),
    ({"filter": ["plan=pro"] * 9}, "filter: expected at most 8, found 9"),
    ({"search": "x" * 200}, "search: expected at most 128 bytes, found 200"),
    ({"order_by": "score"}, "order_by: no order `score`; expected one of score desc"),
    ({"fields": "id,scores"}, "fields: no field `scores`"),
    ({"fields": "reasons", "reasons": "9"}, "reasons: expected 1 to 8, such as 3, found 9"),
    ({"reasons": "2"}, "reasons: expected only with `reasons` among fields"),
    ({"fields": "features", "features": "plam"}, "features: no feature `plam`"),
    ({"hide_contacted_days": "366"}, "hide_contacted_days: expected 0 to 365, such as 30, found 366"),
    ({"format": "xlsx"}, "format: no format `xlsx`; expected one of json, csv, ndjson"),
    ({"bands": "high"}, "no query parameter `bands`"),
    ({"band": ["high", "low"]}, "query: `band` is given twice; keep one"),
]


@pytest.mark.parametrize("parameters, message", WRONG, ids=[str(index) for index in range(len(WRONG))])
def test_a_wrong_parameter_is_named(ranked, parameters, message):
    problem = get(ranked, status=400, **parameters)
    assert message in problem["detail"], problem


def test_an_unknown_model_and_outcomes_that_are_off_say_so(ranked):
    answer = ranked.http.get("/v1/models/chrun/ranking")
    assert answer.status_code == 404 and "churn" in answer.json()["detail"]
    assert ranked.http.post("/v1/models/chrun/ranking", json={"ids": ["a"]}).status_code == 404
    problem = get(ranked, status=400, hide_contacted_days=30)
    assert "outcomes.folder" in problem["detail"]
    assert [item["contact"] for item in get(ranked, page_size=2, fields="contact")["items"]] == [None, None]


def test_a_token_is_of_no_use_with_other_filters_or_another_order(ranked):
    token = get(ranked, page_size=5, band="high")["next_page_token"]
    assert get(ranked, page_token=token, band="high")["items"]
    for other in (
        {},
        {"band": "low"},
        {"band": "high", "search": "1"},
        {"band": "high", "order_by": "score asc"},
    ):
        problem = get(ranked, status=400, page_token=token, **other)
        assert "expected the order and the filters of the page" in problem["detail"]


def test_a_damaged_token_never_fails_otherwise(ranked):
    """Each byte of a token is changed: the answer is a page or a clear refusal."""
    rng = random.Random(18)
    token = get(ranked, page_size=5)["next_page_token"]
    bytes_ = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for at in range(len(bytes_)):
        wrong = bytearray(bytes_)
        wrong[at] ^= rng.randrange(1, 256)
        text = base64.urlsafe_b64encode(wrong).decode().rstrip("=")
        answer = ranked.http.get(PATH, params={"page_token": text, "page_size": 3})
        assert answer.status_code in (200, 400, 409), (at, answer.text)


# --- Fields ----------------------------------------------------------------------------------------------------------


def test_fields_are_chosen(ranked):
    assert set(get(ranked)["items"][0]) == {"rank", "id", "score", "band"}
    assert get(ranked, fields="id", page_size=1)["items"] == [{"id": ordered(SCORES)[0]}]
    every = "rank,id,score,band,change,contact,hold_out,reasons,features"
    item = get(ranked, fields=every, page_size=1)["items"][0]
    assert set(item) == set(every.split(","))
    assert item["change"] is None and item["contact"] is None and item["hold_out"] is False
    assert len(item["reasons"]) == 3 and set(item["features"]) == set(BOOSTER.feature_names)


def test_reasons_and_features_are_those_of_the_customer(ranked):
    items = get(
        ranked, fields="id,score,reasons,features", reasons=2, features="plan,monthly_price", page_size=30
    )
    for item in items["items"]:
        one = ranked.http.get(f"/v1/models/churn/scores/{item['id']}", params={"explain": 2}).json()
        assert [reason["text"] for reason in item["reasons"]] == [reason["text"] for reason in one["reasons"]]
        found = [reason["contribution"] for reason in item["reasons"]]
        assert found == pytest.approx([reason["contribution"] for reason in one["reasons"]], abs=1e-5)
        row = ROWS.loc[item["id"]]
        assert item["features"] == {"plan": row["plan"], "monthly_price": pytest.approx(row["monthly_price"])}


# --- Lists of ids ----------------------------------------------------------------------------------------------------


def post(server, status=200, **body):
    answer = server.http.post(PATH, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_listed_customers_are_ranked_among_themselves(ranked):
    rng = random.Random(4)
    ids = rng.sample(IDS, 300)
    found = post(ranked, ids=[*ids, ids[0], "no-such", 7])
    expected = ordered({id: SCORES[id] for id in ids})
    assert [item["id"] for item in found["items"]] == expected
    assert [item["rank"] for item in found["items"]] == list(range(1, 301))
    assert {item["id"]: item["score"] for item in found["items"]} == {id: SCORES[id] for id in ids}
    assert found["not_found"] == ["no-such", 7] and found["total_size"] == 300 and found["unscored"] == 0
    counts = {name: sum(band(SCORES[id]) == name for id in ids) for name in BANDS}
    assert {found["name"]: found["customers"] for found in found["bands"]} == counts


def test_the_options_hold_for_lists_too(ranked):
    mask = ROWS["plan"] == "showroom"
    ids = IDS[:500]
    scores = {id: SCORES[id] for id in ids}
    for fields in ("id,reasons,features", ["id", "reasons", "features"]):
        found = post(
            ranked,
            ids=ids,
            filter=["plan=showroom"],
            band="low",
            search="1",
            order_by="score asc",
            fields=fields,
            reasons=1,
            features=["plan"],
        )
        expected = [
            id for id in ordered(scores, False) if mask[id] and band(scores[id]) == "low" and "1" in id
        ]
        assert [item["id"] for item in found["items"]] == expected
        assert all(
            len(item["reasons"]) == 1 and item["features"] == {"plan": "showroom"} for item in found["items"]
        )


@pytest.mark.parametrize(
    "body, status, message",
    [
        ({"ids": []}, 400, "no entities or rows to score; send at least one"),
        ({"ids": ["a"] * 10_001}, 413, "limits.batch allows 10000"),
        ({"ids": [1.5]}, 400, "ids[0]: expected an id: a text or a whole number"),
        ({"id": ["a"]}, 400, "did you mean `ids`?"),
        ({"ids": ["a"], "band": "x"}, 400, "band: no band `x`"),
        ({"ids": ["a"], "fields": ["x"]}, 400, "fields: no field `x`"),
        ({"ids": ["a"], "hide_contacted_days": 30}, 400, "outcomes.folder"),
    ],
)
def test_a_wrong_list_is_named(ranked, body, status, message):
    assert message in post(ranked, status=status, **body)["detail"]


# --- Export ----------------------------------------------------------------------------------------------------------


def export(server, **parameters):
    answer = server.http.get(PATH, params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].startswith('attachment; filename="churn-ranking.')
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    return answer


def test_a_table_opens_in_pythons_csv(ranked):
    answer = export(
        ranked,
        format="csv",
        fields="rank,id,score,band,hold_out,reasons,features",
        reasons=2,
        features="plan,nps",
    )
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert list(rows[0]) == ["rank", "id", "score", "band", "hold_out", "reason_1", "reason_2", "plan", "nps"]
    assert [row["id"] for row in rows] == ordered(SCORES)
    assert {row["id"]: float(row["score"]) for row in rows} == SCORES
    for row in rows[:200]:
        values = ROWS.loc[row["id"]]
        assert row["plan"] == values["plan"] and row["hold_out"] == "false"
        assert row["nps"] == ("" if pd.isna(values["nps"]) else str(int(values["nps"])))
        assert row["reason_1"]


def test_lines_are_the_items(ranked):
    answer = export(ranked, format="ndjson", band="high", fields="id,score")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines == pages(ranked, band="high", fields="id,score", page_size=1000)


def test_an_export_goes_on_behind_a_token_and_may_be_empty(ranked):
    token = get(ranked, page_size=100, fields="id")["next_page_token"]
    lines = export(ranked, format="ndjson", fields="id", page_token=token).text.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ordered(SCORES)[100:]
    assert export(ranked, format="csv", fields="id", search="nobody").text == "id\n"


def test_a_table_computes_nothing(evergreen, tmp_path):
    """Ids that a spreadsheet would take for formulas."""
    signs = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", 'a"b', "a,b", "a\nb"]
    # The wide forms of the signs.
    signs += [chr(ord(sign) + 0xFEE0) + "1" for sign in "=+-@"]
    # What some spreadsheets take for the beginning of another cell.
    inner = {"\t=1": "'\t'=1", "\r=1": "'\r'=1", "\n=1": "'\n'=1", "x;=1": "x;'=1"}
    signs.append("x;=1")
    frame = FRAME.copy()
    frame[ID] = frame[ID].astype(object)
    for at, sign in enumerate(signs):
        frame.loc[at, ID] = sign
    frame.to_parquet(tmp_path / "customers.parquet")
    with serving(evergreen, tmp_path, customers=tmp_path / "customers.parquet") as server:
        ready(server)
        text = export(server, format="csv", fields="id,score").text
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        found = {row["id"] for row in rows}
        risky = [sign for sign in signs if not sign.startswith("a")]
        assert found >= {inner.get(sign, f"'{sign}") for sign in risky} | {'a"b', "a,b", "a\nb"}
        assert not found & set(risky) and len(rows) == len(frame)
        scores = predictions(frame)
        assert {row["id"].replace("'", ""): float(row["score"]) for row in rows} == scores
        # The texts themselves are unchanged elsewhere.
        assert {item["id"] for item in pages(server, page_size=1000)} == set(frame[ID])


# --- Contacts and the hold-out ---------------------------------------------------------------------------------------


def at(days):
    return (dt.datetime.now(dt.UTC) + dt.timedelta(days=days)).isoformat()


@pytest.fixture(scope="module")
def recorded(evergreen, tmp_path_factory):
    """A server with outcomes of the first customers, and a hold-out."""
    folder = tmp_path_factory.mktemp("contacts")
    config = settings(folder, f"[outcomes]\nfolder = '{folder}/outcomes'\nhold_out = 0.1\n")
    first = ordered(SCORES)
    outcomes = [
        {"customer": first[0], "action": "call", "detail": "yearly contract", "time": at(-3)},
        {"customer": first[0], "action": "offer", "time": at(-9)},
        {"customer": first[1], "action": "offer", "detail": "=1+1", "time": at(-40), "id": "crm-1"},
        {"customer": first[1], "result": "stayed", "time": at(-20)},
        {"customer": first[2], "result": "left", "time": at(-100)},
        {"customer": first[3], "action": "none", "time": at(-1)},
    ]
    with serving(evergreen, folder, config=config) as server:
        answer = server.http.post("/v1/outcomes", json={"outcomes": outcomes})
        assert answer.status_code == 200, answer.text
        yield ready(server)


def test_the_last_contact_is_shown_and_contacted_customers_can_be_hidden(recorded):
    first = ordered(SCORES)
    items = get(recorded, fields="id,contact", page_size=5)["items"]
    contacts = {item["id"]: item["contact"] for item in items}
    assert contacts[first[0]]["action"] == "call" and contacts[first[0]]["detail"] == "yearly contract"
    assert contacts[first[0]]["result"] is None
    assert contacts[first[1]]["action"] == "offer" and contacts[first[1]]["result"] == "stayed"
    assert contacts[first[2]] == contacts[first[2]] | {"action": None, "result": "left"}
    assert contacts[first[3]] is None and contacts[first[4]] is None
    for days, hidden in ((30, {0, 2}), (60, {0, 1, 2}), (1, {2}), (0, {2})):
        page = get(recorded, hide_contacted_days=days, page_size=10)
        expected = [id for at, id in enumerate(first) if at not in hidden]
        assert [item["id"] for item in page["items"]] == expected[:10]
        assert (page["total_size"], page["contacted"]) == (len(IDS) - len(hidden), len(hidden))
    page = get(recorded, hide_contacted_days=60, search=first[1])
    assert (page["total_size"], page["contacted"]) == (0, 1)
    listed = recorded.http.post(
        PATH, json={"ids": first[:6], "hide_contacted_days": 30, "fields": "id,contact"}
    )
    assert [item["id"] for item in listed.json()["items"]] == [first[1], first[3], first[4], first[5]]
    assert listed.json()["contacted"] == 2


def test_a_contact_hides_its_customer_at_once_and_pages_go_on(recorded):
    def hidden(**more):
        return get(recorded, hide_contacted_days=90, page_size=10, fields="id", **more)

    page = hidden()
    called = page["items"][-1]["id"], ordered(SCORES)[200]
    for id in called:
        body = {"outcomes": [{"customer": id, "action": "call", "time": at(0)}]}
        assert recorded.http.post("/v1/outcomes", json=body).status_code == 200
    after = hidden(page_token=page["next_page_token"])
    order = ordered(SCORES)
    start = order.index(called[0]) + 1
    assert [item["id"] for item in after["items"]] == order[start : start + 10]
    assert not {item["id"] for item in hidden(band="high")["items"]} & set(called)


def test_contacts_in_a_table_are_safe(recorded):
    rows = csv.DictReader(io.StringIO(export(recorded, format="csv", band="high", fields="id,contact").text))
    row = next(row for row in rows if row["id"] == ordered(SCORES)[1])
    assert row["contact_action"] == "offer" and row["contact_detail"] == "'=1+1" and row["result"] == "stayed"
    assert dt.datetime.fromisoformat(row["contact_time"]) < dt.datetime.fromisoformat(row["result_time"])


def test_the_history_of_a_customer(recorded):
    first = ordered(SCORES)
    answer = recorded.http.get("/v1/outcomes", params={"customer": first[0]})
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    assert found["customer"] == first[0]
    assert [outcome["action"] for outcome in found["outcomes"]] == ["call", "offer"]
    assert all(outcome["model"] == "churn" and outcome["id"] is None for outcome in found["outcomes"])
    found = recorded.http.get("/v1/outcomes", params={"customer": first[1], "model": "churn"}).json()
    assert [(outcome["result"], outcome["id"]) for outcome in found["outcomes"]] == [
        ("stayed", None),
        (None, "crm-1"),
    ]
    assert recorded.http.get("/v1/outcomes?customer=nobody").json()["outcomes"] == []
    for query, status, message in [
        ("", 400, "customer: expected an id such as C-1042, found nothing"),
        ("?customer=a&model=x", 404, "no model `x`"),
        ("?customer=a&since=1", 400, "no query parameter `since`"),
    ]:
        answer = recorded.http.get(f"/v1/outcomes{query}")
        assert answer.status_code == status and message in answer.json()["detail"]


def test_outcomes_that_are_off_say_so(ranked):
    assert ranked.http.get("/v1/outcomes?customer=a").status_code == 409


def test_the_history_is_bounded_and_survives_a_restart(evergreen, tmp_path):
    config = settings(tmp_path, f"[outcomes]\nfolder = '{tmp_path}/outcomes'\n")
    outcomes = [
        {"customer": "a", "action": "call", "detail": str(at_), "time": at(-200 + at_)} for at_ in range(150)
    ]
    outcomes += [{"customer": "b", "action": "call", "detail": "x" * 128, "time": at(-1)}]
    with serving(evergreen, tmp_path, config=config) as server:
        assert server.http.post("/v1/outcomes", json={"outcomes": outcomes}).status_code == 200
        before = server.http.get("/v1/outcomes?customer=a").json()
        assert server.stop() == 0
    with serving(evergreen, tmp_path, config=config) as server:
        found = server.http.get("/v1/outcomes?customer=a").json()
        assert found == before
        assert [outcome["detail"] for outcome in found["outcomes"]] == [
            str(at_) for at_ in range(149, 49, -1)
        ]
        [outcome] = server.http.get("/v1/outcomes?customer=b").json()["outcomes"]
        assert outcome["detail"] == "x" * 128


def test_the_hold_out_is_marked(recorded):
    items = pages(recorded, fields="id,hold_out", page_size=1000)
    held = {item["id"] for item in items if item["hold_out"]}
    assert 0.05 < len(held) / len(IDS) < 0.15
    body = {"model": "churn", "entities": [{"id": id} for id in IDS]}
    results = recorded.http.post("/v1/score", json=body).json()["results"]
    assert held == {result["id"] for result in results if result.get("hold_out")}
    listed = recorded.http.post(PATH, json={"ids": IDS[:500], "fields": ["id", "hold_out"]}).json()["items"]
    assert {item["id"] for item in listed if item["hold_out"]} == held & set(IDS[:500])


# --- Roles -----------------------------------------------------------------------------------------------------------


def test_who_may_read_scores_may_read_the_ranking(evergreen, tmp_path):
    keys, lines = {}, ""
    for name in ("score", "read", "record", "administer"):
        made = subprocess.run(
            [evergreen, "key", name, "--role", name], capture_output=True, text=True, check=True
        )
        keys[name], lines = made.stderr.split()[-1], lines + made.stdout
    made = subprocess.run([evergreen, "key", "other"], capture_output=True, text=True, check=True)
    keys["other"], lines = made.stderr.split()[-1], lines + made.stdout + 'models = ["upsell"]\n'
    (tmp_path / "keys.toml").write_text(lines)
    config = settings(
        tmp_path, f"[auth]\nfile = '{tmp_path}/keys.toml'\n[outcomes]\nfolder = '{tmp_path}/outcomes'\n"
    )
    with serving(evergreen, tmp_path, config=config) as server:

        def status(name, method="GET", path=PATH, **more):
            headers = {"authorization": f"Bearer {keys[name]}"} if name else {}
            return server.http.request(method, path, headers=headers, **more).status_code

        until(lambda: status("score") == 200)
        ids = {"json": {"ids": ["C-1042"]}}
        assert status(None) == 401 and status(None, "POST", **ids) == 401
        for name in ("read", "record", "administer"):
            assert status(name) == 403 and status(name, "POST", **ids) == 403, name
            assert status(name, path="/v1/outcomes?customer=a") == 403, name
        assert status("score", "POST", **ids) == 200
        assert status("score", path="/v1/outcomes?customer=a") == 200
        # A key for another model learns nothing of this one.
        assert status("other") == 403 and status("other", "POST", **ids) == 403
        assert status("other", path=PATH + "?format=csv") == 403
        assert status("other", path="/v1/outcomes?customer=a&model=churn") == 403


# --- Models that cannot be listed ------------------------------------------------------------------------------------


def test_a_model_with_a_store_cannot_be_listed_but_ranks_ids(evergreen, tmp_path):
    import redis

    from evergreen_testing.feature_stores import redis_server
    from evergreen_testing.sample_customers import fill

    with redis_server(tmp_path) as store:
        fill(redis.Redis(port=store.port))
        config = settings(
            tmp_path,
            "[features]\ndefault = 'online'\n[source.online.redis]\nkey = 'customer:{id}'\n"
            f"[source.online.redis.server]\nurls = ['redis://127.0.0.1:{store.port}']\n",
        )
        with serving(evergreen, tmp_path, customers=None, config=config) as server:
            answer = server.http.get(PATH)
            assert answer.status_code == 400
            assert "cannot be listed" in answer.json()["detail"]
            assert "POST /v1/models/churn/ranking" in answer.json()["detail"]
            ids = IDS[:200]
            found = post(server, ids=[*ids, "nobody"], fields=["id", "score", "change", "reasons"])
            assert [item["id"] for item in found["items"]] == ordered({id: SCORES[id] for id in ids})
            assert {item["id"]: item["score"] for item in found["items"]} == {id: SCORES[id] for id in ids}
            assert found["not_found"] == ["nobody"] and found["data"].get("snapshot") is None


def test_rankings_can_be_turned_off_and_limited(evergreen, tmp_path):
    with serving(evergreen, tmp_path, config=settings(tmp_path, "[ranking]\nenabled = false\n")) as server:
        assert "ranking.enabled" in get(server, status=400)["detail"]
        assert post(server, ids=["C-1042"])["items"]
    with serving(
        evergreen, tmp_path, config=settings(tmp_path, "[ranking]\nmost_customers = 100\n")
    ) as server:
        until(lambda: "ranking.most_customers allows 100" in get(server, status=503)["detail"])
        assert 'evergreen_rankings_total{model="churn",result="failed"} 1' in server.ops.get("/metrics").text
        assert server.ops.get("/readyz").status_code == 200


def test_customers_without_a_score_are_counted(evergreen, tmp_path):
    frame = FRAME.copy()
    frame["nps"] = frame["nps"].astype(float)
    lost = frame.index[:7]
    features = [name for name in BOOSTER.feature_names if name not in ("plan", "segment", "region")]
    for name in features:
        frame[name] = frame[name].astype(object)
        frame.loc[lost, name] = None
    frame.to_parquet(tmp_path / "customers.parquet")
    with serving(evergreen, tmp_path, customers=tmp_path / "customers.parquet") as server:
        ready(server)
        one = server.http.get(f"/v1/models/churn/scores/{frame[ID][0]}")
        page = get(server, page_size=1)
        if one.status_code == 422:
            assert page["unscored"] == 7 and page["total_size"] == len(frame) - 7
        else:
            assert page["unscored"] == 0
        ids = frame[ID][:20].tolist()
        listed = post(server, ids=ids)
        assert listed["unscored"] + len(listed["items"]) == 20
        assert listed["unscored"] == page["unscored"]


# --- Changes of model and snapshot -----------------------------------------------------------------------------------

WATCH = "[features.watch]\nseconds = 0.1\n"


@pytest.fixture
def changing(evergreen, tmp_path):
    """A server with a repository and customers of its own."""
    customers = tmp_path / "customers.parquet"
    place(FRAME, customers)
    put(bundle(tmp_path / "new"), tmp_path / "models", 1)
    config = settings(tmp_path, f"{WATCH}[models]\npoll_seconds = 0.1\n")
    with serving(
        evergreen, tmp_path, models=tmp_path / "models", customers=customers, config=config
    ) as server:
        yield ready(server), tmp_path, customers


def later(frame):
    frame = frame.copy()
    frame["visits_30d"] = (frame["visits_30d"] - 3).clip(lower=0)
    frame["as_of"] = frame["as_of"] + pd.Timedelta(days=1)
    return frame


def test_a_new_snapshot_is_ranked_and_compared_with_the_previous_one(changing):
    server, _, customers = changing
    token = get(server, page_size=5)["next_page_token"]
    newcomers = later(FRAME).head(3).assign(**{ID: ["N-1", "N-2", "N-3"]})
    frame = pd.concat([later(FRAME).iloc[4:], newcomers])
    place(frame, customers)
    until(lambda: get(server, page_size=1)["total_size"] == len(frame))
    scores = predictions(frame)
    items = pages(server, page_size=1000, fields="id,score,change")
    assert [item["id"] for item in items] == ordered(scores)
    assert {item["id"]: item["score"] for item in items} == scores
    for item in items:
        if item["id"].startswith("N-"):
            assert item["change"] is None
        else:
            before = SCORES[item["id"]]
            difference = item["score"] - before
            assert item["change"] == {"score": before, "difference": difference, "band": band(before)}
    # The order of changes: those without one are last in both directions.
    changes = {id: score - SCORES[id] for id, score in scores.items() if id in SCORES}
    for direction in ("desc", "asc"):
        found = pages(server, page_size=700, order_by=f"change {direction}", fields="id")
        expected = [*ordered(changes, direction == "desc"), "N-1", "N-2", "N-3"]
        assert [item["id"] for item in found] == expected
        found = pages(server, page_size=70, order_by=f"change {direction}", fields="id", band="high")
        high = [id for id in expected if band(scores[id]) == "high"]
        assert [item["id"] for item in found] == high
    for found in get(server, page_size=1)["bands"]:
        now = sum(band(score) == found["name"] for score in scores.values())
        then = sum(band(score) == found["name"] for score in SCORES.values())
        assert (found["customers"], found["change"]) == (now, now - then)
    listed = post(server, ids=[IDS[10], "N-1"], fields=["id", "change"], order_by="change desc")
    assert listed["items"][0]["change"]["score"] == SCORES[IDS[10]] and listed["items"][1]["change"] is None
    one = server.http.get(f"/v1/models/churn/scores/{IDS[10]}/changes").json()
    assert listed["items"][0]["change"]["difference"] == one["difference"]
    # The token of the ranking that is gone.
    problem = get(server, status=409, page_token=token)
    assert "begin again with the first page" in problem["detail"]


def test_a_new_version_is_ranked(changing):
    server, folder, _ = changing
    put(bundle(folder / "other", 0.5), folder / "models", 2)
    until(lambda: live(server) == 2)
    ready(server)
    page = get(server, page_size=1000)
    assert page["model"]["version"] == 2
    ids = [item["id"] for item in page["items"]]
    assert ids[:100] == ordered(SCORES)[:100]
    for item in page["items"][:20]:
        one = server.http.get(f"/v1/models/churn/scores/{item['id']}").json()
        assert one["model"]["version"] == 2 and one["score"] == item["score"] != SCORES[item["id"]]


def test_what_a_release_changed_is_counted_and_kept_until_the_next_one(changing):
    server, folder, customers = changing
    assert get(server, page_size=1)["release"] is None
    put(bundle(folder / "other", 0.5), folder / "models", 2)
    until(lambda: get(server, page_size=1)["model"]["version"] == 2)
    # The calibration of version 2 takes 0.5 from each margin.
    scores = np.array(list(SCORES.values()))
    calibrated = 1 / (1 + np.exp(-(np.log(scores / (1 - scores)) - 0.5)))
    lowered = sum(band(now) != band(then) for now, then in zip(calibrated, scores))
    assert lowered > 100
    release = {"before": 1, "customers": len(FRAME), "raised": 0, "lowered": lowered}
    assert get(server, page_size=1)["release"] == release
    with grpc.insecure_channel(server.grpc) as channel:
        reply = Client(channel)("ListRanking", model="churn", page_size=1)
    assert reply.head.release.lowered == lowered and reply.head.release.before == 1
    # New data changes nothing of what the release did.
    place(later(FRAME).iloc[1:], customers)
    until(lambda: get(server, page_size=1)["total_size"] == len(FRAME) - 1)
    assert get(server, page_size=1)["release"] == release
    # Version and data change at once: what the version did cannot be told.
    place(later(later(FRAME)).iloc[2:], customers)
    put(bundle(folder / "third"), folder / "models", 3)
    until(lambda: get(server, page_size=1)["model"]["version"] == 3)
    until(lambda: get(server, page_size=1)["total_size"] == len(FRAME) - 2)
    found = get(server, page_size=1)["release"]
    assert found is None or found["before"] == 2


def test_pages_are_whole_while_everything_changes(changing):
    """Clients page through the list while versions and snapshots change: each list that they finish has every customer of one
    ranking once, in its order; a list that cannot be finished is refused."""
    server, folder, customers = changing
    stop, failures, finished, refused = threading.Event(), [], [], []

    def read():
        with httpx.Client(base_url=server.http.base_url, timeout=30) as client:
            while not stop.is_set():
                items, token, heads = [], "", set()
                while True:
                    answer = client.get(PATH, params={"page_size": 500, "page_token": token})
                    if answer.status_code == 409:
                        refused.append(answer.json()["detail"])
                        break
                    if answer.status_code != 200:
                        failures.append(answer.text)
                        break
                    page = answer.json()
                    heads.add((page["model"]["version"], page["ranked_at"]))
                    items += page["items"]
                    token = page["next_page_token"]
                    if not token:
                        finished.append((page["model"]["version"], page["total_size"], items))
                        break

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    version, frame = 1, FRAME
    for step in range(6):
        if step % 2:
            version += 1
            put(bundle(folder / f"v{version}", 0.1 * version), folder / "models", version)
            until(lambda wanted=version: get(server, page_size=1)["model"]["version"] == wanted)
        else:
            frame = later(frame).iloc[1:]
            place(frame, customers)
            until(lambda frame=frame: get(server, page_size=1)["total_size"] == len(frame))
    until(lambda: finished)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    assert all("page_token" in detail for detail in refused)
    for _, total, items in finished:
        ids = [item["id"] for item in items]
        assert len(ids) == len(set(ids)) == total
        keys = [(-item["score"], item["id"]) for item in items]
        assert keys == sorted(keys)
        assert [item["rank"] for item in items] == list(range(1, total + 1))
    text = server.ops.get("/metrics").text
    assert f'evergreen_ranking_customers{{model="churn",result="ranked"}} {len(frame)}' in text
    assert 'evergreen_rankings_total{model="churn",result="failed"}' not in text


def test_a_stopping_server_does_not_wait_for_a_ranking(evergreen, tmp_path):
    rows = 60_000
    repeated = pd.concat([FRAME] * (rows // len(FRAME) + 1)).head(rows)
    repeated[ID] = [f"C-{number}" for number in range(rows)]
    repeated.to_parquet(tmp_path / "customers.parquet")
    with serving(evergreen, tmp_path, customers=tmp_path / "customers.parquet") as server:
        answer = server.http.get(PATH)
        if answer.status_code == 503:
            assert "ranked for the first time" in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) >= 1
        # Scores do not wait for the ranking.
        assert server.http.get("/v1/models/churn/scores/C-7").status_code == 200
        assert server.ops.get("/readyz").status_code == 200
        assert server.stop() == 0


# --- gRPC ------------------------------------------------------------------------------------------------------------


def test_grpc_has_the_same(recorded):
    with grpc.insecure_channel(recorded.grpc) as channel:
        call = Client(channel)
        fields = ["rank", "id", "score", "band", "change", "contact", "hold_out", "reasons", "features"]
        options = {"bands": ["high"], "fields": fields, "features": ["plan", "nps"], "reasons": 2}
        token = ""
        found = []
        while True:
            page = call("ListRanking", model="churn", page_size=50, page_token=token, options=options)
            found += page.items
            token = page.next_page_token
            if not token:
                break
        expected = pages(
            recorded, page_size=50, band="high", fields=",".join(fields), features="plan,nps", reasons=2
        )
        assert [item.text_id for item in found] == [item["id"] for item in expected]
        for item, same in itertools.islice(zip(found, expected), 60):
            assert (item.rank, item.score, item.band) == (same["rank"], same["score"], same["band"])
            assert item.hold_out == same["hold_out"] and not item.HasField("before")
            assert [reason.text for reason in item.reasons] == [reason["text"] for reason in same["reasons"]]
            assert item.features["plan"].text == same["features"]["plan"]
            assert item.features["nps"].integer == (same["features"]["nps"] or 0)
            assert item.HasField("contact") == (same["contact"] is not None)
            if same["contact"]:
                assert item.contact.detail == (same["contact"]["detail"] or "")
        head = get(recorded, page_size=1)
        assert page.head.model.version == head["model"]["version"] and page.total_size == len(expected)
        assert [band.customers for band in page.head.bands] == [band["customers"] for band in head["bands"]]
        listed = call(
            "RankIds", model="churn", ids=[*IDS[:50], "nobody"], options={"hide_contacted_days": 30}
        )
        same = post(recorded, ids=[*IDS[:50], "nobody"], hide_contacted_days=30)
        assert [(item.text_id, item.score) for item in listed.items] == [
            (item["id"], item["score"]) for item in same["items"]
        ]
        assert list(listed.not_found) == ["nobody"] and listed.contacted == same["contacted"]
        for name, request, code in [
            ("ListRanking", {"model": "churn", "page_token": "AAAA"}, grpc.StatusCode.INVALID_ARGUMENT),
            ("ListRanking", {"model": "x"}, grpc.StatusCode.NOT_FOUND),
            (
                "ListRanking",
                {"model": "churn", "options": {"filters": ["x=1"]}},
                grpc.StatusCode.INVALID_ARGUMENT,
            ),
            ("RankIds", {"model": "churn"}, grpc.StatusCode.INVALID_ARGUMENT),
        ]:
            with pytest.raises(grpc.RpcError) as error:
                call(name, **request)
            assert error.value.code() == code
