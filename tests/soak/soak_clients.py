"""The good clients of `hostile.py`: one process for each protocol, every answer compared with the expected scores.

A client's calls return (model, version, id, score) for each score. `expected` has the scores by model, parity of the
version and id. A refused call (429, RESOURCE_EXHAUSTED) and an unavailable store are counted, not failures.
"""

import json
import random
import signal
import ssl
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

#: Connections are opened again after so many calls, so that new certificates are met.
RENEW = 100


class Site(NamedTuple):
    """Where the server is and how to get in: HOST:PORT of both protocols, the CA, the file with the present key."""

    rest: str
    grpc: str
    ca: Path
    key: Path

    def bearer(self) -> dict[str, str]:
        """Returns the header with the present key."""
        return {"authorization": f"Bearer {self.key.read_text()}"}


class Refused(Exception):
    """The server is overloaded."""


class Unavailable(Exception):
    """The store does not answer."""


def status_of(answer: Any) -> Any:
    """Returns the JSON of a response, or raises what its status means."""
    if answer.status_code == 429:
        raise Refused
    if answer.status_code == 503 and "unavailable" in answer.text:
        raise Unavailable
    answer.raise_for_status()
    return answer.json()


def rows_of(body: dict[str, Any]) -> list[tuple[str, int, str, float]]:
    """Returns the scores of an answer of /v1/score."""
    name, version = body["model"]["name"], body["model"]["version"]
    return [row_of(name, version, result) for result in body["results"]]


def row_of(name: str, version: int, result: dict[str, Any]) -> tuple[str, int, str, float]:
    if (result.get("error") or {}).get("kind") == "unavailable":
        raise Unavailable
    if result["status"] != "ok":
        raise ValueError(f"status {result['status']}: {result.get('error') or result.get('features')}")
    return name, version, result["id"], result["score"]


class Rest:
    """One customer, a hundred, or a bulk request over REST."""

    def __init__(self, site: Site, size: int) -> None:
        import httpx

        self.site, self.size = site, size
        context = ssl.create_default_context(cafile=str(site.ca))
        self.client = httpx.Client(base_url=f"https://{site.rest}", timeout=30, verify=context)

    def __call__(self, ids: list[str], model: str) -> list[tuple[str, int, str, float]]:
        head = self.site.bearer()
        if self.size == 1:
            body = status_of(self.client.get(f"/v1/models/{model}/scores/{ids[0]}", headers=head))
            return [row_of(model, body["model"]["version"], body)]
        if self.size <= 100:
            request = {"model": model, "entities": [{"id": id} for id in ids]}
            return rows_of(status_of(self.client.post("/v1/score", json=request, headers=head)))
        lines = "".join(json.dumps({"id": id}) + "\n" for id in ids)
        head |= {"content-type": "application/x-ndjson"}
        answer = self.client.post(f"/v1/models/{model}/scores", content=lines, headers=head)
        if answer.status_code != 200:
            status_of(answer)
        found = [json.loads(line) for line in answer.text.splitlines()]
        if (found[-1].get("error") or {}).get("kind") == "overloaded":
            raise Refused
        if len(found) != len(ids):
            raise ValueError(f"{len(found)} lines for {len(ids)}: {found[-1]}")
        return [row_of(model, line["version"], line) for line in found]

    def close(self) -> None:
        self.client.close()


class V2Rest(Rest):
    """Ids over the Open Inference Protocol."""

    def __call__(self, ids: list[str], model: str) -> list[tuple[str, int, str, float]]:
        tensor = {"name": "customer_id", "shape": [len(ids)], "datatype": "BYTES", "data": ids}
        answer = self.client.post(
            f"/v2/models/{model}/infer", json={"inputs": [tensor]}, headers=self.site.bearer()
        )
        body = status_of(answer)
        columns = {output["name"]: output["data"] for output in body["outputs"]}
        return checked(model, int(body["model_version"]), ids, columns["score"], columns["status"])


def checked(
    model: str, version: int, ids: list[str], scores: list[float], states: list[str]
) -> list[tuple[str, int, str, float]]:
    if "error" in states and model == "online":
        raise Unavailable
    if set(states) != {"ok"}:
        raise ValueError(f"states {Counter(states)}")
    return [(model, version, *pair) for pair in zip(ids, scores, strict=True)]


class Grpc:
    """`Score`, or `ScoreStream` with batches of 50."""

    def __init__(self, site: Site, size: int) -> None:
        import grpc

        from evergreen_testing.grpc_client import SERVICE, Client

        self.site, self.size = site, size
        credentials = grpc.ssl_channel_credentials(site.ca.read_bytes())
        # Each renewal gets a connection of its own.
        options = [("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.secure_channel(site.grpc, credentials, options)
        request, response = Client(self.channel).messages("ScoreStream" if size > 100 else "Score")
        kinds = {
            "request_serializer": request.SerializeToString,
            "response_deserializer": response.FromString,
        }
        self.request = request
        if size > 100:
            self.method = self.channel.stream_stream(f"/{SERVICE}/ScoreStream", **kinds)
        else:
            self.method = self.channel.unary_unary(f"/{SERVICE}/Score", **kinds)

    def __call__(self, ids: list[str], model: str) -> list[tuple[str, int, str, float]]:
        import grpc

        options = {"metadata": list(self.site.bearer().items()), "timeout": 30}
        try:
            if self.size <= 100:
                return self.rows(self.method(self.request(**self.fields(ids, model)), **options), model)
            batches = [ids[start : start + 50] for start in range(0, len(ids), 50)]
            requests = (self.request(batch_id="b", request=self.fields(batch, model)) for batch in batches)
            answers = list(self.method(requests, **options))
        except grpc.RpcError as error:
            raise self.meaning(error.code().value[0], error.details() or "") from None
        if len(answers) != len(batches):
            raise ValueError(f"{len(answers)} answers for {len(batches)} batches")
        found = []
        for answer in answers:
            if answer.WhichOneof("outcome") == "error":
                raise self.meaning(answer.error.code, answer.error.message)
            found += self.rows(answer.response, model)
        return found

    def fields(self, ids: list[str], model: str) -> dict[str, Any]:
        return {"model": model, "entities": [{"text_id": id} for id in ids]}

    def rows(self, answer: Any, model: str) -> list[tuple[str, int, str, float]]:
        found = []
        for result in answer.results:
            if result.error.kind == "unavailable":
                raise Unavailable
            if result.status != 1:
                raise ValueError(f"status {result.status}: {result.error or result.features}")
            found.append((model, answer.model.version, result.text_id, result.score))
        return found

    def meaning(self, code: int, text: str) -> Exception:
        if code == 8:
            return Refused()
        return Unavailable() if code == 14 and "source" in text else ValueError(f"gRPC {code}: {text}")

    def close(self) -> None:
        self.channel.close()


class V2Grpc:
    """Ids over the Open Inference Protocol with the official client."""

    def __init__(self, site: Site, size: int) -> None:
        import tritonclient.grpc as over_grpc

        self.site, self.over_grpc = site, over_grpc
        self.client = over_grpc.InferenceServerClient(
            site.grpc, ssl=True, root_certificates=str(site.ca),
            channel_args=[("grpc.use_local_subchannel_pool", 1)],
        )  # fmt: skip

    def __call__(self, ids: list[str], model: str) -> list[tuple[str, int, str, float]]:
        import numpy as np
        from tritonclient.utils import InferenceServerException

        tensor = self.over_grpc.InferInput("customer_id", [len(ids)], "BYTES")
        tensor.set_data_from_numpy(np.array([id.encode() for id in ids], dtype=object))
        try:
            answer = self.client.infer(model, [tensor], headers=self.site.bearer(), client_timeout=30)
        except InferenceServerException as error:
            if "RESOURCE_EXHAUSTED" in str(error.status()):
                raise Refused from None
            raise
        states = [state.decode() for state in answer.as_numpy("status")]
        version = int(answer.get_response().model_version)
        return checked(model, version, ids, answer.as_numpy("score").tolist(), states)

    def close(self) -> None:
        self.client.close()


#: Kind, class, entities per call, calls per second.
KINDS: dict[str, tuple[Any, int, float]] = {
    "rest": (Rest, 1, 40),
    "rest_batch": (Rest, 100, 8),
    "rest_bulk": (Rest, 400, 2),
    "v2_rest": (V2Rest, 20, 15),
    "v2_grpc": (V2Grpc, 20, 15),
    "grpc": (Grpc, 1, 40),
    "grpc_stream": (Grpc, 400, 2),
}


def work(kind: str, site: Site, expected: Any, models: list[str], stop: Any, results: Any) -> None:
    """Calls at a steady pace until `stop` is set, then puts what came of it. A slow answer delays the next call."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    make, size, rate = KINDS[kind]
    chance = random.Random(kind)
    seen, failed, wrong, times = Counter(), Counter(), [], []
    client, ids = None, sorted(expected["churn"][0])
    while not stop.is_set():
        start = time.perf_counter()
        model = chance.choice(models)
        asked = [chance.choice(ids) for _ in range(size)]
        seen["asked"] += 1
        key = site.key.read_text()
        try:
            client = client or make(site, size)
            for name, version, id, score in client(asked, model):
                seen["scores"] += 1
                if score != expected[name][version % 2][id]:
                    wrong.append((name, version, id, score))
            seen["good"] += 1
            times.append(time.perf_counter() - start)
        except Refused:
            seen["refused"] += 1
            time.sleep(0.2)
        except Unavailable:
            seen["unavailable"] += 1
            # Only the model whose features are in the store may say so.
            failed["unavailable without a store"] += model != "online"
        except Exception as error:
            # A client that was slow may have begun with a key that has been removed since; a good one asks again.
            if key != site.key.read_text() and ("401" in str(error) or "API key" in str(error)):
                seen["stale key"] += 1
                continue
            failed[f"{type(error).__name__}: {error}"[:300]] += 1
            if client:
                client.close()
            client = None
        if client and seen["asked"] % RENEW == 0:
            client.close()
            client = None
        time.sleep(max(0, start + 1 / rate - time.perf_counter()))
    times.sort()
    found = dict(seen) | {
        "failed": sum(failed.values()),
        "why": (+failed).most_common(4),
        "wrong": len(wrong),
    }
    found |= {"first_wrong": wrong[:3]}
    if times:
        found |= {f"p{p}_ms": round(times[int(len(times) * p / 100)] * 1e3, 1) for p in (50, 99)}
    results.put((kind, found))
