"""Files that could block for ever or never end are refused at once, with a reason, and what was there before stays."""

import json
import os
import re
import subprocess
import time

import pytest

from evergreen_testing.certificates import Authority
from evergreen_testing.certificates import settings as tls_settings
from evergreen_testing.model_repository import bundle, put, settings
from evergreen_testing.paths import CUSTOMERS, MODELS
from evergreen_testing.processes import until, until_logged
from evergreen_testing.server_process import Instance, serving

POLL = "[models]\npoll_seconds = 0.1\n"
SCORE = "/v1/models/churn/scores/C-1042"
ANY_PORTS = [word for port in ("http", "grpc", "ops") for word in (f"--{port}", "127.0.0.1:0")]


def fifo(path):
    """Makes a FIFO that nobody writes."""
    os.mkfifo(path)


def endless(path):
    """Makes a link to a device that never ends."""
    path.symlink_to("/dev/zero")


def sparse(path):
    """Makes a file of 8 GB that takes no room on the disk."""
    path.touch()
    os.truncate(path, 8 << 30)


FAULTS = [
    (fifo, "expected a regular file, found a FIFO"),
    (endless, "expected a regular file, found a device"),
    (sparse, "expected at most"),
]
NAMES = ["fifo", "endless", "sparse"]


def replace(path, fault):
    """Puts a fault in the place of a file."""
    path.unlink(missing_ok=True)
    fault(path)


def versions(instance):
    """Returns what the server tells of each version, by number."""
    body = json.loads(instance.ask("/v1/models/churn")[1])
    return {found["version"]: found for found in body["versions"]}


@pytest.mark.parametrize("fault, words", FAULTS, ids=NAMES)
def test_a_file_of_a_bundle_is_refused_and_loading_goes_on(evergreen, tmp_path, fault, words):
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    with Instance(evergreen, tmp_path, models=models, config=POLL) as instance:
        instance.start()
        bad = bundle(tmp_path / "bad")
        replace(bad / "model.ubj", fault)
        put(bad, models, 2)
        # Files with wrong checksums may still be on their way.
        reason = until(lambda: versions(instance).get(2, {}).get("reason"))
        assert "model.ubj" in reason and words in reason
        put(bundle(tmp_path / "new"), models, 3)
        until(lambda: json.loads(instance.ask("/v1/models/churn")[1])["live"]["version"] == 3)
        assert instance.ask(SCORE, port="http")[0] == 200
        assert instance.resident() < 600
        assert instance.stop()[0] == 0


@pytest.mark.parametrize("fault, words", FAULTS, ids=NAMES)
def test_a_bare_model_is_refused(evergreen, tmp_path, fault, words):
    folder = tmp_path / "models/churn/1"
    folder.mkdir(parents=True)
    fault(folder / "model.json")
    checked = subprocess.run([evergreen, "check", str(folder)], capture_output=True, text=True, timeout=60)
    assert checked.returncode != 0
    # What is no file is no model.
    assert (
        words in checked.stdout + checked.stderr or "expected bundle.toml" in checked.stdout + checked.stderr
    )


@pytest.mark.parametrize("fault, words", FAULTS, ids=NAMES)
def test_a_server_does_not_start_with_a_fault_and_says_which(evergreen, tmp_path, fault, words):
    authority = Authority(tmp_path)
    _, key = authority.issue()
    bad = tmp_path / "bad.pem"
    fault(bad)
    keys = tmp_path / "keys.toml"
    keys.write_text("[auth]\nfile = 'bad.pem'\n")
    state = tmp_path / "state.toml"
    state.write_text("[models]\nstate_file = 'bad.pem'\n")
    for config in (
        tls_settings(tmp_path / ".", bad, key),
        keys,
        state,
        bad,
    ):
        command = [evergreen, "serve", "--config", str(config), "--models", str(MODELS), *ANY_PORTS]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 2, ended
        assert "bad.pem" in ended.stderr and words in ended.stderr, ended.stderr


@pytest.mark.parametrize("fault, words", FAULTS[:2], ids=NAMES[:2])
def test_a_snapshot_must_be_a_regular_file(evergreen, tmp_path, fault, words):
    customers = tmp_path / "customers.csv"
    fault(customers)
    command = [evergreen, "serve", "--models", str(MODELS), "--customers", str(customers), *ANY_PORTS]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and words in ended.stderr, ended


def test_a_table_of_endless_columns_or_records_is_refused_at_once(evergreen, tmp_path):
    wide, long = tmp_path / "wide.csv", tmp_path / "long.csv"
    wide.write_text(",".join(f"c{number}" for number in range(1_000_000)) + "\n")
    with long.open("w") as file:
        file.write("customer_id,plan\nC-1,")
        os.truncate(file.fileno(), 8 << 30)
    for path, words in [(wide, "expected at most 16384 columns"), (long, "missing columns")]:
        start = time.monotonic()
        command = [evergreen, "score", "--model", str(MODELS / "churn/1"), "--input", str(path)]
        ended = subprocess.run(
            [*command, "--output", str(tmp_path / "out.csv")], capture_output=True, text=True, timeout=120
        )
        assert ended.returncode == 2 and words in ended.stderr, ended.stderr
        assert time.monotonic() - start < 60


def test_no_folder_is_made_for_an_output(evergreen, tmp_path):
    output = tmp_path / "nowhere/x.csv"
    command = [evergreen, "score", "--model", str(MODELS / "churn/1"), "--input", str(CUSTOMERS)]
    ended = subprocess.run([*command, "--output", str(output)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and "no such folder" in ended.stderr
    assert not output.parent.exists()


def key_of(evergreen, name):
    """Returns a key and its lines for the key file."""
    command = [evergreen, "key", name, "--role", "score"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    return made.stderr.split()[-1], made.stdout


@pytest.mark.parametrize("fault, words", [*FAULTS, (lambda path: path.touch(), "the file has no key")])
def test_a_key_file_that_cannot_be_read_makes_the_server_unready(evergreen, tmp_path, fault, words):
    key, lines = key_of(evergreen, "front-end")
    other, more = key_of(evergreen, "back-end")
    file = tmp_path / "keys.toml"
    file.write_text(lines + more)
    config = settings(tmp_path, "[server]\npoll_seconds = 0.1\n[auth]\nfile = 'keys.toml'\n")

    with serving(evergreen, tmp_path, config=config) as server:

        def ask(secret):
            return server.http.get(SCORE, headers={"x-api-key": secret}).status_code

        assert (ask(key), ask(other)) == (200, 200)
        replace(file, fault)
        until(lambda: words in server.log.read_text())
        assert (ask(key), ask(other)) == (200, 200), "the previous keys stay valid for a while"
        until(lambda: server.ops.get("/readyz").status_code == 503)
        [reason] = server.ops.get("/readyz").json()["reasons"]
        assert "keys.toml could not be read" in reason
        until(lambda: "background thread in trouble" in server.log.read_text())
        assert server.log.read_text().count("API keys rejected") == 1
        file.unlink()
        file.write_text(lines)
        until(lambda: ask(other) == 401)
        until(lambda: server.ops.get("/readyz").status_code == 200)
        assert ask(key) == 200
        until(lambda: "background thread works again" in server.log.read_text())
        # The last key can be revoked by a file that says so.
        file.write_text("# no keys\n")
        until(lambda: ask(key) == 401)


@pytest.mark.parametrize("fault, words", FAULTS, ids=NAMES)
def test_a_certificate_is_refused_while_the_server_runs(evergreen, tmp_path, fault, words):
    authority = Authority(tmp_path)
    certificate, key = authority.issue()
    with serving(evergreen, tmp_path, config=tls_settings(tmp_path, certificate, key)) as server:
        replace(certificate, fault)
        until_logged(server.log, "TLS certificate rejected", words)
        assert server.ops.get("/readyz").status_code == 200


def test_empty_version_folders_cost_one_line(evergreen, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    for version in range(2, 5000):
        (models / f"churn/{version}").mkdir()
    put(bundle(tmp_path / "new"), models, 5000)
    with Instance(evergreen, tmp_path, models=models, config=POLL) as instance:
        instance.start()
        put(bundle(tmp_path / "new"), models, 5001)
        until(lambda: json.loads(instance.ask("/v1/models/churn")[1])["live"]["version"] == 5001)
        log = until_logged(instance.log, "empty version folders ignored")
        assert re.search(r'empty version folders ignored model="churn" folders=\d+', log)
        assert len(log) < 20_000
        assert instance.stop()[0] == 0
