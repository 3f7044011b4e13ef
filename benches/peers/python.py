"""CatBoost's and ONNX Runtime's own evaluation, through their Python packages, on the models of `models.py`.

    python python.py DIRECTORY [--rounds N] [--explain]

Prints the least and the median time of a row, as the main table does, on one thread by its own processor time; the call
from Python is part of it. `symmetric` is CatBoost's; `100x4` and `500x6` (XGBoost's) are turned into ONNX if
`onnxmltools`, `onnx` and `onnxruntime` are there. With `--explain` it times CatBoost's `ShapValues` instead: up to 64
rows take one call each, because each call prepares all trees anew.
"""

import argparse
import os
import statistics
import time

import numpy

SLICE = 0.01


def timed(predict, rows, batch, rounds):
    times = []
    blocks = [rows[at : at + batch] for at in range(0, len(rows) - batch + 1, batch)]
    for _ in range(rounds + 1):
        start, done = time.thread_time(), 0
        while (spent := time.thread_time() - start) < SLICE:
            predict(blocks[done % len(blocks)])
            done += 1
        times.append(spent * 1e6 / done / batch)
    return times[1:]


def report(model, engine, predict, rows, rounds):
    for batch in (1, 64, 4096):
        times = timed(predict, rows, batch, rounds)
        print(
            f"| {model} | {batch} | {engine} | {statistics.median(times):.3f} | {min(times):.3f} |",
            flush=True,
        )


def catboost_peer(directory, rounds):
    import catboost

    model = catboost.CatBoostClassifier()
    model.load_model(os.path.join(directory, "symmetric.cbm"))
    rows = numpy.fromfile(os.path.join(directory, "symmetric.rows"), numpy.float32).reshape(4096, -1)
    report(
        "symmetric.cat.json",
        "CatBoost (Python)",
        lambda x: model.predict(x, prediction_type="Probability", thread_count=1),
        rows,
        rounds,
    )


def catboost_explainer(directory, rounds):
    import catboost

    model = catboost.CatBoostClassifier()
    model.load_model(os.path.join(directory, "symmetric.cbm"))
    rows = numpy.fromfile(os.path.join(directory, "symmetric.rows"), numpy.float32).reshape(4096, -1)
    report(
        "symmetric.cat.json",
        "CatBoost (Python)",
        lambda x: model.get_feature_importance(catboost.Pool(x), type="ShapValues", thread_count=1),
        rows,
        rounds,
    )


def onnx_peer(directory, name, rounds):
    import onnxmltools
    import onnxruntime
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    rows = numpy.fromfile(os.path.join(directory, name + ".rows"), numpy.float32).reshape(4096, -1)
    booster = xgboost.Booster(model_file=os.path.join(directory, name + ".json"))
    onnx = onnxmltools.convert_xgboost(booster, initial_types=[("x", FloatTensorType([None, rows.shape[1]]))])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx.SerializeToString(), options)
    report(name + ".json", "ONNX Runtime (Python)", lambda x: session.run(None, {"x": x}), rows, rounds)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--explain", action="store_true")
    arguments = parser.parse_args()
    if arguments.explain:
        return catboost_explainer(arguments.directory, arguments.rounds)
    catboost_peer(arguments.directory, arguments.rounds)
    for name in ("100x4", "500x6"):
        try:
            onnx_peer(arguments.directory, name, arguments.rounds)
        except ImportError as missing:
            print(f"no ONNX Runtime here: {missing}")
            break


if __name__ == "__main__":
    main()
