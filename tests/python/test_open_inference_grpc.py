"""The official Open Inference client over gRPC: the same numbers and the same errors as over HTTP."""

import grpc
import numpy as np
import pytest
import tritonclient.grpc as over_grpc
from tritonclient.utils import InferenceServerException

from test_open_inference import MODEL, ZEROS, booster, contract, customers, truth  # noqa: F401


@pytest.fixture(scope="module")
def client(server):
    with over_grpc.InferenceServerClient(server.grpc) as client:
        yield client


def tensor(name, array, datatype):
    given = over_grpc.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


def wanted(*names):
    return [over_grpc.InferRequestedOutput(name) for name in names]


def test_health_and_metadata(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(MODEL, "1")
    assert "statistics" in client.get_server_metadata().extensions
    metadata = client.get_model_metadata(MODEL)
    assert (metadata.inputs[0].datatype, list(metadata.inputs[0].shape)) == ("FP32", [-1, 24])
    assert client.get_model_config(MODEL).config.input[0].dims == [24]
    index = client.get_model_repository_index().models
    assert [(line.name, line.version, line.state) for line in index] == [(MODEL, "1", "READY")]


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_a_matrix_gets_xgboosts_numbers(client, customers, truth, datatype):  # noqa: F811
    array = customers[1].to_numpy("float32" if datatype == "FP32" else "float64")
    names = ["probability", "margin", "leaf"]
    answer = client.infer(MODEL, [tensor("x", array, datatype)], outputs=wanted(*names), request_id="r-8")
    assert answer.get_response().id == "r-8"
    for name in names:
        assert np.array_equal(answer.as_numpy(name).reshape(truth[name].shape), truth[name]), name


def test_ids_get_scores(client, server, customers):  # noqa: F811
    ids = [*customers[0][:20], "nobody"]
    answer = client.infer(
        MODEL, [tensor("customer_id", np.array([id.encode() for id in ids], dtype=object), "BYTES")]
    )
    rest = server.http.post("/v1/score", json={"model": MODEL, "entities": [{"id": id} for id in ids]}).json()
    assert [status.decode() for status in answer.as_numpy("status")] == [
        one["status"] for one in rest["results"]
    ]
    scores = [one.get("score", np.nan) for one in rest["results"]]
    assert np.array_equal(answer.as_numpy("score"), scores, equal_nan=True)


@pytest.mark.parametrize(
    "kind", ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL"]
)
def test_every_whole_type_is_taken(client, kind):
    whole = (np.arange(48).reshape(2, 24) % 2).astype(kind.lower())
    margin = wanted("margin")
    found = client.infer(MODEL, [tensor("x", whole, kind)], outputs=margin).as_numpy("margin")
    same = client.infer(MODEL, [tensor("x", whole.astype("float64"), "FP64")], outputs=margin).as_numpy(
        "margin"
    )
    assert np.array_equal(found, same)


@pytest.mark.parametrize(
    "model, array, datatype, code, part",
    [
        (MODEL, ZEROS[:, :7], "FP32", "INVALID_ARGUMENT", "expected the shape [rows, 24], found [1, 7]"),
        (MODEL, np.full((1, 24), 2**60), "INT64", "INVALID_ARGUMENT", "within ±2^53"),
        ("chrun", ZEROS, "FP32", "NOT_FOUND", "did you mean `churn`?"),
    ],
)
def test_a_mistake_is_named(client, model, array, datatype, code, part):
    with pytest.raises(InferenceServerException) as error:
        client.infer(model, [tensor("x", array, datatype)])
    assert part in error.value.message() and error.value.status() == str(grpc.StatusCode[code])


def test_statistics_count_rows_and_executions(client):
    def counts():
        found = client.get_inference_statistics(MODEL).model_stats[0]
        return np.array([found.inference_count, found.execution_count, found.inference_stats.success.count])

    for rows in (64, 1):
        before = counts()
        client.infer(MODEL, [tensor("x", np.zeros((rows, 24), "float32"), "FP32")])
        assert tuple(counts() - before) == (rows, 1, 1)


def test_a_number_that_is_no_code_of_a_category_is_refused(client, contract):  # noqa: F811
    names = [feature["name"] for feature in contract]
    whole = np.zeros((2, 24), "int64")
    whole[1, names.index("plan")] = 42
    with pytest.raises(InferenceServerException) as error:
        client.infer(MODEL, [tensor("x", whole, "INT64")])
    assert "expected the code of a category" in error.value.message()
    assert error.value.status() == str(grpc.StatusCode.INVALID_ARGUMENT)


def test_the_version_of_each_score_is_a_whole_number(client):
    ids = tensor("customer_id", np.array([b"C-1042", b"nobody"], dtype=object), "BYTES")
    assert client.infer(MODEL, [ids], outputs=wanted("version")).as_numpy("version").tolist() == [1, 1]
