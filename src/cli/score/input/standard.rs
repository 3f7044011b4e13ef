//! Copies standard input into a file.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::identity::{InputFile, hex};
use super::{DATA, STANDARD};
use crate::cli::score::error::JobError;
use crate::cli::sink::OutputFormat;
use crate::features::table::{Compression, FileKind};

/// Copies standard input to a file in `folder`. Returns the file, and its identity.
///
/// # Errors
/// There is no format, or it cannot be read or written.
pub(super) fn copy_standard_input(
    folder: &Path,
    format: Option<FileKind>,
) -> Result<(PathBuf, InputFile), JobError> {
    let kind = format.ok_or_else(|| "--input -: expected --input-format, such as csv".to_owned())?;
    let fail = |error: std::io::Error| JobError::Output(format!("standard input: {error}"));
    let mut input = BufReader::with_capacity(1 << 16, std::io::stdin().lock());
    let start = input.fill_buf().map_err(fail)?;
    let compression = Compression::of_bytes(start).filter(|_| kind != FileKind::Parquet);
    let ending = OutputFormat { kind, compression }.ending();
    let path = folder.join(format!("{DATA}{ending}"));
    let mut file = File::create_new(&path).map_err(fail)?;
    let (mut hash, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = input.read(&mut buffer).map_err(fail)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        file.write_all(&buffer[..count]).map_err(fail)?;
        size += count as u64;
    }
    let (name, tag) = (STANDARD.to_owned(), hex(hash));
    Ok((path, InputFile { name, size, tag }))
}
