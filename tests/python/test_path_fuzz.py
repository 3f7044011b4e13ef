"""Random models of three libraries on random tables through every input path: each score has the bits of the library's own
predict. FUZZ_SECONDS sets the time (3600 for an hour), FUZZ_SEED the first model, FUZZ_BINARY another
binary than the one under test.
"""

import itertools
import json
import os
import subprocess
import threading
import time
import tomllib

import grpc
import numpy as np
import pandas as pd
import pytest
import redis
import xgboost

from evergreen_testing.feature_stores import postgres_server, redis_server
from evergreen_testing.grpc_client import Client
from evergreen_testing.server_process import serving
from test_bundle_fuzz import random_model, save_bundle
from test_same_rows import message
from test_streams import Lines

SECONDS = float(os.environ.get("FUZZ_SECONDS", "30"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
ROWS = 40


def plain(value):
    """A value as JSON has it."""
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


def text(value):
    """A value as a file without types has it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else repr(value)


def expected(model, rows):
    """The library's own prediction: the number that save_bundle takes for the score by default."""
    if isinstance(model, xgboost.Booster):
        found = model.predict(xgboost.DMatrix(rows, enable_categorical=True))
        return [float(value) for value in np.float32(found)]
    return [float(value) for value in model.predict_proba(rows)[:, 1]]


def new_rows(rows, seed):
    """New combinations of the values that the model was trained on."""
    rng = np.random.default_rng(seed)
    positions = {name: rng.integers(0, len(rows), ROWS) for name in rows}
    return pd.DataFrame({name: rows[name].iloc[at].reset_index(drop=True) for name, at in positions.items()})


def is_sent(model, name, value):
    """Whether every path can carry a value: files without types have no empty text, whole numbers are exact up to 2^53, and what
    is beyond 32-bit floats is refused for XGBoost."""
    del name
    if value == "":
        return False
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        single = isinstance(model, xgboost.Booster)
        return abs(value) <= (3.4e38 if single else 1e308) and (
            isinstance(value, float) or abs(value) <= 2**53
        )
    return True


class Paths:
    """Every input path of one model."""

    def __init__(self, evergreen, folder, store, database, rows):
        self.evergreen, self.folder, self.store, self.database = evergreen, folder, store, database
        self.values = [{name: plain(row[name]) for name in rows} for _, row in rows.astype(object).iterrows()]
        self.names = list(rows)
        self.rows = rows
        # A library may rename a column; requests use the model's name, stores keep the column's.
        contract = tomllib.loads((folder / "models/m/1/bundle.toml").read_text())
        names = {feature.get("source", feature["name"]): feature["name"] for feature in contract["feature"]}
        self.requests = [
            {names.get(name, name): value for name, value in values.items()} for values in self.values
        ]

    def serve(self, customers=None, config=None):
        return serving(
            self.evergreen, self.folder, models=self.folder / "models", customers=customers, config=config
        )

    def ask(self, server):
        body = {"model": "m", "entities": [{"id": str(row)} for row in range(len(self.values))]}
        return [
            result.get("score", result)
            for result in server.http.post("/v1/score", json=body).json()["results"]
        ]

    def tables(self):
        """Writes the rows in three formats; returns the files."""
        keyed = [{"id": f"{row}"} | values for row, values in enumerate(self.values)]
        frame = pd.DataFrame({"id": [row["id"] for row in keyed]} | {
            name: [text(row[name]) for row in keyed] for name in self.names
        })  # fmt: skip
        frame.to_csv(self.folder / "rows.csv", index=False)
        (self.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in keyed))
        typed = self.rows.copy()
        typed.insert(0, "id", [row["id"] for row in keyed])
        typed.to_parquet(self.folder / "rows.parquet")
        return [self.folder / f"rows.{ending}" for ending in ("csv", "jsonl", "parquet")]

    def of_tables(self):
        for table in self.tables():
            with self.serve(customers=table) as server:
                yield table.suffix, self.ask(server)
            output = self.folder / f"scores{table.suffix}.jsonl"
            command = [self.evergreen, "score", "--model", self.folder / "models/m/1", "--input", table]
            done = subprocess.run(
                [*command, "--output", output, "--id", "id"], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            lines = [json.loads(line) for line in output.read_text().splitlines()]
            yield (
                f"score {table.suffix}",
                [next(value for name, value in line.items() if name != "id") for line in lines],
            )

    def of_redis(self):
        client = redis.Redis(port=self.store.port)
        client.flushall()
        for row, values in enumerate(self.values):
            fields = {name: text(value) for name, value in values.items() if value is not None}
            client.hset(f"c:{row}", mapping=fields | {"as_of": "2026-01-01"})
        config = self.folder / "redis.toml"
        config.write_text(
            f"[source.s]\ntimeout = '20s'\n[source.s.redis]\nkey = 'c:{{id}}'\nas_of = 'as_of'\n"
            f"[source.s.redis.server]\nurls = ['{self.store.url}']\n"
        )
        with self.serve(config=config) as server:
            yield "Redis", self.ask(server)

    def of_postgres(self):
        kinds = {bool: "boolean", int: "bigint", float: "double precision", str: "text"}
        columns = []
        for name in self.names:
            present = {type(values[name]) for values in self.values} - {type(None)}
            columns.append(kinds[present.pop()] if len(present) == 1 else "text")

        def quoted(name):
            return '"' + name.replace('"', '""') + '"'

        def literal(value):
            if value is None:
                return "NULL"
            if isinstance(value, str):
                return "'" + value.replace("'", "''") + "'"
            return f"'{value!r}'" if isinstance(value, float) else str(value)

        self.database.sql("DROP TABLE IF EXISTS rows")
        types = ", ".join(f"{quoted(name)} {kind}" for name, kind in zip(self.names, columns, strict=True))
        self.database.sql(f'CREATE TABLE rows ("id" text, {types})')
        lines = [
            f"('{row}', {', '.join(literal(values[name]) for name in self.names)})"
            for row, values in enumerate(self.values)
        ]
        self.database.sql(f"INSERT INTO rows VALUES {', '.join(lines)}")
        config = self.folder / "postgres.toml"
        config.write_text(
            f'[source.s]\ntimeout = "20s"\n[source.s.postgres]\nconnect = "{self.database.connect}"\ntable = "rows"\nas_of = ""\n'
        )
        with self.serve(config=config) as server:
            yield "PostgreSQL", self.ask(server)

    def of_requests(self):
        with self.serve() as server:
            body = {"model": "m", "entities": [{"features": values} for values in self.requests]}
            results = server.http.post("/v1/score", json=body).json()["results"]
            yield "REST", [result.get("score", result) for result in results]
            lines = Lines(server, "/v1/models/m/scores")

            def send():
                lines.send(
                    "".join(json.dumps({"features": values}) + "\n" for values in self.requests).encode()
                )
                lines.end()

            sender = threading.Thread(target=send)
            sender.start()
            found = []
            while line := lines.read():
                found.append(line.get("score", line))
            sender.join()
            yield "NDJSON", found
            with grpc.insecure_channel(server.grpc) as channel:
                answer = Client(channel)(
                    "Score", model="m", entities=[message(values) for values in self.requests]
                )
            yield "gRPC", [result.score for result in answer.results]

    def __iter__(self):
        return itertools.chain(self.of_tables(), self.of_redis(), self.of_postgres(), self.of_requests())


@pytest.mark.filterwarnings("ignore")
def test_random_models_score_alike_through_every_path(evergreen, tmp_path):
    evergreen = os.environ.get("FUZZ_BINARY", evergreen)
    end, tried, compared = time.monotonic() + SECONDS, 0, 0
    with redis_server(tmp_path / "redis") as store, postgres_server(tmp_path / "store") as database:
        for seed in itertools.count(SEED):
            if time.monotonic() >= end:
                break
            try:
                model, rows = random_model(seed)
                folder = tmp_path / str(seed)
                save_bundle(model, rows, folder / "models/m/1", entity="id", min_known=0)
            except Exception:  # the library or save_bundle refuses the table: there is nothing to compare
                continue
            fresh = new_rows(rows, seed)
            sent = [
                all(is_sent(model, name, plain(row[name])) for name in fresh)
                for _, row in fresh.astype(object).iterrows()
            ]
            fresh = fresh[sent].reset_index(drop=True)
            if fresh.empty:
                continue
            scores = expected(model, fresh)
            for path, found in Paths(evergreen, folder, store, database, fresh):
                assert found == scores, (seed, path, dict(rows.dtypes), [
                    (row, one, other, dict(fresh.iloc[row]))
                    for row, (one, other) in enumerate(zip(found, scores, strict=True)) if one != other
                ][:3])  # fmt: skip
                compared += len(found)
            tried += 1
            subprocess.run(["rm", "-rf", folder], check=True)
    print(f"{tried} models, {compared} scores compared, 0 differences")
    assert tried > min(SECONDS / 60, 5)
