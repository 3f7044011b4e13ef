"""Every failed request gets the error of its API: a problem under /v1, `{"error": …}` under /v2, whatever refused it."""

import http.client
import json
import re
import subprocess
import time

import numpy as np
import pytest
import tritonclient.http as over_http
from tritonclient.utils import InferenceServerException

from evergreen_testing import openapi
from evergreen_testing.server_process import serving

# An operation with a body, one without, and a path that neither API has.
APIS = {
    "/v1": ("/v1/score", "/v1/models/churn", "/v1/nothing"),
    "/v2": ("/v2/models/churn/infer", "/v2/models/churn", "/v2/nothing"),
}
SETTINGS = "[limits]\nbody_bytes = 4000\n[server]\nbody_seconds = 1\n"


@pytest.fixture(scope="module")
def small(evergreen, tmp_path_factory):
    """A server that refuses large and slow bodies."""
    folder = tmp_path_factory.mktemp("small")
    config = folder / "e.toml"
    config.write_text(SETTINGS)
    with serving(evergreen, folder, config=config) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(evergreen, tmp_path_factory):
    """A server that requires keys, and a key that may only read."""
    folder = tmp_path_factory.mktemp("guarded")
    made = subprocess.run(
        [evergreen, "key", "reader", "--role", "read"], capture_output=True, text=True, check=True
    )
    (folder / "keys.toml").write_text(made.stdout)
    config = folder / "e.toml"
    config.write_text("[auth]\nfile = 'keys.toml'\n")
    with serving(evergreen, folder, config=config) as running:
        yield running, made.stderr.split()[-1]


def failed(api, answer, status, *parts):
    """Asserts that an answer is the failure of an API, and that its text has all parts."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    if api == "/v2":
        assert answer.headers["content-type"] == "application/json" and list(body) == ["error"]
        text = body["error"]
    else:
        assert answer.headers["content-type"] == "application/problem+json" and body["status"] == status
        text = body["detail"]
    assert text and all(part in text for part in parts), text


@pytest.mark.parametrize("api", APIS)
def test_unknown_paths_and_methods(small, api):
    operation, model, nothing = APIS[api]
    for path in (nothing, f"{api}/", f"{model}/nothing", f"{api}/%FF"):
        failed(api, small.http.get(path), 404, "/docs")
    for method, path in [("GET", operation), ("DELETE", operation), ("PUT", model), ("PATCH", model)]:
        answer = small.http.request(method, path)
        failed(api, answer, 405, method)
        assert answer.headers["allow"], "the router's header is lost"


@pytest.mark.parametrize("api", APIS)
def test_bodies_that_cannot_be_read(small, api):
    path = APIS[api][0]
    for name in ("br", "gzip, br", "nonsense"):
        answer = small.http.post(path, content=b"{}", headers={"content-encoding": name})
        failed(api, answer, 415, "expected gzip, deflate, zstd", name)
    answer = small.http.post(path, content=b"not gzip", headers={"content-encoding": "gzip"})
    failed(api, answer, 400, "body")
    failed(api, small.http.post(path, content=b" " * 5000), 413, "limits.body_bytes")
    failed(api, small.http.post(path, content=b""), 400, "the body is empty")
    failed(api, small.http.post(path, content=b"{"), 400, "the text ends inside an object")


@pytest.mark.parametrize("api", APIS)
def test_slow_bodies_and_deadlines(small, api):
    path = APIS[api][0]
    url = small.http.base_url
    connection = http.client.HTTPConnection(url.host, url.port, timeout=20)
    connection.putrequest("POST", path)
    connection.putheader("content-length", "100")
    connection.endheaders(b"{")
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.status == 408
    openapi.description("").check("POST", path, answer.status, answer.headers, content)
    assert "server.body_seconds" in str(json.loads(content))
    late = small.http.post(path, content=b"{}", headers={"x-request-timeout-ms": "soon"})
    failed(api, late, 400, "x-request-timeout-ms", "such as 500") if api == "/v1" else None
    unknown = small.http.get(f"{api}/models/chrun")
    failed(api, unknown, 404, "did you mean `churn`?")


@pytest.mark.parametrize("api", APIS)
def test_a_deadline_that_passes(server, api):
    rows = [{"id": "C-1042"}] * 5000
    body = {"model": "churn", "entities": rows, "explain": 5}
    if api == "/v2":
        ids = {"name": "customer_id", "shape": [5000], "datatype": "BYTES", "data": ["C-1042"] * 5000}
        body = {"inputs": [ids], "parameters": {"timeout": 1}}
    answer = server.http.post(APIS[api][0], json=body, headers={"x-request-timeout-ms": "1"})
    failed(api, answer, 504, "deadline")


@pytest.mark.parametrize("api", APIS)
def test_keys(guarded, api):
    running, key = guarded
    operation, model, nothing = APIS[api]
    for path in (model, nothing):
        answer = running.http.get(path)
        failed(api, answer, 401, "API key missing")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    failed(api, running.http.post(operation, headers={"x-api-key": "wrong"}), 401, "API key unknown")
    failed(api, running.http.post(operation, headers={"x-api-key": key}), 403, "lacks the role")
    assert running.http.get(model, headers={"x-api-key": key}).status_code == 200
    security = running.http.get("/openapi.json").json()["security"]
    assert security == [{"bearer": []}, {"api_key": []}]


def test_the_official_client_decodes_every_refusal(small, guarded):
    ids = over_http.InferInput("customer_id", [1], "BYTES")
    ids.set_data_from_numpy(np.array([b"C-1042"], dtype=object))
    many = over_http.InferInput("customer_id", [3000], "BYTES")
    many.set_data_from_numpy(np.array([b"C-1042"] * 3000, dtype=object))
    client = over_http.InferenceServerClient(small.http.base_url.netloc.decode())
    keyed = over_http.InferenceServerClient(guarded[0].http.base_url.netloc.decode())
    for ask, status, part in [
        (lambda: client.infer("churn", [ids], headers={"Content-Encoding": "br"}), "415", 'found "br"'),
        (lambda: client.infer("churn", [many]), "413", "limits.body_bytes"),
        (lambda: client.infer("churn", [ids], timeout=1), "504", "deadline"),
        (lambda: client.get_model_metadata("churn/nothing"), "404", "unknown path"),
        (lambda: keyed.infer("churn", [ids]), "401", "API key missing"),
    ]:
        with pytest.raises(InferenceServerException) as error:
            ask()
        assert error.value.status() == status and part in error.value.message(), error.value


def test_a_client_is_told_that_a_connection_closes(small):
    """Headers and body come apart, so that the server answers before the body is there."""
    url = small.http.base_url
    for path, headers, status in [
        ("/v1/nothing", {}, 404),
        ("/v1/models", {}, 405),
        ("/v1/score", {"content-encoding": "br"}, 415),
        ("/v1/models/chrun/scores", {}, 404),
        ("/v1/models/churn/scores?explain=x", {}, 400),
        ("/v2/nothing", {}, 404),
        ("/v2/models/churn/infer", {"content-encoding": "br"}, 415),
    ]:
        connection = http.client.HTTPConnection(url.host, url.port, timeout=20)
        connection.putrequest("POST", path)
        for name, value in ({"content-length": "20"} | headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, answer.headers["connection"]) == (status, "close"), path
        connection.close()


def test_the_server_lives_on(small):
    before = time.monotonic()
    assert small.http.get("/v1/models/churn/scores/C-1042").json()["status"] == "ok"
    assert time.monotonic() - before < 5


# Words of Rust and of its parsers, which no answer may have.
WORDS = re.compile(
    r"usize|u64|i64|f64|struct |variant|ident|EOF|invalid (type|value|digit|length)|a sequence|a map|\?:|parsing|deseriali"
)
VALUES = [
    "",
    "tru",
    "5",
    "null",
    '"x"',
    "[]",
    "[5]",
    "{",
    '{"',
    '{"x"',
    '{"x":',
    '{"x": 1,}',
    "{x: 1}",
    "{} x",
    "\x00",
]
FIELDS = {
    "/v1": ["model", "version", "label", "entities", "explain", "unknown"],
    "/v2": ["id", "inputs", "outputs", "parameters"],
}


@pytest.mark.parametrize("api", APIS)
def test_no_answer_has_words_of_the_parser(small, api):
    path, _, _ = APIS[api]
    bodies = VALUES + [f'{{"{field}": {value or "nix"}}}' for field in FIELDS[api] for value in VALUES]
    bodies += [
        f'{{"model": "churn", "entities": [{{"{key}": {value}}}]}}'
        for key in ("id", "features")
        for value in VALUES
    ]
    bodies += [f'{{"inputs": [{{"name": "x", "shape": {value}, "datatype": "FP32"}}]}}' for value in VALUES]
    for body in bodies:
        answer = small.http.post(path, content=body)
        text = answer.text
        if answer.status_code != 200:
            assert answer.status_code in (400, 404), text
            assert not WORDS.search(text), (body, text)
        if api == "/v1":
            for line in small.http.post("/v1/models/churn/scores", content=body).text.splitlines():
                assert not WORDS.search(line), (body, line)


@pytest.mark.parametrize(
    "query, part",
    [
        ("explain=many", 'explain: expected a whole number from 0, such as 3, found \\"many\\"'),
        ("explain=", "explain: expected a whole number"),
        ("version=-1", "version: expected a whole number"),
        ("version=1&label=stable", "keep one of them"),
        ("explain=1&explain=2", "given twice"),
        ("explian=1", "no query parameter `explian`"),
        ("%FF=%FF", "no query parameter"),
    ],
)
def test_a_query_parameter_is_named(small, query, part):
    for path in ("scores/C-1042", "features/C-1042"):
        answer = small.http.get(f"/v1/models/churn/{path}?{query}")
        assert answer.status_code == 400 and part in answer.text and not WORDS.search(answer.text), (
            answer.text
        )
    answer = small.http.post(f"/v1/models/churn/scores?{query}", content=b"")
    assert answer.status_code == 400 and part in answer.text
