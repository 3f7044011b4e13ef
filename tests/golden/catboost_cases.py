"""CatBoost: symmetric and other trees, kinds of missing values, one-hot features, losses."""

import json
import pathlib

import catboost as cb
import numpy as np

import data

LOSSES = [
    "RMSE", "MAE", "Quantile:alpha=0.3", "MAPE", "Poisson", "Tweedie:variance_power=1.5", "LogCosh", "Huber:delta=1.0",
    "Expectile:alpha=0.4", "Lq:q=2", "Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll",
    "MultiRMSE", "MultiLogloss", "QueryRMSE", "YetiRank",
]  # fmt: skip


def texts(seed=5, rows=600):
    """Columns of texts whose lengths go through every branch of the hash that the model stores."""
    rng = np.random.default_rng(seed)
    words = ["", "a", "ab", "ä", "four", "sevench", "eight888", "ninechars", "sixteen_chars_16", "seventeen_chars17",
             "thirty-two characters exactly 32", "thirty-three characters exactly33", "x" * 48, "y" * 64, "z" * 65, "longer than " * 9, "w" * 128]  # fmt: skip
    return np.array(words, dtype=object)[rng.integers(len(words), size=rows)], rng.integers(
        0, 5, rows
    ).astype(str)


def target(loss, signal):
    """Labels that a loss accepts."""
    if loss in ("Logloss", "CrossEntropy"):
        return (signal > 0.4).astype(int)
    if loss.startswith("MultiClass"):
        return np.digitize(signal, [-1, 0, 1])
    if loss == "MultiRMSE":
        return np.stack([signal, -signal * 2], axis=1)
    if loss == "MultiLogloss":
        return np.stack([signal > 0, signal < -1, np.sin(signal) > 0], axis=1).astype(int)
    if loss.startswith(("Poisson", "Tweedie", "MAPE")):
        return np.round(np.exp(np.clip(signal, -3, 3)) + 0.5)
    return signal


def borders(path):
    """Column -> borders, from a saved file."""
    features = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["features_info"]["float_features"]
    return {feature["flat_feature_index"]: feature.get("borders") or [] for feature in features}


class Cases:
    """Trains and records."""

    def __init__(self, recorder, table=None):
        self.recorder = recorder
        self.root = f"catboost/{cb.__version__}"
        self.numeric = data.table(categories=False)
        self.table = table

    def train(self, case, params, table=None, label=None, columns=(), shap=True, change=None):
        """Trains on a table, with columns of texts appended, applies `change` and records the case."""
        if not self.recorder.wants(case):
            return
        matrix, kinds = table or self.numeric
        loss = params.get("loss_function", "RMSE")
        if label is None:
            label = target(loss, data.score(matrix))
        if columns:
            label = label ^ (columns[0] == "four") if loss == "Logloss" else label
        pool = self.pool(matrix, columns, label, loss)
        params = {"iterations": 12, "depth": 4, "learning_rate": 0.4, "one_hot_max_size": 30, "thread_count": 2,
                  "random_seed": 1, "verbose": False, "allow_writing_files": False, **params}  # fmt: skip
        model = cb.CatBoost(params).fit(pool)
        if change:
            change(model)
        self.save(case, model, matrix, kinds, columns, shap, loss)

    @staticmethod
    def pool(matrix, columns, label=None, loss=""):
        """A pool of numbers and texts."""
        group = {"group_id": np.arange(len(matrix)) // 50} if loss in ("QueryRMSE", "YetiRank") else {}
        if not columns:
            return cb.Pool(matrix, label, **group)
        import pandas as pd

        frame = pd.DataFrame(matrix)
        frame.columns = [str(name) for name in frame.columns]
        for position, column in enumerate(columns):
            frame[f"text{position}"] = column
        return cb.Pool(frame, label, cat_features=[f"text{position}" for position in range(len(columns))])

    def save(self, case, model, matrix, kinds, columns, shap, loss):
        """Saves a model and what it answers to the trying rows.

        The trained model is asked, not one loaded from the file: the library reads about one leaf in ten of its own
        JSON back as a neighbouring float, while its binary file gives the trained model's answers.
        """
        case = f"{self.root}/{case}"
        path = self.recorder.path(case, ".json")
        model.save_model(str(path), format="json")
        # Leaves of trees that are not symmetric are numbered anew when the file is read.
        loaded = cb.CatBoost()
        loaded.load_model(str(path), format="json")
        rows = data.trying_rows(matrix, kinds, borders(path))
        if self.table is not None and matrix is self.table[0]:
            rows = np.concatenate([matrix, rows])
        asked = []
        for column in columns:
            rng = np.random.default_rng(9)
            known = np.append(
                np.unique(column.astype(str)), ["never seen", "neither", "nor this, which is longer than 32"]
            )
            asked.append(known[rng.integers(len(known), size=len(rows))].astype(object))
        pool = self.pool(rows, asked)
        outputs = {
            "margin": model.predict(pool, prediction_type="RawFormulaVal"),
            "leaf": loaded.calc_leaf_indexes(pool),
        }
        if loss in ("Logloss", "CrossEntropy"):
            outputs["value"] = model.predict(pool, prediction_type="Probability")[:, 1]
            outputs["class"] = model.predict(pool, prediction_type="Class").astype(float)
        elif loss.startswith("MultiClass"):
            outputs["value"] = model.predict(pool, prediction_type="Probability")
            outputs["class"] = model.predict(pool, prediction_type="Class").astype(float)
        elif loss == "MultiLogloss":
            outputs["value"] = model.predict(pool, prediction_type="Probability")
        elif loss.startswith(("Poisson", "Tweedie")):
            outputs["value"] = model.predict(pool, prediction_type="Exponent")
        else:
            outputs["value"] = outputs["margin"]
        if shap:
            outputs["contributions"] = model.get_feature_importance(pool, type="ShapValues")
        if columns:
            rows = np.concatenate([rows, np.full((len(rows), len(columns)), np.nan, np.float32)], axis=1)
        self.recorder.record(
            case,
            path,
            rows,
            outputs,
            texts={str(matrix.shape[1] + at): list(column) for at, column in enumerate(asked)},
        )

    def all(self):
        """Every case."""
        for loss in LOSSES:
            self.train(loss.split(":")[0], {"loss_function": loss})
        for policy in ("Lossguide", "Depthwise"):
            self.train(
                policy.lower(),
                {"loss_function": "Logloss", "grow_policy": policy},
                shap=policy == "Depthwise",
            )
        self.train(
            "lossguide-classes", {"loss_function": "MultiClass", "grow_policy": "Lossguide"}, shap=False
        )
        for mode in ("Min", "Max"):
            self.train(f"nan-{mode.lower()}", {"loss_function": "Logloss", "nan_mode": mode})
        full = (np.nan_to_num(self.numeric[0], nan=0.25), self.numeric[1])
        self.train("nan-never-seen", {"loss_function": "Logloss"}, table=full)
        for threshold in (0.2, 0.97):
            # What set_probability_threshold of the classifier writes.
            text = str(threshold)
            self.train(
                f"threshold-{text}",
                {"loss_function": "Logloss"},
                change=lambda model, text=text: model.get_metadata().__setitem__(
                    "binclass_probability_threshold", text
                ),
            )
        # Probabilities are all 0.5 when rounded; the class is the sign of the sum.
        self.train(
            "tiny-scale",
            {"loss_function": "Logloss"},
            shap=False,
            change=lambda model: model.set_scale_and_bias(1e-17, [0.0]),
        )
        # Trees without a split: the only feature never had a value.
        never = (np.full((600, 1), np.nan, np.float32), self.numeric[1][:1])
        self.train(
            "no-splits",
            {"loss_function": "Logloss"},
            table=never,
            label=np.arange(600) % 3 // 2,
            shap=False,
        )
        self.train("from-average", {"loss_function": "RMSE", "boost_from_average": True})
        self.train("deep", {"loss_function": "RMSE", "iterations": 150, "depth": 8})
        columns = texts()
        self.train("onehot", {"loss_function": "Logloss", "iterations": 30}, columns=columns)
        self.train(
            "onehot-lossguide",
            {"loss_function": "Logloss", "grow_policy": "Lossguide", "iterations": 30},
            columns=columns,
            shap=False,
        )
        self.many_thresholds()
        if self.table is not None:
            self.telco()

    def many_thresholds(self):
        """A feature of a few values before one with hundreds of thresholds."""
        matrix, kinds, label = data.few_before_many()
        many = {"loss_function": "Logloss", "border_count": 1024}
        for case, params in [
            ("many-thresholds", {"depth": 5, "iterations": 150}),
            (
                "many-thresholds-lossguide",
                {"grow_policy": "Lossguide", "max_leaves": 128, "depth": 12, "iterations": 5},
            ),
        ]:
            self.train(case, {**many, **params}, table=(matrix, kinds), label=label, shap=False)

    def telco(self):
        """The telecom customers."""
        matrix, kinds, left = self.table
        plain = (matrix, np.zeros_like(kinds))
        self.table = plain
        for policy in ("SymmetricTree", "Lossguide"):
            self.train(
                f"telco-{policy.lower()}",
                {"loss_function": "Logloss", "iterations": 300, "depth": 6, "grow_policy": policy},
                table=plain,
                label=left,
                shap=False,
            )


def run(recorder, table):
    """Records every case."""
    Cases(recorder, table).all()
