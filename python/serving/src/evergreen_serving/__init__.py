"""From a trained model to scores in production, with the same bits.

    from evergreen_serving import Scorer, save_bundle

    save_bundle(model, X_sample, "models/churn/4", bands={"low": 0.0, "high": 0.7})
    scores = Scorer.load("models/churn/4").score(customers, kind=["score", "band"])

`save_bundle`  writes the bundle that `evergreen serve` and `Scorer` read; needs numpy, pandas and the training library
`Scorer`       scores tables of pyarrow, polars, pandas and DuckDB, NumPy arrays and dicts in this process
`derive`       computes derived features for training as serving does
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evergreen_serving.bundle import BundleError, save_bundle
    from evergreen_serving.derived import derive
    from evergreen_serving.scorer import Band, Feature, Scorer

__all__ = ["Band", "BundleError", "Feature", "Scorer", "derive", "save_bundle"]

# Imported at first use: scoring needs no pandas, and writing bundles needs no compiled part.
_MODULES = {
    "Band": "evergreen_serving.scorer",
    "BundleError": "evergreen_serving.bundle",
    "Feature": "evergreen_serving.scorer",
    "Scorer": "evergreen_serving.scorer",
    "derive": "evergreen_serving.derived",
    "save_bundle": "evergreen_serving.bundle",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "__version__":
        from importlib.metadata import version

        return version("evergreen-serving")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
