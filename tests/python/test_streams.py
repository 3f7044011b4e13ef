"""Bulk scoring, `ScoreStream` over gRPC and JSON lines over REST: order, bounded memory, errors per part."""

import http.client
import json
import socket
import subprocess
import threading
import time
import zlib
from pathlib import Path

import grpc
import pytest

from evergreen_testing import openapi
from evergreen_testing.grpc_client import Client
from evergreen_testing.server_process import serving

PATH = "/v1/models/churn/scores"


@pytest.fixture(scope="module")
def client(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield Client(channel)


def batch(batch_id, *ids, **fields):
    request = {"model": "churn", "entities": [{"text_id": id} for id in ids]} | fields
    return {"batch_id": batch_id, "request": request}


def test_batches_are_answered_in_order_and_an_error_is_one_batchs_own(client):
    batches = [
        batch("a", "C-1042", "nobody"),
        batch("b"),
        batch("c", "C-8", model="chrun"),
        {"batch_id": "d"},
        batch("e", *["C-8"] * 5000, explain=1),
        batch("f", "C-8"),
    ]
    answers = list(client.stream(batches, timeout=60))
    assert [answer.batch_id for answer in answers] == ["a", "b", "c", "d", "e", "f"]
    a, b, c, d, e, f = answers
    assert a.response.results[0].HasField("score") and a.response.results[1].error.kind == "entity_not_found"
    assert [error.error.code for error in (b, c, d)] == [3, 5, 3]
    assert "did you mean `churn`?" in c.error.message and b"model_not_found" in c.error.details[0].value
    assert len(e.response.results) == 5000
    assert f.response.results[0].score == e.response.results[4999].score


def test_many_small_batches_do_not_end_their_connection(client):
    """Unread frames have an overhead that HTTP/2 servers bound."""
    answers = client.stream((batch(str(number), "C-8") for number in range(5000)), timeout=300)
    assert [answer.batch_id for answer in answers] == [str(number) for number in range(5000)]


def test_a_client_that_does_not_read_is_not_read_from(server):
    """Flow control limits the client: the number of unanswered batches stays bounded."""
    sent, memory_before = 0, memory(server)

    def batches():
        nonlocal sent
        for number in range(600):
            sent += 1
            yield batch(str(number), *["C-1042"] * 1000)

    # Without this, grpcio keeps increasing its read-ahead.
    with grpc.insecure_channel(server.grpc, options=[("grpc.http2.bdp_probe", 0)]) as channel:
        answers = Client(channel).stream(batches(), timeout=120)
        before = -1
        while sent != before:
            before = sent
            time.sleep(1)
        assert sent < 500 and memory(server) - memory_before < 50 << 20
        assert [answer.batch_id for answer in answers] == [str(number) for number in range(600)]


def test_a_stream_has_the_deadline_of_its_call(client):
    release = threading.Event()

    def batches():
        yield batch("a", "C-1042")
        release.wait(30)

    answers = client.stream(batches(), timeout=1)
    assert next(answers).batch_id == "a"
    with pytest.raises(grpc.RpcError) as error:
        next(answers)
    release.set()
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_streams_end_when_the_server_stops(evergreen, tmp_path):
    with serving(evergreen, tmp_path) as server, grpc.insecure_channel(server.grpc) as channel:
        release = threading.Event()

        def batches():
            yield batch("a", "C-1042")
            release.wait(30)

        answers = Client(channel).stream(batches(), timeout=30)
        assert next(answers).batch_id == "a"
        lines = Lines(server)
        lines.send(b'{"id": "C-1042"}\n')
        assert lines.read()["status"] == "ok"
        server.process.terminate()
        with pytest.raises(grpc.RpcError) as error:
            next(answers)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE and "reconnect" in error.value.details()
        last = lines.read()
        assert (last["line"], last["error"]["kind"]) == (2, "unavailable")
        assert lines.read() is None
        release.set()
        assert server.process.wait(timeout=10) == 0


class Lines:
    """Opens a bulk request whose lines the test sends and reads one by one."""

    def __init__(self, server, path=PATH, **headers):
        url = server.http.base_url
        self.connection = http.client.HTTPConnection(url.host, url.port, timeout=30)
        self.connection.putrequest("POST", path)
        headers = {"content-type": "application/x-ndjson", "transfer-encoding": "chunked"} | headers
        for name, value in headers.items():
            self.connection.putheader(name, value)
        self.connection.endheaders()
        self.answer, self.text, self.unpack = None, b"", zlib.decompressobj(zlib.MAX_WBITS | 16)

    def send(self, data):
        self.connection.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self):
        self.connection.send(b"0\r\n\r\n")

    def read(self):
        self.answer = self.answer or self.connection.getresponse()
        while b"\n" not in self.text and (more := self.answer.read1(65536)):
            self.text += self.unpack.decompress(more) if self.zipped() else more
        line, _, self.text = self.text.partition(b"\n")
        if line:
            schema = {"$ref": "#/components/schemas/LineBody"}
            openapi.description("").keep(schema, openapi.component(schema), json.loads(line))
        return json.loads(line) if line else None

    def zipped(self):
        return self.answer.headers["content-encoding"] == "gzip"


def post(server, content, **params):
    answer = server.http.post(
        PATH, content=content, params=params, headers={"content-type": "application/x-ndjson"}
    )
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_line_in_a_line_out(server):
    content = (
        '{"id": "C-1042"}\n'
        "\n"
        '{"id": "nobody"}\r\n'
        "{\n"
        '{"idd": 1}\n'
        '{"id": "C-1042", "features": {"visits_30d": "many"}}\n'
        f'{{"id": "{"x" * 70_000}"}}\n'
        '{"features": {"nps": NaN}}'
    )
    lines = post(server, content, explain=2)
    assert [line["line"] for line in lines] == [1, 3, 4, 5, 6, 7, 8]
    statuses = ["ok", "not_found", "error", "error", "error", "error", "error"]
    assert [line["status"] for line in lines] == statuses
    one = server.http.get("/v1/models/churn/scores/C-1042", params={"explain": 2}).json()
    assert {key: lines[0][key] for key in one if key != "model"} == {
        k: v for k, v in one.items() if k != "model"
    }
    assert lines[0]["version"] == 1 and len(lines[0]["reasons"]) == 2
    kinds = ["entity_not_found", "invalid", "invalid", "invalid", "too_large"]
    assert [line["error"]["kind"] for line in lines[1:6]] == kinds
    parts = [
        "nobody",
        "the text ends inside an object",
        "did you mean `id`?",
        "expected a",
        "streams.line_bytes",
    ]
    assert all(part in line["error"]["detail"] for part, line in zip(parts, lines[1:6], strict=True))


def test_no_lines_are_no_answers(server):
    assert post(server, b"") == [] and post(server, b"\n\n") == []


def test_lines_are_answered_as_they_come(server):
    for encoding in ({}, {"accept-encoding": "gzip"}):
        lines = Lines(server, **encoding)
        for number in range(1, 4):
            lines.send(b'{"id": "C-10')
            lines.send(b'42"}\n')
            assert lines.read()["line"] == number
        lines.end()
        assert lines.read() is None


def test_a_body_of_any_size_passes(server):
    """A body larger than limits.body_bytes is answered while it is sent."""
    line = b'{"id": "C-1042", "features": {"visits_30d": 3, "nps": 7}}\n'
    count = 100_000
    lines = Lines(server)
    assert len(line) * count > 5 << 20

    def send():
        for _ in range(count // 1000):
            lines.send(line * 1000)
        lines.end()

    sender = threading.Thread(target=send)
    sender.start()
    scores = set()
    for number in range(1, count + 1):
        answer = lines.read()
        assert answer["line"] == number
        scores.add(answer["score"])
    assert lines.read() is None and len(scores) == 1
    sender.join()


def test_a_client_that_does_not_read_its_answers_is_waited_for_then_given_up(evergreen, tmp_path):
    config = tmp_path / "e.toml"
    config.write_text("[streams]\nidle_seconds = 2\n")
    with serving(evergreen, tmp_path, config=config) as server:
        before = memory(server)
        lines = Lines(server)
        lines.connection.sock.settimeout(6)
        block = b'{"id": "C-1042"}\n' * 10_000
        with pytest.raises((TimeoutError, socket.timeout, ConnectionError)):  # noqa: PT012 - any of many sends
            for _ in range(2000):
                lines.send(block)
        assert memory(server) - before < 100 << 20
        silent = Lines(server)
        silent.send(b'{"id": "C-1042"}\n')
        assert silent.read()["status"] == "ok"
        last = silent.read()
        assert (last["line"], last["error"]["kind"]) == (2, "deadline_exceeded")
        assert "streams.idle_seconds" in last["error"]["detail"] and silent.read() is None


def memory(server):
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * 4096


def test_the_time_of_a_bulk_request_is_bounded(server):
    lines = Lines(server, **{"x-request-timeout-ms": "700"})
    lines.send(b'{"id": "C-1042"}\n')
    assert lines.read()["status"] == "ok"
    last = lines.read()
    assert (last["line"], last["error"]["kind"]) == (2, "deadline_exceeded")


@pytest.mark.parametrize(
    "path, headers, status, part",
    [
        ("/v1/models/chrun/scores", {}, 404, "did you mean `churn`?"),
        (f"{PATH}?version=9", {}, 404, "no live version 9"),
        (f"{PATH}?explian=1", {}, 400, "explian"),
        (PATH, {"x-request-timeout-ms": "soon"}, 400, "`x-request-timeout-ms`"),
    ],
)
def test_what_concerns_the_whole_is_a_problem(server, path, headers, status, part):
    answer = server.http.post(path, content=b'{"id": "C-1042"}', headers=headers)
    assert answer.status_code == status and part in answer.json()["detail"]


def test_a_body_that_breaks_off_is_named(server):
    url = server.http.base_url
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        line = b'{"id": "C-1042"}\n'
        connection.sendall(head.encode() + b"%x\r\n%s\r\nnonsense\r\n" % (len(line), line))
        answer = b""
        while b"ended early" not in answer and (more := connection.recv(65536)):
            answer += more
    assert b'"status":"ok"' in answer and b"ended early" in answer


def test_a_client_that_waits_for_100_continue_gets_it_first(server):
    url = server.http.base_url
    with socket.create_connection((url.host, url.port), timeout=20) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 17\r\nexpect: 100-continue\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b'{"id": "C-1042"}\n')
        received = b""
        while b'"status"' not in received:
            received += connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 200 OK") and b'"status":"ok"' in received


def test_a_refused_bulk_request_is_answered_without_100_continue(server):
    url = server.http.base_url
    with socket.create_connection((url.host, url.port), timeout=20) as connection:
        path = PATH.replace("churn", "chrun")
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 17\r\nexpect: 100-continue\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 404")


def test_curl_does_not_wait_with_its_lines(server, tmp_path):
    file = tmp_path / "ids.jsonl"
    file.write_text('{"id": "C-1042"}\n' * 50_000)
    command = ["curl", "-sS", "-T", file, "-X", "POST", "-w", "%{time_pretransfer} %{time_starttransfer}"]
    ended = subprocess.run(
        [*command, "-o", tmp_path / "out", f"{server.http.base_url}{PATH}"],
        capture_output=True,
        text=True,
        check=True,
    )
    before, first = map(float, ended.stdout.split())
    # curl gives up waiting for `100 Continue` after a second.
    assert first - before < 0.9, ended.stdout
    assert len((tmp_path / "out").read_text().splitlines()) == 50_000
