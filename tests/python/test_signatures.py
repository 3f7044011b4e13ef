"""Signed bundles: `evergreen key --signing`, `publish --sign`, and `models.trusted_keys` in the gate."""

import json
import os
import re
import shutil
import stat
import subprocess
from types import SimpleNamespace

import pytest

from evergreen_testing.model_repository import SAMPLE, bundle, live, settings, sign, status
from evergreen_testing.object_store import BUCKET, object_store
from evergreen_testing.paths import CUSTOMERS
from evergreen_testing.processes import until
from evergreen_testing.server_process import serving
from test_publish import published, run

SIGNATURE = "bundle.toml.sig"


@pytest.fixture(scope="module")
def keys(evergreen, tmp_path_factory):
    """Two signing keys: the path of each private key, and each public key."""
    folder = tmp_path_factory.mktemp("keys")
    made = {}
    for name in ("old", "new"):
        path = folder / f"{name}.pem"
        done = run(evergreen, "key", name, "--signing", path)
        assert done.returncode == 0, done.stderr
        public, owner = done.stdout.split()
        assert owner == name and re.fullmatch("ed25519:[0-9a-f]{64}", public)
        made[name] = SimpleNamespace(path=path, public=public, line=done.stdout)
    return SimpleNamespace(**made)


def trusting(folder, *public):
    """Writes settings that trust these keys."""
    text = f"[models]\npoll_seconds = 0.05\ntrusted_keys = {json.dumps(public)}\n"
    return settings(folder, text)


def detail(evergreen, config, path):
    """Returns the outcome and the detail of the step `signature` of `evergreen check`."""
    done = run(evergreen, "check", "--json", "--config", config, path)
    report = json.loads(done.stdout)
    step = next(step for step in report["steps"] if step["step"] == "signature")
    assert report["may_go_live"] == (done.returncode == 0) == (step["outcome"] != "failed")
    return step["outcome"], step["detail"]


def test_a_private_key_is_for_its_owner_alone_and_is_never_overwritten(evergreen, keys):
    assert stat.S_IMODE(os.stat(keys.old.path).st_mode) == 0o600
    before = keys.old.path.read_bytes()
    assert before.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    done = run(evergreen, "key", "old", "--signing", keys.old.path)
    assert done.returncode == 2 and "File exists" in done.stderr
    assert keys.old.path.read_bytes() == before
    # OpenSSL reads it, and agrees about the public key.
    der = subprocess.run(
        ["openssl", "pkey", "-in", keys.old.path, "-pubout", "-outform", "DER"],
        capture_output=True,
        check=True,
    ).stdout
    assert der[-32:].hex() == keys.old.public.removeprefix("ed25519:")


def test_a_key_of_openssl_signs_too(evergreen, tmp_path):
    key = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    assert published(run(evergreen, "publish", "--json", "--sign", key, SAMPLE, tmp_path / "models")) == 1
    public = (tmp_path / "models/churn/1" / SIGNATURE).read_text().split('"')[1]
    outcome, said = detail(evergreen, trusting(tmp_path, public), tmp_path / "models/churn/1")
    assert outcome == "passed" and said == f"signed by {public}"


def test_check_shows_the_signature_and_says_what_is_wrong_with_it(evergreen, keys, tmp_path):
    models, config = tmp_path / "models", trusting(tmp_path, keys.old.public)
    assert published(run(evergreen, "publish", "--json", SAMPLE, models)) == 1
    assert published(run(evergreen, "publish", "--json", "--sign", keys.old.path, SAMPLE, models)) == 2
    assert published(run(evergreen, "publish", "--json", "--sign", keys.new.path, SAMPLE, models)) == 3
    churn = models / "churn"
    table = run(evergreen, "check", "--config", config, churn / "2").stdout
    assert re.search(rf"signature +passed .* signed by {keys.old.public}", table)
    assert re.search(
        "signature +skipped .* models.trusted_keys is not set", run(evergreen, "check", SAMPLE).stdout
    )
    outcome, said = detail(evergreen, config, churn / "1")
    assert outcome == "failed" and "evergreen publish --sign KEY" in said
    outcome, said = detail(evergreen, config, churn / "3")
    assert (
        outcome == "failed"
        and f"signed by {keys.new.public}, which models.trusted_keys does not list" in said
    )
    # Several keys may be trusted, and a file may have them.
    (tmp_path / "team.pub").write_text(f"# the team\n{keys.old.line}{keys.new.line}")
    for trusted in ((keys.old.public, keys.new.public), ("team.pub",)):
        config = trusting(tmp_path, *trusted)
        assert (
            detail(evergreen, config, churn / "2")[0] == detail(evergreen, config, churn / "3")[0] == "passed"
        )
    # A changed manifest, though its checksums are right; another model; a bare model.
    changed = shutil.copytree(churn / "2", churn / "4")
    contract = changed / "bundle.toml"
    contract.write_text(contract.read_text().replace("from = 0.3", "from = 0.4"))
    outcome, said = detail(evergreen, config, changed)
    assert outcome == "failed" and "the contract was changed after it was signed" in said
    shutil.copytree(churn / "2", models / "upsell/1")
    outcome, said = detail(evergreen, config, models / "upsell/1")
    assert outcome == "failed" and "model `upsell`" in said
    (tmp_path / "bare").mkdir()
    shutil.copy(SAMPLE / "model.ubj", tmp_path / "bare")
    outcome, said = detail(evergreen, config, tmp_path / "bare")
    assert outcome == "failed" and "a bare model cannot be signed" in said


def test_a_changed_file_is_refused_by_its_checksum_and_one_beside_them_is_not_read(evergreen, keys, tmp_path):
    models, config = tmp_path / "models", trusting(tmp_path, keys.old.public)
    published(run(evergreen, "publish", "--json", "--sign", keys.old.path, SAMPLE, models))
    version = models / "churn/1"
    (version / "model.json").write_text("another model")
    (version / "golden.csv").write_text("other rows")
    assert run(evergreen, "check", "--config", config, version).returncode == 0
    for name in ("model.ubj", "golden.jsonl", "reference.json"):
        whole = (version / name).read_bytes()
        (version / name).write_bytes(whole + b"\n")
        done = run(evergreen, "check", "--config", config, version)
        assert done.returncode == 1 and re.search("checksums +failed", done.stdout), name
        # With the right checksum, the signature is wrong.
        before = (version / "bundle.toml").read_text()
        sign(version, name)
        done = run(evergreen, "check", "--config", config, version)
        assert done.returncode == 1 and re.search("signature +failed", done.stdout), name
        (version / "bundle.toml").write_text(before)
        (version / name).write_bytes(whole)
    assert run(evergreen, "check", "--config", config, version).returncode == 0


def test_publish_refuses_what_servers_would_refuse(evergreen, keys, tmp_path):
    models, config = tmp_path / "models", trusting(tmp_path, keys.old.public)
    unsigned = run(evergreen, "publish", "--config", config, SAMPLE, models)
    assert unsigned.returncode == 1 and re.search("signature +failed", unsigned.stdout)
    other = run(evergreen, "publish", "--config", config, "--sign", keys.new.path, SAMPLE, models)
    assert other.returncode == 2 and "is not in models.trusted_keys" in other.stderr
    public = run(evergreen, "publish", "--sign", SAMPLE / "bundle.toml", SAMPLE, models)
    assert public.returncode == 2 and "expected an Ed25519 private key" in public.stderr
    bare = run(evergreen, "publish", "--sign", keys.old.path, SAMPLE / "model.ubj", models, "--model", "bare")
    assert bare.returncode == 2 and "cannot be signed" in bare.stderr
    assert not (models / "churn").exists()
    done = run(evergreen, "publish", "--json", "--config", config, "--sign", keys.old.path, SAMPLE, models)
    assert published(done) == 1
    # A signed bundle keeps its signature.
    done = run(evergreen, "publish", "--json", "--config", config, models / "churn/1", models)
    assert published(done) == 2
    assert (models / "churn/2" / SIGNATURE).read_text() == (models / "churn/1" / SIGNATURE).read_text()
    wrong = run(evergreen, "check", "--config", trusting(tmp_path, "ed25519:12"), SAMPLE)
    assert wrong.returncode == 2 and "models.trusted_keys: expected ed25519: and 64" in wrong.stderr


def test_scores_of_a_table_are_by_the_version_that_trusting_servers_use(evergreen, keys, tmp_path):
    models, config = tmp_path / "models", trusting(tmp_path, keys.old.public)
    published(run(evergreen, "publish", "--json", "--sign", keys.old.path, SAMPLE, models))
    published(run(evergreen, "publish", "--json", bundle(tmp_path / "other", scale=0.01), models))
    job = ["score", "--models", models, "--input", CUSTOMERS, "--output", tmp_path / "scores.csv"]
    for options, version in (([], 2), (["--config", config], 1)):
        done = run(evergreen, *job, "--model", "churn", *options)
        assert done.returncode == 0, done.stderr
        assert f"scoring with version {version} of churn, which servers of {models} use" in done.stderr
    refused = run(evergreen, *job, "--model", models / "churn/2", "--config", config)
    assert refused.returncode == 2 and "bundle.toml.sig is missing" in refused.stderr


def test_a_server_loads_signed_versions_only_through_a_rotation(evergreen, keys, tmp_path):
    models, config = tmp_path / "models", trusting(tmp_path, keys.old.public)
    published(run(evergreen, "publish", "--json", "--sign", keys.old.path, SAMPLE, models))
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        assert live(server) == 1
        other = bundle(tmp_path / "other", scale=0.01)
        published(run(evergreen, "publish", "--json", other, models))
        published(run(evergreen, "publish", "--json", "--sign", keys.new.path, other, models))
        for version, reason in ((2, "bundle.toml.sig is missing"), (3, "does not list")):
            refused = until(
                lambda version=version: next(
                    (found for found in [status(server, version)] if found and found["state"] == "refused"),
                    None,
                ),
                seconds=60,
            )
            assert reason in refused["reason"] and refused["steps"][-1]["step"] == "signature"
        assert live(server) == 1
        # First both keys are trusted, then versions are signed by the new one.
        trusting(tmp_path, keys.old.public, keys.new.public)
        server.process.send_signal(1)
        until(lambda: "models.trusted_keys" in server.log.read_text())
        published(run(evergreen, "publish", "--json", "--sign", keys.new.path, other, models))
        until(lambda: live(server) == 4)
        trusting(tmp_path, keys.new.public)
        server.process.send_signal(1)
        until(lambda: server.log.read_text().count("settings reloaded") == 2)
        assert live(server) == 4
    # A restart judges all versions by the present keys.
    with serving(evergreen, tmp_path, models=models, config=config) as server:
        assert live(server) == 4 and status(server, 1)["state"] != "loaded"


def test_a_version_in_object_storage_appears_with_its_signature(evergreen, keys, tmp_path):
    with object_store(tmp_path) as store:
        trusted = f"[models]\npoll_seconds = 0.05\ntrusted_keys = ['{keys.old.public}']\n"
        config, environment = settings(tmp_path, store.settings + trusted), store.environment
        location = f"s3://{BUCKET}/signed"
        command = ["publish", "--json", "--config", config, "--sign", keys.old.path, SAMPLE, location]
        assert published(run(evergreen, *command, env=environment)) == 1
        with serving(evergreen, tmp_path, models=location, config=config, **environment) as server:
            assert live(server) == 1
            assert published(run(evergreen, *command, env=environment)) == 2
            until(lambda: live(server) == 2)
            assert "refused" not in server.log.read_text()
