"""Clients generated from the OpenAPI document by other projects' programs: their types hold every response that the tests
of this run received, and give it back unchanged. conftest.py lets this file run last."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from datetime import datetime
from itertools import zip_longest

import pytest
from pydantic import BaseModel, TypeAdapter

from evergreen_testing import openapi
from evergreen_testing.paths import ROOT

PROGRAMS = ROOT / "tests/python/openapi_clients"


@pytest.fixture(scope="module")
def description(server):
    """The document, after at least one response of every operation and failures of both APIs."""
    http = server.http
    described = openapi.description(str(http.base_url).rstrip("/"))
    entities = [
        {"id": "C-1042"},
        {"id": 7},
        {"id": "C-1042", "features": {"plan": "unheard of", "nps": None, "auto_pay": True}},
        {"id": "C-1042", "features": {"nps": "many"}},
        {"features": {"nps": 5}},
        {},
    ]
    http.post("/v1/score", json={"model": "churn", "entities": entities, "explain": 24})
    lines = "\n".join(map(json.dumps, entities)) + "\nnonsense\n"
    http.post("/v1/models/churn/scores?explain=3", content=lines)
    ids = {"name": "customer_id", "shape": [2], "datatype": "BYTES", "data": ["C-1042", "nobody"]}
    for parameters in ({}, {"binary_data_output": True}):
        http.post("/v2/models/churn/infer", json={"id": "a", "inputs": [ids], "parameters": parameters})
    for version in ("", "/versions/1"):
        for rest in ("", "/ready", "/config", "/stats"):
            http.get(f"/v2/models/churn{version}{rest}")
    for path in (
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/stats",
        "/v2/nothing",
        "/v1/nothing",
    ):
        http.get(path)
    for path in (
        "/v1/models",
        "/v1/models/churn",
        "/v1/models/x",
        "/v1/models/churn/scores/C-1042?explain=2",
    ):
        http.get(path)
    http.get("/v1/session")
    http.get("/v1/models/churn/features/C-1042")
    http.post("/v2/repository/index")
    http.post("/v2/models/x/infer", content=b"{")
    assert len(described.recorded) > 25
    return described


def test_every_operation_has_a_recorded_answer(description):
    recorded = {pointer[1:3] for pointer, _ in description.recorded if pointer[0] == "paths"}
    lines = {("/v1/models/{model}/scores", "post")}
    changes = {
        ("/v2/repository/models/{model}/load", "post"),
        ("/v2/repository/models/{model}/unload", "post"),
    }
    # Their answers have no body.
    empty = {("/v1/session", "post"), ("/v1/session", "delete")}
    all_of_them = {(path, method) for method, path, _ in description.operations()}
    assert all_of_them - recorded - lines - changes - empty <= {
        ("/v2/models/{model}/versions/{version}/infer", "post")
    }
    assert any(pointer[-1] == "LineBody" for pointer, _ in description.recorded)


@pytest.fixture(scope="module")
def folder(description, tmp_path_factory):
    path = tmp_path_factory.mktemp("clients")
    (path / "openapi.json").write_text(json.dumps(description.document))
    return path


@pytest.fixture(scope="module")
def models(folder):
    """The Python models that datamodel-code-generator makes; they refuse properties without a name."""
    command = [
        sys.executable,
        "-m",
        "datamodel_code_generator",
        "--input",
        "openapi.json",
        "--output",
        "models.py",
    ]
    command += [
        "--input-file-type",
        "openapi",
        "--output-model-type",
        "pydantic_v2.BaseModel",
        "--use-annotated",
    ]
    command += ["--extra-fields", "forbid", "--target-python-version", "3.11", "--formatters", "builtin"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    spec = importlib.util.spec_from_file_location("generated_models", folder / "models.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def model_type(models, schema):
    """Returns the generated type of a schema: a component, or a list of one."""
    if "$ref" in schema:
        return getattr(models, schema["$ref"].rsplit("/", 1)[1])
    assert schema["type"] == "array", schema
    return list[model_type(models, schema["items"])]


def same(one, other):
    """Says whether two JSON values are equal; instants may be written with more or fewer zeros."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return all(same(a, b) for a, b in zip_longest(one, other, fillvalue=...))
    if one != other and isinstance(one, str) and isinstance(other, str) and "T" in one:
        return datetime.fromisoformat(one) == datetime.fromisoformat(other)
    numbers = {type(one), type(other)} == {int, float}
    return one == other and (numbers or type(one) is type(other))


def test_python_models_give_every_response_back(description, models):
    assert issubclass(models.ScoresBody, BaseModel)
    for _, schema, value in keyed(description):
        adapter = TypeAdapter(model_type(models, schema))
        parsed = adapter.validate_json(json.dumps(value))
        again = json.loads(adapter.dump_json(parsed, by_alias=True, exclude_unset=True))
        assert same(value, again), (schema, value, again)


def keyed(description):
    for (pointer, _), recorded in description.recorded.items():
        yield pointer, recorded.schema, recorded.value


def test_python_models_refuse_what_the_document_does_not_say(models):
    for name, value in [
        ("EntityErrorBody", {"kind": "sad", "detail": "x"}),
        ("EntityErrorBody", {"kind": "invalid", "detail": "x", "extra": 1}),
        ("InferenceError", {}),
    ]:
        with pytest.raises(ValueError, match=r"validation error"):
            getattr(models, name).model_validate(value)


@pytest.fixture(scope="module")
def programs():
    """The folder of openapi-typescript and the TypeScript compiler, installed as their lock file says."""
    npm = shutil.which("npm")
    assert npm, "npm is not installed (Debian: apt-get install nodejs npm); tests/run installs it"
    target = ROOT / "target/openapi-clients"
    target.mkdir(parents=True, exist_ok=True)
    lock = (PROGRAMS / "package-lock.json").read_text()
    installed = target / "installed-lock.json"
    if not installed.exists() or installed.read_text() != lock:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PROGRAMS / name, target / name)
        subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=target, check=True, timeout=300
        )
        installed.write_text(lock)
    return target / "node_modules/.bin"


@pytest.fixture(scope="module")
def types(folder, programs):
    """The TypeScript types that openapi-typescript makes."""
    command = [programs / "openapi-typescript", "openapi.json", "--output", "api.d.ts"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return (folder / "api.d.ts").read_text()


def compiled(folder, programs, text):
    """Compiles a text beside the types, and returns the compiler's messages."""
    (folder / "check.ts").write_text('import type { components, paths } from "./api";\n' + text)
    command = [
        programs / "tsc",
        "--noEmit",
        "--strict",
        "--exactOptionalPropertyTypes",
        "check.ts",
        "api.d.ts",
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300).stdout


def test_no_typescript_type_is_unknown(types):
    code = re.sub(r"/\*.*?\*/", "", types, flags=re.DOTALL)
    # Headers that are not described, and two lists that are empty.
    code = code.replace("[name: string]: unknown;", "")
    # The number of scores with an unknown result.
    code = code.replace("unknown: number;", "")
    code = re.sub(r"export type (webhooks|\$defs) = Record<string, never>;", "", code)
    for word in ("unknown", "Record<string, never>", "any;"):
        assert word not in code.replace("unknown_encoding", ""), word


def address(pointer):
    """Returns the TypeScript type at an address of the document."""
    first, *rest = pointer
    return first + "".join(f"[{key}]" if key.isdigit() else f"[{json.dumps(key)}]" for key in rest)


def test_typescript_types_hold_every_response(description, folder, programs, types):
    assert "export interface paths" in types
    text = "".join(
        f"export const r{number}: {address(pointer)} = {json.dumps(value)};\n"
        for number, (pointer, _, value) in enumerate(keyed(description))
    )
    assert compiled(folder, programs, text) == ""


def test_typescript_types_refuse_what_the_document_does_not_say(folder, programs, types):
    assert types
    for value in (
        '{kind: "sad", detail: "x"}',
        '{kind: "invalid", detail: "x", extra: 1}',
        '{kind: "invalid"}',
    ):
        text = f'export const r: components["schemas"]["EntityErrorBody"] = {value};\n'
        assert "error TS" in compiled(folder, programs, text), value
