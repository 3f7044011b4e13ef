"""Hostile clients against a server with a small memory budget: what they send stays within it, other clients get their
answers, and probes say what is true. The attacks are those that broke an earlier release."""

import contextlib
import gzip
import json
import os
import resource
import socket
import struct
import subprocess
import threading
import time
import zlib

import httpx
import pytest

from evergreen_testing.hostile import (
    BUDGET,
    INFER,
    MIB,
    SCORE,
    Http2,
    Memory,
    connect,
    field,
    head,
    is_idle,
    message,
    read_answer,
    send_some,
)
from evergreen_testing.processes import until, until_logged
from evergreen_testing.server_process import serving

# What a connection, its buffers, TLS, code pages and the allocator take beside the budget, in MiB.
BESIDE = 48


def without_much_memory():
    """Makes allocations beyond 1 GiB fail. Buffers that are reserved and not used count here, unlike in a container."""
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))


@pytest.fixture(scope="module")
def small(evergreen, tmp_path_factory):
    """A server with two workers and a budget of 48 MiB."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "e.toml").write_text(f"[limits]\nmemory = {BUDGET}\n[server]\nresponse_seconds = 3\n")
    config = folder / "e.toml"
    with serving(
        evergreen, folder, config=config, preexec=without_much_memory, TOKIO_WORKER_THREADS="2"
    ) as server:
        yield server


def test_the_allocator_gives_addresses_back(evergreen):
    """Else a limit of the address space ends a server after some minutes of hostile load, as the soak test showed."""
    environment = os.environ | {"_RJEM_MALLOC_CONF": "confirm_conf:true"}
    told = subprocess.run(
        [evergreen, "--version"], env=environment, capture_output=True, text=True, check=True
    )
    assert 'global variable malloc_conf): "retain:false"' in told.stderr, told.stderr


@pytest.fixture
def good(small):
    """Asks for a score all the time; afterwards every answer must have come, and come soon."""
    waits, problems, stop = [], [], threading.Event()

    def ask():
        while not stop.is_set():
            start = time.monotonic()
            try:
                answer = small.http.get("/v1/models/churn/scores/C-1042")
                if answer.status_code != 200:
                    problems.append(answer.text)
            except Exception as error:
                problems.append(repr(error))
            waits.append(time.monotonic() - start)
            time.sleep(0.01)

    thread = threading.Thread(target=ask)
    thread.start()
    yield
    stop.set()
    thread.join()
    assert not problems, problems[:3]
    assert waits and max(waits) < 5, max(waits)
    assert small.ops.get("/livez").status_code == 200


def address(server):
    return f"{server.http.base_url.host}:{server.http.base_url.port}"


# A1


@pytest.mark.parametrize("name", ["x" * 400_000, "`a`, " * 80_000, "`, expected `" * 30_000])
def test_a_long_wrong_name_is_answered_at_once(small, good, name):
    for body in (
        {"model": "churn", name: 1},
        {"model": "churn", "entities": [{"id": "C-1042", "features": {name: 1}}]},
        {"model": name, "entities": [{"id": "C-1042"}]},
        {"model": "churn", "entities": [{"id": "C-1042"}], "label": name},
    ):
        start = time.monotonic()
        answers = [small.http.post("/v1/score", json=body) for _ in range(2)]
        assert time.monotonic() - start < 10
        for answer in answers:
            assert answer.status_code in (200, 400, 404)
            assert len(answer.content) < 3000, answer.text


def test_many_wrong_names_are_answered_at_once(small, good):
    entities = [{"features": {f"{'support_call' * 30}{number}": 1}} for number in range(9000)]
    start = time.monotonic()
    answer = small.http.post("/v1/score", json={"model": "churn", "entities": entities})
    assert answer.status_code == 200 and answer.json()["results"][0]["status"] == "error"
    assert time.monotonic() - start < 20


# A3, A4


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bulk_body_that_unpacks_to_very_much_is_ended(small, good, encoding):
    body = b"\n" * (64 * MIB)
    packed = gzip.compress(body, 9) if encoding == "gzip" else zlib.compress(body, 9)
    with Memory(small.process.pid).peak() as peak:
        for _ in range(4):
            answer = small.http.post(
                "/v1/models/churn/scores",
                content=packed,
                # The server ends the connection of a body that it does not read whole.
                headers={"content-encoding": encoding, "connection": "close"},
            )
            assert "100 times" in answer.text, answer.text
    assert peak[0] < BUDGET / MIB + BESIDE


def test_zstd_with_a_large_window_is_refused(small, good):
    # A frame header with a window of 2^27 bytes and one block of 1 byte repeated.
    frame = bytes.fromhex("28b52ffd") + bytes([0x00, (27 - 10) << 3]) + b"\x03\x80\x3e\n"
    with Memory(small.process.pid).peak() as peak:
        for _ in range(8):
            answer = small.http.post("/v1/score", content=frame, headers={"content-encoding": "zstd"})
            assert answer.status_code in (400, 413), answer.text
    assert peak[0] < 40


def test_long_lines_are_batched_by_their_bytes(small, good):
    line = json.dumps({"id": "C-1042", "features": {"x" * 60_000: 1}}) + "\n"
    body = gzip.compress((line * 300).encode())
    packed = {"content-encoding": "gzip"}
    with Memory(small.process.pid).peak() as peak:
        threads = [
            threading.Thread(
                target=small.http.post, args=("/v1/models/churn/scores",),
                kwargs={"content": body, "headers": packed},
            )
            for _ in range(30)
        ]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert peak[0] < BUDGET / MIB + BESIDE
    until(lambda: is_idle(small))


# A5


def repeated(kind):
    """A gRPC call that is small on the wire and large in memory."""
    if kind == "inputs":
        return INFER, field(1, b"churn") + field(5, b"") * 1_000_000
    if kind == "entities":
        return SCORE, field(1, b"churn") + field(3, b"") * 1_000_000
    return INFER, field(1, b"churn") + field(7, b"") * 1_000_000


@pytest.mark.parametrize("kind", ["inputs", "entities", "raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_message_that_grows_when_it_is_decoded_is_refused_before(small, good, kind, packed):
    path, content = repeated(kind)
    headers = [("grpc-encoding", "gzip")] if packed else []
    body = message(gzip.compress(content) if packed else content, packed)
    with Memory(small.process.pid).peak() as peak:
        client = Http2(small.grpc)
        streams = [client.call(path, body, *headers) for _ in range(8)]
        client.answers(streams)
        client.close()
    for stream in streams:
        status = client.status[stream]
        assert status["grpc-status"] in ("8", "11"), status
        assert "limits.memory" in status["grpc-message"] or "memory" in status["grpc-message"]
    assert peak[0] < BUDGET / MIB + BESIDE
    until(lambda: is_idle(small))


@pytest.mark.parametrize(
    "content",
    [
        b'{"model": "churn", "entities": [' + b"{}," * 1_300_000 + b"{}]}",
        b'{"model": "churn", "entities": [{"features": {"a": [' + b"0," * 1_900_000 + b"0]}}]}",
    ],
)
def test_a_json_text_that_grows_when_it_is_parsed_is_refused_before(small, good, content):
    with Memory(small.process.pid).peak() as peak:
        answers = [small.http.post("/v1/score", content=content) for _ in range(3)]
    assert {answer.status_code for answer in answers} <= {413, 429}
    assert peak[0] < BUDGET / MIB + BESIDE


def test_v2_parameters_that_grow_are_refused_before(small, good):
    content = b'{"inputs": [{"name": "customer_id", "shape": [1], "datatype": "BYTES", "parameters": {%s}, "data": ["x"]}]}'
    content %= b",".join(b'"%x":{}' % number for number in range(300_000))
    with Memory(small.process.pid).peak() as peak:
        for _ in range(3):
            answer = small.http.post("/v2/models/churn/infer", content=content)
            assert answer.status_code in (413, 429), answer.text
    assert peak[0] < BUDGET / MIB + BESIDE


# A6


def test_bodies_that_are_held_back_stay_within_the_budget(small, good):
    body = b" " * (1 * MIB)
    clients = []
    with Memory(small.process.pid).peak() as peak:
        for _ in range(100):
            client = connect(address(small))
            clients.append(client)
            client.setblocking(False)
            send_some(client, head("/v1/score", len(body) + 1) + body)
        time.sleep(2)
    assert peak[0] < BUDGET / MIB + BESIDE
    # They are ended, and their memory comes back, although their clients wait.
    until(lambda: is_idle(small), 30)
    answers = [answer_of(client) for client in clients]
    assert all(b" 408 " in answer or b" 429 " in answer or answer == b"" for answer in answers)
    assert any(answers)


def answer_of(client):
    client.settimeout(5)
    with client:
        return read_answer(client)


def test_streams_that_are_held_back_stay_within_the_budget(small, good):
    with Memory(small.process.pid).peak() as peak:
        client = Http2(small.grpc)
        streams = []
        for _ in range(100):
            stream = client.request(SCORE, ("content-type", "application/grpc"), ("te", "trailers"))
            streams.append(stream)
            client.send(stream, struct.pack(">BI", 0, 4 * MIB) + b"\x0a" * 200_000)
        client.answers(streams)
        client.close()
    codes = {client.status[stream]["grpc-status"] for stream in streams if stream in client.status}
    assert codes <= {"4", "8", "11"} and codes, codes
    assert peak[0] < BUDGET / MIB + BESIDE
    until(lambda: is_idle(small))


def test_a_score_stream_that_is_held_back_gives_way_when_memory_is_short(small, good):
    stream_path = SCORE + "Stream"
    clients = [Http2(small.grpc) for _ in range(8)]
    for client in clients:
        for _ in range(8):
            stream = client.request(stream_path, ("content-type", "application/grpc"), ("te", "trailers"))
            client.send(stream, struct.pack(">BI", 0, 4 * MIB) + b"\x0a" * 900_000)
    large = {"model": "churn", "entities": [{"id": "C-1042"}] * 4000}
    until(lambda: small.http.post("/v1/score", json=large).status_code == 200, 60)
    for client in clients:
        client.close()


# A7


@pytest.mark.parametrize("window", [0, 1])
def test_answers_that_are_not_taken_are_given_up(small, good, window):
    entity = field(3, field(1, b"C-1042"))
    content = field(1, b"churn") + entity * 4000
    with Memory(small.process.pid).peak() as peak:
        clients = [Http2(small.grpc, window=window) for _ in range(4)]
        streams = [[client.call(SCORE, message(content)) for _ in range(60)] for client in clients]
        until(lambda: not is_idle(small), 10)
        until(lambda: all(ended(client, own) for client, own in zip(clients, streams, strict=True)), 60)
    assert peak[0] < BUDGET / MIB + BESIDE
    until(lambda: is_idle(small), 30)
    for client in clients:
        client.close()


def ended(client, streams):
    client.read(0.05)
    return client.closed or not set(streams) - set(client.ended)


def test_an_answer_over_http1_that_is_not_taken_is_given_up(small, good):
    entities = [{"id": "C-1042"}] * 2000
    body = json.dumps({"model": "churn", "entities": entities, "explain": 50}).encode()
    clients = []
    for _ in range(6):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((small.http.base_url.host, small.http.base_url.port))
        client.sendall(head("/v1/score", len(body)) + body)
        clients.append(client)
    until(lambda: not is_idle(small), 60)
    until(lambda: is_idle(small), 60)
    for client in clients:
        client.close()


# A9


def test_numbers_beyond_64_bits_are_not_clamped(small):
    for number in (2**63, 2**64 - 1):
        raw = struct.pack("<Q", number)
        tensor = field(1, b"customer_id") + field(2, b"UINT64") + field(3, b"\x01")
        client = Http2(small.grpc)
        stream = client.call(INFER, message(field(1, b"churn") + field(5, tensor) + field(7, raw)))
        client.answers([stream])
        assert client.status[stream]["grpc-status"] == "3", client.status[stream]
        assert str(number) in client.status[stream]["grpc-message"]
        client.close()


# A12


def test_a_header_does_not_tell_the_log_which_protocol_it_is(evergreen, tmp_path):
    with serving(evergreen, tmp_path, EVERGREEN_LOG__LEVEL="info,evergreen::access=debug") as server:
        for content_type in ("application/grpc", "application/grpc+proto", "text/plain"):
            server.http.get("/v1/models/churn/scores/C-1042", headers={"content-type": content_type})
        until(lambda: server.log.read_text().count("request answered") >= 3)
        assert "C-1042" not in server.log.read_text()


# A13


def test_probes_answer_while_idle_connections_use_up_the_files(evergreen, tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    with serving(evergreen, tmp_path, preexec=limited) as server:
        until_logged(server.log, "open_files=64")
        idle = []
        for port in (address(server), server.grpc, server.ops.base_url.netloc.decode()):
            for _ in range(100):
                try:
                    idle.append(connect(port))
                except OSError:
                    break
        for _ in range(5):
            assert server.ops.get("/livez").status_code == 200
            assert server.ops.get("/metrics").status_code == 200
        for client in idle:
            client.close()

        def answered():
            # Until the server has seen that they are closed, it closes others.
            with contextlib.suppress(httpx.TransportError):
                return server.http.get("/v1/models/churn/scores/C-1042").status_code == 200

        until(answered)


# The list of weaknesses


def test_an_announced_length_beyond_the_limit_is_refused_at_once(small):
    for length in (5 * MIB, 2**63, 2**64 - 3):
        with connect(address(small)) as client:
            client.settimeout(5)
            client.sendall(head("/v1/score", length, "expect: 100-continue", "connection: close"))
            answer = read_answer(client)
        assert answer.startswith(b"HTTP/1.1 413") and b"100 Continue" not in answer, answer


@pytest.mark.parametrize("lines", [[], ["host: a", "host: b"]])
def test_a_request_needs_one_host(small, lines):
    with connect(address(small)) as client:
        client.settimeout(5)
        text = "\r\n".join(["GET /v1/models HTTP/1.1", *lines, "connection: close", "", ""])
        client.sendall(text.encode())
        answer = read_answer(client)
    assert answer.startswith(b"HTTP/1.1 400") and b"host: expected one header" in answer, answer


def test_a_client_that_wants_no_plain_answer_gets_one_nevertheless(small):
    answer = small.http.get("/v1/models", headers={"accept-encoding": "*;q=0"})
    assert answer.status_code == 200 and answer.json()


def test_grpc_takes_posts_of_its_own_type_only(small):
    client = Http2(small.grpc)
    get = client.request(SCORE, ("content-type", "application/grpc"), method="GET", end=True)
    text = client.request(SCORE, ("content-type", "text/plain"), end=True)
    none = client.request(SCORE, end=True)
    client.answers([get, text, none])
    assert [client.status[stream][":status"] for stream in (get, text, none)] == ["405", "415", "415"]
    client.close()


def test_errors_do_not_repeat_what_the_client_sent(small):
    shape = json.dumps([1] * 300_000)
    content = (
        f'{{"inputs": [{{"name": "customer_id", "shape": {shape}, "datatype": "BYTES", "data": ["x"]}}]}}'
    )
    answer = small.http.post("/v2/models/churn/infer", content=content)
    assert answer.status_code == 400 and len(answer.content) < 2000
    escape = small.http.get("/v1/models/" + "%1b%5b31m%0d%0a" * 200)
    assert len(escape.content) < 2000 and b"\x1b" not in escape.content


def test_no_member_of_a_packed_body_is_lost(small):
    line = gzip.compress(b'{"id": "C-1042"}\n')
    packed = {"content-encoding": "gzip"}
    answer = small.http.post("/v1/models/churn/scores", content=line * 3, headers=packed)
    assert answer.text.count('"status":"ok"') == 3


def test_other_transfer_codings_are_refused(small):
    for lines in (["transfer-encoding: gzip, chunked"], ["transfer-encoding: chunked"] * 2):
        with connect(address(small)) as client:
            client.settimeout(5)
            text = "\r\n".join(["POST /v1/score HTTP/1.1", "host: x", *lines, "", "0", "", ""])
            client.sendall(text.encode())
            answer = read_answer(client)
        assert answer.startswith(b"HTTP/1.1 400"), answer


def test_long_methods_and_headers_are_not_repeated(small):
    with connect(address(small)) as client:
        client.settimeout(5)
        client.sendall(b"A" * 30_000 + b" /v1/score HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert len(read_answer(client)) < 2000
    with connect(address(small)) as client:
        client.settimeout(5)
        codings = "gzip, " * 500 + "gzip"
        client.sendall(head("/v1/score", 1, f"content-encoding: {codings}", "connection: close") + b"x")
        answer = read_answer(client)
    assert answer.startswith(b"HTTP/1.1 415") and len(answer) < 2000


@pytest.mark.parametrize("path", ["/v1/score", "/v1/models/churn/scores", "/v2/models/churn/infer"])
def test_a_body_in_tiny_parts_is_refused_after_some_thousands(small, good, path):
    with connect(address(small)) as client:
        text = f"POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        client.sendall(text.encode())
        client.settimeout(0)
        send_some(client, b"1\r\n \r\n" * 20_000)
        client.settimeout(5)
        assert b"too many parts" in read_answer(client)


def test_requests_that_are_sent_at_once_do_not_hold_up_others(small, good):
    request = b"GET /v1/models/churn/scores/C-1042 HTTP/1.1\r\nhost: x\r\n\r\n"
    with connect(address(small)) as client:
        count = 2000
        sender = threading.Thread(target=client.sendall, args=(request * count,))
        sender.start()
        answers = b""
        while answers.count(b"HTTP/1.1 200") < count:
            part = client.recv(1 << 20)
            assert part, answers[-200:]
            answers += part
        sender.join()
    assert answers.count(b'"status":"ok"') == count


def test_bulk_clients_that_leave_cost_nothing_more(small, good):
    lines = b'{"id": "C-1042"}\n' * 500
    for _ in range(50):
        with connect(address(small)) as client:
            client.sendall(head("/v1/models/churn/scores", len(lines) * 100) + lines)

    def none_running():
        metrics = small.ops.get("/metrics").text.splitlines()
        used = next(line for line in metrics if line.startswith('evergreen_in_flight_entities{state="used"}'))
        return float(used.split()[-1]) == 0

    until(none_running, 10)
