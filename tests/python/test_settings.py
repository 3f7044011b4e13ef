"""SIGHUP reloads the settings that may change while the server runs."""

import json
import signal
import subprocess

from evergreen_testing.model_repository import bundle, live, put, settings
from evergreen_testing.processes import until, until_logged
from evergreen_testing.server_process import Instance, serving


def ask(server, count=1):
    body = {"model": "churn", "entities": [{"id": "C-1042"}] * count}
    return server.http.post("/v1/score", json=body)


def test_what_can_change_changes_and_the_rest_is_named(evergreen, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    put(bundle(tmp_path / "new"), models, 2)
    config = settings(tmp_path, "[models]\npoll_seconds = 0\n")

    def change(text):
        settings(tmp_path, text)
        read = server.log.read_text().count("settings reloaded") + server.log.read_text().count(
            "settings not valid"
        )
        server.process.send_signal(signal.SIGHUP)
        until(
            lambda: (
                server.log.read_text().count("settings reloaded")
                + server.log.read_text().count("settings not valid")
                > read
            )
        )

    with serving(evergreen, tmp_path, models=models, config=config) as server:
        before = ask(server).json()["results"][0]
        assert ask(server, 3).status_code == 200 and before["band"] == "high"
        change(
            "[limits]\nbatch = 2\nbody_bytes = 9999\n[log]\nlevel = 'debug'\n[server]\ndrain_seconds = 3\n"
            "[models]\npoll_seconds = 0.1\n[models.policy.churn]\ndefault = 1\n"
            "bands = [{ name = 'calm', from = 0.0 }, { name = 'alarm', from = 0.64 }]\n"
        )
        assert ask(server, 3).status_code == 413
        after = ask(server).json()["results"][0]
        assert after["score"] == before["score"] and after["band"] == "alarm"
        until(lambda: live(server) == 1)
        log = until_logged(server.log, "needs_restart", "server.drain_seconds")
        assert "limits.body_bytes" in log.split("needs_restart")[1] and "server.drain_seconds" in log
        assert "DEBUG" not in log or log.index("DEBUG") > log.index("settings")
        change("[limits]\nbach = 5\n")
        until_logged(server.log, "did you mean `batch`?")
        assert ask(server, 3).status_code == 413
        change("[models]\npoll_seconds = 0\n")
        assert ask(server, 3).status_code == 200 and ask(server).json()["results"][0]["band"] == "high"
        until(lambda: live(server) == 2)


def test_a_kernel_can_be_forced_by_its_name_or_alias(evergreen, tmp_path, server):
    score = ask(server).json()["results"][0]["score"]
    names = {"scalar": "scalar", "direct": "direct", "bit-sliced": "bit-sliced", "sliced": "bit-sliced"}
    for kernel, name in names.items():
        config = settings(tmp_path, f"[models]\nkernel = '{kernel}'\n")
        with serving(evergreen, tmp_path, config=config) as forced:
            assert forced.ops.get("/v1/models/churn").json()["live"]["kernel"] == name
            assert ask(forced).json()["results"][0]["score"] == score
    config = settings(tmp_path, "[models]\nkernel = 'fastest'\n")
    refused = subprocess.run(
        [evergreen, "serve", "--config", config], capture_output=True, text=True, timeout=60
    )
    assert refused.returncode != 0 and 'unknown kernel "fastest"' in refused.stderr


def test_a_log_for_machines_has_nothing_else(evergreen, tmp_path):
    config = tmp_path / "e.toml"
    config.write_text("[log]\nformat = 'json'\n")
    instance = Instance(evergreen, tmp_path, config=config.read_text())
    with instance, (tmp_path / "out").open("w") as out:
        instance.start(stdout=out)
        assert instance.stop()[0] == 0
    assert (tmp_path / "out").read_text() == ""
    events = [json.loads(line) for line in instance.log.read_text().splitlines()]
    [started] = [event for event in events if event["message"] == "server started"]
    assert started["http"] == f"127.0.0.1:{instance.ports['http']}" and (
        started["models"],
        started["level"],
    ) == (1, "INFO")
    assert started["customers"] > 100
    command = [evergreen, "serve", "--config", str(config), "--models", str(tmp_path / "nowhere")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2 and ended.stdout == ""
    last = [json.loads(line) for line in ended.stderr.splitlines()][-1]
    assert (last["message"], last["level"]) == ("server not started", "ERROR") and "nowhere" in last["error"]
