"""How a golden case is written down: the model file as the library saved it, and next to it a `.gold` file with
the rows that were predicted and what the library answered.

A `.gold` file is one line of JSON, then raw little-endian numbers: the rows (row-major), then each output
(row-major) in the order in which the line lists them.
"""

import json
import pathlib

import numpy as np

#: The cases that every release is tried on where all of them would be too much to keep.
CORE = {
    "binary-logistic", "base-binary-logistic-0.3", "base-binary-logitraw-0.3",
    "dart-classes", "survival-aft", "category-partition", "no-rounds-binary-logistic", "no-rounds-base",
    "vector-leaf", "expectiles",
    "binary", "missing-zero", "missing-off", "category", "forest", "linear-tree", "cross_entropy_lambda", "sklearn-pandas",
}  # fmt: skip

#: Rows that are kept of a case where all of them would be too much.
FEW = 60


class Recorder:
    """Writes cases below a directory and counts them; `few` keeps some rows of each, `core` only some cases."""

    def __init__(self, directory, few=False, core=False):
        self.directory = pathlib.Path(directory)
        self.few = few
        self.core = core
        self.cases = 0

    def wants(self, name):
        """Whether a case is to be recorded."""
        return name in CORE if self.core else not (self.few and name == "deep")

    def path(self, case, extension):
        """Where the model of a case belongs."""
        path = self.directory / f"{case}{extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def record(self, case, model, rows, outputs, iterations="all", texts=None):
        """Writes the `.gold` file of a case.

        `rows` is an f32 or f64 matrix, `outputs` maps an output kind (`margin`, `value`, `class`, `leaf`,
        `contributions`) to what the library answered, one row per row. `texts` maps a column to texts that take the
        place of its numbers.
        """
        rows = np.ascontiguousarray(rows)
        assert rows.dtype in (np.float32, np.float64), rows.dtype
        if self.few and len(rows) > FEW:
            # All along: the rows are ordered by what they try.
            kept = np.linspace(0, len(rows) - 1, FEW).astype(int)
            outputs = {kind: np.asarray(answer)[kept] for kind, answer in outputs.items()}
            texts = {column: [cells[row] for row in kept] for column, cells in (texts or {}).items()}
            rows = rows[kept]
        blobs, described = [], []
        for kind, answer in outputs.items():
            answer = np.ascontiguousarray(answer).reshape(len(rows), -1)
            if answer.dtype not in (np.float32, np.float64):
                answer = answer.astype(np.float64)
            if kind in ("leaf", "class"):
                answer = answer.astype(np.float32)
            described.append({"kind": kind, "type": answer.dtype.name, "width": answer.shape[1]})
            blobs.append(answer.astype(answer.dtype.newbyteorder("<")).tobytes())
        head = {
            "case": case,
            "model": pathlib.Path(model).name,
            "rows": len(rows),
            "features": rows.shape[1],
            "type": rows.dtype.name,
            "iterations": iterations,
            "texts": texts or {},
            "outputs": described,
        }
        with open(self.path(case, ".gold"), "wb") as file:
            file.write(json.dumps(head).encode() + b"\n")
            file.write(rows.astype(rows.dtype.newbyteorder("<")).tobytes())
            for blob in blobs:
                file.write(blob)
        self.cases += 1
