"""Traces: exported by OTLP over gRPC to a receiver of the official protocol, sampled as the standard variables say."""

import concurrent.futures
import contextlib
import re
import time

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from evergreen_testing.feature_stores import redis_server
from evergreen_testing.grpc_client import Client
from evergreen_testing.paths import CUSTOMERS
from evergreen_testing.processes import free_port, until, until_logged
from evergreen_testing.sample_customers import IDS, fill
from evergreen_testing.server_process import Instance, serving

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that it receives, each with the attributes of its resource."""

    def __init__(self):
        self.spans = []

    def Export(self, request, context):
        for resource in request.resource_spans:
            about = {entry.key: entry.value.string_value for entry in resource.resource.attributes}
            self.spans += [(about, span) for scope in resource.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def named(self, name):
        return [span for _, span in self.spans if span.name == name]


@contextlib.contextmanager
def receiving(port=None):
    port = port or free_port()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    receiver = Receiver()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    receiver.endpoint = f"http://127.0.0.1:{port}"
    try:
        yield receiver
    finally:
        server.stop(0)


def exporting(receiver, **more):
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"} | more


def attributes(span):
    return {entry.key: entry.value.string_value for entry in span.attributes}


def test_a_request_is_a_trace_with_its_stages(evergreen, tmp_path):
    with receiving() as receiver, redis_server(tmp_path / "redis") as store:
        import redis

        fill(redis.Redis(port=store.port))
        config = tmp_path / "evergreen.toml"
        config.write_text(
            '[source.online.redis]\nkey = "customer:{id}"\n'
            f'[source.online.redis.server]\nurls = ["{store.url}"]\n'
        )
        environment = exporting(receiver, OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test")
        with serving(evergreen, tmp_path, customers=None, config=config, **environment) as server:
            path = f"/v1/models/churn/scores/{IDS[0]}?explain=3"
            answer = server.http.get(path, headers={"traceparent": SAMPLED, "x-request-id": "r-1"})
            assert answer.status_code == 200
            until(lambda: receiver.named("explain"))
            [root] = receiver.named("GET /v1/models/{model}/scores/{id}")
    assert root.trace_id.hex() == TRACE and root.parent_span_id.hex() == SPAN
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{root.span_id.hex()}-01"
    assert root.kind == root.SPAN_KIND_SERVER
    assert attributes(root) == {
        "http.request.method": "GET",
        "http.route": "/v1/models/{model}/scores/{id}",
        "http.response.status_code": "200",
        "evergreen.request_id": "r-1",
    }
    # The first server of a run is asked for its description, too.
    others = (span for _, span in receiver.spans if span is not root)
    stages = {span.name: span for span in others if span.name != "GET /openapi.json"}
    assert stages.keys() == {"features", "assemble", "forest", "explain"}
    for span in stages.values():
        assert span.trace_id == root.trace_id and span.parent_span_id == root.span_id
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano
    assert attributes(stages["features"]) == {"evergreen.source": "online", "evergreen.entities": "1"}
    assert attributes(stages["forest"]) == {"evergreen.model": "churn", "evergreen.version": "1"}
    # No id of a customer is in any span.
    assert all(IDS[0] not in str(span) for _, span in receiver.spans)
    about = receiver.spans[0][0]
    assert about["service.name"] == "evergreen" and about["deployment.environment.name"] == "test"


def test_grpc_requests_and_failures(evergreen, tmp_path):
    with receiving() as receiver, serving(evergreen, tmp_path, **exporting(receiver)) as server:
        with grpc.insecure_channel(server.grpc) as channel:
            client = Client(channel)
            client("Score", model="churn", entities=[{"text_id": IDS[0]}])
            with pytest.raises(grpc.RpcError):
                client("Score", model="nothing", entities=[{"text_id": IDS[0]}])
        server.http.post("/v1/score", content="{")
        until(lambda: len(receiver.named("/evergreen.v1.ScoringService/Score")) == 2)
        until(lambda: receiver.named("POST /v1/score"))
    good, bad = receiver.named("/evergreen.v1.ScoringService/Score")
    assert attributes(good) | {"evergreen.request_id": ""} == {
        "rpc.system": "grpc",
        "rpc.service": "evergreen.v1.ScoringService",
        "rpc.method": "Score",
        "rpc.grpc.status_code": "0",
        "evergreen.request_id": "",
    }
    # NOT_FOUND and 400 are the client's fault.
    assert attributes(bad)["rpc.grpc.status_code"] == "5" and bad.status.code == bad.status.STATUS_CODE_UNSET
    [wrong] = receiver.named("POST /v1/score")
    assert attributes(wrong)["http.response.status_code"] == "400"


@pytest.mark.parametrize(
    "sampler, argument, parent, expected",
    [
        ("parentbased_traceidratio", "0", None, 0),
        ("parentbased_traceidratio", "0", SAMPLED, 50),
        ("always_on", "", NOT_SAMPLED, 50),
        ("parentbased_always_on", "", NOT_SAMPLED, 0),
        ("traceidratio", "0.5", None, None),
    ],
)
def test_sampling_is_as_the_variables_say(evergreen, tmp_path, sampler, argument, parent, expected):
    with receiving() as receiver:
        environment = exporting(receiver, OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=argument)
        with serving(evergreen, tmp_path, **environment) as server:
            for _ in range(50):
                headers = {"traceparent": parent} if parent else {}
                assert server.http.get("/v1/models/churn", headers=headers).status_code == 200
            assert server.stop() == 0
    found = len(receiver.named("GET /v1/models/{model}"))
    assert found == expected if expected is not None else 5 <= found <= 45


def test_spans_are_sent_before_the_server_ends(evergreen, tmp_path):
    with receiving() as receiver:
        environment = exporting(receiver, OTEL_BSP_SCHEDULE_DELAY="60000")
        with serving(evergreen, tmp_path, **environment) as server:
            server.http.get("/v1/models/churn")
            assert server.stop() == 0
    assert receiver.named("GET /v1/models/{model}")


def test_without_a_collector_requests_are_answered_and_the_end_is_prompt(evergreen, tmp_path):
    instance = Instance(evergreen, tmp_path, customers=CUSTOMERS)
    with instance:
        instance.start(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", OTEL_BSP_SCHEDULE_DELAY="100")
        for _ in range(200):
            assert instance.ask(f"/v1/models/churn/scores/{IDS[0]}", port="http")[0] == 200

        def lost():
            text = instance.ask("/metrics")[1]
            return int(re.search(r"^evergreen_spans_lost_total (\d+)", text, re.MULTILINE).group(1))

        until(lambda: lost() >= 200)
        assert until_logged(instance.log, "spans not exported").count("spans not exported") == 1
        start = time.monotonic()
        assert instance.stop()[0] == 0 and time.monotonic() - start < 10


def test_a_wrong_endpoint_is_named(evergreen, tmp_path):
    instance = Instance(evergreen, tmp_path)
    with instance:
        instance.start(wait=False, OTEL_EXPORTER_OTLP_ENDPOINT="no address at all")
        assert instance.wait()[0] == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT: expected the address of a collector" in instance.log.read_text()


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratoi", "expected one of always_on, always_off"),
        ("OTEL_TRACES_SAMPLER_ARG", "1%", "expected a share from 0 to 1, such as 0.01"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "expected grpc"),
    ],
)
def test_a_variable_that_the_library_would_ignore_is_named(evergreen, tmp_path, name, value, message):
    environment = {"OTEL_TRACES_SAMPLER": "traceidratio", name: value}
    with Instance(evergreen, tmp_path) as instance:
        instance.start(wait=False, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", **environment)
        assert instance.wait()[0] == 2
    assert f"{name}: {message}" in instance.log.read_text()


def test_nothing_is_traced_by_default(server):
    answer = server.http.get("/v1/models/churn")
    assert "traceresponse" not in answer.headers
