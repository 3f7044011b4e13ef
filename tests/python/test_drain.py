"""Graceful shutdown: SIGTERM loses no request and the server exits in time."""

import contextlib
import json
import signal
import socket
import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from evergreen_testing import shutdown
from evergreen_testing.feature_stores import redis_server
from evergreen_testing.processes import until
from evergreen_testing.server_process import Instance

PATH = shutdown.PATH

# HTTP/2 frame types (RFC 9113, section 6).
SETTINGS, PING, GOAWAY = 4, 6, 7


def frame(kind, flags=0, payload=b""):
    return len(payload).to_bytes(3) + bytes([kind, flags]) + bytes(4) + payload


def frames(client):
    """Yields type, flags and payload of every frame until the connection is closed."""
    data = b""
    while True:
        while len(data) < 9 or len(data) < 9 + int.from_bytes(data[:3]):
            more = client.recv(65536)
            if not more:
                return
            data += more
        end = 9 + int.from_bytes(data[:3])
        yield data[3], data[4], data[9:end]
        data = data[end:]


def test_while_models_load_probes_answer_and_a_signal_ends_it(evergreen, tmp_path):
    seen = shutdown.during_load(evergreen, tmp_path, rows=150_000)
    assert seen["said"]["livez"] == seen["said"]["metrics"] == 200
    assert seen["said"]["readyz"] == (503, ["the models are still loading"])
    # Refused at once, so that a load balancer tries another server.
    assert seen["said"]["http"][0] is None and "ConnectionRefused" in seen["said"]["http"][1]
    assert (seen["code"], seen["loaded"]) == (0, False)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_requests_that_wait_for_a_store_are_answered(evergreen, tmp_path, how):
    with redis_server(tmp_path / "redis") as redis:
        seen = shutdown.during_outage(evergreen, tmp_path, redis, how, timeout=3, waits=8)
    assert (seen["code"], seen["failed"]) == (0, 0)
    # If the store returns in time, requests in flight get its features.
    assert how == "kill" or seen["whole"] == 8


def test_idle_connections_are_closed(evergreen, tmp_path):
    seen = shutdown.with_idle_connections(evergreen, tmp_path, count=100)
    assert (seen["code"], seen["closed"]) == (0, 100)


def test_a_request_under_way_is_finished_and_no_other_begins(evergreen, tmp_path):
    seen = shutdown.with_request_under_way(evergreen, tmp_path, duration=2)
    assert seen["code"] == 0 and seen["refused"]
    head, _, body = seen["answer"].partition(b"\r\n\r\n")
    assert b"200 OK" in head and b"connection: close" in head.lower()
    assert json.loads(body)["results"][0]["status"] == "ok"


def test_what_the_kernel_has_accepted_is_answered(evergreen, tmp_path):
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        seen = shutdown.with_new_connections(evergreen, folder, clients=8)
        assert seen["code"] == 0 and seen["lost"] == 0 and seen["answered"] > 50


def test_draining_serves_on_says_so_and_asks_clients_to_leave(evergreen, tmp_path):
    with Instance(evergreen, tmp_path, config="[server]\ndrain_seconds = 2\n") as instance:
        instance.start()
        address = f"127.0.0.1:{instance.ports['grpc']}"
        told = []
        with grpc.insecure_channel(address) as channel, shutdown.idle_connections(instance, 1) as [kept]:
            health = health_pb2_grpc.HealthStub(channel)

            def watch():
                with contextlib.suppress(grpc.RpcError):
                    told.extend(answer.status for answer in health.Watch(health_pb2.HealthCheckRequest()))

            watching = threading.Thread(target=watch)
            watching.start()
            until(lambda: told == [health_pb2.HealthCheckResponse.SERVING])
            instance.terminate()
            until(lambda: instance.reasons() == (503, ["the server is stopping"]))
            assert instance.ask("/livez")[0] == 200
            until(lambda: told[-1] == health_pb2.HealthCheckResponse.NOT_SERVING)
            assert instance.ask(PATH, port="http")[0] == 200
            kept.request("GET", PATH)
            answer = kept.getresponse()
            assert answer.read() and answer.status == 200 and answer.headers["connection"] == "close"
            code, _ = instance.wait()
            watching.join()
        assert code == 0 and "stopped" in instance.log.read_text()


def test_grpc_connections_are_told_to_go_away(evergreen, tmp_path):
    with Instance(evergreen, tmp_path) as instance:
        instance.start()
        with socket.create_connection(("127.0.0.1", instance.ports["grpc"]), timeout=10) as client:
            client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS))
            assert next(frames(client))[0] == SETTINGS
            instance.terminate()
            kinds = []
            for kind, flags, payload in frames(client):
                kinds.append(kind)
                if kind == PING and not flags:
                    client.sendall(frame(PING, 1, payload))
        # The first GOAWAY announces the shutdown; the second follows when the client has had time to read it.
        assert kinds.count(GOAWAY) == 2, kinds
        assert instance.wait()[0] == 0


def test_an_open_reflection_stream_does_not_hold_it_up(evergreen, tmp_path):
    with Instance(evergreen, tmp_path) as instance:
        instance.start()
        asked = threading.Event()

        def questions():
            yield reflection_pb2.ServerReflectionRequest(list_services="")
            asked.set()
            time.sleep(30)

        with grpc.insecure_channel(f"127.0.0.1:{instance.ports['grpc']}") as channel:
            answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(questions())
            assert next(answers).list_services_response.service
            asked.wait()
            instance.terminate()
            code, seconds = instance.wait()
        assert code == 0 and seconds < 15


def test_a_second_signal_ends_it_at_once(evergreen, tmp_path):
    with Instance(evergreen, tmp_path, config="[server]\ndrain_seconds = 60\n") as instance:
        instance.start()
        instance.terminate()
        until(lambda: instance.reasons()[0] == 503)
        instance.terminate(signal.SIGINT)
        assert instance.wait(seconds=20)[0] == 3
        assert "a second signal" in instance.log.read_text()


def test_what_does_not_end_in_the_grace_is_given_up(evergreen, tmp_path):
    with Instance(evergreen, tmp_path, config="[server]\ngrace_seconds = 1\n") as instance:
        instance.start()
        with socket.create_connection(("127.0.0.1", instance.ports["http"])) as client:
            client.sendall(b"POST /v1/score HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
            time.sleep(0.2)
            instance.terminate()
            assert instance.wait(seconds=20)[0] == 3
        assert "requests still running after 1 s" in instance.log.read_text()
