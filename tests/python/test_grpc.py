"""The gRPC services, called by a client that knows them from reflection alone."""

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "evergreen.v1.ScoringService"


class Client:
    """Calls methods of the scoring service by name, with messages made from the server's own descriptors."""

    def __init__(self, channel):
        self.channel = channel
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        self.service = pool.FindServiceByName(SERVICE)

    def __call__(self, name, **fields):
        method = self.service.methods_by_name[name]
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        call = self.channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        return call(request(**fields), timeout=10)


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
