"""Prediction logs: settings, rows as pyarrow reads them, `evergreen replay`, and what a killed server leaves."""

import json
import os
import subprocess
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

#: The columns that every log has, in their order.
COLUMNS = [
    *("request_id", "trace_id", "entity", "model", "version", "sha256", "at", "status", "score", "value"),
    *("margin", "band", "arm", "origin", "as_of", "feature_times", "sampled", "overridden", "issues"),
    *("reasons", "writer", "sequence"),
]


def log_settings(location: Path | str, **keys: Any) -> str:
    """Returns the section of a log of all entities; `keys` replace or add settings."""
    lines = {"location": str(location), "sample": 1.0} | keys
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
    return f"[prediction_log]\n{text}"


def files(location: Path) -> list[Path]:
    """Returns the complete files of a log."""
    return sorted(path for path in location.rglob("*.parquet") if not path.name.startswith("."))


def unfinished(location: Path) -> list[Path]:
    """Returns what is neither a complete file nor a folder: files in the making and markers."""
    return [path for path in location.rglob("*") if path.is_file() and path.name.startswith(".")]


def table(location: Path) -> pa.Table:
    """Reads all rows of a log of one version, in the order of their sequence numbers."""
    parts = [pq.ParquetFile(path).read() for path in files(location)]
    return pa.concat_tables(parts).sort_by("sequence")


def rows(location: Path) -> list[dict[str, Any]]:
    """Reads all rows of a log as dictionaries."""
    return [row for path in files(location) for row in pq.ParquetFile(path).read().to_pylist()]


def meta(path: Path) -> dict[str, Any]:
    """Returns what a file says of itself."""
    found: dict[str, Any] = json.loads(pq.ParquetFile(path).metadata.metadata[b"evergreen"])
    return found


def inputs(found: pa.Table) -> np.ndarray:
    """Returns the logged inputs as a matrix of the type of the columns."""
    names = [name for name in found.column_names if name.startswith("f:")]
    return np.column_stack([found[name].to_numpy() for name in names])


def run(
    evergreen: str, *arguments: object, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command."""
    command = [evergreen, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | (env or {}))


def replay(
    evergreen: str, log: Path | str, model: Path | str, *arguments: object, code: int = 0, **options: Any
) -> list[dict[str, Any]]:
    """Replays a log, asserts the exit code, and returns the report of each version."""
    done = run(evergreen, "replay", log, "--model", model, "--json", *arguments, **options)
    assert done.returncode == code, done.stderr + done.stdout
    found: list[dict[str, Any]] = json.loads(done.stdout)["versions"]
    return found


class Sender:
    """Sends requests for ids in the background until the server is gone, each with a request id of its own.

    `answered` has the request ids of the answers, one list per thread.
    """

    def __init__(self, address: str, ids: Sequence[str], threads: int = 2) -> None:
        self.address, self.ids = address, ids
        self.answered: list[list[str]] = [[] for _ in range(threads)]
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]
        self._stop = threading.Event()

    def _run(self, number: int) -> None:
        with httpx.Client(base_url=self.address, timeout=10) as client:
            turn = number
            while not self._stop.is_set():
                request_id = uuid.uuid4().hex
                path = f"/v1/models/churn/scores/{self.ids[turn % len(self.ids)]}"
                try:
                    answer = client.get(path, headers={"x-request-id": request_id})
                except httpx.HTTPError:
                    return
                assert answer.status_code == 200, answer.text
                self.answered[number].append(request_id)
                turn += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def all(self) -> list[str]:
        """Returns the request ids of all answers."""
        return [request_id for answered in self.answered for request_id in answered]
