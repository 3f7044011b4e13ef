//! The lifecycle of models while the server runs. One thread polls the repository and the snapshot, takes new versions
//! through the gate one at a time, and swaps the set of live models. Requests never wait for it.
//!
//! `model_state` decides, without I/O; `validation` and `reconcile` carry the decisions out; `activation` swaps;
//! `command` executes what operators ask for; `state_file` saves it across restarts.

mod acceptance;
mod activation;
mod bounded;
mod choice;
mod command;
mod decisions;
mod exchange;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod known_version;
mod metrics;
mod model_state;
mod poll;
mod reconcile;
mod snapshot_loader;
mod snapshot_profile;
mod snapshot_refresh;
mod state_file;
mod time_limit;
mod validation;
mod withdrawn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

pub use choice::{number_for_servers, version_for_servers};

use crate::config::{Config, ModelsSection};
use crate::error::Error;
use crate::features::sources::Sources;
use crate::heartbeat::{Heartbeat, Heartbeats};
use crate::memory::MemoryBudget;
use crate::metrics::Registry;
use crate::models::repository::Repository;
use crate::models::signature::TrustedKeys;
use crate::observe::saved::SavedDrift;
use crate::os;
use crate::scoring::rollout::trial_metrics::TrialMetrics;
use crate::scoring::servable::ServableMetrics;
use crate::scoring::{LiveSet, Scorer};
use crate::suggest::unknown;
use activation::Activator;
use bounded::SHORT_LIMIT;
pub use command::Command;
use command::PendingCommand;
use metrics::LifecycleMetrics;
use model_state::ModelState;
use snapshot_loader::SnapshotLoader;
use state_file::StateStore;
use time_limit::Workers;

/// How long files that do not agree count as still being copied after they last changed.
const SETTLE: Duration = Duration::from_secs(30);

/// How often retired sets and previous versions are checked while there are any.
const TICK: Duration = Duration::from_millis(100);

/// Sends commands to the lifecycle thread.
#[derive(Clone, Debug)]
pub struct LifecycleHandle {
    commands: Sender<PendingCommand>,
}

impl LifecycleHandle {
    /// Executes a command and waits for its result: one sentence that says what was done.
    ///
    /// # Errors
    /// The command cannot be executed; the message says why.
    pub async fn execute(&self, command: Command) -> Result<String, Error> {
        let (answer, done) = oneshot::channel();
        let stopping = || Error::unavailable("the server is stopping");
        self.commands
            .send(PendingCommand { command, answer })
            .map_err(|_| stopping())?;
        done.await.unwrap_or_else(|_| Err(stopping()))
    }
}

/// The state of all models, and what carries out decisions about them.
#[derive(Debug)]
pub struct Lifecycle {
    repository: Arc<Repository>,
    snapshot: SnapshotLoader,
    /// Seconds between two polls of the snapshot.
    snapshot_seconds: f64,
    settings: ModelsSection,
    /// What was saved of the windows of drift; `None` if scored entities are not compared with training.
    saved_drift: Option<SavedDrift>,
    /// The keys of `models.trusted_keys`.
    trusted: TrustedKeys,
    metrics: LifecycleMetrics,
    servable_metrics: ServableMetrics,
    models: BTreeMap<String, ModelState>,
    activator: Activator,
    /// Whether the last poll could list the repository.
    reachable: bool,
    /// What a restart must not forget.
    saved: StateStore,
    /// Fetches features from stores; `None` before requests are served.
    runtime: Option<Handle>,
    /// What is being loaded draws on it.
    memory: Arc<MemoryBudget>,
    /// Tells the watchdog what this thread does.
    heartbeat: Heartbeat,
    /// Load versions and snapshots.
    workers: Workers,
    /// Read and write the repository.
    repository_workers: Workers,
}

impl Lifecycle {
    /// Polls the repository for the first time and loads what the policies ask for. `progress` receives the bytes of the
    /// snapshot read so far and in total.
    ///
    /// # Errors
    /// The repository, the snapshot or the state file cannot be read.
    pub fn start(
        config: &Config,
        sources: &Arc<Sources>,
        registry: &Registry,
        servable_metrics: ServableMetrics,
        heartbeats: &Heartbeats,
        memory: &Arc<MemoryBudget>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, String> {
        let metrics = LifecycleMetrics::new(registry).map_err(|error| error.to_string())?;
        let trials = TrialMetrics::new(registry).map_err(|error| error.to_string())?;
        let mut lifecycle = Self {
            repository: Arc::new(Repository::open(&config.models.dir, &config.storage)?),
            snapshot: SnapshotLoader::new(config, sources)?,
            snapshot_seconds: config.features.watch.seconds,
            settings: config.models.clone(),
            saved_drift: config
                .drift
                .enabled
                .then(|| SavedDrift::open(&config.drift.state_file)),
            trusted: TrustedKeys::read(&config.models.trusted_keys)?,
            metrics,
            servable_metrics,
            models: BTreeMap::new(),
            activator: Activator::new(trials),
            reachable: true,
            saved: StateStore::open(&config.models.state_file)?,
            runtime: None,
            memory: memory.clone(),
            heartbeat: heartbeats.watch("lifecycle"),
            workers: Workers::default(),
            repository_workers: Workers::default(),
        };
        lifecycle.poll_repository()?;
        for name in lifecycle.names() {
            lifecycle.validate_due(&name);
        }
        lifecycle.load_snapshot(progress)?;
        for name in lifecycle.names() {
            lifecycle.reconcile(&name);
        }
        for (name, state) in &mut lifecycle.models {
            state.report_missing_hold(name);
        }
        lifecycle.warn_of_unknown_policies();
        Ok(lifecycle)
    }

    /// Runs on a thread of its own: from now on `scorer` serves what is live. Called on the runtime of the server, so that
    /// the features of two versions can be fetched to compare them.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn run(mut self, scorer: &Arc<Scorer>) -> std::io::Result<LifecycleHandle> {
        let (commands, pending) = channel();
        self.activator.attach(scorer.clone());
        self.runtime = Handle::try_current().ok();
        std::thread::Builder::new()
            .name("lifecycle".to_owned())
            .spawn(move || self.work(&pending))?;
        Ok(LifecycleHandle { commands })
    }

    /// The set of live models.
    pub fn live_set(&mut self) -> LiveSet {
        let waiting = self.waiting();
        self.activator
            .live_set(&mut self.models, self.snapshot.snapshot(), waiting)
    }

    /// Works until every handle is dropped.
    fn work(mut self, pending: &Receiver<PendingCommand>) {
        os::lower_priority();
        let (mut polled, mut snapshot_polled) = (Instant::now(), Instant::now());
        loop {
            match pending.recv_timeout(self.pause(polled, snapshot_polled)) {
                Ok(PendingCommand { command, answer }) => {
                    let _busy = self.heartbeat.begin("executing a command", Some(SHORT_LIMIT));
                    let done = self.execute(command).map(|done| self.keep(done));
                    // The requester may have disconnected.
                    let _ = answer.send(done);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.release_previous();
            self.activator.release();
            if is_due(self.poll_interval(), polled) {
                // Failures are logged; the next poll retries.
                let _busy = self.heartbeat.begin("polling the repository", Some(SHORT_LIMIT));
                let _ = self.poll_and_reconcile();
                polled = Instant::now();
            }
            if is_due(self.snapshot_interval(), snapshot_polled) {
                let _busy = self.heartbeat.begin("polling the snapshot", Some(SHORT_LIMIT));
                self.refresh_snapshot();
                snapshot_polled = Instant::now();
            }
            // Failures are logged; the next round retries.
            let _ = self.save();
        }
    }

    /// Keeps what a command has done beyond this process. Returns what was done, and how far it reaches.
    fn keep(&mut self, mut done: String) -> String {
        if let Some(reach) = self.record_decisions() {
            done = format!("{done}; {reach}");
        }
        match self.save() {
            Ok(()) => done,
            Err(reason) => format!("{done}; a restart would forget it: {reason}"),
        }
    }

    fn save(&mut self) -> Result<(), String> {
        self.saved.save(&self.models)
    }

    /// The interval between polls of the repository; `None` for no polls.
    fn poll_interval(&self) -> Option<Duration> {
        let seconds = self.settings.poll_seconds;
        (seconds > 0.0).then(|| Duration::from_secs_f64(seconds))
    }

    /// How long there is nothing to do.
    fn pause(&self, polled: Instant, snapshot_polled: Instant) -> Duration {
        let keeps_previous = self.models.values().any(|state| state.previous.is_some());
        let busy = self.activator.has_retired() || keeps_previous;
        let left = |interval: Option<Duration>, last: Instant| {
            interval.map(|interval| interval.saturating_sub(last.elapsed()))
        };
        let waits = [
            left(self.poll_interval(), polled),
            left(self.snapshot_interval(), snapshot_polled),
            busy.then_some(TICK),
        ];
        let shortest = waits.into_iter().flatten().min();
        shortest.unwrap_or(Duration::from_secs(3600))
    }

    fn names(&self) -> Vec<String> {
        self.models.keys().cloned().collect()
    }

    fn model(&mut self, name: &str) -> Result<&mut ModelState, Error> {
        if !self.models.contains_key(name) {
            let known = self.models.keys().map(String::as_str);
            return Err(Error::model_not_found(unknown("model", name, known)));
        }
        Ok(self.models.entry(name.to_owned()).or_default())
    }

    fn warn_of_unknown_policies(&self) {
        let policies = self.settings.policy.keys();
        for name in policies.filter(|name| !self.models.contains_key(*name)) {
            tracing::warn!(
                model = name,
                "models.policy names a model that is not in the repository"
            );
        }
    }
}

/// Whether something that is done at an interval is due.
fn is_due(interval: Option<Duration>, last: Instant) -> bool {
    interval.is_some_and(|interval| last.elapsed() >= interval)
}
