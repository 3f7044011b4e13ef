//! Temporary files and folders: removed on drop, or before a signal ends the process.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Result as IoResult};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Those that exist, of this process.
static PRESENT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// How often the removal is repeated, because other threads still write.
const ATTEMPTS: usize = 10;

/// A temporary file or folder, removed on drop.
#[derive(Debug)]
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    /// Makes a folder in `parent`. Only this user may read it: there may be data of customers in it.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn folder(parent: &Path) -> Result<Self, String> {
        let path = parent.join(temporary_name("evergreen"));
        let fail = |error: std::io::Error| format!("{}: {error}", path.display());
        std::fs::create_dir_all(parent).map_err(fail)?;
        // Locked meanwhile, so that `remove_all` does not miss it.
        let mut present = present();
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(fail)?;
        present.insert(path.clone());
        drop(present);
        Ok(Self(path))
    }

    /// Makes a file, or empties the one that an earlier process has left.
    ///
    /// # Errors
    /// It cannot be made; what is at `path` stays.
    pub(crate) fn file(path: PathBuf) -> IoResult<(Self, File)> {
        let mut present = present();
        let file = File::create(&path)?;
        present.insert(path.clone());
        drop(present);
        Ok((Self(path), file))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "temporary copy not removed");
        }
        present().remove(&self.0);
    }
}

fn present() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    PRESENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes a file or a folder, if it exists.
fn remove(path: &Path) -> IoResult<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

/// Removes all that exist, because the process ends now. Threads that would make or drop another one wait for the end.
pub(crate) fn remove_all() {
    let present = present();
    for _ in 0..ATTEMPTS {
        // Not `all`, which would stop at the first failure.
        if present.iter().filter(|path| remove(path).is_err()).count() == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    std::mem::forget(present);
}

/// A unique name for something temporary, across processes.
pub(crate) fn temporary_name(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let time = time.map_or(0, |time| time.as_nanos());
    format!("{prefix}-{}-{time:x}-{count}", std::process::id())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_this_user_may_read_the_copies_and_nothing_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = Temporary::folder(&root.path().join("cache")).unwrap();
        let mode = folder.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::write(folder.path().join("rows.csv"), "id\n").unwrap();
        let (file, _) = Temporary::file(root.path().join("part")).unwrap();
        let (gone, _) = Temporary::file(root.path().join("part2")).unwrap();
        std::fs::rename(gone.path(), root.path().join("renamed")).unwrap();
        let paths = [&folder, &file, &gone].map(|one| one.path().to_owned());
        assert!(paths.iter().all(|path| present().contains(path)));
        drop((folder, file, gone));
        assert!(root.path().join("renamed").exists());
        // A folder of somebody else.
        std::fs::create_dir(root.path().join("theirs")).unwrap();
        assert!(Temporary::file(root.path().join("theirs")).is_err());
        assert!(root.path().join("theirs").exists());
        assert!(
            paths
                .iter()
                .all(|path| !path.exists() && !present().contains(path))
        );
    }
}
