"""`evergreen check` and `inspect`: what they print, compared with the training libraries."""

import hashlib
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
import xgboost

from evergreen_testing.paths import MODELS

BUNDLE = MODELS / "churn/1"


def test_check_says_whether_a_bundle_may_go_live(run, tmp_path):
    good = run("check", BUNDLE)
    assert "may go live" in good.stdout and "margins bit-equal, values bit-equal" in good.stdout
    answer = json.loads(run("check", "--json", BUNDLE).stdout)
    outcomes = {step["step"]: step["outcome"] for step in answer["steps"]}
    # Skipped: no [budget] in the contract, no server with feature sources, no trusted keys.
    assert answer["may_go_live"] and set(outcomes.values()) <= {"passed", "skipped"}
    assert {step for step, outcome in outcomes.items() if outcome == "skipped"} <= {
        "budget",
        "features",
        "signature",
    }


def spoil(folder, name, change):
    """Changes a file of a copied bundle and updates the checksums, so that the change is the only defect."""
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    if name != "bundle.toml":
        contract = folder / "bundle.toml"
        old = next(line for line in contract.read_text().splitlines() if line.startswith(f'"{name}" ='))
        new = f'"{name}" = "{hashlib.sha256(path.read_bytes()).hexdigest()}"'
        contract.write_text(contract.read_text().replace(old, new))


def golden_off_by_one_ulp(data):
    first, *rest = data.decode().splitlines()
    row = json.loads(first)
    row["margin"] = [float(np.nextafter(np.float32(row["margin"][0]), np.float32(9)))]
    return "\n".join([json.dumps(row), *rest]).encode()


SPOILED = [
    ("model.ubj", lambda data: data[:-5], "parse", "byte "),
    ("model.ubj", lambda data: b"garbage", "parse", ""),
    ("golden.jsonl", golden_off_by_one_ulp, "golden", "line 1: margin"),
    ("golden.jsonl", lambda data: b"", "golden", "expected a golden row"),
    ("golden.jsonl", lambda data: b"{}\n", "golden", "line 1: missing field"),
    (
        "reference.json",
        lambda data: data.replace(b'"visits_30d"', b'"visits"', 1),
        "reference",
        "feature `visits_30d`",
    ),
    ("reference.json", lambda data: data.replace(b'"rows": ', b'"rows": 9', 1), "reference", "rows, found"),
    ("reference.json", lambda data: data[:-9], "reference", "the text ends inside an object"),
    (
        "bundle.toml",
        lambda data: data.replace(b"margin_ulp = 0", b"margin_ulp = 99", 1),
        "settle",
        "at most 16 ulp",
    ),
    (
        "bundle.toml",
        lambda data: data.replace(b'"visits_30d"', b'"visits"', 1),
        "contract",
        "feature `visits`",
    ),
    ("bundle.toml", lambda data: data.replace(b"[model]", b"[modle]", 1), "settle", "did you mean `model`?"),
    (
        "bundle.toml",
        lambda data: data.replace(b'kind = "probability"', b'kind = "odds"', 1),
        "settle",
        "unknown value",
    ),
]


@pytest.mark.parametrize("name, change, step, part", SPOILED)
def test_check_refuses_what_is_wrong_by_name(run, tmp_path, name, change, step, part):
    folder = tmp_path / "1"
    shutil.copytree(BUNDLE, folder)
    spoil(folder, name, change)
    answer = json.loads(run("check", "--json", folder, code=1).stdout)
    failed = answer["steps"][-1]
    assert not answer["may_go_live"] and failed["outcome"] == "failed"
    assert failed["step"] == step and part in failed["detail"], failed
    assert "may not go live" in run("check", folder, code=1).stdout


def test_one_changed_byte_of_any_file_is_noticed(run, tmp_path):
    for name in ("model.ubj", "golden.jsonl", "reference.json"):
        folder = tmp_path / name
        shutil.copytree(BUNDLE, folder)
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 3] ^= 1
        (folder / name).write_bytes(data)
        failed = json.loads(run("check", "--json", folder, code=1).stdout)["steps"][-1]
        assert failed["step"] == "checksums" and name in failed["detail"]


def test_inspect_says_what_a_model_is(run):
    booster = xgboost.Booster(model_file=BUNDLE / "model.ubj")
    found = json.loads(run("inspect", "--json", BUNDLE).stdout)
    assert (found["format"], found["objective"]) == ("xgboost", "binary:logistic")
    assert found["trees"] == booster.num_boosted_rounds()
    assert [feature["name"] for feature in found["features"]] == booster.feature_names
    splits, gains = (
        booster.get_score(importance_type="weight"),
        booster.get_score(importance_type="total_gain"),
    )
    for feature in found["features"]:
        assert feature["splits"] == splits.get(feature["name"], 0)
        assert feature["gain"] == pytest.approx(gains.get(feature["name"], 0), rel=1e-5)
    assert "binary:logistic" in run("inspect", BUNDLE).stdout


def test_tables_have_headers_and_no_spaces_at_the_end(run, evergreen, tmp_path):
    broken = tmp_path / "broken.ubj"
    broken.write_text("x")
    for ended in (run("check", BUNDLE), run("check", broken, code=1), run("inspect", BUNDLE)):
        lines = ended.stdout.splitlines()
        assert len(lines) > 3 and [line for line in lines if line != line.rstrip()] == []
    message = run("inspect", broken, code=2).stderr
    assert f"{broken}: byte 0: " in message
    coloured = subprocess.run(
        [evergreen, "check", str(BUNDLE)],
        capture_output=True,
        text=True,
        env=os.environ | {"CLICOLOR_FORCE": "1"},
    )
    plain = re.sub(r"\x1b\[[0-9;]*m", "", coloured.stdout)
    assert coloured.stdout != plain
    # The columns stand one below the other, as if there were no colours.
    states = {
        line.index(word)
        for line in plain.splitlines()
        for word in ("passed", "skipped")
        if f" {word} " in line
    }
    assert len(states) == 1


def test_colours_stay_out_of_files_and_help_has_examples(run):
    assert "\x1b" not in run("check", BUNDLE).stdout
    for command in ("serve", "check", "score", "inspect"):
        assert "Examples:" in run(command, "--help").stdout
    assert "Exit codes" in run("--help").stdout
