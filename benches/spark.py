#!/usr/bin/env python3
"""Rows per second of Spark with Evergreen, and with other ways to score the same XGBoost model on the same cluster.

    python benches/spark.py --rows 500000 --rounds 3

Needs, in one environment: pyspark, pyarrow, pandas, xgboost-cpu, scikit-learn, mlflow-skinny and evergreen-serving (an
optimised build: `python/build`). The cluster is local: two executors with one core each. Each way scores the same
cached rows, or with `--files` the same Parquet file, which workers of Evergreen read themselves and Spark reads for the
others, and gives ids and scores. The output is thrown away; ways take turns, and the medians of the rounds count. One
score in 997 is compared with the model's own.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost

FEATURES = 30


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--files", action="store_true", help="score a Parquet file instead of cached rows")
    return parser.parse_args()


def session():
    from pyspark.sql import SparkSession

    os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    builder = SparkSession.builder.master("local-cluster[2,1,2048]")
    for name, value in {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "2g",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def rows(count, seed=3):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        rng.normal(size=(count, FEATURES)).astype("float32"), columns=[f"f{n}" for n in range(FEATURES)]
    )
    return frame.mask(rng.random(frame.shape) < 0.02)


def train(trees, depth):
    sample = rows(20_000, seed=1)
    signal = sample.fillna(0).to_numpy() @ np.linspace(-1, 1, FEATURES)
    label = (signal > 0).astype(int)
    model = xgboost.XGBClassifier(n_estimators=trees, max_depth=depth, tree_method="hist")
    return model.fit(sample, label), sample, label


def by_evergreen(table, bundle):
    from evergreen_serving import spark

    return lambda: spark.score(table, bundle, id="id")


def by_evergreen_files(session, path, bundle, rows):
    from evergreen_serving import spark

    return lambda: spark.score_files(session, path, bundle, id="id", rows_per_task=max(rows // 8, 1))


def ids(batches):
    for batch in batches:
        yield batch.select(["id"])


def by_nothing(table):
    """The rows go to Python and their ids come back: what no way to score in Python can do without."""
    return lambda: table.mapInArrow(ids, "id long")


def by_xgboost(spark, table, sample, label, trees, depth):
    """`xgboost.spark` scores with a model that it has trained: one of the same size on the same rows."""
    from pyspark.ml.functions import vector_to_array
    from xgboost.spark import SparkXGBClassifier

    names = list(sample)
    spark.createDataFrame(sample.assign(label=label)).createOrReplaceTempView("sample")
    trainer = SparkXGBClassifier(
        features_col=names, label_col="label", num_workers=1, n_estimators=trees, max_depth=depth
    )
    fitted = trainer.fit(spark.table("sample"))
    score = vector_to_array("probability", "float32").getItem(1).alias("score")
    return lambda: fitted.transform(table).select("id", score), fitted.get_booster()


def by_mlflow(spark, table, model, sample, folder):
    import mlflow
    from pyspark.sql import functions as F

    class Probability(mlflow.pyfunc.PythonModel):
        def load_context(self, context):
            self.booster = xgboost.Booster(model_file=context.artifacts["model"])
            self.booster.set_param({"nthread": 1})

        def predict(self, context, model_input, params=None):
            return self.booster.inplace_predict(model_input)

    model.save_model(folder / "model.ubj")
    signature = mlflow.models.infer_signature(sample, np.zeros(1, dtype="float32"))
    artifacts = {"model": str(folder / "model.ubj")}
    mlflow.pyfunc.save_model(
        folder / "mlflow", python_model=Probability(), artifacts=artifacts, signature=signature,
        pip_requirements=["xgboost-cpu"],
    )  # fmt: skip
    score = mlflow.pyfunc.spark_udf(spark, str(folder / "mlflow"), result_type="float", env_manager="local")
    features = F.struct(*[f"f{n}" for n in range(FEATURES)])
    return lambda: table.select("id", score(features).alias("score"))


def main():
    given = options()
    model, sample, label = train(given.trees, given.depth)
    frame = rows(given.rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        from evergreen_serving import save_bundle

        save_bundle(model, sample, folder / "bench/1")
        frame.assign(id=np.arange(given.rows)).to_parquet(folder / "rows.parquet", row_group_size=50_000)
        spark = session()
        table = spark.read.parquet(str(folder / "rows.parquet"))
        ours = model.get_booster()
        if given.files:
            # So that Spark divides the file as well.
            spark.conf.set("spark.sql.files.maxPartitionBytes", (folder / "rows.parquet").stat().st_size // 8)
            run = by_evergreen_files(spark, folder / "rows.parquet", folder / "bench/1", given.rows)
            ways = {
                "evergreen": (run, ours),
                "evergreen, DataFrame": (by_evergreen(table, folder / "bench/1"), ours),
            }
        else:
            table = table.repartition(8).cache()
            table.count()
            ways = {"evergreen": (by_evergreen(table, folder / "bench/1"), ours)}
        others = {
            "mlflow.pyfunc.spark_udf": lambda: (by_mlflow(spark, table, model, sample, folder), ours),
            "xgboost.spark": lambda: by_xgboost(spark, table, sample, label, given.trees, given.depth),
        }
        for way, make in others.items():
            try:
                ways[way] = make()
            except Exception as error:
                print(f"{way}: not measured: {type(error).__name__}: {str(error).splitlines()[0]}")
        for way, (run, booster) in ways.items():
            check(way, run(), booster.inplace_predict(frame))
        ways["no model, only the transfer"] = (by_nothing(table), None)
        seconds = {way: [] for way in ways}
        for _ in range(given.rounds):
            for way, (run, _) in ways.items():
                start = time.perf_counter()
                run().write.format("noop").mode("overwrite").save()
                seconds[way].append(time.perf_counter() - start)
        spark.stop()
    best = statistics.median(seconds["evergreen"])
    print(
        f"{given.rows} rows, {FEATURES} features, {given.trees} trees of depth {given.depth}, two executors"
    )
    for way, times in seconds.items():
        middle = statistics.median(times)
        ratio = middle / best
        print(
            f"{way:28} {given.rows / middle:12,.0f} rows/s   {middle:7.2f} s   {ratio:5.1f} x the time of evergreen"
        )


def check(way, scored, truth):
    """Compares some scores with those of the model itself."""
    assert scored.columns == ["id", "score"], scored.columns
    rows = scored.where("id % 997 = 0").collect()
    found = np.array([row["score"] for row in rows], dtype=np.float32)
    wanted = truth[[row["id"] for row in rows]]
    differ = int((found.view(np.uint32) != wanted.view(np.uint32)).sum())
    print(f"{way}: {differ} of {len(rows)} scores differ, by {np.abs(found - wanted).max():.2g} at most")


if __name__ == "__main__":
    main()
