//! Whether the job that writes an input folder is done.

use std::path::Path;

use crate::features::table::{is_partition, unfinished};

/// The file with which a job says that its folder is complete.
pub(in crate::cli::score) const SUCCESS: &str = "_SUCCESS";

/// Checks that the job which writes an input folder is done, by the rule of serving.
///
/// # Errors
/// It is not.
pub(in crate::cli) fn check_complete(input: &Path) -> Result<(), String> {
    let mut names = Vec::new();
    let mut folders = vec![input.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = folder.read_dir() else { continue };
        for entry in entries.filter_map(Result::ok) {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if is_partition(&name) && entry.path().is_dir() {
                folders.push(entry.path());
            } else if folder == *input || name != SUCCESS {
                names.push(name);
            }
        }
    }
    refuse_unfinished(input, &names)
}

/// Refuses an input with these names of files if the job that writes it is not done.
///
/// # Errors
/// It is not.
pub(super) fn refuse_unfinished(input: &Path, names: &[String]) -> Result<(), String> {
    match unfinished(names.iter().map(String::as_str)) {
        Some(reason) => Err(format!(
            "{}: {reason}; put an empty file _SUCCESS into it if it is complete",
            input.display()
        )),
        None => Ok(()),
    }
}
