"""Write a bundle that Evergreen can serve from a trained model.

    from evergreen_bundle import save_bundle

    save_bundle(model, X_sample, "models/churn/4", bands={"low": 0.0, "medium": 0.35, "high": 0.7})

A *bundle* is a directory: the model file exactly as its library saves it, the contract of its features
(`bundle.toml`), rows with the library's own outputs for them (`golden.jsonl`), and the distribution of
the sample (`reference.json`). Evergreen lets a model go live only if it reproduces the golden rows, so a score
in production cannot differ from the one in the notebook.

Needs numpy, pandas, and the one library that trained the model: XGBoost, LightGBM or CatBoost.
Copy this file next to your training code; it needs no other file of Evergreen.
"""

from __future__ import annotations

import argparse
import datetime as dt
import difflib
import hashlib
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

FORMAT = 1  # version of the bundle's layout
TYPES = ("float", "int", "bool", "category", "timestamp")
KINDS = ("probability", "margin", "value", "class")

__all__ = ["BundleError", "save_bundle"]


class BundleError(ValueError):
    """The bundle cannot be written; the message says why and what to do."""


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
    calibration: Mapping[str, Any] | None = None,
    lineage: Mapping[str, str] | None = None,
    trained_at: dt.datetime | None = None,
    iterations: str | None = None,
    golden_rows: int = 200,
    margin_ulp: int = 0,
    value_ulp: int = 0,
    row_p99_us: float | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the bundle of `model` to `directory` (by convention `models/NAME/VERSION`) and return its path.

    model       xgboost.Booster or a scikit-learn wrapper of XGBoost, lightgbm.Booster or a wrapper of LightGBM,
                catboost.CatBoost or one of its subclasses.
    X           rows as the model was trained on, a few hundred or more: they give the features' types, the golden
                rows and the reference distribution. Columns may be in any order; further columns are ignored.
                Categories are put into the model's order, where the model keeps one (XGBoost >= 3.1, LightGBM).
    name        the model's name; by default that of the directory that holds the version.
    entity      what a row describes; the key in the feature store.
    kind        what the score is: probability, margin, value or class; by default from the model's objective.
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
    derived       features computed at request time, with the definitions of evergreen_derive.derive, which
                  training must have applied: {"tenure_days": {"days_since": "signed_up"}}
    operands      stored values that only derived features use: {"signed_up": {"type": "timestamp", "source": "…"}}

    calibration   {"kind": "platt", "a": -1.0, "b": 0.0} or {"kind": "isotonic", "x": [...], "y": [...]}
    lineage       what the API echoes to trace a score back: {"run": "…", "data": "…", "commit": "…"}
    trained_at    by default now; a time without a zone is taken as UTC
    iterations    "all" or "best" (rounds up to early stopping's best). By default what the object's own `predict` does:
                  "best" for XGBoost's scikit-learn wrappers and for LightGBM, "all" for xgboost.Booster. LightGBM
                  and CatBoost drop the other trees from the file itself, so their bundles always say "all".
    golden_rows   how many golden rows at most
    margin_ulp, value_ulp   tolerance of the golden rows in units in the last place; 0 = equal to the bit
    row_p99_us    the latency budget: how many microseconds 99 of 100 single rows may take where it is to be served;
                  a version that takes longer is refused. Without one, no version is refused for being slow
    overwrite     replace an existing bundle. Prefer a new version number: a server may be reading the old one.
    """
    directory = Path(directory)
    if directory.exists() and not overwrite:
        raise BundleError(f"{directory} exists: write a new version number, or pass overwrite=True")
    if not isinstance(X, pd.DataFrame):
        raise BundleError(f"X is a {type(X).__name__}: pass a pandas DataFrame with named, typed columns")
    if X.empty:
        raise BundleError("X has no rows: golden rows and the reference distribution need a sample")
    X = X.set_axis(X.columns.map(str), axis=1).reset_index(drop=True)

    trained = _adapt(model, X, iterations)
    options: dict[str, Any] = {
        "label": labels,
        "source": {**trained.renamed, **(sources or {})},
        "default": defaults,
        "required": dict.fromkeys(required or (), True),
        "range": ranges,
        "out_of_range": _for_all(out_of_range, trained.names),
        "max_age": _for_all(max_age, trained.names),
        "stale": _for_all(stale, trained.names),
        "parse": _for_all(parse, trained.names),
        "derive": derived,
    }
    for what, names in {**options, "type": types}.items():
        _check_names(what, names or {}, trained.names)

    features, columns = [], {}
    for index, feature in enumerate(trained.names):
        spec, columns[feature] = _feature(X[feature], feature, (types or {}).get(feature), trained, index)
        spec.update({key: values[feature] for key, values in options.items() if feature in (values or {})})
        features.append(_checked(spec))
    frame = pd.DataFrame(columns)

    contract = {
        "model": {
            "name": name or _name(directory),
            "file": trained.file,
            "format": trained.library,
            "entity": entity,
            "trained_at": _utc(trained_at),
            "iterations": trained.iterations,
            "lineage": {"library": f"{trained.library} {trained.version}", **(lineage or {})},
        },
        "output": _output(kind or trained.kind, bands, calibration),
        "feature": features,
        "operand": [{"name": name, **operand} for name, operand in (operands or {}).items()],
        "golden": {"file": "golden.jsonl", "margin_ulp": margin_ulp, "value_ulp": value_ulp},
    }
    if row_p99_us is not None:
        if not row_p99_us > 0:
            raise BundleError(f"row_p99_us = {row_p99_us}: expected microseconds above 0")
        contract["budget"] = {"row_p99_us": float(row_p99_us)}
    golden = _golden(frame, features, trained, golden_rows)
    reference = _reference(frame, features, trained)

    # Write into a hidden sibling and rename it at the end, so that a server that watches the parent directory never
    # sees half a bundle, and a crash leaves the old bundle unchanged.
    part = directory.with_name(f".{directory.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        trained.save(part / trained.file)
        (part / "golden.jsonl").write_bytes(golden.encode())
        (part / "reference.json").write_bytes(reference.encode())
        files = [trained.file, "golden.jsonl", "reference.json"]
        contract["files"] = {file: hashlib.sha256((part / file).read_bytes()).hexdigest() for file in files}
        (part / "bundle.toml").write_bytes(_toml(contract).encode())
        _replace(directory, part)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return directory


# --- Trained models, by library --------------------------------------------------------------------------------------


@dataclass
class _Trained:
    library: str
    version: str
    file: str
    names: list[str]
    kind: str
    save: Callable[[Path], Any]
    predict: Callable[[pd.DataFrame], tuple[np.ndarray, np.ndarray]]  # rows -> (margins, values)
    # index of each category feature -> its categories in code order; None where the model does not keep them
    categories: dict[int, list | None] = field(default_factory=dict)
    renamed: dict[str, str] = field(
        default_factory=dict
    )  # feature -> column of X, where the library renamed it
    iterations: str = "all"
    missing_category: bool = True  # whether the library predicts rows with a missing category


def _adapt(model: Any, X: pd.DataFrame, iterations: str | None) -> _Trained:
    if iterations not in (None, "all", "best"):
        raise BundleError(f'iterations = {iterations!r}: say "all" or "best"')
    adapters = {"xgboost": _xgboost, "lightgbm": _lightgbm, "catboost": _catboost}
    for parent in type(model).__mro__:  # also accept a user's subclass of a wrapper
        adapter = adapters.get(parent.__module__.partition(".")[0])
        if adapter:
            return adapter(model, X, iterations)
    raise BundleError(
        f"cannot bundle a {type(model).__module__}.{type(model).__name__}: pass the trained XGBoost, LightGBM or "
        "CatBoost model itself (of a scikit-learn pipeline, its last step, with X as that step sees it)"
    )


def _xgboost(model: Any, X: pd.DataFrame, iterations: str | None) -> _Trained:
    import xgboost

    wrapped = not isinstance(model, xgboost.Booster)
    booster = model.get_booster() if wrapped else model
    if wrapped and not math.isnan(model.missing):
        raise BundleError(
            f"the model takes {model.missing} for missing, which its file does not record: train with missing=nan, "
            "the values replaced by NaN"
        )
    best = booster.attr("best_iteration")
    if iterations == "best" and best is None:
        raise BundleError('iterations = "best", but the model was trained without early stopping: use "all"')
    iterations = iterations or ("best" if wrapped and best is not None else "all")
    rounds = (0, int(best) + 1) if iterations == "best" else (0, 0)  # (0, 0) means all rounds in XGBoost

    unnamed = booster.feature_names is None
    names = [f"f{i}" for i in range(booster.num_features())] if unnamed else list(booster.feature_names)
    names = _named(names, X, invented=unnamed)
    categories: dict[int, list | None] = {
        i: None for i, t in enumerate(booster.feature_types or ()) if t == "c"
    }
    if categories and hasattr(booster, "get_categories"):  # models of XGBoost >= 3.1 contain their categories
        for i, (_, saved) in enumerate(booster.get_categories(export_to_arrow=True).to_arrow() or ()):
            if saved is not None:
                categories[i] = _saved_categories(saved, names[i], X[names[i]])

    def predict(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        # Pass category codes, as Evergreen does: by name XGBoost can confuse categories, see _saved_categories.
        codes = {
            c: frame[c].cat.codes.astype("float64").replace(-1, np.nan)
            for c in frame.select_dtypes("category")
        }
        types = ["c" if i in categories else "float" for i in range(len(names))]
        data = xgboost.DMatrix(frame.assign(**codes), feature_types=types)
        same = {"iteration_range": rounds, "validate_features": not unnamed}
        return booster.predict(data, output_margin=True, **same), booster.predict(data, **same)

    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    kinds = {
        "binary:logistic": "probability",
        "reg:logistic": "probability",
        "multi:softprob": "probability",
        "multi:softmax": "class",
        "binary:hinge": "class",
        "binary:logitraw": "margin",
    }
    return _Trained(
        library="xgboost",
        version=xgboost.__version__,
        file="model.ubj",
        names=names,
        kind=kinds.get(objective, "value"),
        save=model.save_model,
        predict=predict,
        categories=categories,
        iterations=iterations,
    )


def _saved_categories(saved: Any, name: str, column: pd.Series) -> list:
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


def _lightgbm(model: Any, X: pd.DataFrame, iterations: str | None) -> _Trained:
    import lightgbm

    booster = model if isinstance(model, lightgbm.Booster) else model.booster_
    # -1 means all rounds in LightGBM. Its file contains only the requested rounds, so the contract never says "best".
    best = booster.best_iteration if booster.best_iteration > 0 else -1
    if iterations == "best" and best == -1:
        raise BundleError('iterations = "best", but the model was trained without early stopping: use "all"')
    rounds = -1 if iterations == "all" else best

    expected = booster.feature_name()
    # LightGBM replaces every blank in a name by an underscore.
    renamed = {c.replace(" ", "_"): c for c in X.columns if " " in c and c.replace(" ", "_") in expected}
    for new, old in renamed.items():
        X[new] = X[old]  # X is a shallow copy made by the caller
    names = _named(expected, X, invented=expected == [f"Column_{i}" for i in range(len(expected))])

    # LightGBM identifies category columns only by their order among the pandas category columns.
    indices = [i for i, feature in enumerate(names) if isinstance(X[feature].dtype, pd.CategoricalDtype)]
    known = booster.pandas_categorical or []
    if len(indices) != len(known):
        raise BundleError(
            f"the model was trained with {len(known)} pandas category columns, X has {len(indices)} "
            f"({', '.join(names[i] for i in indices) or 'none'}): give X the dtypes of the training data"
        )

    def predict(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        return tuple(booster.predict(frame, raw_score=raw, num_iteration=rounds) for raw in (True, False))

    header = re.search(r"^objective=(\S+)", booster.model_to_string(num_iteration=1), re.MULTILINE)
    objective = header[1] if header else "none"
    return _Trained(
        library="lightgbm",
        version=lightgbm.__version__,
        file="model.txt",
        names=names,
        kind="probability"
        if objective in ("binary", "multiclass", "multiclassova", "cross_entropy")
        else "value",
        save=lambda path: booster.save_model(path, num_iteration=rounds),
        predict=predict,
        categories=dict(zip(indices, known)),
        renamed=renamed,
    )


def _catboost(model: Any, X: pd.DataFrame, iterations: str | None) -> _Trained:
    import catboost

    if iterations == "best":
        raise BundleError(
            'iterations = "best": CatBoost itself drops the other trees when trained with use_best_model'
        )
    for what, indices in {
        "text": model.get_text_feature_indices(),
        "embedding": model.get_embedding_feature_indices(),
    }.items():
        if indices:
            columns = ", ".join(model.feature_names_[i] for i in indices)
            raise BundleError(f"{what} features cannot be served ({columns}): train without them")

    expected = model.feature_names_
    names = _named(expected, X, invented=expected == [str(i) for i in range(len(expected))])
    loss = json.loads(model.get_metadata()["params"])["loss_function"]["type"]
    classes = loss in ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll")

    def predict(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        margin = model.predict(frame.set_axis(expected, axis=1), prediction_type="RawFormulaVal")
        if not classes:
            return margin, margin
        value = model.predict(frame.set_axis(expected, axis=1), prediction_type="Probability")
        return margin, value[:, 1] if margin.ndim == 1 else value  # two classes: the positive one

    return _Trained(
        library="catboost",
        version=catboost.__version__,
        file="model.json",
        names=names,
        kind="probability" if classes else "value",
        # The JSON text is exact, but CatBoost's own JSON reader is not. The golden rows therefore come from the model
        # in memory; a reader that rounds correctly reproduces them.
        save=lambda path: model.save_model(str(path), format="json"),
        predict=predict,
        # CatBoost stores hashes of category strings, not a list of them.
        categories=dict.fromkeys(model.get_cat_feature_indices()),
        missing_category=False,
    )


def _named(names: list[str], X: pd.DataFrame, invented: bool) -> list[str]:
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


# --- The contract of the features ------------------------------------------------------------------------------------


def _feature(
    column: pd.Series, name: str, declared: str | None, trained: _Trained, index: int
) -> tuple[dict, Any]:
    """Return a feature's contract and values: float64 with NaN for missing, or a pandas categorical in code order."""
    categorical = isinstance(column.dtype, pd.CategoricalDtype)
    if index in trained.categories and not categorical:
        raise BundleError(
            f'feature "{name}": the model was trained with categories, but X has dtype {column.dtype}: '
            f'X["{name}"] = X["{name}"].astype("category")'
        )
    if categorical and index not in trained.categories:
        raise BundleError(f'feature "{name}": X has categories, but the model was trained with numbers')
    kind = declared or _inferred(column, name)
    if kind not in TYPES:
        raise BundleError(f'feature "{name}": type {kind!r} is none of {", ".join(TYPES)}')
    if (kind == "category") != categorical:
        raise BundleError(f'feature "{name}": declared {kind}, but X has dtype {column.dtype}')

    if categorical:
        known = trained.categories[index] or list(column.cat.categories)
        values = column.cat.set_categories(known)
        strange = column.notna() & values.isna()
        if strange.any():
            row = int(strange.idxmax())
            raise BundleError(
                f'feature "{name}", row {row}: the model was not trained on the category {column[row]}; '
                f"it knows {', '.join(map(str, known))}"
            )
        if not trained.missing_category and column.isna().any():
            raise BundleError(f'feature "{name}", row {int(column.isna().idxmax())}: {trained.library} does not take '
                              'missing categories: fill them, as in training')  # fmt: skip
        return {"name": name, "type": kind, "categories": [str(c) for c in known]}, values

    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        utc = pd.to_datetime(column, utc=True)
        values = ((utc - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy(dtype="float64")
    else:
        values = column.to_numpy(dtype="float64", na_value=np.nan)
    finite = values[np.isfinite(values)]
    wrong = {"int": finite != np.floor(finite), "bool": (finite != 0) & (finite != 1)}.get(kind)
    if wrong is not None and wrong.any():
        row = int(np.flatnonzero(values == finite[wrong.argmax()])[0])
        raise BundleError(f'feature "{name}", row {row}: declared {kind}, but the value is {values[row]}')
    return {"name": name, "type": kind}, values


def _inferred(column: pd.Series, name: str) -> str:
    dtype, is_ = column.dtype, pd.api.types
    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    if is_.is_bool_dtype(dtype):
        return "bool"
    if is_.is_integer_dtype(dtype):
        return "int"
    if is_.is_float_dtype(dtype):
        return "float"
    if is_.is_datetime64_any_dtype(dtype):
        advice = f'if the model was trained on seconds since the Unix epoch, declare types={{"{name}": "timestamp"}}'
    elif is_.is_timedelta64_dtype(dtype):
        advice = f'turn it into a number as in training: X["{name}"].dt.total_seconds()'
    else:
        advice = (
            f'for text, X["{name}"] = X["{name}"].astype("category"); '
            'for numbers and booleans, .astype("float64"), "Int64" or "boolean"'
        )
    raise BundleError(f'feature "{name}": dtype {dtype} is neither number, boolean nor category: {advice}')


def _checked(spec: dict) -> dict:
    """Return a feature's contract with the caller's additions checked, its values in TOML's types."""
    where = f'feature "{spec["name"]}"'
    if "required" in spec and "default" in spec:
        raise BundleError(f"{where}: both required and with a default: choose one")
    if "default" in spec:
        spec["default"] = _default(spec, where)
    if "range" in spec:
        low, high = (float(bound) for bound in spec["range"])
        if spec["type"] == "category" or not low <= high:
            raise BundleError(f"{where}: range ({low}, {high}) must be (lowest, highest), of a number")
        spec["range"] = [low, high]
    for key, words in {
        "out_of_range": ("keep", "clamp", "missing", "reject"),
        "stale": ("use", "missing", "reject"),
        "parse": ("strict", "tolerant"),
    }.items():
        if spec.get(key, words[0]) not in words:
            raise BundleError(f"{where}: {key} = {spec[key]!r} is none of {', '.join(words)}")
    if not re.fullmatch(r"(\d+(ms|s|m|h|d))+", spec.get("max_age", "1s")):
        raise BundleError(f'{where}: max_age = {spec["max_age"]!r}: write it as "90s", "15m", "36h" or "7d"')
    return spec


def _default(spec: dict, where: str) -> Any:
    value, kind = spec["default"], spec["type"]
    if kind == "category":
        if str(value) not in spec["categories"]:
            raise BundleError(
                f"{where}: default {value!r} is none of its categories {', '.join(spec['categories'])}"
            )
        return str(value)
    number = float(value)
    if not math.isfinite(number):
        raise BundleError(f"{where}: default {value!r}: leave it out, and the model sees a missing value")
    if (kind == "int" and number != int(number)) or (kind == "bool" and number not in (0, 1)):
        raise BundleError(f"{where}: default {value!r} is no {kind}")
    return {"int": int, "bool": bool}.get(kind, float)(number)


def _output(kind: str, bands: Mapping[str, float] | None, calibration: Mapping[str, Any] | None) -> dict:
    if kind not in KINDS:
        raise BundleError(f"kind {kind!r} is none of {', '.join(KINDS)}")
    output: dict[str, Any] = {"kind": kind}
    if bands:
        starts = [float(start) for start in bands.values()]
        if starts != sorted(set(starts)):
            raise BundleError(f"bands {dict(bands)}: each must start above the one before")
        if kind == "probability" and starts[0] > 0:
            raise BundleError(f"bands {dict(bands)}: the first must start at 0, or low scores have none")
        output["bands"] = [{"name": band, "from": start} for band, start in zip(bands, starts)]
    if calibration:
        keys = {"platt": {"kind", "a", "b"}, "isotonic": {"kind", "x", "y"}}.get(calibration.get("kind", ""))
        if keys != set(calibration):
            raise BundleError(
                f"calibration {dict(calibration)}: give kind = platt with numbers a and b, or kind = isotonic with "
                "lists x and y"
            )
        output["calibration"] = {
            key: [float(v) for v in value] if key in "xy" else value if key == "kind" else float(value)
            for key, value in calibration.items()
        }
        points = output["calibration"]
        if "x" in points and (
            len(points["x"]) != len(points["y"]) or points["x"] != sorted(set(points["x"]))
        ):
            raise BundleError("calibration: isotonic x must be strictly ascending and as long as y")
    return output


def _check_names(what: str, given: Mapping[str, Any], names: Sequence[str]) -> None:
    for feature in given:
        if feature not in names:
            near = difflib.get_close_matches(feature, names, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else f": the model has {', '.join(names)}"
            raise BundleError(f'{what} given for "{feature}", which is no feature of the model{hint}')


def _for_all(value: str | Mapping[str, str] | None, names: Sequence[str]) -> Mapping[str, str]:
    return dict.fromkeys(names, value) if isinstance(value, str) else value or {}


def _name(directory: Path) -> str:
    """Return the model's name: `churn` for both models/churn/4 and models/churn."""
    path = directory.resolve()
    return path.parent.name if path.name.isdigit() else path.name


def _utc(when: dt.datetime | None) -> dt.datetime:
    when = when or dt.datetime.now(dt.timezone.utc)
    when = when.replace(tzinfo=dt.timezone.utc) if when.tzinfo is None else when.astimezone(dt.timezone.utc)
    return when.replace(microsecond=0)


# --- Golden rows and the reference distribution ----------------------------------------------------------------------


def _golden(frame: pd.DataFrame, features: list[dict], trained: _Trained, limit: int) -> str:
    """Return rows and the library's outputs for them. The choice is deterministic: same sample, same file.

    First come rows spread evenly over the sample; then, for every feature, one of them with the feature at its lowest,
    at its highest, and missing. With too many features for one row each, several features change in one row.
    """
    finite = ~np.isinf(frame.select_dtypes("number")).any(axis=1)  # JSON has no infinity
    frame = frame[finite].reset_index(drop=True)
    if frame.empty:
        raise BundleError("every row of X has an infinite value: golden rows need finite ones")
    groups = max(1, min(len(features), limit // 4))
    base = np.unique(np.linspace(0, len(frame) - 1, max(1, limit - 3 * groups)).round().astype(int))
    rows = pd.concat([frame.iloc[base], frame.iloc[np.resize(base, 3 * groups)]], ignore_index=True)
    for index, feature in enumerate(frame.columns):
        column, row = frame[feature], len(base) + 3 * (index % groups)
        present = column.cat.codes[column.notna()] if index in trained.categories else column.dropna()
        if len(present):
            rows.loc[row, feature] = column[present.idxmin()]
            rows.loc[row + 1, feature] = column[present.idxmax()]
        if index not in trained.categories or trained.missing_category:
            rows.loc[row + 2, feature] = np.nan

    margins, values = (np.asarray(out).reshape(len(rows), -1) for out in trained.predict(rows))
    read = {"int": int, "bool": bool, "category": str}
    readers = [read.get(spec["type"], float) for spec in features]
    lines = []
    for row, margin, value in zip(rows.itertuples(index=False, name=None), margins, values):
        cells = {
            spec["name"]: None if pd.isna(cell) else reader(cell)
            for spec, reader, cell in zip(features, readers, row)
        }
        # float() widens f32 exactly, and json writes the shortest digits that read back to the same bits.
        out = {"features": cells, "margin": [float(v) for v in margin], "value": [float(v) for v in value]}
        lines.append(json.dumps(out, allow_nan=False, ensure_ascii=False) + "\n")
    return "".join(lines)


def _reference(frame: pd.DataFrame, features: list[dict], trained: _Trained) -> str:
    """Return the sample's distribution of every feature and, for a model with one output, of the score."""
    out: dict[str, Any] = {"rows": len(frame), "features": {}}
    for index, spec in enumerate(features):
        column = frame[spec["name"]]
        present = column.dropna()
        if index in trained.categories:
            counts = {str(c): int(n) for c, n in present.value_counts(sort=False).items()}
            stats = {"kind": "category", "missing": len(column) - len(present), "counts": counts}
        else:
            stats = {"kind": "numeric", "count": len(present), "missing": len(column) - len(present)}
            stats.update(_histogram(present.to_numpy()))
        out["features"][spec["name"]] = stats
    values = np.asarray(trained.predict(frame)[1])
    if values.size == len(frame):
        score = _histogram(values.reshape(-1).astype("float64"))
        out["score"] = {key: score[key] for key in ("edges", "counts", "mean")}
    return json.dumps(out, allow_nan=False, ensure_ascii=False) + "\n"


def _histogram(values: np.ndarray) -> dict[str, Any]:
    """Count edges[i-1] <= x < edges[i] in bin i. Infinite values count in the outer bins only."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"min": None, "max": None, "mean": None, "edges": [], "counts": [len(values)]}
    # Edges are deciles that are values of the sample, but not its minimum: drift measures need bins that are not empty.
    edges = np.unique(np.quantile(finite, np.arange(1, 10) / 10, method="higher"))
    edges = edges[edges > finite.min()]
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return {
        "min": float(finite.min()),
        "max": float(finite.max()),
        "mean": float(finite.mean()),
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


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
    if path.suffix == ".txt":
        import lightgbm

        return lightgbm.Booster(model_file=path)
    if path.suffix == ".cbm" or (
        path.suffix == ".json" and "oblivious_trees" in json.loads(path.read_bytes())
    ):
        import catboost

        return catboost.CatBoost().load_model(str(path), format=path.suffix[1:])
    if path.suffix in (".ubj", ".json"):
        import xgboost

        return xgboost.Booster(model_file=path)
    raise BundleError(
        f"{path}: unknown ending: .ubj or .json of XGBoost, .txt of LightGBM, .cbm or .json of CatBoost"
    )


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
        bands = {name: float(start) for name, _, start in (band.rpartition("=") for band in bands)}
        path = save_bundle(_load(model), pd.read_parquet(sample), bands=bands, **args)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {error}")
    print(f"wrote {path}; next: evergreen check {path}")


if __name__ == "__main__":
    main()
