"""Score tables in this process, with the engine, the contract and the bits of the server."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from evergreen_serving.location import located, shown

if TYPE_CHECKING:
    from evergreen_serving._engine import Engine, Scores

__all__ = ["Band", "Feature", "Scorer"]

# The largest whole number up to which every whole number is a 64-bit float.
EXACT = 2**53

ON_ERROR = {"raise": False, "null": True}

TrustedKeys = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""One or several public keys, or files with one on each line."""


class Feature(NamedTuple):
    """An input of the model, as its contract describes it."""

    name: str
    """Its name in the model."""
    column: str
    """The column of a table that holds it; its name also does."""
    type: str
    """float, int, bool, category or timestamp."""
    required: bool
    """Whether a row without a value has no score."""
    default: Any
    """What stands for a missing value; None if the model sees a missing value."""
    range: tuple[float, float] | None
    """The lowest and the highest expected value."""
    categories: tuple[str, ...]
    """The categories that the model knows."""
    derived: bool
    """Whether it is computed from other columns, if it has none of its own."""


class Band(NamedTuple):
    """A named range of scores, up to where the next one begins."""

    name: str
    start: float


class _About(TypedDict):
    """What the engine says of a model."""

    path: str
    name: str
    version: int
    sha256: str
    bundle_sha256: str
    library: str
    objective: str
    trees: int
    output: str | None
    calibrated: bool
    entity: str | None
    bands: list[tuple[str, float]]
    kinds: list[str]
    columns: list[str]
    features: list[dict[str, Any]]


class Scorer:
    """A loaded model. Scores are those of `evergreen serve` and of the training library, to the bit.

        scorer = Scorer.load("models/churn/4")
        scorer.score(customers)                               # a table with the column score
        scorer.score(customers, kind=["score", "band"])       # several outputs in one pass
        scorer.score({"tenure": 3, "plan": "basic", ...})     # {"score": 0.41}

    It is immutable and may be used by several threads. Pickling sends the path or URI and the SHA-256, not the model.
    """

    __slots__ = ("_about", "_engine", "_plain")

    _engine: Engine
    _about: _About
    # The names of the features, if an array can hold them all.
    _plain: list[str] | None

    def __init__(self) -> None:
        raise TypeError('use Scorer.load("models/churn/4")')

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        sha256: str | None = None,
        *,
        trusted_keys: TrustedKeys | None = None,
    ) -> Scorer:
        """Load a bundle, after the checks with which a server lets it go live, among them the golden rows.

        path          the folder of a bundle (`models/churn/4`), that of a model (`models/churn`: the version in use),
                      or a model file: a local path, a file URI (`file:///models/churn/4`), or a URI that pyarrow reads
                      (`s3://bucket/churn/4`, `gs://…`, `hdfs://…`), of which a temporary copy is made. A bare model
                      file has no contract: a number is a number and a missing value is missing
        sha256        what is expected to be there: the SHA-256 of `bundle.toml` (`Scorer.bundle_sha256`), which has
                      those of all other files, or of the model file (`Scorer.sha256`)
        trusted_keys  the keys of which one must have signed the bundle (`evergreen publish --sign`), as in
                      `models.trusted_keys` of a server: public keys such as "ed25519:1f…", or files with one on each
                      line. Without them no signature is needed, and one that is there is not checked

        Raises FileNotFoundError if there is nothing, and ValueError, with the reason, if the model is refused or is
        not the expected one.
        """
        keys = _keys(trusted_keys)
        compiled = _compiled()
        with located(path) as place:
            try:
                engine = compiled.load(place.path, keys)
            except (FileNotFoundError, ValueError) as error:
                raise type(error)(place.text(str(error))) from None
            about: _About = engine.describe()
            about["path"] = place.original(str(about["path"]))
        known = (about["bundle_sha256"], about["sha256"])
        if sha256 is not None and sha256.lower() not in known:
            raise ValueError(
                f"{shown(about['path'])}: expected the SHA-256 {sha256}, found {known[0]} of bundle.toml "
                f"and {known[1]} of the model file: another version is at this path"
            )
        scorer = object.__new__(cls)
        object.__setattr__(scorer, "_engine", engine)
        object.__setattr__(scorer, "_about", about)
        plain = not any(feature["derived"] or feature["type"] == "category" for feature in about["features"])
        names = [feature["name"] for feature in about["features"]]
        object.__setattr__(scorer, "_plain", names if plain else None)
        return scorer

    def score(
        self,
        data: Any,
        kind: str | Sequence[str] = "score",
        *,
        threads: int | None = None,
        on_error: str = "raise",
    ) -> Any:
        """Score all rows of `data`, in their order.

        data      a table: of pyarrow (Table, RecordBatch, RecordBatchReader), polars, pandas (2.2 or newer), DuckDB,
                  or any object with the Arrow PyCapsule protocol; a two-dimensional NumPy array with one column per
                  feature, in the order of `Scorer.features`; or a dict, which is one row.
                  Columns are matched by name, in any order, and others are ignored. Their types must be those of the
                  contract: 3 or 3.0 for an int, but not "3". Null and NaN are missing values.
        kind      what to compute, one or several:
                  score           by the contract: probability, margin, value or class, calibrated if it says so
                  value, margin   the library's prediction, and the raw sum of the leaves
                  class, leaf     the predicted class, and the leaf in each tree
                  contributions   what each feature adds to the margin (SHAP values), one column each, and the bias
                  band            the name of the score's band
                  missing         how many features have no value, or a default instead
                  out_of_range    how many are outside of their range, or of an unknown category
                  error           why the row has no score, or null
        threads   at most; by default EVERGREEN_THREADS, or one per processor for large tables
        on_error  what a cell that is not of its feature's type does: "raise" a ValueError with row (from 0), column and
                  what was expected and found, or make the row's outputs "null"

        A row that the contract rejects has null outputs: one without a required value, or of which too little is known
        (`min_known`).

        Returns the same kind of table as `data`, with the outputs as columns: float32 if the model computes in 32 bits
        and the score is not calibrated, else float64. A NumPy array gives an array, or a dict of arrays for several
        kinds; a dict gives a dict. Other tables, such as a relation of DuckDB, give an object with the Arrow PyCapsule
        protocol: `pyarrow.table(scores)`, `polars.DataFrame(scores)`.
        """
        kinds = [kind] if isinstance(kind, str) else list(kind)
        if threads is not None and threads < 1:
            raise ValueError(f"threads: expected 1 or more, found {threads}")
        try:
            skip = ON_ERROR[on_error]
        except KeyError:
            raise ValueError(f'on_error: expected "raise" or "null", found {on_error!r}') from None
        if type(data) is dict:
            return self._engine.score_row(data, kinds, skip).row(0)
        library = type(data).__module__.partition(".")[0]
        if library == "numpy":
            return self._score_array(data, kinds, threads, skip)
        if library == "pandas":
            return self._score_frame(data, kinds, threads, skip)
        if library == "polars":
            data = self._known_to_arrow(data)
        scores = self._engine.score_table(data, kinds, threads, skip)
        convert = _RESULTS.get(library)
        return convert(data, scores) if convert else scores

    def _score_frame(self, data: Any, kinds: list[str], threads: int | None, skip: bool) -> Any:
        """Score a frame of pandas. Its own conversion to Arrow takes longer than small tables take to score."""
        import pandas as pd

        columns = data.columns
        if (
            self._plain is not None
            and list(columns) == self._plain
            # Not the nullable types, whose arrays are of objects.
            and all(getattr(dtype, "char", "") in ("f", "d") for dtype in data.dtypes)
        ):
            scores = self._score_floats(_floats(data.to_numpy()), kinds, threads, skip)
        elif columns.is_unique:
            import pyarrow as pa

            names = [name for name in self.columns if name in columns]
            table = pa.table({name: _arrow(data[name], name) for name in names})
            if not names:
                table = pa.table({str(name): pa.nulls(len(data)) for name in columns})
            scores = self._engine.score_table(table, kinds, threads, skip)
        else:
            scores = self._engine.score_table(data, kinds, threads, skip)
        # Texts are lists, whose type pandas would guess: another one without rows.
        outputs = {
            name: pd.Series(values, data.index, dtype=object) if isinstance(values, list) else values
            for name, values in scores.numpy().items()
        }
        return pd.DataFrame(outputs, index=data.index)

    def _known_to_arrow(self, data: Any) -> Any:
        """Return a frame of polars with the columns that it may read, in types that others than polars know."""
        import polars as pl

        if not isinstance(data, pl.DataFrame):
            return data
        # Most frames have no such column, and need no work.
        odd = [type for type in data.dtypes if type in (pl.Null, pl.Int128) or type.is_nested()]
        names = [name for name in self.columns if odd and name in data.columns]
        if not names:
            return data
        types = {feature.column: feature.type for feature in self.features}
        of_nulls = {"category": pl.String, "bool": pl.Boolean, "timestamp": pl.Datetime}
        data = data.select(names)
        return data.with_columns(
            pl.col(name).cast(of_nulls.get(types.get(name, ""), pl.Float64))
            for name, type in data.schema.items()
            if type == pl.Null
        )

    def _score_floats(self, data: Any, kinds: list[str], threads: int | None, skip: bool) -> Scores:
        score = self._engine.score_matrix32 if data.dtype.itemsize == 4 else self._engine.score_matrix64
        return score(data, kinds, threads, skip)

    def _score_array(self, data: Any, kinds: list[str], threads: int | None, skip: bool) -> Any:
        columns = self._score_floats(_floats(data), kinds, threads, skip).numpy()
        if len(columns) == 1:
            return next(iter(columns.values()))
        if len(kinds) == 1:
            return sys.modules["numpy"].column_stack(list(columns.values()))
        return columns

    def schema(self, kind: str | Sequence[str] = "score") -> Scores:
        """Return an empty result, for its types: `pyarrow.schema(scorer.schema(["score", "band"]))`."""
        kinds = [kind] if isinstance(kind, str) else list(kind)
        return self._engine.empty(kinds)

    @property
    def path(self) -> str:
        """The folder of the bundle, or the model file; of a model in a store, its URI."""
        return self._about["path"]

    @property
    def name(self) -> str:
        """The model's name, from its path."""
        return self._about["name"]

    @property
    def version(self) -> int:
        """The version, from its path; 0 if that has none."""
        return self._about["version"]

    @property
    def sha256(self) -> str:
        """The SHA-256 of the model file, as in the answers of a server."""
        return self._about["sha256"]

    @property
    def bundle_sha256(self) -> str:
        """The SHA-256 of `bundle.toml`, and so of the whole bundle; of the model file if there is no contract."""
        return self._about["bundle_sha256"]

    @property
    def library(self) -> str:
        """The library that trained the model: xgboost, lightgbm, catboost or gbdt."""
        return self._about["library"]

    @property
    def objective(self) -> str:
        """The objective, as the library names it."""
        return self._about["objective"]

    @property
    def trees(self) -> int:
        """The number of trees."""
        return self._about["trees"]

    @property
    def output(self) -> str | None:
        """What the score is: probability, margin, value or class; None without a contract."""
        return self._about["output"]

    @property
    def calibrated(self) -> bool:
        """Whether the contract calibrates the score."""
        return self._about["calibrated"]

    @property
    def entity(self) -> str | None:
        """What a row describes, such as customer_id; None without a contract."""
        return self._about["entity"]

    @property
    def bands(self) -> tuple[Band, ...]:
        """The bands of the score, ascending."""
        return tuple(Band(name, start) for name, start in self._about["bands"])

    @property
    def features(self) -> tuple[Feature, ...]:
        """The inputs, in the model's order."""
        import json

        return tuple(
            Feature(
                **{
                    **feature,
                    "categories": tuple(feature["categories"]),
                    "default": None if feature["default"] is None else json.loads(feature["default"]),
                }
            )
            for feature in self._about["features"]
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns that it may read: of features, of what derived ones are made of, and `as_of`."""
        return tuple(dict.fromkeys(self._about["columns"]))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of output that the model has."""
        return tuple(self._about["kinds"])

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        # Without the trusted keys: the sum is of the contract whose signature was checked, and that has all other sums.
        return type(self).load, (self.path, self.bundle_sha256)

    def __repr__(self) -> str:
        return f"Scorer({shown(self.path)!r}, sha256={self.sha256[:12]}…)"


def _compiled() -> type[Engine]:
    try:
        from evergreen_serving._engine import Engine
    except ImportError as error:
        raise ImportError(
            f"the compiled part of evergreen_serving is missing ({error}): install the wheel with `pip install "
            "evergreen-serving`; save_bundle works without it"
        ) from error
    return Engine


def _keys(trusted_keys: TrustedKeys | None) -> list[str]:
    """Return the keys as texts; none means that no signature is needed."""
    if trusted_keys is None:
        return []
    if isinstance(trusted_keys, (str, os.PathLike)):
        trusted_keys = [trusted_keys]
    keys = [os.fspath(key) for key in trusted_keys]
    # An empty list, such as of a setting that was forgotten, must not mean that everything is trusted.
    if not keys:
        raise ValueError(
            'trusted_keys: expected at least one key such as "ed25519:1f…", found none; leave it out if bundles need '
            "no signature"
        )
    return keys


def _floats(data: Any) -> Any:
    """Return an array as floats without gaps, as it is if it can be."""
    np = sys.modules["numpy"]
    if not isinstance(data, np.ndarray) or data.ndim != 2:
        found = f"{data.ndim} dimensions" if isinstance(data, np.ndarray) else type(data).__name__
        raise ValueError(f"expected a NumPy array of two dimensions, rows and features, found {found}")
    if data.dtype.kind not in "fiub":
        raise ValueError(f"expected an array of numbers, found {data.dtype}; pass a table with named columns")
    masked = isinstance(data, np.ma.MaskedArray)
    present = data.compressed() if masked else data
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8 and present.size:
        most = max(int(present.max()), -int(present.min()))
        if most > EXACT:
            raise ValueError(f"{most} is beyond ±2^53, where whole numbers are no longer exact")
    if masked:
        # What is masked is missing, whatever lies below.
        data = data.astype(data.dtype if data.dtype.kind == "f" else np.float64).filled(np.nan)
    keeps = data.dtype in (np.float32, np.float64)
    if keeps and data.flags.f_contiguous:
        return data
    return np.ascontiguousarray(data, dtype=data.dtype if keeps else np.float64)


def _arrow(column: Any, name: str) -> Any:
    """Return a column of pandas for Arrow; numbers stay where they are, and NaN stays NaN."""
    import pandas as pd
    import pyarrow as pa

    if isinstance(column.dtype, pd.SparseDtype):
        column = column.sparse.to_dense()
    numpy_type = getattr(column.dtype, "kind", "") in "fiub" and type(column.dtype).__module__.startswith(
        "numpy"
    )
    if numpy_type:
        values = column.to_numpy()
        return pa.array(values.astype(values.dtype.newbyteorder("="), copy=False))
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"{_mixed(column, name)} ({error})") from None


# How a message calls values.
_KINDS = {str: "text"}


def _mixed(column: Any, name: str) -> str:
    """Return what is wrong with a column of objects that are of several types."""
    import pandas as pd

    first = ""
    for row, cell in enumerate(column):
        if pd.api.types.is_scalar(cell) and pd.isna(cell):
            continue
        kind = "number" if pd.api.types.is_number(cell) else _KINDS.get(type(cell), type(cell).__name__)
        first = first or kind
        if kind != first:
            return f"row {row}, column `{name}`: expected a {first} as in the rows before, found {cell!r:.60}"
    return f"column `{name}`: expected values of one type"


def _pyarrow(data: Any, scores: Scores) -> Any:
    import pyarrow as pa

    return pa.record_batch(scores) if isinstance(data, pa.RecordBatch) else pa.table(scores)


def _polars(data: Any, scores: Scores) -> Any:
    import polars as pl

    return pl.DataFrame(scores)


_RESULTS = {"pyarrow": _pyarrow, "polars": _polars}
