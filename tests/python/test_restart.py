"""Commands and withdrawn versions survive a crash when `models.state_file` is set."""

import json
import subprocess
import threading
import time

import pytest

from evergreen_testing.model_repository import bundle, live, order, put, settings, status
from evergreen_testing.processes import until, until_logged
from evergreen_testing.server_process import serving

POLL = "[models]\npoll_seconds = 0.05\nstate_file = 'state.json'\n"


@pytest.fixture
def models(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    for version in (1, 2, 3):
        put(bundle(tmp_path / "new"), models, version)
    return models


def test_orders_outlive_a_restart_until_the_files_are_others(evergreen, tmp_path, models):
    config = settings(tmp_path, POLL)
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        assert live(server) == 3
        order(server, "/v1/models/churn/rollback", reason="sales complained")
        order(server, "/v1/models/churn/labels/stable", version=2)
        order(server, "/v1/models/churn/load", version=1)
        order(server, "/v1/models/churn/shadow", version=1, share=0.5)
        assert live(server) == 2
        server.process.kill()
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        assert live(server) == 2
        found = status(server, 3)
        assert (found["state"], found["reason"]) == ("rolled_back", "sales complained")
        assert status(server, 1)["state"] == "loaded"
        body = server.ops.get("/v1/models/churn").json()
        assert body["labels"] == {"stable": 2}
        assert [(trial["kind"], trial["candidate"], trial["share"]) for trial in body["trials"]] == [
            ("shadow", 1, 0.5)
        ]
        # New content is loaded again; copies with the same modification time are not.
        (models / "churn/3").rename(tmp_path / "old")
        new = bundle(tmp_path / "new")
        (new / "bundle.toml").touch()
        put(new, models, 3)
        until(lambda: live(server) == 3)
        until(lambda: "sales complained" not in (tmp_path / "state.json").read_text())
        order(server, "/v1/models/churn/unload")
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        assert live(server) is None
        order(server, "/v1/models/churn/load")
        assert live(server) == 3


def test_a_version_that_was_out_of_sight_is_still_away(evergreen, tmp_path, models):
    config = settings(tmp_path, POLL)
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        order(server, "/v1/models/churn/rollback", reason="sales complained")
        (models / "churn/3").rename(tmp_path / "3")
        until(lambda: status(server, 3) is None)
        (tmp_path / "3").rename(models / "churn/3")
        until(lambda: status(server, 3))
        assert (status(server, 3)["state"], live(server)) == ("rolled_back", 2)
    # The model appears late, after the server has written its state file.
    (models / "churn").rename(tmp_path / "churn")
    put(bundle(tmp_path / "new"), models, 1, name="other")
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        assert order(server, "/v1/models/other/labels/stable", version=1).status_code == 200
        (tmp_path / "churn").rename(models / "churn")
        until(lambda: server.ops.get("/v1/models/churn").status_code == 200 and live(server) == 2)
        assert status(server, 3)["reason"] == "sales complained"
        order(server, "/v1/models/churn/load", version=3)
        until(lambda: "sales complained" not in (tmp_path / "state.json").read_text())


def test_a_held_version_that_is_gone_is_named(evergreen, tmp_path, models):
    config = settings(tmp_path, POLL)
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        order(server, "/v1/models/churn/rollback", version=1, hold=True)
        order(server, "/v1/models/churn/load", version=2)
        assert live(server) == 1
    (models / "churn/1").rename(tmp_path / "1")
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        assert live(server) == 2
        until_logged(server.log, "held version unavailable")


def test_changed_settings_go_before_kept_labels(evergreen, tmp_path, models):
    with serving(evergreen, tmp_path, models=models, config=settings(tmp_path, POLL)) as server:
        order(server, "/v1/models/churn/labels/stable", version=3)
    policy = "[models.policy.churn]\nversions = 'all'\nlabels = { stable = 1 }\n"
    with serving(evergreen, tmp_path, models=models, config=settings(tmp_path, POLL + policy)) as server:
        assert server.ops.get("/v1/models/churn").json()["labels"] == {"stable": 1}


def test_a_file_that_cannot_be_read_or_written_is_named(evergreen, tmp_path, models):
    config = settings(tmp_path, POLL)
    for text, part in [
        ("{", "EOF"),
        ('{"churn": {"hold": "two"}}', "expected u64"),
        ('{"churn": {"now": {"canary": {"version": 2, "share": 5.0}}}}', "`churn`: "),
    ]:
        (tmp_path / "state.json").write_text(text)
        command = [evergreen, "serve", "--models", models, "--config", config, "--http", "127.0.0.1:0"]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert refused.returncode != 0
        assert "state.json (models.state_file)" in refused.stderr and part in refused.stderr
        assert "delete it to start without" in refused.stderr
    config = settings(tmp_path, POLL.replace("state.json", "nowhere/state.json"))
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        answer = order(server, "/v1/models/churn/rollback")
        assert answer.status_code == 200 and live(server) == 2
        assert "a restart would forget it: No such file or directory" in answer.json()["done"]
        assert until_logged(server.log, "state file not written").count("state file not written") == 1
        (tmp_path / "nowhere").mkdir()
        until(lambda: (tmp_path / "nowhere/state.json").exists())
        assert json.loads((tmp_path / "nowhere/state.json").read_text())["churn"]["away"]["3"]["rolled_back"]


def test_a_rollback_reaches_every_server_and_outlives_them_without_a_state_file(evergreen, tmp_path, models):
    config = settings(tmp_path, "[models]\npoll_seconds = 0.05\n")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    with (
        serving(evergreen, tmp_path / "a", models=models, config=config) as a,
        serving(evergreen, tmp_path / "b", models=models, config=config) as b,
    ):
        done = order(a, "/v1/models/churn/rollback", reason="sales complained").json()["done"]
        assert done.endswith("recorded in the repository for every server")
        until(lambda: live(b) == 2)
        found = status(b, 3)
        assert (found["state"], found["reason"]) == ("rolled_back", "sales complained")
        done = order(b, "/v1/models/churn/rollback", version=1, hold=True).json()["done"]
        until(lambda: live(a) == 1)
        put(bundle(tmp_path / "new"), models, 4)
        until(lambda: (status(a, 4) or {}).get("state") == "loaded")
        assert (live(a), live(b)) == (1, 1)
    # A new pod, or a restart: the decisions are those of the repository.
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        assert live(server) == 1
        order(server, "/v1/models/churn/release")
        assert live(server) == 4
        order(server, "/v1/models/churn/load", version=3)
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        assert live(server) == 4
        order(server, "/v1/models/churn/rollback")
        assert live(server) != 4
        # What is lost comes back: a missing file decides nothing.
        (models / "churn/decisions.json").unlink()
        until((models / "churn/decisions.json").exists)
        assert live(server) != 4 and status(server, 4)["state"] == "rolled_back"


def test_decisions_at_the_same_moment_are_both_kept(evergreen, tmp_path, models):
    config = settings(tmp_path, "[models]\npoll_seconds = 0.05\n")
    put(bundle(tmp_path / "new"), models, 4)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    with (
        serving(evergreen, tmp_path / "a", models=models, config=config) as a,
        serving(evergreen, tmp_path / "b", models=models, config=config) as b,
    ):
        for _ in range(5):
            orders = [
                threading.Thread(target=order, args=(a, "/v1/models/churn/rollback")),
                threading.Thread(
                    target=order, args=(b, "/v1/models/churn/rollback"), kwargs={"version": 1, "hold": True}
                ),
            ]
            for one in orders:
                one.start()
            for one in orders:
                one.join()
            until(lambda: live(a) == live(b) == 1)
            # Both stay what they are over several polls.
            time.sleep(0.3)
            assert live(a) == live(b) == 1
            assert status(a, 4)["state"] == status(b, 4)["state"] == "rolled_back"
            order(a, "/v1/models/churn/release")
            for version in (2, 3, 4):
                order(a, "/v1/models/churn/load", version=version)
            until(lambda: live(a) == live(b) == 4)


def test_a_repository_that_cannot_be_written_is_named(evergreen, tmp_path, models):
    config = settings(tmp_path, "[models]\npoll_seconds = 0.05\n")
    # A folder in the place of the file: it can be neither read nor replaced, also by root.
    (models / "churn/decisions.json").mkdir()
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        done = order(server, "/v1/models/churn/rollback").json()["done"]
        assert "for this server only" in done and "decisions.json" in done
        assert live(server) == 2
        until(lambda: "decisions not exchanged" in server.log.read_text())


def test_decisions_that_make_no_sense_are_named_and_change_nothing(evergreen, tmp_path, models):
    config = settings(tmp_path, "[models]\npoll_seconds = 0.05\n")
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        (models / "churn/decisions.json").write_text('{"hold": "three"}')
        until(lambda: "restore or delete it" in server.log.read_text())
        assert live(server) == 3
