"""`evergreen score`: its output, compared with the training libraries."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import xgboost

from evergreen_testing.paths import CUSTOMERS, MODELS

BUNDLE = MODELS / "churn/1"


def read(path):
    """Reads a table with its numbers exactly as written."""
    match path.suffix:
        case ".parquet":
            return pd.read_parquet(path)
        case ".csv":
            return pd.read_csv(path)
        case ".jsonl":
            return pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])


@pytest.fixture(scope="module")
def frame():
    """Returns generated rows with missing values and extra columns, in another column order."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(9000, 5)).astype("float32"), columns=list("edcba"))
    frame = frame.mask(rng.random(frame.shape) < 0.1)
    frame.insert(0, "id", [f"row {number}" for number in range(len(frame))])
    frame["note"] = "passes over"
    return frame


@pytest.fixture(scope="module")
def boosters(frame):
    features, rng = frame[list("abcde")], np.random.default_rng(4)
    signal = features.fillna(0).sum(axis=1).to_numpy() + rng.normal(size=len(frame))

    def train(label, **parameters):
        matrix = xgboost.DMatrix(features, label)
        return xgboost.train({"max_depth": 4, "nthread": 1} | parameters, matrix, 20)

    return {
        "binary": train((signal > 0).astype(int), objective="binary:logistic"),
        "multi": train(np.digitize(signal, [-1, 1]), objective="multi:softprob", num_class=3),
        "value": train(signal, objective="reg:squarederror"),
    }


def expected(booster, frame, kind):
    matrix = xgboost.DMatrix(frame[list("abcde")])
    match kind:
        case "margin":
            return booster.predict(matrix, output_margin=True)
        case "leaf":
            return booster.predict(matrix, pred_leaf=True)
        case "contributions":
            return booster.predict(matrix, pred_contribs=True).reshape(len(frame), -1)
        case "class":
            found = booster.predict(matrix)
            return (found > 0.5).astype(int) if found.ndim == 1 else found.argmax(axis=1)
    return booster.predict(matrix)


CASES = [
    ("binary", "probability", ["probability"]),
    ("binary", "margin", ["margin"]),
    ("binary", "class", ["class"]),
    ("binary", "leaf", [f"leaf_{tree}" for tree in range(20)]),
    ("binary", "contributions", [*"abcde", "bias"]),
    ("multi", "probability", ["probability_0", "probability_1", "probability_2"]),
    ("multi", "margin", ["margin_0", "margin_1", "margin_2"]),
    ("multi", "class", ["class"]),
    ("multi", "contributions", [f"{name}_{group}" for group in range(3) for name in [*"abcde", "bias"]]),
    ("value", "value", ["value"]),
]


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("model, kind, columns", CASES)
def test_every_kind_is_the_librarys(run, tmp_path, frame, boosters, model, kind, columns, ending):
    boosters[model].save_model(tmp_path / "model.json")
    frame.to_parquet(tmp_path / "rows.parquet")
    out = tmp_path / f"out.{ending}"
    run(
        "score",
        "--model",
        tmp_path / "model.json",
        "--input",
        tmp_path / "rows.parquet",
        "--output",
        out,
        "--kind",
        kind,
    )
    found = read(out)
    assert list(found.columns) == ["id", *columns]
    assert found["id"].tolist() == frame["id"].tolist()
    numbers = found[columns].to_numpy()
    truth = expected(boosters[model], frame, kind).reshape(len(frame), -1)
    if kind == "contributions":
        np.testing.assert_allclose(numbers, truth, atol=2e-5)
    elif kind in ("class", "leaf"):
        assert np.array_equal(numbers, truth)
    else:
        assert numbers.dtype == (np.float32 if ending == "parquet" else np.float64)
        assert np.array_equal(numbers.astype("float32"), truth), "some bits differ"


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_every_input_format_and_folders(run, tmp_path, frame, boosters, ending):
    boosters["binary"].save_model(tmp_path / "model.ubj")
    folder = tmp_path / "rows"
    folder.mkdir()
    for number in range(3):
        part = frame.iloc[3000 * number : 3000 * (number + 1)]
        path = folder / f"part-{number}.{ending}"
        if ending == "csv":
            part.to_csv(path, index=False)
        else:
            part.to_json(path, orient="records", lines=True, double_precision=15)
    out = tmp_path / "out.parquet"
    run("score", "--model", tmp_path / "model.ubj", "--input", folder, "--output", out)
    truth = expected(boosters["binary"], frame, "probability")
    assert np.array_equal(read(out)["probability"].to_numpy(), truth)


def test_a_bundle_by_name_scores_like_the_server(run, tmp_path, server):
    out = tmp_path / "out.jsonl"
    run("score", "--model", "churn", "--models", MODELS, "--input", CUSTOMERS, "--output", out)
    found = read(out)
    ids = found["customer_id"].tolist()
    body = {"model": "churn", "entities": [{"id": id} for id in ids]}
    results = server.http.post("/v1/score", json=body).json()["results"]
    assert [result["score"] for result in results] == found["probability"].tolist()


def test_a_calibrated_bundle_gives_the_calibrated_score(run, tmp_path):
    shutil.copytree(BUNDLE, tmp_path / "1")
    contract = tmp_path / "1/bundle.toml"
    contract.write_text(
        contract.read_text().replace(
            "[output]\n", '[output]\ncalibration = { kind = "platt", a = -0.9, b = 0.1 }\n'
        )
    )
    out, margins = tmp_path / "out.parquet", tmp_path / "margins.parquet"
    run("score", "--model", tmp_path / "1", "--input", CUSTOMERS, "--output", out)
    run("score", "--model", tmp_path / "1", "--input", CUSTOMERS, "--output", margins, "--kind", "margin")
    margin = read(margins)["margin"].to_numpy().astype(float)
    np.testing.assert_allclose(read(out)["probability"], 1 / (1 + np.exp(-0.9 * margin + 0.1)), rtol=1e-15)


def test_what_is_wrong_is_named_and_no_output_is_left(run, tmp_path, frame, boosters):
    boosters["value"].save_model(tmp_path / "model.json")
    out = tmp_path / "out.csv"

    def message(rows, name="rows.csv", *more):
        path = tmp_path / name
        rows.to_csv(path, index=False)
        ended = run(
            "score", "--model", tmp_path / "model.json", "--input", path, "--output", out, *more, code=2
        )
        assert not out.exists() and not list(tmp_path.glob(".*.part"))
        return ended.stderr

    assert "missing columns: `b`, `d`" in message(frame.drop(columns=["b", "d"]))
    wrong = frame.astype({"c": object})
    wrong.loc[8191, "c"] = "x"
    assert 'row 8192, column `c`: expected a number, found the text "x"' in message(wrong)
    assert "has no probability; use --kind value" in message(frame, "rows.csv", "--kind", "probability")
    ended = run("score", "--model", "nobody", "--input", tmp_path / "rows.csv", "--output", out, code=2)
    assert "nobody: no such file, and no such model in models" in ended.stderr
    ended = run(
        "score",
        "--model",
        tmp_path / "model.json",
        "--input",
        tmp_path / "rows.csv",
        "--output",
        "x.xls",
        code=2,
    )
    assert ".parquet, .csv" in ended.stderr


IDS = {
    "text": ["a", None, "c"],
    "int": pd.array([7, None, 2**60], dtype="Int64"),
    "float": [7.0, None, 9.5],
    "time": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"], utc=True),
}


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("kind", IDS)
def test_ids_of_every_kind_come_out_as_they_went_in(run, tmp_path, frame, boosters, kind, ending):
    boosters["value"].save_model(tmp_path / "model.json")
    rows = frame.head(3).assign(id=IDS[kind])
    rows.to_parquet(tmp_path / "rows.parquet")
    out = tmp_path / f"out.{ending}"
    run("score", "--model", tmp_path / "model.json", "--input", tmp_path / "rows.parquet", "--output", out)
    found = read(out)["id"]
    if kind == "time":
        found = pd.to_datetime(found)
    given = [None if pd.isna(id) else id for id in rows["id"]]
    assert [None if pd.isna(id) else id for id in found] == given


def test_decimals_are_numbers_and_a_bool_is_one_too(run, tmp_path, frame, boosters):
    from decimal import Decimal

    import pyarrow
    import pyarrow.parquet

    boosters["value"].save_model(tmp_path / "model.json")
    rows = frame.head(3)[list("abcde")].assign(a=[1.25, -0.5, 3.0], b=[1.0, 0.0, 1.0])
    table = {name: rows[name].tolist() for name in "cde"}
    table |= {
        "a": pyarrow.array([Decimal("1.25"), Decimal("-0.50"), Decimal("3.00")]),
        "b": [True, False, True],
    }
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "rows.parquet")
    run(
        "score",
        "--model",
        tmp_path / "model.json",
        "--input",
        tmp_path / "rows.parquet",
        "--output",
        tmp_path / "o.parquet",
    )
    truth = boosters["value"].predict(xgboost.DMatrix(rows))
    assert np.array_equal(read(tmp_path / "o.parquet")["value"], truth)


def test_an_output_never_replaces_or_joins_its_input(run, tmp_path, frame, boosters):
    boosters["value"].save_model(tmp_path / "model.json")
    (tmp_path / "rows").mkdir()
    path = tmp_path / "rows/part.csv"
    frame.head(9).to_csv(path, index=False)
    for given, output in [
        (path, tmp_path / "rows/../rows/part.csv"),
        (tmp_path / "rows", tmp_path / "rows/out.csv"),
    ]:
        ended = run("score", "--model", tmp_path / "model.json", "--input", given, "--output", output, code=2)
        assert "would overwrite the input or become part of it" in ended.stderr


def test_bad_rows_are_skipped_and_listed_where_that_is_asked(run, tmp_path):
    frame = pd.read_parquet(CUSTOMERS).head(2000).astype(object)
    good = tmp_path / "good.jsonl"
    frame.to_json(good, orient="records", lines=True, date_format="iso", double_precision=15)
    lines = good.read_text().splitlines()
    for row, column, value in [(3, "visits_30d", "many"), (1500, "nps", 7.5)]:
        lines[row] = json.dumps(json.loads(lines[row]) | {column: value})
    bad = tmp_path / "bad.jsonl"
    bad.write_text("\n".join(lines))
    output, rejects = tmp_path / "scores.csv", tmp_path / "rejects.csv"
    stopped = run("score", "--model", BUNDLE, "--input", bad, "--output", output, code=2)
    assert "row 4, column `visits_30d`" in stopped.stderr and "--on-error skip" in stopped.stderr
    assert not output.exists()
    arguments = ["--on-error", "skip", "--rejects", rejects]
    done = run("score", "--model", BUNDLE, "--input", bad, "--output", output, *arguments, code=3)
    assert "2 rows have no score" in done.stderr and f"all in {rejects}" in done.stderr
    listed = pd.read_csv(rejects)
    assert listed[["file", "row", "column"]].to_numpy().tolist() == [
        [str(bad), 4, "visits_30d"],
        [str(bad), 1501, "nps"],
    ]
    assert listed["reason"].str.contains("expected a whole number").all()
    refused = run("score", "--model", BUNDLE, "--input", bad, "--output", output, "--rejects", bad, code=2)
    assert "overwrite the input" in refused.stderr and bad.read_text().count("\n") == 1999
    run("score", "--model", BUNDLE, "--input", good, "--output", tmp_path / "all.csv")
    expected, found = (pd.read_csv(path).iloc[:, 1] for path in (tmp_path / "all.csv", output))
    assert found.isna().sum() == 2 and found[3:4].isna().all() and found[1500:1501].isna().all()
    assert (found.drop([3, 1500]) == expected.drop([3, 1500])).all()


def test_a_column_that_occurs_twice_is_an_error_only_if_a_model_needs_it(run, tmp_path):
    frame = pd.read_parquet(CUSTOMERS).head(20)
    for name, code in [("note", 0), ("nps", 2)]:
        table = tmp_path / f"{name}.csv"
        text = frame.to_csv(index=False).splitlines()
        table.write_text("\n".join([f"{text[0]},{name},{name}", *(f"{line},1,2" for line in text[1:])]))
        done = run(
            "score", "--model", BUNDLE, "--input", table, "--output", tmp_path / f"{name}.out.csv", code=code
        )
        assert code == 0 or "`nps`" in done.stderr
        lines = tmp_path / f"{name}.jsonl"
        rows = frame.to_json(orient="records", lines=True, date_format="iso").splitlines()
        lines.write_text("\n".join(row[:-1] + f', "{name}": 1, "{name}": 2}}' for row in rows))
        done = run(
            "score",
            "--model",
            BUNDLE,
            "--input",
            lines,
            "--output",
            tmp_path / f"{name}.out.jsonl",
            code=code,
        )
        assert code == 0 or "column `nps`: expected a whole number, found a duplicate key" in done.stderr
