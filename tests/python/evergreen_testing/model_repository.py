"""What the tests of live repositories share: bundles, load on a server, waiting."""

import hashlib
import json
import re
import shutil
import threading
from pathlib import Path

import grpc
import httpx
from google.protobuf.message_factory import GetMessageClass

from evergreen_testing.grpc_client import Client
from evergreen_testing.paths import MODELS
from evergreen_testing.processes import until

SAMPLE = MODELS / "churn/1"


def bundle(to, scale=None):
    """A copy of the sample's bundle; `scale` adds to the platt offset, so that its scores are others."""
    shutil.copytree(SAMPLE, to)
    if scale is not None:
        contract = to / "bundle.toml"
        text = contract.read_text()
        calibration = f'calibration = {{ kind = "platt", a = -1.0, b = {scale} }}\n'
        contract.write_text(text.replace('kind = "probability"\n', f'kind = "probability"\n{calibration}', 1))
    return to


def sign(folder, *names):
    """Writes the checksums of changed files into a bundle's contract."""
    contract = Path(folder) / "bundle.toml"
    text = contract.read_text()
    for name in names:
        digest = hashlib.sha256((Path(folder) / name).read_bytes()).hexdigest()
        text = re.sub(rf'"{re.escape(name)}" = "[0-9a-f]+"', f'"{name}" = "{digest}"', text)
    contract.write_text(text)


def put(source, models, version, name="churn"):
    """Moves a bundle into a repository in one step."""
    target = Path(models) / name / str(version)
    target.parent.mkdir(parents=True, exist_ok=True)
    Path(source).rename(target)
    return target


def status(server, version, name="churn"):
    """Where a version stands, or None."""
    versions = server.ops.get(f"/v1/models/{name}").json()["versions"]
    return next((found for found in versions if found["version"] == version), None)


def live(server, name="churn"):
    body = server.ops.get(f"/v1/models/{name}").json()["live"]
    return body and body["version"]


def order(server, path, method="POST", **body):
    return server.ops.request(method, path, content=json.dumps(body) if body else None)


class Load:
    """Requests over REST and gRPC in the background; every answer is kept by version, and every failure."""

    def __init__(self, server, ids, threads=2):
        self.server, self.ids = server, ids
        self.failures, self.scores, self.answers = [], {}, 0
        self._over_grpc = grpc_scorer(server.grpc)
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def _run(self, number):
        rest = httpx.Client(base_url=self.server.http.base_url, timeout=30)
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

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        until(lambda: self.answers > 10 or self.failures)
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def check(self):
        """No request failed, and no version gave two scores to one customer."""
        assert not self.failures, self.failures[:5]
        mixed = {key: scores for key, scores in self.scores.items() if len(scores) > 1}
        assert self.answers and not mixed, mixed


def rest_score(client, id):
    answer = client.get(f"/v1/models/churn/scores/{id}")
    answer.raise_for_status()
    body = answer.json()
    return body["model"]["version"], body["score"]


def grpc_scorer(address, model="churn"):
    """A function that scores an id over gRPC. The messages' classes are made here, for making them is not safe in
    several threads at once."""
    channel = grpc.insecure_channel(address)
    method = Client(channel).service.methods_by_name["Score"]
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    call = channel.unary_unary(
        "/evergreen.v1.ScoringService/Score",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )

    def score(id):
        answer = call(request(model=model, entities=[{"text_id": id}]), timeout=30)
        return answer.model.version, answer.results[0].score

    return score


def settings(folder, text):
    """A file of settings."""
    path = Path(folder) / "evergreen.toml"
    path.write_text(text)
    return path
