"""The wheels of Python, as debug builds, and the package `evergreen_serving` from its sources."""

import atexit
import functools
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import evergreen_serving
from evergreen_testing.paths import ROOT

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
#: Holds the compiled part, so that the folder with the sources does not.
COMPILED = TARGET / "python-engine"


BUILD = [str(ROOT / "python/build"), "--debug"]
#: The build of both wheels, if it runs in the background.
background: "subprocess.Popen[bytes] | None" = None


def environment() -> dict[str, str]:
    """Returns the environment of `python/build`."""
    return os.environ | {"PYTHON": sys.executable}


def build_in_background() -> None:
    """Starts to build both wheels with what other programs leave of the processors: most tests wait more than they
    compute."""
    global background
    background = subprocess.Popen(["nice", "-n", "19", *BUILD], env=environment(), stdout=subprocess.DEVNULL)
    atexit.register(background.terminate)


@functools.cache
def build_wheel(package: str) -> Path:
    """Builds the wheel of `serving` or `server`, or waits until it is built, and returns its path."""
    if background:
        assert background.wait() == 0, "python/build --debug failed: see its error above"
    else:
        subprocess.run([*BUILD, package], env=environment(), check=True, stdout=subprocess.DEVNULL)
    [wheel] = (TARGET / "wheels-debug").glob(f"evergreen_{package}-*.whl")
    return wheel


@functools.cache
def build_engine() -> Path:
    """Makes the compiled part of the wheel importable in this process, and returns its folder."""
    wheel = build_wheel("serving")
    COMPILED.mkdir(parents=True, exist_ok=True)
    # A new file, as another process may have loaded the old one.
    part = COMPILED / f".{os.getpid()}.part"
    with zipfile.ZipFile(wheel) as content:
        part.write_bytes(content.read("evergreen_serving/_engine.abi3.so"))
    part.replace(COMPILED / "_engine.abi3.so")
    evergreen_serving.__path__.append(str(COMPILED))
    return COMPILED
