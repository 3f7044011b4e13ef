"""Every protocol gives the same bits for the same rows, and the same error for the same invalid request."""

import json
import threading

import grpc
import numpy as np
import pandas as pd
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tritonclient.utils import InferenceServerException

from evergreen_testing.grpc_client import Client, details
from evergreen_testing.paths import CUSTOMERS
from test_open_inference import MODEL, booster, contract  # noqa: F401
from test_streams import Lines

COUNT, PART = 10_000, 2_000


@pytest.fixture(scope="module")
def rows(contract):  # noqa: F811
    """Returns new combinations of existing customers' values, with the names and types of the contract."""
    frame = pd.read_parquet(CUSTOMERS)
    random = np.random.default_rng(7)
    columns = {}
    for feature in contract:
        values = random.choice(frame[feature["name"]].to_numpy(dtype=object), COUNT)
        columns[feature["name"]] = [None if pd.isna(value) else value for value in values]
    return pd.DataFrame(columns, dtype=object)


@pytest.fixture(scope="module")
def objects(rows):
    """Returns each row as JSON values."""
    names = list(rows.columns)
    plain = lambda value: value.item() if isinstance(value, np.generic) else value  # noqa: E731
    return [dict(zip(names, map(plain, row), strict=True)) for row in rows.itertuples(index=False)]


@pytest.fixture(scope="module")
def matrix(rows, contract):  # noqa: F811
    """Returns all rows as numbers, with categories as codes."""
    columns = []
    for feature in contract:
        codes = {name: code for code, name in enumerate(feature.get("categories", []))}
        column = [codes.get(value, value) for value in rows[feature["name"]]]
        columns.append(pd.Series(column, dtype="float64"))
    return np.stack(columns, axis=1).astype("float32")


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


def parts(sequence):
    return [sequence[start : start + PART] for start in range(0, COUNT, PART)]


def rest_json(server, objects, **_):
    for part in parts(objects):
        body = {"model": MODEL, "entities": [{"features": features} for features in part]}
        yield from (result["score"] for result in server.http.post("/v1/score", json=body).json()["results"])


def rest_lines(server, objects, **_):
    lines = Lines(server, f"/v1/models/{MODEL}/scores")

    def send():
        for part in parts(objects):
            lines.send("".join(json.dumps({"features": features}) + "\n" for features in part).encode())
        lines.end()

    sender = threading.Thread(target=send)
    sender.start()
    while line := lines.read():
        yield line["score"]
    sender.join()


def message(features):
    kinds = {bool: "boolean", int: "integer", float: "number", str: "text", type(None): None}
    values = ((name, value, kinds[type(value)]) for name, value in features.items())
    return {"features": {name: {kind: value} if kind else {} for name, value, kind in values}}


def grpc_score(channel, objects, **_):
    client = Client(channel)
    for part in parts(objects):
        yield from (
            one.score for one in client("Score", model=MODEL, entities=list(map(message, part))).results
        )


def grpc_stream(channel, objects, **_):
    batches = (
        {"batch_id": str(number), "request": {"model": MODEL, "entities": list(map(message, part))}}
        for number, part in enumerate(parts(objects))
    )
    for answer in Client(channel).stream(batches, timeout=120):
        yield from (one.score for one in answer.response.results)


def v2_json(server, matrix, **_):
    for part in parts(matrix):
        data = [None if np.isnan(value) else value for value in part.ravel().tolist()]
        tensor = {"name": "x", "shape": list(part.shape), "datatype": "FP32", "data": data}
        answer = server.http.post(f"/v2/models/{MODEL}/infer", json={"inputs": [tensor]}).json()
        yield from answer["outputs"][0]["data"]


def v2_binary(server, matrix, **_):
    client = over_http.InferenceServerClient(server.http.base_url.netloc.decode())
    tensor = over_http.InferInput("x", list(matrix.shape), "FP32")
    tensor.set_data_from_numpy(matrix)
    yield from client.infer(MODEL, [tensor]).as_numpy("probability").ravel()


def v2_grpc(server, matrix, **_):
    with over_grpc.InferenceServerClient(server.grpc) as client:
        tensor = over_grpc.InferInput("x", list(matrix.shape), "FP32")
        tensor.set_data_from_numpy(matrix)
        yield from client.infer(MODEL, [tensor]).as_numpy("probability").ravel()


WAYS = [rest_json, rest_lines, grpc_score, grpc_stream, v2_json, v2_binary, v2_grpc]


@pytest.fixture(scope="module")
def truth(booster, matrix):  # noqa: F811
    import xgboost

    names, types = booster.feature_names, booster.feature_types
    return booster.predict(xgboost.DMatrix(matrix, feature_names=names, feature_types=types))


@pytest.mark.parametrize("way", WAYS)
def test_the_same_rows_get_the_same_bits(server, channel, objects, matrix, truth, way):
    found = list(way(server=server, channel=channel, objects=objects, matrix=matrix))
    assert len(found) == COUNT
    assert np.array_equal(
        np.array(found, dtype="float64").view("uint64"), truth.astype("float64").view("uint64")
    )


MISTAKES = {
    "invalid": {"model": MODEL, "entities": []},
    "model_not_found": {"model": "chrun", "entities": [{}]},
    "too_large": {"model": MODEL, "entities": [{}] * 10_001},
}
STATUS = {"invalid": 400, "model_not_found": 404, "too_large": 413}
CODE = {
    "invalid": grpc.StatusCode.INVALID_ARGUMENT,
    "model_not_found": grpc.StatusCode.NOT_FOUND,
    "too_large": grpc.StatusCode.OUT_OF_RANGE,
}


@pytest.mark.parametrize("kind, request_", MISTAKES.items())
def test_the_same_mistakes_are_the_same_kinds(server, channel, kind, request_):
    answer = server.http.post("/v1/score", json=request_)
    assert (answer.status_code, answer.json()["type"]) == (STATUS[kind], f"urn:evergreen:problem:{kind}")
    client = Client(channel)
    with pytest.raises(grpc.RpcError) as error:
        client("Score", **request_)
    assert error.value.code() == CODE[kind] and details(error.value)["ErrorInfo"].reason == kind
    [one] = client.stream([{"batch_id": "a", "request": request_}], timeout=30)
    assert one.error.code == CODE[kind].value[0] and kind.encode() in one.error.details[0].value
    count = len(request_["entities"])
    matrix = np.zeros((count, 24), "float32")
    tensor = {"name": "x", "shape": [count, 24], "datatype": "FP32", "data": matrix.ravel().tolist()}
    answer = server.http.post(f"/v2/models/{request_['model']}/infer", json={"inputs": [tensor]})
    assert answer.status_code == STATUS[kind] and answer.json()["error"]
    with over_grpc.InferenceServerClient(server.grpc) as triton:
        tensor = over_grpc.InferInput("x", [count, 24], "FP32")
        tensor.set_data_from_numpy(matrix)
        with pytest.raises(InferenceServerException) as error:
            triton.infer(request_["model"], [tensor])
    assert error.value.status() == str(CODE[kind])


def test_one_entitys_mistake_is_the_same_kind_everywhere(server, channel):
    mistakes = [
        ({"id": "nobody"}, {"text_id": "nobody"}, "entity_not_found"),
        ({"features": {"vists_30d": 1}}, {"features": {"vists_30d": {"integer": 1}}}, "invalid"),
        ({"features": {"visits_30d": "many"}}, {"features": {"visits_30d": {"text": "many"}}}, "invalid"),
        ({}, {}, "invalid"),
    ]
    bodies = [body for body, _, _ in mistakes]
    messages = [message for _, message, _ in mistakes]
    kinds = [kind for _, _, kind in mistakes]
    results = server.http.post("/v1/score", json={"model": MODEL, "entities": bodies}).json()["results"]
    assert [result["error"]["kind"] for result in results] == kinds
    lines = "\n".join(map(json.dumps, bodies))
    lines = server.http.post(f"/v1/models/{MODEL}/scores", content=lines).text.splitlines()
    assert [json.loads(line)["error"] for line in lines] == [result["error"] for result in results]
    client = Client(channel)
    unary = client("Score", model=MODEL, entities=messages).results
    [streamed] = client.stream([{"request": {"model": MODEL, "entities": messages}}], timeout=30)
    for found in (unary, streamed.response.results):
        errors = [{"kind": one.error.kind, "detail": one.error.detail} for one in found]
        assert errors == [result["error"] for result in results]
