"""`evergreen publish`, `rollback` and `models`: from a trained bundle to a live version."""

import json
import os
import shutil
import signal
import subprocess
import time

import pandas as pd
import pytest

from evergreen_testing.model_repository import SAMPLE, Load, bundle, live, put, settings, status
from evergreen_testing.object_store import BUCKET, object_store
from evergreen_testing.paths import CUSTOMERS
from evergreen_testing.processes import until
from evergreen_testing.server_process import serving

IDS = pd.read_parquet(CUSTOMERS)["customer_id"].tolist()[:50]


def run(evergreen, *arguments, **options):
    environment = os.environ | options.pop("env", {})
    command = [evergreen, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, **options)


def published(done):
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)["version"]


def whole(folder):
    """Returns true if a version's folder has every file of the bundle."""
    return {file.name for file in folder.iterdir()} == {file.name for file in SAMPLE.iterdir()}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with object_store(tmp_path_factory.mktemp("objects")) as store:
        yield store


def test_publish_takes_the_next_number_and_the_gate_comes_first(evergreen, tmp_path):
    repository = tmp_path / "models"
    assert [published(run(evergreen, "publish", "--json", SAMPLE, repository)) for _ in range(3)] == [1, 2, 3]
    assert published(run(evergreen, "publish", "--json", SAMPLE, repository, "--version", 20)) == 20
    assert published(run(evergreen, "publish", "--json", SAMPLE, repository, "--model", "other")) == 1
    assert whole(repository / "churn/3")
    torn = bundle(tmp_path / "torn")
    (torn / "model.ubj").write_bytes(b"{L")
    done = run(evergreen, "publish", torn, repository)
    assert done.returncode == 1 and "checksums" in done.stdout
    assert sorted(os.listdir(repository / "churn"), key=int) == ["1", "2", "3", "20"]
    done = run(evergreen, "publish", SAMPLE, tmp_path / "nowhere/models")
    assert done.returncode == 2 and f"mkdir -p {tmp_path}/nowhere/models" in done.stderr
    assert not (tmp_path / "nowhere").exists()
    done = run(evergreen, "publish", SAMPLE, repository, "--model", "../evil")
    assert done.returncode == 2 and "not a valid model name" in done.stderr


def test_two_publishers_at_once_get_two_numbers(evergreen, tmp_path):
    command = [evergreen, "publish", "--json", SAMPLE, tmp_path / "models"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    versions = [json.loads(process.communicate(timeout=60)[0])["version"] for process in running]
    assert sorted(versions) == list(range(1, 9))
    assert all(whole(tmp_path / f"models/churn/{version}") for version in versions)


def test_a_publisher_killed_at_any_moment_leaves_whole_versions_only(evergreen, tmp_path):
    """Kills are spread over the time that publishing takes, while a server reads the repository."""
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    start = time.monotonic()
    published(run(evergreen, "publish", "--json", SAMPLE, models))
    took = time.monotonic() - start
    config = settings(tmp_path, "[models]\npoll_seconds = 0.05\n")
    with serving(evergreen, tmp_path, models=models, config=config) as server, Load(server, IDS) as load:
        for step in range(40):
            process = subprocess.Popen([evergreen, "publish", SAMPLE, models], stdout=subprocess.DEVNULL)
            time.sleep(took * (0.2 + step / 40))
            process.send_signal(signal.SIGKILL)
            process.wait()
        versions = [folder for folder in (models / "churn").iterdir() if not folder.name.startswith(".")]
        assert all(whole(folder) for folder in versions)
        newest = published(run(evergreen, "publish", "--json", SAMPLE, models))
        assert newest == max(int(folder.name) for folder in versions) + 1
        until(lambda: live(server) == newest)
        assert "refused" not in server.log.read_text()
    load.check()


def test_a_full_disk_is_told_and_leaves_nothing(evergreen, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", small], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        done = run(evergreen, "publish", SAMPLE, small / "models")
        assert done.returncode == 2 and "No space left on device" in done.stderr
        assert os.listdir(small / "models/churn") == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_disk_that_fills_while_a_copy_arrives_takes_nothing_down(evergreen, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", small], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        shutil.copytree(SAMPLE, small / "churn/1")
        config = settings(tmp_path, "[models]\npoll_seconds = 0.05\n")
        with serving(evergreen, tmp_path, models=small, config=config) as server, Load(server, IDS) as load:
            with pytest.raises(shutil.Error, match="No space left"):
                shutil.copytree(SAMPLE, small / "churn/2")
            until(lambda: (status(server, 2) or {}).get("reason"))
            assert live(server) == 1
            shutil.rmtree(small / "churn/2")
            until(lambda: status(server, 2) is None)
        load.check()
    finally:
        subprocess.run(["umount", small], check=True)


def test_rollback_and_models_tell_a_running_server(evergreen, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    config = settings(tmp_path, "[models]\npoll_seconds = 0.05\n")
    put(bundle(tmp_path / "new"), models, 1)
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        at = ["--server", str(server.ops.base_url).rstrip("/")]
        table = run(evergreen, "models", *at).stdout.splitlines()
        assert table[0].split() == ["model", "state", "version"] and table[1].split() == [
            "churn",
            "live",
            "1",
        ]
        version = published(run(evergreen, "publish", "--json", SAMPLE, models))
        until(lambda: live(server) == version)
        done = run(evergreen, "rollback", "churn", "--reason", "it was Friday", *at)
        assert done.returncode == 0 and "from version 2 to 1" in done.stdout
        told = run(evergreen, "models", "churn", *at).stdout
        assert told.splitlines()[1].split() == ["version", "state", "labels", "since", "reason"]
        assert "rolled_back" in told and "it was Friday" in told
        states = json.loads(run(evergreen, "models", "--json", "churn", *at).stdout)["versions"]
        assert [(found["version"], found["state"]) for found in states] == [(2, "rolled_back"), (1, "live")]
        done = run(evergreen, "rollback", "churn", *at)
        assert done.returncode == 2 and "no version before 1" in done.stderr
        assert "did you mean `churn`" in run(evergreen, "rollback", "chrun", *at).stderr
    done = run(evergreen, "models", "--server", "127.0.0.1:9")
    assert done.returncode == 2 and "check that the server runs" in done.stderr


def test_a_repository_in_object_storage_is_published_to_and_polled(evergreen, tmp_path, store):
    repository = f"s3://{BUCKET}/live"
    config = settings(tmp_path, store.settings + "[models]\npoll_seconds = 0.2\n")
    arguments = ["publish", "--json", SAMPLE, repository, "--config", config]
    assert published(run(evergreen, *arguments, env=store.environment)) == 1
    with serving(evergreen, tmp_path, models=repository, config=config, **store.environment) as server:
        with Load(server, IDS) as load:
            assert published(run(evergreen, *arguments, env=store.environment)) == 2
            until(lambda: live(server) == 2)
            # A partial upload by another tool, with the contract first.
            folder = bundle(tmp_path / "new")
            store.put(folder, "live/churn/3", ["bundle.toml", "golden.jsonl"])
            until(lambda: "model.ubj" in ((status(server, 3) or {}).get("reason") or ""))
            assert live(server) == 2
            store.put(folder, "live/churn/3")
            until(lambda: live(server) == 3)
            store.stop()
            until(lambda: "evergreen_repository_reachable 0" in server.ops.get("/metrics").text)
            assert live(server) == 3 and server.ops.get("/readyz").status_code == 200
            store.start()
            # The store returns empty; the live version stays live.
            until(lambda: "evergreen_repository_reachable 1" in server.ops.get("/metrics").text)
            assert published(run(evergreen, *arguments, "--version", "4", env=store.environment)) == 4
            until(lambda: live(server) == 4)
        load.check()


def test_two_publishers_at_once_in_object_storage(evergreen, tmp_path, store):
    config = settings(tmp_path, store.settings)
    command = [evergreen, "publish", "--json", SAMPLE, f"s3://{BUCKET}/race", "--config", config]
    environment = os.environ | store.environment
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(4)
    ]
    versions = [json.loads(process.communicate(timeout=60)[0])["version"] for process in running]
    assert sorted(versions) == [1, 2, 3, 4]
    for version in versions:
        names = {key.rsplit("/", 1)[1] for key in store.keys(f"race/churn/{version}/")}
        assert names == {file.name for file in SAMPLE.iterdir()} | {".claim"}


def test_a_publisher_to_object_storage_killed_at_any_moment(evergreen, tmp_path, store):
    config = settings(tmp_path, store.settings)
    command = [evergreen, "publish", "--json", SAMPLE, f"s3://{BUCKET}/killed", "--config", config]
    start = time.monotonic()
    published(run(*command, env=store.environment))
    took = time.monotonic() - start
    for step in range(15):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | store.environment)
        time.sleep(took * (0.2 + step / 15))
        process.kill()
        process.wait()
    newest = published(run(*command, env=store.environment))
    with serving(
        evergreen, tmp_path, models=f"s3://{BUCKET}/killed", config=config, **store.environment
    ) as server:
        assert live(server) == newest
