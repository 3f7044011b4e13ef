"""save_bundle: checks what it is given, and writes the files."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from evergreen_serving.bundle.calibration import calibrated_scores, fitted
from evergreen_serving.bundle.contract import toml
from evergreen_serving.bundle.features import check_names, checked, described, for_all
from evergreen_serving.bundle.models import BundleError, Trained, adapt, unwrapped
from evergreen_serving.bundle.output import check_width, outcome_section, output
from evergreen_serving.bundle.rows import golden, reference

MOST_ULP = 16  # the largest tolerance of the gate
FEW_ROWS = 100  # fewer rows fill ten bins too unevenly to compare distributions


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
    log: Mapping[str, bool | str] | None = None,
    log_entity: bool | str = True,
    derived: Mapping[str, Mapping[str, Any]] | None = None,
    operands: Mapping[str, Mapping[str, str]] | None = None,
    calibration: Any = None,
    min_known: float | None = None,
    reasons: Mapping[str, Mapping[str, Any]] | None = None,
    actionable: Mapping[str, str] | None = None,
    steps: Mapping[str, float] | None = None,
    outcome: str | None = None,
    outcomes: Mapping[str, Any] | None = None,
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
    log           what the prediction log has of the value: True, "hash" or False. Scores can be replayed only if
                  it has the value of every feature
    reasons       the words in which a reason is given: {"calls": {"text": "{value} calls in 30 days",
                  "none": "No call in 30 days", "say": {"raises": "Is it solved?"}, "range": [1, inf]}}; keys: group,
                  unit, text, one, none, negative, missing, say, advice, range
    actionable    in which direction somebody can change the value, such as with an offer: "up", "down" or "any";
                  what-if proposes such changes only: {"yearly_contract": "up", "monthly_price": "down"}
    steps         the least change of a number that is possible: {"monthly_price": 5}
    derived       features computed at request time, with the definitions of evergreen_serving.derive, which
                  training must have applied: {"tenure_days": {"days_since": "signed_up"}}
    operands      stored values that only derived features use: {"signed_up": {"type": "timestamp", "source": "…"}}

    log_entity    what the prediction log has of the id: True, "hash" or False
    calibration   a fitted sklearn.calibration.CalibratedClassifierCV around this model (method "sigmoid" or
                  "isotonic"), or {"kind": "platt", "on": "probability", "a": -4.0, "b": 2.0}: 1 / (1 + exp(a·x + b)),
                  or {"kind": "isotonic", "on": "probability", "x": [...], "y": [...]}. `on` says what x is:
                  "probability" or "margin", the raw score
    min_known     the least share (0 to 1) of what the model relies on that must be known for a score; by default 0.5.
                  Below it an entity gets an error: a score from nearly nothing looks like any other
    outcome       what the score says, in sentences such as "This raises the risk of leaving": "the risk of leaving"
    outcomes      what the score predicts, so that it can be compared with what customers did: {"horizon_days": 30}
                  says that a customer leaves within 30 days; further keys: "grace_days", within which a customer who
                  comes back has not left; "absent", what no record means ("stayed" or "unknown"); "contact_capacity",
                  the share of the customers that sales can call
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
        "log": log,
        "derive": derived,
        "reason": reasons,
        "actionable": actionable,
        "step": {name: float(step) for name, step in (steps or {}).items()},
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
    if log_entity not in (True, False, "hash"):
        raise BundleError(f'log_entity = {log_entity!r} is none of True, "hash", False')
    contract: dict[str, Any] = {
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
    if log_entity is not True:
        contract["model"]["log_entity"] = log_entity
    if outcomes is not None:
        contract["outcome"] = outcome_section(outcomes, kind)
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
        (part / "bundle.toml").write_bytes(toml(contract).encode())
        _replace(directory, part)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return directory


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
