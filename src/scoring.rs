//! The scoring path. A request takes one [`LiveSet`] and uses it to its end:
//! admit → find the model → fetch features → assemble rows → evaluate the forest → answer. REST, gRPC and the offline
//! command share it.

mod admission;
mod assemble;
mod batch;
mod batch_bytes;
pub(crate) mod calibration;
pub mod changes;
pub mod client;
mod evaluate;
mod explain;
pub mod hold_out;
mod infer;
pub mod listener;
pub mod live_set;
mod matrix;
pub mod metrics;
pub mod outcome;
pub mod paths;
mod predict;
pub mod prediction;
pub mod ranking;
pub mod replay;
pub mod request;
pub mod rollout;
pub mod score_metrics;
pub mod servable;
pub mod tensor;
mod tensor_stats;
pub mod trace;
pub mod what_if;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use evergreen_forest::{Forest, Summary};
use futures_util::future::try_join;

pub use admission::Permit;
pub use client::Client;
pub use explain::Wanted;
pub use infer::{InferRequest, InferResponse, OutputTensor, outputs};
pub use live_set::LiveSet;
pub use outcome::{EntityScore, Outcome, Scores};
pub use request::{Entity, ModelRef, ScoreRequest, VersionSelector};
pub use servable::Servable;

use crate::config::LimitsSection;
use crate::error::{Error, ErrorKind};
use crate::memory::MemoryBudget;
use crate::spans::RequestSpan;
use crate::values::time;
use crate::work::off_thread;
use admission::Admission;
use batch::{EntityBatch, fetch};
use batch_bytes::batch_bytes;
use hold_out::HoldOut;
use listener::ScoreListener;
use metrics::ScoringMetrics;
use prediction::{Arm, PredictionRecorder, Recording};
use rollout::Rollout;
use rollout::canary::{Assignment, assign, merge};
use rollout::shadow::{Copies, ShadowScorer, TrialSide};

/// Tree walks above which a request moves to a blocking thread. 32,768 walks take about 0.1 ms: shorter work is done
/// before a hand-over would be, longer work must not delay other connections.
const INLINE_WALKS: usize = 32 * 1024;

/// Cost of explaining a score, in tree walks for each split of the model: 500 trees of depth 6 have 23,500 splits and take
/// 0.085 ms. Small models cost less, and rows of a batch half as much.
const WALKS_TO_EXPLAIN: f64 = 1.2;

/// Least cost of an explained entity for admission; more than this many reasons cost more. It is less than the real cost, so that the largest batch fits.
const EXPLAINED_COST: usize = 10;

/// Bounds of the wait of a bulk request before it is tried again.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Scores requests by the live models.
#[derive(Debug)]
pub struct Scorer {
    live: ArcSwap<LiveSet>,
    limits: ArcSwap<LimitsSection>,
    memory: Arc<MemoryBudget>,
    admission: Arc<Admission>,
    metrics: ScoringMetrics,
    shadow: ShadowScorer,
    recorder: Option<Arc<dyn PredictionRecorder>>,
    hold_out: HoldOut,
    listeners: Vec<Arc<dyn ScoreListener>>,
}

/// What the parts of one request share.
#[derive(Clone)]
struct PartContext {
    /// The time of the request in seconds since the Unix epoch.
    now: f64,
    explain: Wanted,
    deadline: Option<Instant>,
    permit: Arc<Permit>,
    span: RequestSpan,
    recording: Option<Recording>,
}

impl PartContext {
    /// The same for a part that another version scores.
    fn by(mut self, arm: Arm) -> Self {
        if let Some(recording) = &mut self.recording {
            recording.arm = arm;
        }
        self
    }
}

impl Scorer {
    /// Creates a scorer for `live`.
    ///
    /// # Errors
    /// The thread for shadow scoring cannot be started.
    pub fn new(
        live: LiveSet,
        limits: LimitsSection,
        memory: Arc<MemoryBudget>,
        metrics: ScoringMetrics,
    ) -> std::io::Result<Self> {
        Ok(Self {
            memory,
            live: ArcSwap::from_pointee(live),
            admission: Arc::new(Admission::new(limits.in_flight)),
            limits: ArcSwap::from_pointee(limits),
            metrics,
            shadow: ShadowScorer::start()?,
            recorder: None,
            hold_out: HoldOut::default(),
            listeners: Vec::new(),
        })
    }

    /// Returns the scorer with a recorder of its predictions, if there is one.
    #[must_use]
    pub fn recording(self, recorder: Option<Arc<dyn PredictionRecorder>>) -> Self {
        Self { recorder, ..self }
    }

    /// Marks the scores of the customers that `hold_out` draws.
    #[must_use]
    pub fn with_hold_out(self, hold_out: HoldOut) -> Self {
        Self { hold_out, ..self }
    }

    /// Tells `listener` of every answer.
    #[must_use]
    pub fn with_listener(mut self, listener: Arc<dyn ScoreListener>) -> Self {
        self.listeners.push(listener);
        self
    }

    /// The limits of requests.
    pub fn limits(&self) -> LimitsSection {
        **self.limits.load()
    }

    /// Sets other limits, for requests from now on.
    pub fn set_limits(&self, limits: LimitsSection) {
        self.admission.set_limit(limits.in_flight);
        self.limits.store(Arc::new(limits));
    }

    /// Updates the metrics that are measured when they are read.
    pub fn measure(&self) {
        let (limit, used) = self.admission.state();
        self.metrics.set_in_flight(limit, used);
    }

    /// Replaces the live models for requests from now on. Returns the previous ones, which requests in flight still use.
    pub fn replace(&self, live: LiveSet) -> Arc<LiveSet> {
        self.live.swap(Arc::new(live))
    }

    /// The live models.
    pub fn live(&self) -> Arc<LiveSet> {
        self.live.load_full()
    }

    /// Scores the entities of a request; each has its own outcome.
    ///
    /// # Errors
    /// Only what concerns the whole request: an unknown model, no or too many entities, overload, a passed deadline.
    pub async fn answer(self: &Arc<Self>, request: ScoreRequest) -> Result<Scores, Error> {
        let live = self.live();
        let permit = self.admit(&live, &request)?;
        self.answer_by(&live, permit, request).await
    }

    /// Admits a bulk request: waits while the server is overloaded or the client at its limit, so that other requests go
    /// first. It waits as long as it takes: the caller ends it.
    ///
    /// # Errors
    /// Only what waiting does not change: a model that the client may not use, no or too many entities.
    pub async fn admit_in_time(&self, request: &ScoreRequest) -> Result<Permit, Error> {
        loop {
            match self.admit(&self.live(), request) {
                Err(error) if matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::ClientLimit) => {
                    let wait = error.retry_after().unwrap_or_default();
                    tokio::time::sleep(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT)).await;
                }
                result => return result,
            }
        }
    }

    /// Scores the entities of an admitted request; each has its own outcome.
    ///
    /// # Errors
    /// As [`Self::answer`], except for overload.
    pub async fn answer_with(
        self: &Arc<Self>,
        permit: Permit,
        request: ScoreRequest,
    ) -> Result<Scores, Error> {
        self.answer_by(&self.live(), permit, request).await
    }

    async fn answer_by(
        self: &Arc<Self>,
        live: &LiveSet,
        permit: Permit,
        request: ScoreRequest,
    ) -> Result<Scores, Error> {
        let servable = live.find(&request.model)?.clone();
        let rollout = live.trials(&request.model).cloned();
        self.answer_admitted(servable, rollout, request, permit).await
    }

    /// Whether half of `limits.in_flight` is free: nearly all requests are admitted then.
    pub fn has_free_half(&self) -> bool {
        self.admission.has_free_half()
    }

    /// Checks that a client's request for a model, by name, would be admitted, before the request is parsed. What waiting does not
    /// change is left to [`Self::answer`], which has the better error.
    ///
    /// # Errors
    /// As for [`Self::answer`] on overload.
    pub fn has_room(
        &self,
        client: &Client,
        model: &str,
        entities: usize,
        explain: Wanted,
    ) -> Result<(), Error> {
        let is_valid = (1..=self.limits().batch).contains(&entities)
            && client.may_use(model)
            && self.live().entry(model).is_ok();
        if !is_valid {
            return Ok(());
        }
        self.admission
            .check(client, entities, Self::cost(entities, explain))
    }

    fn admit(&self, live: &LiveSet, request: &ScoreRequest) -> Result<Permit, Error> {
        request.client.check_model(&request.model.name)?;
        let bytes = batch_bytes(live.find(&request.model)?, request);
        let entities = request.entities.len();
        let cost = Self::cost(entities, request.explain);
        self.permit(&request.client, entities, cost, bytes)
    }

    /// Scores an admitted request: assigns its entities to the live version and the canary, scores each part, and merges.
    async fn answer_admitted(
        self: &Arc<Self>,
        servable: Arc<Servable>,
        rollout: Option<Rollout>,
        request: ScoreRequest,
        permit: Permit,
    ) -> Result<Scores, Error> {
        let start = Instant::now();
        servable.scorable()?;
        let now = time::now();
        let context = PartContext {
            now,
            explain: request.explain,
            deadline: request.deadline,
            permit: Arc::new(permit),
            span: request.client.span().clone(),
            recording: self.recorder.as_ref().map(|_| Recording {
                arm: match request.model.version {
                    VersionSelector::Live => Arm::Live,
                    VersionSelector::Number(_) | VersionSelector::Label(_) => Arm::Chosen,
                },
                request: request.client.request().cloned(),
            }),
        };
        let overridden = self.overridden(&servable, &request.entities);
        let Rollout { canary, shadow } = rollout.unwrap_or_default();
        let Assignment {
            live,
            canary: tried,
            by_canary,
        } = assign(canary.as_ref(), request.entities);
        let shadow = shadow.as_ref().map(|share| TrialSide {
            share,
            other: &share.servable,
        });
        let mut scores = match canary.as_ref().filter(|_| !tried.is_empty()) {
            None => Scores {
                results: self.score_part(&servable, shadow, live, context).await?,
                model: servable.model.clone(),
            },
            Some(canary) => {
                let trial = TrialSide {
                    share: canary,
                    other: &servable,
                };
                let (by, model) = (&canary.servable, &canary.servable.model);
                if live.is_empty() {
                    let context = context.by(Arm::Canary);
                    Scores {
                        results: self.score_part(by, Some(trial), tried, context).await?,
                        model: model.clone(),
                    }
                } else {
                    let own = self.score_part(&servable, shadow, live, context.clone());
                    let tried = self.score_part(by, Some(trial), tried, context.by(Arm::Canary));
                    let (own, tried) = try_join(own, tried).await?;
                    Scores {
                        results: merge(&by_canary, own, tried, model),
                        model: servable.model.clone(),
                    }
                }
            }
        };
        self.metrics.whole.observe(start.elapsed().as_secs_f64());
        let results = scores.results.iter().map(EntityScore::result);
        self.metrics.count_entities(results);
        for result in &mut scores.results {
            result.hold_out = self.hold_out.includes(result.id.as_ref());
        }
        for listener in &self.listeners {
            listener.answered(now, &scores, &overridden);
        }
        Ok(scores)
    }

    /// By entity, whether the request replaces what feature sources hold of it; empty if it replaces nothing, or if nobody wants
    /// to know. Without a source, features of the request are the customer's own.
    fn overridden(&self, servable: &Servable, entities: &[Entity]) -> Vec<bool> {
        let overrides = |entity: &Entity| !entity.features.is_empty();
        if self.listeners.is_empty() || servable.plan.is_none() || !entities.iter().any(overrides) {
            return Vec::new();
        }
        entities.iter().map(overrides).collect()
    }

    /// Scores entities by one version; the other side of a trial, if any, scores copies afterwards.
    async fn score_part(
        self: &Arc<Self>,
        by: &Arc<Servable>,
        trial: Option<TrialSide<'_>>,
        entities: Vec<Entity>,
        context: PartContext,
    ) -> Result<Vec<EntityScore>, Error> {
        let copies = trial.map(|side| (side, Copies::of(&side, &entities)));
        let results = self.score_entities(by, entities, context).await?;
        if let Some((side, copies)) = copies {
            self.shadow.send(&side, by, copies, &results);
        }
        Ok(results)
    }

    /// Fetches the features of entities and scores them by one version; much work runs on a blocking thread.
    async fn score_entities(
        self: &Arc<Self>,
        by: &Arc<Servable>,
        entities: Vec<Entity>,
        context: PartContext,
    ) -> Result<Vec<EntityScore>, Error> {
        let PartContext {
            now,
            explain,
            deadline,
            permit,
            span,
            recording,
        } = context;
        check_deadline(deadline)?;
        let start = Instant::now();
        let fetched = fetch(by, &entities, now, deadline, &span).await;
        self.metrics.fetch.observe(start.elapsed().as_secs_f64());
        check_deadline(deadline)?;
        let forest = &by.model.forest;
        // Each reason needs the score of one more row. To assemble a value costs about as much as to walk a tree.
        let rows = 1 + explain.most().min(by.model.inputs.len());
        let work_per_entity = rows * forest.summary().trees + by.model.inputs.len();
        let walks = match explain.any() {
            true => explain_walks(forest, entities.len()),
            false => 0,
        };
        let walks = walks.saturating_add(entities.len() * work_per_entity);
        let (scorer, servable) = (self.clone(), by.clone());
        off_thread_if_long(walks, move || {
            let batch = EntityBatch {
                servable: &servable,
                entities,
                explain,
                fetched,
                now,
                span,
                recording,
            };
            let results = batch.score(&scorer.metrics, scorer.recorder.as_deref());
            // The permit ends with the work.
            drop(permit);
            results
        })
        .await
    }

    /// The cost of this many entities or rows with the wanted reasons.
    fn cost(entities: usize, explain: Wanted) -> usize {
        match explain.any() {
            // Each reason needs the score of one more row.
            true => entities.saturating_mul(EXPLAINED_COST.max(explain.most())),
            false => entities,
        }
    }

    /// Admits a client's request for this many entities or rows at this cost.
    fn permit(&self, client: &Client, entities: usize, cost: usize, bytes: usize) -> Result<Permit, Error> {
        if entities == 0 {
            return Err(Error::invalid("no entities or rows to score; send at least one").about("entities"));
        }
        let most = self.limits().batch;
        if entities > most {
            return Err(Error::too_large(format!(
                "{entities} entities or rows in one request; limits.batch allows {most}"
            )));
        }
        let memory = self.memory.reserve(bytes)?;
        let permit = self.admission.enter(client, entities, cost)?;
        // After admission, so that a refused request costs its client nothing.
        client.charge(cost)?;
        Ok(permit.with_memory(memory))
    }
}

/// Checks that the client still waits.
fn check_deadline(deadline: Option<Instant>) -> Result<(), Error> {
    match deadline {
        Some(deadline) if Instant::now() >= deadline => Err(Error::deadline_exceeded(
            "the deadline passed before the request was scored",
        )),
        _ => Ok(()),
    }
}

/// The cost of the contributions of this many rows in tree walks. The first ones of a forest wait until it is ready to explain,
/// which takes long.
fn explain_walks(forest: &Forest, rows: usize) -> usize {
    match forest.can_explain_at_once() {
        true => {
            let Summary { leaves, trees, .. } = forest.summary();
            let splits = leaves.saturating_sub(*trees);
            rows.saturating_mul((splits as f64 * WALKS_TO_EXPLAIN) as usize)
        }
        false => usize::MAX,
    }
}

/// Does the work of this many tree walks here, or on a blocking thread if it is long.
async fn off_thread_if_long<T: Send + 'static>(
    walks: usize,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if walks <= INLINE_WALKS {
        return work();
    }
    off_thread(work).await?
}
