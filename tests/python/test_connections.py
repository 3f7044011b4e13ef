"""Slow clients and connection limits."""

import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from evergreen_testing.processes import until
from evergreen_testing.server_process import serving
from evergreen_testing.shutdown import PATH

HEAD = b"GET " + PATH.encode() + b" HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture(scope="module")
def strict(evergreen, tmp_path_factory):
    folder = tmp_path_factory.mktemp("strict")
    config = folder / "e.toml"
    config.write_text("[server]\nheader_seconds = 1\nbody_seconds = 1\nidle_seconds = 3\nconnections = 20\n")
    with serving(evergreen, folder, config=config) as server:
        yield server


def connect(server, port="http"):
    host, number = (
        (server.http.base_url.host, server.http.base_url.port) if port == "http" else server.grpc.split(":")
    )
    return socket.create_connection((host, int(number)), timeout=20)


def until_closed(client):
    """Returns the bytes received until the server closed the connection, and the seconds it took."""
    start = time.monotonic()
    try:
        data = b"".join(iter(lambda: client.recv(65536), b""))
    except ConnectionResetError:
        data = b""
    return data, time.monotonic() - start


def test_headers_that_trickle_are_cut_off(strict):
    with connect(strict) as client:
        client.sendall(HEAD)
        data, seconds = until_closed(client)
        # Closed before the idle timeout, although the connection was new.
        assert b"200" not in data and seconds < 2.9


def test_an_idle_connection_may_wait_longer_than_headers_may_take(strict):
    with connect(strict) as client:
        client.sendall(HEAD + b"\r\n")
        assert b"200 OK" in client.recv(65536)
        time.sleep(1.5)
        client.sendall(HEAD + b"\r\n")
        assert b"200 OK" in client.recv(65536)
        data, seconds = until_closed(client)
        assert data == b"" and seconds > 1.5


def test_a_body_that_trickles_is_answered_408(strict):
    with connect(strict) as client:
        client.sendall(b"POST /v1/score HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        data, _ = until_closed(client)
        assert b"408" in data.split(b"\r\n")[0] and b"server.body_seconds" in data and b"too_slow" in data


def test_bulk_may_take_its_time(strict):
    with connect(strict) as client:
        client.sendall(b"POST /v1/models/churn/scores HTTP/1.1\r\nhost: x\r\n"
                       b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n")  # fmt: skip
        for _ in range(3):
            time.sleep(0.6)
            line = b'{"id": "C-1042"}\n'
            client.sendall(b"%x\r\n%s\r\n" % (len(line), line))
        client.sendall(b"0\r\n\r\n")
        data, _ = until_closed(client)
        assert data.count(b'"status":"ok"') == 3


def test_a_grpc_message_that_does_not_come_is_given_up(strict):
    done = threading.Event()

    def nothing():
        done.wait(20)
        yield b""

    with grpc.insecure_channel(strict.grpc) as channel:
        call = channel.stream_unary("/evergreen.v1.ScoringService/Score")
        try:
            with pytest.raises(grpc.RpcError) as refused:
                call(nothing(), timeout=15)
        finally:
            done.set()
    assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "server.body_seconds" in refused.value.details()


def test_a_grpc_connection_that_says_nothing_is_closed(strict):
    with connect(strict, "grpc") as client:
        data, seconds = until_closed(client)
        assert seconds < 10 and b"200" not in data


def test_an_answer_that_is_not_taken_does_not_hold_its_connection(strict):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((strict.http.base_url.host, strict.http.base_url.port))
        page = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n"
        # More than all buffers between server and client can hold.
        client.sendall(page * 30)
        until(lambda: 'evergreen_connections{port="http"} 0' in strict.ops.get("/metrics").text)
        size = len(
            strict.http.get("/docs/swagger-ui-bundle.js", headers={"accept-encoding": "identity"}).content
        )
        assert 0 < len(until_closed(client)[0]) < 30 * size


def test_more_connections_than_there_is_room_for_are_closed_at_once(evergreen, tmp_path):
    (tmp_path / "e.toml").write_text("[server]\nconnections = 20\n")
    with serving(evergreen, tmp_path, config=tmp_path / "e.toml") as server:
        clients = [connect(server) for _ in range(20)]
        try:
            until(lambda: 'evergreen_connections{port="http"} 20' in server.ops.get("/metrics").text)
            with connect(server) as one_more:
                assert until_closed(one_more)[1] < 5
            assert 'refused_total{port="http",reason="limit"} 1' in server.ops.get("/metrics").text
        finally:
            for client in clients:
                client.close()
        until(lambda: 'evergreen_connections{port="http"} 0' in server.ops.get("/metrics").text)
        with connect(server) as client:
            client.sendall(HEAD + b"\r\n")
            assert b"200 OK" in client.recv(65536)


def test_probes_are_answered_while_others_open_connections_without_a_pause(strict):
    place = (strict.ops.base_url.host, strict.ops.base_url.port)
    done, opened = threading.Event(), []
    # A reset at the end, so that no port stays in use for a minute.
    reset = struct.pack("ii", 1, 0)

    def flood():
        while not done.is_set():
            clients = [socket.create_connection(place, timeout=20) for _ in range(60)]
            opened.extend(clients)
            time.sleep(0.02)
            for client in clients:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                client.close()

    # Together nearly as many as the port serves; and those that are closed count until the server has seen it.
    with ThreadPoolExecutor(2) as pool:
        floods = [pool.submit(flood) for _ in range(2)]
        try:
            number = 0
            while number < 400 or (len(opened) < 2000 and not any(each.done() for each in floods)):
                number += 1
                with socket.create_connection(place, timeout=20) as probe:
                    probe.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                    data, _ = until_closed(probe)
                assert b" 200 " in data[:15], f"probe {number}"
        finally:
            done.set()
        for each in floods:
            each.result()
