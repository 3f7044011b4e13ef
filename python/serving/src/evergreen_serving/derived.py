"""Derived features in training, with the definitions that Evergreen applies when it serves.

    from evergreen_serving import derive, save_bundle

    definitions = {
        "tenure_days": {"days_since": "signed_up"},
        "calls_per_month": {"ratio": ["calls", "months"]},
        "price_change": {"difference": ["price", "price_before"]},
        "plan_rank": {"map": {"of": "plan", "to": {"free": 0, "pro": 1}}},
    }
    X = derive(frame, definitions, now=frame["as_of"])
    ...
    save_bundle(model, X, "models/churn/8", derived=definitions, operands={"signed_up": {"type": "timestamp"}})

`now` is the instant as of which the row is true: in training that of the row, in serving that of the request. Needs
only pandas.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

DAY = 86_400.0


def derive(
    frame: pd.DataFrame, definitions: Mapping[str, Mapping[str, Any]], now: Any = None
) -> pd.DataFrame:
    """`frame` with the derived columns added.

    All arithmetic is that of 64-bit floats; what has no value, or a ratio to zero, has no value (NaN).

    days_since    whole days from a timestamp until `now`: floor((now - then) / 86400 s)
    ratio         the first over the second
    difference    the first minus the second
    map           a category looked up in a table, to numbers or to other categories; one that is not listed has
                  no value
    """
    frame = frame.copy()
    for name, definition in definitions.items():
        if len(definition) != 1:
            raise ValueError(f'feature "{name}": a derivation is one of days_since, ratio, difference, map')
        [(rule, of)] = definition.items()
        if rule not in RULES:
            raise ValueError(f'feature "{name}": {rule} is none of {", ".join(RULES)}')
        for column in _operands(of):
            if column not in frame:
                raise ValueError(f'feature "{name}": there is no column "{column}"')
        frame[name] = RULES[rule](frame, of, now)
    return frame


def _operands(of: Any) -> list[str]:
    return [of["of"]] if isinstance(of, Mapping) else [of] if isinstance(of, str) else list(of)


def _days_since(frame: pd.DataFrame, of: str, now: Any) -> pd.Series:
    if now is None:
        raise ValueError(f'days since "{of}": pass now=, the instant as of which each row is true')
    now = _seconds(now if isinstance(now, pd.Series) else pd.Series(now, index=frame.index))
    return np.floor((now - _seconds(frame[of])) / DAY)


def _seconds(times: pd.Series) -> pd.Series:
    """Seconds since the Unix epoch; numbers are that already."""
    if pd.api.types.is_numeric_dtype(times.dtype):
        return times.astype("float64")
    micros = pd.to_datetime(times, utc=True).dt.as_unit("us")
    whole = micros.astype("int64").astype("float64")
    return whole.where(micros.notna()) / 1e6


def _number(column: pd.Series) -> pd.Series:
    return pd.Series(column.to_numpy(dtype="float64", na_value=np.nan), index=column.index)


def _ratio(frame: pd.DataFrame, of: list[str], now: Any) -> pd.Series:
    over, under = (_number(frame[column]) for column in of)
    return over / under.where(under != 0.0)


def _difference(frame: pd.DataFrame, of: list[str], now: Any) -> pd.Series:
    first, second = (_number(frame[column]) for column in of)
    return first - second


def _map(frame: pd.DataFrame, of: Mapping[str, Any], now: Any) -> pd.Series:
    table = of["to"]
    looked_up = frame[of["of"]].astype(object).map(table)
    if all(isinstance(value, str) for value in table.values()):
        return looked_up.astype(pd.CategoricalDtype(sorted(set(table.values()))))
    return looked_up.astype("float64")


RULES: dict[str, Callable[[pd.DataFrame, Any, Any], pd.Series]] = {
    "days_since": _days_since,
    "ratio": _ratio,
    "difference": _difference,
    "map": _map,
}
