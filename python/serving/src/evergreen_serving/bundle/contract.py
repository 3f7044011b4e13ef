"""The text of a contract, `bundle.toml`."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any

FORMAT = 1  # version of the bundle's layout


def toml(contract: dict) -> str:
    """Return the text of a contract."""
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
