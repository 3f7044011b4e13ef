"""Made-up data to train on, rows that try to catch a server out, and the telecom table."""

import numpy as np

#: Categories of the made-up categorical columns.
CATEGORIES = 23


def table(seed=7, rows=600, missing=0.08, categories=True):
    """A matrix of f32 (so that every library sees the same numbers) and which columns are categories.

    Columns: normal, many-valued integer, two-valued, heavy-tailed, tiny, mostly zero, normal with duplicates,
    then (if asked for) a category of 3 and one of `CATEGORIES`.
    """
    rng = np.random.default_rng(seed)
    columns = [
        rng.normal(size=rows),
        rng.integers(-50, 50, rows),
        rng.integers(0, 2, rows),
        rng.standard_cauchy(rows) * 1e6,
        rng.normal(size=rows) * 1e-38,
        np.where(rng.random(rows) < 0.7, 0.0, rng.normal(size=rows)),
        np.round(rng.normal(size=rows), 1),
    ]
    kinds = [False] * len(columns)
    if categories:
        columns += [rng.integers(0, 3, rows), rng.integers(0, CATEGORIES, rows)]
        kinds += [True, True]
    matrix = np.stack(columns, axis=1).astype(np.float32)
    matrix[rng.random(matrix.shape) < missing] = np.nan
    return matrix, np.array(kinds)


def few_before_many():
    """A feature of a few values before one with hundreds of thresholds: matrix, which columns are categories, labels."""
    rng = np.random.default_rng(5)
    matrix = np.stack([rng.integers(0, 12, 20000), rng.normal(size=20000) * 40], 1).astype(np.float32)
    signal = np.sin(matrix[:, 1] / 9) + matrix[:, 0] / 8 + rng.normal(size=len(matrix)) / 2
    return matrix, np.zeros(2, dtype=bool), (signal > 0.5).astype(np.float32)


def score(matrix, seed=3):
    """A number per row that trees can learn from such a matrix."""
    rng = np.random.default_rng(seed)
    x = np.nan_to_num(matrix.astype(np.float64), nan=0.5)
    signal = x[:, 0] + np.sin(x[:, 1]) + x[:, 2] * x[:, 0] + (x[:, 5] > 0) - (x[:, 6] > 0.3)
    if matrix.shape[1] > 7:
        signal = signal + (x[:, 7] == 1) - 0.7 * (x[:, 8].astype(int) % 3 == 0)
    return signal + 0.3 * rng.normal(size=len(matrix)) + np.sign(x[:, 3]) * 0.4 + np.sign(x[:, 4]) * 0.3


def trying_rows(matrix, kinds, thresholds, seed=11, random=40, infinite=True, width=np.float32):
    """Rows that sit where implementations differ.

    `thresholds` maps a column to the thresholds that the model splits on. The rows are: random ones from the
    table, then for each column exact thresholds and their neighbours among the floats of `width`; zeros of both signs, subnormals, the
    library's zero threshold and its neighbours, the largest numbers, infinities, missing; and for categories
    negatives, fractions, codes beyond the training range and beyond the range of integers.
    """
    rng = np.random.default_rng(seed)
    matrix = matrix.astype(width)
    rows = [matrix[rng.integers(len(matrix))].copy() for _ in range(random)]
    zero = width(np.float32(1e-35))
    special = [0.0, -0.0, 1e-45, -1e-45, 1e-39, zero, -zero, np.nextafter(zero, width(1)), 3e38, -3e38, np.nan]  # fmt: skip
    if width is np.float64:
        special += [5e-324, -5e-324, 1e300, -1e300]
    if infinite:
        special += [np.inf, -np.inf]
    codes = [-0.5, -1.0, -7.0, 0.0, -0.0, 0.9, 1.5, 31.0, 32.0, 63.5, 64.0, 1e6, 16777215.0, 16777216.0, 2147483647.0, 4e9, np.nan]  # fmt: skip
    for column in range(matrix.shape[1]):
        values = list(codes if kinds[column] else special)
        if kinds[column]:
            values += range(CATEGORIES + 3)
        else:
            known = np.array(sorted(thresholds.get(column, ())), dtype=width)
            for threshold in known[rng.permutation(len(known))[:6]]:
                values += [
                    threshold,
                    np.nextafter(threshold, width(np.inf)),
                    np.nextafter(threshold, width(-np.inf)),
                ]
        for value in values:
            row = matrix[rng.integers(len(matrix))].copy()
            row[column] = value
            rows.append(row)
    rows.append(np.full(matrix.shape[1], np.nan))
    return np.array(rows, dtype=width)


def telco(path):
    """The telecom customers as f32 (texts as codes, a blank TotalCharges missing), the category columns, and who left."""
    import pandas as pd

    frame = pd.read_csv(path)
    left = (frame.pop("Churn") == "Yes").to_numpy().astype(np.float32)
    frame = frame.drop(columns=["customerID"])
    frame["TotalCharges"] = pd.to_numeric(frame["TotalCharges"], errors="coerce")
    kinds = []
    for name in frame.columns:
        text = not pd.api.types.is_numeric_dtype(frame[name])
        kinds.append(text)
        if text:
            frame[name] = frame[name].astype("category").cat.codes
    return frame.to_numpy(dtype=np.float32), np.array(kinds), left
