"""Calibration of the score: a fitted CalibratedClassifierCV of scikit-learn, or its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from evergreen_serving.bundle.models import BundleError, Trained, adapt
from evergreen_serving.bundle.rows import Scores

EXAMPLE = '{"kind": "platt", "on": "probability", "a": -4.0, "b": 2.0}'
KEYS = {"platt": {"kind", "on", "a", "b"}, "isotonic": {"kind", "on", "x", "y"}}


def checked_calibration(calibration: Mapping[str, Any]) -> dict[str, Any]:
    keys = KEYS.get(calibration.get("kind", ""))
    if keys and set(calibration) == keys - {"on"}:
        raise BundleError(
            f"calibration {dict(calibration)}: on is missing: was it fitted on the probability or on the margin (raw "
            f"score)? Give it as in {EXAMPLE}, or pass the fitted CalibratedClassifierCV itself"
        )
    if keys != set(calibration):
        raise BundleError(
            f"calibration {dict(calibration)}: give kind = platt with numbers a and b, or kind = isotonic with "
            f"lists x and y, and on = probability or margin, as in {EXAMPLE}; or pass the fitted CalibratedClassifierCV"
        )
    if calibration["on"] not in ("probability", "margin"):
        raise BundleError(f'calibration: on = {calibration["on"]!r}: expected "probability" or "margin"')
    out: dict[str, Any] = {
        key: [float(v) for v in value] if key in "xy" else value if key in ("kind", "on") else float(value)
        for key, value in calibration.items()
    }
    numbers = np.array([*out.get("x", ()), *out.get("y", ()), out.get("a", 0.0), out.get("b", 0.0)])
    if not np.isfinite(numbers).all():
        raise BundleError("calibration: expected finite numbers")
    if "x" in out and (len(out["x"]) != len(out["y"]) or out["x"] != sorted(set(out["x"])) or not out["x"]):
        raise BundleError("calibration: isotonic x must be strictly ascending and as long as y")
    if "y" in out and out["y"] != sorted(out["y"]):
        raise BundleError("calibration: isotonic y must be ascending, so that a higher score stays higher")
    return out


def calibrated_scores(section: Mapping[str, Any]) -> Scores:
    """Return the function of a calibration given as a dict."""

    def scores(margins: np.ndarray, values: np.ndarray) -> np.ndarray:
        at = (margins if section["on"] == "margin" else values).astype("float64").reshape(-1)
        if section["kind"] == "platt":
            return 1.0 / (1.0 + np.exp(section["a"] * at + section["b"]))
        return np.interp(at, section["x"], section["y"])

    return scores


def fitted(calibrated: Any, frame: pd.DataFrame, X: pd.DataFrame, trained: Trained) -> tuple[dict, Scores]:
    """Return the calibration inside a fitted CalibratedClassifierCV, as a dict and as scikit-learn computes it."""
    inner, calibrator = parts(calibrated)
    # scikit-learn calibrates the decision function where the classifier has one (LightGBM 4.7 does).
    on = "margin" if hasattr(inner, "decision_function") else "probability"
    same = adapt(inner, X.copy(), None)
    if same.names != trained.names or not np.array_equal(same.predict(frame)[0], trained.predict(frame)[0]):
        raise BundleError(
            "calibration: it was fitted for another model than the one given: save_bundle(classifier, X, "
            "calibration=CalibratedClassifierCV(FrozenEstimator(classifier)).fit(rows, labels)); or give the model "
            "inside it, calibrated.calibrated_classifiers_[0].estimator"
        )
    if type(calibrator).__name__ == "_SigmoidCalibration":
        section: dict = {"kind": "platt", "on": on, "a": float(calibrator.a_), "b": float(calibrator.b_)}
    elif type(calibrator).__name__ == "IsotonicRegression" and calibrator.increasing_:
        points = (calibrator.X_thresholds_.tolist(), calibrator.y_thresholds_.tolist())
        section = {"kind": "isotonic", "on": on, "x": points[0], "y": points[1]}
    else:
        raise BundleError(
            f"calibration: a {type(calibrator).__name__} (method = {calibrated.method!r}) cannot be written into the "
            'contract: expected method="sigmoid", or method="isotonic" with an increasing curve'
        )

    def scores(margins: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.asarray(calibrator.predict((margins if on == "margin" else values).reshape(-1)))

    return section, scores


def parts(calibrated: Any) -> tuple[Any, Any]:
    """Return the classifier and the calibrator of a fitted CalibratedClassifierCV."""
    if not hasattr(calibrated, "calibrated_classifiers_"):
        raise BundleError(
            f"calibration is a {type(calibrated).__name__}: expected a fitted CalibratedClassifierCV, or numbers as in "
            + EXAMPLE
        )
    several = calibrated.calibrated_classifiers_
    if len(several) != 1:
        raise BundleError(
            f"calibration: it averages {len(several)} models, one per fold, and Evergreen serves one: calibrate the "
            'trained one: CalibratedClassifierCV(FrozenEstimator(classifier), method="sigmoid").fit(rows, labels), or '
            "pass ensemble=False"
        )
    if len(several[0].calibrators) != 1:
        raise BundleError(
            f"calibration: it has {len(several[0].calibrators)} curves, one per class: expected a model of two classes"
        )
    inner = several[0].estimator
    if type(inner).__name__ == "FrozenEstimator":
        inner = inner.estimator
    return inner, several[0].calibrators[0]
