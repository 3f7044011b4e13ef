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


def test_statistics_count_rows_and_executions(client, customers):
    def counts():
        found = client.get_inference_statistics(MODEL)["model_stats"][0]
        stats = found["inference_stats"]
        counted = (
            found["inference_count"],
            found["execution_count"],
            stats["success"]["count"],
            stats["fail"]["count"],
        )
        return np.array(counted)

    ids = np.array([id.encode() for id in customers[0][:5]], dtype=object)
    for inputs, change in [
        ([tensor("x", np.zeros((64, 24), "float32"), "FP32")], (64, 1, 1, 0)),
        ([tensor("x", ZEROS, "FP32")], (1, 1, 1, 0)),
        # One row without a dimension for rows.
        ([tensor("x", ZEROS[0], "FP32")], (1, 1, 1, 0)),
        ([tensor("customer_id", ids, "BYTES")], (5, 1, 1, 0)),
    ]:
        before = counts()
        client.infer(MODEL, inputs)
        assert tuple(counts() - before) == change
    before = counts()
    with pytest.raises(InferenceServerException):
        client.infer(MODEL, [tensor("x", ZEROS[:, :7], "FP32")])
    assert tuple(counts() - before) == (0, 0, 0, 1)


def test_the_index_lists_ready_versions_only_if_asked(server):
    whole = server.http.post("/v2/repository/index").json()
    assert whole == server.http.post("/v2/repository/index", json={"ready": True}).json()
    answer = server.http.post("/v2/repository/index", json={"ready": "yes"})
    assert "ready: expected true or false, found the text" in answer.json()["error"]


PLANS = "input `plan`, feature `plan`: expected the code of a category, a whole number from 0 to "


NO_CODES = [("INT64", 42), ("INT64", -1), ("FP64", 1.5), ("UINT8", 200), ("FP32", -0.5)]


@pytest.mark.parametrize(
    "kind, value, binary",
    # JSON has no infinity.
    [("FP64", float("inf"), True), *((*case, binary) for case in NO_CODES for binary in (True, False))],
)
def test_a_number_that_is_no_code_of_a_category_is_refused(client, contract, kind, value, binary):
    names = {"FP": "float", "IN": "int", "UI": "uint"}
    dtype = names[kind[:2]] + kind.lstrip("UINTFP")
    inputs = [
        tensor(
            feature["name"], np.full(3, value if feature["name"] == "plan" else 0).astype(dtype), kind, binary
        )
        for feature in contract
    ]
    with pytest.raises(InferenceServerException) as error:
        client.infer(MODEL, inputs)
    assert PLANS in error.value.message() and "BYTES tensor" in error.value.message()
    matrix = np.zeros((3, 24), dtype)
    matrix[1, [feature["name"] for feature in contract].index("plan")] = value
    with pytest.raises(InferenceServerException) as error:
        client.infer(MODEL, [tensor("features", matrix, kind, binary)])
    assert PLANS.replace("`plan`, f", "`features`, f") in error.value.message()


def test_an_unknown_name_of_a_category_is_refused_with_the_known_ones(client, contract):
    def ask(name):
        inputs = [tensor(f["name"], np.zeros(1), "FP64") for f in contract if f["name"] != "plan"]
        return client.infer(
            MODEL, [*inputs, tensor("plan", np.array([name.encode()], dtype=object), "BYTES")]
        )

    known = next(feature for feature in contract if feature["name"] == "plan")["categories"]
    assert ask(known[0]).as_numpy("probability").shape == (1, 1)
    assert ask("").as_numpy("probability").shape == (1, 1)
    with pytest.raises(InferenceServerException) as error:
        ask(known[0][:-1])
    assert all(name in error.value.message() for name in known), error.value.message()
    assert f"did you mean `{known[0]}`?" in error.value.message()


def test_every_output_for_ids_is_the_same_in_both_forms(client, customers):
    """The version is INT64, which was sent as four bytes."""
    ids = np.array([id.encode() for id in [*customers[0][:3], "nobody"]], dtype=object)
    names = ["score", "band", "status", "version"]
    binary, text = (
        client.infer(MODEL, [tensor("customer_id", ids, "BYTES")], outputs=wanted(*names, binary=binary))
        for binary in (True, False)
    )
    for name in names:
        found = [one.decode() if isinstance(one, bytes) else one for one in binary.as_numpy(name).tolist()]
        other = [one.decode() if isinstance(one, bytes) else one for one in text.as_numpy(name).tolist()]
        assert str(found) == str(other).replace("None", "nan"), name
    assert binary.as_numpy("version").tolist() == [1] * 4
