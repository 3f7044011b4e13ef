"""XGBoost: every objective, booster and way of splitting that the installed release can train."""

import json
import pathlib

import numpy as np
import xgboost as xgb

import data

VERSION = tuple(int(part) for part in xgb.__version__.split(".")[:2])

SCALAR = [
    "reg:squarederror", "reg:squaredlogerror", "reg:logistic", "reg:pseudohubererror", "reg:absoluteerror",
    "binary:logistic", "binary:logitraw", "binary:hinge", "count:poisson", "reg:gamma", "reg:tweedie",
    "survival:cox", "survival:aft", "rank:pairwise", "rank:ndcg", "rank:map", "reg:quantileerror",
    "reg:expectileerror",
]  # fmt: skip
SINCE = {
    "reg:pseudohubererror": (1, 1),
    "reg:absoluteerror": (1, 7),
    "survival:aft": (1, 2),
    "reg:quantileerror": (2, 0),
    "reg:expectileerror": (3, 3),
}


def thresholds(path):
    """Column -> thresholds, from a saved JSON file."""
    found = {}
    booster = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["learner"]["gradient_booster"]
    model = booster.get("gbtree", booster)["model"]
    for tree in model["trees"]:
        for left, feature, condition in zip(
            tree["left_children"], tree["split_indices"], tree["split_conditions"]
        ):
            if left != -1:
                found.setdefault(feature, set()).add(condition)
    return found


def target(objective, signal):
    """Labels that an objective accepts."""
    if objective.startswith(("binary", "reg:logistic")):
        return (signal > 0.4).astype(np.float32)
    if objective.startswith("rank"):
        return (
            np.digitize(signal, [0, 1]).astype(np.float32)
            if objective != "rank:map"
            else (signal > 0.4) * 1.0
        )
    if objective in (
        "count:poisson",
        "reg:gamma",
        "reg:tweedie",
        "survival:cox",
        "survival:aft",
        "reg:squaredlogerror",
    ):
        return np.round(np.exp(np.clip(signal, -3, 3)) + 0.5).astype(np.float32)
    return signal.astype(np.float32)


def matrix_for(matrix, kinds, label=None, objective="", names=None):
    """A DMatrix with what its objective needs."""
    keywords = {"label": label} if label is not None else {}
    if kinds.any() and VERSION >= (1, 5):
        keywords["feature_types"] = ["c" if kind else "float" for kind in kinds]
        keywords["enable_categorical"] = True
    if names:
        keywords["feature_names"] = names
    made = xgb.DMatrix(matrix, **keywords)
    if label is not None and objective.startswith("rank"):
        made.set_group([50] * (len(matrix) // 50))
    if label is not None and objective == "survival:aft":
        made.set_float_info("label_lower_bound", label)
        made.set_float_info("label_upper_bound", np.where(label > 5, np.inf, label))
    return made


class Cases:
    """Trains and records."""

    def __init__(self, recorder, table=None):
        self.recorder = recorder
        self.root = f"xgboost/{xgb.__version__}"
        self.numeric = data.table(categories=False)
        self.categorical = data.table(categories=True)
        self.table = table

    def train(self, case, params, rounds=6, table=None, label=None, infinite=False, ubj=False, shap=True):
        """Trains on a table and records the case."""
        if not self.recorder.wants(case):
            return
        matrix, kinds = table or self.numeric
        objective = params.get("objective", "reg:squarederror")
        if label is None:
            label = target(objective, data.score(matrix))
        params = {"max_depth": 4, "eta": 0.4, "nthread": 2, "verbosity": 0, **params}
        try:
            booster = xgb.train(params, matrix_for(matrix, kinds, label, objective), rounds)
            self.save(case, booster, matrix, kinds, ubj=ubj, shap=shap)
        except xgb.core.XGBoostError as error:
            if VERSION >= (1, 2):
                raise
            # The oldest releases fail on some of their own files; what they never answered is no golden.
            print("skipped", case, str(error).splitlines()[0][-150:])
            for extension in (".json", ".ubj"):
                self.recorder.path(f"{self.root}/{case}", extension).unlink(missing_ok=True)

    def save(
        self, case, booster, matrix, kinds, ubj=False, shap=True, model=None, iterations="all", limit=None
    ):
        """Saves a booster and what it answers to the trying rows."""
        case = f"{self.root}/{case}"
        if model is None:
            model = self.recorder.path(case, ".json")
            booster.save_model(str(model))
        known = thresholds(model) if model.suffix == ".json" else {}
        if ubj:
            model.unlink()
            model = self.recorder.path(case, ".ubj")
            booster.save_model(str(model))
        # The library refuses infinities in what it is handed.
        rows = data.trying_rows(matrix, kinds, known, infinite=False)
        if self.table is not None and matrix is self.table[0]:
            rows = np.concatenate([matrix, rows])
        asked = matrix_for(rows, kinds)
        # What is saved is what is asked, in a process that only knows the file.
        booster = xgb.Booster(model_file=str(model))
        extra = {"iteration_range": limit} if limit else {}
        outputs = {
            "margin": booster.predict(asked, output_margin=True, **extra),
            "value": booster.predict(asked, **extra),
        }
        if booster.get_dump():
            outputs["leaf"] = booster.predict(asked, pred_leaf=True, **extra)
        if shap:
            outputs["contributions"] = booster.predict(asked, pred_contribs=True, **extra)
        self.recorder.record(case, model, rows, outputs, iterations)

    def all(self):
        """Every case that this release can train."""
        for objective in SCALAR:
            if SINCE.get(objective, (1, 0)) <= VERSION:
                self.train(objective.replace(":", "-"), {"objective": objective, **self.extra(objective)})
        self.base_scores()
        self.classes()
        self.shapes()
        self.categories()
        self.early_stopping()
        self.vector_leaves()
        # UBJSON, which is smaller, came with 1.6.
        if VERSION >= (1, 6):
            self.many_thresholds()
        if self.table is not None:
            self.telco()

    @staticmethod
    def extra(objective):
        """Parameters without which an objective does not train."""
        if objective == "reg:quantileerror":
            return {"quantile_alpha": 0.7}
        if objective == "reg:expectileerror":
            return {"expectile_alpha": 0.7}
        if objective == "survival:aft":
            return {"aft_loss_distribution": "normal", "aft_loss_distribution_scale": 1.2}
        return {}

    def base_scores(self):
        """base_score by hand, where the library converts it."""
        for objective, score in [
            ("binary:logistic", 0.3),
            ("binary:logitraw", 0.3),
            ("reg:squarederror", -1.7),
            ("count:poisson", 2.5),
            ("multi:softprob", 0.3),
            ("binary:logistic", 0.999999),
            ("binary:logistic", 1e-7),
            ("reg:gamma", 1.3),
            ("binary:hinge", 0.2),
            ("survival:cox", 0.9),
        ]:
            if VERSION < (1, 1) and score in (0.999999, 1e-7):
                continue  # saved as 0.000000 or 1.000000, which that release itself refuses to load
            more = {"num_class": 3} if objective.startswith("multi") else {}
            label = np.digitize(data.score(self.numeric[0]), [0, 1]) if more else None
            name = f"base-{objective.replace(':', '-')}-{score}"
            self.train(name, {"objective": objective, "base_score": score, **more}, rounds=2, label=label)
        # Without a round, the base is not estimated; since 3.1 the library then does not convert it either.
        for objective in ("binary:logistic", "count:poisson", "reg:squarederror"):
            name = f"no-rounds-{objective.replace(':', '-')}"
            self.train(name, {"objective": objective}, rounds=0, shap=False)
        self.train(
            "no-rounds-base", {"objective": "binary:logistic", "base_score": 0.3}, rounds=0, shap=False
        )

    def classes(self):
        """Several classes."""
        matrix, _ = self.numeric
        label = np.digitize(data.score(matrix), [-1, 0, 1, 2])
        for objective in ("multi:softprob", "multi:softmax"):
            self.train(objective.replace(":", "-"), {"objective": objective, "num_class": 5}, label=label)

    def shapes(self):
        """Forests, DART, growth policies, pruning, constraints, one leaf, UBJSON."""
        logistic = {"objective": "binary:logistic"}
        self.train("forest", {**logistic, "num_parallel_tree": 5, "subsample": 0.5, "eta": 1.0}, rounds=1)
        self.train("boosted-forest", {**logistic, "num_parallel_tree": 3, "subsample": 0.5}, rounds=3)
        self.train("dart", {**logistic, "booster": "dart", "rate_drop": 0.4, "one_drop": 1}, rounds=12)
        label = np.digitize(data.score(self.numeric[0]), [0, 1])
        self.train(
            "dart-classes",
            {"objective": "multi:softprob", "num_class": 3, "booster": "dart", "rate_drop": 0.4},
            label=label,
        )
        self.train(
            "lossguide",
            {**logistic, "tree_method": "hist", "grow_policy": "lossguide", "max_leaves": 24, "max_depth": 0},
        )
        self.train("exact", {**logistic, "tree_method": "exact", "gamma": 1.0, "max_depth": 6})
        self.train("stump", {**logistic, "gamma": 1e9}, rounds=2)
        self.train("deep", {**logistic, "max_depth": 10}, rounds=25)
        if VERSION >= (1, 6):
            self.train("ubjson", logistic, ubj=True)
            self.train("ubjson-dart", {**logistic, "booster": "dart", "rate_drop": 0.4}, rounds=8, ubj=True)

    def categories(self):
        """Categorical splits, one-hot and partition."""
        if VERSION < (1, 6):
            return
        logistic = {"objective": "binary:logistic", "tree_method": "hist" if VERSION >= (1, 7) else "approx"}
        table = self.categorical
        self.train("category-partition", {**logistic, "max_cat_to_onehot": 1}, table=table, rounds=12)
        self.train("category-onehot", {**logistic, "max_cat_to_onehot": 100}, table=table, rounds=12)
        self.train("category-ubjson", {**logistic, "max_cat_to_onehot": 4}, table=table, ubj=True)

    def early_stopping(self):
        """best_iteration through the sklearn wrapper, which applies it."""
        if VERSION < (1, 6) or not self.recorder.wants("sklearn-early-stopping"):
            return
        matrix, kinds = self.numeric
        label = target("binary:logistic", data.score(matrix))
        wrapped = xgb.XGBClassifier(n_estimators=60, max_depth=3, early_stopping_rounds=2, learning_rate=0.7)
        wrapped.fit(matrix[:300], label[:300], eval_set=[(matrix[300:], label[300:])], verbose=False)
        case = f"{self.root}/sklearn-early-stopping"
        model = self.recorder.path(case, ".json")
        wrapped.save_model(str(model))
        rows = data.trying_rows(matrix, kinds, thresholds(model), infinite=False)
        outputs = {
            "margin": wrapped.predict(rows, output_margin=True),
            "value": wrapped.predict_proba(rows)[:, 1],
            "class": wrapped.predict(rows),
            "leaf": wrapped.apply(rows),
        }
        self.recorder.record(case, model, rows, outputs, "best")
        several = xgb.XGBClassifier(
            n_estimators=40, max_depth=3, early_stopping_rounds=2, num_parallel_tree=2, subsample=0.7
        )
        label = np.digitize(data.score(matrix), [0, 1])
        several.fit(matrix[:300], label[:300], eval_set=[(matrix[300:], label[300:])], verbose=False)
        case = f"{self.root}/sklearn-early-stopping-classes"
        model = self.recorder.path(case, ".json")
        several.save_model(str(model))
        outputs = {
            "margin": several.predict(rows, output_margin=True),
            "value": several.predict_proba(rows),
            "class": several.predict(rows),
        }
        self.recorder.record(case, model, rows, outputs, "best")

    def vector_leaves(self):
        """Several targets: a tree for each, and trees with vector leaves."""
        if VERSION < (2, 0):
            return
        matrix, _ = self.numeric
        signal = data.score(matrix)
        targets = np.stack([signal, -signal * 2, np.sin(signal)], axis=1).astype(np.float32)
        label = np.digitize(signal, [0, 1])
        vector = {"multi_strategy": "multi_output_tree", "tree_method": "hist"}
        self.train("targets", {"objective": "reg:squarederror"}, label=targets)
        self.train("targets-logistic", {"objective": "binary:logistic"}, label=(targets > 0) * 1.0)
        self.train("vector-leaf", {"objective": "reg:squarederror", **vector}, label=targets, shap=False)
        self.train(
            "vector-leaf-ubjson",
            {"objective": "binary:logistic", **vector},
            label=(targets > 0) * 1.0,
            shap=False,
            ubj=True,
        )
        self.train(
            "vector-leaf-classes",
            {"objective": "multi:softprob", "num_class": 3, **vector},
            label=label,
            shap=False,
        )
        if VERSION >= (3, 3):
            self.train("expectiles", {"objective": "reg:expectileerror", "expectile_alpha": [0.1, 0.5, 0.9], "tree_method": "hist"})  # fmt: skip
        self.train(
            "quantiles",
            {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9], "tree_method": "hist"},
        )

    def many_thresholds(self):
        """A feature of a few values before one with hundreds of thresholds."""
        matrix, kinds, label = data.few_before_many()
        self.train(
            "many-thresholds",
            {"objective": "binary:logistic", "tree_method": "hist", "max_bin": 1024, "max_depth": 9},
            table=(matrix, kinds),
            label=label,
            shap=False,
            ubj=True,
        )

    def telco(self):
        """The telecom customers: the whole matrix of ways to split."""
        matrix, kinds, left = self.table
        plain = (matrix, np.zeros_like(kinds))
        self.table = plain
        logistic = {"objective": "binary:logistic", "tree_method": "hist"}
        self.train("telco", logistic, table=plain, label=left, rounds=200)
        self.train(
            "telco-dart",
            {**logistic, "booster": "dart", "rate_drop": 0.1},
            table=plain,
            label=left,
            rounds=50,
        )
        self.train("telco-squared", {"objective": "reg:squarederror"}, table=plain, label=left, rounds=100)
        if VERSION >= (1, 7):
            self.table = (matrix, kinds)
            self.train("telco-category", logistic, table=self.table, label=left, rounds=200)
            self.train("telco-category-ubjson", {**logistic, "max_cat_to_onehot": 1}, table=self.table, label=left, rounds=200, ubj=True)  # fmt: skip


def run(recorder, table):
    """Records every case."""
    Cases(recorder, table).all()
