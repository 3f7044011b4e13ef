"""Models are loaded, replaced and unloaded under load: no invalid version goes live, and no request fails."""

import json
import os
import re
import shutil
import time

import grpc
import pandas as pd
import pytest

from evergreen_testing.grpc_client import Client
from evergreen_testing.model_repository import SAMPLE, Load, bundle, live, order, put, settings, sign, status
from evergreen_testing.paths import CUSTOMERS
from evergreen_testing.processes import until
from evergreen_testing.server_process import serving

IDS = pd.read_parquet(CUSTOMERS)["customer_id"].tolist()[:100]
POLL = "[models]\npoll_seconds = 0.1\n"


def contract(folder, old, new, count=1):
    path = folder / "bundle.toml"
    text = path.read_text()
    assert old in text, old
    path.write_text(text.replace(old, new, count))


def cut(folder, name, share=0.5):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * share)])


def flip(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)


def rewrite(folder, name, change):
    """Changes a file and its checksum, so that a step after the checksums must find the error."""
    (folder / name).write_text(change((folder / name).read_text()))
    sign(folder, name)


def drop(folder, name):
    (folder / name).unlink()


def features(text):
    return text.split("[[feature]]")[1:-1]


def without_first_feature(folder):
    text = (folder / "bundle.toml").read_text()
    contract(folder, "[[feature]]" + features(text)[0], "")


def swap_features(folder):
    text = (folder / "bundle.toml").read_text()
    first, second = features(text)[:2]
    both = "[[feature]]" + first + "[[feature]]" + second
    contract(folder, both, "[[feature]]" + second + "[[feature]]" + first)


def other_leaf(text):
    rows = [json.loads(line) for line in text.splitlines()]
    rows[7]["margin"][0] += 1e-3
    return "\n".join(map(json.dumps, rows))


def missing_value(text):
    rows = [json.loads(line) for line in text.splitlines()]
    del rows[0]["features"]["nps"]
    return "\n".join(map(json.dumps, rows))


def reference(change):
    def changed(text):
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    return lambda folder: rewrite(folder, "reference.json", changed)


def bare(folder):
    for file in folder.iterdir():
        if file.name != "model.ubj":
            file.unlink()


def two_bare(folder):
    bare(folder)
    (folder / "model.json").write_text("{}")


def directory(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()


def dangling(folder, name):
    (folder / name).unlink()
    (folder / name).symlink_to("nowhere")


def raw(folder, name, data):
    (folder / name).write_bytes(data)
    sign(folder, name)


NPS = 'name = "nps"\ntype = "int"'

# Defects of a bundle: how to make each, the gate's step that reports it, and a part of the reason.
WRONG = {
    "an empty folder": (
        lambda b: [f.unlink() for f in b.iterdir()],
        "settle",
        "expected bundle.toml or one of",
    ),
    "the contract alone": (
        lambda b: [f.unlink() for f in b.iterdir() if f.suffix != ".toml"],
        "checksums",
        "No such file",
    ),
    "no contract, though the live version has one": (bare, "contract", "the live version 1 has one"),
    "two models and no contract": (two_bare, "settle", "several model files"),
    "an empty contract": (lambda b: (b / "bundle.toml").write_text(""), "settle", "missing field"),
    "a contract cut short": (lambda b: cut(b, "bundle.toml"), "settle", "bundle.toml"),
    "a contract that is no text": (
        lambda b: (b / "bundle.toml").write_bytes(b"\xff\xfe\0"),
        "settle",
        "UTF-8",
    ),
    "a contract with a misspelt key": (
        lambda b: contract(b, "entity =", "entiti ="),
        "settle",
        "did you mean `entity`",
    ),
    "a contract of a later layout": (
        lambda b: contract(b, "format = 1", "format = 2"),
        "settle",
        "format: expected 1",
    ),
    "a contract that is a folder": (
        lambda b: directory(b, "bundle.toml"),
        "contract",
        "the live version 1 has one",
    ),
    "a contract that leads out of its folder": (
        lambda b: contract(b, "[files]", '[files]\n"../1/model.ubj" = "00"'),
        "settle",
        "file name without a folder",
    ),
    "bands that do not ascend": (
        lambda b: contract(b, "from = 0.3", "from = 0.1"),
        "settle",
        "to start above",
    ),
    "a feature listed twice": (
        lambda b: contract(b, "[golden]", '[[feature]]\nname = "nps"\ntype = "int"\n[golden]'),
        "settle",
        "duplicate feature",
    ),
    "a model cut short": (lambda b: cut(b, "model.ubj"), "checksums", "not completely copied"),
    "an empty model": (lambda b: (b / "model.ubj").write_bytes(b""), "checksums", "not completely copied"),
    "a model with one bit flipped": (lambda b: flip(b, "model.ubj"), "checksums", "was changed"),
    "no model": (lambda b: drop(b, "model.ubj"), "checksums", "model.ubj: No such file"),
    "a model that is a folder": (lambda b: directory(b, "model.ubj"), "checksums", "model.ubj"),
    "a model that links to nowhere": (lambda b: dangling(b, "model.ubj"), "checksums", "No such file"),
    "no golden rows": (lambda b: drop(b, "golden.jsonl"), "checksums", "golden.jsonl: No such file"),
    "golden rows cut short": (lambda b: cut(b, "golden.jsonl"), "checksums", "not completely copied"),
    "no distributions": (lambda b: drop(b, "reference.json"), "checksums", "reference.json: No such file"),
    "a checksum that is none": (
        lambda b: contract(b, '"golden.jsonl" = "', '"golden.jsonl" = "zz'),
        "checksums",
        "zz",
    ),
    "a signed model cut short": (
        lambda b: raw(b, "model.ubj", (b / "model.ubj").read_bytes()[:9999]),
        "parse",
        "byte",
    ),
    "a signed model that is noise": (
        lambda b: raw(b, "model.ubj", os.urandom(4096)),
        "parse",
        "expected XGBoost JSON",
    ),
    "a signed model that is empty": (lambda b: raw(b, "model.ubj", b""), "parse", "the file is empty"),
    "a model of another library": (
        lambda b: contract(b, '"xgboost"', '"lightgbm"'),
        "parse",
        "expected a model of LightGBM",
    ),
    "one feature too few": (without_first_feature, "contract", "lists"),
    "features in another order": (swap_features, "contract", "at this position"),
    "a category too many": (
        lambda b: contract(b, '"starter"', '"starter", "sleeper"'),
        "contract",
        "feature `plan`",
    ),
    "a category under another name": (
        lambda b: contract(b, '"starter"', '"beginner"'),
        "contract",
        "trained on",
    ),
    "golden rows of another training": (lambda b: rewrite(b, "golden.jsonl", other_leaf), "golden", "line 8"),
    "golden rows with a value missing": (
        lambda b: rewrite(b, "golden.jsonl", missing_value),
        "golden",
        "no value of `nps`",
    ),
    "golden rows that are none": (
        lambda b: rewrite(b, "golden.jsonl", lambda _: "\n"),
        "golden",
        "expected a golden row",
    ),
    "golden rows that are no JSON": (
        lambda b: rewrite(b, "golden.jsonl", lambda _: "nothing"),
        "golden",
        "line 1",
    ),
    "distributions that do not add up": (
        reference(lambda r: r.update(rows=1)),
        "reference",
        "expected 1 rows",
    ),
    "a feature without a distribution": (reference(lambda r: r["features"].pop("nps")), "reference", "`nps`"),
    "distributions of an unknown feature": (
        reference(lambda r: r["features"].update(x=r["features"]["nps"])),
        "reference",
        "`x`",
    ),
    "a feature that the customers' file lacks": (
        lambda b: contract(b, NPS, NPS + '\nsource = "customers:nowhere"'),
        "features",
        "`nowhere`",
    ),
    "a feature of another type than the customers' file": (
        lambda b: contract(b, NPS, NPS + '\nsource = "customers:plan"'),
        "features",
        "plan",
    ),
    "customers by another key": (
        lambda b: contract(b, '"customer_id"', '"account_id"'),
        "features",
        "account_id",
    ),
    "a budget that cannot be kept": (
        lambda b: contract(b, "[golden]", "[budget]\nrow_p99_us = 0.000001\n[golden]"),
        "budget",
        "the budget is",
    ),
}


@pytest.fixture(scope="module")
def repository(evergreen, tmp_path_factory):
    """A server under load whose repository contains version 1."""
    folder = tmp_path_factory.mktemp("wrong")
    models = folder / "models"
    models.mkdir()
    put(bundle(folder / "new"), models, 1)
    config = settings(folder, POLL)
    with serving(evergreen, folder, models=models, config=config) as server:
        with Load(server, IDS) as load:
            yield server, models, load
        load.check()
        assert {version for _, version in load.scores} == {1}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_bundle_is_refused_and_the_old_version_serves_on(repository, tmp_path, name):
    server, models, load = repository
    spoil, step, part = WRONG[name]
    version = 2 + list(WRONG).index(name)
    spoilt = bundle(tmp_path / "new")
    spoil(spoilt)
    target = put(spoilt, models, version)

    def refused():
        found = status(server, version)
        return found and found["state"] in ("refused", "settling") and found

    found = until(refused)
    last = found["steps"][-1]
    assert (last["step"], last["outcome"]) == (step, "failed") and part in last["detail"], last
    assert found["reason"] == last["detail"]
    assert live(server) == 1 and not load.failures
    metric = f'evergreen_gate_steps_total{{model="churn",outcome="failed",step="{step}"}}'
    assert metric in server.ops.get("/metrics").text
    shutil.rmtree(target)
    until(lambda: status(server, version) is None)


def test_at_least_twenty_five_kinds_are_tried():
    assert len(WRONG) >= 25


def test_versions_alternate_under_load(evergreen, tmp_path):
    """The short form of tests/soak/reload.py: every answer has the score of the version that it names."""
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    config = settings(tmp_path, POLL + "[models.watch]\nseconds = 0\n")
    with serving(evergreen, tmp_path, models=models, config=config) as server, Load(server, IDS) as load:
        for version in range(2, 32):
            put(bundle(tmp_path / "new", scale=version % 2), models, version)
            until(lambda: live(server) == version)
            shutil.rmtree(models / f"churn/{version - 1}")
    load.check()
    by_kind = {}
    for (id, version), scores in load.scores.items():
        kind = None if version == 1 else version % 2
        by_kind.setdefault((id, kind), set()).update(scores)
    assert all(len(scores) == 1 for scores in by_kind.values())


def test_a_bundle_written_byte_by_byte_goes_live_when_it_is_whole(evergreen, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    config = settings(tmp_path, POLL)
    with serving(evergreen, tmp_path, models=models, config=config) as server, Load(server, IDS) as load:
        target = models / "churn/2"
        target.mkdir()
        for name in ("bundle.toml", "reference.json", "golden.jsonl", "model.ubj"):
            data = (SAMPLE / name).read_bytes()
            with (target / name).open("wb", buffering=0) as file:
                for at in range(0, len(data), 1 + len(data) // 60):
                    file.write(data[at : at + 1 + len(data) // 60])
                    time.sleep(0.005)
            if name != "model.ubj":
                assert live(server) == 1
                assert until(lambda: status(server, 2))["state"] in ("settling", "available")
        until(lambda: live(server) == 2)
        assert "version refused" not in server.log.read_text()
    load.check()


def test_a_version_deleted_while_it_loads_harms_nothing(evergreen, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    config = settings(tmp_path, "[models]\npoll_seconds = 0.02\n")
    with serving(evergreen, tmp_path, models=models, config=config) as server, Load(server, IDS) as load:
        for version in range(2, 22):
            target = put(bundle(tmp_path / "new"), models, version)
            time.sleep(0.004 * version)
            shutil.rmtree(target)
        until(lambda: len(server.ops.get("/v1/models/churn").json()["versions"]) <= 2)
        assert live(server) is not None
    load.check()


def test_models_whose_files_are_gone_serve_on_and_an_older_one_takes_over(evergreen, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    put(bundle(tmp_path / "new"), models, 2)
    config = settings(tmp_path, POLL)
    with serving(evergreen, tmp_path, models=models, config=config) as server, Load(server, IDS) as load:
        assert live(server) == 2
        shutil.rmtree(models / "churn/2")
        until(lambda: live(server) == 1)
        shutil.rmtree(models / "churn")
        until(lambda: "files are gone" in status(server, 1).get("reason", ""))
        time.sleep(0.5)
        assert live(server) == 1
        models.rename(tmp_path / "away")
        until(lambda: "evergreen_repository_reachable 0" in server.ops.get("/metrics").text)
        assert live(server) == 1
        (tmp_path / "away").rename(models)
        put(bundle(tmp_path / "new"), models, 3)
        until(lambda: live(server) == 3)
    load.check()


def test_kubernetes_swaps_of_a_link_are_seen(evergreen, tmp_path):
    """Swaps a symbolic link, as ConfigMap updates and releases on a volume do; the paths stay the same."""
    releases, models = tmp_path / "releases", tmp_path / "models"
    for release, scale in (("a", None), ("b", 1)):
        (releases / release).mkdir(parents=True)
        bundle(releases / release / "1", scale)
    (models / "churn").mkdir(parents=True)
    (models / "..data").symlink_to(releases / "a")
    (models / "churn/1").symlink_to("../..data/1")
    config = settings(tmp_path, POLL)
    with serving(evergreen, tmp_path, models=models, config=config) as server, Load(server, IDS) as load:
        before = server.http.get("/v1/models/churn/scores/C-1042").json()["score"]
        (models / "..tmp").symlink_to(releases / "b")
        (models / "..tmp").rename(models / "..data")
        until(lambda: server.http.get("/v1/models/churn/scores/C-1042").json()["score"] != before)
    assert not load.failures


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its rights")
def test_a_version_that_may_not_be_read_is_refused_and_tried_again_when_it_may(evergreen, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    config = settings(tmp_path, POLL)
    for path in [tmp_path, *tmp_path.parents[:2]]:
        path.chmod(0o755)
    with serving(evergreen, tmp_path, models=models, config=config, user=65534) as server:
        with Load(server, IDS) as load:
            for number, path in ((2, "."), (3, "model.ubj")):
                new = bundle(tmp_path / "new")
                (new / path).chmod(0)
                put(new, models, number)
                found = until(lambda: (status(server, number) or {}).get("reason"))
                assert "Permission denied" in found and live(server) == number - 1
                target = models / "churn" / str(number)
                (target / path).chmod(0o755)
                os.utime(target / "model.ubj")
                until(lambda: live(server) == number)
        load.check()


def test_labels_and_versions_may_be_named_and_follow_the_policy(evergreen, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    for version in (1, 2, 3):
        put(bundle(tmp_path / "new", scale=version), models, version)
    config = settings(
        tmp_path,
        POLL
        + '[models.policy.churn]\nversions = { latest = 2 }\ndefault = "stable"\nlabels = { stable = 2 }\n',
    )
    with serving(evergreen, tmp_path, models=models, config=config) as server:

        def version(**which):
            body = {"model": "churn", "entities": [{"id": "C-1042"}]} | which
            answer = server.http.post("/v1/score", json=body)
            return answer.json()["model"]["version"] if answer.status_code == 200 else answer.json()["detail"]

        assert (version(), version(version=3), version(label="stable")) == (2, 3, 2)
        assert "no live version 1; live is 3, 2" in version(version=1)
        assert "expected one of stable" in version(label="canary")
        assert "keep one of them" in version(version=3, label="stable")
        assert "is not loaded" in order(server, "/v1/models/churn/labels/canary", version=1).json()["detail"]
        assert order(server, "/v1/models/churn/labels/canary", version=3).status_code == 200
        assert version(label="canary") == 3
        assert server.http.get("/v1/models/churn/scores/C-1042?label=canary").json()["model"]["version"] == 3
        assert server.http.get("/v2/models/churn/versions/canary/ready").status_code == 200
        lines = server.http.post(
            "/v1/models/churn/scores?label=canary", content='{"id": "C-1042"}\n{"id": "C-8"}'
        )
        assert [json.loads(line)["version"] for line in lines.text.splitlines()] == [3, 3]
        with grpc.insecure_channel(server.grpc) as channel:
            client, ask = Client(channel), {"model": "churn", "entities": [{"text_id": "C-1042"}]}
            assert client("Score", **ask, label="canary").model.version == 3
            [streamed] = client.stream([{"batch_id": "a", "request": ask | {"label": "canary"}}])
            assert streamed.response.model.version == 3
            with pytest.raises(grpc.RpcError, match="keep one of them"):
                client("Score", **ask, label="canary", version=3)
        order(server, "/v1/models/churn/labels/stable", version=3)
        assert version() == 3
        assert order(server, "/v1/models/churn/labels/2", version=3).status_code == 400
        assert order(server, "/v1/models/churn/labels/canary", method="DELETE").status_code == 200
        assert "no label `canary`" in version(label="canary")


def test_load_unload_and_refresh_by_request(evergreen, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    config = settings(tmp_path, "[models]\npoll_seconds = 0\n")
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        put(bundle(tmp_path / "new"), models, 2)
        time.sleep(0.3)
        assert live(server) == 1
        assert order(server, "/v1/repository/refresh").status_code == 200 and live(server) == 2
        assert order(server, "/v1/models/churn/unload", version=2).status_code == 200 and live(server) == 1
        assert order(server, "/v1/repository/refresh").status_code == 200 and live(server) == 1
        assert order(server, "/v1/models/churn/unload").status_code == 200 and live(server) is None
        assert server.ops.get("/readyz").status_code == 503
        assert server.http.get("/v1/models/churn/scores/C-1042").status_code == 503
        assert order(server, "/v1/models/churn/load").status_code == 200 and live(server) == 2
        assert order(server, "/v1/models/churn/load", version=9).status_code == 404
        assert order(server, "/v1/models/chrun/load").json()["detail"].count("did you mean `churn`?") == 1


def test_rollback_keeps_its_reason_and_the_next_version_goes_live(evergreen, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    put(bundle(tmp_path / "new"), models, 2)
    config = settings(tmp_path, POLL)
    with serving(evergreen, tmp_path, models=models, config=config) as server, Load(server, IDS) as load:
        answer = order(server, "/v1/models/churn/rollback", reason="sales complained")
        assert "from version 2 to 1" in answer.json()["done"] and live(server) == 1
        found = status(server, 2)
        assert (found["state"], found["reason"]) == ("rolled_back", "sales complained")
        time.sleep(0.5)
        assert live(server) == 1
        put(bundle(tmp_path / "new"), models, 3)
        until(lambda: live(server) == 3)
        assert order(server, "/v1/models/churn/rollback", version=1, hold=True).status_code == 200
        put(bundle(tmp_path / "new"), models, 4)
        until(lambda: (status(server, 4) or {}).get("state") == "loaded")
        assert live(server) == 1
        order(server, "/v1/models/churn/release")
        assert live(server) == 4
        events = [event["what"] for event in server.ops.get("/v1/models/churn").json()["events"]]
        assert any("sales complained" in what for what in events)
    load.check()


def wreck(folder, kind):
    """Returns a bundle that passes the gate but fails on the customers."""
    if kind == "rejects":
        contract(folder, NPS, NPS + "\nrequired = true")
    elif kind == "far":
        rewrite(
            folder,
            "reference.json",
            lambda text: re.sub(
                r'("score": \{"edges": )\[[^]]*\]',
                r"\1" + str([0.9 + step / 1000 for step in range(len(json.loads(text)["score"]["edges"]))]),
                text,
            ),
        )
    return folder


EVERYONE = pd.read_parquet(CUSTOMERS)["customer_id"].tolist()
CAREFUL = POLL + "[models.watch]\nseconds = 60\nsamples = 300\n"


def ask(server, ids, **features):
    """Scores customers and returns the version that answered."""
    entities = [{"id": id, "features": features} if features else {"id": id} for id in ids]
    answer = server.http.post("/v1/score", json={"model": "churn", "entities": entities})
    assert answer.status_code == 200, answer.text
    return answer.json()["model"]["version"]


def events(server):
    return [event["what"] for event in server.ops.get("/v1/models/churn").json()["events"]]


@pytest.mark.parametrize("kind, part", [("rejects", "customers got no score"), ("far", "stability index")])
def test_a_worse_version_never_goes_live(evergreen, tmp_path, kind, part):
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    config = settings(tmp_path, CAREFUL)
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        # With the same scores it would be taken, whatever its reference says.
        put(wreck(bundle(tmp_path / "new", scale=0.1 if kind == "far" else None), kind), models, 2)
        seen = set()

        def refused():
            seen.add(ask(server, EVERYONE[:10]))
            return (status(server, 2) or {}).get("state") == "rolled_back"

        until(refused)
        assert seen == {1} and part in status(server, 2)["reason"]
        text = server.ops.get("/metrics").text
        assert 'evergreen_model_rollbacks_total{by="watch",model="churn"} 1' in text
        # An operator may insist.
        assert order(server, "/v1/models/churn/load", version=2).status_code == 200
        assert live(server) == 2
        put(bundle(tmp_path / "new"), models, 3)
        until(lambda: live(server) == 3)
        assert any("version 3 was compared with 2:" in what for what in events(server))


@pytest.mark.parametrize("asked", ["a call list", "what-ifs"])
def test_requests_never_take_a_version_back(evergreen, tmp_path, asked):
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    config = settings(tmp_path, CAREFUL)
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        body = {"model": "churn", "entities": [{"id": id} for id in EVERYONE]}
        scored = server.http.post("/v1/score", json=body).json()["results"]
        high = [result["id"] for result in scored if result["band"] == "high"]
        assert len(high) > 50
        put(bundle(tmp_path / "new"), models, 2)
        until(lambda: live(server) == 2)
        for _ in range(10):
            if asked == "what-ifs":
                ask(server, EVERYONE[:100], support_calls_30d=9, nps=0)
            else:
                ask(server, high)
        for _ in range(5):
            time.sleep(0.1)
            assert live(server) == 2 and status(server, 2)["state"] == "live"
        assert not any("rolled back" in what for what in events(server))
        assert any("gives the same answers for" in what for what in events(server))


def test_models_without_a_snapshot_are_compared_on_the_ids_of_a_file(evergreen, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    (tmp_path / "ids.txt").write_text("\n".join(EVERYONE[:600]))
    config = settings(tmp_path, CAREFUL + "ids = 'ids.txt'\n")
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        put(bundle(tmp_path / "new"), models, 2)
        until(lambda: live(server) == 2)
        assert any("gives the same answers for 600 customers" in what for what in events(server))
        (tmp_path / "ids.txt").unlink()
        put(bundle(tmp_path / "new"), models, 3)
        until(lambda: live(server) == 3)
        assert any("not compared" in what and "models.watch.ids" in what for what in events(server))


def test_open_inference_clients_load_and_unload_where_the_settings_allow_it(evergreen, tmp_path):
    import tritonclient.grpc
    import tritonclient.http
    import tritonclient.utils

    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    for allowed in (True, False):
        config = settings(tmp_path, f"[models]\npoll_seconds = 0\nrepository_api = {str(allowed).lower()}\n")
        with serving(evergreen, tmp_path, models=models, config=config) as server:
            address = f"{server.http.base_url.host}:{server.http.base_url.port}"
            for client in (
                tritonclient.http.InferenceServerClient(address),
                tritonclient.grpc.InferenceServerClient(server.grpc),
            ):
                if allowed:
                    client.unload_model("churn")
                    assert live(server) is None
                    client.load_model("churn")
                    assert live(server) == 1
                else:
                    with pytest.raises(tritonclient.utils.InferenceServerException, match="disabled"):
                        client.unload_model("churn")
                    assert live(server) == 1
