"""Train the models that the comparison runs on, and write rows to predict.

    python models.py DIRECTORY [NAME...] [--rows N]

Random data: standard normal features, 5 % missing, a label with interactions and noise, so that trees grow
full and paths differ from row to row. Everything follows from one seed. `--rows` trains on fewer rows than 40,000.
"""

import argparse
import os

import lightgbm
import numpy
import xgboost

MISSING = 0.05
ROWS = 40_000


def data(features, seed, rows=None, categories=0):
    """Rows with a label; the first `categories` features are category codes."""
    rows = rows or ROWS
    rng = numpy.random.default_rng(seed)
    x = rng.standard_normal((rows, features)).astype(numpy.float32)
    codes = rng.integers(0, 40, size=(rows, categories))
    x[:, :categories] = codes
    scaled = numpy.where(numpy.arange(features) < categories, numpy.sin(x * 7), x)
    weights = rng.standard_normal(features) / numpy.sqrt(min(features, 40))
    weights[40:] *= 0.2
    score = scaled @ weights + scaled[:, 0] * scaled[:, 1] + numpy.sin(3 * scaled[:, 2]) * scaled[:, 3]
    score += 0.8 * rng.standard_normal(rows)
    x[rng.random(x.shape) < MISSING] = numpy.nan
    return x, score


def xgb(path, trees, depth, features=30, classes=0, categories=0):
    x, score = data(features, 1, categories=categories)
    params = {"max_depth": depth, "eta": 0.05, "tree_method": "hist", "nthread": 1, "min_child_weight": 0.1}
    if classes:
        label = numpy.digitize(score, numpy.quantile(score, numpy.arange(1, classes) / classes))
        params |= {"objective": "multi:softprob", "num_class": classes}
    else:
        label = score > 0.3
        params |= {"objective": "binary:logistic"}
    types = ["c" if at < categories else "q" for at in range(features)]
    matrix = xgboost.DMatrix(x, label, feature_types=types, enable_categorical=True)
    xgboost.train(params, matrix, trees).save_model(path + ".json")


def lgb(path, trees, leaves, depth=-1, features=30, categories=0):
    x, score = data(features, 1, categories=categories)
    params = {
        "objective": "binary",
        "num_leaves": leaves,
        "max_depth": depth,
        "learning_rate": 0.05,
        "num_threads": 1,
        "verbose": -1,
        "min_data_in_leaf": 5,
    }
    matrix = lightgbm.Dataset(
        x.astype(numpy.float64), score > 0.3, categorical_feature=list(range(categories))
    )
    lightgbm.train(params, matrix, trees).save_model(path + ".txt")


def cat(path, trees, depth, features=30):
    import catboost

    x, score = data(features, 1)
    model = catboost.CatBoostClassifier(iterations=trees, depth=depth, verbose=False, thread_count=1)
    model.fit(x, score > 0.3)
    model.save_model(path + ".cat.json", format="json")
    model.save_model(path + ".cbm")


MODELS = {
    "100x4": lambda path: (xgb(path, 100, 4), lgb(path, 100, 16, 4)),
    "500x6": lambda path: (xgb(path, 500, 6), lgb(path, 500, 64, 6)),
    "1000x8": lambda path: (xgb(path, 1000, 8), lgb(path, 1000, 256, 8)),
    "100x16": lambda path: (xgb(path, 100, 16), lgb(path, 100, 1000, 16)),
    "leaves31": lambda path: lgb(path, 500, 31),
    "leaves64": lambda path: lgb(path, 500, 64),
    "leaves255": lambda path: lgb(path, 500, 255),
    "wide200": lambda path: (xgb(path, 500, 6, 200), lgb(path, 500, 64, 6, 200)),
    "wide2000": lambda path: (xgb(path, 200, 6, 2000), lgb(path, 200, 64, 6, 2000)),
    "category": lambda path: (xgb(path, 500, 6, categories=6), lgb(path, 500, 31, categories=6)),
    "classes10": lambda path: xgb(path, 200, 6, classes=10),
    "symmetric": lambda path: cat(path, 500, 6),
}


def main():
    global ROWS
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rows", type=int, default=ROWS)
    arguments = parser.parse_args()
    ROWS = arguments.rows
    os.makedirs(arguments.directory, exist_ok=True)
    for name in arguments.names or MODELS:
        print(name, flush=True)
        path = os.path.join(arguments.directory, name)
        MODELS[name](path)
        features = {"wide200": 200, "wide2000": 2000}.get(name, 30)
        rows, _ = data(features, 2, 4096, 6 if name == "category" else 0)
        rows.tofile(path + ".rows")


if __name__ == "__main__":
    main()
