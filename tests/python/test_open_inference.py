"""The official Open Inference clients, unmodified, against a model that covers every feature they use."""

import numpy as np
import pandas as pd
import pytest
import tritonclient.http as over_http
import xgboost
from tritonclient.utils import InferenceServerException

from evergreen_testing.paths import CUSTOMERS, MODELS

MODEL = "churn"


@pytest.fixture(scope="module")
def booster():
    return xgboost.Booster(model_file=MODELS / "churn/1/model.ubj")


@pytest.fixture(scope="module")
def contract():
    import tomllib

    return tomllib.loads((MODELS / "churn/1/bundle.toml").read_text())["feature"]


@pytest.fixture(scope="module")
def customers(contract):
    """Returns the shipped customers with categories as codes, for clients that send only numbers."""
    frame = pd.read_parquet(CUSTOMERS)
    names = [feature["name"] for feature in contract]
    columns = {}
    for feature in contract:
        column = frame[feature["name"]]
        if feature["type"] == "category":
            codes = {name: code for code, name in enumerate(feature["categories"])}
            column = column.map(codes)
        columns[feature["name"]] = column.astype("float64")
    return frame["customer_id"], pd.DataFrame(columns)[names]


@pytest.fixture(scope="module")
def truth(booster, customers):
    """Returns XGBoost's own predictions for the matrix."""
    matrix = xgboost.DMatrix(
        customers[1].to_numpy("float32"),
        feature_names=booster.feature_names,
        feature_types=booster.feature_types,
    )
    return {
        "probability": booster.predict(matrix),
        "margin": booster.predict(matrix, output_margin=True),
        "leaf": booster.predict(matrix, pred_leaf=True),
        "contributions": booster.predict(matrix, pred_contribs=True),
    }


@pytest.fixture(scope="module")
def client(server):
    return over_http.InferenceServerClient(server.http.base_url.netloc.decode())


def tensor(name, array, datatype, binary=True):
    given = over_http.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def wanted(*names, binary=True):
    return [over_http.InferRequestedOutput(name, binary_data=binary) for name in names]


def test_health_and_metadata(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1") and not client.is_model_ready("chrun")
    assert client.get_server_metadata()["name"] == "evergreen"
    metadata = client.get_model_metadata(MODEL)
    assert metadata["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 24]}]
    assert metadata["outputs"][0] == {"name": "probability", "datatype": "FP32", "shape": [-1, 1]}
    config = client.get_model_config(MODEL)
    assert config["max_batch_size"] == 10_000 and config["input"][0]["data_type"] == "TYPE_FP32"
    index = client.get_model_repository_index()
    assert index == [{"name": MODEL, "version": "1", "state": "READY", "reason": ""}]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_a_matrix_gets_xgboosts_numbers(client, customers, truth, binary, datatype):
    array = customers[1].to_numpy("float32" if datatype == "FP32" else "float64")
    names = ["probability", "margin", "leaf"]
    answer = client.infer(
        MODEL, [tensor("x", array, datatype, binary)], outputs=wanted(*names, binary=binary)
    )
    for name in names:
        assert np.array_equal(answer.as_numpy(name).reshape(truth[name].shape), truth[name]), name
    contributions = client.infer(
        MODEL, [tensor("x", array, datatype, binary)], outputs=wanted("contributions")
    )
    np.testing.assert_allclose(contributions.as_numpy("contributions"), truth["contributions"], atol=2e-5)


def test_one_tensor_per_feature_with_categories_by_name(client, customers, contract, truth):
    frame = pd.read_parquet(CUSTOMERS)
    inputs = []
    for feature in contract:
        name = feature["name"]
        if feature["type"] == "category":
            texts = frame[name].fillna("").to_numpy(dtype=object)
            inputs.append(tensor(name, np.array([text.encode() for text in texts], dtype=object), "BYTES"))
        else:
            inputs.append(tensor(name, customers[1][name].to_numpy(), "FP64"))
    answer = client.infer(MODEL, inputs)
    assert np.array_equal(answer.as_numpy("probability").ravel(), truth["probability"])


def test_ids_get_scores(client, server, customers):
    ids = [*customers[0][:50], "nobody"]
    array = np.array([id.encode() for id in ids], dtype=object)
    answer = client.infer(MODEL, [tensor("customer_id", array, "BYTES")], request_id="r-7")
    assert answer.get_response()["id"] == "r-7"
    body = {"model": MODEL, "entities": [{"id": id} for id in ids]}
    rest = server.http.post("/v1/score", json=body).json()["results"]
    assert [status.decode() for status in answer.as_numpy("status")] == [result["status"] for result in rest]
    scores = [result.get("score", np.nan) for result in rest]
    assert np.array_equal(answer.as_numpy("score"), scores, equal_nan=True)
    assert answer.as_numpy("band")[0].decode() == rest[0]["band"]


@pytest.mark.parametrize(
    "kind", ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL"]
)
@pytest.mark.parametrize("binary", [True, False])
def test_every_whole_type_is_exact(client, booster, kind, binary):
    array = (np.arange(48).reshape(2, 24) % 2).astype(kind.lower())
    found = client.infer(MODEL, [tensor("x", array, kind, binary)], outputs=wanted("margin")).as_numpy(
        "margin"
    )
    matrix = xgboost.DMatrix(
        array.astype("float32"), feature_names=booster.feature_names, feature_types=booster.feature_types
    )
    assert np.array_equal(found.ravel(), booster.predict(matrix, output_margin=True))


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_bodies(client, customers, truth, algorithm):
    array = customers[1].to_numpy("float32")
    answer = client.infer(
        MODEL,
        [tensor("x", array, "FP32")],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert np.array_equal(answer.as_numpy("probability").ravel(), truth["probability"])


ZEROS = np.zeros((1, 24), dtype="float32")
MISTAKES = [
    (MODEL, [tensor("x", ZEROS[:, :7], "FP32")], None, "expected the shape [rows, 24], found [1, 7]"),
    (MODEL, [tensor("x", ZEROS + np.float64(1e300), "FP64")], None, "32-bit floats"),
    (MODEL, [tensor("x", np.full((1, 24), 2**60), "INT64")], None, "within ±2^53"),
    (MODEL, [tensor("visits_30d", ZEROS[:, 0], "FP32")], None, "is missing"),
    (MODEL, [tensor("x", ZEROS, "FP32")], wanted("margins"), "did you mean `margin`?"),
    (MODEL, [tensor("x", ZEROS, "FP32")], wanted("leaf", "leaf"), "duplicate output `leaf`"),
    (MODEL, [tensor("x", np.zeros((10_001, 24), "float32"), "FP32")], None, "limits.batch allows 10000"),
    ("chrun", [tensor("x", ZEROS, "FP32")], None, "did you mean `churn`?"),
]


@pytest.mark.parametrize("model, inputs, outputs, part", MISTAKES)
def test_a_mistake_is_named(client, model, inputs, outputs, part):
    with pytest.raises(InferenceServerException) as error:
        client.infer(model, inputs, outputs=outputs)
    assert part in error.value.message()


@pytest.mark.parametrize(
    "body, part",
    [
        (
            '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1]}]}',
            "expected 2 elements for the shape",
        ),
        (
            '{"inputs": [{"name": "x", "shape": [-1], "datatype": "FP32", "data": [1]}]}',
            "expected a shape of dimensions",
        ),
        ('{"inputs": [{"name": "x", "shape": [1], "datatype": "FP7", "data": [1]}]}', "found `FP7`"),
        (
            '{"inputs": [{"name": "x", "shape": [1], "datatype": "INT8", "data": [128]}]}',
            "expected INT8, found 128",
        ),
        (
            '{"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [1.5]}]}',
            "expected INT64, found 1.5",
        ),
        (
            '{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1e39]}]}',
            "expected FP32, found",
        ),
        ('{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32"}]}', "data missing"),
        ('{"inputs": []}', "no entities or rows to score"),
        ("{", "the text ends inside an object"),
    ],
)
def test_a_bad_body_is_named_in_the_protocols_words(server, body, part):
    answer = server.http.post(f"/v2/models/{MODEL}/infer", content=body)
    assert answer.status_code == 400 and part in answer.json()["error"]


def test_nested_data_and_missing_values(server, booster):
    row = [0.0] * 24
    row[booster.feature_types.index("float")] = 1.5
    row[1] = None
    body = {"inputs": [{"name": "x", "shape": [1, 24], "datatype": "FP32", "data": [row]}]}
    answer = server.http.post(f"/v2/models/{MODEL}/versions/1/infer", json=body).json()
    array = np.array([[np.nan if value is None else value for value in row]], dtype="float32")
    matrix = xgboost.DMatrix(array, feature_names=booster.feature_names, feature_types=booster.feature_types)
    assert answer["outputs"][0]["data"] == booster.predict(matrix).tolist()


def test_statistics_count(client, customers):
    def count():
        return client.get_inference_statistics(MODEL)["model_stats"][0]["inference_stats"]["success"]["count"]

    before = count()
    client.infer(MODEL, [tensor("x", ZEROS, "FP32")])
    assert count() == before + 1
