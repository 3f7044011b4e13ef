"""Score a DataFrame of Spark with the engine, the contract and the bits of the server.

    from evergreen_serving import spark

    scored = spark.score(customers, "models/churn/4", id="customer_id", outputs=["score", "band"])
    scored.write.parquet("s3a://lake/scores/2026-11-29")

Rows pass through `DataFrame.mapInArrow`: one call of the engine for each Arrow batch, never pandas, so that null and
NaN stay what they are and rows keep their order. It works with PySpark 3.5 and newer, also over Spark Connect and in
structured streaming. `evergreen-serving` must be installed where the executors run.

    scored = spark.score_files(session, "s3://lake/customers", "models/churn/4", id="customer_id")

Here the workers read Parquet files themselves: the features never pass through the Java virtual machine, and only ids
and outputs do.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tarfile
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from evergreen_serving.location import is_uri
from evergreen_serving.parquet import Part, dataset, parts
from evergreen_serving.scorer import Feature, Scorer, TrustedKeys

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["column", "score", "score_files"]

Model = str | os.PathLike[str] | Scorer
Models = Model | Mapping[str, Model]

# The types of features that are numbers.
NUMBERS = {"float": pa.float64(), "int": pa.int64()}

# Models that a Python worker keeps; a job has few, and workers live for several jobs.
MOST_LOADED = 8

_loaded: OrderedDict[str, Scorer] = OrderedDict()


@dataclass(frozen=True)
class _Source:
    """Where a worker finds a model. This is all that is sent with a task."""

    uri: str
    """A URI, or the name of a file that Spark brings to the workers."""
    sha256: str
    """The SHA-256 of the bundle, which is checked when the model is loaded."""
    sent: bool
    """Whether Spark brings it."""

    def scorer(self) -> Scorer:
        """Return the model, which each worker process loads once."""
        if self.sha256 in _loaded:
            _loaded.move_to_end(self.sha256)
            return _loaded[self.sha256]
        if self.sent:
            from pyspark import SparkFiles

            with _unpacked(Path(SparkFiles.get(self.uri))) as path:
                scorer = Scorer.load(path, self.sha256)
        else:
            scorer = Scorer.load(self.uri, self.sha256)
        _loaded[self.sha256] = scorer
        if len(_loaded) > MOST_LOADED:
            _loaded.popitem(last=False)
        return scorer


@dataclass(frozen=True)
class _Outputs:
    """The outputs of one model, as columns."""

    source: _Source
    kinds: tuple[str, ...]
    widths: tuple[int, ...]
    """How many columns of the engine each kind is; several become one struct."""
    names: tuple[str, ...]
    on_error: str

    def arrays(self, batch: pa.RecordBatch) -> list[pa.Array]:
        scores = self.source.scorer().score(batch, list(self.kinds), threads=1, on_error=self.on_error)
        columns, out = iter(zip(scores.schema.names, scores.columns)), []
        for width in self.widths:
            own = [next(columns) for _ in range(width)]
            out.append(_one([name for name, _ in own], [array for _, array in own]))
        return out


def score(
    df: DataFrame,
    bundle: Models,
    *,
    id: str | Sequence[str] | None = None,
    outputs: str | Sequence[str] = "score",
    on_error: str = "raise",
    trusted_keys: TrustedKeys | None = None,
) -> DataFrame:
    """Return a DataFrame with the scores of all rows of `df`, in their order within each partition.

    df            columns are matched with the contract by name, in any order. Their types must be those of the
                  contract; a text for a number, for example, is refused before the job begins: cast it
    bundle        a path on the driver, which Spark sends to the workers; a URI that every worker can read (`file:///…`
                  on a shared file system, `s3://…`, `gs://…`, `hdfs://…`, by pyarrow); or a loaded `Scorer`. A mapping
                  from names to models scores with all of them in one pass over the data
    id            the columns of `df` to keep, such as "customer_id"; None keeps all
    outputs       what to compute, as in `Scorer.score`: score, value, margin, class, leaf, contributions, band,
                  missing, out_of_range, error. Outputs of several numbers are structs, such as
                  contributions.<feature>. With several models the columns are <name>_<output>
    on_error      what a cell that is not of its feature's type does: "raise" fails the job with the row, the column,
                  and what was expected and found; "null" makes the outputs of the row null
    trusted_keys  the keys of which one must have signed each bundle, as in `Scorer.load`

    The score is a float if the model computes in 32 bits, else a double. Each Python worker loads a model once, checks
    its SHA-256, and scores with one thread, as Spark runs one task for each core.
    """
    models = _Models(df.sparkSession, bundle, outputs, on_error, trusted_keys)
    if models.sent and _over_connect(df.sparkSession) and df.isStreaming:
        raise ValueError(
            f"bundle: {models.sent} is a path on the driver, and Spark Connect brings no files to the workers of a "
            "stream: expected a URI that every worker can read, such as file:///… or s3://…"
        )
    kept = _kept(id, df.columns)
    columns = models.read(kept, df.columns)
    df = df.select(*[_quoted(name) for name in columns])
    work, schema = models.plan(kept, _to_arrow(df.schema))
    # mapInArrow does not find columns whose names have a dot.
    df = df.toDF(*[f"c{number}" for number in range(len(columns))])
    return df.mapInArrow(work, _from_arrow(schema))


def score_files(
    spark: SparkSession,
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    bundle: Models,
    *,
    id: str | Sequence[str] | None = None,
    outputs: str | Sequence[str] = "score",
    on_error: str = "raise",
    trusted_keys: TrustedKeys | None = None,
    rows_per_task: int = 500_000,
    success_file: bool = True,
) -> DataFrame:
    """Return a DataFrame with the scores of all rows of Parquet files, in the order of files and rows.

    The files that are there now are scored, each by the worker that reads it. All must have the columns that are read.
    What workers cannot read this way, such as Delta tables and those of a catalogue, `score` takes as a DataFrame.

    spark          the session
    paths          a file or a folder, or several: local paths that all workers have, or URIs that pyarrow reads
                   (`s3://…`, `gs://…`, `hdfs://…`). Folders named `key=value` are columns; hidden files and those whose
                   names begin with `_` are left out. The rules for columns and their types are those of `score`
    id             the columns to keep, such as "customer_id"; None keeps all, which takes longer
    rows_per_task  a task reads whole row groups of one file, until it has as many rows
    success_file   refuse a folder with part files of Spark or Hadoop that has no `_SUCCESS`: its job is still running

    All others are as in `score`.
    """
    if rows_per_task < 1:
        raise ValueError(f"rows_per_task: expected 1 or more, found {rows_per_task}")
    models = _Models(spark, bundle, outputs, on_error, trusted_keys)
    files = dataset(paths, success_file, models.numbers)
    kept = _kept(id, files.schema.names)
    columns = models.read(kept, files.schema.names)
    work, schema = models.plan(kept, pa.schema([files.schema.field(name) for name in columns]))
    given = pa.schema([field.with_type(_of_spark(field)) for field in schema])
    divided = parts(files, rows_per_task, [*kept, *models.names])
    # One number for each partition, so that partitions are the parts in their order.
    numbers = spark.range(0, len(divided), 1, max(len(divided), 1))
    reading = _Reading(tuple(divided), tuple(columns), work, given)
    return numbers.mapInArrow(reading, _from_arrow(given))


def _to_arrow(schema: Any) -> pa.Schema:
    """Return a schema of Spark as one of Arrow. From PySpark 4.3 on, it must be told a time zone for timestamps."""
    from pyspark.sql.pandas.types import to_arrow_schema

    zone = {"timezone": "UTC"} if "timezone" in signature(to_arrow_schema).parameters else {}
    return to_arrow_schema(schema, **zone)


def _from_arrow(schema: pa.Schema) -> Any:
    """Return a schema of Arrow as one of Spark. A timestamp without a zone stays one, also before PySpark 4."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema, prefer_timestamp_ntz=True)


def _of_spark(field: pa.Field) -> pa.DataType:
    """Return the type in which Spark takes a column: of texts it has one kind only, say, and no dictionaries."""
    try:
        return _to_arrow(_from_arrow(pa.schema([field]))).field(0).type
    except TypeError:
        raise ValueError(
            f"id: column {field.name!r} is {field.type}, a type that Spark does not have: cast it to int64 or string "
            "in the files, or leave it out of id"
        ) from None


class _Models:
    """The models of a call, loaded on the driver."""

    def __init__(
        self,
        spark: SparkSession,
        bundle: Models,
        outputs: str | Sequence[str],
        on_error: str,
        trusted_keys: TrustedKeys | None,
    ) -> None:
        self.kinds = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        self.on_error = on_error
        self.several = isinstance(bundle, Mapping)
        named: Mapping[str, Model] = bundle if isinstance(bundle, Mapping) else {"": bundle}
        self.models = {name: _prepared(spark, of, trusted_keys) for name, of in named.items()}
        if not self.models or not self.kinds:
            raise ValueError("expected at least one model and one output, found none")
        known = (name for _, scorer in self.models.values() for name in scorer.columns)
        self.names = tuple(dict.fromkeys(known))
        """The columns that the models know."""
        self.numbers = {
            feature.column: NUMBERS[feature.type]
            for _, scorer in self.models.values()
            for feature in scorer.features
            if feature.type in NUMBERS
        }
        """The types of the columns that must be numbers."""
        self.sent = next((scorer.path for source, scorer in self.models.values() if source.sent), None)
        """The path of a bundle that Spark brings to the workers, if there is one."""

    def read(self, kept: Sequence[str], columns: Sequence[str]) -> list[str]:
        """Return which columns must be read: those to keep, and those of the models."""
        return list(dict.fromkeys([*kept, *(name for name in columns if name in self.names)]))

    def plan(self, kept: Sequence[str], given: pa.Schema) -> tuple[_Pass, pa.Schema]:
        """Return what a task does with rows of a schema, and the schema of its output.

        Raises ValueError if a model does not take the types of the columns.
        """
        fields = [given.field(name) for name in kept]
        work = []
        for name, (source, scorer) in self.models.items():
            # Of an unknown output the engine says what there is.
            columns = [list(pa.schema(scorer.schema(kind))) for kind in self.kinds]
            try:
                # Of kept columns nothing is asked, and a made-up row of them may not exist.
                read = pa.schema(
                    [field.with_nullable(True) for field in given if field.name in scorer.columns]
                )
                # Without a contract an unknown category is an error, and which ones are known is not always told.
                probe = _probe(scorer, read) if scorer.output else read.empty_table()
                scorer.score(probe, list(self.kinds))
            except ValueError as error:
                types = ", ".join(f"{field.name} {field.type}" for field in given)
                raise ValueError(f"{error} (a made-up row of the types of these columns: {types})") from None
            for kind, own in zip(self.kinds, columns):
                type = (
                    own[0].type if len(own) == 1 else pa.struct([(field.name, field.type) for field in own])
                )
                fields.append(pa.field(f"{name}_{kind}" if self.several else kind, type))
            names = tuple(field.name for field in fields[-len(self.kinds) :])
            work.append(_Outputs(source, self.kinds, tuple(map(len, columns)), names, self.on_error))
        schema = pa.schema(fields)
        twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
        if twice:
            raise ValueError(
                f"{twice[0]!r} is both a kept column and an output: rename the column, or leave it out of id"
            )
        return _Pass(tuple(given.names), tuple(kept), tuple(work)), schema


def _kept(id: str | Sequence[str] | None, columns: Sequence[str]) -> list[str]:
    """Return the columns to keep."""
    kept = list(columns) if id is None else [id] if isinstance(id, str) else list(id)
    unknown = [name for name in kept if name not in columns]
    if unknown:
        raise ValueError(f"id: {unknown[0]!r} is not a column; the columns are {', '.join(columns)}")
    return kept


@dataclass(frozen=True)
class _Pass:
    """What a task does: Arrow batches in, the kept columns with the outputs out."""

    given: tuple[str, ...]
    """The columns of the batches."""
    kept: tuple[str, ...]
    work: tuple[_Outputs, ...]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(batches):
            batch = pa.RecordBatch.from_arrays(batch.columns, names=list(self.given))
            yield self.scored(batch, f"{_place()}batch {number} of {batch.num_rows} rows")

    def scored(self, batch: pa.RecordBatch, place: str) -> pa.RecordBatch:
        arrays = [batch.column(name) for name in self.kept]
        names = list(self.kept)
        for outputs in self.work:
            try:
                arrays += outputs.arrays(batch)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
            names += outputs.names
        return pa.RecordBatch.from_arrays(arrays, names=names)


@dataclass(frozen=True)
class _Reading:
    """What a task does with files: numbers of parts in, the kept columns with the outputs out."""

    parts: tuple[Part, ...]
    columns: tuple[str, ...]
    work: _Pass
    schema: pa.Schema

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                part = self.parts[number]
                first = 0
                for rows in part.batches(self.columns):
                    place = f"{part.place}, rows from {first} on"
                    scored = self.work.scored(rows, place)
                    arrays = [array.cast(field.type) for array, field in zip(scored.columns, self.schema)]
                    yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)
                    first += rows.num_rows


def column(
    spark: SparkSession,
    bundle: str | os.PathLike[str] | Scorer,
    output: str = "score",
    *,
    trusted_keys: TrustedKeys | None = None,
) -> Any:
    """Return a function of columns, for one output; bundle and keys as in `score`.

        f = column(spark, "models/churn/4")
        df.withColumn("score", f(F.struct("*")))

    It takes one struct with the columns of the contract. Needs PySpark 4.1 (`arrow_udf`); with older versions use
    `score`.
    """
    try:
        from pyspark.sql.functions import arrow_udf
    except ImportError:
        import pyspark

        raise NotImplementedError(
            f"column needs PySpark 4.1 or newer (arrow_udf), found {pyspark.__version__}: "
            "use evergreen_serving.spark.score"
        ) from None
    from pyspark.sql.pandas.types import from_arrow_type

    source, scorer = _prepared(spark, bundle, trusted_keys)
    fields = list(pa.schema(scorer.schema(output)))
    type = fields[0].type if len(fields) == 1 else pa.struct([(field.name, field.type) for field in fields])
    outputs = _Outputs(source, (output,), (len(fields),), (output,), "raise")

    def scores(rows: Iterator[pa.Array]) -> Iterator[pa.Array]:
        for structs in rows:
            yield outputs.arrays(pa.RecordBatch.from_struct_array(structs))[0]

    scores.__annotations__ = {"rows": Iterator[pa.Array], "return": Iterator[pa.Array]}
    return arrow_udf(scores, returnType=from_arrow_type(type))


def _probe(scorer: Scorer, schema: pa.Schema) -> pa.Table:
    """Return a row with a value of each column's type: what does not fit is then known before the job begins."""
    types = {name: feature for feature in scorer.features for name in (feature.column, feature.name)}
    return pa.Table.from_arrays(
        [_value(field.type, types.get(field.name)) for field in schema], schema=schema
    )


def _value(type: pa.DataType, feature: Feature | None) -> pa.Array:
    """Return one value of a type of Arrow: of texts one that a feature takes if it takes texts at all."""
    text = {"bool": "true", "timestamp": "2026-01-01"}.get(feature.type if feature else "", "1")
    for value in (text, "1", "2026-01-01", "2026-01-01T00:00:00Z"):
        try:
            return pa.array([value]).cast(type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    # A list, say: the engine refuses it by its type, if the model reads it.
    return pa.nulls(1, type)


def _one(names: list[str], arrays: list[pa.Array]) -> pa.Array:
    return arrays[0] if len(arrays) == 1 else pa.StructArray.from_arrays(arrays, names=names)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _place() -> str:
    from pyspark import TaskContext

    task = TaskContext.get()
    return f"partition {task.partitionId()}, " if task else ""


def _prepared(
    spark: SparkSession, bundle: str | os.PathLike[str] | Scorer, trusted_keys: TrustedKeys | None
) -> tuple[_Source, Scorer]:
    """Load a model on the driver, and say where workers find it.

    Only the driver checks the signature: the SHA-256 that it sends is of the contract that was signed.
    """
    path = bundle.path if isinstance(bundle, Scorer) else os.fspath(bundle)
    if not isinstance(bundle, Scorer):
        bundle = Scorer.load(path, trusted_keys=trusted_keys)
    elif trusted_keys is not None:
        # It may have been loaded without them.
        bundle = Scorer.load(path, bundle.bundle_sha256, trusted_keys=trusted_keys)
    if not is_uri(path):
        return _Source(_send(spark, bundle), bundle.bundle_sha256, sent=True), bundle
    # With the version, in case another one comes into use before a worker reads it.
    uri = bundle.path if is_uri(bundle.path) else Path(bundle.path).as_uri()
    return _Source(uri, bundle.bundle_sha256, sent=False), bundle


# The archives that were made, by the SHA-256 of the bundle, and the sessions that have them.
_archives: dict[str, Path] = {}
_sent: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


def _over_connect(spark: SparkSession) -> bool:
    return type(spark).__module__.startswith("pyspark.sql.connect")


def _send(spark: SparkSession, scorer: Scorer) -> str:
    """Let Spark bring a bundle to the workers, once for each session; return the name of the file."""
    sha256 = scorer.bundle_sha256
    if sha256 not in _archives or not _archives[sha256].exists():
        _archives[sha256] = _packed(Path(scorer.path), sha256)
    archive = _archives[sha256]
    connect = _over_connect(spark)
    session = spark if connect else spark.sparkContext
    known = _sent.setdefault(session, set())
    if sha256 not in known:
        if connect:
            spark.addArtifact(str(archive), file=True)
        else:
            session.addFile(str(archive))
        known.add(sha256)
    return archive.name


def _packed(path: Path, sha256: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="evergreen-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Not `.tar`, which Spark would unpack itself.
    archive = folder / f"evergreen-{sha256}.bundle"
    path = path.resolve()
    with tarfile.open(archive, "w") as tar:
        # With the model's name and version, which are the last parts of the path.
        tar.add(path, arcname="/".join(path.parts[-2:]))
    return archive


class _unpacked:
    """The path of the bundle of an archive, for the length of a block: a loaded model needs no files."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive

    def __enter__(self) -> Path:
        self.folder = tempfile.TemporaryDirectory(prefix="evergreen-")
        with tarfile.open(self.archive) as tar:
            first = tar.getnames()[0]
            tar.extractall(self.folder.name, filter="data")
        return Path(self.folder.name) / first

    def __exit__(self, *_: object) -> None:
        self.folder.cleanup()
