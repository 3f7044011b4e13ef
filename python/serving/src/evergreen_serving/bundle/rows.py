"""Golden rows and the reference distribution."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from evergreen_serving.bundle.models import BundleError, Trained

# From margins and values, one each per row, to calibrated scores.
Scores = Callable[[np.ndarray, np.ndarray], np.ndarray]

# Least rows of each of several bins beside a common value: as many as a window of drift needs for each bin, so that
# chi-squared holds.
ROWS_IN_BIN = 20


def golden(
    frame: pd.DataFrame, features: list[dict], trained: Trained, limit: int, scores: Scores | None = None
) -> str:
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
    picks = np.concatenate([base, np.resize(base, 3 * groups)])
    columns = {
        feature: with_extremes(frame[feature], picks, len(base) + 3 * (index % groups), index, trained)
        for index, feature in enumerate(frame.columns)
    }
    lines = golden_lines(pd.DataFrame(columns), features, trained, scores)
    return "".join(json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n" for line in lines)


def with_extremes(column: pd.Series, picks: np.ndarray, row: int, index: int, trained: Trained) -> Any:
    """Return the picked values of a column, with its lowest one in `row`, its highest in the next, and then none."""
    if index not in trained.categories:
        numbers = column.to_numpy()[picks]
        present = column.to_numpy()[column.notna()]
        if len(present):
            numbers[row : row + 2] = present.min(), present.max()
        numbers[row + 2] = np.nan
        return numbers
    codes = column.cat.codes.to_numpy()[picks]
    known = column.cat.codes.to_numpy()[column.notna()]
    if len(known):
        codes[row : row + 2] = known.min(), known.max()
    if trained.missing_category:
        codes[row + 2] = -1
    return pd.Categorical.from_codes(codes, dtype=column.dtype)


def golden_lines(
    rows: pd.DataFrame, features: list[dict], trained: Trained, scores: Scores | None
) -> list[dict[str, Any]]:
    """Return the inputs of `rows` with the library's margins and values, its classes and the calibrated scores."""
    raw_margins, raw_values = (np.asarray(out) for out in trained.predict(rows))
    classes = trained.classes(rows, raw_margins, raw_values) if trained.classes else None
    calibrated = scores(raw_margins, raw_values) if scores else None
    margins, values = (out.reshape(len(rows), -1) for out in (raw_margins, raw_values))
    names = [spec["name"] for spec in features]
    cells = zip(*(cells_of(rows[spec["name"]], spec) for spec in features))
    lines = []
    for index, row in enumerate(cells):
        # float() widens f32 exactly, and json writes the shortest digits that read back to the same bits.
        outputs = {"margin": [float(v) for v in margins[index]], "value": [float(v) for v in values[index]]}
        line: dict[str, Any] = {"features": dict(zip(names, row)), **outputs}
        refuse_infinite(line)
        if classes is not None:
            line["class"] = int(classes[index])
        if calibrated is not None:
            line["score"] = float(calibrated[index])
        lines.append(line)
    return lines


def cells_of(column: pd.Series, spec: dict) -> list:
    """Return the values of a feature as JSON writes them; None where there is none."""
    if spec["type"] == "category":
        return [spec["categories"][code] if code >= 0 else None for code in column.cat.codes]
    read = {"int": int, "bool": bool}.get(spec["type"], float)
    return [None if math.isnan(cell) else read(cell) for cell in column.tolist()]


def refuse_infinite(line: dict[str, Any]) -> None:
    """Refuse a model that predicts infinity, which JSON cannot hold and the gate refuses."""
    for key in ("margin", "value"):
        if not all(map(math.isfinite, line[key])):
            raise BundleError(
                f"the model's {key} is {line[key]} for {line['features']}: expected finite numbers. Train with a "
                "smaller learning rate, or check the labels and weights for infinite values"
            )


def reference(frame: pd.DataFrame, features: list[dict], trained: Trained) -> str:
    """Return the sample's distribution of every feature and, for a model with one output, of the score."""
    out: dict[str, Any] = {"rows": len(frame), "features": {}}
    for index, spec in enumerate(features):
        column = frame[spec["name"]]
        present = column.dropna()
        if index in trained.categories:
            counts = np.bincount(column.cat.codes[column.notna()], minlength=len(spec["categories"]))
            counts = dict(zip(spec["categories"], counts.tolist()))
            stats = {"kind": "category", "missing": len(column) - len(present), "counts": counts}
        else:
            stats = {"kind": "numeric", "count": len(present), "missing": len(column) - len(present)}
            stats.update(histogram(seen(present.to_numpy(), trained)))
            if quartiles := quartiles_of(present.to_numpy()):
                stats["quartiles"] = quartiles
        out["features"][spec["name"]] = stats
    values = np.asarray(trained.predict(frame)[1])
    if values.size == len(frame):
        score = histogram(values.reshape(-1).astype("float64"))
        out["score"] = {key: score[key] for key in ("edges", "counts", "mean")}
    return json.dumps(out, allow_nan=False, ensure_ascii=False) + "\n"


def seen(values: np.ndarray, trained: Trained) -> np.ndarray:
    """Return values as the model sees them: what is one number for it is one here, as when the server counts them.

    Of 32-bit floats they are the shortest decimals, so that an edge is 0.3 and not 0.30000001192092896.
    """
    if not trained.narrow:
        return values
    with np.errstate(over="ignore"):
        distinct, positions = np.unique(values.astype("float32"), return_inverse=True)
    return np.array([float(str(value)) for value in distinct])[positions]


def quartiles_of(values: np.ndarray) -> list[float]:
    """Return the first, second and third quartile as values of the sample; none without finite values."""
    finite = values[np.isfinite(values)]
    return np.quantile(finite, [0.25, 0.5, 0.75], method="inverted_cdf").tolist() if len(finite) else []


def histogram(values: np.ndarray) -> dict[str, Any]:
    """Count edges[i-1] <= x < edges[i] in bin i. Infinite values count in the outer bins only."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"min": None, "max": None, "mean": None, "edges": [], "counts": [len(values)]}
    edges = edges_around_common(np.sort(finite))
    if not len(edges):
        # Deciles that are values of the sample, but not its minimum: drift measures need bins that are not empty.
        edges = np.unique(np.quantile(finite, np.arange(1, 10) / 10, method="higher"))
        edges = edges[edges > finite.min()]
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return {
        "min": float(finite.min()),
        "max": float(finite.max()),
        "mean": float((finite / len(finite)).sum()) if np.abs(finite).max() > 1e300 else float(finite.mean()),
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


def edges_around_common(ordered: np.ndarray) -> np.ndarray:
    """Return edges that keep apart what is below and above a value that four fifths of the rows have, if there is one.

    Deciles would leave the rest in a bin with that value, or in two bins.
    """
    common = ordered[len(ordered) // 2]
    below, above = ordered[ordered < common], ordered[ordered > common]
    edges: list[float] = []
    if 5 * (len(below) + len(above)) <= len(ordered):
        if len(below):
            edges += [*quarters(below), common]
        if len(above):
            edges += [above[0], *quarters(above)]
    return np.array(edges, dtype=ordered.dtype)


def quarters(ordered: np.ndarray) -> list[float]:
    """Return the inner edges of up to four bins, each with a quarter of the values and rows for a drift measure."""
    least = max(ROWS_IN_BIN, -(-len(ordered) // 4))
    edges: list[float] = []
    end = 0
    while len(ordered) - end > least:
        # Equal values are in one bin.
        end = int(np.searchsorted(ordered, ordered[end + least - 1], side="right"))
        if len(ordered) - end < ROWS_IN_BIN:
            break
        edges.append(ordered[end])
    return edges
