"""Writes cbpe.json: scores, and NannyML's estimates (CBPE) for them, which test_outcomes.py compares with Evergreen's.

NannyML's requirements conflict with those of the tests, so this runs by hand, in an environment of its own:

    python3 -m venv nannyml && nannyml/bin/pip install nannyml==0.13.1 statsmodels
    nannyml/bin/python tests/python/scripts/cbpe_nannyml.py
"""

import importlib.metadata
import json
from pathlib import Path

import numpy as np
from nannyml.performance_estimation.confidence_based import metrics

THRESHOLD = 0.3

random = np.random.default_rng(21)
scores = np.round(random.beta(0.8, 4, 2000), 9)
labels = (scores >= THRESHOLD).astype(int)
estimates = {"roc_auc": metrics.estimate_roc_auc(scores, scores)}
for name in ("f1", "precision", "recall", "accuracy"):
    estimates[name] = getattr(metrics, f"estimate_{name}")(labels, scores)
result = {
    "nannyml": importlib.metadata.version("nannyml"),
    "threshold": THRESHOLD,
    "estimates": {name: float(value) for name, value in estimates.items()},
    "scores": scores.tolist(),
}
Path(__file__).with_name("cbpe.json").write_text(json.dumps(result) + "\n")
