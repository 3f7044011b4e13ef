"""REST clients that compare every response with the server's own OpenAPI document, and keep the responses for tests of
generated clients."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
from jsonschema_rs import Draft202012Validator

# Paths of pages; the document describes the API only.
PAGES = re.compile(r"/|/model|/(customers|assets)/.*|/openapi\.json|/docs(/.*)?")

LINES = "application/x-ndjson"
BINARY = "application/octet-stream"
TABLE = "text/csv"
HEAD_LENGTH = "inference-header-content-length"


class Recorded(NamedTuple):
    """A JSON value that a server sent, and where the document describes it.

    `schema` is a schema of the document, `pointer` its address in TypeScript's words: a chain of keys.
    """

    schema: dict[str, Any]
    pointer: tuple[str, ...]
    value: Any


def strict(schemas: dict[str, Any]) -> dict[str, Any]:
    """Returns schemas that allow no property but those that they name."""

    def close(node: Any) -> Any:
        if isinstance(node, list):
            return [close(item) for item in node]
        if not isinstance(node, dict):
            return node
        closed = {key: close(value) for key, value in node.items()}
        if "allOf" in node:
            # The parts name some of the properties each, so only the whole can be closed.
            closed["allOf"] = [loosen(part) for part in node["allOf"]]
            closed["unevaluatedProperties"] = False
        elif isinstance(node.get("properties"), dict) and "type" in node:
            closed.setdefault("additionalProperties", False)
        return closed

    def loosen(part: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in part:
            part = schemas[part["$ref"].rsplit("/", 1)[1]]
        return {key: value if key == "required" else close(value) for key, value in part.items()}

    return {name: close(schema) for name, schema in schemas.items()}


def shape(value: Any) -> Any:
    """Returns what values of the same form share: the keys of objects and the types of scalars."""
    if isinstance(value, dict):
        return tuple((key, shape(item)) for key, item in sorted(value.items()))
    if isinstance(value, list):
        return tuple(sorted({repr(shape(item)) for item in value}))
    return type(value).__name__


class Description:
    """An OpenAPI document, and the responses that were compared with it: one of each form."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.schemas = strict(document["components"]["schemas"])
        self.recorded: dict[Any, Recorded] = {}
        self.validators: dict[str, Draft202012Validator] = {}
        # Literal segments go before parameters, as in the server's router.
        self.paths = [
            (path, re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))))
            for path in sorted(document["paths"], key=lambda path: (path.count("{"), path))
        ]

    def operation(self, method: str, path: str) -> tuple[str, dict[str, Any]] | None:
        """Returns the template and the description of an operation; None if the document has none."""
        for template, pattern in self.paths:
            if pattern.fullmatch(path):
                found = self.document["paths"][template].get(method.lower())
                return (template, found) if found else None
        return None

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yields the method, the path and the description of every operation."""
        for path, item in self.document["paths"].items():
            for method, operation in item.items():
                yield method, path, operation

    def validate(self, schema: dict[str, Any], value: Any) -> None:
        """Raises an error if a value does not have a schema, or has properties that the schema does not name."""
        key = json.dumps(schema)
        if key not in self.validators:
            whole = copy.deepcopy(schema) | {"components": {"schemas": self.schemas}}
            self.validators[key] = Draft202012Validator(whole, validate_formats=True)
        self.validators[key].validate(value)

    def check(self, method: str, path: str, status: int, headers: Any, body: bytes | None) -> None:
        """Raises AssertionError or ValidationError if a response is not as described. `body` is None for a stream."""
        if method == "OPTIONS" or PAGES.fullmatch(path):
            return
        where = f"{method} {path}: {status}"
        media_type = headers.get("content-type", "").split(";")[0]
        pointer: tuple[str, ...] = ()
        found = self.operation("GET" if method == "HEAD" else method, path)
        if found is None:
            assert status in (401, 403, 404, 405, 415), f"{where}: the document has no such operation"
            described = self.failure(path)
        else:
            template, operation = found
            assert str(status) in operation["responses"], f"{where}: the document has no such status"
            described = operation["responses"][str(status)].get("content", {})
            pointer = ("paths", template, method.lower(), "responses", str(status), "content", media_type)
        if not described:
            assert body in (b"", None), f"{where}: the document has no body, found {body!r}"
            return
        assert media_type in described, f"{where}: expected one of {list(described)}, found {media_type!r}"
        if body is not None and method != "HEAD":
            self.check_body(described[media_type]["schema"], pointer, media_type, headers, body)

    def failure(self, path: str) -> dict[str, Any]:
        """Returns the described content of a failure of a path that no operation has."""
        inference = path == "/v2" or path.startswith("/v2/")
        name = "InferenceError" if inference else "Problem"
        media_type = "application/json" if inference else "application/problem+json"
        return {media_type: {"schema": {"$ref": f"#/components/schemas/{name}"}}}

    def check_body(
        self, schema: dict[str, Any], pointer: tuple[str, ...], media_type: str, headers: Any, body: bytes
    ) -> None:
        """Validates the JSON of a body: all of it, each line, or the part before binary tensors."""
        name = schema.get("$ref", "").rsplit("/", 1)[-1]
        if media_type == LINES:
            line = self.document["components"]["schemas"][name]["contentSchema"]
            for text in body.splitlines():
                self.keep(line, component(line), json.loads(text))
        elif media_type == BINARY:
            head: dict[str, Any] = {"$ref": "#/components/schemas/InferResponse"}
            self.keep(head, component(head), json.loads(body[: int(headers[HEAD_LENGTH])]))
        elif media_type == TABLE:
            assert self.document["components"]["schemas"][name]["type"] == "string" and body.decode()
        else:
            self.keep(schema, pointer or component(schema), json.loads(body))

    def keep(self, schema: dict[str, Any], pointer: tuple[str, ...], value: Any) -> None:
        """Validates a value, and keeps the first of each form that is not long."""
        self.validate(schema, value)
        key = (pointer, repr(shape(value)))
        if key not in self.recorded and len(repr(value)) < 100_000:
            self.recorded[key] = Recorded(schema, pointer, value)


def component(schema: dict[str, Any]) -> tuple[str, ...]:
    """Returns the address of the component that a schema refers to."""
    return ("components", "schemas", schema["$ref"].rsplit("/", 1)[1])


# All servers under test are the same program, so the first document serves for all.
_descriptions: list[Description] = []


def description(base_url: Any) -> Description:
    """Returns the document of the program under test; the first call reads it from the server at `base_url`."""
    if not _descriptions:
        _descriptions.append(Description(httpx.get(f"{base_url}/openapi.json", timeout=30).json()))
    return _descriptions[0]


def check(document: Description, response: httpx.Response, streamed: bool) -> None:
    """Compares a response with the document; of a streamed one, only the head."""
    request = response.request
    body = None if streamed else response.content
    path = request.url.raw_path.decode().split("?")[0]
    document.check(request.method, path, response.status_code, response.headers, body)


class Client(httpx.Client):  # type: ignore[misc]  # httpx is not installed where mypy runs
    """A client of a REST port that compares every response with the document."""

    def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Sends a request, and checks its response."""
        response = super().send(request, stream=stream, **options)
        if not _descriptions:
            # Over this client, as the server may want its certificate.
            document = super().send(self.build_request("GET", "/openapi.json"))
            _descriptions.append(Description(document.json()))
        check(_descriptions[0], response, streamed=stream)
        return response


class AsyncClient(httpx.AsyncClient):  # type: ignore[misc]
    """The same for coroutines."""

    async def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Sends a request, and checks its response."""
        response = await super().send(request, stream=stream, **options)
        check(description(f"{self.base_url}".rstrip("/")), response, streamed=stream)
        return response
