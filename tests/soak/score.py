"""Scores millions of rows with `evergreen score`: rate, peak memory, rejected rows, and jobs that are killed.

    cargo build --release --features full
    python tests/soak/score.py --binary target/release/evergreen --rows 10000000
    python tests/soak/score.py --binary target/release/evergreen --rows 2000000 --write redis postgres
    python tests/soak/score.py --binary target/release/evergreen --rows 2000000 --write redis --redis-log no

Makes a folder of Parquet files with 30 features, in chunks, and one bad cell in a hundred rows (a fraction where
a whole number is expected), trains a model on some of the rows, and scores all of them into part files: once in one go,
once killed several times and started again. The rejects must be the generator's own list, all scores XGBoost's own
bits, and the parts of both jobs the same files. With `--write`, it writes the scores to these stores of its own
instead, twice (new rows, then the same rows again), and reads them back. With `--redis-log always` (the default) Redis
has each write on disk before it answers (`appendfsync always`), with `--redis-log no` it has no log on disk. Uses the
libraries of the Python that runs it.
"""

import argparse
import filecmp
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import redis
import xgboost

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "python/serving/src"), str(ROOT / "tests/python")]
from evergreen_serving import save_bundle  # noqa: E402
from evergreen_testing.feature_stores import postgres_server, redis_server  # noqa: E402

FEATURES = [f"f{number:02}" for number in range(30)]
#: The features whose values are whole numbers; bad cells are in these.
WHOLE = FEATURES[20:]
CHUNK = 500_000
#: Customers whose stored scores are compared, for each chunk.
LOOKED_UP = 5000


def chunk(number, rows):
    """Returns a chunk of good rows, and the position and column of each cell to spoil."""
    rng = np.random.default_rng(number)
    frame = pd.DataFrame(rng.normal(size=(rows, len(FEATURES))), columns=FEATURES)
    frame[WHOLE] = (frame[WHOLE] * 10).round()
    frame = frame.mask(rng.random(frame.shape) < 0.05)
    frame.insert(0, "customer_id", [f"C-{number:04}-{row:07}" for row in range(rows)])
    bad = np.sort(rng.choice(rows, rows // 100, replace=False))
    return frame, bad, rng.choice(WHOLE, len(bad))


def generate(folder, rows):
    """Writes the chunks with their bad cells."""
    folder.mkdir()
    for number, start in enumerate(range(0, rows, CHUNK)):
        frame, bad, columns = chunk(number, min(CHUNK, rows - start))
        for row, column in zip(bad, columns):
            frame.loc[row, column] = row + 0.5
        frame.to_parquet(folder / f"{number:04}.parquet", row_group_size=100_000, index=False)


def train(folder):
    """Trains a model of 100 trees of depth 6 and writes its bundle. Returns both."""
    frame, _, _ = chunk(9999, 100_000)
    label = (frame[FEATURES].fillna(0).sum(axis=1) > 0).astype(int)
    data = xgboost.DMatrix(frame[FEATURES], label)
    model = xgboost.train({"objective": "binary:logistic", "max_depth": 6}, data, 100)
    types = {name: "int" if name in WHOLE else "float" for name in FEATURES}
    rows = frame[FEATURES].astype(dict.fromkeys(WHOLE, "Int64"))
    bundle = save_bundle(model, rows, folder / "soak/1", entity="customer_id", types=types, min_known=0)
    return model, bundle


def peak(process):
    """Waits for a process; returns its exit code and its peak memory in MB."""
    most = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                most = int(line.split()[1])
        time.sleep(0.05)
    return process.wait(), most / 1024


def check(parts, rejects, model, rows):
    """Compares scores and rejects with the library and the generator."""
    listed = pd.read_csv(rejects)
    files = sorted(parts.glob("part-*"))
    found = (row for file in files for row in [pd.read_parquet(file, columns=["customer_id", "probability"])])
    left = next(found)
    total = differ = 0
    expected_rejects = []
    for number, start in enumerate(range(0, rows, CHUNK)):
        frame, bad, columns = chunk(number, min(CHUNK, rows - start))
        while len(left) < len(frame):
            left = pd.concat([left, next(found)], ignore_index=True)
        ours, left = left.iloc[: len(frame)], left.iloc[len(frame) :].reset_index(drop=True)
        assert (ours["customer_id"].to_numpy() == frame["customer_id"].to_numpy()).all(), (
            "ids lost, doubled or moved"
        )
        scores = model.predict(xgboost.DMatrix(frame[FEATURES].astype("float32")))
        good = np.setdiff1d(np.arange(len(frame)), bad)
        values = ours["probability"].to_numpy()
        assert np.isnan(values[bad]).all() and not np.isnan(values[good]).any(), "other rows have no score"
        differ += int((values[good].view("uint32") != scores[good].view("uint32")).sum())
        total += len(frame)
        expected_rejects += list(zip(frame["customer_id"].to_numpy()[bad], bad + 1, columns, bad + 0.5))
    assert len(left) == 0 and next(found, None) is None, "more rows than there are"
    ours = list(zip(listed["id"], listed["row"], listed["column"], listed["value"]))
    assert ours == [tuple(row) for row in expected_rejects], "the rejects are not the generator's list"
    assert differ == 0, f"{differ} of {total} scores differ"
    return total, len(ours)


def read_redis(server, ids):
    pipeline = redis.Redis(port=server.port, decode_responses=True).pipeline(transaction=False)
    for id in ids:
        pipeline.hget(f"score:soak:{id}", "score")
    return {id: score for id, score in zip(ids, pipeline.execute()) if score is not None}


def read_postgres(server, ids):
    listed = ",".join(f"'{id}'" for id in ids)
    rows = server.rows(f"SELECT id, score FROM precomputed_scores WHERE model = 'soak' AND id IN ({listed})")
    return {row["id"]: row["score"] for row in rows}


def check_store(read, server, model, rows):
    """Compares some scores of each chunk in a store with the library. Returns how many."""
    compared = 0
    for number, start in enumerate(range(0, rows, CHUNK)):
        frame, bad, _ = chunk(number, min(CHUNK, rows - start))
        some = frame.sample(min(LOOKED_UP, len(frame)), random_state=number)
        good = some[~some.index.isin(bad)]
        found = read(server, some["customer_id"].tolist())
        assert set(found) == set(good["customer_id"]), "rows without a score are stored, or others are not"
        expected = model.predict(xgboost.DMatrix(good[FEATURES].astype("float32")))
        ours = np.array([found[id] for id in good["customer_id"]], "float32")
        assert (ours.view("uint32") == expected.view("uint32")).all(), "stored scores differ"
        compared += len(good)
    return compared


def write_scores(options, store, work, model, bundle):
    """Writes the scores of all rows to a new store, two times, and prints the rates."""
    if store == "redis":
        without_log = ["--appendonly", "no"] if options.redis_log == "no" else []
        server, read = redis_server(work / store, *without_log), read_redis
    else:
        server, read = postgres_server(work / store, fsync=True), read_postgres
    command = [options.binary, "score", "--model", bundle, "--input", work / "rows", "--on-error", "skip"]
    command += ["--threads", options.threads, "--expire", "2d"]
    with server as running:
        url = (
            f"postgres://evergreen@127.0.0.1:{running.port}/postgres" if store == "postgres" else running.url
        )
        for what in ("new customers", "the same customers again"):
            start = time.monotonic()
            process = subprocess.Popen([*map(str, command), "--write", url], stderr=subprocess.DEVNULL)
            code, memory = peak(process)
            seconds = time.monotonic() - start
            assert code == 3, f"exit code {code}"
            compared = check_store(read, running, model, options.rows)
            print(
                f"{store}, {what}: {options.rows / seconds:,.0f} rows/s, peak memory {memory:.0f} MB; "
                f"0 of {compared:,} stored scores differ",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=ROOT / "target/release/evergreen", type=Path)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--part-rows", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", nargs="*", default=[], choices=["redis", "postgres"])
    parser.add_argument("--redis-log", default="always", choices=["no", "always"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        generate(work / "rows", options.rows)
        model, bundle = train(work / "models")
        for store in options.write:
            write_scores(options, store, work, model, bundle)
        if options.write:
            return

        def command(name):
            given = ["--model", bundle, "--input", work / "rows", "--output", f"{work / name}/"]
            given += ["--on-error", "skip", "--rejects", work / f"{name}.csv", "--threads", options.threads]
            given += ["--part-rows", options.part_rows]
            return [str(options.binary), "score", *map(str, given)]

        start = time.monotonic()
        process = subprocess.Popen(command("whole"), stderr=subprocess.DEVNULL)
        code, memory = peak(process)
        seconds = time.monotonic() - start
        assert code == 3, f"exit code {code}"
        total, rejected = check(work / "whole", work / "whole.csv", model, options.rows)
        print(
            f"{total:,} rows in {seconds:.1f} s: {total / seconds:,.0f} rows/s, peak memory {memory:.0f} MB",
            flush=True,
        )
        print(f"0 of {total - rejected:,} scores differ; {rejected:,} rejects as generated", flush=True)
        generator, killed = random.Random(5), 0
        for _ in range(options.kills):
            process = subprocess.Popen(command("killed"), stderr=subprocess.DEVNULL)
            time.sleep(generator.uniform(0.1, 0.9) * seconds / 2)
            if process.poll() is None:
                process.kill()
                killed += 1
            process.wait()
        code, _ = peak(subprocess.Popen(command("killed"), stderr=subprocess.DEVNULL))
        assert code == 3, f"exit code {code}"
        names = sorted(path.name for path in (work / "whole").glob("part-*"))
        assert names == sorted(path.name for path in (work / "killed").glob("part-*"))
        same, other, errors = filecmp.cmpfiles(work / "whole", work / "killed", names, shallow=False)
        assert (
            not other and not errors and filecmp.cmp(work / "whole.csv", work / "killed.csv", shallow=False)
        )
        counts = json.loads((work / "killed/_evergreen.json").read_text())["counts"]
        print(
            f"killed {killed} times: {len(same)} parts and the rejects are the same; {counts['rows']:,} rows",
            flush=True,
        )


if __name__ == "__main__":
    main()
