"""The same unusual values through every input: files, stores and protocols give what XGBoost's own predict gives for the
value that is meant, or refuse the value. `docs/values.md` is the table of what is meant.

Each row sets one feature and leaves the others empty, so that a score shows how that value was read. The results are
written to target/input-paths.md.
"""

import datetime as dt
import decimal
import json
import math
import subprocess
import threading
from typing import Any, NamedTuple

import grpc
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
import xgboost

from evergreen_serving import save_bundle
from evergreen_testing.feature_stores import postgres_server, redis_server
from evergreen_testing.grpc_client import Client
from evergreen_testing.paths import ROOT
from evergreen_testing.server_process import serving
from test_feast import SCRIPTS, feast
from test_streams import Lines

NAMES = ["tenure", "price", "plan", "vip", "seen"]
PLANS = ["10", "120000", "42", "basic"]
DAY = 1_748_736_000  # 2025-06-01T00:00:00Z
UTC = dt.UTC
REFUSED = "refused"


class Case(NamedTuple):
    """One value and its spellings by carrier. `expected` is the number that the model takes, the name of a category, None
    for a missing value, or REFUSED."""

    feature: str
    what: str
    expected: Any
    text: tuple[str, ...] = ()  # CSV, tabs, Redis hash
    json: tuple[str, ...] = ()  # JSON lines, Redis document, REST
    typed: tuple[dict[str, Any], ...] = ()  # gRPC
    arrow: tuple[tuple[pa.DataType, Any], ...] = ()  # Parquet
    sql: tuple[str, ...] = ()  # PostgreSQL


D = decimal.Decimal
CASES = [
    Case("tenure", "a whole number", 12, ("12", "12.0", " 12 ", "1.2e1"), ("12", "12.0", "1.2e1"),
         ({"integer": 12}, {"number": 12.0}), ((pa.int8(), 12), (pa.uint32(), 12), (pa.float64(), 12.0),
         (pa.decimal128(38, 0), D(12)), (pa.decimal128(10, 2), D("12.00"))),
         ("12::int2", "12::int8", "12::float8", "12::numeric", "12.00::numeric(10,2)")),
    Case("tenure", "no value", None, ("", "NaN", "-nan", "NAN", "NULL", "<NA>", "\\N", "n/a"), ("null", "NaN", "-NaN"),
         ({}, {"number": math.nan}), ((pa.int64(), None), (pa.float32(), math.nan)),
         ("NULL::int4", "'NaN'::float8", "'NaN'::numeric")),
    Case("tenure", "not whole", REFUSED, ("12.5",), ("12.5",), ({"number": 12.5},), ((pa.float64(), 12.5),), ("12.5::numeric",)),
    Case("tenure", "beyond 2^53", REFUSED, ("9007199254740993",), ("9007199254740993", str(2**64 - 1), "1e400"),
         ({"integer": 2**53 + 1},), ((pa.int64(), 2**53 + 1),), (f"{2**53 + 1}::int8",)),
    Case("price", "a number", 60.25, ("60.25", "60.250000000000000", "6.025e1"), ("60.25", "6.025e1"), ({"number": 60.25},),
         ((pa.float32(), 60.25), (pa.float16(), np.float16(60.25)), (pa.decimal128(18, 15), D("60.25")),
          (pa.decimal128(38, 18), D("60.25"))),
         ("60.25::float4", "60.25::numeric(18,15)", "60.25::numeric(38,18)")),
    Case("price", "a cent", 29.85, ("29.85",), ("29.85",), ({"number": 29.85},), ((pa.float64(), 29.85),
         (pa.decimal128(10, 2), D("29.85"))), ("29.85::float8", "29.85::numeric(10,2)")),
    Case("price", "infinite", math.inf, ("inf", "Infinity"), ("Infinity",), ({"number": math.inf},),
         ((pa.float64(), math.inf),), ("'infinity'::float8", "'infinity'::numeric")),
    Case("price", "a whole number beyond 64 bits", float(2**63), (str(2**63),), (str(2**63), f"{2**63}.0"), ({"number": float(2**63)},),
         ((pa.float64(), float(2**63)), (pa.decimal128(38, 0), D(2**63))), (f"{2**63}::numeric",)),
    Case("price", "beyond floats", REFUSED, ("1e999",), ("1e999", "1" + "0" * 400)),
    Case("price", "a text", REFUSED, ("cheap",), ('"60.25"', '"cheap"', "[60.25]", "true"),
         ({"text": "60.25"}, {"boolean": True}), ((pa.string(), "60.25"), (pa.bool_(), True)), ("'60.25'::text", "true")),
    Case("plan", "a whole number", "42", ("42", " 42 "), ('"42"', "42", "42.0", '" 42"'),
         ({"text": "42"}, {"integer": 42}, {"number": 42.0}),
         ((pa.string(), "42"), (pa.int32(), 42), (pa.float64(), 42.0), (pa.decimal128(38, 0), D(42)),
          (pa.dictionary(pa.int8(), pa.string()), "42")),
         ("'42'::text", "42::int4", "42::numeric(10)", "'42'::char(10)", "42::float8")),
    Case("plan", "a number with zeros", "120000", ("120000",), ("120000", '"120000"'), ({"integer": 120000},),
         ((pa.int64(), 120000), (pa.decimal128(38, 0), D(120000))), ("120000::numeric(10)", "120000::numeric", "120000::int8")),
    Case("plan", "ten", "10", ("10",), ("10",), ({"integer": 10},), ((pa.decimal128(5, 0), D(10)),), ("10::numeric(10)",)),
    Case("plan", "a name", "basic", ("basic", "basic "), ('"basic"', '"basic "'), ({"text": "basic"},),
         ((pa.string(), "basic"), (pa.large_string(), "basic")), ("'basic'::char(10)", "'basic'::varchar(20)")),
    Case("plan", "unknown to the model", None, ("gold", "042"), ('"gold"', '"042"'), ({"text": "gold"},), ((pa.string(), "gold"),),
         ("'gold'::text",)),
    Case("plan", "no value", None, ("", "\\N"), ("null", "NaN"), ({}, {"number": math.nan}), ((pa.string(), None),), ("NULL::text",)),
    Case("plan", "no name", REFUSED, (), ("42.5", "[1]"), ({"number": 42.5},), ((pa.float64(), 42.5),), ("42.5::float8",)),
    Case("vip", "true", 1, ("true", "TRUE", "t", "1", "1.0"), ("true", "1", "1.0"), ({"boolean": True}, {"integer": 1}),
         ((pa.bool_(), True), (pa.int8(), 1)), ("true", "1::int4")),
    Case("vip", "false", 0, ("false", "F", "0"), ("false", "0"), ({"boolean": False},), ((pa.bool_(), False),), ("false",)),
    Case("vip", "neither", REFUSED, ("2", "yes"), ("2", '"true"'), ({"integer": 2}, {"text": "true"}), ((pa.int8(), 2),), ("2::int4",)),
    Case("seen", "an instant", DAY, ("2025-06-01T00:00:00Z", "2025-06-01T02:00:00+02:00", "2025-06-01 00:00:00",
         "2025-06-01", str(DAY), f"{DAY}.0"),
         ('"2025-06-01T00:00:00Z"', '"2025-06-01T00:00:00"', '"2025-06-01"', str(DAY)),
         ({"text": "2025-06-01T00:00:00Z"}, {"integer": DAY}, {"text": "2025-06-01"}),
         ((pa.timestamp("us", "UTC"), dt.datetime(2025, 6, 1, tzinfo=UTC)), (pa.timestamp("ms"), dt.datetime(2025, 6, 1)),
          (pa.timestamp("ns"), dt.datetime(2025, 6, 1)), (pa.date32(), dt.date(2025, 6, 1)), (pa.int64(), DAY)),
         ("'2025-06-01T00:00:00Z'::timestamptz", "'2025-06-01'::timestamp", "'2025-06-01'::date", f"{DAY}::int8")),
    Case("seen", "milliseconds", REFUSED, (str(DAY * 1000),), (str(DAY * 1000),), ({"integer": DAY * 1000},),
         ((pa.int64(), DAY * 1000),), (f"{DAY * 1000}::int8",)),
    Case("seen", "a date in digits", REFUSED, ("20250601",), ("20250601",), ({"integer": 20250601},), ((pa.int64(), 20250601),),
         ("20250601::int8",)),
    Case("seen", "infinity of PostgreSQL", REFUSED, sql=("'infinity'::timestamptz", "'-infinity'::timestamptz", "'infinity'::date")),
    Case("seen", "no value", None, ("", "NaT"), ("null",), ({},), ((pa.timestamp("us"), None),), ("NULL::timestamptz",)),
]  # fmt: skip


def spellings(carrier: str, refused: bool) -> list[tuple[str, Case, Any]]:
    """Returns an id, the case and the spelling for every spelling that a carrier has."""
    return [
        (f"{case.feature}-{number}-{position}", case, spelling)
        for number, case in enumerate(CASES)
        for position, spelling in enumerate(getattr(case, carrier))
        if (case.expected == REFUSED) == refused
    ]


@pytest.fixture(scope="module")
def model():
    """An XGBoost model that splits on every feature near the values of the cases."""
    random = np.random.default_rng(3)
    rows = 4000
    frame = pd.DataFrame(
        {
            "tenure": random.integers(0, 40, rows),
            "price": random.choice([5.0, 20.0, 29.85, 45.0, 60.25, 75.0, 1e6], rows),
            "plan": pd.Categorical(random.choice(PLANS, rows), categories=PLANS),
            "vip": random.random(rows) < 0.5,
            "seen": DAY + 86_400.0 * random.integers(-9, 9, rows),
        }
    )
    for name in NAMES:
        frame[name] = frame[name].astype(object).where(random.random(rows) > 0.15, None)
    frame["plan"] = pd.Categorical(frame["plan"], categories=PLANS)
    for name in ("tenure", "price", "vip", "seen"):
        frame[name] = frame[name].astype(float)
    weight = {"10": -2.0, "120000": 1.5, "42": 0.7, "basic": -0.6}
    margin = (
        0.08 * frame["tenure"].fillna(31) - 0.03 * frame["price"].clip(upper=90).fillna(11) + 0.9 * frame["vip"].fillna(2)
        + frame["plan"].astype(object).map(weight).fillna(3).astype(float) + (frame["seen"].fillna(DAY - 99 * 86_400) - DAY) / 9e5
    )  # fmt: skip
    labels = (random.random(rows) < 1 / (1 + np.exp(-margin))).astype(int)
    booster = xgboost.XGBClassifier(n_estimators=60, max_depth=4, enable_categorical=True, tree_method="hist")
    booster.fit(frame, labels)
    return booster, frame


@pytest.fixture(scope="module")
def judge(model):
    """Returns what XGBoost's own predict gives for a row with one feature."""
    booster, _ = model

    def score(feature: str, value: Any) -> float:
        row: dict[str, list[Any]] = {name: [math.nan] for name in NAMES}
        row["plan"] = [None]
        row[feature] = [value if value is not None else row[feature][0]]
        frame = pd.DataFrame(row)
        frame["plan"] = pd.Categorical(frame["plan"], categories=PLANS)
        return float(booster.predict_proba(frame)[0, 1])

    missing = {name: score(name, None) for name in NAMES}
    for case in CASES:
        if case.expected not in (None, REFUSED):
            assert score(case.feature, case.expected) != missing[case.feature], f"{case} says nothing"
    return score


@pytest.fixture(scope="module")
def models(model, tmp_path_factory):
    booster, frame = model
    folder = tmp_path_factory.mktemp("models")
    types = {"tenure": "int", "vip": "bool", "seen": "timestamp"}
    # One feature in five says little: the limit is not what this test is about.
    save_bundle(booster, frame, folder / "m" / "1", types=types, entity="id", min_known=0)
    return folder


@pytest.fixture(scope="module")
def report():
    """Collects what each input did with each value, and writes it down at the end."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    yield found
    inputs = sorted({name for row in found.values() for name in row})
    lines = [f"| feature | value | {' | '.join(inputs)} |", "|---|---|" + "---|" * len(inputs)]
    for (feature, what), row in found.items():
        lines.append(f"| {feature} | {what} | {' | '.join(row.get(name, '') for name in inputs)} |")
    target = ROOT / "target"
    target.mkdir(exist_ok=True)
    (target / "input-paths.md").write_text("\n".join(lines) + "\n")


def check(
    path: str, results: dict[str, dict[str, Any]], rows: list[tuple[str, Case, Any]], judge, report
) -> None:
    """Compares the answers, by id, with the judge; `results` of refused values are errors or name the feature as missing."""
    wrong = []
    for id, case, spelling in rows:
        result = results[id]
        if case.expected == REFUSED:
            good = result["status"] == "error" or case.feature in result["features"].get("missing", [])
        else:
            good = result.get("score") == judge(case.feature, case.expected)
        if not good:
            wrong.append((case.feature, case.what, spelling, result))
        seen = report.setdefault((case.feature, case.what), {})
        seen[path] = (
            "refused"
            if case.expected == REFUSED
            else "missing"
            if case.expected is None
            else str(case.expected)
        )
    assert not wrong, f"{path}: {len(wrong)} of {len(rows)} differ, such as {wrong[:5]}"
    assert len(rows) > 5


def ask(server, ids: list[str]) -> dict[str, dict[str, Any]]:
    body = {"model": "m", "entities": [{"id": id} for id in ids]}
    answer = server.http.post("/v1/score", json=body)
    assert answer.status_code == 200, answer.text
    return {result["id"]: result for result in answer.json()["results"]}


def write_text_table(path, delimiter, rows):
    lines = [delimiter.join(["id", *NAMES])]
    for id, case, spelling in rows:
        lines.append(delimiter.join([id, *(spelling if name == case.feature else "" for name in NAMES)]))
    path.write_text("\n".join(lines) + "\n")


def write_json_lines(path, rows):
    path.write_text(
        "".join(f'{{"id": "{id}", "{case.feature}": {spelling}}}\n' for id, case, spelling in rows)
    )


def write_parquet(path, rows):
    """Writes one part per type of a column, as jobs of different days do."""
    for id, case, (kind, value) in rows:
        pq.write_table(pa.table({"id": [id], case.feature: pa.array([value], kind)}), path / f"{id}.parquet")


TABLES = {
    "CSV": ("text", "customers.csv", lambda path, rows: write_text_table(path, ",", rows)),
    "TSV": ("text", "customers.tsv", lambda path, rows: write_text_table(path, "\t", rows)),
    "JSON lines": ("json", "customers.jsonl", write_json_lines),
    "Parquet": ("arrow", "parts", write_parquet),
}


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_read_as_meant(evergreen, tmp_path, models, judge, report, table):
    carrier, name, write = TABLES[table]
    rows = spellings(carrier, refused=False)
    path = tmp_path / name
    if name == "parts":
        path.mkdir()
    # Every column must exist somewhere, also where all its spellings are typed.
    write(path, rows)
    with serving(evergreen, tmp_path, models=models, customers=path) as server:
        check(table, ask(server, [id for id, *_ in rows]), rows, judge, report)
    # The offline command reads the same.
    done = run_score(evergreen, models, path, tmp_path / "scores.csv")
    assert done.returncode == 0, done.stderr
    scores = pd.read_csv(tmp_path / "scores.csv", dtype={"id": str}).set_index("id")["probability"]
    offline = {id: {"score": float(np.float32(score)), "status": "ok"} for id, score in scores.items()}
    check(f"score, {table}", offline, rows, judge, report)


def run_score(evergreen, models, table, output):
    command = [evergreen, "score", "--model", models / "m/1", "--input", table, "--output", output]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_with_a_value_that_cannot_be_meant_is_refused(evergreen, tmp_path, models, report, table):
    carrier, name, write = TABLES[table]
    rows = spellings(carrier, refused=True)
    assert len(rows) > 5
    for row in rows:
        id, case, _ = row
        folder = tmp_path / id
        folder.mkdir()
        path = folder / name
        if name == "parts":
            path.mkdir()
        write(path, [row])
        # The other columns, which the command asks for.
        if table == "JSON lines":
            path.write_text(path.read_text() + json.dumps({"id": "other"} | dict.fromkeys(NAMES)) + "\n")
        elif table == "Parquet":
            pq.write_table(
                pa.table({"id": ["other"]} | {name: pa.nulls(1) for name in NAMES}), path / "other.parquet"
            )
        done = run_score(evergreen, models, path, folder / "scores.csv")
        assert done.returncode == 2, (row, done)
        assert f"column `{case.feature}`" in done.stderr and "row 1" in done.stderr, (row, done.stderr)
        report.setdefault((case.feature, case.what), {})[f"score, {table}"] = "refused"


def source(folder, text):
    path = folder / "evergreen.toml"
    path.write_text(f"[source.s]\ntimeout = '20s'\n{text}")
    return path


def stored(evergreen, folder, models, config, rows, path, judge, report):
    with serving(evergreen, folder, models=models, customers=None, config=config) as server:
        check(path, ask(server, [id for id, *_ in rows]), rows, judge, report)


def test_a_redis_hash_is_read_as_meant(evergreen, tmp_path, models, judge, report):
    rows = spellings("text", False) + spellings("text", True)
    with redis_server(tmp_path / "redis") as store:
        client = redis.Redis(port=store.port)
        for id, case, spelling in rows:
            client.hset(f"c:{id}", case.feature, spelling)
        text = f"[source.s.redis]\nkey = 'c:{{id}}'\n[source.s.redis.server]\nurls = ['{store.url}']\n"
        stored(evergreen, tmp_path, models, source(tmp_path, text), rows, "Redis hash", judge, report)


def test_a_redis_document_is_read_as_meant(evergreen, tmp_path, models, judge, report):
    rows = spellings("json", False) + spellings("json", True)
    contract = (models / "m/1/bundle.toml").read_text()
    folder = tmp_path / "models/m/1"
    folder.parent.mkdir(parents=True)
    subprocess.run(["cp", "-r", models / "m/1", folder], check=True)
    for name in NAMES:
        contract = contract.replace(f'name = "{name}"\n', f'name = "{name}"\nsource = "$.{name}"\n')
    (folder / "bundle.toml").write_text(contract)
    with redis_server(tmp_path / "redis") as store:
        client = redis.Redis(port=store.port)
        for id, case, spelling in rows:
            # With a byte order mark, and numbers in keys that nobody reads.
            text = f'{{"{case.feature}": {spelling}, "x": Infinity, "y": 10e400, "z": NaN}}'
            client.set(f"c:{id}", b"\xef\xbb\xbf" + text.encode())
        text = f"[source.s.redis]\nkey = 'c:{{id}}'\ndocument = 'json'\n[source.s.redis.server]\nurls = ['{store.url}']\n"
        stored(
            evergreen,
            tmp_path,
            tmp_path / "models",
            source(tmp_path, text),
            rows,
            "Redis document",
            judge,
            report,
        )


def test_postgres_is_read_as_meant(evergreen, tmp_path, models, judge, report):
    rows = spellings("sql", False) + spellings("sql", True)
    kinds = {"tenure": "int4", "price": "float8", "plan": "text", "vip": "bool", "seen": "timestamptz"}
    with postgres_server(tmp_path / "store") as store:
        results = {}
        # One query has one type per column, so each spelling gets a server of its own in turns over the features.
        turns: dict[int, list[tuple[str, Case, Any]]] = {}
        counts = dict.fromkeys(NAMES, 0)
        for row in rows:
            turns.setdefault(counts[row[1].feature], []).append(row)
            counts[row[1].feature] += 1
        for number, turn in turns.items():
            types = {case.feature: spelling for _, case, spelling in turn}
            selects = []
            for id, case, _ in turn:
                columns = [
                    f"({types[name]}) AS {name}" if name == case.feature
                    else f"CASE WHEN false THEN ({types[name]}) END AS {name}" if name in types
                    else f"NULL::{kinds[name]} AS {name}"
                    for name in NAMES
                ]  # fmt: skip
                selects.append(f"SELECT '{id}' AS id, {', '.join(columns)}")
            view = f"turn_{number}"
            store.sql(f"CREATE VIEW {view} AS {' UNION ALL '.join(selects)}")
            folder = tmp_path / view
            folder.mkdir()
            text = f'[source.s.postgres]\nconnect = "{store.connect} sslmode=disable"\ntable = "{view}"\nas_of = ""\n'
            with serving(
                evergreen, folder, models=models, customers=None, config=source(folder, text)
            ) as server:
                results |= ask(server, [id for id, *_ in turn])
        check("PostgreSQL", results, rows, judge, report)


def test_feast_is_read_as_meant(evergreen, tmp_path, models, judge, report):
    """What Feast materializes, NaT among it, from a frame of pandas."""
    values: dict[str, tuple[str, Any, Any]] = {
        "tenure": ("tenure", 12, 12), "price": ("price", 60.25, 60.25), "plan": ("plan", "120000", "120000"),
        "vip": ("vip", True, 1), "seen": ("seen", DAY, DAY), "infinite": ("price", "inf", math.inf),
        "nan": ("price", None, None), "nat": ("seen", None, None), "none": ("plan", None, None),
    }  # fmt: skip
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "values.json").write_text(
        json.dumps({id: [name, value] for id, (name, value, _) in values.items()})
    )
    feast(SCRIPTS / "feast_values.py", repo)
    rows = [
        (id, Case(name, f"{name} from Feast" if id in NAMES else id, expected), value)
        for id, (name, value, expected) in values.items()
    ]
    text = f"""[source.s.feast]
project = "values"
registry = "{repo / "registry.db"}"
service = "all"
sqlite = "{repo / "online.db"}"
"""
    stored(evergreen, tmp_path, models, source(tmp_path, text), rows, "Feast", judge, report)


@pytest.fixture(scope="module")
def server(evergreen, models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("requests")
    with serving(evergreen, folder, models=models, customers=None) as server:
        yield server


def test_rest_is_read_as_meant(server, judge, report):
    rows = spellings("json", False) + spellings("json", True)
    entities = ", ".join(f'{{"features": {{"{case.feature}": {text}}}}}' for _, case, text in rows)
    answer = server.http.post("/v1/score", content=f'{{"model": "m", "entities": [{entities}]}}')
    assert answer.status_code == 200, answer.text
    results = dict(zip((id for id, *_ in rows), answer.json()["results"], strict=True))
    check("REST", results, rows, judge, report)


def test_lines_are_read_as_meant(server, judge, report):
    rows = spellings("json", False) + spellings("json", True)
    lines = Lines(server, "/v1/models/m/scores")

    def send():
        lines.send(
            "".join(f'{{"features": {{"{case.feature}": {text}}}}}\n' for _, case, text in rows).encode()
        )
        lines.end()

    sender = threading.Thread(target=send)
    sender.start()
    answers = []
    while line := lines.read():
        answers.append(line)
    sender.join()
    check("NDJSON", dict(zip((id for id, *_ in rows), answers, strict=True)), rows, judge, report)


def test_grpc_is_read_as_meant(server, judge, report):
    rows = spellings("typed", False) + spellings("typed", True)
    with grpc.insecure_channel(server.grpc) as channel:
        entities = [{"features": {case.feature: value}} for _, case, value in rows]
        answer = Client(channel)("Score", model="m", entities=entities)
    results = {}
    for (id, *_), result in zip(rows, answer.results, strict=True):
        failed = result.HasField("error")
        results[id] = (
            {"status": "error"} if failed else {"status": "ok", "score": result.score, "features": {}}
        )
    check("gRPC", results, rows, judge, report)


def test_tensors_are_read_as_meant(server, judge, report):
    codes = {name: code for code, name in enumerate(PLANS)}
    rows = [
        (str(number), case, None)
        for number, case in enumerate(CASES)
        if case.expected != REFUSED and case.expected is not math.inf and case.what != "unknown to the model"
    ]
    data = []
    for _, case, _ in rows:
        value = codes.get(case.expected, case.expected)
        data.append([value if name == case.feature else None for name in NAMES])
    tensor = {"name": "x", "shape": [len(rows), len(NAMES)], "datatype": "FP64", "data": data}
    answer = server.http.post("/v2/models/m/infer", json={"inputs": [tensor]})
    assert answer.status_code == 200, answer.text
    scores = answer.json()["outputs"][0]["data"]
    results = {id: {"status": "ok", "score": score} for (id, *_), score in zip(rows, scores, strict=True)}
    check("/v2", results, rows, judge, report)


@pytest.mark.parametrize("form", ["table", "dict"])
def test_scorer_is_given_what_is_meant(scorer_class, models, judge, report, form):
    scorer, rows, results = scorer_class.load(models / "m/1"), [], {}
    for id, case, (kind, value) in spellings("arrow", refused=False) + spellings("arrow", refused=True):
        nothing = dict.fromkeys(NAMES)
        if form == "table":
            cells = {name: pa.nulls(1) for name in nothing} | {case.feature: pa.array([value], kind)}
            [row] = scorer.score(pa.table(cells), ["score", "error"], on_error="null").to_pylist()
        else:
            row = scorer.score(nothing | {case.feature: value}, ["score", "error"], on_error="null")
        results[id] = {"score": row["score"], "status": "error", "features": {}} if row["error"] else row
        rows.append((id, case, value))
    check(f"Scorer, {form}", results, rows, judge, report)
