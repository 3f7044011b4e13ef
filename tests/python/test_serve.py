"""`evergreen serve` over REST and on the operations port, from a client's view."""

import json
import math
import shutil
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import xgboost

from evergreen_testing.paths import CUSTOMERS, MODELS
from evergreen_testing.processes import until_logged
from evergreen_testing.server_process import serving

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def customers():
    return pd.read_parquet(CUSTOMERS)


@pytest.fixture(scope="module")
def expected(customers):
    """Returns XGBoost's own scores for the shipped customers."""
    booster = xgboost.Booster(model_file=MODELS / "churn/1/model.ubj")
    return dict(zip(customers["customer_id"], booster.inplace_predict(rows(customers, booster)).tolist()))


def rows(customers, booster):
    """Returns the model's columns, typed as in training: the model file has each feature's type and categories."""
    categories = dict(zip(booster.feature_names, booster.feature_types))
    frame = customers[booster.feature_names].copy()
    contract = {feature["name"]: feature for feature in contract_features()}
    for name, kind in categories.items():
        if kind == "c":
            frame[name] = pd.Categorical(frame[name], categories=contract[name]["categories"])
    return frame


def contract_features():
    import tomllib

    return tomllib.loads((MODELS / "churn/1/bundle.toml").read_text())["feature"]


def score(server, *entities, **rest):
    return server.http.post("/v1/score", json={"model": "churn", "entities": list(entities)} | rest)


def test_every_shipped_customer_gets_xgboosts_score(server, customers, expected):
    answer = score(server, *({"id": id} for id in customers["customer_id"])).json()
    assert answer["model"]["name"] == "churn" and answer["model"]["version"] == 1
    found = {result["id"]: result["score"] for result in answer["results"]}
    assert len(found) == len(customers)
    assert found == expected


def test_one_customer_has_a_band_and_reasons(server, expected):
    answer = server.http.get("/v1/models/churn/scores/C-1042", params={"explain": 3}).json()
    assert answer["id"] == "C-1042" and answer["status"] == "ok"
    assert answer["score"] == expected["C-1042"]
    assert answer["band"] in {"low", "medium", "high"}
    sizes = [abs(reason["contribution"]) for reason in answer["reasons"]]
    assert len(sizes) == 3 and sizes == sorted(sizes, reverse=True)
    assert all(reason["label"] for reason in answer["reasons"])


def values_of(customers, id):
    """Every feature of a customer, as a client would send it."""
    names = [feature["name"] for feature in contract_features()]
    row = customers.set_index("customer_id").loc[id, names]
    values = {name: None if pd.isna(value) else value for name, value in row.items()}
    return json.loads(json.dumps(values, default=lambda value: value.item()))


def test_the_requests_values_go_before_the_stores(server, customers):
    first, second = customers["customer_id"][:2]
    body = values_of(customers, second)
    by_id, by_row, mixed = score(
        server, {"id": second}, {"features": body}, {"id": first, "features": body}
    ).json()["results"]
    assert by_id["score"] == by_row["score"] == mixed["score"]
    assert by_row["features"]["from"] == "request"


def test_nan_and_null_are_missing_and_say_so(server, customers):
    body = values_of(customers, customers["customer_id"][0])
    del body["visits_30d"]
    rows = [json.dumps({"features": body | {"nps": value}}) for value in (math.nan, None)]
    assert "NaN" in rows[0] and "null" in rows[1]
    content = '{"model": "churn", "entities": [' + ", ".join(rows) + "]}"
    first, second = server.http.post("/v1/score", content=content).json()["results"]
    assert first["score"] == second["score"]
    assert first["status"] == "degraded" and first["features"]["missing"] == ["visits_30d"]
    assert "nps" in first["features"]["null"]


def test_a_number_beyond_floats_concerns_its_entity_alone(server):
    content = (
        '{"model": "churn", "entities": [{"id": "C-1042", "features": {"nps": 1e999}}, {"id": "C-1042"}]}'
    )
    bad, good = server.http.post("/v1/score", content=content).json()["results"]
    assert bad["status"] == "error" and "a number beyond 64-bit floats" in bad["error"]["detail"]
    assert good["status"] == "ok"


def test_nothing_known_gives_no_score(server):
    [result] = score(server, {"features": {"nps": 3}}).json()["results"]
    assert result["status"] == "error" and "score" not in result and "band" not in result
    message = result["error"]["detail"]
    assert "too little is known for a score" in message and "min_known in [output]" in message


def test_one_entitys_trouble_never_fails_the_others(server, expected):
    entities = [
        {"id": "C-1042"},
        {"id": "nobody"},
        {"id": "C-1042", "features": {"visits_30d": "many"}},
        {"id": "C-1042", "features": {"vists_30d": 1}},
        {"id": "C-1042", "features": {"visits_30d": [1]}},
        {"id": "C-1042", "features": {"visits_30d": 1e300}},
        {},
    ]
    results = score(server, *entities).json()["results"]
    assert [result["status"] for result in results] == ["ok", "not_found"] + ["error"] * 5
    assert results[0]["score"] == expected["C-1042"]
    details = [result["error"]["detail"] for result in results[1:]]
    parts = [
        "no customer_id `nobody`",
        "`visits_30d`: expected a",
        "did you mean `visits_30d`?",
        "found a list",
        "`visits_30d`",
        "needs an id, or features",
    ]
    assert all(part in detail for part, detail in zip(parts, details, strict=True)), details


BAD_BODIES = [
    (b"", 400, "the body is empty"),
    (b"{", 400, "the text ends inside an object"),
    (b'{"model": "churn", "entities": []}', 400, "no entities or rows to score"),
    (b'{"model": "churn", "entities": [{"id": 1.5}]}', 400, "entities[0].id"),
    (b'{"model": "churn", "entities": [{"idd": "x"}]}', 400, "did you mean `id`?"),
    (
        b'{"model": "churn", "entities": [{"id": "x", "features": {"a": 1, "a": 2}}]}',
        400,
        "duplicate key `a`",
    ),
    (
        b'{"model": "churn", "entities": [{"id": "x"}]} x',
        400,
        "expected nothing after the end of the JSON value",
    ),
    (b'{"model": "churn", "entities": [{"id": 1e999}]}', 400, "entities[0].id"),
    (b'{"model": "churn", "entities": [{"id": Infinity}]}', 400, "entities[0].id"),
    (b'{"model": "chrun", "entities": [{"id": "x"}]}', 404, "did you mean `churn`?"),
    (b'{"model": "churn", "version": 9, "entities": [{"id": "x"}]}', 404, "no live version 9; live is 1"),
    (
        b'{"model": "churn", "entities": [' + b'{"id": "x"},' * 10_000 + b'{"id": "x"}]}',
        413,
        "limits.batch allows 10000",
    ),
    (b" " * 10_000_000, 413, "limits.body_bytes"),
]


@pytest.mark.parametrize("body, status, part", BAD_BODIES)
def test_a_bad_request_gets_a_problem_and_the_server_lives_on(server, body, status, part):
    answer = server.http.post("/v1/score", content=body)
    assert answer.status_code == status and answer.headers["content-type"] == PROBLEM
    problem = answer.json()
    assert problem["status"] == status and part in problem["detail"], problem
    assert server.http.get("/v1/models/churn/scores/C-1042").status_code == 200


def test_a_wrong_path_or_method_gets_a_problem(server):
    for method, path, status in [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/score", 405),
        ("GET", "/v1/models/churn/scores/nobody", 404),
        ("GET", "/v1/models/chrun/scores/C-1042", 404),
        ("GET", "/v1/models/churn/scores/C-1042?explain=many", 400),
        ("GET", "/v1/models/churn/scores/C-1042?explian=1", 400),
        ("GET", "/v1/models/chrun", 404),
    ]:
        answer = server.http.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), path


def test_models_are_described(server):
    line = server.http.get("/v1/models").json()["models"][0]
    assert (line["name"], line["state"], line["version"]) == ("churn", "live", 1)
    model = server.http.get("/v1/models/churn").json()
    assert model["live"]["entity"] == "customer_id" and model["live"]["lineage"]
    assert [feature["name"] for feature in model["live"]["features"]] == [
        f["name"] for f in contract_features()
    ]
    outcomes = {step["step"]: step["outcome"] for step in model["versions"][0]["steps"]}
    assert outcomes.pop("budget") == outcomes.pop("signature") == "skipped"
    assert set(outcomes.values()) == {"passed"}


def test_openapi_describes_every_path_and_the_page_needs_no_network(server):
    description = server.http.get("/openapi.json").json()
    assert description["openapi"].startswith("3.1")
    assert {path for path in description["paths"] if not path.startswith("/v2")} == {
        "/v1/score",
        "/v1/models",
        "/v1/models/{model}",
        "/v1/models/{model}/drift",
        "/v1/models/{model}/features/{id}",
        "/v1/models/{model}/performance",
        "/v1/models/{model}/ranking",
        "/v1/session",
        "/v1/models/{model}/scores",
        "/v1/models/{model}/scores/{id}",
        "/v1/models/{model}/scores/{id}/changes",
        "/v1/models/{model}/scores/{id}/history",
        "/v1/models/{model}/what-if",
        "/v1/models/{model}/scores/{id}/paths",
        "/v1/outcomes",
    }
    page = server.http.get("/docs/")
    assert page.status_code == 200 and "http://" not in page.text and "https://" not in page.text


def test_operations(server):
    assert server.ops.get("/livez").json() == {"live": True}
    assert server.ops.get("/readyz").json() == {"ready": True, "reasons": []}

    def requests():
        for line in server.ops.get("/metrics").text.splitlines():
            if line.startswith('evergreen_requests_total{api="rest",operation="score_one",result="ok"}'):
                return float(line.split()[-1])
        return math.nan

    before = requests()
    server.http.get("/v1/models/churn/scores/C-1042")
    assert requests() == before + 1
    text = server.ops.get("/metrics").text
    for stage in ("features", "forest", "whole"):
        assert f'evergreen_stage_seconds_bucket{{stage="{stage}",le="0.000001"}}' in text
    assert 'evergreen_model_live{model="churn",version="1"} 1' in text


def test_numbers_keep_their_bits_under_concurrent_load(server, expected):
    ids = list(expected)[:200]

    def ask(id):
        return server.http.get(f"/v1/models/churn/scores/{id}").json()["score"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, ids)) == [expected[id] for id in ids]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_stops_gracefully(evergreen, tmp_path, number):
    with serving(evergreen, tmp_path) as server:
        for other in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
            server.process.send_signal(other)
        server.http.get("/v1/models")
        assert server.stop(number) == 0
        assert "stopped" in server.log.read_text()


def test_a_refused_model_is_not_ready_and_says_why(evergreen, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(MODELS / "churn", models / "churn")
    model = models / "churn/1/model.ubj"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    with serving(evergreen, tmp_path, models=models) as server:
        assert server.ops.get("/livez").status_code == 200
        ready = server.ops.get("/readyz")
        reasons = ready.json()["reasons"]
        assert ready.status_code == 503 and reasons[0] == "no model is live" and len(reasons) == 2
        assert reasons[1].startswith("model `churn`: version 1 is refused:") and "was changed" in reasons[1]
        answer = server.http.get("/v1/models/churn/scores/C-1042")
        assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
        steps = server.http.get("/v1/models/churn").json()["versions"][0]["steps"]
        assert steps[-1]["step"] == "checksums" and "was changed" in steps[-1]["detail"]
        until_logged(server.log, "version refused")


@pytest.mark.parametrize("folder", ["churn", "churn/1"])
def test_a_folder_that_is_no_repository_is_named(evergreen, tmp_path, folder):
    shutil.copytree(MODELS / "churn", tmp_path / "models/churn")
    with serving(evergreen, tmp_path, models=tmp_path / "models" / folder) as server:
        reasons = server.ops.get("/readyz").json()["reasons"]
        assert reasons[0] == "no model is live"
        assert reasons[1].endswith(f"such as --models {tmp_path / 'models'}"), reasons


def test_without_a_source_requests_bring_their_features(evergreen, tmp_path, customers):
    shutil.copytree(MODELS / "churn", tmp_path / "models/churn")
    with serving(evergreen, tmp_path, models=tmp_path / "models", customers=None) as server:
        assert server.ops.get("/readyz").status_code == 200
        until_logged(server.log, "no feature source")
        body = values_of(customers, customers["customer_id"][0])
        assert score(server, {"features": body}).json()["results"][0]["status"] == "ok"


def test_an_older_version_answers_when_the_newest_is_refused(evergreen, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(MODELS / "churn/1", models / "churn/1")
    shutil.copytree(MODELS / "churn/1", models / "churn/2")
    (models / "churn/2/model.ubj").write_bytes(b"{L")
    with serving(evergreen, tmp_path, models=models) as server:
        assert server.http.get("/v1/models/churn/scores/C-1042").json()["model"]["version"] == 1
        states = [(v["version"], v["state"]) for v in server.http.get("/v1/models/churn").json()["versions"]]
        assert states == [(2, "refused"), (1, "live")]


def refused(evergreen, *arguments, **options):
    """Runs `evergreen serve` with invalid arguments, and returns its message."""
    command = [evergreen, "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
    command += [] if "--ops" in arguments else ["--ops", "127.0.0.1:0"]
    ended = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=30, **options
    )
    assert ended.returncode == 2, ended
    return ended.stderr


def test_wrong_settings_and_files_are_refused_by_name(evergreen, tmp_path):
    config = tmp_path / "e.toml"
    config.write_text("[limits]\nbach = 5\n")
    assert "e.toml:2: unknown field `bach`" in refused(evergreen, "--config", config)
    assert "nowhere" in refused(evergreen, "--models", "nowhere")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = refused(evergreen, "--models", MODELS, "--ops", f"127.0.0.1:{port}")
    assert "choose another address with --ops" in message


def test_bad_snapshots_are_refused_by_row_and_column(evergreen, tmp_path, customers):
    def message(name, write):
        path = tmp_path / name
        write(path)
        return refused(evergreen, "--models", MODELS, "--customers", path)

    twice = pd.concat([customers, customers.iloc[[5]]])
    assert f"row {len(customers) + 1}, column `customer_id`: the id" in message(
        "twice.parquet", twice.to_parquet
    )
    short = customers.drop(columns=["visits_30d"])
    assert "missing columns: `visits_30d`" in message(
        "short.csv", lambda path: short.to_csv(path, index=False)
    )
    text = customers.astype({"visits_30d": object})
    text.loc[7, "visits_30d"] = "many"
    found = message("text.csv", lambda path: text.to_csv(path, index=False))
    assert "row 8, column `visits_30d`: expected a whole number, found a text" in found
    huge = customers.astype({"mattresses": float})
    huge.loc[3, "mattresses"] = 1e39
    assert "row 4, column `mattresses`: " in message("huge.csv", lambda path: huge.to_csv(path, index=False))
    whole = CUSTOMERS.read_bytes()
    assert "not a complete Parquet file" in message(
        "torn.parquet", lambda path: path.write_bytes(whole[:-100])
    )
    lines = customers.to_json(orient="records", lines=True, date_format="iso")
    torn = message("torn.jsonl", lambda path: path.write_text(lines[: len(lines) // 2]))
    assert ", row " in torn


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_every_file_format_gives_the_same_scores(evergreen, tmp_path, customers, expected, ending):
    path = tmp_path / f"customers.{ending}"
    if ending == "csv":
        customers.to_csv(path, index=False)
    else:
        customers.to_json(path, orient="records", lines=True, date_format="iso", double_precision=15)
    with serving(evergreen, tmp_path, customers=path) as server:
        results = score(server, *({"id": id} for id in customers["customer_id"])).json()["results"]
    assert {result["id"]: result["score"] for result in results} == expected


def test_a_folder_of_parts_is_one_table(evergreen, tmp_path, customers, expected):
    folder = tmp_path / "parts"
    folder.mkdir()
    half = len(customers) // 2
    customers.iloc[:half].to_parquet(folder / "part-0.parquet")
    customers.iloc[half:].to_parquet(folder / "part-1.parquet")
    (folder / "_SUCCESS").touch()
    with serving(evergreen, tmp_path, customers=folder) as server:
        results = score(server, *({"id": id} for id in customers["customer_id"])).json()["results"]
    assert {result["id"]: result["score"] for result in results} == expected
