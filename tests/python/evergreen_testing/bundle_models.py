"""Models of every library for bundles: objectives, shapes of trees, kinds of categories, missing values."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import catboost
import lightgbm
import numpy as np
import pandas as pd
import xgboost

ROWS = 600
PLANS = ["basic", "плюс", "z é"]
Frame: TypeAlias = pd.DataFrame
Train = Callable[[Frame, "np.ndarray[Any, Any]"], Any]


class ModelCase(NamedTuple):
    """A way to train a model, and the frame it needs."""

    name: str
    #: Trains on the frame and labels of `labels`.
    train: Train
    #: Which columns the frame has: numbers, and the kind of categories.
    columns: tuple[str, ...]
    #: Options of save_bundle that the model needs.
    options: dict[str, Any]
    #: The labels: two, three, count or number.
    labels: str = "two"


def frame(columns: tuple[str, ...], missing: bool, seed: int = 5) -> Frame:
    """Returns rows with the given columns; with missing values in all columns that allow them."""
    rng = np.random.default_rng(seed)
    base = {
        "spend": rng.gamma(2, 50, ROWS),
        "calls": rng.poisson(2, ROWS).astype("float64"),
        "flag": rng.random(ROWS) < 0.5,
        "plan": pd.Categorical(rng.choice(PLANS, ROWS), categories=PLANS),
        "ordered": pd.Categorical(rng.choice(list("sml"), ROWS), categories=list("sml"), ordered=True),
        "tier": pd.Categorical(rng.choice([30, 10, 20], ROWS), categories=[30, 10, 20]),
        "whole": pd.Categorical(rng.choice([1.0, 2.0, 3.0], ROWS)),
        "yes": pd.Categorical(rng.random(ROWS) < 0.4),
        "one": pd.Categorical(["US"] * ROWS),
        "code": rng.integers(0, 6, ROWS),
        "twocode": rng.integers(0, 3, ROWS),
        "text": rng.choice(PLANS, ROWS).astype(object),
        "agreed": rng.random(ROWS) < 0.3,
    }
    out = pd.DataFrame({name: base[name] for name in columns})
    if missing:
        for position, name in enumerate(columns):
            if out[name].dtype.kind not in "biuO":
                out.loc[rng.random(ROWS) < 0.05 * (position + 1), name] = None
    return out


def labels(rows: Frame, kind: str, seed: int = 6) -> "np.ndarray[Any, Any]":
    """Returns labels that depend on every column."""
    rng = np.random.default_rng(seed)
    parts = []
    for name in rows:
        column = rows[name]
        if isinstance(column.dtype, pd.CategoricalDtype) or column.dtype.kind == "O":
            column = pd.Series(pd.factorize(column)[0] % 2)
        elif name.endswith("code"):
            column = column % 2
        column = column.astype("float64").fillna(0)
        parts.append((column - column.mean()) / (column.std() or 1.0))
    signal = np.sum(parts, axis=0) + rng.normal(0, 0.5, len(rows))
    if kind == "two":
        return (signal > np.median(signal)).astype("int64")
    if kind == "three":
        return np.digitize(signal, np.quantile(signal, [0.3, 0.7]))
    return rng.poisson(np.exp(signal / 4)) if kind == "count" else signal


NUMBERS = ("spend", "calls", "flag")


def xgb(params: dict[str, Any], rounds: int = 8) -> Train:
    def train(rows: Frame, target: "np.ndarray[Any, Any]") -> Any:
        data = xgboost.DMatrix(rows, target, enable_categorical=True)
        return xgboost.train({"nthread": 1, "max_depth": 4, **params}, data, rounds)

    return train


def lgb(params: dict[str, Any], **more: Any) -> Train:
    def train(rows: Frame, target: "np.ndarray[Any, Any]") -> Any:
        settings = {
            "verbose": -1,
            "num_threads": 1,
            "min_data_in_leaf": 5,
            "min_data_per_group": 5,
            "cat_smooth": 1,
        }
        return lightgbm.train({**settings, **params}, lightgbm.Dataset(rows, target, **more), 8)

    return train


def cat(params: dict[str, Any]) -> Train:
    def train(rows: Frame, target: "np.ndarray[Any, Any]") -> Any:
        settings = {"iterations": 8, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
        known = [name for name in rows if name in ("plan", "tier", "yes", "one", "text", "agreed")]
        settings |= {"one_hot_max_size": 10, "depth": 4}
        return catboost.CatBoost({**settings, **params}).fit(rows, target, cat_features=known)

    return train


def xgboost_cases() -> list[ModelCase]:
    """Returns the objectives, boosters and categories of XGBoost."""
    single = {
        "binary:logistic": "two", "reg:logistic": "two", "binary:hinge": "two", "binary:logitraw": "two",
        "reg:squarederror": "number", "reg:absoluteerror": "number", "reg:pseudohubererror": "number",
        "count:poisson": "count", "reg:gamma": "count", "reg:tweedie": "count", "survival:cox": "count",
        "rank:pairwise": "two",
    }  # fmt: skip
    cases = [
        ModelCase(f"xgboost {objective}", xgb({"objective": objective}), NUMBERS, {}, kind)
        for objective, kind in single.items()
        if objective != "reg:gamma"  # needs positive labels
    ]
    softmax = {"objective": "multi:softmax", "num_class": 3}
    softprob = {"objective": "multi:softprob", "num_class": 3}
    logistic = {"objective": "binary:logistic"}
    cases += [
        ModelCase("xgboost multi:softmax", xgb(softmax), NUMBERS, {}, "three"),
        ModelCase("xgboost multi:softprob", xgb(softprob), NUMBERS, {"kind": "class"}, "three"),
        ModelCase("xgboost dart", xgb({**logistic, "booster": "dart", "rate_drop": 0.3}), NUMBERS, {}),
        ModelCase("xgboost forest", xgb({**logistic, "num_parallel_tree": 3}), NUMBERS, {}),
        ModelCase(
            "xgboost lossguide", xgb({**logistic, "grow_policy": "lossguide", "max_leaves": 9}), NUMBERS, {}
        ),
        ModelCase("xgboost no rounds", xgb(logistic, rounds=0), NUMBERS, {}),
        ModelCase(
            "xgboost no rounds, poisson", xgb({"objective": "count:poisson"}, rounds=0), NUMBERS, {}, "count"
        ),
        ModelCase("xgboost no rounds, base", xgb({**logistic, "base_score": 0.3}, rounds=0), NUMBERS, {}),
    ]
    for kind in ("plan", "ordered", "tier", "one"):
        for onehot in (1, 10):
            train = xgb({**logistic, "max_cat_to_onehot": onehot})
            cases.append(ModelCase(f"xgboost {kind} onehot {onehot}", train, ("spend", kind), {}))
    return cases


def lightgbm_cases() -> list[ModelCase]:
    """Returns the objectives, boosters and categories of LightGBM."""
    single = {
        "binary": "two", "cross_entropy": "two", "cross_entropy_lambda": "two", "regression": "number",
        "regression_l1": "number", "huber": "number", "fair": "number", "quantile": "number", "mape": "count",
        "poisson": "count", "tweedie": "count",
    }  # fmt: skip
    cases = [
        ModelCase(f"lightgbm {objective}", lgb({"objective": objective}), NUMBERS, {}, kind)
        for objective, kind in single.items()
    ]
    binary = {"objective": "binary"}
    rf = {**binary, "boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}
    root = {"objective": "regression", "reg_sqrt": True}
    classes = {"num_class": 3}
    cases += [
        ModelCase(
            "lightgbm multiclass",
            lgb({"objective": "multiclass", **classes}),
            NUMBERS,
            {"kind": "class"},
            "three",
        ),
        ModelCase(
            "lightgbm ova",
            lgb({"objective": "multiclassova", **classes}),
            NUMBERS,
            {"kind": "class"},
            "three",
        ),
        ModelCase("lightgbm sigmoid", lgb({**binary, "sigmoid": 0.5}), NUMBERS, {}),
        ModelCase("lightgbm sqrt", lgb(root), NUMBERS, {}, "number"),
        ModelCase("lightgbm dart", lgb({**binary, "boosting": "dart"}), NUMBERS, {}),
        ModelCase("lightgbm rf", lgb(rf), NUMBERS, {}),
        ModelCase("lightgbm linear", lgb({**binary, "linear_tree": True}), NUMBERS, {}),
        ModelCase("lightgbm zero missing", lgb({**binary, "zero_as_missing": True}), NUMBERS, {}),
        ModelCase("lightgbm no missing", lgb({**binary, "use_missing": False}), NUMBERS, {}),
    ]
    declared: list[tuple[tuple[str, ...], list[str] | None]] = [
        (("spend", "plan"), None),
        (("spend", "ordered"), None),
        (("spend", "tier"), None),
        (("spend", "whole"), None),
        (("spend", "yes"), None),
        (("one", "plan", "code", "ordered", "spend"), ["one", "plan", "code"]),
        (("one", "plan", "code", "spend"), ["plan", "code"]),
        (("plan", "code", "ordered"), ["code"]),
        (("plan", "ordered", "twocode", "spend"), ["plan", "twocode"]),
        (("code", "spend"), ["code"]),
        (("agreed", "plan", "flag"), ["agreed"]),
    ]
    for columns, names in declared:
        more = {} if names is None else {"categorical_feature": names}
        name = f"lightgbm {'+'.join(columns)} declared {names}"
        cases.append(ModelCase(name, lgb(binary, **more), columns, {}))
    return cases


def catboost_cases() -> list[ModelCase]:
    """Returns the losses, shapes and categories of CatBoost."""
    single = {
        "Logloss": "two", "CrossEntropy": "two", "RMSE": "number", "MAE": "number", "Quantile:alpha=0.3": "number",
        "Huber:delta=1": "number", "Poisson": "count", "Tweedie:variance_power=1.5": "count",
    }  # fmt: skip
    cases = [
        ModelCase(f"catboost {loss}", cat({"loss_function": loss}), NUMBERS, {}, kind)
        for loss, kind in single.items()
    ]
    two = {"loss_function": "Logloss"}

    def never(rows: Frame, target: "np.ndarray[Any, Any]") -> Any:
        rows["calls"] = np.nan  # no tree has a split
        return cat(two)(rows, target)

    def with_threshold(rows: Frame, target: "np.ndarray[Any, Any]") -> Any:
        model = catboost.CatBoostClassifier(iterations=8, verbose=0, allow_writing_files=False, depth=3)
        model.fit(rows, np.where(target, "yes", "no"))
        model.set_probability_threshold(0.2)
        return model

    def tiny(rows: Frame, target: "np.ndarray[Any, Any]") -> Any:
        model = cat({**two, "iterations": 1, "depth": 1})(rows, target)
        model.set_scale_and_bias(1e-17, [0.0])
        return model

    def summed(rows: Frame, target: "np.ndarray[Any, Any]") -> Any:
        return catboost.sum_models([cat({**two, "random_seed": seed})(rows, target) for seed in (1, 2)])

    cases += [
        ModelCase(
            "catboost MultiClass", cat({"loss_function": "MultiClass"}), NUMBERS, {"kind": "class"}, "three"
        ),
        ModelCase(
            "catboost OneVsAll",
            cat({"loss_function": "MultiClassOneVsAll"}),
            NUMBERS,
            {"kind": "class"},
            "three",
        ),
        ModelCase("catboost Depthwise", cat({**two, "grow_policy": "Depthwise"}), NUMBERS, {}),
        ModelCase("catboost Lossguide", cat({**two, "grow_policy": "Lossguide"}), NUMBERS, {}),
        ModelCase("catboost threshold", with_threshold, NUMBERS, {"kind": "class"}),
        ModelCase("catboost tiny scale", tiny, NUMBERS, {"kind": "class"}),
        ModelCase("catboost sum_models", summed, NUMBERS, {}),
    ]
    cases.append(ModelCase("catboost no splits", never, ("calls",), {}))
    for kind in ("plan", "tier", "yes", "one", "text", "agreed"):
        cases.append(ModelCase(f"catboost {kind}", cat(two), ("spend", kind), {}))
    return cases


CASES = [*xgboost_cases(), *lightgbm_cases(), *catboost_cases()]
