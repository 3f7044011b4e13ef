"""Write a bundle that Evergreen can serve from a trained model.

    from evergreen_serving import save_bundle

    save_bundle(model, X_sample, "models/churn/4", bands={"low": 0.0, "medium": 0.35, "high": 0.7})

A *bundle* is a directory: the model file exactly as its library saves it, the contract of its features
(`bundle.toml`), rows with the library's own outputs for them (`golden.jsonl`: margins, values, classes and
calibrated scores), and the distribution of the sample (`reference.json`). Evergreen lets a model go live only if it
reproduces the golden rows, so a score in production cannot differ from the one in the notebook.

Needs numpy, pandas, and the one library that trained the model: XGBoost, LightGBM or CatBoost.

save         save_bundle: checks, and the files
contract     the text of bundle.toml
features     the contract of the features, and their values as the model sees them
output       the score and its bands
calibration  from a fitted CalibratedClassifierCV or from numbers
rows         golden rows and the reference distribution
models       what is known of a trained model; `xgboost`, `lightgbm` and `catboost` find it out
command      python -m evergreen_serving.bundle
"""

from evergreen_serving.bundle.models import BundleError
from evergreen_serving.bundle.save import save_bundle

__all__ = ["BundleError", "save_bundle"]
