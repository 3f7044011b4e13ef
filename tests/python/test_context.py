"""Request ids, traces and deadlines over REST and gRPC."""

import json
import re
import socket
import threading
import time

import grpc
import h2.config
import h2.connection
import h2.events
import pytest

from evergreen_testing.grpc_client import SERVICE, Client, details
from evergreen_testing.server_process import serving

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
ENTITY = {"model": "churn", "entities": [{"id": "C-1042"}]}
MESSAGE = {"model": "churn", "entities": [{"text_id": "C-1042"}]}


def over_rest(server, headers):
    """Returns the headers of an answer."""
    return dict(server.http.post("/v1/score", json=ENTITY, headers=headers).headers)


def over_grpc(server, headers):
    with grpc.insecure_channel(server.grpc) as channel:
        method, request = Client(channel).prepare("Score", **MESSAGE)
        _, call = method.with_call(request, timeout=10, metadata=list(headers.items()))
        return dict(call.initial_metadata())


both = pytest.mark.parametrize("ask", [over_rest, over_grpc])


@both
def test_a_request_keeps_its_id_or_gets_one(server, ask):
    assert ask(server, {"x-request-id": "order-7"})["x-request-id"] == "order-7"
    made = ask(server, {})["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made) and made != ask(server, {})["x-request-id"]
    for unfit in ("x" * 129, "two words"):
        assert re.fullmatch("[0-9a-f]{32}", ask(server, {"x-request-id": unfit})["x-request-id"])


@both
def test_a_trace_goes_on(server, ask):
    answer = ask(server, {"traceparent": TRACEPARENT})["traceresponse"]
    version, trace, span, flags = answer.split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert re.fullmatch("[0-9a-f]{16}", span) and span not in TRACEPARENT
    for unfit in ("00-" + "0" * 32 + TRACEPARENT[35:], TRACEPARENT.upper(), "nonsense"):
        assert "traceresponse" not in ask(server, {"traceparent": unfit})


def test_an_error_has_its_id_too(server):
    for path in ("/v1/nothing", "/v2/models/nothing", "/v1/models/nothing"):
        answer = server.http.get(path, headers={"x-request-id": "r-1", "traceparent": TRACEPARENT})
        assert answer.status_code == 404 and answer.headers["x-request-id"] == "r-1"
        assert TRACE in answer.headers["traceresponse"]


def test_the_access_log_names_the_request_and_no_one_else(evergreen, tmp_path):
    config = tmp_path / "e.toml"
    config.write_text('[log]\nlevel = "info,evergreen::access=debug"\n')
    headers = {"x-request-id": "order-8", "traceparent": TRACEPARENT}
    with serving(evergreen, tmp_path, config=config) as server:
        over_rest(server, headers)
        over_grpc(server, headers)
        server.http.get("/v1/models/churn/scores/C-1042", headers=headers)
        server.http.get("/v1/models/chrun", headers=headers)
        server.stop()
        lines = [line for line in server.log.read_text().splitlines() if "answered" in line]
    assert "C-1042" not in "".join(lines)
    assert all('request_id="order-8"' in line and f"trace_id={TRACE}" in line for line in lines[:1])
    found = [
        re.search(r'(?:model="(\w+)".*)?answered operation="?(.*?)"? status=(\d+) micros=\d+', line)
        for line in lines
    ]
    reflection = "grpc.reflection"
    assert [match.groups() for match in found if reflection not in match.group(2)] == [
        ("churn", "POST /v1/score", "200"),
        ("churn", f"/{SERVICE}/Score", "0"),
        ("churn", "GET /v1/models/{model}/scores/{id}", "200"),
        (None, "GET /v1/models/{model}", "404"),
    ]


def test_no_request_writes_an_id_to_the_access_log(evergreen, tmp_path):
    config = tmp_path / "e.toml"
    config.write_text('[log]\nlevel = "info,evergreen::access=debug"\n')
    paths = [
        "/v1/models/churn/scores/C-1042",
        "/v1/models/churn/features/C-1042",
        "/v1/nothing/C-1042",
        "/C-1042",
    ]
    with serving(evergreen, tmp_path, config=config) as server, grpc.insecure_channel(server.grpc) as channel:
        for path in paths:
            server.http.get(path)
            # A media type of the other protocol does not change what is logged.
            server.http.get(path, headers={"content-type": "application/grpc"})
            server.http.post(path, headers={"content-type": "application/grpc+proto"}, content=b"")
        for path in [
            *paths,
            f"/{SERVICE}/C-1042",
            f"/{SERVICE}/C-1042/Score",
            "/inference.GRPCInferenceService/C-1042",
        ]:
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(path)(b"", timeout=10)
        server.stop()
        log = server.log.read_text()
    lines = [line for line in log.splitlines() if "answered" in line]
    assert len(lines) >= 19 and "C-1042" not in log
    assert sum("(unknown method)" in line for line in lines) >= 7


def test_a_request_log_line_costs_nothing_unasked(server):
    over_rest(server, {})
    assert "answered" not in server.log.read_text()


BAD_TIMEOUTS = ["0", "-1", "1.5", "soon", "", "99999999999999999999999"]


@pytest.mark.parametrize("name", ["x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms"])
@pytest.mark.parametrize("value", BAD_TIMEOUTS)
def test_a_deadline_that_cannot_be_read_is_named_over_rest(server, name, value):
    answer = server.http.post("/v1/score", json=ENTITY, headers={name: value})
    assert answer.status_code == 400 and f"`{name}`" in answer.json()["detail"]
    answer = server.http.post("/v2/models/churn/infer", json={"inputs": []}, headers={name: value})
    assert answer.status_code == 400 and f"`{name}`" in answer.json()["error"]


def test_a_deadline_is_kept_over_rest(server):
    """The deadline counts from the headers; the body arrives too late."""
    body = json.dumps(ENTITY).encode()
    url = server.http.base_url
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        head = f"POST /v1/score HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
        connection.sendall(f"{head}x-request-timeout-ms: 20\r\n\r\n".encode())
        time.sleep(0.1)
        connection.sendall(body)
        answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 504") and "urn:evergreen:problem:deadline_exceeded" in answer


@both
def test_work_on_another_thread_is_answered_for_in_time(server, ask):
    """Reasons for many entities take longer than the deadline; the client gets the error on time."""
    ids = ["C-1042"] * 3000
    if ask is over_rest:
        body = {"model": "churn", "entities": [{"id": id} for id in ids], "explain": 10}
        answer = server.http.post("/v1/score", json=body, headers={"x-request-timeout-ms": "30"})
        assert answer.status_code == 504 and "deadline_exceeded" in answer.json()["type"]
        return
    with grpc.insecure_channel(server.grpc) as channel:
        call, request = Client(channel).prepare(
            "Score", model="churn", entities=[{"text_id": id} for id in ids], explain=10
        )
        with pytest.raises(grpc.RpcError) as error:
            # A proxy's header sets the server's deadline; the client itself waits longer.
            call(request, timeout=30, metadata=[("x-envoy-expected-rq-timeout-ms", "30")])
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert details(error.value)["ErrorInfo"].reason == "deadline_exceeded"


def test_open_inferences_own_timeout_is_kept(server):
    rows = [[0.0] * 24] * 3000
    tensor = {"name": "x", "shape": [3000, 24], "datatype": "FP32", "data": rows}
    body = {"inputs": [tensor], "outputs": [{"name": "contributions"}], "parameters": {"timeout": 100}}
    assert server.http.post("/v2/models/churn/infer", json=body).status_code == 504
    body["parameters"]["timeout"] = "soon"
    answer = server.http.post("/v2/models/churn/infer", json=body)
    assert answer.status_code == 400 and "`timeout`" in answer.json()["error"]


@pytest.mark.parametrize("value", ["123456789S", "5", "5s", "S", "+5S"])
def test_a_deadline_that_cannot_be_read_is_named_over_grpc(server, value):
    # Client libraries write grpc-timeout themselves; an invalid one must be sent by hand.
    host, port = server.grpc.rsplit(":", 1)
    with grpc.insecure_channel(server.grpc) as channel:
        _, request = Client(channel).prepare("Score", **MESSAGE)
    body = request.SerializeToString()
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        h2c = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        h2c.initiate_connection()
        pseudo = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", f"/{SERVICE}/Score"),
            (":authority", "x"),
        ]
        own = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", value)]
        h2c.send_headers(1, pseudo + own)
        h2c.send_data(1, b"\0" + len(body).to_bytes(4, "big") + body, end_stream=True)
        connection.sendall(h2c.data_to_send())
        headers, ended = {}, False
        while not ended:
            for event in h2c.receive_data(connection.recv(65536)):
                if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                    headers |= dict(event.headers)
                ended = ended or isinstance(event, h2.events.StreamEnded)
            connection.sendall(h2c.data_to_send())
    assert headers["grpc-status"] == "3" and "grpc-timeout" in headers["grpc-message"]


def test_details_of_errors(server):
    with grpc.insecure_channel(server.grpc) as channel:
        client = Client(channel)
        with pytest.raises(grpc.RpcError) as invalid:
            client("Score", model="churn", entities=[])
        with pytest.raises(grpc.RpcError) as missing:
            client("GetModel", model="chrun")
    found = details(invalid.value)
    assert (found["ErrorInfo"].reason, found["ErrorInfo"].domain) == ("invalid", "evergreen")
    violation = found["BadRequest"].field_violations[0]
    assert (violation.field, violation.description) == ("entities", invalid.value.details())
    found = details(missing.value)
    assert found["ErrorInfo"].reason == "model_not_found" and "BadRequest" not in found


@pytest.mark.parametrize(
    "fields, field",
    [
        ({"version": 1, "label": "stable"}, "version"),
        ({"entities": []}, "entities"),
    ],
)
def test_an_error_carries_its_field(server, fields, field):
    with grpc.insecure_channel(server.grpc) as channel, pytest.raises(grpc.RpcError) as error:
        Client(channel)("Score", **(MESSAGE | fields))
    assert details(error.value)["BadRequest"].field_violations[0].field == field


def test_a_server_at_its_limit_says_when_to_try_again(evergreen, tmp_path):
    config = tmp_path / "e.toml"
    config.write_text("[limits]\nbatch = 2\nin_flight = 2\n")
    ids = [f"C-{number}" for number in range(2)]
    overloaded = {}
    with serving(evergreen, tmp_path, config=config) as server, grpc.insecure_channel(server.grpc) as channel:
        client = Client(channel)
        stop = time.monotonic() + 30

        def rest():
            while "rest" not in overloaded and time.monotonic() < stop:
                body = {"model": "churn", "entities": [{"id": id} for id in ids], "explain": 10}
                answer = server.http.post("/v1/score", json=body)
                if answer.status_code == 429:
                    overloaded["rest"] = answer.headers["retry-after"]

        def rpc():
            while "grpc" not in overloaded and time.monotonic() < stop:
                try:
                    client("Score", model="churn", entities=[{"text_id": id} for id in ids], explain=10)
                except grpc.RpcError as error:
                    overloaded["grpc"] = details(error)["RetryInfo"].retry_delay.seconds

        threads = [threading.Thread(target=work) for work in (rest, rpc) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert overloaded == {"rest": "1", "grpc": 1}
