//! Compares predictions with those of the training libraries, bit by bit.
//!
//! The committed cases are under `tests/forest/fixtures`. `EVERGREEN_GOLDEN=DIR` compares another directory
//! (a full run of `tests/golden/generate.py`). `EVERGREEN_GOLDEN_TABLE=FILE` writes the comparison to a
//! table.

mod case;
mod table;

use std::path::{Path, PathBuf};

pub(crate) use case::Case;
use evergreen_forest::{Forest, Iterations, KernelName, LoadOptions, OutputKind, Scratch};
use table::{Line, allowance};

/// Lists the `.gold` files below a directory.
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

/// Compares a case, with the given kernel or with the chosen one. Returns `None` if the kernel does not take
/// the model.
fn compare(path: &Path, kernel: Option<KernelName>) -> Result<Option<Line>, String> {
    let mut case = Case::read(path);
    let bytes = std::fs::read(path.with_file_name(&case.model)).unwrap();
    let options = LoadOptions {
        iterations: if case.best {
            Iterations::Best
        } else {
            Iterations::All
        },
        kernel,
        ..LoadOptions::default()
    };
    let forest = match Forest::from_bytes(&bytes, &options) {
        Err(error) if kernel.is_some() && error.at == "kernel" => return Ok(None),
        forest => forest.map_err(|error| error.to_string())?,
    };
    if let Some(name) = kernel {
        assert_eq!(forest.kernels().few, name, "the forced kernel is in use");
    }
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
    Ok(Some(line))
}

/// Returns the committed cases, or those of a full run.
pub(crate) fn cases() -> Vec<PathBuf> {
    let directory = std::env::var_os("EVERGREEN_GOLDEN").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/forest/fixtures"),
        PathBuf::from,
    );
    let paths = cases_in(&directory);
    assert!(!paths.is_empty(), "no cases in {}", directory.display());
    paths
}

#[test]
fn agrees_with_the_libraries() {
    let paths = cases();
    let mut table = String::from(Line::HEAD);
    let mut wrong = Vec::new();
    for path in &paths {
        match compare(path, None) {
            Err(why) => wrong.push(format!("{}: {why}", path.display())),
            Ok(None) => unreachable!("no kernel was forced"),
            Ok(Some(line)) => {
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

#[test]
fn every_kernel_agrees_with_the_libraries() {
    let paths = cases();
    let mut wrong = Vec::new();
    for name in KernelName::ALL.into_iter().filter(|name| name.available()) {
        let mut taken = 0;
        for path in &paths {
            match compare(path, Some(name)) {
                Err(why) => wrong.push(format!("{name}, {}: {why}", path.display())),
                Ok(None) => assert_ne!(name, KernelName::Scalar, "the reference takes every model"),
                Ok(Some(line)) => {
                    taken += 1;
                    wrong.extend(line.excess(&allowance(&line.case)));
                }
            }
        }
        // Only the reference takes vector leaves, linear leaves and categories where zero is missing.
        assert!(
            taken * 10 >= paths.len() * 8,
            "{name} took {taken} of {} models",
            paths.len()
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
