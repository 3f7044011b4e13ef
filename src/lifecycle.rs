//! Models come and go while the server serves: one thread looks at the repository, takes new versions through the gate
//! one at a time, and puts what passed in front of the requests with one atomic swap. Nothing here is ever waited for
//! by a request.

mod command;
mod model_state;
mod probation;
mod publish;
mod snapshot_loader;
mod snapshot_profile;
mod snapshot_refresh;
mod state_file;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::config::models::PolicySection;
use crate::config::{Config, ModelsSection};
use crate::error::Error;
use crate::features::plan::Plan;
use crate::features::sources::Sources;
use crate::models::ModelVersion;
use crate::models::gate::{GateContext, GateReport, GateStep};
use crate::models::repository::{Repository, VersionFiles};
use crate::os;
use crate::scoring::{LiveSet, Scorer, Servable};
use crate::suggest::hint;
use crate::telemetry::Metrics;
pub use command::Command;
use command::PendingCommand;
use model_state::{ModelState, Stage};
use snapshot_loader::SnapshotLoader;
use state_file::StateStore;

/// How often freed memory and versions under watch are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Hands orders to the thread that loads.
#[derive(Clone, Debug)]
pub struct LifecycleHandle {
    orders: Sender<PendingCommand>,
}

impl LifecycleHandle {
    /// Asks for something and waits until it is done; says what was done.
    ///
    /// # Errors
    /// It cannot be done; the text says why.
    pub async fn order(&self, order: Command) -> Result<String, Error> {
        let (answer, done) = oneshot::channel();
        let gone = || Error::unavailable("the server is stopping".to_owned());
        self.orders
            .send(PendingCommand { order, answer })
            .map_err(|_| gone())?;
        done.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// What the loading thread knows.
#[derive(Debug)]
pub struct Lifecycle {
    repository: Repository,
    feeder: SnapshotLoader,
    /// Seconds between two looks for new customers.
    customers_seconds: f64,
    settings: ModelsSection,
    metrics: Arc<Metrics>,
    models: BTreeMap<String, ModelState>,
    /// Where requests look; `None` until the first models are in.
    scorer: Option<Arc<Scorer>>,
    /// What requests may still be using.
    retired: Vec<Arc<LiveSet>>,
    /// Whether the repository could be listed at the last look.
    reachable: bool,
    /// What must outlive a restart.
    keeper: StateStore,
}

impl Lifecycle {
    /// Takes a first look at the repository and loads what the policy asks for. `progress` is told the bytes of the
    /// snapshot read so far and in all.
    ///
    /// # Errors
    /// The repository or the customers cannot be read.
    pub fn start(
        config: &Config,
        sources: &Arc<Sources>,
        metrics: &Arc<Metrics>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, String> {
        let mut reloader = Self {
            repository: Repository::open(&config.models.dir, &config.storage)?,
            feeder: SnapshotLoader::new(config, sources)?,
            customers_seconds: config.features.watch.seconds,
            settings: config.models.clone(),
            metrics: metrics.clone(),
            models: BTreeMap::new(),
            scorer: None,
            retired: Vec::new(),
            reachable: true,
            keeper: StateStore::open(&config.models.state_file)?,
        };
        reloader.look()?;
        for name in reloader.names() {
            reloader.judge_all(&name);
        }
        reloader.feed_all(progress)?;
        for name in reloader.names() {
            reloader.settle(&name);
        }
        for (name, model) in &mut reloader.models {
            model.tell_of_lost_hold(name);
        }
        for name in reloader
            .settings
            .policy
            .keys()
            .filter(|name| !reloader.models.contains_key(*name))
        {
            tracing::warn!(
                model = name,
                "models.policy names a model that is not in the repository"
            );
        }
        Ok(reloader)
    }

    /// Serves on a thread of its own: from now on `scorer` is given what is live.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn run(mut self, scorer: &Arc<Scorer>) -> std::io::Result<LifecycleHandle> {
        let (orders, requests) = channel();
        self.scorer = Some(scorer.clone());
        let work = move || self.work(&requests);
        std::thread::Builder::new()
            .name("models".to_owned())
            .spawn(work)?;
        Ok(LifecycleHandle { orders })
    }

    /// Works until every handle is gone.
    fn work(mut self, requests: &Receiver<PendingCommand>) {
        os::lower_priority();
        let (mut last, mut last_customers) = (Instant::now(), Instant::now());
        loop {
            match requests.recv_timeout(self.pause(last, last_customers)) {
                Ok(PendingCommand { order, answer }) => {
                    let done = self.obey(order).map(|said| match self.keep() {
                        Ok(()) => said,
                        Err(reason) => format!("{said}; a restart would forget it: {reason}"),
                    });
                    // Whoever asked may have gone.
                    let _ = answer.send(done);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.watch();
            self.retire();
            if self.poll().is_some_and(|poll| last.elapsed() >= poll) {
                // What went wrong has been logged, and is tried again.
                let _ = self.pass();
                last = Instant::now();
            }
            if self
                .customers_pace()
                .is_some_and(|pace| last_customers.elapsed() >= pace)
            {
                self.look_for_customers();
                last_customers = Instant::now();
            }
            // What went wrong has been logged, and is tried again.
            let _ = self.keep();
        }
    }

    fn keep(&mut self) -> Result<(), String> {
        self.keeper.keep(&self.models)
    }

    fn poll(&self) -> Option<Duration> {
        let seconds = self.settings.poll_seconds;
        (seconds > 0.0).then(|| Duration::from_secs_f64(seconds))
    }

    /// How long there is nothing to do.
    fn pause(&self, last: Instant, last_customers: Instant) -> Duration {
        let busy = !self.retired.is_empty() || self.models.values().any(|model| model.watch.is_some());
        let paces = [
            self.poll().map(|pace| pace.saturating_sub(last.elapsed())),
            self.customers_pace()
                .map(|pace| pace.saturating_sub(last_customers.elapsed())),
            busy.then_some(TICK),
        ];
        paces
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Duration::from_secs(3600))
    }

    fn names(&self) -> Vec<String> {
        self.models.keys().cloned().collect()
    }

    fn model(&mut self, name: &str) -> Result<&mut ModelState, Error> {
        if !self.models.contains_key(name) {
            let known: Vec<&str> = self.models.keys().map(String::as_str).collect();
            let hint = hint(name, known.iter().copied());
            return Err(Error::model_not_found(format!(
                "no model `{name}`{hint}; there are: {}",
                known.join(", ")
            )));
        }
        Ok(self.models.entry(name.to_owned()).or_default())
    }

    /// One look at the repository and everything that follows from it.
    fn pass(&mut self) -> Result<(), String> {
        self.look()?;
        for name in self.names() {
            self.settle(&name);
        }
        Ok(())
    }

    /// Looks at the repository. What cannot be seen now stays as it was.
    fn look(&mut self) -> Result<(), String> {
        let scan = self.repository.scan();
        self.metrics.models.looked(scan.is_ok());
        if self.reachable != scan.is_ok() {
            self.reachable = scan.is_ok();
            match &scan {
                Ok(_) => tracing::info!("the repository can be read again"),
                Err(reason) => {
                    tracing::error!(reason, "the repository cannot be read; what is live serves on")
                }
            }
        }
        let mut found = scan?;
        let now = Instant::now();
        let none = PolicySection::default();
        for name in found.keys() {
            let policy = self.settings.policy.get(name).unwrap_or(&none);
            let model = self.models.entry(name.clone());
            model.or_insert_with(|| self.keeper.model(name, policy));
        }
        for (name, model) in &mut self.models {
            match found.remove(name).unwrap_or_else(|| Ok(BTreeMap::new())) {
                Ok(versions) => {
                    for version in model.observe(&versions, now) {
                        let reason = model.versions[&version].reason.as_deref().unwrap_or_default();
                        tracing::error!(model = name, version, reason, "version refused");
                    }
                }
                Err(reason) => tracing::warn!(model = name, reason, "a model's versions cannot be listed"),
            }
        }
        self.models.retain(|name, model| {
            let there = !model.versions.is_empty();
            if !there {
                self.keeper.gone(name, model);
            }
            there
        });
        Ok(())
    }

    /// Takes every version of a model that is due through the gate, one after the other.
    fn judge_all(&mut self, name: &str) {
        while let Some(version) = self.models.get(name).and_then(ModelState::next) {
            self.judge(name, version);
        }
    }

    /// Takes a version through the gate and, if it passes, makes it ready to answer.
    fn judge(&mut self, name: &str, version: u64) {
        let start = Instant::now();
        let Some(found) = self
            .models
            .get(name)
            .and_then(|model| model.versions.get(&version)?.found.clone())
        else {
            return;
        };
        let judged = self
            .gate(name, version, &found)
            .and_then(|model| self.make_ready(name, model));
        let settings = self.scorer.is_some();
        let Some(model) = self.models.get_mut(name) else {
            return;
        };
        match judged {
            Ok(served) => {
                let seconds = start.elapsed().as_secs_f64();
                self.metrics.models.judged(name, &served.model.report);
                tracing::info!(
                    model = name,
                    version,
                    sha256 = served.model.sha256,
                    seconds,
                    "version loaded"
                );
                model.loaded(version, Arc::new(served));
            }
            Err(report) => {
                self.metrics.models.judged(name, &report);
                let failure = report.failure().cloned();
                let step = failure.as_ref().map_or("", |step| step.step.label());
                let reason = failure.as_ref().map_or("", |step| step.detail.as_str());
                // At the start files are taken as they are; later they may be on their way.
                let early = matches!(
                    failure.as_ref().map(|step| step.step),
                    Some(GateStep::Settle | GateStep::Checksums)
                );
                if model.refused(version, report, early && settings, Instant::now()) {
                    tracing::info!(model = name, version, step, reason, "version not complete yet");
                } else {
                    tracing::error!(model = name, version, step, reason, "version refused");
                    model.event(format!("version {version} was refused: {reason}"));
                }
            }
        }
    }

    fn gate(&self, name: &str, version: u64, found: &VersionFiles) -> Result<ModelVersion, GateReport> {
        let live = self
            .models
            .get(name)
            .and_then(|model| model.versions.get(&model.live?)?.served());
        let mut feed = |model: &ModelVersion| self.feeder.check(model);
        let mut context = GateContext {
            live: live.map(|served| &*served.model),
            feed: Some(&mut feed),
            kernel: self.settings.kernel.name(),
        };
        let judge = || self.repository.judge(name, version, found, &mut context);
        catch_unwind(AssertUnwindSafe(judge)).unwrap_or_else(|_| {
            let mut report = GateReport::default();
            report.fail(
                GateStep::Parse,
                "the gate itself failed on it; the log has the details".to_owned(),
            );
            Err(report)
        })
    }

    /// Gives a version its way to the features; once the server runs, the customers are read anew if it needs more of
    /// them than there is.
    fn make_ready(&mut self, name: &str, model: ModelVersion) -> Result<Servable, GateReport> {
        let policy = self.settings.policy.get(name);
        let bands = policy.map(|policy| policy.bands.clone()).unwrap_or_default();
        let served = Servable::new(Arc::new(model), None, &bands, &self.metrics.feature);
        if self.scorer.is_none() {
            return Ok(served);
        }
        let loaded: Vec<Arc<Servable>> = self.loaded().cloned().collect();
        let mut models: Vec<&ModelVersion> = loaded.iter().map(|served| &*served.model).collect();
        models.push(&served.model);
        self.feeder
            .ensure(&models, &mut |_, _| {})
            .map_err(|reason| unfed(&served, reason))?;
        let mut plans = self.feeder.plan(&models);
        let own = plans.pop().unwrap_or(Ok(None));
        // A store is bound to what all of its models want, so the others' ways may be new as well.
        self.take_plans(plans);
        own.map(|plan| served.with_plan(plan))
            .map_err(|reason| unfed(&served, reason))
    }

    fn loaded(&self) -> impl Iterator<Item = &Arc<Servable>> {
        let versions = self.models.values().flat_map(|model| model.versions.values());
        versions.filter_map(|version| version.served())
    }

    /// Reads the customers for everything that passed the gate, at the start.
    fn feed_all(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), String> {
        let loaded: Vec<Arc<Servable>> = self.loaded().cloned().collect();
        let models: Vec<&ModelVersion> = loaded.iter().map(|served| &*served.model).collect();
        // Customers that no model can take are a mistake in the settings, not in a model.
        if models.is_empty() {
            let unfed: Vec<String> = self.unfed().collect();
            if !unfed.is_empty() {
                return Err(unfed.join("; "));
            }
        }
        self.feeder.ensure(&models, progress)?;
        self.plan_again();
        Ok(())
    }

    /// The newest version of each model that only its features kept away.
    fn unfed(&self) -> impl Iterator<Item = String> {
        self.models.iter().filter_map(|(name, model)| {
            let (_, version) = model.versions.iter().next_back()?;
            let failure = version
                .report
                .failure()
                .filter(|step| step.step == GateStep::Features)?;
            Some(format!("model `{name}`: {}", failure.detail))
        })
    }

    /// Gives every loaded version its way to the features there are now; one that they cannot feed is refused.
    fn plan_again(&mut self) {
        let loaded: Vec<Arc<Servable>> = self.loaded().cloned().collect();
        let models: Vec<&ModelVersion> = loaded.iter().map(|served| &*served.model).collect();
        let plans = self.feeder.plan(&models);
        self.take_plans(plans);
    }

    /// Takes over the plans of all loaded versions, in their order.
    fn take_plans(&mut self, plans: Vec<Result<Option<Plan>, String>>) {
        let versions = self.models.iter_mut().flat_map(|(name, model)| {
            let versions = model.versions.iter_mut();
            versions.map(move |(number, version)| (name, *number, version))
        });
        let loaded = versions.filter_map(|(name, number, version)| {
            let served = version.served()?.clone();
            Some((name, number, version, served))
        });
        for ((name, number, version, served), plan) in loaded.zip(plans) {
            match plan {
                Ok(plan) => version.state = Stage::Loaded(Arc::new(served.with_plan(plan))),
                Err(reason) => {
                    tracing::error!(model = name, version = number, reason, "version refused");
                    version.report = Arc::new(unfed(&served, reason.clone()));
                    version.set(Stage::Refused, Some(reason));
                }
            }
        }
    }

    /// Takes over changed settings: policies, the pace of polling, the watch.
    fn take_settings(&mut self, settings: ModelsSection) {
        let none = PolicySection::default();
        for (name, model) in &mut self.models {
            let policy = settings.policy.get(name).unwrap_or(&none);
            let bands = model.policy.bands != policy.bands;
            model.apply(policy);
            for version in model.versions.values_mut().filter(|_| bands) {
                if let Stage::Loaded(served) = &version.state {
                    version.state = Stage::Loaded(Arc::new(served.with_bands(&policy.bands)));
                }
            }
        }
        self.settings = settings;
        for name in self.names() {
            self.settle(&name);
        }
    }
}

/// The report of a version that the feature sources cannot feed after all.
fn unfed(served: &Servable, reason: String) -> GateReport {
    let mut report = served.model.report.clone();
    report.fail(GateStep::Features, reason);
    report
}
