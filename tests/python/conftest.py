"""Fixtures: the binary under test, and a server with the shipped sample."""

import os
import subprocess
from pathlib import Path

import pytest

# Must precede the import, so that pytest shows the values of failed assertions in helpers too.
pytest.register_assert_rewrite("evergreen_testing")

from evergreen_testing.paths import ROOT  # noqa: E402
from evergreen_testing.python_package import build_engine, build_in_background  # noqa: E402
from evergreen_testing.server_process import serving  # noqa: E402

#: Whether tests need the wheels of Python.
WHEELS = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items):
    """Moves the tests of generated clients to the end: they use the responses that the other tests received."""
    items.sort(key=lambda item: item.path.name == "test_openapi_clients.py")


def pytest_collection_finish(session):
    session.stash[WHEELS] = any({"scorer_class", "wheels"} & set(item.fixturenames) for item in session.items)


@pytest.fixture(scope="session")
def evergreen(request, tmp_path_factory):
    """Returns the path of the binary: the one that TEST_BINARY names, or a fresh debug build."""
    if named := os.environ.get("TEST_BINARY"):
        return named
    # With a test and the whole workspace, so that libraries get the features of `cargo test`, which has built them already.
    command = ["cargo", "build", "--quiet", "--locked", "--workspace", "--features", "full"]
    subprocess.run([*command, "--bin", "evergreen", "--test", "boundaries"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    # A name of its own, as the build of the wheels writes another program to this path.
    folder = target / "debug" / "tested"
    folder.mkdir(exist_ok=True)
    binary = str(folder / "evergreen")
    Path(binary).unlink(missing_ok=True)
    os.link(target / "debug" / "evergreen", binary)
    if request.session.stash[WHEELS]:
        build_in_background()
    # Reads the OpenAPI document, so that no server under test gets a request for it.
    with serving(binary, tmp_path_factory.mktemp("openapi")) as running:
        assert running.http.get("/openapi.json").status_code == 200
    return binary


@pytest.fixture(scope="session")
def run(evergreen):
    """Runs a command of the binary, which must end with the exit code that is expected."""

    def run(*arguments, code=0):
        ended = subprocess.run([evergreen, *map(str, arguments)], capture_output=True, text=True, timeout=120)
        assert ended.returncode == code, ended
        return ended

    return run


@pytest.fixture(scope="session")
def scorer_class():
    """Returns `evergreen_serving.Scorer` with a fresh debug build of its compiled part."""
    build_engine()
    from evergreen_serving import Scorer

    return Scorer


@pytest.fixture(scope="session")
def server(evergreen, tmp_path_factory):
    """A server with the shipped sample, for tests that do not change it."""
    with serving(evergreen, tmp_path_factory.mktemp("server")) as running:
        yield running
