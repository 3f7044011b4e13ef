"""Bundles, versions in a live model repository, and requests in the background while they change."""

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import grpc
import httpx
from google.protobuf.message_factory import GetMessageClass

from evergreen_testing import openapi
from evergreen_testing.grpc_client import Client
from evergreen_testing.paths import MODELS
from evergreen_testing.processes import until
from evergreen_testing.server_process import Server

#: The bundle of the sample model.
SAMPLE = MODELS / "churn/1"


def bundle(to: Path, scale: float | None = None) -> Path:
    """Copies the sample's bundle to `to`, and returns `to`. `scale` is the offset of a Platt calibration:
    with another one, the scores are others."""
    shutil.copytree(SAMPLE, to)
    if scale is not None:
        contract = to / "bundle.toml"
        text = contract.read_text()
        calibration = f'calibration = {{ kind = "platt", a = -1.0, b = {scale} }}\n'
        contract.write_text(text.replace('kind = "probability"\n', f'kind = "probability"\n{calibration}', 1))
    return to


def sign(folder: Path | str, *names: str) -> None:
    """Writes the checksums of changed files into a bundle's contract."""
    contract = Path(folder) / "bundle.toml"
    text = contract.read_text()
    for name in names:
        digest = hashlib.sha256((Path(folder) / name).read_bytes()).hexdigest()
        text = re.sub(rf'"{re.escape(name)}" = "[0-9a-f]+"', f'"{name}" = "{digest}"', text)
    contract.write_text(text)


def put(source: Path | str, models: Path | str, version: int | str, name: str = "churn") -> Path:
    """Moves a bundle into a repository in one step, and returns its new path."""
    target = Path(models) / name / str(version)
    target.parent.mkdir(parents=True, exist_ok=True)
    Path(source).rename(target)
    return target


def status(server: Server, version: int, name: str = "churn") -> dict[str, Any] | None:
    """Returns what the server tells of a version, or None if it does not know it."""
    versions: list[dict[str, Any]] = server.ops.get(f"/v1/models/{name}").json()["versions"]
    return next((found for found in versions if found["version"] == version), None)


def live(server: Server, name: str = "churn") -> int | None:
    """Returns the version that answers, or None."""
    body: dict[str, int] | None = server.ops.get(f"/v1/models/{name}").json()["live"]
    return body["version"] if body else None


def order(server: Server, path: str, method: str = "POST", **body: Any) -> httpx.Response:
    """Sends a command with the fields `body` to the operations port, and returns the answer."""
    return server.ops.request(method, path, content=json.dumps(body) if body else None)


class Load:
    """Requests over REST and gRPC in the background for the length of a block.

    `scores` keeps the scores by id and version, `failures` every failure, and `answers` counts the answers.
    """

    def __init__(self, server: Server, ids: Sequence[str], threads: int = 2) -> None:
        self.server, self.ids = server, ids
        self.failures: list[str] = []
        self.scores: dict[tuple[str, int], set[float]] = {}
        self.answers = 0
        self._over_grpc = grpc_scorer(server.grpc)
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def _run(self, number: int) -> None:
        rest = openapi.Client(base_url=self.server.http.base_url, timeout=30)
        turn = number
        while not self._stop.is_set():
            id = self.ids[turn % len(self.ids)]
            try:
                version, score = rest_score(rest, id) if turn % 2 else self._over_grpc(id)
                with self._lock:
                    self.answers += 1
                    self.scores.setdefault((id, version), set()).add(score)
            except Exception as error:
                self.failures.append(f"{id}: {error!r}")
            turn += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        until(lambda: self.answers > 10 or self.failures)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        """Asserts that no request failed, and that no version gave two scores to one customer."""
        assert not self.failures, self.failures[:5]
        mixed = {key: scores for key, scores in self.scores.items() if len(scores) > 1}
        assert self.answers and not mixed, mixed


def rest_score(client: httpx.Client, id: str) -> tuple[int, float]:
    """Scores an id over REST, and returns the version that answered and the score."""
    answer = client.get(f"/v1/models/churn/scores/{id}")
    answer.raise_for_status()
    body = answer.json()
    return body["model"]["version"], body["score"]


def grpc_scorer(address: str, model: str = "churn") -> Callable[[str], tuple[int, float]]:
    """Returns a function that scores an id over gRPC, like `rest_score`. It makes the classes of the messages
    here: making them is not safe in several threads at once."""
    channel = grpc.insecure_channel(address)
    method = Client(channel).service.methods_by_name["Score"]
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    call = channel.unary_unary(
        "/evergreen.v1.ScoringService/Score",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )

    def score(id: str) -> tuple[int, float]:
        answer = call(request(model=model, entities=[{"text_id": id}]), timeout=30)
        return answer.model.version, answer.results[0].score

    return score


def settings(folder: Path | str, text: str) -> Path:
    """Writes a settings file, and returns its path."""
    path = Path(folder) / "evergreen.toml"
    path.write_text(text)
    return path
