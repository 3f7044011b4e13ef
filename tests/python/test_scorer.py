"""`Scorer`: tables of Python libraries in, the bits of the training library out, with the contract applied."""

import hashlib
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import tomllib

import catboost
import duckdb
import lightgbm
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import xgboost

from evergreen_serving import derive, save_bundle
from evergreen_testing.paths import CUSTOMERS, MODELS, ROOT
from evergreen_testing.python_package import COMPILED
from evergreen_testing.sample_customers import FEATURES, FRAME, ROWS

CATEGORIES = ["basic", "плюс", "pro"]
LIBRARIES = ["xgboost", "lightgbm", "catboost"]


def bits(values):
    """Returns numbers as the whole numbers of the same bits."""
    values = np.ascontiguousarray(values)
    assert values.dtype in (np.float32, np.float64), values.dtype
    return values.view("uint32" if values.dtype == np.float32 else "uint64")


def differing(found, truth):
    found = found.to_numpy() if hasattr(found, "to_numpy") else np.asarray(found)
    assert len(found) == len(truth)
    # NaN is no result of these models.
    assert not np.isnan(truth).any()
    return int((bits(found) != bits(np.asarray(truth, dtype=found.dtype))).sum())


def frame(rows=4000, seed=7, missing=0.05):
    rng = np.random.default_rng(seed)
    out = pd.DataFrame(
        {
            "spend": rng.gamma(2, 50, rows),
            "ratio": rng.normal(0, 1, rows).astype("float32"),
            "calls": rng.poisson(2, rows),
            "flag": rng.random(rows) < 0.5,
            "plan": pd.Categorical(rng.choice(CATEGORIES, rows), categories=CATEGORIES),
        }
    )
    for column in ("spend", "ratio", "plan"):
        out.loc[rng.random(rows) < missing, column] = None
    return out


def label(rows):
    signal = rows["spend"].fillna(90) / 50 + rows["ratio"].fillna(0) + rows["calls"] / 2 - 2 * rows["flag"]
    signal = signal + rows["plan"].cat.codes
    return (signal > signal.median()).astype(int)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Returns, by library, the path of a bundle, and a function from a frame to the library's margins and values."""
    folder, rows = tmp_path_factory.mktemp("models"), frame()
    out = {}
    booster = xgboost.train(
        {"objective": "binary:logistic", "max_depth": 5, "nthread": 2},
        xgboost.DMatrix(rows, label(rows), enable_categorical=True),
        40,
    )

    def by_xgboost(rows):
        matrix = xgboost.DMatrix(rows, enable_categorical=True)
        return booster.predict(matrix, output_margin=True), booster.predict(matrix)

    out["xgboost"] = (save_bundle(booster, rows, folder / "xgboost" / "1"), by_xgboost)
    gbm = lightgbm.train({"objective": "binary", "verbosity": -1}, lightgbm.Dataset(rows, label(rows)), 40)
    out["lightgbm"] = (
        save_bundle(gbm, rows, folder / "lightgbm" / "1"),
        lambda rows: (gbm.predict(rows, raw_score=True), gbm.predict(rows)),
    )
    cat = catboost.CatBoostClassifier(
        iterations=40, depth=5, verbose=False, one_hot_max_size=9, thread_count=2
    )
    texts = as_texts(rows)
    cat.fit(texts, label(rows), cat_features=["plan"])

    def by_catboost(rows):
        rows = as_texts(rows)
        return cat.predict(rows, prediction_type="RawFormulaVal"), cat.predict_proba(rows)[:, 1]

    out["catboost"] = (save_bundle(cat, texts, folder / "catboost" / "1"), by_catboost)
    return out


def as_texts(rows):
    """CatBoost takes no missing categories."""
    return rows.assign(plan=rows["plan"].astype(object).fillna("basic"))


def rows_of(library, seed=8, **options):
    rows = frame(seed=seed, **options)
    return as_texts(rows) if library == "catboost" else rows


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    "of", ["pyarrow", "batch", "polars", "pandas", "duckdb", "reader", "chunks", "slices"]
)
def test_every_kind_of_table_gives_the_librarys_bits(scorer_class, models, library, of):
    bundle, predict = models[library]
    rows = rows_of(library)
    table = pa.Table.from_pandas(rows)
    # Other columns, in another order.
    table = table.append_column("note", pa.array(["x"] * len(rows))).select(
        ["note", *reversed(table.column_names)]
    )
    skipped = 0
    match of:
        case "pyarrow":
            data, kind = table, pa.Table
        case "batch":
            data, kind = table.combine_chunks().to_batches()[0], pa.RecordBatch
        case "polars":
            data, kind = pl.from_arrow(table), pl.DataFrame
        case "pandas":
            data, kind = rows.set_axis(range(9, 9 + len(rows)), axis=0), pd.DataFrame
        case "duckdb":
            kind = None
            numbered = table.append_column("n", pa.array(range(len(rows))))
            connection = duckdb.connect()
            connection.register("customers", numbered)
            data = connection.sql("select * from customers order by n")
        case "reader":
            data, kind = table.to_reader(max_chunksize=37), pa.Table
        case "chunks":
            data = pa.concat_tables(
                [table.slice(0, 1), table.slice(1, 1), table.slice(2, 700), table.slice(702)]
            )
            kind = pa.Table
        case "slices":
            skipped = 13
            data, kind = table.slice(skipped, 2001), pa.Table
    scores = scorer_class.load(bundle).score(data, kind=["margin", "score"])
    if kind is not None:
        assert isinstance(scores, kind), type(scores)
    if of == "pandas":
        assert list(scores.index) == list(data.index)
    margins, values = predict(rows.iloc[skipped : skipped + len(scores)])
    scores = pa.table(scores) if of != "pandas" else scores
    assert len(scores) == (2001 if skipped else len(rows))
    assert differing(scores["margin"], margins) == 0
    assert differing(scores["score"], values) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64", "Float32", "Float64", "double[pyarrow]"])
def test_a_frame_of_floats_alone_may_have_any_type_of_float(scorer_class, tmp_path, dtype):
    rng = np.random.default_rng(5)
    rows = pd.DataFrame(rng.normal(size=(500, 4)).astype("float32"), columns=list("abcd"))
    rows = rows.mask(rng.random(rows.shape) < 0.1)
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(rows, rows["a"] > 0), 10)
    scorer = scorer_class.load(save_bundle(booster, rows, tmp_path / "floats" / "1"))
    scores = scorer.score(rows.astype(dtype))
    assert differing(scores["score"], booster.predict(xgboost.DMatrix(rows))) == 0


def test_a_stream_may_be_filled_by_python_code(scorer_class, models):
    bundle, predict = models["xgboost"]
    rows = frame()
    batches = pa.Table.from_pandas(rows).to_batches(max_chunksize=100)
    scorer, truth = scorer_class.load(bundle), predict(rows)[1]
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, (batch for batch in batches))
    assert differing(scorer.score(reader)["score"], truth) == 0
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, (batch for batch in batches))
    connection = duckdb.connect()
    connection.register("customers", reader)
    found = pa.table(scorer.score(connection.sql("select * from customers")))
    assert differing(found["score"], truth) == 0


def test_scores_of_32_bit_models_stay_32_bit(scorer_class, models):
    narrow = scorer_class.load(models["xgboost"][0])
    assert pa.schema(narrow.schema(["score", "margin", "contributions"])).types == [pa.float32()] * 8
    wide = scorer_class.load(models["lightgbm"][0])
    assert pa.schema(wide.schema(["score", "class", "band", "missing", "error"])).types == [
        pa.float64(),
        pa.int64(),
        pa.string(),
        pa.int32(),
        pa.string(),
    ]


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_change_neither_bits_nor_order(scorer_class, models, threads):
    bundle, predict = models["xgboost"]
    rows = pd.concat([frame(seed=seed) for seed in range(20)], ignore_index=True)
    rows["plan"] = rows["plan"].astype(pd.CategoricalDtype(CATEGORIES))
    table = pa.concat_tables(
        [pa.Table.from_pandas(rows.iloc[start : start + 777]) for start in range(0, len(rows), 777)]
    )
    scores = scorer_class.load(bundle).score(table, "margin", threads=threads)
    assert differing(scores["margin"], predict(rows)[0]) == 0


def test_several_threads_of_python_share_a_scorer(scorer_class, models):
    bundle, predict = models["xgboost"]
    scorer, rows = scorer_class.load(bundle), frame()
    truth, table, wrong = predict(rows)[1], pa.Table.from_pandas(rows), []

    def work():
        for _ in range(5):
            wrong.append(differing(scorer.score(table)["score"], truth))

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert wrong == [0] * 20


@pytest.mark.parametrize("library", LIBRARIES)
def test_contributions_name_every_feature_and_add_up_to_the_margin(scorer_class, models, library):
    scorer = scorer_class.load(models[library][0])
    rows = rows_of(library).head(300)
    scores = scorer.score(pa.Table.from_pandas(rows), ["contributions", "margin"])
    assert scores.column_names == [*(feature.name for feature in scorer.features), "bias", "margin"]
    parts = scores.drop_columns("margin").to_pandas().astype("float64").sum(axis=1)
    assert np.allclose(parts, scores["margin"].to_numpy(), atol=2e-5)


def test_contributions_are_xgboosts(scorer_class, models):
    bundle, _ = models["xgboost"]
    rows = frame().head(500)
    booster = xgboost.Booster(model_file=str(bundle / "model.ubj"))
    truth = booster.predict(xgboost.DMatrix(rows, enable_categorical=True), pred_contribs=True)
    found = scorer_class.load(bundle).score(rows, "contributions").to_numpy()
    assert found.dtype == np.float32 and np.allclose(found, truth, atol=1e-5)


def test_leaves_are_xgboosts(scorer_class, models):
    bundle, _ = models["xgboost"]
    rows = frame().head(500)
    booster = xgboost.Booster(model_file=str(bundle / "model.ubj"))
    truth = booster.predict(xgboost.DMatrix(rows, enable_categorical=True), pred_leaf=True)
    assert (scorer_class.load(bundle).score(rows, "leaf").to_numpy() == truth).all()


TYPES = {
    "dictionary of other codes": lambda column: pa.array(column.to_pylist()[::-1]).dictionary_encode(),
    "large_string": lambda column: column.cast(pa.large_string()),
    "string_view": lambda column: column.cast(pa.string_view()),
}


@pytest.mark.parametrize("types", TYPES, ids=str)
def test_categories_are_matched_by_name_in_any_type_of_text(scorer_class, models, types):
    bundle, predict = models["xgboost"]
    rows = frame()
    texts = pa.array(rows["plan"].astype(object).where(rows["plan"].notna(), None))
    if types.startswith("dictionary"):
        rows = rows.iloc[::-1]
    table = pa.Table.from_pandas(rows, preserve_index=False)
    table = table.set_column(4, "plan", TYPES[types](texts))
    assert differing(scorer_class.load(bundle).score(table)["score"], predict(rows)[1]) == 0


@pytest.mark.parametrize(
    "type",
    ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float", "double", "decimal"],
)
def test_whole_numbers_of_any_type_are_the_same_feature(scorer_class, models, type):
    bundle, predict = models["xgboost"]
    rows = frame(missing=0.3)
    table = pa.Table.from_pandas(rows, preserve_index=False)
    names = {"float": "float32", "double": "float64"}
    to = pa.decimal128(25, 3) if type == "decimal" else getattr(pa, names.get(type, type))()
    gaps = pa.array(np.random.default_rng(1).random(len(rows)) < 0.2)
    column = pc.if_else(gaps, pa.scalar(None, pa.int64()), table["calls"].combine_chunks()).cast(to)
    # An offset that is no multiple of eight bits.
    table = table.set_column(2, "calls", column).slice(5)
    rows = rows.assign(calls=rows["calls"].where(~gaps.to_numpy(zero_copy_only=False))).iloc[5:]
    assert differing(scorer_class.load(bundle).score(table)["score"], predict(rows)[1]) == 0


def test_null_and_nan_are_missing_values(scorer_class, models):
    bundle, predict = models["xgboost"]
    rows = frame(missing=0)
    null = pa.Table.from_pandas(rows, preserve_index=False)
    gaps = np.arange(len(rows)) % 3 == 0
    rows["spend"] = rows["spend"].mask(gaps)
    nan = null.set_column(0, "spend", pa.array(rows["spend"].to_numpy(), from_pandas=False))
    null = null.set_column(0, "spend", pa.array(rows["spend"].to_numpy(), from_pandas=True))
    assert (nan["spend"].null_count, null["spend"].null_count) == (0, gaps.sum())
    scorer, truth = scorer_class.load(bundle), predict(rows)[1]
    for table in (null, nan):
        scores = scorer.score(table, ["score", "missing", "out_of_range", "error"])
        assert differing(scores["score"], truth) == 0
        assert scores["missing"].to_pylist() == gaps.astype(int).tolist()
        assert set(scores["out_of_range"].to_pylist()) == {0}
        assert set(scores["error"].to_pylist()) == {None}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_what_a_masked_array_hides_is_missing(scorer_class, tmp_path, dtype):
    rng = np.random.default_rng(6)
    rows = rng.integers(0, 9, (400, 4)).astype("float32")
    hidden = rng.random(rows.shape) < 0.2
    truth = pd.DataFrame(np.where(hidden, np.nan, rows), columns=list("abcd"))
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(truth, rows[:, 0] > 4), 10)
    scorer = scorer_class.load(save_bundle(booster, truth, tmp_path / "masked" / "1"))
    # The largest number lies below a mask, where it does not count.
    below = np.where(hidden, 2**60, rows).astype(dtype)
    scores = scorer.score(np.ma.masked_array(below, mask=hidden))
    assert differing(scores, booster.predict(xgboost.DMatrix(truth))) == 0


def test_frames_of_polars_may_have_columns_without_a_type(scorer_class, models):
    for name in ("spend", "plan", "flag"):
        rows = frame(50, missing=0)
        gone = pl.from_pandas(rows).with_columns(
            pl.Series(name, [None] * len(rows), dtype=pl.Null),
            pl.Series("unread", [None] * len(rows), dtype=pl.Null),
            pl.Series("large", [1] * len(rows), dtype=pl.Int128),
        )
        scores = scorer_class.load(models["xgboost"][0]).score(gone, ["score", "missing"])
        nulls = pa.Table.from_pandas(rows, preserve_index=False)
        nulls = nulls.set_column(nulls.schema.get_field_index(name), name, pa.nulls(len(rows)))
        assert scores["missing"].to_list() == [1] * len(rows), name
        assert (
            scores["score"].to_list()
            == scorer_class.load(models["xgboost"][0]).score(nulls)["score"].to_pylist()
        )


def test_columns_of_pandas_in_other_layouts(scorer_class, models):
    bundle, predict = models["xgboost"]
    rows = frame(300, missing=0)
    given = rows.assign(
        spend=rows["spend"].to_numpy().astype(">f8"), ratio=pd.arrays.SparseArray(rows["ratio"].to_numpy())
    )
    assert differing(scorer_class.load(bundle).score(given)["score"], predict(rows)[1]) == 0


@pytest.mark.parametrize("on_error", ["raise", "null"])
def test_a_column_of_objects_of_several_types_is_named(scorer_class, models, on_error):
    scorer, rows = scorer_class.load(models["xgboost"][0]), frame(5, missing=0)
    mixed = rows.assign(spend=[1.5, None, 2.5, "n/a!", 3.0])
    with pytest.raises(
        ValueError, match="row 3, column `spend`: expected a number as in the rows before, found 'n/a!'"
    ):
        scorer.score(mixed, on_error=on_error)
    mixed = rows.assign(plan=[None, "basic", 3, "pro", "pro"])
    with pytest.raises(
        ValueError, match="row 2, column `plan`: expected a text as in the rows before, found 3"
    ):
        scorer.score(mixed, on_error=on_error)


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A model whose contract has a default, ranges, a required feature and bands; and the library's probabilities."""
    rows = frame(missing=0.1)
    numbers = rows.drop(columns=["plan"])
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(numbers, label(rows)), 30)
    bundle = save_bundle(
        booster,
        numbers,
        tmp_path_factory.mktemp("strict") / "strict" / "3",
        defaults={"spend": 80.0},
        ranges={"ratio": (-1.0, 1.0), "calls": (0, 4)},
        out_of_range={"ratio": "clamp", "calls": "reject"},
        required=["calls"],
        types={"calls": "int"},
        sources={"spend": "stats:spend_30d"},
        bands={"low": 0.0, "medium": 0.25, "high": 0.75},
    )
    return bundle, numbers, lambda rows: booster.predict(xgboost.DMatrix(rows))


def test_the_contract_is_applied(scorer_class, strict):
    bundle, numbers, predict = strict
    scorer = scorer_class.load(bundle)
    # The store's name of the column.
    table = pa.Table.from_pandas(numbers.rename(columns={"spend": "spend_30d"}), preserve_index=False)
    scores = scorer.score(table, ["score", "band", "missing", "out_of_range", "error"]).to_pandas()
    seen = numbers.assign(spend=numbers["spend"].fillna(80.0), ratio=numbers["ratio"].clip(-1, 1))
    truth, rejected = predict(seen), numbers["calls"] > 4
    assert 0.01 < rejected.mean() < 0.2
    assert scores["score"].isna().equals(rejected)
    assert differing(scores["score"][~rejected].to_numpy(), truth[~rejected]) == 0
    bands = np.select([truth >= np.float64(0.75), truth >= np.float64(0.25)], ["high", "medium"], "low")
    assert (scores["band"].fillna("") == np.where(rejected, "", bands)).all()
    missing = numbers["spend"].isna().astype(int) + numbers["ratio"].isna()
    assert (scores["missing"] == missing).all()
    outside = (numbers["ratio"].abs() > 1).astype(int) + rejected
    assert (scores["out_of_range"] == outside).all()
    assert set(scores["error"][rejected]) == {
        f"feature `calls` is {calls}, outside of its range 0 to 4"
        for calls in numbers["calls"][rejected].unique()
    }
    assert scores["error"][~rejected].isna().all()


def test_a_required_value_that_is_missing_gives_no_score(scorer_class, strict):
    row = {"spend": 1.0, "ratio": 0.5, "calls": None, "flag": True}
    assert scorer_class.load(strict[0]).score(row, ["score", "error"]) == {
        "score": None,
        "error": "feature `calls` is required and has no value",
    }


def test_the_description_is_the_contracts(scorer_class, strict):
    scorer = scorer_class.load(strict[0])
    assert (scorer.name, scorer.version, scorer.output, scorer.library) == (
        "strict",
        3,
        "probability",
        "xgboost",
    )
    assert (scorer.objective, scorer.trees, scorer.calibrated) == ("binary:logistic", 30, False)
    assert [(band.name, band.start) for band in scorer.bands] == [
        ("low", 0),
        ("medium", 0.25),
        ("high", 0.75),
    ]
    spend, ratio, calls, flag = scorer.features
    assert (spend.name, spend.column, spend.type, spend.default) == ("spend", "spend_30d", "float", 80)
    assert (ratio.range, calls.required, calls.type, flag.type) == ((-1, 1), True, "int", "bool")
    assert scorer.bundle_sha256 == hashlib.sha256((strict[0] / "bundle.toml").read_bytes()).hexdigest()
    assert scorer.sha256 == hashlib.sha256((strict[0] / "model.ubj").read_bytes()).hexdigest()
    assert "class" in scorer.kinds and "band" in scorer.kinds


BAD = {
    "text": ("spend", pa.array(["a", "b", "3"]), 0, 'expected a number, found the text "a"'),
    "number as text": (
        "calls",
        pa.array([None, None, "3"]),
        2,
        'expected a whole number, found the text "3"',
    ),
    "fraction": ("calls", pa.array([1.0, 1.5, 2.0]), 1, "expected a whole number, found 1.5"),
    "boolean": ("spend", pa.array([None, True, None]), 1, "expected a number, found true"),
    "number for a boolean": ("flag", pa.array([0, 1, 2]), 2, "expected true or false, found 2"),
    "too large": ("calls", pa.array([0, 1, 2**53 + 1]), 2, "9007199254740993 is beyond ±2^53"),
    "unsigned": ("calls", pa.array([0, 2**64 - 1, 1], pa.uint64()), 1, "is an unsigned number beyond 2^63"),
    "beyond 32 bits": (
        "spend",
        pa.array([1.0, 1e300, 1.0]),
        1,
        "exceeds the range of this model's 32-bit floats",
    ),
    "timestamp": (
        "spend",
        pa.array([None, None, 1], pa.timestamp("ms")),
        2,
        "expected a number, found a timestamp",
    ),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_a_bad_cell_is_named(scorer_class, strict, case):
    column, values, row, message = BAD[case]
    good = {"spend": [1.0] * 3, "ratio": [0.1] * 3, "calls": [1] * 3, "flag": [True] * 3}
    table = pa.table(good | {column: values})
    scorer = scorer_class.load(strict[0])
    with pytest.raises(ValueError, match=r"^row") as error:
        scorer.score(table)
    shown = "spend_30d" if column == "spend" else column
    assert str(error.value).startswith(f"row {row}, column `{shown}`: "), error.value
    assert message in str(error.value)
    # The other rows get the scores that they would have without it.
    scores = scorer.score(table, ["score", "error"], on_error="null").to_pylist()
    assert scores[row] == {"score": None, "error": str(error.value).removeprefix(f"row {row}, ")}
    fine = [at for at in range(3) if scores[at]["error"] is None]
    alone = scorer.score(table.take(pa.array(fine, pa.int64())))["score"].to_pylist()
    assert [scores[at]["score"] for at in fine] == alone


def test_the_first_bad_row_is_named_whatever_the_threads(scorer_class, models):
    rows = pa.Table.from_pandas(pd.concat([frame()] * 20))
    spend = rows["spend"].to_pylist()
    spend[61_234] = spend[70_000] = float("inf")
    spend[61_235] = 1e300
    table = rows.set_column(0, "spend", pa.array(spend))
    scorer = scorer_class.load(models["xgboost"][0])
    for threads in (1, 4):
        with pytest.raises(ValueError, match=r"^row 61235, column `spend`: "):
            scorer.score(table, threads=threads)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda t: t.drop_columns(["calls", "flag"]),
            "missing columns: `calls` (int), `flag` (bool); found spend, ratio",
        ),
        (
            lambda t: t.drop_columns(["spend"]),
            "missing column: `spend_30d` (float); found ratio, calls, flag",
        ),
        (
            lambda t: t.append_column("calls", t["calls"]),
            "two columns for feature `calls`; rename or drop one",
        ),
        (
            lambda t: t.set_column(0, "spend", pa.array([[1.0]] * len(t))),
            "column `spend`: columns of type List(Float64) are not read; cast it to numbers, booleans, texts or timestamps",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_refused(scorer_class, strict, change, message):
    table = change(pa.Table.from_pandas(strict[1].head(3), preserve_index=False))
    with pytest.raises(ValueError, match=re.escape(message)):
        scorer_class.load(strict[0]).score(table)


def test_an_empty_table_gives_an_empty_table(scorer_class, strict):
    scorer, empty = (
        scorer_class.load(strict[0]),
        pa.Table.from_pandas(strict[1].head(0), preserve_index=False),
    )
    assert scorer.score(empty, ["score", "band"]).schema == pa.schema(scorer.schema(["score", "band"]))
    assert len(scorer.score(empty)) == 0
    assert scorer.score(pl.from_arrow(empty)).shape == (0, 1)
    assert scorer.score(strict[1].head(0)).shape == (0, 1)
    bands = [scorer.score(strict[1].head(rows), "band").dtypes["band"] for rows in (0, 2)]
    assert bands == [object, object]
    assert scorer.score(np.empty((0, 4))).shape == (0,)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda s, t: s.score(t, "scores"),
            "kind: expected one of score, value, margin, class, leaf, contributions, band",
        ),
        (lambda s, t: s.score(t, ["score", "score"]), "kind: two columns would be named `score`"),
        (lambda s, t: s.score(t, threads=0), "threads: expected 1 or more, found 0"),
        (lambda s, t: s.score(t, on_error="skip"), 'on_error: expected "raise" or "null", found \'skip\''),
        (lambda s, t: s.score(np.zeros(4)), "expected a NumPy array of two dimensions"),
        (
            lambda s, t: s.score(np.zeros((2, 3))),
            "expected 4 columns, one per feature in the order of Scorer.features, found 3",
        ),
        (lambda s, t: s.score(np.full((1, 4), "a")), "expected an array of numbers, found <U1"),
        (lambda s, t: s.score(np.full((1, 4), 2**60)), "1152921504606846976 is beyond ±2^53"),
        (lambda s, t: s.score({"spend": 1.0, "ratio": 1.0, "calls": 1}), "missing column: `flag` (bool)"),
        (
            lambda s, t: s.score({"spend": [1], "ratio": 1.0, "calls": 1, "flag": True}),
            "column `spend`: expected None, a boolean, a number, a text or a time, found list",
        ),
    ],
)
def test_a_wrong_call_is_explained(scorer_class, strict, call, message):
    table = pa.Table.from_pandas(strict[1].head(3), preserve_index=False)
    with pytest.raises(ValueError, match=re.escape(message)):
        call(scorer_class.load(strict[0]), table)


def test_what_is_no_table_is_refused(scorer_class, strict):
    scorer = scorer_class.load(strict[0])
    for data in ([[1.0]], "rows.parquet", pl.LazyFrame({"a": [1]})):
        with pytest.raises(TypeError, match="expected a table of pyarrow, polars, pandas"):
            scorer.score(data)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_have_the_features_order(scorer_class, strict, dtype, order):
    bundle, numbers, predict = strict
    numbers = numbers[numbers["calls"] <= 4]
    seen = numbers.assign(spend=numbers["spend"].fillna(80.0), ratio=numbers["ratio"].clip(-1, 1))
    array = np.asarray(numbers.astype(dtype).to_numpy(), order=order)
    scorer = scorer_class.load(bundle)
    assert differing(scorer.score(array), predict(seen.astype(dtype))) == 0
    assert differing(scorer.score(array[:1]), predict(seen.astype(dtype))[:1]) == 0
    both = scorer.score(array, ["score", "missing", "band"])
    assert list(both) == ["score", "missing", "band"] and both["band"][0] in ("low", "medium", "high")
    assert scorer.score(array, "contributions").shape == (len(array), 5)


def test_arrays_cannot_name_categories(scorer_class, models):
    with pytest.raises(ValueError, match="an array holds numbers only, but feature `plan` is a category"):
        scorer_class.load(models["xgboost"][0]).score(np.zeros((1, 5)))


def test_a_row_is_a_dict(scorer_class):
    booster = xgboost.Booster(model_file=str(MODELS / "churn/1/model.ubj"))
    rows = FRAME.head(50)
    scorer = scorer_class.load(MODELS / "churn/1")
    whole = scorer.score(rows, "margin")["margin"].to_numpy()
    each = [scorer.score(row, "margin")["margin"] for row in ROWS[:50]]
    assert differing(np.array(each, dtype="float32"), whole) == 0
    typed = scorer.score({**ROWS[0], "as_of": None, "nps": np.float32(3), "visits_30d": np.int64(4)})
    assert 0 < typed["score"] < 1
    assert booster.num_features() == len(scorer.features)


# By feature of the sample, its categories in the order of the codes.
CODES = {
    feature["name"]: feature["categories"]
    for feature in tomllib.loads((MODELS / "churn/1/bundle.toml").read_text(encoding="utf-8"))["feature"]
    if "categories" in feature
}


def test_all_sample_customers_get_xgboosts_bits_from_every_table(scorer_class):
    """The judge reads the customers itself."""
    scorer = scorer_class.load(f"file://{MODELS / 'churn'}")
    booster = xgboost.Booster(model_file=str(MODELS / "churn/1/model.ubj"))
    seen = FRAME[FEATURES].copy()
    for feature in scorer.features:
        if feature.type == "category":
            seen[feature.name] = seen[feature.name].astype(pd.CategoricalDtype(CODES[feature.name]))
        else:
            seen[feature.name] = seen[feature.name].astype("float64")
            if feature.default is not None:
                seen[feature.name] = seen[feature.name].fillna(float(feature.default))
    seen = seen[[feature.name for feature in scorer.features]]
    truth = booster.predict(xgboost.DMatrix(seen, enable_categorical=True))
    table = pq.read_table(CUSTOMERS)
    for data in (table, pl.read_parquet(CUSTOMERS), FRAME, duckdb.read_parquet(str(CUSTOMERS))):
        scores = scorer.score(data)
        scores = scores if isinstance(scores, pd.DataFrame) else pa.table(scores)
        assert differing(scores["score"], truth) == 0


def test_dates_and_timestamps_are_instants(scorer_class, tmp_path):
    rng, rows = np.random.default_rng(3), 600
    when = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 10**7, rows), unit="s")
    seconds = (when - pd.Timestamp("1970-01-01")).total_seconds().to_numpy()
    X = pd.DataFrame({"since": seconds, "n": rng.normal(size=rows)})
    gbm = lightgbm.train(
        {"objective": "binary", "verbosity": -1}, lightgbm.Dataset(X, seconds > seconds.mean()), 20
    )
    frame = X.assign(since=when)
    bundle = save_bundle(gbm, X, tmp_path / "t" / "1", types={"since": "timestamp"})
    truth, scorer = gbm.predict(X), scorer_class.load(bundle)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for unit in ("s", "ms", "us", "ns"):
        for zone in (None, "America/New_York"):
            data = table.set_column(
                0, "since", table["since"].cast(pa.timestamp(unit)).cast(pa.timestamp(unit, zone))
            )
            assert differing(scorer.score(data)["score"], truth) == 0, (unit, zone)
    texts = table.set_column(0, "since", pa.array([f"{time.isoformat()}Z" for time in when]))
    assert differing(scorer.score(texts)["score"], truth) == 0
    row = {"since": when[0].to_pydatetime(), "n": X["n"][0]}
    assert scorer.score(row)["score"] == truth[0]
    for unit in ("s", "us", "ns"):
        since = when[0].to_datetime64().astype(f"M8[{unit}]")
        assert scorer.score(row | {"since": since})["score"] == truth[0]
    for nothing in (None, pd.NaT, np.datetime64("NaT"), pd.NA):
        assert scorer.score(row | {"since": nothing}, "missing")["missing"] == 1
    # Beyond 64 bits as microseconds: a bad cell of its row alone.
    late = table["since"].cast(pa.timestamp("s")).cast(pa.int64()).to_pylist()
    late[3] = 2**60
    data = table.set_column(0, "since", pa.array(late, pa.timestamp("s")))
    with pytest.raises(ValueError, match=r"^row 3, column `since`: a time that does not fit into 64 bits"):
        scorer.score(data)
    scores = scorer.score(data, ["score", "error"], on_error="null")
    assert "does not fit" in scores["error"][3].as_py() and scores["score"].null_count == 1
    assert differing(scores["score"].drop_null(), np.delete(truth, 3)) == 0
    days = X.assign(since=np.floor(seconds / 86400) * 86400)
    dates = table.set_column(0, "since", table["since"].cast(pa.date32()))
    assert differing(scorer.score(dates)["score"], gbm.predict(days)) == 0


def test_derived_features_are_those_of_training(scorer_class, tmp_path):
    rng, rows = np.random.default_rng(11), 800
    as_of = pd.Timestamp("2026-11-20T03:00:00Z") - pd.to_timedelta(rng.integers(0, 10**6, rows), unit="s")
    raw = pd.DataFrame(
        {"as_of": as_of, "signed_up": as_of - pd.to_timedelta(rng.integers(0, 10**8, rows), unit="s")}
    )
    raw["price"] = np.round(rng.gamma(2, 20, rows), 2)
    raw["price_before"] = np.where(rng.random(rows) < 0.2, 0.0, np.round(rng.gamma(2, 20, rows), 2))
    raw.loc[rng.random(rows) < 0.1, "price"] = None
    definitions = {"tenure": {"days_since": "signed_up"}, "ratio": {"ratio": ["price", "price_before"]}}
    X = derive(raw, definitions, now=raw["as_of"])[["price", "tenure", "ratio"]]
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, X["tenure"] > 500), 20)
    operands = {"signed_up": {"type": "timestamp"}, "price_before": {"type": "float"}}
    bundle = save_bundle(booster, X, tmp_path / "d" / "1", derived=definitions, operands=operands)
    scorer = scorer_class.load(bundle)
    truth = booster.predict(xgboost.DMatrix(X))
    assert differing(scorer.score(raw)["score"], truth) == 0
    # A column of its own is read, not computed.
    own = raw.drop(columns=["signed_up"]).assign(tenure=X["tenure"], signed_up=pd.NaT)
    assert differing(scorer.score(own)["score"], truth) == 0
    assert [feature.derived for feature in scorer.features] == [False, True, True]
    # What it reads, for those who send no other columns.
    assert set(scorer.columns) >= {"as_of", "signed_up", "price", "price_before"}
    assert differing(scorer.score(raw[[name for name in scorer.columns if name in raw]])["score"], truth) == 0


def test_a_calibrated_score_is_scikit_learns(scorer_class, tmp_path):
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    rows = frame(missing=0).drop(columns=["plan"])
    rows["flag"] = rows["flag"].astype(float)
    target = label(frame(missing=0))
    model = xgboost.XGBClassifier(n_estimators=20).fit(rows, target)
    fitted = CalibratedClassifierCV(FrozenEstimator(model), method="isotonic").fit(rows, target)
    bundle = save_bundle(model, rows, tmp_path / "c" / "1", calibration=fitted)
    scorer = scorer_class.load(bundle)
    scores = scorer.score(rows, ["score", "value"])
    assert scorer.calibrated and scores["score"].dtype == np.float64 and scores["value"].dtype == np.float32
    assert np.allclose(scores["score"], fitted.predict_proba(rows)[:, 1], atol=1e-7)
    assert differing(scores["value"].to_numpy(), model.predict_proba(rows)[:, 1]) == 0


def test_a_model_of_several_classes(scorer_class, tmp_path):
    rng = np.random.default_rng(2)
    X = pd.DataFrame(rng.normal(size=(500, 3)), columns=list("abc"))
    y = np.digitize(X["a"] + X["b"], [-0.5, 0.5])
    booster = xgboost.train({"objective": "multi:softprob", "num_class": 3}, xgboost.DMatrix(X, y), 10)
    bundle = save_bundle(booster, X, tmp_path / "m" / "1", kind="class")
    truth = booster.predict(xgboost.DMatrix(X))
    for path in (bundle, bundle / "model.ubj"):
        scores = scorer_class.load(path).score(X, ["value", "class"])
        assert differing(scores[["value_0", "value_1", "value_2"]].to_numpy(), truth) == 0
        assert (scores["class"] == truth.argmax(axis=1)).all()


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_bare_model_file_takes_what_the_library_takes(scorer_class, library, tmp_path):
    # XGBoost 3.2 writes only names of ASCII into the file.
    rows = frame()
    rows["plan"] = rows["plan"].cat.rename_categories(["basic", "plus", "pro"])
    if library == "xgboost":
        matrix = xgboost.DMatrix(rows, label(rows), enable_categorical=True)
        model, file = xgboost.train({"objective": "binary:logistic"}, matrix, 9), tmp_path / "model.ubj"
        truth = model.predict(matrix)
    else:
        model = lightgbm.train(
            {"objective": "binary", "verbosity": -1}, lightgbm.Dataset(rows, label(rows)), 9
        )
        file, truth = tmp_path / "model.txt", model.predict(rows)
    model.save_model(file)
    scorer = scorer_class.load(file)
    assert differing(scorer.score(rows)["score"], truth) == 0
    assert scorer.output is None and scorer.bands == ()
    with pytest.raises(ValueError, match="has no contract, and so no bands"):
        scorer.score(rows, "band")


def test_pickling_sends_the_path_and_the_sum(scorer_class, strict, tmp_path):
    scorer = scorer_class.load(strict[0])
    data = pickle.dumps(scorer)
    assert len(data) < 500
    row = {"spend": 1.0, "ratio": 0.5, "calls": 1, "flag": True}
    assert pickle.loads(data).score(row) == scorer.score(row)
    # In another process, as executors do it.
    (tmp_path / "scorer.pickle").write_bytes(data)
    code = (
        "import pickle, sys, evergreen_serving; evergreen_serving.__path__.append(sys.argv[1]); "
        f"print(pickle.load(open(sys.argv[2], 'rb')).score({row})['score'])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python/serving/src")}
    command = [sys.executable, "-c", code, COMPILED, tmp_path / "scorer.pickle"]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert float(printed) == scorer.score(row)["score"]


def copied(bundle, folder):
    return shutil.copytree(bundle, folder / "copy" / "1")


def test_another_version_at_the_path_is_noticed(scorer_class, strict, tmp_path):
    bundle = copied(strict[0], tmp_path)
    scorer = scorer_class.load(bundle)
    data = pickle.dumps(scorer)
    for sha256 in (scorer.sha256, scorer.bundle_sha256, scorer.sha256.upper()):
        assert scorer_class.load(bundle, sha256).sha256 == scorer.sha256
    contract = (bundle / "bundle.toml").read_text(encoding="utf-8")
    (bundle / "bundle.toml").write_text(
        contract.replace("default = 80.0", "default = 81.0"), encoding="utf-8"
    )
    with pytest.raises(
        ValueError, match=r"expected the SHA-256 [0-9a-f]{64}, found .*: another version is at this path"
    ):
        pickle.loads(data)


def test_a_torn_bundle_is_refused(scorer_class, strict, tmp_path):
    bundle = copied(strict[0], tmp_path)
    model = (bundle / "model.ubj").read_bytes()
    (bundle / "model.ubj").write_bytes(model[: len(model) // 2])
    with pytest.raises(
        ValueError, match=r"model.ubj: its SHA-256 is .* the file was changed or is not completely copied"
    ):
        scorer_class.load(bundle)
    (bundle / "model.ubj").unlink()
    with pytest.raises(ValueError, match="No such file"):
        scorer_class.load(bundle)


@pytest.mark.parametrize(
    "path, error, message",
    [
        ("/no/such/bundle", FileNotFoundError, "/no/such/bundle: no such file or folder; expected a bundle"),
        (str(MODELS), ValueError, "expected bundle.toml or one of"),
        (str(CUSTOMERS), ValueError, "customers.parquet: "),
    ],
)
def test_what_is_no_bundle_is_refused(scorer_class, path, error, message):
    with pytest.raises(error, match=re.escape(message)):
        scorer_class.load(path)


def test_without_the_compiled_part_the_error_says_so(tmp_path):
    code = "from evergreen_serving import Scorer, save_bundle; Scorer.load('models/churn/1')"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python/serving/src")}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "the compiled part of evergreen_serving is missing" in ended.stderr


def test_a_scorer_cannot_be_made_without_a_bundle(scorer_class):
    with pytest.raises(TypeError, match=r"use Scorer.load"):
        scorer_class()
