"""API keys and roles on REST, gRPC and the operations port; CORS."""

import os
import subprocess
from types import SimpleNamespace

import grpc
import pytest

from evergreen_testing import openapi
from evergreen_testing.api_keys import make
from evergreen_testing.grpc_client import SERVICE, Client
from evergreen_testing.processes import until
from evergreen_testing.server_process import serving

SCORE = "/v1/models/churn/scores/C-1042"
ORIGIN = "https://sales.example.com"


@pytest.fixture(scope="module")
def guarded(evergreen, tmp_path_factory):
    """A server that requires keys, and a key of every role."""
    folder = tmp_path_factory.mktemp("auth")
    made = {name: make(evergreen, name, name) for name in ("score", "read", "record", "administer")}
    file = folder / "keys.toml"
    file.write_text("".join(lines for _, lines in made.values()))
    config = folder / "e.toml"
    config.write_text(
        f"[server]\npoll_seconds = 0.1\n[auth]\nfile = 'keys.toml'\n[cors]\norigins = ['{ORIGIN}']\n"
        "[models]\nrepository_api = true\n[log]\nlevel = 'info,evergreen=trace,evergreen::access=debug'\n"
    )
    with serving(evergreen, folder, config=config) as server:
        keys = {name: key for name, (key, _) in made.items()}
        yield SimpleNamespace(server=server, keys=keys, file=file)


def bearer(key):
    return {"authorization": f"Bearer {key}"} if key else {}


def allowed(answer):
    return answer.status_code not in (401, 403)


EVERY = {"score", "read", "record", "administer"}
REST = [
    ("GET", SCORE, {"score"}),
    ("POST", "/v1/score", {"score"}),
    ("POST", "/v1/models/churn/scores", {"score"}),
    ("GET", "/v1/models/churn/features/C-1042", {"score"}),
    ("POST", "/v2/models/churn/infer", {"score"}),
    ("POST", "/v2/models/churn/versions/1/infer", {"score"}),
    ("GET", "/v1/models", EVERY),
    ("GET", "/v1/models/churn", EVERY),
    ("GET", "/v2/models/churn", EVERY),
    ("GET", "/v1/nothing", EVERY),
    ("POST", "/v1/outcomes", {"record"}),
    ("GET", "/v1/outcomes", {"score"}),
    ("GET", "/v1/models/churn/ranking", {"score"}),
    ("POST", "/v1/models/churn/ranking", {"score"}),
    ("GET", "/v1/models/churn/performance", EVERY),
    ("POST", "/v2/repository/models/nothing/load", {"administer"}),
    ("POST", "/v2/repository/models/nothing/unload", {"administer"}),
    ("GET", "/", {*EVERY, None}),
    ("GET", "/customers/C-1042", {*EVERY, None}),
    ("GET", "/v1/session", {*EVERY, None}),
    ("DELETE", "/v1/session", {*EVERY, None}),
    ("GET", "/docs/", {*EVERY, None}),
    ("GET", "/openapi.json", {*EVERY, None}),
    ("GET", "/v2/health/ready", {*EVERY, None}),
]
OPERATIONS = [
    ("GET", "/livez", {*EVERY, None}),
    ("GET", "/readyz", {*EVERY, None}),
    ("GET", "/metrics", {*EVERY, None}),
    ("GET", "/v1/models", EVERY),
    ("POST", "/v1/repository/refresh", {"administer"}),
    ("POST", "/v1/models/nothing/unload", {"administer"}),
    ("DELETE", "/cache", {"administer"}),
]


@pytest.mark.parametrize(
    "port, method, path, may", [("http", *row) for row in REST] + [("ops", *row) for row in OPERATIONS]
)
def test_every_path_has_its_role(guarded, port, method, path, may):
    client = getattr(guarded.server, port)
    found = {
        role
        for role in (None, *sorted(EVERY))
        if allowed(client.request(method, path, headers=bearer(guarded.keys.get(role))))
    }
    assert found == may


def test_every_method_has_its_role(guarded):
    def code(method, message, role, service=SERVICE):
        with grpc.insecure_channel(guarded.server.grpc) as channel:
            call = channel.unary_unary(f"/{service}/{method}")
            try:
                call(message, metadata=list(bearer(guarded.keys.get(role)).items()), timeout=10)
            except grpc.RpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    # Reflection needs no key.
    with grpc.insecure_channel(guarded.server.grpc) as channel:
        _, request = Client(channel).prepare("Score", model="churn", entities=[{"text_id": "C-1042"}])
    score = request.SerializeToString()
    assert code("Score", score, "score") == grpc.StatusCode.OK
    assert code("Score", score, None) == grpc.StatusCode.UNAUTHENTICATED
    assert (
        code("Score", score, "read")
        == code("Score", score, "administer")
        == grpc.StatusCode.PERMISSION_DENIED
    )
    assert code("ListModels", b"", "read") == grpc.StatusCode.OK
    inference = "inference.GRPCInferenceService"
    assert code("ServerLive", b"", None, inference) == grpc.StatusCode.OK
    assert code("RepositoryModelLoad", b"", "score", inference) == grpc.StatusCode.PERMISSION_DENIED
    assert code("RepositoryModelLoad", b"", "administer", inference) not in (
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    )
    assert code("Check", b"", None, "grpc.health.v1.Health") == grpc.StatusCode.OK


def test_who_is_refused_is_told_why_in_the_protocols_words(guarded):
    http = guarded.server.http
    missing = http.get(SCORE)
    assert missing.status_code == 401 and "authorization: Bearer" in missing.json()["detail"]
    assert missing.headers["www-authenticate"].startswith("Bearer") and missing.headers["x-request-id"]
    assert missing.headers["content-type"] == "application/problem+json"
    wrong = http.get(SCORE, headers=bearer(guarded.keys["score"][:-1] + "x"))
    assert wrong.status_code == 401 and "API key unknown" in wrong.json()["detail"]
    role = http.get(SCORE, headers={"x-api-key": guarded.keys["read"]})
    assert role.status_code == 403 and "`read` lacks the role `score`" in role.json()["detail"]
    assert "error" in http.post("/v2/models/churn/infer").json()
    assert http.get(SCORE, headers={"authorization": "Basic eDp5"}).status_code == 401
    text = guarded.server.ops.get("/metrics").text
    for result in ("unauthenticated", "forbidden"):
        assert f'evergreen_requests_total{{api="rest",operation="authorize",result="{result}"}}' in text


def test_keys_are_taken_over_and_taken_away_while_the_server_runs(guarded, evergreen):
    http, before = guarded.server.http, guarded.file.read_text()
    key, lines = make(evergreen, "new-one", "score")
    ask = lambda: http.get(SCORE, headers=bearer(key)).status_code  # noqa: E731
    assert ask() == 401
    try:
        guarded.file.write_text(before + lines)
        until(lambda: ask() == 200)
        guarded.file.write_text("[broken]\nroles = []\n")
        until(lambda: "API keys rejected" in guarded.server.log.read_text())
        assert ask() == 200
        # The last key can be revoked, too, by a file that says so.
        guarded.file.write_text("# no keys\n")
        until(lambda: ask() == 401)
    finally:
        guarded.file.write_text(before)
    until(lambda: http.get(SCORE, headers=bearer(guarded.keys["score"])).status_code == 200)
    assert ask() == 401


def test_the_command_line_shows_its_key(guarded, evergreen):
    address = guarded.server.ops.base_url.netloc.decode()
    command = [evergreen, "models", "--server", address]
    without = subprocess.run(command, capture_output=True, text=True)
    assert without.returncode == 2 and "EVERGREEN_API_KEY" in without.stderr
    environment = os.environ | {"EVERGREEN_API_KEY": guarded.keys["read"]}
    assert (
        "churn" in subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    )


def test_pages_of_the_named_origin_may_ask(guarded):
    http = guarded.server.http
    preflight = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    answer = http.options("/v1/score", headers=preflight)
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    read = http.get(SCORE, headers=bearer(guarded.keys["score"]) | {"origin": ORIGIN})
    assert read.headers["access-control-allow-origin"] == ORIGIN
    # An allowed origin can also read why a request was refused; other origins fail the preflight.
    assert http.get(SCORE, headers={"origin": ORIGIN}).headers["access-control-allow-origin"] == ORIGIN
    stranger = http.options("/v1/score", headers=preflight | {"origin": "https://elsewhere.example.com"})
    assert "access-control-allow-origin" not in stranger.headers


def test_no_secret_is_in_the_log(guarded):
    wrong = "evergreen_" + "5" * 64
    with openapi.Client(base_url=guarded.server.http.base_url) as client:
        for key in (*guarded.keys.values(), wrong):
            client.get(SCORE, headers=bearer(key))
    until(
        lambda: (
            '"GET /v1/models/{model}/scores/{id}"' in guarded.server.log.read_text()
            or "scores/{id}" in guarded.server.log.read_text()
        )
    )
    log = guarded.server.log.read_text() + guarded.server.banner
    assert "client" in log and "score" in log
    assert not any(key in log or key[10:] in log for key in (*guarded.keys.values(), wrong))


def test_wrong_settings_are_refused(evergreen, tmp_path):
    def said(text):
        config = tmp_path / "e.toml"
        config.write_text(text)
        ended = subprocess.run(
            [evergreen, "serve", "--config", str(config)], capture_output=True, text=True, timeout=30
        )
        assert ended.returncode == 2
        return ended.stderr

    (tmp_path / "keys.toml").write_text("[front]\nsha256 = 'abc'\nroles = ['score']\n")
    ports = "".join(f"{port} = '127.0.0.1:0'\n" for port in ("http", "grpc", "ops"))
    assert "[front] sha256: expected 64" in said(f"[server]\n{ports}[auth]\nfile = 'keys.toml'\n")
    assert "nowhere.toml" in said(f"[server]\n{ports}[auth]\nfile = 'nowhere.toml'\n")
    assert "without a path" in said("[cors]\norigins = ['https://a.example/b']\n")
    assert "server.header_seconds: expected at least 1" in said("[server]\nheader_seconds = 0\n")
