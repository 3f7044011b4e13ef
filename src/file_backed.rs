//! Values made from files, made anew when the files change: certificates, keys, a registry. Files are looked at by size, time and
//! inode behind any link, so that the swapped links of a Kubernetes volume are seen. What is broken changes nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

/// What a file looks like from outside: device, inode, size, seconds and nanoseconds of its last change.
type FileStamp = Option<(u64, u64, u64, i64, i64)>;

/// The files when they were last read.
struct LastRead {
    /// With success.
    good: Vec<FileStamp>,
    /// Without; they are tried again, for what was wrong may be the clock or the system, but it is told once.
    bad: Option<Vec<FileStamp>>,
}

type ReadFile<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// Is told of every attempt to read anew: what was read, or why it could not be.
pub(crate) type OnReload<T> = Box<dyn Fn(Result<&T, &str>) + Send + Sync>;

/// A value made from files.
pub(crate) struct FileBacked<T> {
    value: ArcSwap<T>,
    files: Vec<PathBuf>,
    seen: Mutex<LastRead>,
    read: ReadFile<T>,
    heard: OnReload<T>,
}

impl<T> std::fmt::Debug for FileBacked<T> {
    // The value may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileBacked")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> FileBacked<T> {
    /// Reads the value for the first time.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn new(
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<T, String> + Send + Sync + 'static,
        heard: OnReload<T>,
    ) -> Result<Self, String> {
        let good = look(&files);
        let value = read()?;
        heard(Ok(&value));
        Ok(Self {
            value: ArcSwap::from_pointee(value),
            files,
            seen: Mutex::new(LastRead { good, bad: None }),
            read: Box::new(read),
            heard,
        })
    }

    /// The value as it is now.
    pub(crate) fn get(&self) -> arc_swap::Guard<Arc<T>> {
        self.value.load()
    }

    /// Reads the value anew if a file has changed since it was last read.
    pub(crate) fn refresh(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at before they are read: a change in between is seen the next time.
        let now = look(&self.files);
        if seen.good == now {
            seen.bad = None;
            return;
        }
        match (self.read)() {
            Ok(value) => {
                (self.heard)(Ok(&value));
                self.value.store(Arc::new(value));
                *seen = LastRead { good: now, bad: None };
            }
            Err(error) => {
                let now = Some(now);
                if seen.bad != now {
                    (self.heard)(Err(&error));
                }
                seen.bad = now;
            }
        }
    }

    /// Refreshes for ever.
    pub(crate) async fn keep(self: Arc<Self>, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let watched = self.clone();
            // A panic there has been logged.
            let _ = tokio::task::spawn_blocking(move || watched.refresh()).await;
        }
    }
}

fn look(files: &[PathBuf]) -> Vec<FileStamp> {
    let look = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((
            found.dev(),
            found.ino(),
            found.size(),
            found.mtime(),
            found.mtime_nsec(),
        ))
    };
    files.iter().map(look).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_taken_over_and_what_is_broken_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (link, path) = (folder.path().join("link"), folder.path().join("a"));
        std::fs::write(&path, "1").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let file = link.clone();
        let read = move || {
            let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
            text.parse::<i32>().map_err(|error| error.to_string())
        };
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = {
            let told = told.clone();
            Box::new(move |result: Result<&i32, &str>| told.lock().unwrap().push(result.is_ok()))
        };
        let watched = FileBacked::new(vec![link.clone()], read, heard).unwrap();
        watched.refresh();
        assert_eq!((**watched.get(), told.lock().unwrap().len()), (1, 1));
        // As Kubernetes does it: the link leads to another file.
        let other = folder.path().join("b");
        std::fs::write(&other, "2").unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join("next")).unwrap();
        std::fs::rename(folder.path().join("next"), &link).unwrap();
        watched.refresh();
        assert_eq!(**watched.get(), 2);
        std::fs::write(&other, "many").unwrap();
        watched.refresh();
        watched.refresh();
        assert_eq!(**watched.get(), 2);
        assert_eq!(*told.lock().unwrap(), [true, true, false]);
    }
}
