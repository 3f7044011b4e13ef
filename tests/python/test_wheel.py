"""The wheels in an environment of their own: what a data scientist installs gives the training library's bits."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from evergreen_testing.paths import CUSTOMERS, MODELS, ROOT, SCRIPTS
from evergreen_testing.python_package import build_wheel

VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["package"]["version"]


@pytest.fixture(scope="module")
def wheels():
    return [build_wheel("server"), build_wheel("serving")]


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory):
    """Returns the folder with the programs of an environment that has the wheels. The training libraries are those of the
    environment of the tests, which has no `evergreen_serving`."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    # As in production: by name, and with what it depends on. There is no index to fall back on.
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run([*command, "--find-links", wheels[0].parent, "evergreen-serving"], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    libraries = sorted({path for path in sys.path if path.endswith("site-packages")})
    (packages / "libraries.pth").write_text("\n".join(libraries), encoding="utf-8")
    return folder / "bin"


def run(*command, **options):
    """Runs a program without the paths of the tests."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")
    }
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=300, env=environment, **options
    )


def test_the_wheels_have_one_version_and_one_library_for_every_python(wheels):
    names = [wheel.name for wheel in wheels]
    platform = sysconfig.get_platform().replace("-", "_").removeprefix("linux_")
    assert names[0].startswith(f"evergreen_server-{VERSION}-py3-none-manylinux_")
    assert names[1].startswith(f"evergreen_serving-{VERSION}-cp310-abi3-manylinux_")
    assert all(name.endswith(f"_{platform}.whl") for name in names)
    with zipfile.ZipFile(wheels[1]) as wheel:
        content = {name.removeprefix("evergreen_serving/") for name in wheel.namelist()}
        metadata = wheel.read(f"evergreen_serving-{VERSION}.dist-info/METADATA").decode()
    wanted = {
        "__init__.py",
        "_engine.abi3.so",
        "_engine.pyi",
        "bundle/save.py",
        "derived.py",
        "py.typed",
        "scorer.py",
    }
    assert wanted <= content and not any("__pycache__" in name for name in content)
    assert f"Requires-Dist: evergreen-server=={VERSION}" in metadata, (
        "python/serving/pyproject.toml names another version"
    )
    assert "License-File: LICENSE" in metadata and "Requires-Python: >=3.10" in metadata


def test_the_package_comes_from_the_wheel(installed):
    code = "import evergreen_serving as e; from evergreen_serving import _engine; "
    code += "print(e.__file__, e.__version__, _engine.__version__)"
    printed = run(installed / "python", "-c", code, check=True).stdout
    assert printed.startswith(str(installed.parent)) and printed.split()[1] == printed.split()[-1] == VERSION


def test_importing_is_quick_and_imports_no_library(installed):
    code = (
        "import sys, time; start = time.perf_counter(); from evergreen_serving import Scorer; "
        "print(time.perf_counter() - start, "
        "sorted({'pandas', 'numpy', 'pyarrow', 'xgboost'} & {m.partition('.')[0] for m in sys.modules}))"
    )
    times = [run(installed / "python", "-c", code, check=True).stdout.split(" ", 1) for _ in range(3)]
    assert {libraries for _, libraries in times} == {"[]\n"}
    assert min(float(seconds) for seconds, _ in times) < 0.5


@pytest.mark.telco
def test_all_customers_get_the_bits_of_every_library(installed, tmp_path):
    csv = Path(os.environ.get("TELCO_CSV", ROOT / "../shared/data/telco-customer-churn.csv"))
    done = run(installed / "python", SCRIPTS / "wheel_bits.py", csv, tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"xgboost", "lightgbm", "catboost"}
    for library, counts in found.items():
        assert counts == {"rows": 7043, "margins": 0, "scores": 0}, library
        checked = run(installed / "evergreen", "check", tmp_path / library / "1")
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_command_is_there(installed, tmp_path):
    assert run(installed / "evergreen", "--version").stdout == f"evergreen {VERSION}\n"
    assert run(installed / "evergreen", "check", MODELS / "churn/1").returncode == 0
    scored = run(
        installed / "evergreen",
        "score",
        "--model",
        MODELS / "churn/1",
        "--input",
        CUSTOMERS,
        "--output",
        tmp_path / "s.csv",
    )
    assert scored.returncode == 0, scored.stderr


def test_the_stubs_are_those_of_the_compiled_part(installed):
    done = run(installed / "python", "-m", "mypy.stubtest", "evergreen_serving._engine", cwd=installed)
    assert done.returncode == 0, done.stdout


def test_the_source_distribution_is_complete(tmp_path):
    """Whether it builds is not tested here, as that takes as long as the build of the server."""
    command = [sys.executable, "-m", "maturin", "sdist", "--out", tmp_path]
    for package in ("serving", "server"):
        subprocess.run(command, cwd=ROOT / "python" / package, check=True)
    for archive, wanted in {
        "evergreen_serving": ["crates/evergreen-python/src/lib.rs", "src/lib.rs", "Cargo.lock", "PKG-INFO"],
        "evergreen_server": ["src/main.rs", "web/dist/index.html", "proto", "Cargo.lock", "PKG-INFO"],
    }.items():
        folder = tmp_path / archive
        shutil.unpack_archive(tmp_path / f"{archive}-{VERSION}.tar.gz", folder)
        missing = [path for path in wanted if not (folder / f"{archive}-{VERSION}" / path).exists()]
        assert missing == [], archive


def test_the_notebook_runs_and_its_stored_outputs_are_true(installed):
    path = ROOT / "examples/churn.ipynb"
    assert path.stat().st_size < 300_000
    cells = [
        cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"
    ]
    stored = [
        "".join(text for output in cell["outputs"] for text in output.get("text", ())) for cell in cells
    ]
    figures = [
        output for cell in cells for output in cell["outputs"] if "image/png" in output.get("data", {})
    ]
    assert len(figures) == 3 and all(cell["execution_count"] for cell in cells)
    # The notebook calls `evergreen`, as in an active environment.
    environment = {
        "PATH": f"{installed}{os.pathsep}{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/"),
    }
    command = [installed / "python", SCRIPTS / "run_notebook.py", path]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == stored, "run the notebook again (docs/python.md says how)"
