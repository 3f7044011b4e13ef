"""The attacks on the memory of `test_hostile.py`, over TLS: HTTP/1.1, HTTP/2 and gRPC."""

import json
import ssl
import time

import pytest

from evergreen_testing.certificates import Authority, settings
from evergreen_testing.hostile import (
    BUDGET,
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
from evergreen_testing.processes import until
from evergreen_testing.server_process import serving

BESIDE = 64


@pytest.fixture(scope="module")
def secure(evergreen, tmp_path_factory):
    """A server with TLS and a budget of 48 MiB, and the context of a client that trusts it."""
    folder = tmp_path_factory.mktemp("secure")
    authority = Authority(folder)
    certificate, key = authority.issue()
    config = settings(folder, certificate, key, more=f"[limits]\nmemory = {BUDGET}\n")
    config.write_text(config.read_text().replace("[server]\n", "[server]\nresponse_seconds = 3\n"))
    with serving(evergreen, folder, config=config) as server:
        yield server, authority.file


def trusting(file, *protocols):
    context = ssl.create_default_context(cafile=str(file))
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def test_bodies_that_are_held_back(secure):
    server, authority = secure
    context = trusting(authority)
    address = server.http.base_url.netloc.decode()
    body = b" " * (2 * MIB)
    clients = []
    with Memory(server.process.pid).peak() as peak:
        for _ in range(40):
            client = connect(address, context)
            client.setblocking(False)
            send_some(client, head("/v1/score", len(body) + 1) + body)
            clients.append(client)
        time.sleep(1)
    assert peak[0] < BUDGET / MIB + BESIDE
    until(lambda: is_idle(server), 30)
    for client in clients:
        client.close()


def test_answers_of_rest_over_http2_that_are_not_taken(secure):
    server, authority = secure
    address = server.http.base_url.netloc.decode()
    body = json.dumps({"model": "churn", "entities": [{"id": "C-1042"}] * 2000}).encode()
    client = Http2(address, window=0, tls=trusting(authority, "h2"))
    with Memory(server.process.pid).peak() as peak:
        streams = []
        for _ in range(50):
            stream = client.request("/v1/score", ("content-type", "application/json"))
            client.send(stream, body, end=True)
            streams.append(stream)
        client.answers(streams, 60)
    assert peak[0] < BUDGET / MIB + BESIDE
    until(lambda: is_idle(server), 30)
    client.close()


def test_a_grpc_message_that_grows_when_it_is_decoded(secure):
    server, authority = secure
    client = Http2(server.grpc, tls=trusting(authority, "h2"))
    content = message(field(1, b"churn") + field(3, b"") * 1_000_000)
    with Memory(server.process.pid).peak() as peak:
        streams = [client.call(SCORE, content) for _ in range(8)]
        client.answers(streams, 60)
    assert all(client.status[stream]["grpc-status"] in ("8", "11") for stream in streams)
    assert peak[0] < BUDGET / MIB + BESIDE
    client.close()


def test_the_rules_of_http_hold(secure):
    server, authority = secure
    with connect(server.http.base_url.netloc.decode(), trusting(authority)) as client:
        client.settimeout(5)
        client.sendall(b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n")
        assert read_answer(client).startswith(b"HTTP/1.1 400")
