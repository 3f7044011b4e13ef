//! Keeps the windows of drift over restarts: saves them once a minute, and when the server stops. The watchdog does not watch
//! the thread: its disk may hang for ever, and no score depends on it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::observe::saved;
use crate::os;
use crate::scoring::Scorer;

/// What a kill may cost.
const PAUSE: Duration = Duration::from_secs(60);

/// Saves windows; its thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct DriftKeeper {
    file: Arc<DriftFile>,
    _end: SyncSender<()>,
}

/// The file, and the windows of what the scorer has loaded.
#[derive(Debug)]
pub(super) struct DriftFile {
    path: PathBuf,
    scorer: Arc<Scorer>,
    /// One writer at a time, so that the last one has the newest windows.
    turn: Mutex<()>,
}

impl DriftKeeper {
    /// Starts the thread; `None` without a path.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(path: &Path, scorer: &Arc<Scorer>) -> std::io::Result<Option<Self>> {
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let file = Arc::new(DriftFile {
            path: path.to_owned(),
            scorer: scorer.clone(),
            turn: Mutex::default(),
        });
        let (end, ended) = sync_channel(1);
        let of_thread = file.clone();
        std::thread::Builder::new()
            .name("drift".to_owned())
            .spawn(move || {
                os::lower_priority();
                while ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                    of_thread.save();
                }
            })?;
        Ok(Some(Self { file, _end: end }))
    }

    /// What saves the windows at once.
    pub(super) fn file(&self) -> Arc<DriftFile> {
        self.file.clone()
    }
}

impl DriftFile {
    /// Replaces the file. Logs a failure, as the next attempt may succeed.
    pub(super) fn save(&self) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.scorer.live();
        let loaded = live.models().flat_map(|(_, entry)| &entry.loaded);
        let counted = loaded.filter_map(|servable| Some((&*servable.model, servable.drift.as_deref()?)));
        if let Err(error) = saved::save(&self.path, counted) {
            let path = self.path.display();
            tracing::warn!(%path, error, "windows of drift not saved");
        }
    }
}
