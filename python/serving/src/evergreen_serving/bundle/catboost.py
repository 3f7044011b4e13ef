"""Models of CatBoost."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evergreen_serving.bundle.models import BundleError, Trained, named, not_trained

PROBABILITIES = (
    "Logloss",
    "CrossEntropy",
    "MultiClass",
    "MultiClassOneVsAll",
    "MultiLogloss",
    "MultiCrossEntropy",
)
EXPONENTS = ("Poisson", "Tweedie")
# Losses whose predictions are the raw sum. A sum of models has none.
RAW = (
    "", "RMSE", "MAE", "Quantile", "MultiQuantile", "MAPE", "LogCosh", "LogLinQuantile", "Huber", "Expectile", "Lq",
    "MultiRMSE", "MultiRMSEWithMissingValues", "GroupQuantile", "QueryRMSE", "QuerySoftMax", "QueryCrossEntropy",
    "PairLogit", "PairLogitPairwise", "YetiRank", "YetiRankPairwise", "StochasticRank", "StochasticFilter",
    "LambdaMart", "Cox",
)  # fmt: skip
# CatBoost's own exp is an approximation that depends on the CPU.
APPROXIMATE_ULP = 8
ADVICE = {
    "MultiClass": 'pass kind="class" for the predicted class, or train one model of two classes per class',
    "MultiClassOneVsAll": 'pass kind="class" for the predicted class, or train one model of two classes per class',
    "MultiQuantile": 'train one model per quantile: loss_function="Quantile:alpha=0.5"',
}


def adapt(model: Any, X: pd.DataFrame, iterations: str | None) -> Trained:
    import catboost

    if not model.is_fitted():
        raise not_trained(model)
    if iterations == "best":
        raise BundleError(
            'iterations = "best": CatBoost itself drops the other trees when trained with use_best_model'
        )
    expected = model.feature_names_
    names = named(expected, X, invented=expected == [str(i) for i in range(len(expected))])
    for what, indices in {
        "text": model.get_text_feature_indices(),
        "embedding": model.get_embedding_feature_indices(),
    }.items():
        if indices:
            columns = ", ".join(names[i] for i in indices)
            raise BundleError(
                f"{what} features cannot be served ({columns}): train without {what}_features, on numbers computed "
                "from them and kept in the feature store"
            )
    # The JSON text is exact, but CatBoost's own JSON reader is not. The golden rows therefore come from the model in
    # memory; a reader that rounds correctly reproduces them.
    file = as_json(model)
    loss = loss_of(file)
    refuse_statistics(file, names, X)
    several = max(1, len(file.get("scale_and_bias", [1, [0]])[1])) > 1

    def predict(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        rows = frame.set_axis(expected, axis=1)
        margin = model.predict(rows, prediction_type="RawFormulaVal")
        if loss in EXPONENTS:
            return margin, model.predict(rows, prediction_type="Exponent")
        if loss not in PROBABILITIES:
            return margin, margin
        value = model.predict(rows, prediction_type="Probability")
        return margin, value[:, 1] if margin.ndim == 1 else value  # two classes: the positive one

    def classes(frame: pd.DataFrame, _margins: np.ndarray, _values: np.ndarray) -> np.ndarray:
        positions = {str(label): position for position, label in enumerate(model.classes_)}
        found = model.predict(frame.set_axis(expected, axis=1), prediction_type="Class")
        return np.array([positions[str(label)] for label in np.asarray(found).reshape(-1)])

    has_classes = loss in ("MultiClass", "MultiClassOneVsAll") or (
        loss in ("Logloss", "CrossEntropy") and not several
    )
    return Trained(
        library="catboost",
        version=catboost.__version__,
        file="model.json",
        names=names,
        kind="probability" if loss in PROBABILITIES else "value",
        save=lambda path: model.save_model(str(path), format="json"),
        predict=predict,
        classes=classes if has_classes else None,
        probabilities=loss in PROBABILITIES,
        # CatBoost stores hashes of category strings, not a list of them.
        categories=dict.fromkeys(model.get_cat_feature_indices()),
        missing_category=False,
        any_category=True,
        booleans=("0", "1"),  # CatBoost hashes a boolean as this text
        value_ulp=APPROXIMATE_ULP if loss in (*EXPONENTS, "MultiClass") else 0,
        several=ADVICE.get(loss, "train one model per target"),
    )


def as_json(model: Any) -> dict:
    """Return the content of the model's JSON file."""
    import catboost

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        try:
            model.save_model(str(path), format="json")
        except catboost.CatBoostError as error:
            raise BundleError(
                f"CatBoost cannot write the model as JSON ({str(error).strip()[:200]}): if it names inf, a feature has "
                "values beyond the range of 32-bit floats: clip them to ±1e38, and train again"
            ) from None
        return json.loads(path.read_bytes())


def loss_of(file: dict) -> str:
    """Return the loss. Raises BundleError for one whose predictions Evergreen cannot reproduce."""
    params = file.get("model_info", {}).get("params", {})
    loss = params.get("loss_function", {}).get("type", "") if isinstance(params, dict) else ""
    if loss not in (*PROBABILITIES, *EXPONENTS, *RAW):
        raise BundleError(
            f'loss_function = "{loss}" is not supported: its predictions cannot be reproduced exactly. Train with '
            'another one, such as "Logloss" for two classes or "RMSE" for a number'
        )
    return loss


def refuse_statistics(file: dict, names: list[str], X: pd.DataFrame) -> None:
    """Refuse CTR statistics, by which CatBoost encodes features of more categories than one_hot_max_size."""
    info = file["features_info"]
    ctrs = info.get("ctrs") or []
    flat = {c["feature_index"]: c["flat_feature_index"] for c in info.get("categorical_features") or []}
    used = {e["cat_feature_index"] for ctr in ctrs for e in ctr["elements"] if "cat_feature_index" in e}
    columns = sorted(names[flat[index]] for index in used)
    if not columns:
        return
    most = max(int(X[column].nunique()) for column in columns)
    remedy = (
        f"train with one_hot_max_size={most}, the largest number of categories in X"
        if most <= 255
        else "encode them as numbers before training, and keep these numbers in the feature store"
    )
    raise BundleError(
        f"CatBoost encodes {', '.join(columns)} by statistics of the target (CTR), which Evergreen does not evaluate: "
        + remedy
    )
