"""A server whose clock cannot be right: before 1970, after 9999."""

import os
import subprocess

import grpc
import httpx
import pytest

from evergreen_testing import clock
from evergreen_testing.grpc_client import Client
from evergreen_testing.server_process import serving


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """The path of a library that moves the clock of a program."""
    return clock.build(tmp_path_factory.mktemp("shim"))


YEARS = pytest.mark.parametrize("years", [-100, 9000], ids=["before 1970", "after 9999"])


def moved(shim, tmp_path, years):
    """Returns the variables that move the clock, and the file that switches them on."""
    shifted = tmp_path / "shifted"
    return {"LD_PRELOAD": str(shim), "SHIFT": str(years * 31_557_600), "SHIFTED": str(shifted)}, shifted


@YEARS
def test_a_server_with_such_a_clock_does_not_start(evergreen, shim, tmp_path, years):
    environment, shifted = moved(shim, tmp_path, years)
    shifted.touch()
    environment = os.environ | environment
    started = subprocess.run(
        [evergreen, "serve"], capture_output=True, text=True, env=environment, timeout=60
    )
    assert started.returncode == 2 and "the system clock is before 1970 or after 9999" in started.stderr
    doctor = subprocess.run(
        [evergreen, "doctor"], capture_output=True, text=True, env=environment, timeout=60
    )
    assert doctor.returncode == 1 and "is not plausible" in doctor.stdout


@YEARS
def test_a_server_outlives_such_a_clock(evergreen, shim, tmp_path, years):
    """Over HTTP/1 connections end, because hyper cannot write the date; gRPC answers."""
    environment, shifted = moved(shim, tmp_path, years)
    with serving(evergreen, tmp_path, **environment) as server, grpc.insecure_channel(server.grpc) as channel:
        client = Client(channel)
        ask = lambda: client("Score", model="churn", entities=[{"text_id": "C-1042"}]).results[0].score  # noqa: E731
        score = ask()
        shifted.touch()
        assert ask() == score
        # The first answer of this port: hyper has no date from before.
        with pytest.raises(httpx.HTTPError):
            httpx.get(server.ops.base_url.join("/livez"))
        shifted.unlink()
        for path in ("/livez", "/readyz"):
            assert httpx.get(server.ops.base_url.join(path)).status_code == 200
        answer = httpx.get(server.http.base_url.join("/v1/models/churn/scores/C-1042"))
        assert answer.json()["score"] == score and answer.headers["date"].endswith(" GMT")
