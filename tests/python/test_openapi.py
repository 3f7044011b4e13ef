"""The OpenAPI document: valid, complete, with examples that work; and the checks that compare responses with it."""

import copy
import json
import shutil

import pytest
from jsonschema_rs import ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator

from evergreen_testing import openapi
from evergreen_testing.model_repository import bundle, put
from evergreen_testing.paths import CUSTOMERS, MODELS
from evergreen_testing.processes import until
from evergreen_testing.server_process import serving


@pytest.fixture(scope="module")
def described(server):
    return openapi.description(str(server.http.base_url).rstrip("/"))


def test_the_document_is_valid(described):
    OpenAPIV31SpecValidator(described.document).validate()
    names = [operation["operationId"] for _, _, operation in described.operations()]
    assert len(set(names)) == len(names) and all(names)


def untyped(node, where):
    """Yields the addresses of schemas that allow any value."""
    if isinstance(node, list):
        for position, item in enumerate(node):
            yield from untyped(item, f"{where}[{position}]")
    elif isinstance(node, dict):
        for key, value in node.items():
            children = value.items() if key == "properties" else [("", value)] if key in SCHEMAS else []
            for name, schema in children:
                place = f"{where}.{key}.{name}"
                if isinstance(schema, dict):
                    known = {"type", "$ref", "allOf", "anyOf", "oneOf"} & set(schema)
                    if not known or (schema.get("type") == "object" and not OBJECT & set(schema)):
                        yield place
            yield from untyped(value, f"{where}.{key}")


SCHEMAS = ("schema", "items", "additionalProperties", "contentSchema")
OBJECT = {"properties", "additionalProperties"}


def test_every_value_has_a_type(described):
    found = [place for place in untyped(described.document, "") if "additionalProperties." not in place]
    assert found == []


def test_every_example_of_a_property_is_valid(described):
    examples = 0
    for schema in described.document["components"]["schemas"].values():
        parts = [schema, *schema.get("allOf", [])]
        for prop in (prop for part in parts for prop in part.get("properties", {}).values()):
            if "example" in prop:
                described.validate(
                    {key: value for key, value in prop.items() if key != "example"}, prop["example"]
                )
                examples += 1
    assert examples > 30


def test_states_have_their_names_and_keys_their_schemes(described):
    schemas = described.document["components"]["schemas"]
    assert schemas["EntityStatus"]["enum"] == ["ok", "degraded", "not_found", "error"]
    assert "rolled_back" in schemas["VersionStateName"]["enum"] and "live" in schemas["ModelState"]["enum"]
    schemes = described.document["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer" and schemes["api_key"]["name"] == "x-api-key"


@pytest.fixture(scope="module")
def loader(evergreen, tmp_path_factory):
    """A server with the sample that loads and unloads models over the protocol. Its snapshot was replaced once, so that
    scores have changes."""
    folder = tmp_path_factory.mktemp("openapi")
    config, customers = folder / "e.toml", folder / "customers.parquet"
    config.write_text(
        "[models]\nrepository_api = true\n[features.watch]\nseconds = 0.1\n"
        "[outcomes]\nfolder = 'outcomes'\nkeep_days = 3650\n"
    )
    shutil.copy(CUSTOMERS, customers)
    with serving(evergreen, folder, models=MODELS, customers=customers, config=config) as running:
        shutil.copy(CUSTOMERS, folder / "new.parquet")
        (folder / "new.parquet").rename(customers)
        until(lambda: running.http.get("/v1/models/churn/scores/C-1042/changes").status_code == 200)
        until(lambda: running.http.get("/v1/models/churn/ranking").status_code == 200)
        yield running


def test_unusual_contracts_are_described_too(evergreen, tmp_path):
    """Defaults of every type, ranges and bands without an end: JSON has no infinity and no instants."""
    folder = bundle(tmp_path / "new")
    contract = folder / "bundle.toml"
    text = contract.read_text().replace('name = "low", from = 0.0', 'name = "low", from = -inf', 1)
    for name, lines in {
        "plan": 'default = "starter"',
        "auto_pay": "default = true",
        "times_returned": "default = 0",
        "months_to_renewal": "range = [-inf, 1200.0]",
        "days_since_visit": "max_age = '36h'",
    }.items():
        text = text.replace(f'name = "{name}"\n', f'name = "{name}"\n{lines}\n', 1)
    contract.write_text(text)
    put(folder, tmp_path / "models", 1)
    shutil.copytree(MODELS / "churn/1", tmp_path / "models/bare/1")
    (tmp_path / "models/bare/1/bundle.toml").unlink()
    with serving(evergreen, tmp_path, models=tmp_path / "models") as running:
        live = running.http.get("/v1/models/churn").json()["live"]
        assert live, running.http.get("/v1/models/churn").text
        features = {feature["name"]: feature for feature in live["features"]}
        defaults = [features[name]["default"] for name in ("plan", "auto_pay", "times_returned", "nps")]
        assert defaults == ["starter", True, 0, None]
        assert features["months_to_renewal"]["range"] == [None, 1200] and live["bands"][0]["from"] is None
        running.http.post("/v1/score", json={"model": "churn", "entities": [{"id": "C-1042"}], "explain": 24})
        running.http.get("/v1/models/churn/features/C-1042")
        # A model without a contract.
        assert running.http.get("/v1/models/bare").json()["live"]["output"] is None
        assert running.http.get("/v2/models/bare/config").status_code == 200
        refused = running.http.post("/v1/score", json={"model": "bare", "entities": [{"id": "C-1042"}]})
        assert "has no contract" in refused.json()["detail"]


def example(described, path, operation):
    """Returns the path with the examples of its parameters, the query, and the body with its media type."""
    query = {}
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
        elif parameter["in"] == "query" and "example" in parameter:
            query[parameter["name"]] = parameter["example"]
    if "requestBody" not in operation:
        return path, query, None, None
    # The first media type is the one that /docs selects.
    media_type, content = next(iter(operation["requestBody"]["content"].items()))
    described.validate(content["schema"], content["example"])
    value = content["example"]
    return path, query, value if isinstance(value, str) else json.dumps(value), media_type


def test_the_example_of_every_operation_succeeds(loader, described):
    # Unloading goes last, as the other operations need the model.
    operations = sorted(described.operations(), key=lambda operation: operation[1].endswith("/unload"))
    assert len(operations) >= 23
    for method, template, operation in operations:
        if template == "/v1/session":
            # Signing in needs a key file: test_page.py does it.
            continue
        path, query, body, media_type = example(described, template, operation)
        headers = {"content-type": media_type} if media_type else {}
        answer = loader.http.request(method, path, params=query, content=body, headers=headers)
        assert answer.status_code == 200, f"{method} {template}: {answer.text}"
        statuses = [
            json.loads(line)["status"] for line in answer.text.splitlines() if "ndjson" in str(media_type)
        ]
        assert set(statuses) <= {"ok"}, answer.text
        if template == "/v1/score":
            assert [result["status"] for result in answer.json()["results"]] == ["ok"]


def test_the_checks_find_what_the_document_does_not_say(server, described):
    answer = server.http.get("/v1/models/churn/scores/C-1042?explain=2")
    sound = answer.json()

    def refused(change):
        value = copy.deepcopy(sound)
        change(value)
        with pytest.raises(ValidationError):
            described.check_body(
                {"$ref": "#/components/schemas/ScoreOneBody"},
                ("x",),
                "application/json",
                {},
                json.dumps(value).encode(),
            )

    refused(lambda value: value.update(status="fine"))
    refused(lambda value: value.update(extra=1))
    refused(lambda value: value.pop("status"))
    refused(lambda value: value.update(score=None))
    refused(lambda value: value["model"].update(extra=1))
    refused(lambda value: value["reasons"][0].update(value=[1]))
    refused(lambda value: value["features"].update({"from": "nowhere"}))
    refused(lambda value: value["features"].update(as_of="yesterday"))
    path = "/v1/models/churn/scores/C-1042"
    for status, media_type in [(200, "text/plain"), (418, "application/json")]:
        with pytest.raises(AssertionError):
            described.check("GET", path, status, {"content-type": media_type}, answer.content)
    with pytest.raises(AssertionError):
        described.check("GET", "/v1/nothing", 200, {"content-type": "application/json"}, b"{}")
