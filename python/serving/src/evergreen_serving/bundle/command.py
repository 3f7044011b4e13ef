"""The command line: a bundle from a saved model and a file of rows."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from evergreen_serving.bundle.models import BundleError
from evergreen_serving.bundle.output import KINDS
from evergreen_serving.bundle.save import save_bundle


def _load(path: Path) -> Any:
    """Load a model file of any of the three libraries; the keys of a .json file identify its library."""
    library = _library(path)
    try:
        if library == "lightgbm":
            import lightgbm

            # LightGBM ends the whole process when it reads a damaged file.
            if not re.search(rb"^tree\r?\n(.*\n)?end of trees", path.read_bytes(), re.DOTALL):
                raise ValueError("no line `end of trees`")
            return lightgbm.Booster(model_file=path)
        if library == "catboost":
            import catboost

            return catboost.CatBoost().load_model(str(path), format=path.suffix[1:])
        import xgboost

        return xgboost.Booster(model_file=path)
    except ImportError:
        raise
    except Exception as error:  # the libraries' own errors have no common type
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BundleError(
            f"{path}: {library} cannot load it ({reason.strip()[:200]}): the file is damaged or not completely copied; "
            "save the model again"
        ) from None


def _library(path: Path) -> str:
    """Return the library that wrote a file."""
    libraries = {".txt": "lightgbm", ".cbm": "catboost", ".ubj": "xgboost"}
    if path.suffix not in (*libraries, ".json"):
        raise BundleError(
            f"{path}: unknown ending: .ubj or .json of XGBoost, .txt of LightGBM, .cbm or .json of CatBoost"
        )
    if not path.is_file():
        raise BundleError(f"{path}: no such file")
    if path.suffix in libraries:
        return libraries[path.suffix]
    try:
        keys = json.loads(path.read_bytes())
    except ValueError as error:
        raise BundleError(f"{path}: not valid JSON ({error}): save the model again") from None
    if isinstance(keys, dict) and "learner" in keys:
        return "xgboost"
    if isinstance(keys, dict) and "features_info" in keys:
        return "catboost"
    raise BundleError(
        f"{path}: neither a model of XGBoost (key learner) nor of CatBoost (key features_info). The output of "
        "dump_model cannot be loaded: save the model with save_model"
    )


def _band(text: str) -> tuple[str, float]:
    """Parse a band of the command line."""
    name, _, start = text.rpartition("=")
    if not name or not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", start):
        raise BundleError(f"--band {text}: expected NAME=FROM, such as high=0.7")
    return name, float(start)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m evergreen_serving.bundle",
        description="Write an Evergreen bundle from a saved model and a Parquet file with rows it was trained on.",
        epilog="""examples:
  python -m evergreen_serving.bundle model.ubj sample.parquet models/churn/4
  python -m evergreen_serving.bundle model.txt sample.parquet models/churn/4 --entity account_id \\
      --band low=0 --band medium=0.35 --band high=0.7

From Python, save_bundle() takes labels, defaults, ranges and all else a contract can say.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL_FILE", help=".ubj, .json, .txt or .cbm")
    parser.add_argument(
        "sample", type=Path, metavar="SAMPLE.parquet", help="as pandas wrote it, categories included"
    )
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="by convention models/NAME/VERSION")
    parser.add_argument(
        "--entity", default="customer_id", help="key in the feature store (default: %(default)s)"
    )
    parser.add_argument("--name", help="the model's name (default: from DIRECTORY)")
    parser.add_argument("--kind", choices=KINDS, help="what the score is (default: from the objective)")
    parser.add_argument("--iterations", choices=("all", "best"), help="trees to use, after early stopping")
    parser.add_argument(
        "--band", action="append", default=[], metavar="NAME=FROM", help="may be given repeatedly"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
    args = vars(parser.parse_args(arguments))
    model, sample, bands = args.pop("model"), args.pop("sample"), args.pop("band")
    try:
        bands = dict(map(_band, bands))
        path = save_bundle(_load(model), pd.read_parquet(sample), bands=bands, **args)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {error}")
    print(f"wrote {path}; next: evergreen check {path}")
