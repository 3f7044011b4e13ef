"""Which Parquet files `spark.score_files` takes, and how it divides them; `test_spark.py` scores them."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen_serving.parquet import dataset, parts

JOB_FILE = "part-00000-1f.snappy.parquet"


def write(path, **columns):
    """Writes a file with row groups of two rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns or {"id": [1, 2, 3], "calls": [4, 5, 6]}), path, row_group_size=2)
    return path


def rows(divided, columns=("id", "calls")):
    """Returns the rows of each part."""
    tables = [pa.Table.from_batches(part.batches(columns)) for part in divided]
    return [list(zip(*(table[name].to_pylist() for name in columns))) for table in tables]


def test_parts_are_whole_row_groups_in_order(tmp_path):
    write(tmp_path / "lake/day=1/a.parquet")
    write(tmp_path / "lake/day=2/a.parquet")
    read = ("id", "day")
    files = dataset(tmp_path / "lake")
    days = [[(1, "1"), (2, "1")], [(3, "1")], [(1, "2"), (2, "2")], [(3, "2")]]
    assert rows(parts(files, 1, read), read) == days
    divided = parts(files, 3, read)
    assert [len(part) for part in rows(divided, read)] == [3, 3]
    assert divided[1].place.endswith("day=2/a.parquet, row group 0, 1")


def test_a_running_job_is_refused_until_it_has_written_success(tmp_path):
    file = write(tmp_path / "job" / JOB_FILE)
    with pytest.raises(ValueError, match=r"job: the folder has part files but no _SUCCESS: .*still running"):
        dataset(tmp_path / "job")
    with pytest.raises(ValueError, match="no _SUCCESS"):
        dataset((tmp_path / "job").as_uri())
    assert len(dataset(tmp_path / "job", success_file=False).files) == 1
    assert len(dataset(file).files) == 1
    (tmp_path / "job/_SUCCESS").touch()
    assert len(dataset(tmp_path / "job").files) == 1
    # Files of other writers.
    write(tmp_path / "other/part-0.parquet")
    assert len(dataset(tmp_path / "other").files) == 1


def test_keys_of_folders_are_texts_unless_a_type_is_given(tmp_path):
    for plan, rate in (("007", "1.5"), ("1e3", "2"), ("__HIVE_DEFAULT_PARTITION__", "3")):
        write(tmp_path / f"lake/plan={plan}/rate={rate}/a.parquet", id=[1])
    read = ("plan", "rate")
    found = rows(parts(dataset(tmp_path / "lake", types={"rate": pa.float64()}), 9, read), read)
    assert sorted(found, key=str) == [[("007", 1.5)], [("1e3", 2.0)], [(None, 3.0)]]


def test_other_folders_inside_are_refused(tmp_path):
    write(tmp_path / "lake/day=1/a.parquet")
    write(tmp_path / "lake/day=1/_temporary/a.parquet")
    assert len(dataset(tmp_path / "lake").files) == 1
    write(tmp_path / "lake/day=1/old/a.parquet")
    with pytest.raises(ValueError, match=r"lake: the folder 'old' inside is no partition such as day="):
        dataset(tmp_path / "lake")


@pytest.mark.parametrize("log", [".hoodie/hoodie.properties", "metadata/v1.metadata.json"])
def test_other_tables_with_a_log_are_refused(tmp_path, log):
    write(tmp_path / "table/a.parquet")
    (tmp_path / "table" / log).parent.mkdir()
    (tmp_path / "table" / log).write_text("{}")
    with pytest.raises(ValueError, match=r"table: a table of (Hudi|Iceberg): its log says"):
        dataset(tmp_path / "table")


def test_paths_are_absolute_for_workers_that_run_elsewhere(tmp_path, monkeypatch):
    write(tmp_path / "lake/a.parquet")
    monkeypatch.chdir(tmp_path)
    assert dataset("lake").files == [str(tmp_path / "lake/a.parquet")]


@pytest.mark.parametrize("success_file", [True, False])
def test_a_delta_table_is_refused(tmp_path, success_file):
    table = tmp_path / "table"
    write(table / JOB_FILE)
    (table / "_delta_log").mkdir()
    (table / "_delta_log/00000000000000000000.json").write_text("{}")
    for paths in (table, table.as_uri(), [write(tmp_path / "rows.parquet"), table]):
        with pytest.raises(ValueError, match=r"table: a table of Delta: its log says .* use spark\.score"):
            dataset(paths, success_file)
    (table / JOB_FILE).unlink()
    with pytest.raises(ValueError, match="a table of Delta"):
        dataset(table, success_file)


@pytest.mark.parametrize(
    "second, message",
    [
        (
            {"id": [7], "Calls": [8]},
            r"b\.parquet: has no column 'calls', which the first file has; .* id, Calls",
        ),
        (
            {"ID": [7], "calls": [8]},
            r"b\.parquet: has no column 'id', which the first file has; .* ID, calls",
        ),
        (
            {"id": [7], "calls": [8], "plan": ["a"]},
            r"b\.parquet: has column 'plan', which the first file has not",
        ),
    ],
)
def test_all_files_must_have_the_columns_that_are_read(tmp_path, second, message):
    write(tmp_path / "lake/day=1/a.parquet")
    write(tmp_path / "lake/day=2/b.parquet", **second)
    files = dataset(tmp_path / "lake")
    with pytest.raises(ValueError, match=message):
        parts(files, 10, ["id", "day", "calls", "plan"])
    # Of several paths likewise; their columns must be the same already.
    write(tmp_path / "more/day=3/c.parquet")
    with pytest.raises(ValueError, match=message):
        parts(dataset([tmp_path / "lake", tmp_path / "more"]), 10, ["id", "day", "calls", "plan"])


@pytest.mark.parametrize(
    "first, second",
    [
        # A cast would round, read "0042" as a number, or make texts of numbers.
        (pa.array([0.1], pa.float32()), pa.array([0.1], pa.float64())),
        (pa.array([42]), pa.array(["0042"])),
        (pa.array(["42"]), pa.array([42])),
        (pa.array([1.5]), pa.array([2])),
        (pa.array([1]), pa.array([True])),
    ],
)
def test_columns_that_are_read_must_have_types_that_keep_their_values(tmp_path, first, second):
    write(tmp_path / "lake/a.parquet", id=[1], calls=first)
    write(tmp_path / "lake/b.parquet", id=[2], calls=second)
    pattern = rf"b\.parquet: column 'calls' is {second.type}, and {first.type} in the first file: cast"
    with pytest.raises(ValueError, match=pattern):
        parts(dataset(tmp_path / "lake"), 10, ["id", "calls"])
    assert len(parts(dataset(tmp_path / "lake"), 10, ["id"])) == 2


@pytest.mark.parametrize(
    "first, second",
    [
        (pa.array([7]), pa.array([7], pa.int32())),
        (pa.array([0.1]), pa.array([0.1], pa.float32())),
        (pa.array(["a"]), pa.array(["a"]).dictionary_encode()),
        (pa.array(["a"]), pa.array([None], pa.null())),
        (pa.array([7], pa.int8()), pa.array([7])),
    ],
)
def test_types_that_keep_their_values_are_taken(tmp_path, first, second):
    write(tmp_path / "lake/a.parquet", id=[1], calls=first)
    write(tmp_path / "lake/b.parquet", id=[2], calls=second)
    read = rows(parts(dataset(tmp_path / "lake"), 10, ["id", "calls"]))
    assert read == [[(1, first[0].as_py())], [(2, second[0].as_py())]]


def test_columns_that_are_not_read_may_differ_and_their_order_too(tmp_path):
    write(tmp_path / "lake/a.parquet", id=[1], calls=[2], note=["x"])
    write(tmp_path / "lake/b.parquet", calls=[4], Note=["y"], id=[3])
    divided = parts(dataset(tmp_path / "lake"), 10, ["id", "calls", "unknown"])
    assert rows(divided) == [[(1, 2)], [(3, 4)]]


def test_a_file_that_is_found_twice_is_refused(tmp_path, monkeypatch):
    lake = tmp_path / "lake"
    file = write(lake / "a.parquet")
    other = write(tmp_path / "other/a.parquet")
    monkeypatch.chdir(tmp_path)
    for paths in (
        [lake, lake],
        [lake, file],
        [file, lake],
        [other, lake, f"{tmp_path}/other/../lake"],
        ["lake", lake.as_uri()],
    ):
        with pytest.raises(ValueError, match=r"a\.parquet is found twice"):
            dataset(paths)
    assert len(parts(dataset([lake, other]), 10)) == 2
    (lake / "latest.parquet").symlink_to(file)
    with pytest.raises(ValueError, match=r"latest\.parquet is found twice"):
        dataset(lake)


def test_paths_without_files_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=re.escape(f"{tmp_path / 'empty'}: no Parquet files there")):
        dataset(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="nowhere: no such file or folder"):
        dataset(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="expected at least one Parquet file or folder"):
        dataset([])
    (tmp_path / "text").write_text("not Parquet")
    with pytest.raises(ValueError, match="text: not Parquet"):
        dataset(tmp_path / "text")
