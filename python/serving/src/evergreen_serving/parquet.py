"""Parquet files as parts that workers read themselves: some row groups of one file each."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from evergreen_serving.location import is_uri, shown

__all__ = ["Part", "dataset", "parts"]

# Rows that are read and scored at once.
BATCH_ROWS = 65_536

# How Spark and Hadoop name the files of a job. Other writers (`part-0.parquet`) write no `_SUCCESS`.
OF_A_JOB = re.compile(r"part-([rm]-)?\d{5}")


@dataclass(frozen=True)
class Part:
    """Row groups of one file, in their order."""

    fragment: Any
    """A `ParquetFileFragment`; pickled it is a path, a file system, the row groups and the values of partitions."""
    schema: pa.Schema
    """The schema of all files, with the columns of partitions."""

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        groups = ", ".join(str(group.id) for group in self.fragment.row_groups)
        return f"{self.fragment.path}, row group {groups}"

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read the rows in their order."""
        yield from self.fragment.to_batches(
            schema=self.schema, columns=list(columns), batch_size=BATCH_ROWS, use_threads=False
        )


def dataset(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    success_file: bool = True,
    types: Mapping[str, pa.DataType] | None = None,
) -> Any:
    """Find the files of one folder, file or URI, or of several of them; folders named `key=value` are columns.

    `types` has the types of those columns that are not texts.

    Raises FileNotFoundError if there are none, and ValueError if they are not Parquet, differ in their columns, are
    found twice, lie in a folder that is no `key=value`, belong to a table of Delta, Hudi or Iceberg, or, with
    `success_file`, if their Spark job has not ended.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    # Workers have another working directory.
    texts = [os.fspath(path) for path in given]
    named = [path if is_uri(path) else os.path.abspath(path) for path in texts]
    if not named:
        raise FileNotFoundError("expected at least one Parquet file or folder, found none")
    try:
        # Of several paths pyarrow takes files only.
        found = [_of_path(path, types or {}) for path in named]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{', '.join(map(shown, named))}: no such file or folder: {error}; expected Parquet files, such as "
            "s3://lake/customers"
        ) from None
    except pa.ArrowInvalid as error:
        raise ValueError(f"{', '.join(map(shown, named))}: not Parquet: {error}") from None
    for path, other in zip(named[1:], found[1:]):
        if other.schema != found[0].schema:
            raise ValueError(f"{shown(path)}: its columns are not those of {shown(named[0])}")
    for path, of_path in zip(named, found):
        _check_job(path, of_path.files, success_file)
        if not of_path.files:
            raise FileNotFoundError(f"{shown(path)}: no Parquet files there")
    _check_once(named, found)
    return found[0] if len(found) == 1 else ds.dataset(found)


def _of_path(path: str, types: Mapping[str, pa.DataType]) -> Any:
    """Find the files of one path."""
    system, root = fs.FileSystem.from_uri(path) if is_uri(path) else (fs.LocalFileSystem(), path)
    if system.get_file_info(root).type != fs.FileType.Directory:
        return ds.dataset(root, filesystem=system, format="parquet")
    _check_table(path, system, root)
    plain = ds.dataset(root, filesystem=system, format="parquet")
    keys: dict[str, pa.DataType] = {}
    for file in plain.files:
        for folder in posixpath.dirname(posixpath.relpath(file, root)).split("/"):
            key, is_key, _ = folder.partition("=")
            if is_key:
                keys[key] = types.get(key, pa.string())
            elif folder:
                raise ValueError(
                    f"{shown(path)}: the folder {folder!r} inside is no partition such as day=2026-11-29: give each "
                    "folder whose files are rows by itself"
                )
    if not keys:
        return plain
    # With types, as pyarrow would make the number 7 of plan=007.
    partitioning = ds.partitioning(pa.schema(list(keys.items())), flavor="hive")
    return ds.dataset(root, filesystem=system, format="parquet", partitioning=partitioning)


def _exists(system: Any, *path: str) -> bool:
    return system.get_file_info(posixpath.join(*path)).type != fs.FileType.NotFound


def _check_table(path: str, system: Any, root: str) -> None:
    """Refuse a folder that keeps the files of replaced and deleted rows: only its log knows which are valid."""
    for name, folder in {"Delta": "_delta_log", "Hudi": ".hoodie", "Iceberg": "metadata"}.items():
        if not _exists(system, root, folder):
            continue
        if name == "Iceberg":
            inside = system.get_file_info(fs.FileSelector(posixpath.join(root, folder)))
            if not any(file.path.endswith(".metadata.json") for file in inside):
                continue
        raise ValueError(
            f"{shown(path)}: a table of {name}: its log says which files are valid; read it as a DataFrame and use "
            "spark.score"
        )


def _check_job(path: str, files: Sequence[str], success_file: bool) -> None:
    """Refuse a folder whose job has not written `_SUCCESS` yet."""
    system, root = fs.FileSystem.from_uri(path) if is_uri(path) else (fs.LocalFileSystem(), path)
    if not success_file or system.get_file_info(root).type != fs.FileType.Directory:
        return
    of_a_job = any(OF_A_JOB.match(posixpath.basename(file)) for file in files)
    if of_a_job and not _exists(system, root, "_SUCCESS"):
        raise ValueError(
            f"{shown(path)}: the folder has part files but no _SUCCESS: the job that writes it is still running; put "
            "an empty file _SUCCESS into it if it is complete, or pass success_file=False"
        )


def _check_once(named: Sequence[str], found: Sequence[Any]) -> None:
    """Refuse a file that is found twice: its rows would be scored twice."""
    stores: dict[str, list[Any]] = {}
    for path, of_path in zip(named, found):
        store = of_path.filesystem
        for file in of_path.files:
            place = os.path.realpath(file) if isinstance(store, fs.LocalFileSystem) else file
            # Two stores may have a bucket of one name.
            if store in stores.setdefault(place, []):
                raise ValueError(
                    f"{shown(path)}: {file} is found twice: give each file, and each folder that it is in, once"
                )
            stores[place].append(store)


def parts(files: Any, rows: int, columns: Iterable[str] = ()) -> list[Part]:
    """Divide files into parts of about `rows` rows: whole row groups of one file, in the order of files and rows.

    Raises ValueError if only some files have one of `columns`, or with another type: pyarrow knows the columns of the
    first file, takes what another one does not have as null, and casts what has another type.
    """
    names, divided = list(dict.fromkeys(columns)), []
    for fragment in files.get_fragments():
        groups, count = [], 0
        for group in fragment.row_groups:
            groups.append(group.id)
            count += group.num_rows
            if count >= rows:
                divided.append(Part(fragment.subset(row_group_ids=groups), files.schema))
                groups, count = [], 0
        if groups:
            divided.append(Part(fragment.subset(row_group_ids=groups), files.schema))
        _check_columns(fragment, files.schema, names)
    return divided


def _check_columns(fragment: Any, schema: pa.Schema, columns: Sequence[str]) -> None:
    # The columns of partitions stand in the path.
    own = [*fragment.physical_schema.names, *ds.get_partition_keys(fragment.partition_expression)]
    for name in columns:
        if (name in own) != (name in schema.names):
            has, other = ("has", "has not") if name in own else ("has no", "has")
            raise ValueError(
                f"{fragment.path}: {has} column {name!r}, which the first file {other}; "
                f"the columns here are {', '.join(own)}"
            )
        if name in fragment.physical_schema.names:
            found, expected = fragment.physical_schema.field(name).type, schema.field(name).type
            if not _keeps_values(found, expected):
                raise ValueError(
                    f"{fragment.path}: column {name!r} is {found}, and {expected} in the first file: cast it in one "
                    "of them"
                )


def _keeps_values(found: pa.DataType, expected: pa.DataType) -> bool:
    """Return whether pyarrow casts a column without changing its values, or fails."""
    if found == expected or pa.types.is_null(found):
        return True
    if pa.types.is_floating(found) and pa.types.is_floating(expected):
        return found.bit_width < expected.bit_width
    exact = (pa.types.is_integer, pa.types.is_decimal, pa.types.is_timestamp, _is_text)
    return any(of(found) and of(expected) for of in exact)


def _is_text(type: pa.DataType) -> bool:
    if pa.types.is_dictionary(type):
        type = type.value_type
    return pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type)
