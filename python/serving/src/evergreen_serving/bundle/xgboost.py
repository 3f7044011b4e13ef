"""Models of XGBoost."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd

from evergreen_serving.bundle.models import BundleError, Trained, named, no_best_round, not_trained

KINDS = {
    "binary:logistic": "probability",
    "reg:logistic": "probability",
    "multi:softprob": "probability",
    "multi:softmax": "class",
    "binary:hinge": "class",
    "binary:logitraw": "margin",
}


def adapt(model: Any, X: pd.DataFrame, iterations: str | None) -> Trained:
    import xgboost

    wrapped = not isinstance(model, xgboost.Booster)
    if wrapped:
        check_wrapper(model)
    booster = model.get_booster() if wrapped else model
    config = json.loads(booster.save_config())["learner"]
    if config["gradient_booster"]["name"] == "gblinear":
        raise BundleError(
            'booster = "gblinear" has no trees, and Evergreen serves trees: train with booster="gbtree" or "dart"'
        )
    best = booster.attr("best_iteration")
    if iterations == "best" and best is None:
        raise no_best_round()
    iterations = iterations or ("best" if wrapped and best is not None else "all")
    rounds = (0, int(best) + 1) if iterations == "best" else (0, 0)  # (0, 0) means all rounds in XGBoost

    unnamed = booster.feature_names is None
    names = [f"f{i}" for i in range(booster.num_features())] if unnamed else list(booster.feature_names)
    names = named(names, X, invented=unnamed)
    coded = {i for i, t in enumerate(booster.feature_types or ()) if t == "c"}
    categories = saved_categories(booster, names, X, coded)
    objective = config["objective"]["name"]

    def predict(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        # Pass category codes, as Evergreen does: by name XGBoost can confuse categories, see `named_in_file`.
        codes = {
            c: frame[c].cat.codes.astype("float64").replace(-1, np.nan)
            for c in frame.select_dtypes("category")
        }
        types = ["c" if i in coded else "float" for i in range(len(names))]
        data = xgboost.DMatrix(frame.assign(**codes), feature_types=types)
        same = {"iteration_range": rounds, "validate_features": not unnamed}
        return booster.predict(data, output_margin=True, **same), booster.predict(data, **same)

    return Trained(
        library="xgboost",
        version=xgboost.__version__,
        file="model.ubj",
        names=names,
        narrow=True,
        kind=KINDS.get(objective, "value"),
        save=booster.save_model,
        predict=predict,
        classes=class_rule(objective),
        probabilities=KINDS.get(objective) == "probability",
        categories=categories,
        infinite=False,
        iterations=iterations,
        several=advice(objective, config),
    )


def check_wrapper(model: Any) -> None:
    if not getattr(model, "__sklearn_is_fitted__", lambda: True)():
        raise not_trained(model)
    missing = model.missing
    if missing is not None and not math.isnan(missing):
        raise BundleError(
            f"the model takes {missing} for missing, which its file does not record: train with missing=nan, "
            f"the values replaced by NaN: X.replace({missing}, float('nan'))"
        )


def class_rule(objective: str) -> Any:
    """Return the rule by which the library's XGBClassifier chooses the class."""
    if objective in ("binary:logistic", "reg:logistic", "binary:hinge"):
        return lambda _frame, _margins, values: (values > 0.5).astype("int64")
    if objective == "multi:softprob":
        return lambda _frame, _margins, values: values.argmax(axis=1)
    if objective == "multi:softmax":
        return lambda _frame, _margins, values: values.astype("int64")
    return None


def advice(objective: str, config: dict) -> str:
    """Say what to do where the model gives several numbers per row."""
    if objective == "multi:softprob":
        return 'pass kind="class" for the predicted class, or train one model of two classes per class'
    if objective in ("reg:quantileerror", "reg:expectileerror"):
        return 'train one model per level, with one number as "quantile_alpha" (or "expectile_alpha")'
    if config["learner_train_param"].get("multi_strategy") == "multi_output_tree":
        return 'train one model per target, without multi_strategy="multi_output_tree"'
    return "train one model per target, each with one column as y"


def saved_categories(
    booster: Any, names: list[str], X: pd.DataFrame, coded: set[int]
) -> dict[int, list | None]:
    """Return the categories of each category feature; None where the model contains codes only.

    A column of numbers for such a feature holds the codes themselves, and is no category to the contract.
    """
    categories: dict[int, list | None] = dict.fromkeys(sorted(coded))
    if categories and hasattr(booster, "get_categories"):  # XGBoost >= 3.1
        for i, (_, saved) in enumerate(booster.get_categories(export_to_arrow=True).to_arrow() or ()):
            if saved is not None:
                categories[i] = named_in_file(saved, names[i], X[names[i]])
    fitted = booster.num_boosted_rounds() > 0  # an empty model keeps no categories, and splits on none
    for i in [i for i, known in categories.items() if known is None and fitted]:
        dtype = X[names[i]].dtype
        if pd.api.types.is_numeric_dtype(dtype):
            del categories[i]
        elif isinstance(dtype, pd.CategoricalDtype) and pd.api.types.is_numeric_dtype(dtype.categories.dtype):
            refuse_other_codes(names[i], list(dtype.categories))
    return categories


def refuse_other_codes(name: str, categories: list) -> None:
    """Refuse numbers as categories where they may be codes or have codes, and the two differ."""
    if categories == list(range(len(categories))):
        return
    raise BundleError(
        f'feature "{name}": the model contains codes only, and X has the categories {categories[:10]}: if they are the '
        f'codes, X["{name}"] = X["{name}"].astype("float64"); if their positions are the codes, as pandas trains them, '
        f'X["{name}"] = X["{name}"].cat.rename_categories(str)'
    )


def named_in_file(saved: Any, name: str, column: pd.Series) -> list:
    """Return the categories of one feature in an XGBoost model, read from their Arrow array.

    XGBoost 3.1 and 3.2 count a name's characters instead of its bytes, so names beyond ASCII are garbled in the model
    and two may become equal (dmlc/xgboost#12371). Then the names of X are used, if garbling them gives the model's.
    """
    if "string" not in str(saved.type):
        return saved.to_pylist()
    saved = saved.cast("binary").to_pylist()
    own = [str(c) for c in getattr(column.dtype, "categories", ())]
    ends = np.cumsum([len(c) for c in own])
    garbled = "".join(own).encode()[: ends[-1] if own else 0]
    if saved == [garbled[end - len(c) : end] for c, end in zip(own, ends)]:
        return own
    known = [c.decode(errors="replace") for c in saved]
    if not all(c.isascii() for c in known) and not set(own) <= set(known):
        raise BundleError(
            f'feature "{name}": XGBoost garbled the names of the categories in the model ({", ".join(known)}): give '
            f'X["{name}"] just the categories of the training data, in the same order'
        )
    return known
