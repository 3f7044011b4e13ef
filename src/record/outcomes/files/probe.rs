//! Checks whether a folder of outcomes can be used: space for them, permissions, and no other server in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::LOCK;
use super::scores::JOURNAL;
use crate::config::OutcomesSection;
use crate::record::outcomes::probe::ProbedOutcomes;

/// A folder that uses more than this share of what it may is soon full.
const NEARLY_FULL: f64 = 0.9;

/// Checks the folder of the settings. A missing one is fine if it can be created.
///
/// # Errors
/// A server could not use it; the message says why and what to do.
pub(in crate::record::outcomes) fn probe(section: &OutcomesSection) -> Result<ProbedOutcomes, String> {
    let folder = &section.folder;
    let text = |error: io::Error| error.to_string();
    let unwritable = |error| format!("cannot be written ({error}); change its owner or its permissions");
    if !folder.try_exists().map_err(text)? {
        let parent = existing_parent(folder)?;
        let latency = timed_write(&parent)
            .map_err(|error| format!("cannot be created in {} ({error})", parent.display()))?;
        return Ok(ProbedOutcomes {
            store: "a server will create it".to_owned(),
            latency,
            warning: None,
        });
    }
    let latency = timed_write(folder).map_err(unwritable)?;
    is_free(&folder.join(LOCK))?;
    let (mut files, mut bytes) = (0_u32, 0);
    for entry in folder.read_dir().map_err(text)? {
        let path = entry.map_err(text)?.path();
        if path.to_str().is_some_and(|path| path.ends_with(JOURNAL)) {
            let file = OpenOptions::new().read(true).append(true).open(&path);
            let size = file.and_then(|file| file.metadata()).map(|found| found.len());
            let name = path.file_name().unwrap_or_default().display();
            bytes += size.map_err(|error| format!("{name} {}", unwritable(error)))?;
            files += 1;
        }
    }
    let most = section.folder_bytes;
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let store = format!("{files} files with {} of at most {} MiB", mib(bytes), mib(most));
    if bytes >= most {
        return Err(format!(
            "full: {store}; raise outcomes.folder_bytes, or lower outcomes.keep_days or outcomes.share"
        ));
    }
    let warning = (bytes as f64 > NEARLY_FULL * most as f64).then(|| {
        "nearly full; raise outcomes.folder_bytes, or lower outcomes.keep_days or outcomes.share".to_owned()
    });
    Ok(ProbedOutcomes {
        store,
        latency,
        warning,
    })
}

/// The deepest folder above `path` that exists.
fn existing_parent(path: &Path) -> Result<PathBuf, String> {
    let absolute = std::path::absolute(path).map_err(|error| error.to_string())?;
    let parent = absolute.ancestors().skip(1).find(|parent| parent.exists());
    Ok(parent.unwrap_or(Path::new("/")).to_path_buf())
}

/// Writes a file to the disk and removes it. Returns how long writing took.
fn timed_write(folder: &Path) -> io::Result<Duration> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let start = Instant::now();
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let written = file
        .write_all(b"evergreen doctor")
        .and_then(|()| file.sync_data());
    let duration = start.elapsed();
    std::fs::remove_file(&path)?;
    written.map(|()| duration)
}

/// Checks that no server uses the folder with this lock.
fn is_free(lock: &Path) -> Result<(), String> {
    let lock = match File::open(lock) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("the file `{LOCK}` cannot be opened ({error})")),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(
            "a server uses it; stop that one, give each server its own folder, or use [outcomes.postgres]"
                .to_owned(),
        ),
        Err(TryLockError::Error(error)) => Err(error.to_string()),
    }
}
