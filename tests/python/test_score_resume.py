"""`evergreen score` into folders of part files: killed and resumed, changed inputs, object storage."""

import fcntl
import json
import os
import random
import shutil
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
import xgboost

from evergreen_serving import derive, save_bundle
from evergreen_testing.batch import bits, make_booster, make_bundle, make_rows, predict, read, score
from evergreen_testing.object_store import BUCKET, object_store

ROWS = 60_000


@pytest.fixture(scope="module")
def rows():
    return make_rows(ROWS)


@pytest.fixture(scope="module")
def booster(rows):
    return make_booster(rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, rows, booster):
    """Returns a folder with the model, and with the rows as a folder of three files; the second has bad cells."""
    folder = tmp_path_factory.mktemp("job")
    make_bundle(folder / "models", booster, rows)
    texts = rows.astype(object).where(rows.notna(), None)
    bad = ROWS // 3 + np.random.default_rng(1).choice(ROWS // 3, ROWS // 100, replace=False)
    texts.loc[bad, "b"] = "bad"
    (folder / "rows").mkdir()
    for number in range(3):
        part = texts.iloc[number * ROWS // 3 : (number + 1) * ROWS // 3]
        if number == 1:
            part.to_json(folder / "rows/1.jsonl", orient="records", lines=True, double_precision=15)
        else:
            part = part.astype({"b": "float32"})
            part.to_parquet(folder / f"rows/{number}.parquet", row_group_size=7000)
    np.save(folder / "bad.npy", np.sort(bad))
    return folder


def command(evergreen, folder, output, *more):
    options = ["--model", folder / "models/risk/1", "--input", folder / "rows", "--output", f"{output}/"]
    options += ["--part-rows", "6000", "--on-error", "skip", "--rejects", f"{output}.rejects.csv", *more]
    return [evergreen, "score", *map(str, options)]


def parts(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


@pytest.fixture(scope="module")
def whole(evergreen, folder):
    """Returns the folder of a job that nobody disturbed, after checks against the library."""
    output = folder / "whole"
    done = subprocess.run(command(evergreen, folder, output), capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert (output / "_SUCCESS").read_bytes() == b""
    return output


def test_the_parts_are_the_library_and_the_input_in_order(folder, whole, rows, booster):
    bad = np.load(folder / "bad.npy")
    found = read(whole)
    assert found["id"].tolist() == rows["id"].tolist()
    assert found.index[found["probability"].isna()].tolist() == bad.tolist()
    good = found["probability"].drop(bad)
    assert (bits(good) == bits(predict(booster, rows.drop(bad)))).all()
    sizes = [len(pd.read_parquet(path)) for path in sorted(whole.glob("part-*"))]
    assert len(sizes) >= 8 and min(sizes[:-1]) >= 6000 and max(sizes) < 6000 + 4096
    listed = pd.read_csv(folder / "whole.rejects.csv")
    assert listed["id"].tolist() == rows["id"][bad].tolist()
    assert (listed["column"] == "b").all() and (listed["value"] == "bad").all()
    # Nothing of the work is left but the checkpoint.
    names = {path.name for path in whole.iterdir() if not path.name.startswith("part-")}
    assert names == {"_SUCCESS", "_evergreen.json"}


def test_a_killed_job_goes_on_and_nothing_is_lost_or_twice(evergreen, folder, whole, tmp_path):
    output, generator, killed = tmp_path / "out", random.Random(11), 0
    start = time.monotonic()
    subprocess.run(command(evergreen, folder, tmp_path / "timed"), capture_output=True)
    seconds = time.monotonic() - start
    for _ in range(10):
        process = subprocess.Popen(command(evergreen, folder, output), stderr=subprocess.DEVNULL)
        time.sleep(generator.uniform(0.1, 0.6) * seconds)
        if process.poll() is None:
            process.kill()
            killed += 1
        process.wait()
        done = sorted(parts(output))
        # What has its name is complete.
        assert all(parts(whole)[name] == data for name, data in parts(output).items())
        assert done == sorted(parts(whole))[: len(done)]
        if (output / "_SUCCESS").exists():
            break
    assert killed >= 2
    last = subprocess.run(command(evergreen, folder, output), capture_output=True, text=True)
    assert last.returncode == 3, last.stderr
    assert "by an earlier run" in last.stderr or "already complete" in last.stderr
    assert parts(output) == parts(whole)
    ids = read(output)["id"]
    assert len(ids) == ROWS and ids.is_unique
    assert (tmp_path / "out.rejects.csv").read_bytes() == (folder / "whole.rejects.csv").read_bytes()
    assert not list(output.glob("_rejects*")) and not list(output.glob(".part*"))
    again = subprocess.run(command(evergreen, folder, output), capture_output=True, text=True)
    assert again.returncode == 3 and "already complete" in again.stderr
    assert parts(output) == parts(whole)


def test_another_input_model_or_option_is_refused(evergreen, folder, whole, tmp_path, rows):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("whole*"))
    output = copy / "out"
    assert subprocess.run(command(evergreen, copy, output), capture_output=True).returncode == 3
    before = parts(output)

    def refused(*more):
        ended = subprocess.run(command(evergreen, copy, output, *more), capture_output=True, text=True)
        assert ended.returncode == 2 and "--restart starts over" in ended.stderr, ended.stderr
        assert parts(output) == before
        return ended.stderr

    assert 'begun with --columns "probability,band' in refused("--columns", "band")
    assert "begun with --columns" in refused("--kind", "margin")
    (copy / "rows/9.csv").write_text((copy / "rows/1.jsonl").read_text()[:0] + "id,a\n1,2\n")
    assert "it had 3 files, and now it has 4" in refused()
    (copy / "rows/9.csv").unlink()
    os.utime(copy / "rows/1.jsonl", (1, 1))
    assert "it has 3 files as before, but at least one of them has another name, content" in refused()
    contract = copy / "models/risk/1/bundle.toml"
    contract.write_text(contract.read_text() + "\n# The same model file with another contract.\n")
    assert "another contract of version 1 of the model risk" in refused()
    shutil.rmtree(copy / "models/risk/1")
    make_bundle(copy / "models", make_booster(rows, rounds=3), rows)
    assert "begun with version 1 of the model risk" in refused()
    done = subprocess.run(command(evergreen, copy, output, "--restart"), capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert parts(output).keys() == parts(whole).keys() and parts(output) != before


def test_a_part_that_is_gone_is_not_passed_over(evergreen, folder, whole, tmp_path):
    output = tmp_path / "out"
    subprocess.run(command(evergreen, folder, output), capture_output=True)

    def run(*more):
        return subprocess.run(command(evergreen, folder, output, *more), capture_output=True, text=True)

    assert "already complete" in run().stderr
    for name in ("part-00001.parquet", "_SUCCESS"):
        (output / name).rename(tmp_path / name)
        ended = run()
        assert ended.returncode == 2 and f"{output}/{name}: missing" in ended.stderr, ended.stderr
        assert "--restart starts over" in ended.stderr and not (output / name).exists()
        (tmp_path / name).rename(output / name)
    (output / "part-00001.parquet").unlink()
    assert run("--restart").returncode == 3
    assert parts(output) == parts(whole)


def test_the_rejects_of_a_complete_job_are_where_it_says(evergreen, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ["--model", folder / "models/risk/1", "--input", folder / "rows/1.jsonl", "--output", "out/"]
    common += ["--on-error", "skip"]
    first = score(evergreen, *common, "--rejects", "first.csv", code=3)
    assert "all in first.csv" in first.stderr
    listed = (tmp_path / "first.csv").read_bytes()
    for same in ("first.csv", "./first.csv", tmp_path / "first.csv"):
        again = score(evergreen, *common, "--rejects", same, code=3)
        assert "already complete" in again.stderr and f"all in {same}" in again.stderr
    # A file of another job is not the one of this job either.
    (tmp_path / "other.csv").write_text("file,row,id,column,value,reason\n")
    for other in ("other.csv", "none.csv"):
        refused = score(evergreen, *common, "--rejects", other, code=2)
        assert f"its rejects are in {tmp_path / 'first.csv'}" in refused.stderr
        assert f"{tmp_path / other}" in refused.stderr and "all in" not in refused.stderr
    (tmp_path / "first.csv").unlink()
    gone = score(evergreen, *common, "--rejects", "first.csv", code=2)
    assert "first.csv: missing, although the job is complete; --restart starts over" in gone.stderr
    score(evergreen, *common, "--rejects", "second.csv", "--restart", code=3)
    assert (tmp_path / "second.csv").read_bytes() == listed


def test_an_input_that_changes_meanwhile_is_an_error(evergreen, folder, tmp_path, rows):
    rows.to_csv(tmp_path / "rows.csv", index=False)
    common = ["--model", folder / "models/risk/1", "--input", tmp_path / "rows.csv"]
    started = [evergreen, "score", *map(str, common), "--output", "-"]
    process = subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # The job has begun, and waits until somebody reads more.
    assert process.stdout.readline().startswith("id,")
    os.utime(tmp_path / "rows.csv", (1, 1))
    _, text = process.communicate(timeout=120)
    assert process.returncode == 1, text
    assert "changed while the job read it: rows.csv has another content or time" in text


def test_a_folder_of_others_is_left_alone(evergreen, folder, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    ended = subprocess.run(command(evergreen, folder, output, "--restart"), capture_output=True, text=True)
    assert ended.returncode == 2 and "expected an empty folder" in ended.stderr
    (output / "notes.txt").rename(output / "part-00000.parquet")
    for more in ([], ["--restart"]):
        ended = subprocess.run(command(evergreen, folder, output, *more), capture_output=True, text=True)
        assert ended.returncode == 2 and "another program has written this folder" in ended.stderr
    assert (output / "part-00000.parquet").read_text() == "mine"
    (output / "part-00000.parquet").unlink()
    # Two jobs at once: one of them has the folder.
    with (output / ".evergreen.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.run(command(evergreen, folder, output), capture_output=True, text=True)
        assert second.returncode == 1 and "another evergreen score is writing" in second.stderr
    first = subprocess.run(command(evergreen, folder, output), capture_output=True, text=True)
    assert first.returncode == 3 and not (output / ".evergreen.lock").exists()


def test_the_parts_feed_the_next_job(evergreen, folder, whole, tmp_path):
    checkpoint = json.loads((whole / "_evergreen.json").read_text())
    assert checkpoint["complete"] and checkpoint["counts"]["rows"] == ROWS
    # A reader of folders, such as pyarrow, skips what is not a part.
    assert len(pd.read_parquet(whole)) == ROWS
    done = score(
        evergreen,
        "--model",
        folder / "models/risk/1",
        "--input",
        whole,
        "--output",
        tmp_path / "x.csv",
        code=2,
    )
    assert "missing columns" in done.stderr


def test_an_empty_input_gives_an_empty_part(evergreen, folder, tmp_path, rows):
    rows.head(0).to_csv(tmp_path / "none.csv", index=False)
    common = ["--model", folder / "models/risk/1", "--input", tmp_path / "none.csv"]
    score(evergreen, *common, "--output", f"{tmp_path}/out/")
    assert len(read(tmp_path / "out")) == 0 and (tmp_path / "out/_SUCCESS").exists()
    score(evergreen, *common, "--output", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().startswith("id,probability,band")


def test_derived_features_have_the_same_time_in_every_part(evergreen, tmp_path):
    """A job that goes on later works with the time of its first start: the judge is `derive` as of that time."""
    rng, begin = np.random.default_rng(5), time.time()
    # Within the ten minutes of the test each customer completes a day, so that another second is another score for some.
    then = begin - 86_400 * rng.integers(1, 60, ROWS) + rng.uniform(0, 600, ROWS)
    frame = pd.DataFrame(
        {"id": range(ROWS), "signed_up": pd.to_datetime((then * 1e6).astype("int64"), unit="us")}
    )
    definitions = {"days": {"days_since": "signed_up"}}

    def days(now):
        return derive(frame, definitions, now=now)[["days"]]

    data = xgboost.DMatrix(days(begin), rng.permutation(60)[days(begin)["days"].astype(int)])
    booster = xgboost.train({"max_depth": 8, "min_child_weight": 0}, data, 30)
    operands = {"signed_up": {"type": "timestamp"}}
    bundle = save_bundle(
        booster, days(begin), tmp_path / "m/1", entity="id", derived=definitions, operands=operands
    )
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=5000)
    output = tmp_path / "out"
    command = [evergreen, "score", "--model", bundle, "--input", tmp_path / "rows.parquet"]
    command += ["--output", f"{output}/", "--part-rows", "5000", "--threads", "1"]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not list(output.glob("part-00001*")) and first.poll() is None:
        time.sleep(0.005)
    first.kill()
    first.wait()
    assert not (output / "_SUCCESS").exists() and 2 <= len(parts(output)) < ROWS // 5000
    before = len(read(output))
    begun = json.loads((output / "_evergreen.json").read_text())["as_of"]
    assert begin <= begun <= time.time()
    time.sleep(3)
    again = time.time()
    last = subprocess.run(command, capture_output=True, text=True)
    assert last.returncode == 0 and "by an earlier run" in last.stderr, last.stderr
    found = read(output)
    assert found["id"].tolist() == list(range(ROWS))
    assert (bits(found["value"]) == bits(booster.predict(xgboost.DMatrix(days(begun))))).all()
    # The rows of the second run tell the two times apart.
    assert (days(begun) != days(again))["days"][before:].sum() > 20


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with object_store(tmp_path_factory.mktemp("objects")) as store:
        yield store


def test_object_storage_goes_in_and_out(evergreen, folder, whole, tmp_path, store):
    config = tmp_path / "evergreen.toml"
    config.write_text(store.settings)
    store.put(folder / "rows", "lake/rows")
    environment = os.environ | store.environment
    common = [
        "--model",
        folder / "models/risk/1",
        "--config",
        config,
        "--on-error",
        "skip",
        "--part-rows",
        "6000",
    ]
    remote = f"s3://{BUCKET}/lake"
    process = subprocess.Popen(
        [evergreen, "score", *map(str, common), "--input", f"{remote}/rows/", "--output", f"{remote}/out/"],
        env=environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and len(store.keys("lake/out/part-")) < 3:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert "lake/out/_SUCCESS" not in store.keys("lake/out/")
    done = score(
        evergreen, *common, "--input", f"{remote}/rows", "--output", f"{remote}/out/",
        env=environment, code=3,
    )  # fmt: skip
    assert "by an earlier run" in done.stderr
    for name in parts(whole):
        store.client.download_file(BUCKET, f"lake/out/{name}", str(tmp_path / name))
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / name), pd.read_parquet(whole / name))
    assert {key.rpartition("/")[2] for key in store.keys("lake/out/")} == {
        *parts(whole), "_SUCCESS", "_evergreen.json",
    }  # fmt: skip
    score(
        evergreen, *common[:4], "--input", f"{remote}/rows/1.jsonl", "--on-error", "skip",
        "--output", f"{remote}/one.csv", "--rejects", f"{remote}/rejects.csv", env=environment, code=3,
    )  # fmt: skip
    store.client.download_file(BUCKET, "lake/one.csv", str(tmp_path / "one.csv"))
    store.client.download_file(BUCKET, "lake/rejects.csv", str(tmp_path / "rejects.csv"))
    one = read(tmp_path / "one.csv")
    assert one["id"].tolist() == read(whole)["id"].tolist()[ROWS // 3 : 2 * ROWS // 3]
    listed = pd.read_csv(tmp_path / "rejects.csv")
    assert (listed["file"] == f"{remote}/rows/1.jsonl").all() and len(listed) == ROWS // 100


def test_partitions_in_object_storage(evergreen, folder, tmp_path, store, rows, booster):
    frame = rows.head(2000).assign(plan=rows["plan"].head(2000).astype(str))
    frame.to_parquet(tmp_path / "parted", partition_cols=["plan"], index=False)
    for path in (tmp_path / "parted").glob("*/*"):
        store.put(path.parent, f"parted/{path.parent.name}", [path.name])
    config = tmp_path / "evergreen.toml"
    config.write_text(store.settings)
    out = tmp_path / "out.parquet"
    score(
        evergreen, "--model", folder / "models/risk/1", "--config", config,
        "--input", f"s3://{BUCKET}/parted", "--output", out, env=os.environ | store.environment,
    )  # fmt: skip
    found = read(out).set_index("id").loc[frame["id"]]
    assert (bits(found["probability"]) == bits(predict(booster, frame))).all()
    missing = score(
        evergreen, "--model", folder / "models/risk/1", "--config", config, "--input", f"s3://{BUCKET}/nothing",
        "--output", out, env=os.environ | store.environment, code=2,
    )  # fmt: skip
    assert "no such object or prefix" in missing.stderr


def test_names_of_partitions_with_escapes_are_not_lost(evergreen, folder, tmp_path, store, rows, booster):
    frame = rows.head(1200)
    # Spark writes a time as a name like this; the other characters are those that URLs and clients escape too.
    for number, name in enumerate(["ts=2026-11-29 04%3A00", "ts=2026-11-29 05%3A00", "ts=a#b[c]{d}~e"]):
        (tmp_path / name).mkdir()
        frame.iloc[number * 400 : (number + 1) * 400].to_parquet(tmp_path / name / "part-0.parquet")
        store.put(tmp_path / name, f"escaped/{name}")
    config = tmp_path / "evergreen.toml"
    config.write_text(store.settings)
    score(
        evergreen, "--model", folder / "models/risk/1", "--config", config, "--no-success-file",
        "--input", f"s3://{BUCKET}/escaped/", "--output", tmp_path / "out.parquet",
        env=os.environ | store.environment,
    )  # fmt: skip
    found = read(tmp_path / "out.parquet")
    assert len(found) == 1200
    found = found.set_index("id").loc[frame["id"]]
    assert (bits(found["probability"]) == bits(predict(booster, frame))).all()


def test_object_storage_that_is_away_may_come_back(evergreen, folder, tmp_path, store):
    config = tmp_path / "evergreen.toml"
    config.write_text("[storage]\nendpoint = 'http://127.0.0.1:1'\nallow_http = true\ntimeout_seconds = 1\n")
    environment, remote = os.environ | store.environment, f"s3://{BUCKET}/away/"
    model, rows, out = folder / "models/risk/1", folder / "rows/0.parquet", tmp_path / "out.csv"
    for options in [
        ["--model", model, "--input", remote, "--output", out],
        ["--model", model, "--input", rows, "--output", remote],
        ["--model", "risk", "--models", remote, "--input", rows, "--output", out],
    ]:
        score(evergreen, *options, "--config", config, env=environment, code=1)
