"""LightGBM: every objective, boosting, way of splitting and kind of missing value of the installed release."""

import lightgbm as lgb
import numpy as np

import data

VERSION = tuple(int(part) for part in lgb.__version__.split(".")[:2])

OBJECTIVES = [
    "regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie", "binary",
    "multiclass", "multiclassova", "cross_entropy", "cross_entropy_lambda", "lambdarank", "rank_xendcg",
]  # fmt: skip


def thresholds(booster):
    """Column -> thresholds of the numeric splits."""
    found = {}
    open_nodes = [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]]
    while open_nodes:
        node = open_nodes.pop()
        if "split_feature" not in node:
            continue
        if node["decision_type"] == "<=":
            found.setdefault(node["split_feature"], set()).add(node["threshold"])
        open_nodes += [node["left_child"], node["right_child"]]
    return found


def target(objective, signal):
    """Labels that an objective accepts."""
    if objective in ("binary", "cross_entropy", "cross_entropy_lambda"):
        return (signal > 0.4) * 1.0
    if objective.startswith("multiclass"):
        return np.digitize(signal, [-1, 0, 1]) * 1.0
    if objective in ("lambdarank", "rank_xendcg"):
        return np.digitize(signal, [0, 1]) * 1.0
    if objective in ("poisson", "gamma", "tweedie", "mape"):
        return np.round(np.exp(np.clip(signal, -3, 3)) + 0.5)
    return signal


def wide_table(categories):
    """The made-up table in f64, so that thresholds are no f32."""
    matrix, kinds = data.table(categories=categories)
    matrix = matrix.astype(np.float64)
    matrix[:, ~kinds] *= 1 + 1e-9 * np.arange(len(matrix))[:, None]
    return matrix, kinds


class Cases:
    """Trains and records."""

    def __init__(self, recorder, table=None):
        self.recorder = recorder
        self.root = f"lightgbm/{lgb.__version__}"
        self.numeric = wide_table(False)
        self.categorical = wide_table(True)
        self.table = table

    def train(self, case, params, rounds=6, table=None, label=None, shap=True):
        """Trains on a table and records the case."""
        if not self.recorder.wants(case):
            return
        matrix, kinds = table or self.numeric
        objective = params.get("objective", "regression")
        if label is None:
            label = target(objective, data.score(matrix))
        if objective.startswith("multiclass"):
            params = {"num_class": 4, **params}
        params = {
            "verbosity": -1, "num_leaves": 12, "learning_rate": 0.3, "min_data_in_leaf": 5, "num_threads": 2,
            "deterministic": True, "force_row_wise": True, "min_data_per_group": 5, "cat_smooth": 1.0, **params,
        }  # fmt: skip
        keywords = {"group": [50] * (len(matrix) // 50)} if "rank" in objective else {}
        train = lgb.Dataset(matrix, label, categorical_feature=[int(c) for c in np.flatnonzero(kinds)], params=params, free_raw_data=False, **keywords)  # fmt: skip
        booster = lgb.train(params, train, rounds)
        self.save(case, booster, matrix, kinds, shap)

    def save(self, case, booster, matrix, kinds, shap=True):
        """Saves a booster and what a booster loaded from the file answers to the trying rows."""
        case = f"{self.root}/{case}"
        model = self.recorder.path(case, ".txt")
        booster.save_model(str(model))
        booster = lgb.Booster(model_file=str(model))
        rows = data.trying_rows(matrix, kinds, thresholds(booster), width=np.float64)
        if self.table is not None and matrix is self.table[0]:
            rows = np.concatenate([matrix, rows])
        outputs = {
            "margin": booster.predict(rows, raw_score=True),
            "value": booster.predict(rows),
            "leaf": booster.predict(rows, pred_leaf=True),
        }
        if shap:
            outputs["contributions"] = booster.predict(rows, pred_contrib=True)
        self.recorder.record(case, model, rows, outputs)

    def all(self):
        """Every case that this release can train."""
        for objective in OBJECTIVES:
            self.train(objective, {"objective": objective})
        self.missing()
        self.shapes()
        self.categories()
        self.wrapped()
        self.many_thresholds()
        if self.table is not None:
            self.telco()

    def missing(self):
        """The three kinds of missing value."""
        full, kinds = self.numeric
        full = np.nan_to_num(full, nan=0.25)
        self.train("missing-never-seen", {"objective": "binary"}, table=(full, kinds))
        self.train("missing-off", {"objective": "binary", "use_missing": False})
        self.train("missing-zero", {"objective": "binary", "zero_as_missing": True}, rounds=12)

    def shapes(self):
        """Boostings, linear trees, transforms with a parameter, one leaf."""
        self.train("dart", {"boosting": "dart", "objective": "binary", "drop_rate": 0.5}, rounds=12)
        self.train(
            "forest",
            {"boosting": "rf", "objective": "binary", "bagging_freq": 1, "bagging_fraction": 0.6},
            rounds=7,
        )
        self.train(
            "forest-regression", {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}, rounds=7
        )
        self.train(
            "forest-classes",
            {"boosting": "rf", "objective": "multiclass", "bagging_freq": 1, "bagging_fraction": 0.6},
            rounds=3,
        )
        self.train("linear-tree", {"objective": "regression", "linear_tree": True}, rounds=8, shap=False)
        self.train(
            "linear-tree-binary",
            {"objective": "binary", "linear_tree": True, "linear_lambda": 0.1},
            rounds=8,
            shap=False,
        )
        self.train("sqrt", {"objective": "regression", "reg_sqrt": True})
        self.train("sigmoid", {"objective": "binary", "sigmoid": 2.3})
        self.train("sigmoid-ova", {"objective": "multiclassova", "sigmoid": 0.7})
        self.train("stump", {"objective": "regression", "min_data_in_leaf": 10000}, rounds=2)
        self.train("deep", {"objective": "binary", "num_leaves": 63, "min_data_in_leaf": 1}, rounds=20)
        self.train("unbalanced", {"objective": "binary", "is_unbalance": True})

    def categories(self):
        """Categorical splits."""
        binary = {"objective": "binary"}
        table = self.categorical
        self.train("category", binary, table=table, rounds=15)
        self.train("category-onehot", {**binary, "max_cat_to_onehot": 100}, table=table, rounds=15)
        self.train("category-missing-off", {**binary, "use_missing": False}, table=table)
        self.train("category-zero", {**binary, "zero_as_missing": True}, table=table)
        self.train("category-classes", {"objective": "multiclass"}, table=table)

    def wrapped(self):
        """The sklearn wrapper on a frame with categories: classes, and `pandas_categorical` in the file."""
        import pandas as pd

        matrix, kinds = self.categorical
        frame = pd.DataFrame(
            matrix[:, ~kinds],
            columns=[f"n {i}" if VERSION >= (4, 0) else f"n{i}" for i in range((~kinds).sum())],
        )
        names = np.array(["red", "blue", 'grün "x"'], dtype=object)
        codes = matrix[:, 7]
        frame["colour"] = pd.Categorical(
            np.where(np.isnan(codes), None, names[np.nan_to_num(codes).astype(int)])
        )
        frame["size"] = pd.Categorical(matrix[:, 8])
        label = np.digitize(data.score(matrix), [0, 1])
        model = lgb.LGBMClassifier(n_estimators=5, num_leaves=8, verbosity=-1, n_jobs=2, min_data_per_group=5)
        model.fit(frame, label)
        case = f"{self.root}/sklearn-pandas"
        path = self.recorder.path(case, ".txt")
        model.booster_.save_model(str(path))
        part = frame.iloc[:80]
        coded = part.copy()
        for name in ("colour", "size"):
            coded[name] = coded[name].cat.codes.replace(-1, np.nan)
        outputs = {
            "margin": model.predict(part, raw_score=True),
            "value": model.predict_proba(part),
            "class": model.predict(part),
        }
        self.recorder.record(case, path, coded.to_numpy(np.float64), outputs)

    def many_thresholds(self):
        """A feature of a few values before one with hundreds of thresholds."""
        matrix, kinds, label = data.few_before_many()
        for case, params in [("many-thresholds", {}), ("many-thresholds-zero", {"zero_as_missing": True})]:
            self.train(
                case,
                {"objective": "binary", "max_bin": 1023, "num_leaves": 255, **params},
                table=(matrix.astype(np.float64), kinds),
                label=label,
                shap=False,
            )

    def telco(self):
        """The telecom customers."""
        matrix, kinds, left = self.table
        matrix = matrix.astype(np.float64)
        plain = np.zeros_like(kinds)
        for case, params, mask in [
            ("telco", {"objective": "binary"}, plain),
            ("telco-category", {"objective": "binary"}, kinds),
            ("telco-dart", {"objective": "binary", "boosting": "dart"}, kinds),
            (
                "telco-forest",
                {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
                kinds,
            ),
            ("telco-linear", {"objective": "binary", "linear_tree": True}, plain),
            ("telco-zero", {"objective": "binary", "zero_as_missing": True}, kinds),
        ]:
            self.table = (matrix, mask)
            self.train(case, {"num_leaves": 31, **params}, rounds=100, table=self.table, label=left, shap="linear" not in case)  # fmt: skip


def run(recorder, table):
    """Records every case."""
    Cases(recorder, table).all()
