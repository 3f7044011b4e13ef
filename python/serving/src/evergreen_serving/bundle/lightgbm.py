"""Models of LightGBM."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from evergreen_serving.bundle.models import BundleError, Trained, named, no_best_round, not_trained

PROBABILITIES = ("binary", "multiclass", "multiclassova", "cross_entropy")


def adapt(model: Any, X: pd.DataFrame, iterations: str | None) -> Trained:
    import lightgbm

    wrapped = not isinstance(model, lightgbm.Booster)
    if wrapped and not getattr(model, "__sklearn_is_fitted__", lambda: True)():
        raise not_trained(model)
    booster = model.booster_ if wrapped else model
    # -1 means all rounds in LightGBM. Its file contains only the requested rounds, so the contract never says "best".
    best = booster.best_iteration if booster.best_iteration > 0 else -1
    if iterations == "best" and best == -1:
        raise no_best_round()
    rounds = -1 if iterations == "all" else best

    expected = booster.feature_name()
    broken = [name for name in expected if re.search(r"[\n\r]", name)]
    if broken:
        raise BundleError(
            f"feature {broken[0]!r}: a line break in a name breaks LightGBM's own file: rename the column and train "
            "again"
        )
    renamed = columns_of(expected, X)
    for new, old in renamed.items():
        X[new] = X[old]  # X is a shallow copy made by the caller
    names = named(expected, X, invented=expected == [f"Column_{i}" for i in range(len(expected))])
    categories = pandas_categories(booster, names, X)

    def predict(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        margins, values = (
            booster.predict(frame, raw_score=raw, num_iteration=rounds) for raw in (True, False)
        )
        return margins, values

    header = re.search(r"^objective=(\S+)", booster.model_to_string(num_iteration=1), re.MULTILINE)
    objective = header[1] if header else "none"
    return Trained(
        library="lightgbm",
        version=lightgbm.__version__,
        file="model.txt",
        names=names,
        kind="probability" if objective in PROBABILITIES else "value",
        save=lambda path: booster.save_model(path, num_iteration=rounds),
        predict=predict,
        classes=class_rule(objective),
        probabilities=objective in PROBABILITIES,
        categories=categories,
        renamed=renamed,
        several='pass kind="class" for the predicted class, or train one model of two classes per class'
        if objective in PROBABILITIES
        else "train one model per output",
    )


def class_rule(objective: str) -> Any:
    """Return the rule by which the library's LGBMClassifier chooses the class."""
    if objective in ("binary", "cross_entropy"):
        return lambda _frame, _margins, values: (values > 1.0 - values).astype("int64")
    if objective in ("multiclass", "multiclassova"):
        return lambda _frame, _margins, values: values.argmax(axis=1)
    return None


def columns_of(expected: list[str], X: pd.DataFrame) -> dict[str, str]:
    """Return the column of X for each feature that LightGBM renamed: it replaces every blank by an underscore.

    A column with exactly the feature's name goes first.
    """
    renamed: dict[str, str] = {}
    for column in X.columns:
        feature = column.replace(" ", "_")
        if feature == column or feature not in expected or feature in X.columns:
            continue
        if feature in renamed:
            raise BundleError(
                f'feature "{feature}": LightGBM replaces blanks by underscores, and X has "{renamed[feature]}" and '
                f'"{column}": drop the one that the model was not trained on'
            )
        renamed[feature] = column
    return renamed


def pandas_categories(booster: Any, names: list[str], X: pd.DataFrame) -> dict[int, list | None]:
    """Return the categories of each column whose dtype is category, in the order of the model's codes.

    LightGBM identifies these columns only by their order. They need not be what the model treats as categories: an
    ordered category is a number to it, and an integer column can be declared by `categorical_feature`.
    """
    indices = [i for i, feature in enumerate(names) if isinstance(X[feature].dtype, pd.CategoricalDtype)]
    known = booster.pandas_categorical or []
    if len(indices) != len(known):
        raise BundleError(
            f"the model was trained with {len(known)} pandas category columns, X has {len(indices)} "
            f"({', '.join(names[i] for i in indices) or 'none'}): give X the dtypes of the training data"
        )
    return dict(zip(indices, known))
