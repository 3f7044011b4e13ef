"""`evergreen doctor`: what it finds on the machine, in the files and in the stores."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from types import SimpleNamespace

import pytest

from evergreen_testing.certificates import Authority
from evergreen_testing.feature_stores import postgres_server, redis_server
from evergreen_testing.paths import MODELS
from evergreen_testing.processes import free_port
from evergreen_testing.server_process import serving


def doctor(evergreen, folder, text="", *arguments, **options):
    """Runs the command with settings whose ports are free. Returns its exit code and its findings by check."""
    config = folder / "doctor.toml"
    ports = "".join(
        f"{name} = '127.0.0.1:{free_port()}'\n"
        for name in ("http", "grpc", "ops")
        if f"\n{name} = " not in text
    )
    models = "" if "[models]" in text else f"[models]\ndir = '{MODELS}'\n"
    server, _, rest = text.partition("\n--\n")
    config.write_text(f"[server]\nconnections = 100\n{ports}{server}\n{models}{rest}")
    command = [evergreen, "doctor", "--json", "--config", str(config), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert report["healthy"] == (done.returncode == 0)
    return done.returncode, {found["check"]: SimpleNamespace(**found) for found in report["checks"]}


def test_a_healthy_machine_passes_and_the_table_has_every_check(evergreen, tmp_path):
    code, found = doctor(evergreen, tmp_path, "", "--gate")
    assert code == 0
    assert found["model churn"].detail == "1 version, newest 1 passes the gate"
    assert "26 columns" in found["snapshot"].detail and found["clock"].state == "ok"
    assert found["API keys"].state == "warning" and "may do everything" in found["API keys"].detail
    table = subprocess.run(
        [evergreen, "doctor", "--config", tmp_path / "doctor.toml"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "\x1b" not in table
    for check in found:
        assert f"\n{check}" in f"\n{table}"
    wrong = subprocess.run([evergreen, "doctor", "--config", "/no/such/file"], capture_output=True, text=True)
    assert wrong.returncode == 2


def test_a_port_in_use_and_few_open_files_are_named(evergreen, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))  # noqa: E731
        code, found = doctor(evergreen, tmp_path, f"\nhttp = '127.0.0.1:{port}'\n", preexec_fn=few)
    assert code == 1 and found["port http"].state == "failed" and found["port grpc"].state == "ok"
    assert f"127.0.0.1:{port}" in found["port http"].detail and "server.http" in found["port http"].detail
    assert found["open files"].state == "warning" and "limit 64" in found["open files"].detail
    assert "ulimit -Hn 376" in found["open files"].detail


def test_certificates_and_keys_are_read_as_the_server_reads_them(evergreen, tmp_path):
    authority = Authority(tmp_path)

    def certificate(certificate, key):
        tls = f"[tls]\ncertificate = '{certificate}'\nkey = '{key}'\n"
        return doctor(evergreen, tmp_path, f"\n--\n{tls}")[1]["certificate"]

    good = certificate(*authority.issue(days=90))
    assert good.state == "ok" and "localhost, 127.0.0.1" in good.detail and "expires in 8" in good.detail
    soon = certificate(*authority.issue("soon", days=3))
    assert soon.state == "warning" and "renew it" in soon.detail
    expired = certificate(*authority.issue("expired", days=-1))
    assert expired.state == "failed" and "expired on" in expired.detail
    mixed = certificate(authority.issue("one", days=90)[0], authority.issue("two", days=90)[1])
    assert mixed.state == "failed" and "does not match" in mixed.detail
    keys = tmp_path / "keys.toml"
    for text, state, part in (
        (None, "failed", "No such file"),
        ("", "failed", "no key"),
        ("[a]\nsha256 = '12'\nroles = ['score']\n", "failed", "[a] sha256"),
        (f"[a]\nsha256 = '{'1' * 64}'\nroles = ['score']\n", "ok", "1 key"),
    ):
        if text is not None:
            keys.write_text(text)
        found = doctor(evergreen, tmp_path, "\n--\n[auth]\nfile = 'keys.toml'\n")[1]["API keys"]
        assert found.state == state and part in found.detail


def test_stores_are_asked_who_they_are_and_never_waited_for(evergreen, tmp_path):
    with redis_server(tmp_path / "redis") as redis, postgres_server(tmp_path) as postgres:
        sources = (
            f"\n--\n[source.online.redis]\nserver = {{ urls = ['{redis.url}'] }}\nkey = 'customer:{{id}}'\n"
            f"[source.batch.postgres]\nconnect = '{postgres.connect}'\ntable = 'customers'\n"
        )
        code, found = doctor(evergreen, tmp_path, sources)
        assert code == 0, found
        online, batch = found["store online"], found["store batch"]
        assert "master" in online.detail and "ms per round trip" in online.detail and "clock" in online.detail
        assert "PostgreSQL" in batch.detail and "primary" in batch.detail and "clock" in batch.detail
        redis.signal(signal.SIGSTOP)
        postgres.kill()
        code, found = doctor(evergreen, tmp_path, sources)
        redis.signal(signal.SIGCONT)
        assert code == 1
        assert found["store online"].state == found["store batch"].state == "failed"
        assert "[source.batch]" in found["store batch"].detail


def outcomes(evergreen, folder, settings, **options):
    """Runs the command with a store of outcomes, and returns its exit code and its finding about it."""
    code, found = doctor(evergreen, folder, f"\n--\n[outcomes]\n{settings}\n", **options)
    return code, found["outcomes"]


def test_a_folder_of_outcomes_is_tried_and_left_as_it_is(evergreen, tmp_path):
    store = tmp_path / "deep/outcomes"
    place = f"folder = '{store}'"
    code, found = outcomes(evergreen, tmp_path, place)
    assert code == 0 and found.state == "ok" and "will create it; " in found.detail and " ms" in found.detail
    assert not store.parent.exists() and not [
        path for path in tmp_path.iterdir() if path.name.startswith(".")
    ]
    config = tmp_path / "server.toml"
    config.write_text(f"[outcomes]\n{place}\n")
    with serving(evergreen, tmp_path, config=config) as server:
        outcome = {"customer": "C-1042", "result": "left", "time": "2026-11-20"}
        assert server.http.post("/v1/outcomes", json={"outcomes": [outcome]}).status_code == 200
        code, found = outcomes(evergreen, tmp_path, place)
        assert code == 1 and found.state == "failed" and "a server uses it; stop that one" in found.detail
        assert server.stop() == 0
    before = {path: path.read_bytes() for path in store.iterdir()}
    code, found = outcomes(evergreen, tmp_path, place)
    assert code == 0 and found.state == "ok" and "1 files with 1 of at most 1024 MiB" in found.detail
    assert {path: path.read_bytes() for path in store.iterdir()} == before
    size = len(before[store / "outcomes.journal"])
    code, found = outcomes(evergreen, tmp_path, f"{place}\nfolder_bytes = {size + 1}")
    assert code == 0 and found.state == "warning" and "raise outcomes.folder_bytes" in found.detail
    code, found = outcomes(evergreen, tmp_path, f"{place}\nfolder_bytes = {size}")
    assert code == 1 and found.state == "failed" and "full" in found.detail
    (tmp_path / "file").write_text("")
    code, found = outcomes(evergreen, tmp_path, f"folder = '{tmp_path}/file'")
    assert code == 1 and found.state == "failed" and "Not a directory" in found.detail


def test_a_folder_of_outcomes_of_another_user_is_named(evergreen, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("another user is needed")
    for parent in (tmp_path, *list(tmp_path.parents)[:-1]):
        parent.chmod(parent.stat().st_mode | 0o011)
    store = tmp_path / "outcomes"
    store.mkdir()
    place = f"folder = '{store}'"

    def as_nobody(settings):
        return outcomes(evergreen, tmp_path, settings, user=65534)

    code, found = as_nobody(place)
    assert code == 1 and "Permission denied" in found.detail and "change its owner" in found.detail
    code, found = as_nobody(f"folder = '{tmp_path}/new/outcomes'")
    assert code == 1 and f"cannot be created in {tmp_path} (Permission denied" in found.detail
    store.chmod(0o777)
    assert as_nobody(place)[0] == 0
    (store / "scores-2026-11-23.journal").write_text("")
    code, found = as_nobody(place)
    assert code == 1 and "scores-2026-11-23.journal cannot be written (Permission denied" in found.detail


def test_a_database_of_outcomes_is_asked_for_its_tables_and_permissions(evergreen, tmp_path):
    with postgres_server(tmp_path) as postgres:
        postgres.sql(
            "CREATE ROLE clerk LOGIN; CREATE SCHEMA kept; CREATE SCHEMA wrong; GRANT USAGE ON SCHEMA wrong TO clerk"
        )

        def asked(schema, user="evergreen"):
            connect = postgres.connect.replace("user=evergreen", f"user={user}")
            settings = f"[outcomes.postgres]\nconnect = '{connect}'\nschema = '{schema}'"
            code, found = outcomes(evergreen, tmp_path, settings)
            assert (code == 0) == (found.state == "ok"), found
            return found.detail

        detail = asked("kept")
        assert "PostgreSQL" in detail and "primary" in detail and " ms" in detail
        assert "will create the tables in the schema `kept`" in detail and not tables(postgres)
        assert "`public`" in asked("")
        assert "there is no schema `none`; create it" in asked("none")
        assert "GRANT USAGE" in asked("kept", "clerk")
        postgres.sql("GRANT USAGE ON SCHEMA kept TO clerk")
        assert "GRANT CREATE on the schema `kept`" in asked("kept", "clerk")
        config = tmp_path / "server.toml"
        config.write_text(f"[outcomes.postgres]\nconnect = '{postgres.connect}'\nschema = 'kept'\n")
        with serving(evergreen, tmp_path, config=config) as server:
            outcome = {"customer": "C-1042", "result": "left", "time": "2026-11-20"}
            assert server.http.post("/v1/outcomes", json={"outcomes": [outcome]}).status_code == 200
            assert "; tables in the schema `kept`" in asked("kept")
        assert "GRANT SELECT, INSERT, UPDATE, DELETE" in asked("kept", "clerk")
        postgres.sql("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA kept TO clerk")
        assert asked("kept", "clerk").endswith("GRANT DELETE")
        postgres.sql("GRANT DELETE ON ALL TABLES IN SCHEMA kept TO clerk")
        assert "; tables in the schema `kept`" in asked("kept", "clerk")
        # A server agrees: this user needs no permission to create tables that are there.
        config.write_text(config.read_text().replace("user=evergreen", "user=clerk"))
        with serving(evergreen, tmp_path, config=config) as server:
            answer = server.http.post("/v1/outcomes", json={"outcomes": [outcome]})
            assert answer.status_code == 200 and answer.json()["duplicates"] == 1, answer.text
        assert tables(postgres) == [("kept", "evergreen_outcomes", 1), ("kept", "evergreen_scores", 0)]

        postgres.sql("CREATE TABLE wrong.evergreen_scores (id text, score float8)")
        postgres.sql("CREATE TABLE wrong.evergreen_outcomes (LIKE kept.evergreen_outcomes INCLUDING ALL)")
        assert "is not a table of outcomes" in asked("wrong")
        # Without its key a repeated outcome would count twice.
        postgres.sql("DROP TABLE wrong.evergreen_scores; DROP TABLE wrong.evergreen_outcomes")
        postgres.sql("CREATE TABLE wrong.evergreen_scores (LIKE kept.evergreen_scores INCLUDING ALL)")
        postgres.sql("CREATE TABLE wrong.evergreen_outcomes (LIKE kept.evergreen_outcomes)")
        assert "is not a table of outcomes" in asked("wrong")
        postgres.sql("ALTER ROLE clerk SET default_transaction_read_only = on")
        assert "it is read-only; name the primary" in asked("kept", "clerk")


def tables(postgres):
    """Returns schema, name and number of rows of each table."""
    found = postgres.rows("SELECT schemaname, relname FROM pg_stat_user_tables ORDER BY 1, 2")
    names = [(table["schemaname"], table["relname"]) for table in found]
    return [(*name, postgres.rows(f"SELECT count(*) FROM {'.'.join(name)}")[0]["count"]) for name in names]


def test_a_database_of_outcomes_that_is_away_or_hangs_is_not_waited_for(evergreen, tmp_path):
    with postgres_server(tmp_path) as postgres:
        settings = f"[outcomes.postgres]\nconnect = '{postgres.connect}'"
        postgres.process.send_signal(signal.SIGSTOP)
        try:
            start = time.monotonic()
            code, found = outcomes(evergreen, tmp_path, settings)
            assert code == 1 and found.state == "failed" and time.monotonic() - start < 10
        finally:
            postgres.process.send_signal(signal.SIGCONT)
        assert outcomes(evergreen, tmp_path, settings)[1].state == "ok"
        with serving(evergreen, tmp_path, config=tmp_path / "doctor.toml") as server:
            outcome = {"customer": "C-1042", "result": "left", "time": "2026-11-20"}
            assert server.http.post("/v1/outcomes", json={"outcomes": [outcome]}).status_code == 200
        with postgres.locked("evergreen_outcomes"):
            code, found = outcomes(evergreen, tmp_path, settings)
            assert code == 1 and "no answer within 5 s" in found.detail
        postgres.kill()
        code, found = outcomes(evergreen, tmp_path, settings)
        assert code == 1 and "Connection refused" in found.detail and "[outcomes.postgres]" in found.detail


def test_a_repository_says_what_it_lacks(evergreen, tmp_path):
    def repository(path, *arguments):
        return doctor(evergreen, tmp_path, f"\n--\n[models]\ndir = '{path}'\n", *arguments)[1]

    assert "No such file" in repository(tmp_path / "none")["repository"].detail
    (tmp_path / "empty").mkdir()
    assert "no model; publish one" in repository(tmp_path / "empty")["repository"].detail
    assert "expected the folder that holds the models" in repository(MODELS / "churn/1")["repository"].detail
    models = tmp_path / "models"
    shutil.copytree(MODELS / "churn/1", models / "churn/7")
    (models / "churn/7/model.ubj").write_bytes(b"{")
    assert repository(models)["model churn"].state == "ok"
    refused = repository(models, "--gate")["model churn"]
    assert refused.state == "failed" and "newest 7 is refused: checksums" in refused.detail


def test_a_repository_that_cannot_be_written_is_a_warning(evergreen, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("another user is needed")
    for parent in (tmp_path, *list(tmp_path.parents)[:-1]):
        parent.chmod(parent.stat().st_mode | 0o011)
    shutil.copytree(MODELS, tmp_path / "models")
    text = f"\n--\n[models]\ndir = '{tmp_path}/models'\n"
    code, found = doctor(evergreen, tmp_path, text, user=65534)
    assert code == 0 and found["repository"].state == "warning"
    assert "Permission denied" in found["repository"].detail
    assert doctor(evergreen, tmp_path, text)[1]["repository"].state == "ok"
    assert not [name for name in os.listdir(tmp_path / "models/churn") if name.startswith(".")]
