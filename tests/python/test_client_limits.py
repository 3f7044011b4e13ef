"""Limits of each client: rate, share, and the models of a key; over REST, gRPC and bulk lines."""

import gzip
import json
import re
import threading
import time
from types import SimpleNamespace

import grpc
import pytest

from evergreen_testing import hostile
from evergreen_testing.grpc_client import Client, details
from evergreen_testing.model_repository import bundle, put
from evergreen_testing.processes import until
from evergreen_testing.sample_customers import metric
from evergreen_testing.server_process import serving
from test_auth import bearer, make

SCORE = "/v1/models/churn/scores/C-1042"
STREAM = "/evergreen.v1.ScoringService/ScoreStream"

#: What each key has beside its role. The rates are so low that the burst is all that a test sees.
ENTRIES = {
    "free": "",
    "slow": "rate = 0.001\nburst = 6\n",
    "steady": "rate = 1000\nburst = 500\n",
    **dict.fromkeys(("owing", "packing", "dense", "lines", "batches", "elements"), "rate = 20\nburst = 20\n"),
    "exact": "rate = 0.001\nburst = 300\n",
    "small": "share = 0.2\n",
    "churn-only": 'models = ["churn"]\n',
    "upsell-only": 'models = ["upsell-*"]\n',
    "upsell-admin": 'models = ["upsell-*"]\n',
}


@pytest.fixture(scope="module")
def guarded(evergreen, tmp_path_factory):
    """A server with two models and a key for each entry."""
    folder = tmp_path_factory.mktemp("limits")
    for name in ("churn", "upsell-eu"):
        put(bundle(folder / "next"), folder / "models", 1, name)
    keys, lines = {}, []
    for name, limits in ENTRIES.items():
        keys[name], entry = make(evergreen, name, "score", *(["administer"] if "admin" in name else []))
        lines.append(entry + limits)
    file = folder / "keys.toml"
    file.write_text("\n".join(lines))
    config = folder / "e.toml"
    config.write_text(
        "[server]\npoll_seconds = 0.1\n[auth]\nfile = 'keys.toml'\n[limits]\nbatch = 2000\nin_flight = 2000\n"
        "[models]\nrepository_api = true\n"
    )
    with serving(evergreen, folder, models=folder / "models", config=config) as server:
        yield SimpleNamespace(server=server, keys=keys, file=file)


def metadata(guarded, name):
    return list(bearer(guarded.keys[name]).items())


def call(guarded, name, method, **fields):
    """Calls a method of the scoring service with a key. Returns the answer, or the error."""
    with grpc.insecure_channel(guarded.server.grpc) as channel:
        prepared, request = Client(channel).prepare(method, **fields)
        try:
            return prepared(request, metadata=metadata(guarded, name), timeout=10)
        except grpc.RpcError as error:
            return error


def infer_call(guarded, name, method, message=b""):
    """Calls a method of the Open Inference Protocol with an encoded message. Returns the answer, or the error's code."""
    with grpc.insecure_channel(guarded.server.grpc) as channel:
        try:
            return channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(
                message, metadata=metadata(guarded, name), timeout=10
            )
        except grpc.RpcError as error:
            return error.code()


def named(model):
    """Encodes a message whose first field is the name of a model."""
    return bytes([10, len(model)]) + model.encode()


def test_a_key_above_its_rate_is_refused_on_every_api_until_it_may_again(guarded):
    http, slow = guarded.server.http, bearer(guarded.keys["slow"])
    entity = {"text_id": "C-1042"}
    assert http.get(SCORE, headers=slow).status_code == 200
    assert call(guarded, "slow", "Score", model="churn", entities=[entity] * 2).results
    assert http.get("/v1/models/churn/features/C-1042", headers=slow).status_code == 200
    # Two are left: an explained entity counts as ten, and a refused request as none.
    explained = http.get(SCORE + "?explain=1", headers=slow)
    assert explained.status_code == 429
    infer = {"inputs": [{"name": "customer_id", "shape": [2], "datatype": "BYTES", "data": ["C-1042"] * 2}]}
    assert http.post("/v2/models/churn/infer", json=infer, headers=slow).status_code == 200
    refused = http.get(SCORE, headers=slow)
    assert refused.status_code == 429 and 900 <= int(refused.headers["retry-after"]) <= 1000
    problem = refused.json()
    assert problem["type"] == "urn:evergreen:problem:client_limit"
    assert "`slow` is above 0.001 entities per second (`rate` of its entry" in problem["detail"]
    error = call(guarded, "slow", "Score", model="churn", entities=[entity])
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert 900 <= details(error)["RetryInfo"].retry_delay.seconds <= 1000
    assert infer_call(guarded, "slow", "ServerMetadata") != grpc.StatusCode.RESOURCE_EXHAUSTED
    # Others are not concerned, and what costs nothing is not limited.
    assert http.get(SCORE, headers=bearer(guarded.keys["free"])).status_code == 200
    assert http.get("/v1/models", headers=slow).status_code == 200
    assert metric(guarded.server, "evergreen_client_refusals_total", client="slow", reason="rate") >= 3


def test_a_reload_of_the_keys_forgives_nothing_and_brings_new_limits(guarded):
    http, slow = guarded.server.http, bearer(guarded.keys["slow"])
    while http.get(SCORE, headers=slow).status_code == 200:
        pass
    before = guarded.file.read_text()
    loads = lambda: guarded.server.log.read_text().count("API keys loaded")  # noqa: E731
    seen = loads()
    try:
        guarded.file.write_text(before + "\n# another comment\n")
        until(lambda: loads() > seen)
        assert http.get(SCORE, headers=slow).status_code == 429
        guarded.file.write_text(before.replace("rate = 0.001\nburst = 6\n", "rate = 0\n"))
        until(lambda: http.get(SCORE, headers=slow).status_code == 200)
    finally:
        guarded.file.write_text(before)


def test_bulk_lines_wait_for_the_rate(guarded):
    lines = "\n".join(['{"id": "C-1042"}'] * 2000)
    start = time.monotonic()
    answer = guarded.server.http.post(
        "/v1/models/churn/scores", content=lines, headers=bearer(guarded.keys["steady"])
    )
    answers = [json.loads(line) for line in answer.text.splitlines()]
    assert [found["line"] for found in answers] == list(range(1, 2001))
    assert {found["status"] for found in answers} == {"ok"}
    # The first 500 are the burst.
    assert time.monotonic() - start > 1.4


def test_batches_of_a_stream_wait_for_the_rate(guarded):
    with grpc.insecure_channel(guarded.server.grpc) as channel:
        request = {"model": "churn", "entities": [{"text_id": "C-1042"}] * 500}
        batches = [{"batch_id": str(number), "request": request} for number in range(4)]
        start = time.monotonic()
        answers = list(Client(channel).stream(batches, metadata=metadata(guarded, "steady"), timeout=30))
        assert [answer.batch_id for answer in answers] == ["0", "1", "2", "3"]
        assert all(len(answer.response.results) == 500 for answer in answers)
        assert time.monotonic() - start > 0.9
        # A batch that waits until the deadline of its call ends with it.
        batches = [
            {"batch_id": "0", "request": {"model": "churn", "entities": [{"text_id": "C-1042"}] * 7}}
        ] * 3
        with pytest.raises(grpc.RpcError) as ended:
            list(Client(channel).stream(batches, metadata=metadata(guarded, "slow"), timeout=1))
        assert ended.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def large(count=1):
    """Returns a valid request of two KiB."""
    return json.dumps({"model": "churn", "entities": [{"id": "C-1042"}] * count}).encode() + b" " * 2048


def broken(kind, guarded):
    """Sends a body of 260 KiB, once it is unpacked, that fails. Returns whether it failed as it should."""
    text, headers = b'{"model": "churn", "entities": [' + b" " * 266_240, bearer(guarded.keys["owing"])
    http = guarded.server.http
    if kind == "rest":
        return http.post("/v1/score", content=text, headers=headers).status_code == 400
    if kind == "packed":
        headers["content-encoding"] = "gzip"
        return http.post("/v1/score", content=gzip.compress(text), headers=headers).status_code == 400
    with grpc.insecure_channel(guarded.server.grpc) as channel:
        # Field 3 is a list of messages; this one does not end.
        method = channel.unary_unary("/evergreen.v1.ScoringService/Score")
        compression = grpc.Compression.Gzip if kind == "packed gRPC" else grpc.Compression.NoCompression
        with pytest.raises(grpc.RpcError) as failed:
            method(
                b"\x0a\x05churn\x1a\xff\xff\x7f" + b"\0" * 266_240,
                metadata=metadata(guarded, "owing"),
                timeout=10,
                compression=compression,
            )
        return failed.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)


def test_small_elements_cost_what_they_take(guarded):
    http, small = guarded.server.http, bearer(guarded.keys["elements"])
    body = b'{"model": "churn", "entities": [' + b"{}," * 10_000 + b"{}]}"
    # 30 kB, far below the burst of 80 KiB; a second one finds the debt of the first.
    assert http.post("/v1/score", content=body, headers=small).status_code == 413
    refused = http.post("/v1/score", content=body, headers=small)
    assert refused.status_code == 429 and "bytes of bodies" in refused.text


@pytest.mark.parametrize("kind", ["rest", "packed", "gRPC", "packed gRPC"])
def test_a_body_that_fails_is_paid_for(kind, guarded):
    http, owing = guarded.server.http, bearer(guarded.keys["owing"])
    score = lambda: http.post("/v1/score", content=large(), headers=owing)  # noqa: E731
    until(lambda: score().status_code == 200)
    # 80 KiB at once after a pause, and 80 in each second.
    time.sleep(1.2)
    assert broken(kind, guarded)
    refused = score()
    assert refused.status_code == 429 and refused.json()["type"] == "urn:evergreen:problem:client_limit"
    # Its body is not read, so the connection ends.
    assert refused.headers["connection"] == "close"
    assert "`owing` is above 81920 bytes of bodies per second (4 KiB for each entity" in refused.text
    # What is decoded costs a sixteenth of its memory.
    assert 1 < float(re.search(r"retry in ([\d.]+) s", refused.text)[1]) < 4
    error = call(guarded, "owing", "Score", model="churn", entities=[{"text_id": "C-1042"}] * 200)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "bytes of bodies" in error.details()
    # Small bodies cost nothing.
    assert http.post("/v1/score", content=large()[:-2048], headers=owing).status_code == 200
    assert call(guarded, "owing", "Score", model="churn", entities=[{"text_id": "C-1042"}]).results
    wait = details(error)["RetryInfo"].retry_delay
    time.sleep(wait.seconds + wait.nanos / 1e9)
    assert score().status_code == 200
    # Nobody else has to wait.
    assert http.post("/v1/score", content=large(), headers=bearer(guarded.keys["free"])).status_code == 200


def test_a_message_that_cannot_be_unpacked_is_paid_for(guarded):
    packed = gzip.compress(b"\0" * (4 << 20))
    client = hostile.Http2(guarded.server.grpc)
    body = hostile.message(packed[:-8] + b"\1" * 8, compressed=True)
    headers = (("grpc-encoding", "gzip"), *metadata(guarded, "packing"))
    stream = client.call(hostile.SCORE, body, *headers)
    client.answers([stream], 10)
    client.close()
    http, packing = guarded.server.http, bearer(guarded.keys["packing"])
    until(lambda: http.post("/v1/score", content=large(), headers=packing).status_code == 429)
    assert http.post("/v1/score", content=large()[:-2048], headers=packing).status_code == 200


def test_a_packed_body_is_never_a_small_one(guarded):
    http, packed = guarded.server.http, bearer(guarded.keys["dense"])
    client = hostile.Http2(guarded.server.grpc)
    # A kilobyte that becomes a megabyte; all of it comes in one frame.
    bomb = hostile.message(gzip.compress(b"\0" * (1 << 20)), compressed=True)
    assert len(bomb) < 1200
    headers = (("grpc-encoding", "gzip"), *metadata(guarded, "dense"))
    codes = []
    for _ in range(3):
        stream = client.call(hostile.SCORE, bomb, *headers)
        client.answers([stream], 10)
        codes.append(client.status[stream]["grpc-status"])
    # The first one owes for the others, which are not unpacked.
    assert codes[0] != "8" and codes[1:] == ["8", "8"]
    # A stream is not read until its client has paid.
    stream, end = client.call(STREAM, bomb, *headers), time.monotonic() + 1
    while time.monotonic() < end:
        client.read(0.1)
    assert "grpc-status" not in client.status.get(stream, {})
    client.close()
    client = hostile.Http2(guarded.server.grpc)
    stream = client.call(STREAM, bomb, ("grpc-encoding", "gzip"), *metadata(guarded, "free"))
    client.answers([stream], 10)
    assert client.status[stream]["grpc-status"] != "0"
    client.close()
    body, headers = gzip.compress(large()[:-2048]), packed | {"content-encoding": "gzip"}
    refused = http.post("/v1/score", content=body, headers=headers)
    assert refused.status_code == 429 and "bytes of bodies" in refused.text
    assert http.post("/v1/score", content=large()[:-2048], headers=packed).status_code == 200


def test_streams_wait_for_the_rate_of_bodies(guarded):
    lines = b'{"idd": 1}\n' * 25_000
    start = time.monotonic()
    answer = guarded.server.http.post(
        "/v1/models/churn/scores", content=lines, headers=bearer(guarded.keys["lines"])
    )
    assert {json.loads(line)["status"] for line in answer.text.splitlines()} == {"error"}
    assert answer.text.count("\n") == 25_000
    # 268 KiB, of which 80 are the burst; the last ones need not be paid before they are answered.
    assert time.monotonic() - start > 1.7
    with grpc.insecure_channel(guarded.server.grpc) as channel:
        # The names of models that do not exist.
        batches = [
            {"batch_id": str(number), "request": {"model": "x" * 40_000, "entities": [{"text_id": "C-1042"}]}}
            for number in range(7)
        ]
        start = time.monotonic()
        answers = list(Client(channel).stream(batches, metadata=metadata(guarded, "batches"), timeout=30))
        assert [answer.error.code for answer in answers] == [grpc.StatusCode.NOT_FOUND.value[0]] * 7
        assert time.monotonic() - start > 1.5


def test_what_a_body_costs_is_not_taken_from_the_entities(guarded):
    http, exact = guarded.server.http, bearer(guarded.keys["exact"])
    entities = [{"id": "C-1042", "features": {}}] * 250
    body = json.dumps({"model": "churn", "entities": entities}) + " " * 102_400
    assert http.post("/v1/score", content=body, headers=exact).status_code == 200
    body = json.dumps({"model": "churn", "entities": entities[:50]}) + " " * 102_400
    assert http.post("/v1/score", content=body, headers=exact).status_code == 200
    assert http.get(SCORE, headers=exact).status_code == 429


def test_a_key_has_at_most_its_share_in_progress(guarded):
    http, small = guarded.server.http, bearer(guarded.keys["small"])
    # Explained entities take long; one request runs whatever it costs.
    heavy = {"model": "churn", "entities": [{"id": "C-1042"}] * 2000, "explain": 3}
    done = threading.Event()
    statuses = set()

    def work():
        while not done.is_set():
            statuses.add(guarded.server.http.post("/v1/score", json=heavy, headers=small).status_code)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        refused = until(
            lambda: next(
                (
                    answer
                    for answer in [http.get(SCORE, headers=small)]
                    if answer.status_code == 429 and "may have 400" in answer.json()["detail"]
                ),
                None,
            )
        )
    finally:
        done.set()
        thread.join()
    assert "`share` of its entry" in refused.json()["detail"] and refused.headers["retry-after"] == "1"
    assert 200 in statuses
    assert metric(guarded.server, "evergreen_client_refusals_total", client="small", reason="share") >= 1


def test_a_full_server_refuses_a_request_before_it_is_parsed(guarded):
    http, free = guarded.server.http, bearer(guarded.keys["free"])
    heavy = {"model": "churn", "entities": [{"id": "C-1042"}] * 2000, "explain": 3}
    broken = {"model": "churn", "entities": [{"idd": "C-1042"}] * 200}
    assert http.post("/v1/score", json=broken, headers=free).status_code == 400
    done = threading.Event()

    def work():
        while not done.is_set():
            http.post("/v1/score", json=heavy, headers=free)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        ask = lambda: http.post("/v1/score", json=broken, headers=free)  # noqa: E731
        refused = until(lambda: next((answer for answer in [ask()] if answer.status_code == 429), None))
        # What waiting does not change is said at once.
        for fault, status in [({"entities": heavy["entities"] + [{}]}, 413), ({"model": "chrun"}, 404)]:
            statuses = {
                http.post("/v1/score", json=heavy | fault, headers=free).status_code for _ in range(20)
            }
            assert statuses == {status}
    finally:
        done.set()
        thread.join()
    assert (
        "has 2000 entities in progress" in refused.json()["detail"] and refused.headers["retry-after"] == "1"
    )
    assert http.post("/v1/score", json=broken, headers=free).status_code == 400


def test_a_key_sees_and_uses_only_its_models(guarded):
    http, ops = guarded.server.http, guarded.server.ops
    key = bearer(guarded.keys["upsell-only"])
    infer = {"inputs": [{"name": "customer_id", "shape": [1], "datatype": "BYTES", "data": ["C-1042"]}]}

    def statuses(model):
        body = {"model": model, "entities": [{"id": "C-1042"}]}
        paths = [f"/v1/models/{model}", f"/v1/models/{model}/scores/C-1042"]
        paths += [f"/v1/models/{model}/features/C-1042", f"/v2/models/{model}", f"/v2/models/{model}/ready"]
        paths += [f"/v2/models/{model}/config", f"/v2/models/{model}/stats", f"/v2/models/{model}/versions/1"]
        found = {http.get(path, headers=key).status_code for path in paths}
        found.add(http.post("/v1/score", json=body, headers=key).status_code)
        found.add(http.post(f"/v2/models/{model}/infer", json=infer, headers=key).status_code)
        lines = http.post(f"/v1/models/{model}/scores", content='{"id": "C-1042"}\n', headers=key)
        found.add(lines.status_code)
        found.add(ops.get(f"/v1/models/{model}", headers=key).status_code)
        return found

    assert statuses("upsell-eu") == {200}
    assert statuses("churn") == {403}
    # A key learns nothing of models that it may not use.
    unknown = http.get("/v1/models/nothing", headers=key)
    assert unknown.status_code == 403
    assert unknown.json()["detail"] == http.get("/v1/models/churn", headers=key).json()["detail"]
    names = lambda answer: [model["name"] for model in answer.json()["models"]]  # noqa: E731
    assert names(http.get("/v1/models", headers=key)) == ["upsell-eu"]
    assert names(ops.get("/v1/models", headers=key)) == ["upsell-eu"]
    assert names(http.get("/v1/models", headers=bearer(guarded.keys["free"]))) == ["churn", "upsell-eu"]
    stats = http.get("/v2/models/stats", headers=key).json()["model_stats"]
    assert [model["name"] for model in stats] == ["upsell-eu"]
    index = http.post("/v2/repository/index", headers=key).json()
    assert [model["name"] for model in index] == ["upsell-eu"]
    assert (
        metric(guarded.server, "evergreen_client_refusals_total", client="upsell-only", reason="model") >= 10
    )


def test_a_key_sees_and_uses_only_its_models_over_grpc(guarded):
    denied = grpc.StatusCode.PERMISSION_DENIED
    entities = [{"text_id": "C-1042"}]
    assert call(guarded, "churn-only", "Score", model="churn", entities=entities).results
    assert call(guarded, "churn-only", "Score", model="upsell-eu", entities=entities).code() == denied
    assert call(guarded, "churn-only", "GetModel", model="upsell-eu").code() == denied
    assert call(guarded, "churn-only", "GetModel", model="churn").entity
    listed = call(guarded, "churn-only", "ListModels")
    assert [model.name for model in listed.models] == ["churn"]
    for method in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "ModelInfer"):
        assert infer_call(guarded, "churn-only", method, named("upsell-eu")) == denied, method
        assert infer_call(guarded, "churn-only", method, named("churn")) != denied, method
    assert b"upsell" not in infer_call(guarded, "churn-only", "ModelStatistics")
    assert b"upsell" not in infer_call(guarded, "churn-only", "RepositoryIndex")
    assert b"churn" in infer_call(guarded, "churn-only", "RepositoryIndex")


def test_an_administrator_of_some_models_changes_only_these(guarded):
    ops, http = guarded.server.ops, guarded.server.http
    key = bearer(guarded.keys["upsell-admin"])
    assert ops.post("/v1/models/churn/unload", headers=key).status_code == 403
    assert ops.post("/v1/models/upsell-eu/load", headers=key).status_code == 200
    assert http.post("/v2/repository/models/churn/unload", headers=key).status_code == 403
    assert infer_call(guarded, "upsell-admin", "RepositoryModelUnload", bytes([18, 5]) + b"churn") == (
        grpc.StatusCode.PERMISSION_DENIED
    )
    for method, path in (("POST", "/v1/repository/refresh"), ("DELETE", "/cache")):
        refused = ops.request(method, path, headers=key)
        assert refused.status_code == 403 and "concerns all models" in refused.json()["detail"]
    assert ops.head("/v1/models", headers=bearer(guarded.keys["free"])).status_code == 200


def test_without_keys_each_address_behind_a_trusted_proxy_is_a_client(evergreen, tmp_path):
    config = tmp_path / "e.toml"
    config.write_text("[clients]\nrate = 0.001\nburst = 2\ntrusted_proxies = ['127.0.0.0/8']\n")
    with serving(evergreen, tmp_path, config=config) as server:
        ask = lambda **headers: server.http.get(SCORE, headers=headers).status_code  # noqa: E731
        of = lambda address: ask(**{"x-forwarded-for": address})  # noqa: E731
        assert [of("198.51.100.1") for _ in range(3)] == [200, 200, 429]
        assert of("1.2.3.4, 198.51.100.1") == of("198.51.100.1, 127.0.0.5") == 429
        assert of("198.51.100.2") == 200
        assert ask(forwarded="for=198.51.100.1;proto=https") == 429
        # The first 64 bits of IPv6 are one client.
        found = [
            of(address) for address in ("2001:db8::1", "2001:db8::2", "[2001:db8::3]:443", "2001:db8:0:1::1")
        ]
        assert found == [200, 200, 429, 200]
        with grpc.insecure_channel(server.grpc) as channel:
            call, request = Client(channel).prepare("Score", model="churn", entities=[{"text_id": "C-1042"}])
            with pytest.raises(grpc.RpcError) as refused:
                call(request, metadata=[("x-forwarded-for", "198.51.100.1")], timeout=10)
            assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (
            "this client's address is above"
            in server.http.get(SCORE, headers={"x-forwarded-for": "198.51.100.1"}).json()["detail"]
        )


def test_a_header_of_somebody_who_is_no_proxy_is_not_believed(evergreen, tmp_path):
    with serving(
        evergreen,
        tmp_path,
        EVERGREEN_CLIENTS__RATE="0.001",
        EVERGREEN_CLIENTS__BURST="2",
        EVERGREEN_CLIENTS__TRUSTED_PROXIES="10.0.0.0/8, fd00::/8",
    ) as server:
        ask = lambda last: server.http.get(SCORE, headers={"x-forwarded-for": f"192.0.2.{last}"})  # noqa: E731
        assert [ask(last).status_code for last in range(3)] == [200, 200, 429]
