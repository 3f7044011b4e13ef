"""Write a bundle that Evergreen can serve from a trained model.

    from evergreen_bundle import save_bundle

    save_bundle(model, X_sample, "models/churn/4", bands={"low": 0.0, "medium": 0.35, "high": 0.7})

A *bundle* is a directory: the model file exactly as its library saves it, the contract of its features
(`bundle.toml`), rows with the library's own outputs for them (`golden.jsonl`: margins, values, classes and
calibrated scores), and the distribution of the sample (`reference.json`). Evergreen lets a model go live only if it
reproduces the golden rows, so a score in production cannot differ from the one in the notebook.

Needs numpy, pandas, and the one library that trained the model: XGBoost, LightGBM or CatBoost.
Copy the files evergreen_bundle*.py next to your training code; they need no other file of Evergreen.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from evergreen_bundle_features import check_names, checked, described, for_all
from evergreen_bundle_models import BundleError, Trained, adapt, unwrapped
from evergreen_bundle_output import KINDS, calibrated_scores, check_width, fitted, output
from evergreen_bundle_rows import golden, reference

FORMAT = 1  # version of the bundle's layout
MOST_ULP = 16  # the largest tolerance of the gate
FEW_ROWS = 100  # fewer rows fill ten bins too unevenly to compare distributions

__all__ = ["BundleError", "save_bundle"]


def save_bundle(
    model: Any,
    X: pd.DataFrame,
    directory: str | os.PathLike,
    *,
    name: str | None = None,
    entity: str = "customer_id",
    kind: str | None = None,
    bands: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    types: Mapping[str, str] | None = None,
    sources: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    required: Sequence[str] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    out_of_range: str | Mapping[str, str] | None = None,
    max_age: str | Mapping[str, str] | None = None,
    stale: str | Mapping[str, str] | None = None,
    parse: str | Mapping[str, str] | None = None,
    derived: Mapping[str, Mapping[str, Any]] | None = None,
    operands: Mapping[str, Mapping[str, str]] | None = None,
    calibration: Any = None,
    min_known: float | None = None,
    reasons: Mapping[str, Mapping[str, Any]] | None = None,
    outcome: str | None = None,
    lineage: Mapping[str, str] | None = None,
    trained_at: dt.datetime | None = None,
    iterations: str | None = None,
    golden_rows: int = 200,
    margin_ulp: int = 0,
    value_ulp: int | None = None,
    row_p99_us: float | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the bundle of `model` to `directory` (by convention `models/NAME/VERSION`) and return its path.

    model       xgboost.Booster or a scikit-learn wrapper of XGBoost, lightgbm.Booster or a wrapper of LightGBM,
                catboost.CatBoost or one of its subclasses; or a fitted search (GridSearchCV): its best model is taken.
    X           rows as the model was trained on, a few hundred or more: they give the features' types, the golden
                rows and the reference distribution. Columns may be in any order; further columns are ignored.
                Categories are put into the model's order, where the model keeps one (XGBoost >= 3.1, LightGBM).
    name        the model's name; by default that of the directory that holds the version.
    entity      what a row describes; the key in the feature store.
    kind        what the score is: probability, margin, value or class; by default from the model's objective. A score
                is one number, so a model of several classes needs "class".
    bands       {"low": 0.0, "medium": 0.35, "high": 0.7}: from which score each band starts, ascending.

    About features, each a mapping from feature name (`out_of_range`, `max_age` and `stale` also take one string
    for all features):

    labels        display names
    types         float, int, bool, category or timestamp, where the dtype does not say; a datetime64 column must be
                  declared a timestamp and reaches the model as seconds since the Unix epoch
    sources       where the store keeps the feature ("customer_stats:support_calls_30d"); by default its name
    defaults      the value when there is none; without one the model sees a missing value, as in training
    required      names of features without which there is no score
    ranges        (lowest, highest) plausible value; none is inferred: guessed ranges raise false alarms
    out_of_range  keep, clamp, missing or reject
    max_age       "36h", "7d": how old a value may be before it counts as stale
    stale         use, missing or reject
    parse         strict, or tolerant: accept texts that contain a number
    reasons       the words in which a reason is given: {"calls": {"text": "{value} calls in 30 days",
                  "none": "No call in 30 days", "say": {"raises": "Is it solved?"}, "range": [1, inf]}}; keys: group,
                  unit, text, one, none, negative, missing, say, advice, range
    derived       features computed at request time, with the definitions of evergreen_derive.derive, which
                  training must have applied: {"tenure_days": {"days_since": "signed_up"}}
    operands      stored values that only derived features use: {"signed_up": {"type": "timestamp", "source": "…"}}

    calibration   a fitted sklearn.calibration.CalibratedClassifierCV around this model (method "sigmoid" or
                  "isotonic"), or {"kind": "platt", "on": "probability", "a": -4.0, "b": 2.0}: 1 / (1 + exp(a·x + b)),
                  or {"kind": "isotonic", "on": "probability", "x": [...], "y": [...]}. `on` says what x is:
                  "probability" or "margin", the raw score
    min_known     the least share (0 to 1) of what the model relies on that must be known for a score; by default 0.5.
                  Below it an entity gets an error: a score from nearly nothing looks like any other
    outcome       what the score says, in sentences such as "This raises the risk of leaving": "the risk of leaving"
    lineage       what the API echoes to trace a score back: {"run": "…", "data": "…", "commit": "…"}
    trained_at    by default now; a time without a zone is taken as UTC
    iterations    "all" or "best" (rounds up to early stopping's best). By default what the object's own `predict` does:
                  "best" for XGBoost's scikit-learn wrappers and for LightGBM, "all" for xgboost.Booster. LightGBM
                  and CatBoost drop the other trees from the file itself, so their bundles always say "all".
    golden_rows   how many golden rows at most
    margin_ulp, value_ulp   tolerance of the golden rows in units in the last place; 0 = equal to the bit. By default 0,
                  and 8 for the values of CatBoost's MultiClass, Poisson and Tweedie, whose exp depends on the CPU
    row_p99_us    the latency budget: how many microseconds 99 of 100 single rows may take where it is to be served;
                  a version that takes longer is refused. Without one, no version is refused for being slow
    overwrite     replace an existing bundle. Prefer a new version number: a server may be reading the old one.
    """
    directory = Path(directory)
    if directory.exists() and not overwrite:
        raise BundleError(f"{directory} exists: write a new version number, or pass overwrite=True")
    if max(margin_ulp, value_ulp or 0) > MOST_ULP or min(margin_ulp, value_ulp or 0) < 0:
        raise BundleError(f"margin_ulp, value_ulp: expected 0 to {MOST_ULP} units in the last place")
    if not isinstance(X, pd.DataFrame):
        raise BundleError(f"X is a {type(X).__name__}: pass a pandas DataFrame with named, typed columns")
    if X.empty:
        raise BundleError("X has no rows: golden rows and the reference distribution need a sample")
    if len(X) < FEW_ROWS:
        warnings.warn(
            f"X has {len(X)} rows: too few to recognise drift later; expected at least {FEW_ROWS}",
            stacklevel=2,
        )
    X = X.set_axis(_column_names(X, unwrapped(model)), axis=1).reset_index(drop=True)
    original = X.copy(deep=False)

    trained = adapt(model, X, iterations)
    options: dict[str, Any] = {
        "label": labels,
        "source": {**trained.renamed, **(sources or {})},
        "default": defaults,
        "required": dict.fromkeys(required or (), True),
        "range": ranges,
        "out_of_range": for_all(out_of_range, trained.names),
        "max_age": for_all(max_age, trained.names),
        "stale": for_all(stale, trained.names),
        "parse": for_all(parse, trained.names),
        "derive": derived,
        "reason": reasons,
    }
    for what, names in {**options, "type": types}.items():
        check_names(what, names or {}, trained.names)

    features, columns = [], {}
    for index, feature in enumerate(trained.names):
        spec, columns[feature] = described(X[feature], feature, (types or {}).get(feature), trained, index)
        spec.update({key: values[feature] for key, values in options.items() if feature in (values or {})})
        features.append(checked(spec))
    frame = pd.DataFrame(columns)

    kind = kind or trained.kind
    scores = None
    if calibration is not None and not isinstance(calibration, Mapping):
        calibration, scores = fitted(calibration, frame, original, trained)
    section = output(kind, bands, calibration, trained)
    if "calibration" in section and scores is None:
        scores = calibrated_scores(section["calibration"])
    check_width(kind, frame, trained)
    if min_known is not None:
        if not 0 <= min_known <= 1:
            raise BundleError(f"min_known = {min_known}: expected a share from 0 to 1, such as 0.5")
        section["min_known"] = float(min_known)
    if outcome is not None:
        section["outcome"] = outcome
    contract = {
        "model": _model(directory, name, entity, trained, trained_at, lineage),
        "output": section,
        "feature": features,
        "operand": [{"name": name, **operand} for name, operand in (operands or {}).items()],
        "golden": {
            "file": "golden.jsonl",
            "margin_ulp": margin_ulp,
            "value_ulp": trained.value_ulp if value_ulp is None else value_ulp,
        },
    }
    if row_p99_us is not None:
        if not row_p99_us > 0:
            raise BundleError(f"row_p99_us = {row_p99_us}: expected microseconds above 0")
        contract["budget"] = {"row_p99_us": float(row_p99_us)}
    rows = golden(frame, features, trained, golden_rows, scores)
    distributions = reference(frame, features, trained)

    # Write into a hidden sibling and rename it at the end, so that a server that watches the parent directory never
    # sees half a bundle, and a crash leaves the old bundle unchanged.
    part = directory.with_name(f".{directory.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        trained.save(part / trained.file)
        (part / "golden.jsonl").write_bytes(rows.encode())
        (part / "reference.json").write_bytes(distributions.encode())
        files = [trained.file, "golden.jsonl", "reference.json"]
        contract["files"] = {file: hashlib.sha256((part / file).read_bytes()).hexdigest() for file in files}
        (part / "bundle.toml").write_bytes(_toml(contract).encode())
        _replace(directory, part)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return directory


# --- The contract ----------------------------------------------------------------------------------------------------


def _model(
    directory: Path,
    name: str | None,
    entity: str,
    trained: Trained,
    trained_at: dt.datetime | None,
    lineage: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Return the section about the model file."""
    return {
        "name": name or _name(directory),
        "file": trained.file,
        "format": trained.library,
        "entity": entity,
        "trained_at": _utc(trained_at),
        "iterations": trained.iterations,
        "lineage": {
            "library": f"{trained.library} {trained.version}",
            **{str(key): str(value) for key, value in (lineage or {}).items()},
        },
    }


def _column_names(X: pd.DataFrame, model: Any) -> list[str]:
    """Return the names of the columns as texts. XGBoost joins levels by a blank; CatBoost writes them as a tuple."""
    catboost = any(parent.__module__.startswith("catboost") for parent in type(model).__mro__)
    if isinstance(X.columns, pd.MultiIndex) and not catboost:
        return [" ".join(map(str, levels)) for levels in X.columns]
    return [str(column) for column in X.columns]


def _name(directory: Path) -> str:
    """Return the model's name: `churn` for both models/churn/4 and models/churn."""
    path = directory.resolve()
    return path.parent.name if path.name.isdigit() else path.name


def _utc(when: dt.datetime | None) -> dt.datetime:
    when = when or dt.datetime.now(dt.timezone.utc)
    when = when.replace(tzinfo=dt.timezone.utc) if when.tzinfo is None else when.astimezone(dt.timezone.utc)
    return when.replace(microsecond=0)


# --- Files -----------------------------------------------------------------------------------------------------------


def _toml(contract: dict) -> str:
    parts = [f"format = {FORMAT}\n"]
    for key, table in contract.items():
        if isinstance(table, list):
            parts += [f"[[{key}]]\n{_pairs(row)}" for row in table]
        else:
            parts.append(f"[{key}]\n{_pairs(table)}")
    return "\n".join(parts)


def _pairs(table: Mapping[str, Any]) -> str:
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in table.items())


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, str):  # JSON strings are valid in TOML except for one character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    return "[" + ", ".join(map(_value, value)) + "]"


def _replace(directory: Path, part: Path) -> None:
    """Move `part` to `directory`. Files appear complete; with overwrite, the directory is absent for an instant."""
    if not directory.exists():
        part.rename(directory)
        return
    old = part.with_suffix(".old")
    directory.rename(old)
    try:
        part.rename(directory)
    except OSError:
        old.rename(directory)
        raise
    shutil.rmtree(old)


# --- Command line ----------------------------------------------------------------------------------------------------


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
        description="Write an Evergreen bundle from a saved model and a Parquet file with rows it was trained on.",
        epilog="""examples:
  python evergreen_bundle.py model.ubj sample.parquet models/churn/4
  python evergreen_bundle.py model.txt sample.parquet models/churn/4 --entity account_id \\
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


if __name__ == "__main__":
    main()
