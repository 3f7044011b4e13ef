"""The contract of the features, and their values as the model sees them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from evergreen_serving.bundle.models import BundleError, Trained

EXACT = 2**53  # whole numbers up to this are exact as 64-bit floats
TYPES = ("float", "int", "bool", "category", "timestamp")


def described(
    column: pd.Series, name: str, declared: str | None, trained: Trained, index: int
) -> tuple[dict, Any]:
    """Return a feature's contract and values: float64 with NaN for missing, or a pandas categorical in code order."""
    categorical = isinstance(column.dtype, pd.CategoricalDtype)
    if index in trained.categories and not categorical:
        if not trained.any_category:
            raise BundleError(
                f'feature "{name}": the model was trained with categories, but X has dtype {column.dtype}: '
                f'X["{name}"] = X["{name}"].astype("category")'
            )
        column, categorical = column.astype("category"), True
    if categorical and index not in trained.categories:
        raise BundleError(f'feature "{name}": X has categories, but the model was trained with numbers')
    kind = declared or inferred(column, name)
    if kind not in TYPES:
        raise BundleError(f'feature "{name}": type {kind!r} is none of {", ".join(TYPES)}')
    if (kind == "category") != categorical:
        raise BundleError(f'feature "{name}": declared {kind}, but X has dtype {column.dtype}')
    if categorical:
        return with_categories(column, name, trained, index)

    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        utc = pd.to_datetime(column, utc=True)
        values = ((utc - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy(dtype="float64")
    else:
        values = column.to_numpy(dtype="float64", na_value=np.nan)
    if not trained.infinite and np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise BundleError(
            f'feature "{name}", row {row}: the value is infinite, which {trained.library} refuses: replace it by NaN, '
            "as in training"
        )
    finite = values[np.isfinite(values)]
    large = np.abs(values) > EXACT
    if kind == "int" and large.any():
        row = int(np.flatnonzero(large)[0])
        raise BundleError(
            f'feature "{name}", row {row}: {column[row]} is beyond 2^53, where whole numbers are no longer exact: if '
            f'it is an id, train without it; if it is a quantity, declare types={{"{name}": "float"}}'
        )
    wrong = {"int": finite != np.floor(finite), "bool": (finite != 0) & (finite != 1)}.get(kind)
    if wrong is not None and wrong.any():
        row = int(np.flatnonzero(values == finite[wrong.argmax()])[0])
        raise BundleError(f'feature "{name}", row {row}: declared {kind}, but the value is {values[row]}')
    return {"name": name, "type": kind}, values


def with_categories(column: pd.Series, name: str, trained: Trained, index: int) -> tuple[dict, pd.Series]:
    """Return the contract and the values of a feature with categories."""
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
    texts = [category_text(category, name, trained) for category in known]
    twice = {text for text in texts if texts.count(text) > 1} if len(set(texts)) < len(texts) else set()
    if twice:
        raise BundleError(
            f'feature "{name}": several categories are written "{min(twice)}": a store could not tell them apart; '
            "give them different names before training"
        )
    return {"name": name, "type": "category", "categories": texts}, values


def category_text(category: Any, name: str, trained: Trained) -> str:
    """Return the text that names a category in a store: whole numbers by their digits, so that 1.0 is 1."""
    if isinstance(category, (bool, np.bool_)):
        return trained.booleans[int(category)]
    if isinstance(category, (float, np.floating)):
        if not float(category).is_integer():
            raise BundleError(
                f'feature "{name}": the category {category} is a number with decimals, which stores write in different '
                f'ways: turn it into text before training: X["{name}"].astype(str).astype("category")'
            )
        return str(int(category))
    if isinstance(category, (str, int, np.integer)):
        return str(category)
    raise BundleError(
        f'feature "{name}": the category {category!r} is a {type(category).__name__}: expected a text, a whole number '
        f'or a boolean; before training, X["{name}"] = X["{name}"].astype(str).astype("category")'
    )


def inferred(column: pd.Series, name: str) -> str:
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


def checked(spec: dict) -> dict:
    """Return a feature's contract with the caller's additions checked, its values in TOML's types."""
    where = f'feature "{spec["name"]}"'
    if "required" in spec and "default" in spec:
        raise BundleError(f"{where}: both required and with a default: choose one")
    if "default" in spec:
        spec["default"] = default_of(spec, where)
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
    check_action(spec, where)
    if spec.get("log", True) not in (True, False, "hash"):
        raise BundleError(f'{where}: log = {spec["log"]!r} is none of True, "hash", False')
    age = spec.get("max_age", "1s")
    if not re.fullmatch(r"(\d+(ms|s|m|h|d))+", age) or not re.search("[1-9]", age):
        raise BundleError(f'{where}: max_age = {spec["max_age"]!r}: write it as "90s", "15m", "36h" or "7d"')
    return spec


def check_action(spec: dict, where: str) -> None:
    """Check in which direction, and by which steps, a value can be changed."""
    kind, direction = spec["type"], spec.get("actionable", "any")
    if direction not in ("up", "down", "any"):
        raise BundleError(f"{where}: actionable = {direction!r} is none of up, down, any")
    if "actionable" in spec and ("derive" in spec or kind == "timestamp"):
        raise BundleError(f"{where}: a derived feature or a timestamp cannot be actionable")
    if kind == "category" and direction != "any":
        raise BundleError(f'{where}: a category has no up and down: write actionable = "any"')
    if "step" not in spec:
        return
    if "actionable" not in spec or kind not in ("int", "float"):
        raise BundleError(f"{where}: a step belongs to an actionable number")
    step = spec["step"]
    if not (0 < step < math.inf) or (kind == "int" and step != int(step)):
        whole = "whole " if kind == "int" else ""
        raise BundleError(f"{where}: step = {step}: expected a {whole}number above 0, such as 1")


def default_of(spec: dict, where: str) -> Any:
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


def check_names(what: str, given: Mapping[str, Any], names: Sequence[str]) -> None:
    for feature in given:
        if feature not in names:
            near = difflib.get_close_matches(feature, names, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else f": the model has {', '.join(names)}"
            raise BundleError(f'{what} given for "{feature}", which is no feature of the model{hint}')


def for_all(value: str | Mapping[str, str] | None, names: Sequence[str]) -> Mapping[str, str]:
    return dict.fromkeys(names, value) if isinstance(value, str) else value or {}
