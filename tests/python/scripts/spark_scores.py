"""Scores a table with Spark, for test_spark.py: `spark_scores.py MASTER BUNDLES SIGNED KEY STORED ROWS REPORT`. BUNDLES
is a folder with a bundle for each library, SIGNED one of them signed by the public key KEY, STORED the URI of a bundle
in object storage; the report is JSON with all scores and errors. Runs in an environment with PySpark."""

import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
from pyarrow import fs
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from evergreen_serving import Scorer
from evergreen_serving import spark as evergreen

PARTITIONS = (1, 2, 7)
BATCHES = (1, 1000, 65536)


def session(master):
    builder = SparkSession.builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", 1000)
    if master == "connect":
        return builder.remote("local[2]").getOrCreate()
    options = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "2",
    }
    for name, value in options.items():
        builder = builder.config(name, value)
    return builder.master(master).getOrCreate()


def scores(frame):
    """Returns the columns of a DataFrame as lists, in the order of its partitions."""
    rows = frame.collect()
    return {name: [row[name] for row in rows] for name in frame.columns}


def workers(batches):
    """Yields the process of a worker and how many models it has."""
    for _ in batches:
        yield pa.RecordBatch.from_pydict({"pid": [os.getpid()], "models": [len(evergreen._loaded)]})


def refused(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def main(master, bundles, signed, key, stored, rows, report):
    spark = session(master)
    try:
        models = {path.name: str(path / "1") for path in sorted(Path(bundles).iterdir())}
        found = run(spark, models, rows) | located(spark, models["xgboost"], signed, key, stored, rows)
        found["files"] = files(spark, models, stored, rows, Path(report).parent / "customers")
    finally:
        spark.stop()
    found["pyspark"] = pyspark.__version__
    Path(report).write_text(json.dumps(found))


def located(spark, unsigned, signed, key, stored, rows):
    """Scores with a bundle that is signed, and with one in object storage."""
    table = spark.read.parquet(rows)

    def trusted(bundle):
        return evergreen.score(table, bundle, id="position", trusted_keys=[key])

    return {
        "signed": scores(trusted(signed)),
        "stored": scores(evergreen.score(table, stored, id="position")),
        "stored_scorer": scores(evergreen.score(table, Scorer.load(stored), id="position")),
        "unsigned": [
            refused(lambda: trusted(unsigned)),
            # One that was loaded without the keys.
            refused(lambda: trusted(Scorer.load(unsigned))),
            refused(lambda: trusted({"a": signed, "b": stored})),
        ],
    }


def files(spark, models, stored, rows, folder):
    """Scores Parquet files that the workers read: a folder with partitions, and a file in object storage."""
    table = pq.read_table(rows)
    # Types that Spark does not have.
    table = table.append_column("note", table["plan"].cast(pa.large_string()).dictionary_encode())
    half = len(table) // 2
    for place, part in (("a", table[:half]), ("b", table[half:])):
        (folder / f"part={place}").mkdir(parents=True)
        pq.write_table(part, folder / f"part={place}/rows.parquet", row_group_size=100)
    for hidden in ("_SUCCESS", ".rows.crc"):
        (folder / hidden).write_text("not Parquet")
    one, ids = models["xgboost"], ["position", "part", "note"]
    scored = evergreen.score_files(
        spark, folder, models, id=ids, outputs=["score", "missing"], rows_per_task=250
    )
    sizes = scored.mapInArrow(counted, "rows long").collect()
    store, path = fs.FileSystem.from_uri(stored)
    bucket = path.split("/")[0]
    with store.open_output_stream(f"{bucket}/lake/rows.parquet") as out:
        pq.write_table(table, out)
    in_store = urlsplit(stored)._replace(path="/lake").geturl()
    calls = table["calls"].to_pylist()
    calls[7] = 0.5
    broken = table.set_column(table.schema.get_field_index("calls"), "calls", pa.array(calls, pa.float64()))
    pq.write_table(broken, folder.parent / "broken.parquet")

    unsigned = folder.parent / "unsigned"
    unsigned.mkdir()
    for bits in (8, 16, 32, 64):
        account = pa.array([1] * len(table), getattr(pa, f"uint{bits}")())
        pq.write_table(table.append_column("account", account), unsigned / f"{bits}.parquet")

    job = folder.parent / "job"
    job.mkdir()
    pq.write_table(table[:50], job / "part-00000-1f.snappy.parquet")

    def fails(paths, **given):
        given = {"id": "position"} | given
        return refused(lambda: evergreen.score_files(spark, paths, one, **given).collect())

    return {
        "scored": scores(scored),
        "types": dict(scored.dtypes),
        "sizes": [row["rows"] for row in sizes],
        "all": evergreen.score_files(spark, [folder / "part=a", folder / "part=b"], one).columns,
        "stored": scores(evergreen.score_files(spark, in_store, one, id="position")),
        "errors": {
            "none": fails(folder / "nowhere"),
            "empty": fails([]),
            "id": fails(folder, id="customer"),
            "text": fails(folder / "_SUCCESS"),
            "cell": fails(folder.parent / "broken.parquet"),
            "rows": fails(folder, rows_per_task=0),
            "unsigned": [fails(file, id=["position", "account"]) for file in sorted(unsigned.iterdir())],
            # Not kept, not read.
            "signed": fails(unsigned / "64.parquet"),
            "running": fails(job),
            "anyway": fails(job, success_file=False),
            "file": fails(job / "part-00000-1f.snappy.parquet"),
            "ended": ((job / "_SUCCESS").touch(), fails(job))[1],
        },
    }


def counted(batches):
    """Yields how many rows a partition has."""
    yield pa.RecordBatch.from_pydict({"rows": [sum(batch.num_rows for batch in batches)]})


def run(spark, models, rows):
    table = spark.read.parquet(rows)
    one = models["xgboost"]
    found = {"combinations": []}
    for partitions in PARTITIONS:
        # Kept, so that every pass sees the rows in one order.
        parted = table.repartition(partitions).cache()
        order = scores(parted.select("position"))["position"]
        for batch in BATCHES:
            spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", batch)
            scored = evergreen.score(parted, models, id="position", outputs=["score", "missing"])
            columns = scores(scored)
            found["combinations"].append(
                {
                    "partitions": partitions,
                    "batch": batch,
                    "in_order": columns["position"] == order,
                    "types": dict(scored.dtypes),
                    "columns": columns,
                }
            )
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 1000)
    kinds = ["score", "margin", "band", "contributions"]
    whole = evergreen.score(table, Scorer.load(one), outputs=kinds)
    found["kept"] = whole.columns
    found["kinds"] = scores(whole.select("position", "score", "margin", "band", "contributions.*"))
    found["by_uri"] = scores(evergreen.score(table, Path(one).as_uri(), id="position"))
    # What is only kept may be of any type and have any name.
    kept = table.select(
        "*",
        F.timestamp_seconds("position").alias("at"),
        F.timestamp_seconds("position").cast("timestamp_ntz").alias("local"),
        F.array("position").alias("list"),
        F.struct(F.timestamp_seconds("position").alias("at")).alias("struct"),
        F.col("position").alias("a.b"),
    )
    scored = evergreen.score(kept, one)
    found["kept_types"] = {
        "same": dict(scored.dtypes) == dict(kept.dtypes) | {"score": "float"},
        "wrong": kept.exceptAll(scored.drop("score")).count() + scored.drop("score").exceptAll(kept).count(),
        "columns": scores(scored.select("position", "score")),
    }
    [bare] = Path(models["catboost"]).glob("model.*")
    found["bare"] = scores(evergreen.score(table, bare, id="position", outputs="margin"))
    stream = spark.readStream.schema(table.schema).parquet(str(Path(rows).parent))
    # Spark Connect sends no files to the workers of a stream.
    found["stream_sends"] = refused(lambda: evergreen.score(stream, one, id="position"))
    bundle = Path(one).as_uri() if found["stream_sends"] else one
    written = (
        evergreen.score(stream, bundle, id="position").writeStream.format("memory").queryName("streamed")
    )
    written.trigger(availableNow=True).start().awaitTermination()
    found["streamed"] = scores(spark.table("streamed"))
    found["empty"] = evergreen.score(table.limit(0), one, id="position").collect()
    found["workers"] = [
        list(row) for row in table.repartition(4).mapInArrow(workers, "pid long, models long").collect()
    ]
    text = table.withColumn("spend", F.col("spend").cast("string"))
    broken = table.withColumn("calls", F.col("calls") + F.when(F.col("position") == 7, 0.5).otherwise(0.0))
    found["errors"] = {
        "type": refused(lambda: evergreen.score(text, one)),
        "missing": refused(lambda: evergreen.score(table.drop("ratio"), one)),
        "id": refused(lambda: evergreen.score(table, one, id="customer")),
        "twice": refused(lambda: evergreen.score(table.withColumn("score", F.lit(1.0)), one)),
        "kind": refused(lambda: evergreen.score(table, one, id="position", outputs="scores")),
        "none": refused(lambda: evergreen.score(table, {}, id="position")),
        "cell": refused(lambda: evergreen.score(broken.coalesce(1), one, id="position").collect()),
    }
    found["nulls"] = scores(
        evergreen.score(broken, one, id="position", outputs=["score", "error"], on_error="null")
    )
    try:
        score = evergreen.column(spark, one)
        found["column"] = scores(table.withColumn("score", score(F.struct("*"))).select("position", "score"))
    except NotImplementedError as error:
        found["column"] = str(error)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
