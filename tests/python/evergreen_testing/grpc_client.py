"""A gRPC client of the scoring service that knows its messages from reflection alone."""

from collections.abc import Iterable, Iterator
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "evergreen.v1.ScoringService"


class Client:
    """Calls methods of the scoring service by name, with messages made from the server's own descriptors."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        self.service = pool.FindServiceByName(SERVICE)

    def messages(self, name: str) -> tuple[Any, Any]:
        """Returns the classes of a method's request and answer."""
        method = self.service.methods_by_name[name]
        return GetMessageClass(method.input_type), GetMessageClass(method.output_type)

    def prepare(self, name: str, **fields: Any) -> tuple[Any, Any]:
        """Returns a method to call, and a request with `fields` for it."""
        request, response = self.messages(name)
        call = self.channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        return call, request(**fields)

    def __call__(self, name: str, **fields: Any) -> Any:
        """Calls a method with a request of `fields`, and returns the answer."""
        call, request = self.prepare(name, **fields)
        return call(request, timeout=10)

    def stream(self, batches: Iterable[dict[str, Any]], **options: Any) -> Iterator[Any]:
        """Calls `ScoreStream` with batches given as fields, and returns the answers. `options` go to the
        call."""
        request, response = self.messages("ScoreStream")
        call = self.channel.stream_stream(
            f"/{SERVICE}/ScoreStream",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        answers: Iterator[Any] = call((request(**batch) for batch in batches), **options)
        return answers


def details(error: grpc.RpcError) -> dict[str, Any]:
    """Returns the details (google.rpc) that a failed call came with, by the name of their type."""
    metadata = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert status.message == error.details()
    found = {}
    for packed in status.details:
        kind = getattr(error_details_pb2, packed.type_url.rsplit(".", 1)[1])
        assert isinstance(packed, PackedAny)
        found[kind.__name__] = kind.FromString(packed.value)
    return found
