"""The gRPC services, called by a client that knows them only from reflection."""

import socket
import time

import grpc
import h2.connection
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from evergreen_testing.grpc_client import SERVICE, Client
from evergreen_testing.server_process import serving


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.fixture(scope="module")
def client(channel):
    return Client(channel)


def test_rest_and_grpc_give_the_same_bits(server, client):
    ids = ["C-1042", "C-8", "C-9", "C-4", "nobody"]
    body = {"model": "churn", "entities": [{"id": id} for id in ids], "explain": 2}
    rest = server.http.post("/v1/score", json=body).json()
    answer = client("Score", model="churn", entities=[{"text_id": id} for id in ids], explain=2)
    assert answer.model.sha256 == rest["model"]["sha256"]
    for one, other in zip(answer.results, rest["results"], strict=True):
        assert one.text_id == other["id"]
        assert one.HasField("score") == ("score" in other)
        if "score" in other:
            assert (one.score, one.band) == (other["score"], other["band"])
            reasons = [(reason["feature"], reason["contribution"]) for reason in other["reasons"]]
            assert [(reason.feature, reason.contribution) for reason in one.reasons] == reasons
        else:
            assert (one.error.kind, one.error.detail) == (other["error"]["kind"], other["error"]["detail"])


def test_the_same_mistakes_are_the_same_kinds(server, client):
    mistakes = [
        ({"model": "churn", "entities": []}, grpc.StatusCode.INVALID_ARGUMENT, 400),
        ({"model": "chrun", "entities": [{}]}, grpc.StatusCode.NOT_FOUND, 404),
        ({"model": "churn", "version": 9, "entities": [{}]}, grpc.StatusCode.NOT_FOUND, 404),
        ({"model": "churn", "entities": [{}] * 10_001}, grpc.StatusCode.OUT_OF_RANGE, 413),
    ]
    for request, code, status in mistakes:
        with pytest.raises(grpc.RpcError) as error:
            client("Score", **request)
        rest = server.http.post("/v1/score", json=request)
        assert (error.value.code(), rest.status_code) == (code, status)
        assert error.value.details() == rest.json()["detail"]


def test_values_of_every_kind(client):
    values = {"visits_30d": {"integer": 3}, "nps": {}, "support_calls_30d": {"number": 2.0}}
    result = client("Score", model="churn", entities=[{"text_id": "C-1042", "features": values}]).results[0]
    assert result.HasField("score")
    wrong = {"visits_30d": {"text": "many"}}
    result = client("Score", model="churn", entities=[{"text_id": "C-1042", "features": wrong}]).results[0]
    assert not result.HasField("score") and result.error.kind == "invalid"


def test_models(client):
    assert [(m.name, m.version) for m in client("ListModels").models] == [("churn", 1)]
    model = client("GetModel", model="churn")
    assert model.entity == "customer_id" and len(model.features) > 10
    with pytest.raises(grpc.RpcError) as error:
        client("GetModel", model="chrun")
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("service", ["", SERVICE])
def test_health(channel, service):
    health = health_pb2_grpc.HealthStub(channel)
    status = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status
    assert status == health_pb2.HealthCheckResponse.SERVING


def test_an_unknown_service_is_watched_too(evergreen, tmp_path):
    unknown = health_pb2.HealthCheckRequest(service="nope")
    with serving(evergreen, tmp_path) as server, grpc.insecure_channel(server.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError) as error:
            health.Check(unknown, timeout=10)
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        watch = health.Watch(unknown, timeout=1)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        # The stream stays: only the client's own deadline ends it.
        with pytest.raises(grpc.RpcError) as error:
            next(watch)
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        # A stop ends it, and does not wait for it.
        watch = health.Watch(unknown, timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        server.process.terminate()
        assert list(watch) == [] and server.process.wait(timeout=20) == 0


def test_health_is_watched_through_a_drain(evergreen, tmp_path):
    config = tmp_path / "e.toml"
    config.write_text("[server]\ndrain_seconds = 2\n")
    with serving(evergreen, tmp_path, config=config) as server, grpc.insecure_channel(server.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watches = [
            health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=30)
            for service in ("", SERVICE, "inference.GRPCInferenceService")
        ]
        assert [next(watch).status for watch in watches] == [health_pb2.HealthCheckResponse.SERVING] * 3
        server.process.terminate()
        assert [next(watch).status for watch in watches] == [health_pb2.HealthCheckResponse.NOT_SERVING] * 3
        # A draining server still answers.
        answer = Client(channel)("Score", model="churn", entities=[{"text_id": "C-1042"}])
        assert answer.results[0].HasField("score")


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages(server, algorithm):
    entities = [{"text_id": "C-1042"}] * 200
    with grpc.insecure_channel(server.grpc, compression=algorithm) as channel:
        try:
            answer = Client(channel)("Score", model="churn", entities=entities, explain=3)
        except grpc.RpcError as error:
            # Unsupported compression is rejected with UNIMPLEMENTED.
            assert error.code() == grpc.StatusCode.UNIMPLEMENTED and algorithm == grpc.Compression.Deflate
        else:
            assert len({result.score for result in answer.results}) == 1


def test_a_message_beyond_the_limit_is_refused_by_its_size(client):
    with pytest.raises(grpc.RpcError) as error:
        client("Score", model="churn", entities=[{"text_id": "x" * (5 << 20)}])
    assert error.value.code() == grpc.StatusCode.OUT_OF_RANGE and "4194304" in error.value.details()


GOAWAY = 7


def frame_type(connection):
    """Reads one HTTP/2 frame."""
    head = connection.recv(9, socket.MSG_WAITALL)
    assert len(head) == 9, "closed without a word"
    length = int.from_bytes(head[:3], "big")
    connection.recv(length, socket.MSG_WAITALL)
    return head[3]


def test_an_old_connection_is_left_without_a_lost_request(evergreen, tmp_path):
    config = tmp_path / "e.toml"
    config.write_text("[grpc]\nmax_connection_age_seconds = 1\nkeepalive_seconds = 1\n")
    with serving(evergreen, tmp_path, config=config) as server, grpc.insecure_channel(server.grpc) as channel:
        call, request = Client(channel).prepare("Score", model="churn", entities=[{"text_id": "C-1042"}])
        host, port = server.grpc.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            by_hand = h2.connection.H2Connection()
            by_hand.initiate_connection()
            connection.sendall(by_hand.data_to_send())
            frames = []
            while GOAWAY not in frames:
                assert call(request, timeout=10).results[0].HasField("score")
                frames.append(frame_type(connection))
        for _ in range(20):
            assert call(request, timeout=10).results[0].HasField("score")
            time.sleep(0.1)
