//! Tests of tables as their readers see them.

use std::io::Write as _;

use super::*;
use crate::values::cell::Cell;

fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// The numbers of a column, in the order of the rows.
fn numbers(path: &Path, column: &str) -> Vec<Option<f64>> {
    let table = Table::open(path).unwrap();
    let mut batches = table.batches(&["id".to_owned(), column.to_owned()]).unwrap();
    let mut found = Vec::new();
    while let Some(batch) = batches.next_batch().unwrap() {
        let cells = (0..batch.rows).map(|row| batch.columns[1].cell(row));
        found.extend(cells.map(|cell: Cell<'_>| {
            cell.number(crate::values::feature_type::FeatureType::Float)
                .unwrap()
        }));
    }
    found
}

#[test]
fn a_column_of_any_part_is_a_column_and_null_in_the_others() {
    for files in [
        [
            ("part-0.jsonl", "{\"id\": 1}\n"),
            ("part-1.jsonl", "{\"id\": 2, \"x\": 5}\n"),
        ],
        [("part-0.csv", "id\n1\n"), ("part-1.csv", "x,id\n5,2\n")],
    ] {
        let folder = folder_with(&files);
        assert_eq!(numbers(folder.path(), "x"), [None, Some(5.0)], "{files:?}");
    }
}

#[test]
fn a_late_key_of_one_part_is_read_and_an_ambiguous_column_of_one_part_is_an_error() {
    let filler = "{\"id\": 1}\n".repeat(100_001);
    let late = format!("{filler}{{\"id\": 2, \"x\": 7}}\n");
    let folder = folder_with(&[("a.jsonl", "{\"id\": 0, \"x\": 5}\n"), ("b.jsonl", &late)]);
    assert_eq!(numbers(folder.path(), "x").last(), Some(&Some(7.0)));
    let folder = folder_with(&[("a.csv", "id,x,x\n1,2,3\n"), ("b.csv", "id,x\n4,5\n")]);
    let table = Table::open(folder.path()).unwrap();
    let error = table
        .batches(&["x".to_owned()])
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a.csv") && error.contains("occurs twice"),
        "{error}"
    );
    assert!(table.batches(&["id".to_owned()]).is_ok());
}

#[test]
fn a_folder_inside_is_refused_by_name_and_a_marker_is_not() {
    let folder = folder_with(&[("a.csv", "id,x\n1,2\n"), ("_temporary/b.csv", ""), (".crc/c", "")]);
    assert_eq!(numbers(folder.path(), "x"), [Some(2.0)]);
    for (name, part) in [
        (
            "dt=2026-01-02/b.csv",
            "the folder dt=2026-01-02 inside would not be read",
        ),
        ("metadata/b.csv", "the folder metadata inside would not be read"),
        ("_delta_log/0.json", "a Delta table"),
        (".hoodie/hoodie.properties", "an Apache Hudi table"),
        (".hoodie_partition_metadata", "an Apache Hudi table"),
    ] {
        let folder = folder_with(&[("a.csv", "id,x\n1,2\n"), (name, "id,x\n3,4\n")]);
        let error = Table::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        if !name.starts_with("dt=") {
            let error = Table::open_partitioned(folder.path()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
    let iceberg = folder_with(&[("data/a.csv", "id,x\n1,2\n"), ("metadata/v1.metadata.json", "{}")]);
    for opened in [
        Table::open(iceberg.path()),
        Table::open_partitioned(iceberg.path()),
    ] {
        let error = opened.unwrap_err().to_string();
        assert!(error.contains("an Apache Iceberg table"), "{error}");
    }
}

#[test]
fn what_is_no_file_is_refused_by_name_and_so_is_an_empty_parquet_file() {
    let folder = folder_with(&[("a.csv", "id,x\n1,2\n"), ("b.csv", ""), (".c.parquet", "")]);
    assert_eq!(numbers(folder.path(), "x"), [Some(2.0)]);
    let error_with = |name: &str, make: &dyn Fn(&Path)| {
        let path = folder.path().join(name);
        make(&path);
        let error = Table::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        std::fs::remove_file(&path).unwrap();
        error
    };
    let error = error_with("gone.csv", &|path| {
        std::os::unix::fs::symlink("/nowhere/gone.csv", path).unwrap();
    });
    assert!(error.contains("a link to a file that is gone"), "{error}");
    let error = error_with("socket.csv", &|path| {
        std::os::unix::net::UnixListener::bind(path).unwrap();
    });
    assert!(error.contains("a pipe, a socket or a device"), "{error}");
    let error = error_with("d.parquet", &|path| std::fs::write(path, "").unwrap());
    assert!(error.contains("the file is empty; expected Parquet"), "{error}");
}

#[test]
fn partitions_are_columns_where_they_are_wanted() {
    let folder = folder_with(&[
        ("day=2/x=5/b.csv", "id\n3\n"),
        ("day=1/x=__HIVE_DEFAULT_PARTITION__/a.csv", "id\n1\n2\n"),
        ("_SUCCESS", ""),
    ]);
    let table = Table::open_partitioned(folder.path()).unwrap();
    let mut batches = table.batches(&["x".to_owned(), "id".to_owned()]).unwrap();
    let mut found = Vec::new();
    while let Some(batch) = batches.next_batch().unwrap() {
        let text = |column: usize, row| match batch.columns[column].cell(row) {
            Cell::Untyped(text) => Some(text.to_owned()),
            _ => None,
        };
        found.extend((0..batch.rows).map(|row| (text(0, row), text(1, row).unwrap())));
    }
    let five = Some("5".to_owned());
    assert_eq!(
        found,
        [(None, "1".into()), (None, "2".into()), (five, "3".into())]
    );
    let error = Table::open(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("the folder day=") && error.contains("inside"),
        "{error}"
    );
    std::fs::write(folder.path().join("day=2/x=5/b.csv"), "id,x\n3,9\n").unwrap();
    let table = Table::open_partitioned(folder.path()).unwrap();
    let error = table
        .batches(&["x".to_owned()])
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("in the file and in the name of a folder"),
        "{error}"
    );
}

#[test]
fn broken_records_are_kept_as_nulls_where_that_is_wanted() {
    let folder = folder_with(&[
        ("a.csv", "id,x\n1,2\n3\n5,6\n"),
        ("b.jsonl", "{\"id\": 7, \"x\": 8}\n{\"id\": 9, \"x\"\n[1]\n"),
    ]);
    let table = Table::open(folder.path()).unwrap();
    let columns = ["id".to_owned(), "x".to_owned()];
    let mut batches = table.batches(&columns).unwrap().with_broken(BrokenRecords::Keep);
    let broken = |batch: &TableBatch| batch.broken.iter().map(|row| row.row).collect::<Vec<_>>();
    let first = batches.next_batch().unwrap().unwrap();
    assert_eq!((first.rows, broken(&first)), (3, vec![1]));
    assert_eq!(first.columns[1].cell(2), Cell::Untyped("6"));
    assert_eq!(first.columns[0].cell(1), Cell::Null);
    let second = batches.next_batch().unwrap().unwrap();
    assert_eq!((second.rows, broken(&second)), (3, vec![1, 2]));
    assert!(second.broken[1].message.starts_with("expected a JSON object"));
    assert!(table.batches(&columns).unwrap().next_batch().is_err());
}

#[test]
fn a_column_may_be_chosen_twice_in_every_format() {
    let folder = folder_with(&[
        ("a.csv", "x,y\n1,2\nok,4\n"),
        (
            "b.jsonl",
            "{\"x\": \"1\", \"y\": \"2\"}\n{\"y\": \"4\", \"x\": \"ok\"}\n",
        ),
    ]);
    let table = Table::open(folder.path()).unwrap();
    let chosen = ["x", "y", "x"].map(str::to_owned);
    let mut batches = table.batches(&chosen).unwrap();
    for _ in 0..2 {
        let batch = batches.next_batch().unwrap().unwrap();
        let row = |row| {
            let cells = batch.columns.iter().map(|column| match column.cell(row) {
                Cell::Untyped(text) | Cell::Text(text) => text.to_owned(),
                other => format!("{other:?}"),
            });
            cells.collect::<Vec<_>>()
        };
        assert_eq!(
            (row(0), row(1)),
            (
                vec!["1".into(), "2".into(), "1".into()],
                vec!["ok".into(), "4".into(), "ok".into()]
            )
        );
    }
}

#[test]
fn a_quote_that_does_not_close_is_refused_and_one_that_does_is_not() {
    for (text, row) in [
        ("id,x\n1,2\n3,\"4\n5,6\n7,8\n", "row 2"),
        ("id,x\n1,\"2\n3,4", "row 1"),
        ("id,x\n\"1\n", "row 1"),
        ("id,x\n1,2\n\"", "row 2"),
        ("id,x\n1,\"a\"\"\n", "row 1"),
        ("id,\"x\n1,2\n3,4\n", "in the header"),
    ] {
        let folder = folder_with(&[("a.csv", text)]);
        for broken in [BrokenRecords::Refuse, BrokenRecords::Keep] {
            let read = |table: &Table| -> Result<(), TableError> {
                let mut batches = table.batches(&["id".to_owned()])?.with_broken(broken);
                while batches.next_batch()?.is_some() {}
                Ok(())
            };
            let read = Table::open(folder.path()).and_then(|table| read(&table));
            let error = read.unwrap_err().to_string();
            assert!(
                error.contains(row) && error.contains("a quote opens and does not close"),
                "{text}: {error}"
            );
        }
    }
    for text in [
        "id,x\n1,5\n",
        "id,x\n1,5",
        "id,x\r\n1,5\r\n",
        "id,x\r1,5\r",
        "id,x\n1,5\n\n\n",
        "id,x\n1,\"5\"",
        "id,x\n\"a\nb\",\"5\"\n",
        "id,x\na\"b,5\n",
    ] {
        let folder = folder_with(&[("a.csv", text)]);
        assert_eq!(numbers(folder.path(), "x"), [Some(5.0)], "{text}");
    }
    for text in ["id,x", "id,x\n", "id,\"x\""] {
        let folder = folder_with(&[("a.csv", text)]);
        assert!(numbers(folder.path(), "x").is_empty(), "{text}");
    }
}

#[test]
fn reading_goes_on_after_any_batch() {
    let text: String = (0..10_000).map(|row| format!("{row}\n")).collect();
    let folder = folder_with(&[("a.csv", "id\n1\n"), ("b.csv", &format!("id\n{text}"))]);
    let table = Table::open(folder.path()).unwrap();
    let columns = ["id".to_owned()];
    let mut batches = table.batches(&columns).unwrap();
    while let Some(batch) = batches.next_batch().unwrap() {
        let end = batch.first_row + batch.rows as u64 - 1;
        let mut later = table.batches(&columns).unwrap();
        later.go_to(batches.file(), end).unwrap();
        let next = later.next_batch().unwrap();
        match next {
            Some(next) if later.file() == batches.file() => assert_eq!(next.first_row, end + 1),
            Some(next) => assert_eq!((later.file(), next.first_row), (batches.file() + 1, 1)),
            None => assert_eq!((batches.file(), end), (1, 10_000)),
        }
    }
}

#[test]
fn tabs_and_gzip_are_read_by_the_ending() {
    let folder = folder_with(&[("a.tsv", "id\tx\n1\t5\n"), ("b.json", "{\"id\": 2, \"x\": 6}")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"id,x\n3,7\n").unwrap();
    std::fs::write(folder.path().join("c.csv.gz"), gzip.finish().unwrap()).unwrap();
    assert_eq!(numbers(folder.path(), "x"), [Some(5.0), Some(6.0), Some(7.0)]);
}

#[test]
fn a_position_at_which_no_batch_ends_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.csv");
    std::fs::write(&path, "a\n1\n2\n3\n").unwrap();
    let table = Table::open(&path).unwrap();
    let go_to = |row| table.batches(&["a".to_owned()]).unwrap().go_to(0, row);
    assert!(go_to(3).is_ok());
    for row in [2, 4] {
        let error = go_to(row).unwrap_err().to_string();
        assert!(
            error.contains(&format!("expected to go on after row {row}, found row 3")),
            "{error}"
        );
    }
}

#[test]
fn a_value_that_nothing_can_take_ends_the_reading_unless_it_is_asked_for() {
    let list = Cell::Unfit {
        shown: "[1]",
        what: "a list",
    };
    let text = "{\"id\": 1, \"x\": 5}\n{\"id\": 2, \"x\": [1]}\n{\"id\": 3, \"x\": 18446744073709551615}\n";
    let folder = folder_with(&[("a.jsonl", text)]);
    let table = Table::open(folder.path()).unwrap();
    let columns = ["id".to_owned(), "x".to_owned()];
    let error = table.batches(&columns).unwrap().next_batch().unwrap_err();
    let error = error.to_string();
    assert!(
        error.ends_with("row 2, column `x`: expected one value, found a list"),
        "{error}"
    );
    let mut batches = table.batches(&columns).unwrap().with_broken(BrokenRecords::Keep);
    let batch = batches.next_batch().unwrap().unwrap();
    let cells: Vec<_> = (0..4).map(|row| batch.columns[1].cell(row)).collect();
    let digits = Cell::Untyped("18446744073709551615");
    assert_eq!(cells, [Cell::Int(5), list, digits, Cell::Null]);
    assert_eq!(batch.columns[0].cell(1), Cell::Int(2));
}
