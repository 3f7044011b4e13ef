"""Fixtures: the binary under test, and a server with the shipped sample."""

import os
import subprocess
from pathlib import Path

import pytest

# Must precede the import, so that pytest shows the values of failed assertions in helpers too.
pytest.register_assert_rewrite("evergreen_testing")

from evergreen_testing.paths import ROOT  # noqa: E402
from evergreen_testing.server_process import serving  # noqa: E402


def pytest_collection_modifyitems(items):
    """Moves the tests of generated clients to the end: they use the responses that the other tests received."""
    items.sort(key=lambda item: item.path.name == "test_openapi_clients.py")


@pytest.fixture(scope="session")
def evergreen(tmp_path_factory):
    """Returns the path of the binary: the one that TEST_BINARY names, or a fresh debug build."""
    if named := os.environ.get("TEST_BINARY"):
        return named
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--features", "full"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = str(target / "debug" / "evergreen")
    # Reads the OpenAPI document, so that no server under test gets a request for it.
    with serving(binary, tmp_path_factory.mktemp("openapi")) as running:
        assert running.http.get("/openapi.json").status_code == 200
    return binary


@pytest.fixture(scope="session")
def server(evergreen, tmp_path_factory):
    """A server with the shipped sample, for tests that do not change it."""
    with serving(evergreen, tmp_path_factory.mktemp("server")) as running:
        yield running
