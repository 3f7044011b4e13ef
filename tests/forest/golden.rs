//! What the training libraries answered, compared bit by bit.
//!
//! The committed cases are under `tests/forest/fixtures`; `EVERGREEN_GOLDEN=DIR` compares another directory (a
//! full run of `tests/golden/generate.py`) with the same code, and `EVERGREEN_GOLDEN_TABLE=FILE` writes the
//! comparison down as a table.

mod case;
mod table;

use std::path::{Path, PathBuf};

use case::Case;
use evergreen::forest::{Forest, Iterations, LoadOptions, OutputKind, Scratch};
use table::{Line, allowance};

/// Every `.gold` file below a directory.
fn cases_in(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "gold") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn compare(path: &Path) -> Result<Line, String> {
    let mut case = Case::read(path);
    let bytes = std::fs::read(path.with_file_name(&case.model)).unwrap();
    let options = LoadOptions {
        iterations: if case.best {
            Iterations::Best
        } else {
            Iterations::All
        },
        ..LoadOptions::default()
    };
    let forest = Forest::from_bytes(&bytes, &options).map_err(|error| error.to_string())?;
    if forest.features().len() != case.features {
        return Err(format!(
            "{} features, expected {}",
            forest.features().len(),
            case.features
        ));
    }
    case.encode(&forest);
    let mut line = Line::new(&case.name, case.rows);
    let mut scratch = Scratch::default();
    for output in &case.outputs {
        let width = forest.width(output.kind).map_err(|error| error.to_string())?;
        if width != output.width {
            return Err(format!(
                "{} has width {width}, expected {}",
                output.kind, output.width
            ));
        }
        let mut ours = vec![0.0; case.rows * width];
        forest
            .predict(output.kind, &case.input, &mut ours, &mut scratch)
            .map_err(|error| error.to_string())?;
        line.add(output, &ours);
        if output.kind == OutputKind::Contributions {
            line.check_sums(&forest, &case, &ours);
        }
    }
    Ok(line)
}

#[test]
fn agrees_with_the_libraries() {
    let directory = std::env::var_os("EVERGREEN_GOLDEN").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/forest/fixtures"),
        PathBuf::from,
    );
    let paths = cases_in(&directory);
    assert!(!paths.is_empty(), "no cases in {}", directory.display());
    let mut table = String::from(Line::HEAD);
    let mut wrong = Vec::new();
    for path in &paths {
        match compare(path) {
            Err(why) => wrong.push(format!("{}: {why}", path.display())),
            Ok(line) => {
                table.push_str(&line.to_string());
                wrong.extend(line.excess(&allowance(&line.case)));
            }
        }
    }
    if let Some(path) = std::env::var_os("EVERGREEN_GOLDEN_TABLE") {
        std::fs::write(path, &table).unwrap();
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        paths.len(),
        wrong.join("\n")
    );
}
