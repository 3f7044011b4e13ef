"""Other clients as they are: kserve's, perf_analyzer, and whatever schemathesis thinks of."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evergreen_testing.paths import SCRIPTS


@pytest.fixture(scope="module")
def kserve(server):
    command = [sys.executable, SCRIPTS / "kserve_client.py", str(server.http.base_url), server.grpc]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_kserve_asks_and_is_answered(kserve, server, protocol):
    found = kserve[protocol]
    assert found["health"] == [True, True, True]
    whole = {
        key: value
        for key, value in found.items()
        if key[-4:] in ("True", "alse") and not key.startswith("ids")
    }
    # Every datatype carries the same numbers, and so gets the same answer.
    assert len(whole) == 22 and len({json.dumps(value) for value in whole.values()}) == 1
    rest = server.http.get("/v1/models/churn/scores/C-1042").json()
    for form in ("True", "False"):
        ids = found[f"ids {form}"]
        assert ids["id"] == "r-9" and ids["outputs"]["status"] == ["ok", "not_found"]
        score, none = ids["outputs"]["score"]
        assert score == rest["score"] and (none is None or math.isnan(none))
    assert "expected the shape [rows, 24], found [1, 7]" in found["error"]


def test_kserve_gets_the_same_over_both_protocols(kserve):
    for name, answer in kserve["rest"].items():
        if name not in ("health", "error"):
            assert str(answer["outputs"]).replace("None", "nan") == str(kserve["grpc"][name]["outputs"]), name


ANALYZER = shutil.which("perf_analyzer", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


@pytest.mark.skipif(not ANALYZER, reason="perf_analyzer is not installed: its wheels need glibc 2.38")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_perf_analyzer_runs(server, protocol):
    address = server.grpc if protocol == "grpc" else server.http.base_url.netloc.decode()
    command = [ANALYZER, "-m", "churn", "-u", address, "-i", protocol, "--request-count", "100", "-b", "1"]
    ended = subprocess.run([*command, "--shape", "features:24"], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0 and "Throughput" in ended.stdout, ended.stdout + ended.stderr


# schemathesis knows no lines: a value becomes one.
LINES = """\
import json
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def one_line(_, value):
    return json.dumps(value).encode() + b"\\n"
"""


# It also tries deadlines of a millisecond, and is right to be told 504 when that was up.
CHECKS = """\
[checks]
not_a_server_error.expected-statuses = ["2xx", "4xx", 504]
"""


def test_no_input_that_schemathesis_finds_is_a_defect(server, tmp_path):
    (tmp_path / "lines.py").write_text(LINES)
    (tmp_path / "schemathesis.toml").write_text(CHECKS)
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.http.base_url}/openapi.json"]
    command += [
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        "25",
        "--seed",
        "1",
        "--max-time",
        "45",
    ]
    command += ["--checks", "not_a_server_error,status_code_conformance,content_type_conformance"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "lines", "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment
    )
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
