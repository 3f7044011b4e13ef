"""`evergreen score` as a job: rejected rows, columns, formats, streams, threads and exit codes."""

import gzip
import json
import os
import signal
import subprocess
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
import xgboost

from evergreen_testing.batch import (
    FEATURES,
    bits,
    lines,
    make_booster,
    make_bundle,
    make_rows,
    predict,
    read,
    score,
)
from evergreen_testing.object_store import BUCKET, object_store
from evergreen_testing.processes import until
from evergreen_testing.server_process import serving

DETAILS = ["band", "version", "sha256", "status", "missing", "out_of_range"]


@pytest.fixture(scope="module")
def rows():
    return make_rows(9000)


@pytest.fixture(scope="module")
def booster(rows):
    return make_booster(rows)


@pytest.fixture(scope="module")
def models(tmp_path_factory, booster, rows):
    folder = tmp_path_factory.mktemp("models")
    make_bundle(folder, booster, rows)
    return folder


@pytest.fixture(scope="module")
def model(models):
    return models / "risk/1"


def spoiled(rows, seed=7):
    """Returns rows as texts with one bad cell in a hundred rows, of several kinds; some rows have two."""
    rng = np.random.default_rng(seed)
    texts = rows.astype(object).where(rows.notna(), None)
    for row in rng.choice(len(rows), len(rows) // 100, replace=False):
        for column in rng.choice(FEATURES, rng.integers(1, 3), replace=False):
            texts.loc[row, column] = rng.choice(["many", "1,5", "0x1f", "--", "n/a?", "x" * 500])
    return texts


def bad_cells(texts):
    """Returns the (row, column) of the cells that pandas cannot read as numbers; rows count from 1."""
    found = set()
    for column in FEATURES:
        numbers = pd.to_numeric(texts[column], errors="coerce")
        found |= {(int(row) + 1, column) for row in texts.index[texts[column].notna() & numbers.isna()]}
    return found


def test_rejects_are_the_cells_that_pandas_finds(evergreen, tmp_path, rows, booster, model):
    texts = spoiled(rows)
    texts.to_csv(tmp_path / "rows.csv", index=False)
    expected = bad_cells(texts)
    rejects = tmp_path / "rejects.csv"
    common = ["--model", model, "--input", tmp_path / "rows.csv", "--output", tmp_path / "out.parquet"]
    stopped = score(evergreen, *common, "--rejects", rejects, code=2)
    first = min(expected)
    assert f"row {first[0]}, column" in stopped.stderr and "--on-error skip" in stopped.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"rows.csv"}
    done = score(evergreen, *common, "--rejects", rejects, "--on-error", "skip", code=3)
    score(evergreen, *common, "--on-error", "skip", "--allow-rejects", "0.02")
    score(evergreen, *common, "--on-error", "skip", "--allow-rejects", "0.009", code=3)
    listed = pd.read_csv(rejects, keep_default_na=False)
    assert list(listed.columns) == ["file", "row", "id", "column", "value", "reason"]
    assert set(zip(listed["row"], listed["column"])) == expected and len(listed) == len(expected)
    assert (listed["file"] == str(tmp_path / "rows.csv")).all()
    for line in listed.itertuples():
        cell = texts.loc[line.row - 1, line.column]
        assert line.id == texts.loc[line.row - 1, "id"]
        assert line.value == cell or (cell.startswith(line.value[:-1]) and len(line.value) == 61)
        assert "expected a number" in line.reason
    bad = sorted({row - 1 for row, _ in expected})
    found = read(tmp_path / "out.parquet")
    assert found["id"].tolist() == rows["id"].tolist()
    assert found.index[found["probability"].isna()].tolist() == bad
    assert found.index[found["status"] == "error"].tolist() == bad
    good = found.drop(bad)
    assert (bits(good["probability"]) == bits(predict(booster, rows.drop(bad)))).all()
    assert f"{len(bad):,} without a score" in done.stderr and "9,000 rows read" in done.stderr
    for column in FEATURES:
        count = sum(name == column for _, name in expected)
        assert f"`{column}`: a value of another type ({count})" in done.stderr
    assert " rows/s" in done.stderr and "risk version 1, sha256 " in done.stderr


def test_every_row_says_what_a_server_would(evergreen, tmp_path, rows, models, model):
    some = rows.head(500).copy()
    some["plan"] = some["plan"].astype(object)
    some.loc[some.index[::50], "plan"] = "unknown plan"
    some.to_parquet(tmp_path / "rows.parquet")
    score(
        evergreen, "--model", model, "--input", tmp_path / "rows.parquet", "--output", tmp_path / "out.parquet",
        "--explain", 3,
    )  # fmt: skip
    found = read(tmp_path / "out.parquet")
    reasons = [
        f"reason_{number}_{part}"
        for number in (1, 2, 3)
        for part in ("feature", "value", "contribution", "direction", "text")
    ]
    assert list(found.columns) == ["id", "probability", *DETAILS, *reasons]
    with serving(evergreen, tmp_path, models=models, customers=None) as server:
        entities = []
        for row in some.astype(object).where(some.notna(), None).to_dict("records"):
            entities.append({"id": row["id"], "features": {k: v for k, v in row.items() if k != "id"}})
        body = {"model": "risk", "entities": entities, "explain": 3}
        answer = server.http.post("/v1/score", json=body).json()
    for result, ours in zip(answer["results"], found.to_dict("records")):
        assert result["score"] == ours["probability"] and result["band"] == ours["band"], (result, ours)
        assert result["status"] == ours["status"] and ours["version"] == 1
        unknown = len(result.get("features", {}).get("out_of_range", result.get("out_of_range", [])))
        assert ours["out_of_range"] == unknown
        for number, reason in enumerate(result["reasons"], 1):
            assert reason["feature"] == ours[f"reason_{number}_feature"]
            assert reason["contribution"] == ours[f"reason_{number}_contribution"]
            assert reason["text"] == ours[f"reason_{number}_text"]
    missing = some[[*FEATURES]].isna().sum(axis=1)
    assert found["missing"].tolist() == missing.tolist()
    assert (found["status"][::50] == "degraded").all()


def test_columns_can_be_chosen(evergreen, tmp_path, rows, model):
    rows.head(9).to_parquet(tmp_path / "rows.parquet")
    common = ["--model", model, "--input", tmp_path / "rows.parquet", "--output", tmp_path / "out.csv"]
    for options, columns in [
        ([], ["probability", *DETAILS]),
        (["--columns", "none"], ["probability"]),
        (["--columns", "status,band"], ["probability", "status", "band"]),
        (["--kind", "margin"], ["margin"]),
        (["--kind", "margin", "--columns", "band"], ["margin", "band"]),
    ]:
        score(evergreen, *common, *options)
        assert list(read(tmp_path / "out.csv").columns) == ["id", *columns]
    twice = score(evergreen, *common, "--columns", "band,scored_at,band", code=2)
    assert "--columns: band stands there twice" in twice.stderr
    wrong = score(evergreen, *common, "--columns", "bands", code=2)
    assert "expected none, or some of band, version" in wrong.stderr


def test_interactions_are_the_librarys_and_add_up(evergreen, tmp_path, rows, booster, model):
    some = rows.head(300)
    some.to_parquet(tmp_path / "rows.parquet")
    common = ["--model", model, "--input", tmp_path / "rows.parquet", "--kind", "interactions"]
    score(evergreen, *common, "--output", tmp_path / "out.parquet")
    found = read(tmp_path / "out.parquet")
    names = [*FEATURES, "plan", "bias"]
    assert list(found.columns) == ["id", *(f"{one}*{other}" for one in names for other in names)]
    expected = predict(booster, some, pred_interactions=True)
    ours = found.drop(columns="id").to_numpy().reshape(expected.shape)
    np.testing.assert_allclose(ours, expected, atol=2e-5)
    wide = pd.DataFrame(np.random.default_rng(1).normal(size=(200, 200)).astype("float32"))
    wide.columns = [f"f{number}" for number in range(200)]
    data = xgboost.DMatrix(wide, (wide["f0"] > 0).astype(int))
    xgboost.train({"objective": "binary:logistic"}, data, 2).save_model(tmp_path / "wide.json")
    wide.to_parquet(tmp_path / "wide.parquet")
    refused = score(
        evergreen, "--model", tmp_path / "wide.json", "--input", tmp_path / "wide.parquet",
        "--kind", "interactions", "--output", tmp_path / "wide.out.parquet", code=2,
    )  # fmt: skip
    assert "at most 16384 numbers per row, found 40401" in refused.stderr


def pack_zstd(data):
    return pyarrow.compress(data, codec="zstd", asbytes=True)


COMPRESSIONS = {"gz": ("gzip", gzip.compress), "zst": ("zstd", pack_zstd)}


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_compressed_text(evergreen, tmp_path, rows, booster, model, ending, compression):
    if ending == "jsonl":
        text = rows.to_json(orient="records", lines=True, double_precision=15)
    else:
        text = rows.to_csv(index=False, sep="\t" if ending == "tsv" else ",")
    data = text.encode()
    codec, pack = COMPRESSIONS[compression]
    # Two members, as `cat` of two compressed files makes them.
    half = data.index(b"\n", len(data) // 2) + 1
    source = tmp_path / f"rows.{ending}.{compression}"
    source.write_bytes(pack(data[:half]) + pack(data[half:]))
    out = tmp_path / f"out.{ending}.{compression}"
    score(evergreen, "--model", model, "--input", source, "--output", out)
    unpacked = tmp_path / f"out.{ending}"
    unpacked.write_bytes(pyarrow.input_stream(str(out), compression=codec).read())
    found = read(unpacked)
    assert found["id"].tolist() == rows["id"].tolist()
    assert (bits(found["probability"]) == bits(predict(booster, rows))).all()


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_standard_input_and_output(evergreen, tmp_path, rows, booster, model, ending):
    source = tmp_path / f"rows.{ending}"
    if ending == "jsonl":
        rows.to_json(source, orient="records", lines=True, double_precision=15)
    else:
        (rows.to_csv if ending == "csv" else rows.to_parquet)(source, index=False)
    command = [evergreen, "score", "--model", model, "--input", "-", "--input-format", ending]
    command += ["--output", "-", "--output-format", ending]
    for given in [source.read_bytes()] + (
        [gzip.compress(source.read_bytes())] if ending != "parquet" else []
    ):
        done = subprocess.run(command, input=given, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr
        (tmp_path / f"out.{ending}").write_bytes(done.stdout)
        found = read(tmp_path / f"out.{ending}")
        assert found["id"].tolist() == rows["id"].tolist()
        assert (bits(found["probability"]) == bits(predict(booster, rows))).all()
        assert b"9,000 rows scored to standard output" in done.stderr
    refused = subprocess.run([*command[:6], "--output", "-"], input=b"id\n1\n", capture_output=True)
    assert refused.returncode == 2 and b"--input-format" in refused.stderr
    wrong = subprocess.run(command, input=b"\x00garbage", capture_output=True)
    assert wrong.returncode == 2 and b"error: standard input" in wrong.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("stage", ["copying", "scoring"])
def test_a_signal_leaves_no_temporary_copy(evergreen, tmp_path, rows, model, stage, number):
    (tmp_path / "evergreen.toml").write_text(f"[storage]\ncache = '{tmp_path / 'cache'}'\n")
    options = ["--model", model, "--config", tmp_path / "evergreen.toml"]
    options += [
        "--input",
        "-",
        "--input-format",
        "csv",
        "--output",
        "-",
        "--rejects",
        tmp_path / "rejects.csv",
    ]
    process = subprocess.Popen(
        [evergreen, "score", *map(str, options)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # As a test runner that works in the background, or under nohup, may ignore it.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )  # fmt: skip
    process.stdin.write(rows.to_csv(index=False).encode())
    process.stdin.flush()
    if stage == "scoring":
        process.stdin.close()
        # The job has begun, and waits until somebody reads more.
        assert process.stdout.readline().startswith(b"id,")
    partial = f".rejects.csv.{process.pid}.part"
    until(lambda: list(tmp_path.glob("cache/*/*")) and (stage == "copying" or (tmp_path / partial).exists()))
    process.send_signal(number)
    assert process.wait(timeout=30) == -number
    assert not list(tmp_path.glob("cache/*")) and not (tmp_path / partial).exists()


def test_a_job_of_nohup_outlives_its_terminal(evergreen, tmp_path, rows, model):
    command = [evergreen, "score", "--model", model, "--input", "-", "--input-format", "csv"]
    process = subprocess.Popen(
        [*map(str, command), "--output", str(tmp_path / "out.csv")],
        stdin=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    process.stdin.write(rows.to_csv(index=False).encode())
    process.send_signal(signal.SIGHUP)
    process.stdin.close()
    assert process.wait(timeout=60) == 0 and len(read(tmp_path / "out.csv")) == len(rows)


def test_partitions_are_columns(evergreen, tmp_path, rows, booster, model):
    frame = rows.assign(day=np.where(rows.index < 5000, "2026-11-28", "2026-11-29"))
    frame["plan"] = frame["plan"].astype(str)
    frame.to_parquet(tmp_path / "rows", partition_cols=["day", "plan"], index=False)
    out = tmp_path / "out.parquet"
    score(evergreen, "--model", model, "--input", tmp_path / "rows", "--output", out)
    found = read(out).set_index("id").loc[rows["id"]]
    assert (bits(found["probability"]) == bits(predict(booster, rows))).all()
    (tmp_path / "rows/other").mkdir()
    refused = score(evergreen, "--model", model, "--input", tmp_path / "rows", "--output", out, code=2)
    assert "the folder other inside would not be read" in refused.stderr


def test_an_unfinished_folder_waits_for_success_in_its_root(evergreen, tmp_path, rows, model):
    for folder in ("flat", "parted/day=1"):
        (tmp_path / folder).mkdir(parents=True)
        rows.head(99).to_parquet(tmp_path / folder / "part-00000-abc.snappy.parquet")
    (tmp_path / "parted/day=1/_SUCCESS").touch()
    for root in ("flat", "parted"):
        common = ["--model", model, "--input", tmp_path / root, "--output", tmp_path / "out.csv"]
        refused = score(evergreen, *common, code=2)
        assert "no _SUCCESS" in refused.stderr and "--no-success-file" in refused.stderr
        score(evergreen, *common, "--no-success-file")
        (tmp_path / root / "_SUCCESS").touch()
        score(evergreen, *common)


def test_the_version_is_the_one_that_servers_use(evergreen, tmp_path, rows, booster, model):
    models = tmp_path / "models"
    for version in (1, 2, 3):
        make_bundle(models, make_booster(rows, seed=version), rows, version)
    rows.head(9).to_parquet(tmp_path / "rows.parquet")
    common = ["--input", tmp_path / "rows.parquet", "--output", tmp_path / "out.csv", "--models", models]

    def used(model):
        done = score(evergreen, "--model", model, *common)
        return int(read(tmp_path / "out.csv")["version"][0]), done.stderr

    version, text = used("risk")
    assert version == 3 and f"which servers of {models} use" in text
    version, text = used(models / "risk/1")
    assert version == 1 and "scoring with version 1 of risk" in text and "use version 3" in text
    (models / "risk/3/model.ubj").write_bytes(b"torn")
    assert used("risk")[0] == 2
    with serving(evergreen, tmp_path, models=models, customers=None) as server:
        done = server.ops.post("/v1/models/risk/rollback", json={"reason": "wrong"})
        assert done.status_code == 200, done.text
        live = server.ops.get("/v1/models/risk").json()["live"]
    assert used("risk")[0] == (live if isinstance(live, int) else live["version"]) == 1


def test_broken_records_are_rejects_too(evergreen, tmp_path, rows, model):
    text = rows.head(20).to_csv(index=False).splitlines()
    text[3], text[9] = text[3] + ",more", text[9].split(",")[0]
    (tmp_path / "rows.csv").write_text("\n".join(text))
    json_rows = rows.head(20).to_json(orient="records", lines=True).splitlines()
    json_rows[2], json_rows[8] = json_rows[2][:-5], "[]"
    (tmp_path / "rows.jsonl").write_text("\n".join(json_rows))
    # A line in another encoding, as an export may have it.
    (tmp_path / "latin.jsonl").write_bytes(
        "\n".join([*json_rows[:2], '{"plan": "größer"}', *json_rows[3:]]).encode("latin-1")
    )
    for name in ("rows.csv", "rows.jsonl", "latin.jsonl"):
        common = ["--model", model, "--input", tmp_path / name, "--output", tmp_path / "out.jsonl"]
        assert "row 3" in score(evergreen, *common, code=2).stderr
        score(evergreen, *common, "--on-error", "skip", "--rejects", tmp_path / "rejects.csv", code=3)
        assert pd.read_csv(tmp_path / "rejects.csv")["row"].tolist() == [3, 9]
        statuses = [row["status"] for row in lines(tmp_path / "out.jsonl")]
        assert [row for row, status in enumerate(statuses, 1) if status == "error"] == [3, 9]
    assert "not UTF-8 text" in (tmp_path / "rejects.csv").read_text()


# A cell in JSON, what the rejects say it was, and why it has no number; None for a number.
CELLS = [
    ("1.5", None, None),
    ("[1]", "[1]", "found a list"),
    ('{"v": "}"}', '{"v": "}"}', "found an object"),
    ("12345678901234567890", None, None),
    ("1e999", "1e999", "found a number beyond 64-bit floats"),
    ('1, "a": 2', "2", "found a duplicate key"),
    (f"[{'1, ' * 200}1]", f"[{'1, ' * 19}1,…", "found a list"),
]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_bad_cell_of_json_lines_is_no_more_than_a_bad_cell(
    evergreen, tmp_path, rows, booster, model, ending
):
    some = rows.head(len(CELLS)).astype(object)
    records = [
        json.loads(line) for line in some.drop(columns="a").to_json(orient="records", lines=True).split()
    ]
    texts = [f'{json.dumps(record)[:-1]}, "a": {cell}}}' for record, (cell, *_) in zip(records, CELLS)]
    # An id that is no id is a bad cell too.
    texts.append(json.dumps(records[0] | {"id": [7], "a": 1.5}))
    (tmp_path / "rows.jsonl").write_text("\n".join(texts))
    output, rejects = tmp_path / f"out{ending}", tmp_path / "rejects.csv"
    common = ["--model", model, "--input", tmp_path / "rows.jsonl", "--output", output]
    stopped = score(evergreen, *common, code=2)
    assert "row 2, column `a`" in stopped.stderr and "--on-error skip" in stopped.stderr
    done = score(evergreen, *common, "--on-error", "skip", "--rejects", rejects, code=3)
    assert "`a`: a value of another type (5)" in done.stderr
    listed = pd.read_csv(rejects, keep_default_na=False)
    ids = some["id"].tolist()
    expected = [(row + 1, ids[row], "a", value) for row, (_, value, why) in enumerate(CELLS) if why]
    expected.append((len(CELLS) + 1, "", "id", "[7]"))
    assert list(listed[["row", "id", "column", "value"]].itertuples(index=False, name=None)) == expected
    reasons = [why for *_, why in CELLS if why] + ["expected an id"]
    assert all(why in found for why, found in zip(reasons, listed["reason"], strict=True))
    found = read(output)
    assert found["id"].fillna("").tolist() == [*ids, ""]
    good = [row for row, (*_, why) in enumerate(CELLS) if not why]
    assert found.index[found["probability"].notna()].tolist() == good
    numbers = some.iloc[good].assign(a=[float(CELLS[row][0]) for row in good])
    assert (bits(found["probability"][good]) == bits(predict(booster, numbers))).all()


def test_ids_beyond_64_bits_keep_their_digits(evergreen, tmp_path, rows, model):
    ids = [12345678901234567890, 7, 2**64 - 1]
    records = [json.loads(line) for line in rows.head(3).to_json(orient="records", lines=True).split()]
    texts = [json.dumps(record | {"id": id}) for record, id in zip(records, ids)]
    (tmp_path / "rows.jsonl").write_text("\n".join(texts))
    for ending in (".csv", ".parquet"):
        output = tmp_path / f"out{ending}"
        score(evergreen, "--model", model, "--input", tmp_path / "rows.jsonl", "--output", output)
        assert read(output)["id"].astype(str).tolist() == [str(id) for id in ids]


def test_a_bad_cell_of_parquet_is_a_reject_of_its_row(evergreen, tmp_path, rows, booster, model):
    some = rows.head(6)
    plans = pyarrow.array([b"basic", b"\xffpro", b"plus", b"pro", None, b"basic"], pyarrow.binary())
    table = pyarrow.Table.from_pandas(some, preserve_index=False)
    for name, column in {
        "id": pyarrow.array([b"C-1", b"C-2", b"\xe4", b"C-4", b"C-5", b"C-6"], pyarrow.binary()),
        "plan": pyarrow.StringArray.from_buffers(len(plans), *plans.buffers()[1:], plans.buffers()[0]),
        "a": pyarrow.array([1, 2, 3, 2**64 - 1, 2**63, 6], pyarrow.uint64()),
        "b": pyarrow.array([Decimal(1)] * 5 + [Decimal(10**50)], pyarrow.decimal256(60)),
    }.items():
        table = table.set_column(table.column_names.index(name), name, column)
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet", store_schema=False)
    output, rejects = tmp_path / "out.parquet", tmp_path / "rejects.csv"
    common = ["--model", model, "--input", tmp_path / "rows.parquet", "--output", output]
    stopped = score(evergreen, *common, code=2)
    assert "row 2, column `plan`" in stopped.stderr and "--on-error skip" in stopped.stderr
    score(evergreen, *common, "--on-error", "skip", "--rejects", rejects, code=3)
    listed = pd.read_csv(rejects, keep_default_na=False)
    assert listed[["row", "id", "column", "value"]].to_numpy().tolist() == [
        [2, "C-2", "plan", "\ufffdpro"],
        [3, "", "id", "\ufffd"],
        [6, "C-6", "b", ""],
    ]
    assert listed["reason"].str.contains("found bytes that are not UTF-8 text|beyond 128 bits").all()
    found = read(output)
    assert found["id"].fillna("").tolist() == ["C-1", "C-2", "", "C-4", "C-5", "C-6"]
    good = [0, 3, 4]
    assert found.index[found["probability"].notna()].tolist() == good
    plan = pd.Series(["basic", "pro", None], good)
    numbers = some.iloc[good].assign(a=[1.0, float(2**64 - 1), float(2**63)], b=1.0, plan=plan)
    assert (bits(found["probability"][good]) == bits(predict(booster, numbers))).all()


def test_unsigned_ids_of_parquet_are_their_digits(evergreen, tmp_path, rows, model):
    ids = [7, 2**64 - 1, 2**63, 9]
    frame = rows.head(4).assign(id=np.array(ids, "uint64"))
    frame.to_parquet(tmp_path / "rows.parquet", index=False)
    for ending in (".csv", ".parquet", ".jsonl"):
        output = tmp_path / f"out{ending}"
        score(evergreen, "--model", model, "--input", tmp_path / "rows.parquet", "--output", output)
        found = lines(output) if ending == ".jsonl" else read(output).to_dict("records")
        assert [str(row["id"]) for row in found] == [str(id) for id in ids], ending


def test_rows_without_the_ids_of_the_contract_are_not_passed_over(evergreen, tmp_path, rows, model):
    common = ["--model", model, "--output", tmp_path / "out.csv", "--input"]
    some = rows.head(5)
    lists = some.assign(id=[[number] for number in range(5)], other_id=range(5))
    lists.to_parquet(tmp_path / "lists.parquet")
    refused = score(evergreen, *common, tmp_path / "lists.parquet", code=2)
    assert "column `id`: is nested; write it as a flat column" in refused.stderr
    assert not (tmp_path / "out.csv").exists()
    score(evergreen, *common, tmp_path / "lists.parquet", "--id", "plan", code=0)
    for frame, ids, note in (
        (
            some.drop(columns="id"),
            None,
            "the contract's entity; the output has no ids; name their column with --id",
        ),
        (some.rename(columns={"id": "C_ID"}), "C_ID", "the contract's entity; the ids are those of `C_ID`"),
        (some, "id", None),
    ):
        frame.to_csv(tmp_path / "rows.csv", index=False)
        done = score(evergreen, *common, tmp_path / "rows.csv")
        assert (note is None) == ("contract's entity" not in done.stderr)
        assert note is None or f"the input has no column `id`, {note}" in done.stderr
        assert pd.read_csv(tmp_path / "out.csv").columns[0] == (ids or "probability")


@pytest.mark.parametrize(
    "files, name",
    [
        ((".hoodie/hoodie.properties", "plan=pro/{}.parquet"), "an Apache Hudi table"),
        (("metadata/v1.metadata.json", "data/{}.parquet"), "an Apache Iceberg table"),
        (("_delta_log/00000000000000000000.json", "{}.parquet"), "a Delta table"),
    ],
)
def test_a_table_with_a_log_of_its_own_is_refused(evergreen, tmp_path, rows, model, files, name):
    log, data = (tmp_path / "table" / file for file in files)
    for path in (log, data):
        path.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("{}")
    for version in (1, 2):
        rows.head(5).to_parquet(str(data).format(version))
    common = ["--model", model, "--output", tmp_path / "out.csv", "--input"]
    refused = score(evergreen, *common, tmp_path / "table", code=2)
    assert f"table: {name}, some of whose files may be outdated" in refused.stderr
    with object_store(tmp_path) as store:
        for file in (path for path in (tmp_path / "table").rglob("*") if path.is_file()):
            key = f"lake/{file.relative_to(tmp_path)}"
            store.client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())
        config = tmp_path / "evergreen.toml"
        config.write_text(store.settings)
        remote = [*common, f"s3://{BUCKET}/lake/table/", "--config", config]
        refused = score(evergreen, *remote, code=2, env=os.environ | store.environment)
    assert f"{name}, some of whose files may be outdated" in refused.stderr


def test_threads_change_nothing(evergreen, tmp_path, rows, model):
    many = pd.concat([rows] * 12, ignore_index=True)
    many["id"] = [f"C-{number}" for number in range(len(many))]
    many.to_parquet(tmp_path / "rows.parquet", row_group_size=5000)
    written = []
    for threads in (1, 2, 7):
        out = tmp_path / f"{threads}.csv"
        score(
            evergreen,
            "--model",
            model,
            "--input",
            tmp_path / "rows.parquet",
            "--output",
            out,
            "--threads",
            threads,
        )
        written.append(out.read_bytes())
    assert written[0] == written[1] == written[2]
    assert written[0].count(b"\n") == len(many) + 1


def test_options_that_do_not_go_together_are_named(evergreen, tmp_path, rows, booster, model):
    rows.head(3).to_parquet(tmp_path / "rows.parquet")
    booster.save_model(tmp_path / "bare.json")
    common = ["--model", model, "--input", tmp_path / "rows.parquet"]
    rows.drop(columns="id").head(3).to_parquet(tmp_path / "nobody.parquet")
    nobody = ["--model", model, "--input", tmp_path / "nobody.parquet"]
    out = ["--output", tmp_path / "out.csv"]
    for options, words in [
        ([*common, *out, "--input-format", "csv"], "for standard input only"),
        ([*common, *out, "--output-format", "csv"], "for standard output or a folder"),
        ([*common, *out, "--restart"], "for a folder of part files or --checkpoint"),
        ([*common], "--output"),
        ([*common, *out, "--expire", "2d"], "--write"),
        ([*common, "--write", "redis://127.0.0.1:1/0", "--expire", "soon"], "expected a duration such as 2d"),
        ([*nobody, "--write", "redis://127.0.0.1:1/0"], "--write: expected an id column; name it with --id"),
        ([*common, *out, "--rejects", tmp_path / "none/rejects.csv"], f"{tmp_path}/none: no such folder"),
        ([*common, *out, "--rejects", tmp_path], "expected a file, found a folder"),
        ([*common, "--write", "mysql://x"], "redis://host:6379/0, postgres://user@host/database"),
        ([*common, "--write", "redis://127.0.0.1:1/0", "--kind", "margin"], "expected no --kind"),
        (["--model", tmp_path / "bare.json", *common[2:], *out, "--explain", "2"], "expected a bundle"),
        (
            [*common, *out, "--explain", "1000000000000"],
            "at most 6 reasons, as many as the model has features",
        ),
        ([*common, *out, "--threads", "1025"], "1..=1024"),
        ([*common, "--write", "redis://127.0.0.1:1/0", "--expire", "500us"], "at least 1s"),
    ]:
        assert words in score(evergreen, *options, code=2).stderr, options
    assert not (tmp_path / "out.csv").exists()
    ended = score(evergreen, *common, "--output", "/dev/full/x.csv", code=2)
    assert "/dev/full: no such folder" in ended.stderr
    help_text = subprocess.run([evergreen, "score", "--help"], capture_output=True, text=True).stdout
    assert "Exit codes: 0 every row has a score" in " ".join(help_text.split())
    assert json.dumps(help_text).count("evergreen score --model") >= 8


def test_ids_that_change_their_type_are_an_error_of_the_input(evergreen, tmp_path, rows, model):
    (tmp_path / "rows").mkdir()
    rows.head(50).assign(id=range(50)).to_parquet(tmp_path / "rows/0.parquet")
    rows.head(50).to_parquet(tmp_path / "rows/1.parquet")
    common = ["--model", model, "--input", tmp_path / "rows"]
    ended = score(evergreen, *common, "--output", tmp_path / "out.parquet", code=2)
    assert "the ids change from numbers to another type" in ended.stderr
    score(evergreen, *common, "--output", tmp_path / "out.csv")
