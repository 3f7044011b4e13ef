"""Where `Scorer` finds models: URIs of a real server that speaks S3, and signatures by the rules of the server."""

import pickle
import re
import shutil
import sys
import tempfile

import pytest

from evergreen_testing.model_repository import SAMPLE, bundle
from evergreen_testing.object_store import BUCKET, object_store
from evergreen_testing.sample_customers import FRAME

SECRET = "secret"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with object_store(tmp_path_factory.mktemp("objects")) as store:
        store.put(SAMPLE, "models/churn/1")
        newer = bundle(tmp_path_factory.mktemp("newer") / "churn/2", scale=0.25)
        store.put(newer, "models/churn/2")
        yield store


@pytest.fixture
def uri(store, tmp_path, monkeypatch):
    """Returns a function from a path to its URI, and checks that no copy stays."""
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    yield (
        lambda path: (
            f"s3://tester:{SECRET}@{BUCKET}/{path}?scheme=http&endpoint_override=127.0.0.1:{store.port}&region=us-east-1"
        )
    )
    assert not list(copies.iterdir())


def test_a_bundle_in_object_storage_scores_as_its_copy(scorer_class, uri):
    scorer, local = scorer_class.load(uri("models/churn/1")), scorer_class.load(SAMPLE)
    assert (scorer.name, scorer.version, scorer.bundle_sha256) == ("churn", 1, local.bundle_sha256)
    assert scorer.score(FRAME).equals(local.score(FRAME))
    assert scorer_class.load(uri("models/churn/1/")).bundle_sha256 == local.bundle_sha256
    file = scorer_class.load(uri("models/churn/1/model.ubj"))
    assert (
        file.sha256 == local.sha256 and file.output is None and file.path == uri("models/churn/1/model.ubj")
    )


def test_pickling_sends_the_uri_with_the_version_in_use(scorer_class, uri):
    scorer = scorer_class.load(uri("models/churn"))
    assert scorer.version == 2 and scorer.path == uri("models/churn/2")
    data = pickle.dumps(scorer)
    assert len(data) < 500
    again = pickle.loads(data)
    assert again.path == scorer.path and again.score(FRAME).equals(scorer.score(FRAME))
    # As a notebook shows it, without what may be secret.
    assert repr(scorer) == f"Scorer('s3://{BUCKET}/models/churn/2', sha256={scorer.sha256[:12]}…)"


def test_errors_name_the_uri_without_its_password(scorer_class, uri, store):
    with pytest.raises(FileNotFoundError) as none:
        scorer_class.load(uri("models/upsell/1"))
    assert f"s3://{BUCKET}/models/upsell/1: no such file or folder; expected" in str(none.value)
    store.put(SAMPLE, "torn/churn/1", ["bundle.toml", "golden.jsonl"])
    with pytest.raises(ValueError, match="No such file") as torn:
        scorer_class.load(uri("torn/churn/1"))
    assert str(torn.value).startswith(f"s3://{BUCKET}/torn/churn/1")
    with pytest.raises(ValueError, match="another version is at this path") as other:
        scorer_class.load(uri("models/churn/1"), "0" * 64)
    for error in (none, torn, other):
        assert SECRET not in str(error.value) and str(tempfile.gettempdir()) not in str(error.value)


@pytest.mark.parametrize("uri", ["ftp://host/churn/1", "file://host/churn/1", "s3:/churn/1?nonsense=x"])
def test_a_uri_of_another_kind_is_refused(scorer_class, uri):
    with pytest.raises(ValueError, match=re.escape("such as file:///models/churn/4 or s3://bucket/churn/4")):
        scorer_class.load(uri)


def test_without_pyarrow_local_bundles_load_and_others_say_what_is_missing(scorer_class, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert scorer_class.load(SAMPLE.as_uri()).version == 1
    with pytest.raises(ImportError, match=r"^s3://bucket/churn/1: needs pyarrow .*pip install pyarrow"):
        scorer_class.load("s3://key:secret@bucket/churn/1")


@pytest.fixture(scope="module")
def signed(run, tmp_path_factory):
    """A repository with a version without a signature and one of each of two keys; the lines of the public keys."""
    folder = tmp_path_factory.mktemp("signed")
    lines = []
    run("publish", SAMPLE, folder / "models")
    for name in ("old", "new"):
        lines.append(run("key", name, "--signing", folder / f"{name}.pem").stdout)
        run("publish", "--sign", folder / f"{name}.pem", SAMPLE, folder / "models")
    return folder / "models/churn", lines


@pytest.fixture(scope="session")
def refused(scorer_class):
    """Loads a model that these keys must refuse, with this message."""

    def refused(path, keys, message):
        with pytest.raises(ValueError, match=re.escape(message)) as error:
            scorer_class.load(path, trusted_keys=keys)
        # The name of the setting would lead to a file that this program does not have.
        assert "models.trusted_keys" not in str(error.value)

    return refused


def test_trusted_keys_are_checked_as_the_server_does(scorer_class, signed, refused, tmp_path):
    churn, lines = signed
    old, new = (line.split()[0] for line in lines)
    assert scorer_class.load(churn / "2", trusted_keys=[old]).version == 2
    assert scorer_class.load(churn / "2", trusted_keys=old).version == 2
    refused(churn / "3", [old], f"signed by {new}, which trusted_keys does not list")
    refused(churn / "1", [old, new], "bundle.toml.sig is missing: trusted_keys asks for a signature")
    # The version that servers with this key use, and a file with both keys.
    assert scorer_class.load(churn, trusted_keys=[old]).version == 2
    (tmp_path / "team.pub").write_text(f"# the team\n{''.join(lines)}")
    assert scorer_class.load(churn, trusted_keys=[tmp_path / "team.pub"]).version == 3
    # A changed contract, another model, a changed file, a file without a contract.
    changed = shutil.copytree(churn / "2", tmp_path / "churn/2")
    contract = (changed / "bundle.toml").read_text()
    (changed / "bundle.toml").write_text(contract.replace("from = 0.3", "from = 0.4"))
    refused(changed, [old], "the contract was changed after it was signed")
    other = shutil.copytree(churn / "2", tmp_path / "upsell/2")
    refused(other, [old], "as a version of the model `upsell`")
    (changed / "bundle.toml").write_text(contract)
    (changed / "golden.jsonl").write_text("")
    refused(changed, [old], "golden.jsonl: its SHA-256 is")
    refused(churn / "2/model.ubj", [old], "a bare model cannot be signed")


def test_a_signed_bundle_in_object_storage(scorer_class, signed, refused, store, uri):
    churn, lines = signed
    old, new = (line.split()[0] for line in lines)
    for version in (1, 2):
        store.put(churn / str(version), f"signed/churn/{version}")
    assert scorer_class.load(uri("signed/churn/2"), trusted_keys=[old]).version == 2
    refused(uri("signed/churn/2"), [new], f"s3://{BUCKET}/signed/churn/2: bundle.toml.sig: signed by {old}")
    refused(uri("signed/churn/1"), [old], "bundle.toml.sig is missing")


def test_what_is_no_key_is_refused_and_no_keys_are_not_trust_in_all(signed, refused, tmp_path):
    churn, _ = signed
    refused(churn / "2", ["ed25519:12"], "trusted_keys: expected ed25519: and 64")
    refused(churn / "2", [tmp_path / "none.pub"], "none.pub: ")
    refused(churn / "2", [], "expected at least one key")


def test_a_pickle_is_of_the_contract_that_was_signed(scorer_class, signed, tmp_path):
    churn, lines = signed
    copy = shutil.copytree(churn / "2", tmp_path / "churn/2")
    data = pickle.dumps(scorer_class.load(copy, trusted_keys=[lines[0].split()[0]]))
    assert pickle.loads(data).version == 2
    contract = (copy / "bundle.toml").read_text()
    (copy / "bundle.toml").write_text(contract.replace("from = 0.3", "from = 0.4"))
    with pytest.raises(ValueError, match="another version is at this path"):
        pickle.loads(data)
