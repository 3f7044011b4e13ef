"""What Evergreen needs to know of a trained model, and models that it cannot serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


class BundleError(ValueError):
    """The bundle cannot be written; the message says why and what to do."""


@dataclass
class Trained:
    """A trained model of one of the three libraries."""

    library: str
    version: str
    file: str
    names: list[str]
    kind: str
    save: Callable[[Path], Any]
    predict: Callable[[pd.DataFrame], tuple[np.ndarray, np.ndarray]]  # rows -> (margins, values)
    # rows, margins, values -> positions of the predicted classes; None where the model has no classes
    classes: Callable[[pd.DataFrame, np.ndarray, np.ndarray], np.ndarray] | None = None
    probabilities: bool = False  # whether the values are probabilities
    # index of each category feature -> its categories in code order; None where the model does not keep them
    categories: dict[int, list | None] = field(default_factory=dict)
    # feature -> column of X, where the library renamed it
    renamed: dict[str, str] = field(default_factory=dict)
    iterations: str = "all"
    missing_category: bool = True  # whether the library predicts rows with a missing category
    infinite: bool = True  # whether the library takes infinite values
    any_category: bool = False  # whether a column without pandas' dtype category may hold categories
    booleans: tuple[str, str] = ("false", "true")  # how the library writes booleans as categories
    value_ulp: int = 0  # by how much values may differ, because the library's own exp depends on the CPU
    narrow: bool = False  # whether the model sees 32-bit floats
    several: str = ""  # what to do where one number per row is needed and the model gives several


def adapt(model: Any, X: pd.DataFrame, iterations: str | None) -> Trained:
    """Describe `model`. Raises BundleError for models that Evergreen cannot serve."""
    from evergreen_serving.bundle import catboost, lightgbm, xgboost

    if iterations not in (None, "all", "best"):
        raise BundleError(f'iterations = {iterations!r}: expected "all" or "best"')
    model = unwrapped(model)
    adapters = {"xgboost": xgboost.adapt, "lightgbm": lightgbm.adapt, "catboost": catboost.adapt}
    for parent in type(model).__mro__:  # also accept a user's subclass of a wrapper
        adapter = adapters.get(parent.__module__.partition(".")[0])
        if adapter:
            refuse_other_objects(model)
            return adapter(model, X, iterations)
    raise BundleError(
        f"cannot bundle a {type(model).__module__}.{type(model).__name__}: pass the trained XGBoost, LightGBM or "
        "CatBoost model itself, for example save_bundle(classifier, X, …)"
    )


def unwrapped(model: Any) -> Any:
    """Return the model inside a finished search or a frozen estimator. Raises BundleError for other containers."""
    # Not hasattr: LightGBM's CVBooster answers to any name.
    while "best_estimator_" in getattr(model, "__dict__", ()) or type(model).__name__ == "FrozenEstimator":
        model = model.estimator if type(model).__name__ == "FrozenEstimator" else model.best_estimator_
    name = type(model).__name__
    if not type(model).__module__.startswith("sklearn."):
        return model
    if name in ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"):
        raise BundleError(
            f"the {name} has no best_estimator_: call fit first, with refit=True; save_bundle then takes the search "
            "itself"
        )
    if name == "Pipeline":
        raise BundleError(
            "cannot bundle a Pipeline: Evergreen gets the features as the model sees them. Pass the last step, and X "
            'as that step sees it: rows = pipeline[:-1].set_output(transform="pandas").transform(X); '
            "save_bundle(pipeline[-1], rows, …). The feature store must then hold the transformed columns"
        )
    if name == "CalibratedClassifierCV":
        raise BundleError(
            "cannot bundle a CalibratedClassifierCV as the model: pass the classifier inside, and the calibration "
            "beside it: save_bundle(classifier, X, …, calibration=calibrated), with calibrated = "
            'CalibratedClassifierCV(FrozenEstimator(classifier), method="sigmoid").fit(X, y)'
        )
    if name.startswith("HistGradientBoosting"):
        other = "LGBMClassifier" if name.endswith("Classifier") else "LGBMRegressor"
        raise BundleError(
            f"cannot bundle a {name}: it can only be saved as a pickle, which is code. Train lightgbm.{other}, which "
            "uses the same method, with the same parameters: max_iter is n_estimators, max_leaf_nodes is num_leaves"
        )
    return model


def refuse_other_objects(model: Any) -> None:
    """Refuse the libraries' objects that are no models."""
    name = type(model).__name__
    if name in ("DMatrix", "QuantileDMatrix", "ExtMemQuantileDMatrix", "Dataset", "Pool"):
        raise BundleError(
            f"model is a {name}, which holds data: pass the trained model first and the rows second: "
            "save_bundle(model, X, …)"
        )
    if name == "CVBooster":
        raise BundleError(
            "model is a CVBooster, which holds one model per fold: pass one of them, "
            "save_bundle(model.boosters[0], X, …), or train one model on all rows"
        )


def not_trained(model: Any) -> BundleError:
    """Return the error for a model without fit."""
    return BundleError(f"the {type(model).__name__} is not trained: call fit(X, y) first")


def no_best_round() -> BundleError:
    return BundleError('iterations = "best", but the model was trained without early stopping: use "all"')


def named(names: list[str], X: pd.DataFrame, invented: bool) -> list[str]:
    """Return the model's feature names, all of which X must have; the names of X if the library `invented` its own."""
    missing = [feature for feature in names if feature not in X.columns]
    if missing and invented:
        if len(X.columns) != len(names):
            raise BundleError(
                f"the model was trained without feature names, so X must have just its {len(names)} features, in "
                f"their order; it has {len(X.columns)} columns"
            )
        names, missing = list(X.columns), []
    if missing:
        raise BundleError(
            f"X lacks {len(missing)} of the model's {len(names)} features: {', '.join(missing)}"
        )
    twice = X.columns[X.columns.duplicated()].intersection(names)
    if len(twice):
        raise BundleError(f"X has more than one column named {', '.join(twice)}: keep one")
    return names
