//! A value that is read from files and reloaded when they change, for certificates, API keys and Feast's registry.
//! Changes are detected by size, modification time and inode behind any link, so that the swapped links of a Kubernetes
//! volume count. An invalid file is ignored; the previous value stays in use.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::heartbeat::Heartbeat;

/// A file's metadata: device, inode, size, seconds and nanoseconds of its last change; `None` if it does not exist.
type FileStamp = Option<(u64, u64, u64, i64, i64)>;

/// So many failed reads in a row make a server unready that must have the present content.
const MOST_FAILURES: u32 = 10;

/// Time after which a read counts as hanging.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// The files' metadata at the last reads.
struct LastRead {
    /// At the last successful read.
    loaded: Vec<FileStamp>,
    /// At the last failed read. The read is retried, as the cause may be the clock or the system, but reported once.
    failed: Option<Vec<FileStamp>>,
}

type ReadFile<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// Called after each reload with the new value, or with the error.
pub(crate) type OnReload<T> = Box<dyn Fn(Result<&T, &str>) + Send + Sync>;

/// A value that is read from files.
pub(crate) struct FileBacked<T> {
    value: ArcSwap<T>,
    files: Vec<PathBuf>,
    last_read: Mutex<LastRead>,
    read: ReadFile<T>,
    on_reload: OnReload<T>,
    /// Failed reads since the last one that was not needed or succeeded.
    failures: AtomicU32,
}

impl<T> std::fmt::Debug for FileBacked<T> {
    // Omits the value, which may be secret.
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
    /// The error of `read`.
    pub(crate) fn new(
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<T, String> + Send + Sync + 'static,
        on_reload: OnReload<T>,
    ) -> Result<Self, String> {
        let loaded = stamps(&files);
        let value = read()?;
        on_reload(Ok(&value));
        Ok(Self {
            value: ArcSwap::from_pointee(value),
            files,
            last_read: Mutex::new(LastRead { loaded, failed: None }),
            read: Box::new(read),
            on_reload,
            failures: AtomicU32::new(0),
        })
    }

    /// Returns the current value.
    pub(crate) fn get(&self) -> arc_swap::Guard<Arc<T>> {
        self.value.load()
    }

    /// Reloads the value if a file has changed since the last read.
    pub(crate) fn refresh(&self) {
        let mut last_read = self.last_read.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the read, so that the next refresh sees a change in between.
        let now = stamps(&self.files);
        if last_read.loaded == now {
            last_read.failed = None;
            self.failures.store(0, Ordering::Relaxed);
            return;
        }
        match (self.read)() {
            Ok(value) => {
                (self.on_reload)(Ok(&value));
                self.value.store(Arc::new(value));
                self.failures.store(0, Ordering::Relaxed);
                *last_read = LastRead {
                    loaded: now,
                    failed: None,
                };
            }
            Err(error) => {
                let now = Some(now);
                if last_read.failed != now {
                    (self.on_reload)(Err(&error));
                }
                last_read.failed = now;
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Calls [`Self::refresh`] once per `interval`, forever. With `must_read`, the server is unready while the last
    /// [`MOST_FAILURES`] reads failed.
    pub(crate) async fn watch(self: Arc<Self>, interval: Duration, heartbeat: Heartbeat, must_read: bool) {
        loop {
            tokio::time::sleep(interval).await;
            let busy = heartbeat.begin(format!("reading {}", self.names()), Some(READ_LIMIT));
            let file_backed = self.clone();
            // The panic hook has logged a panic; the next refresh retries.
            let _ = tokio::task::spawn_blocking(move || file_backed.refresh()).await;
            drop(busy);
            if must_read {
                let failures = self.failures.load(Ordering::Relaxed);
                heartbeat.set_trouble((failures >= MOST_FAILURES).then(|| {
                    format!(
                        "{} could not be read {failures} times in a row; the previous content may be out of date",
                        self.names()
                    )
                }));
            }
        }
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        names.join(", ")
    }
}

fn stamps(files: &[PathBuf]) -> Vec<FileStamp> {
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((
            metadata.dev(),
            metadata.ino(),
            metadata.size(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        ))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reloads_a_changed_file_and_keeps_the_value_of_an_invalid_one() {
        let folder = tempfile::tempdir().unwrap();
        let (link, path) = (folder.path().join("link"), folder.path().join("a"));
        std::fs::write(&path, "1").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let file = link.clone();
        let read = move || {
            let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
            text.parse::<i32>().map_err(|error| error.to_string())
        };
        let reloads = Arc::new(Mutex::new(Vec::new()));
        let on_reload = {
            let reloads = reloads.clone();
            Box::new(move |result: Result<&i32, &str>| reloads.lock().unwrap().push(result.is_ok()))
        };
        let value = FileBacked::new(vec![link.clone()], read, on_reload).unwrap();
        value.refresh();
        assert_eq!((**value.get(), reloads.lock().unwrap().len()), (1, 1));
        // As Kubernetes does it: replace the link with one to another file.
        let other = folder.path().join("b");
        std::fs::write(&other, "2").unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join("next")).unwrap();
        std::fs::rename(folder.path().join("next"), &link).unwrap();
        value.refresh();
        assert_eq!(**value.get(), 2);
        std::fs::write(&other, "many").unwrap();
        value.refresh();
        value.refresh();
        assert_eq!(**value.get(), 2);
        assert_eq!(*reloads.lock().unwrap(), [true, true, false]);
        assert_eq!(value.failures.load(Ordering::Relaxed), 2);
    }
}
