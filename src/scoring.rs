//! The scoring path: a request takes one snapshot of what is live and uses it to its end.
//!
//! admit → model → features → vector → forest → answer. REST, gRPC and the offline command all come through here.

mod admission;
mod answer;
pub mod answer_stats;
pub(crate) mod calibration;
mod infer;
pub(crate) mod live_set;
mod matrix;
mod request;
pub mod rollout;
pub mod tensor;
mod tensor_stats;
mod trace;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

pub use infer::{InferRequest, InferResponse, OutputTensor, outputs};
pub use live_set::{LiveSet, Servable};
pub use request::{
    Entity, EntityScore, FeatureOrigin, ModelRef, Outcome, Reason, Score, ScoreRequest, Scores,
    VersionSelector,
};
pub use tensor_stats::TensorStats;
pub use trace::{EntityFeatures, FeatureDetail};

use crate::error::Error;
use crate::features::plan::FetchedFeatures;
use crate::features::sources::canonical;
use crate::telemetry::Metrics;
use crate::values::time;
use admission::Admission;
use rollout::shadow::Shadow;
use rollout::{Rollout, canary};

/// Limits of one request and of all together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most entities in a request.
    pub batch: usize,
    /// Most entities being scored at the same time.
    pub in_flight: usize,
    /// Most numbers in an answer on tensors.
    pub numbers: usize,
}

/// Tree walks above which a request is moved off the threads that serve connections: a small request is done before
/// a hand-over would be (32,768 walks take about 0.1 ms), a large one must not keep others waiting.
const INLINE_WALKS: usize = 32 * 1024;

/// Tree walks that explaining a score costs, against one for the score.
const WALKS_TO_EXPLAIN: usize = 100;

/// What an explained entity counts for among those being scored. Less than it costs, so that the largest batch fits.
const EXPLAINED_COST: usize = 10;

/// Scores requests against what is live.
#[derive(Debug)]
pub struct Scorer {
    live: ArcSwap<LiveSet>,
    limits: ArcSwap<Limits>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    mirror: Shadow,
}

impl Scorer {
    /// A scorer for `live`.
    ///
    /// # Errors
    /// The system gives no thread for scoring beside the answers.
    pub fn new(live: LiveSet, limits: Limits, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        Ok(Self {
            live: ArcSwap::from_pointee(live),
            limits: ArcSwap::from_pointee(limits),
            admission: Arc::new(Admission::new(limits.in_flight)),
            metrics,
            mirror: Shadow::start()?,
        })
    }

    /// The limits of requests.
    pub fn limits(&self) -> Limits {
        **self.limits.load()
    }

    /// Sets other limits, for requests from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.admission.set_limit(limits.in_flight);
        self.limits.store(Arc::new(limits));
    }

    /// Puts something else in front of the requests from now on; what was live before, which those that have begun
    /// use to their end.
    pub fn replace(&self, live: LiveSet) -> Arc<LiveSet> {
        self.live.swap(Arc::new(live))
    }

    /// What is live now.
    pub fn live(&self) -> Arc<LiveSet> {
        self.live.load_full()
    }

    /// Scores a request: features are fetched, then a large batch goes to a thread of its own. Each entity has its own
    /// outcome.
    ///
    /// # Errors
    /// Only what concerns the request as a whole: no such model, no or too many entities, too much work at once, or no
    /// time left.
    pub async fn answer(self: &Arc<Self>, request: ScoreRequest) -> Result<Scores, Error> {
        let permit = self.permit(request.entities.len(), request.explain > 0)?;
        let live = self.live();
        let served = live.find(&request.model)?.clone();
        let trials = live.trials(&request.model).cloned();
        self.answer_admitted(served, trials, request, permit).await
    }

    async fn answer_admitted(
        self: &Arc<Self>,
        served: Arc<Servable>,
        trials: Option<Rollout>,
        request: ScoreRequest,
        permit: admission::Permit,
    ) -> Result<Scores, Error> {
        let start = Instant::now();
        served.scorable()?;
        let permit = Arc::new(permit);
        let scores = match trials {
            Some(rollout) => canary::answer(self, &served, &rollout, request, &permit).await?,
            None => Scores {
                results: self.score(&served, request, permit).await?,
                model: served.model.clone(),
            },
        };
        self.metrics.whole.observe(start.elapsed().as_secs_f64());
        self.metrics
            .entities_scored(scores.results.iter().map(EntityScore::result));
        Ok(scores)
    }

    /// Scores entities by one version.
    async fn score(
        self: &Arc<Self>,
        served: &Arc<Servable>,
        request: ScoreRequest,
        permit: Arc<admission::Permit>,
    ) -> Result<Vec<EntityScore>, Error> {
        let ScoreRequest {
            entities,
            explain,
            deadline,
            ..
        } = request;
        in_time(deadline)?;
        let now = time::now();
        let gathered = gather(served, &entities, now, deadline).await;
        in_time(deadline)?;
        let explaining = if explain > 0 { WALKS_TO_EXPLAIN } else { 0 };
        let walks = entities.len() * (1 + explaining) * served.model.forest.summary().trees;
        let (scorer, served) = (self.clone(), served.clone());
        off_thread_if(walks, move || {
            let batch = answer::EntityBatch {
                served: &served,
                entities,
                explain,
                gathered,
                now,
            };
            let results = answer::score_all(batch, &scorer.metrics);
            // The leave to work ends with the work.
            drop(permit);
            results
        })
        .await
    }

    /// Leave to score so many entities or rows, and to explain them.
    fn permit(&self, entities: usize, explained: bool) -> Result<admission::Permit, Error> {
        if entities == 0 {
            return Err(Error::invalid(
                "there is nothing to score; send at least one entity or row".to_owned(),
            ));
        }
        let most = self.limits().batch;
        if entities > most {
            return Err(Error::too_large(format!(
                "{entities} entities or rows in one request, at most {most} are allowed"
            )));
        }
        let cost = if explained { EXPLAINED_COST } else { 1 };
        self.admission.enter(entities, entities.saturating_mul(cost))
    }
}

/// What the remote sources have for the entities with an id; nothing is asked when no source is remote.
async fn gather(
    served: &Servable,
    entities: &[Entity],
    now: f64,
    deadline: Option<Instant>,
) -> FetchedFeatures {
    match served.plan.as_ref().filter(|plan| plan.is_remote()) {
        None => FetchedFeatures::default(),
        Some(plan) => {
            let ids = canonical(entities.iter().filter_map(|entity| entity.id.as_ref()));
            plan.gather(&ids, now, deadline.map(leave_time)).await
        }
    }
}

/// The instant by which features have to be there so that a score can be answered before `deadline`: a tenth of the
/// time is left, at most 5 ms.
fn leave_time(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    deadline - (left / 10).min(Duration::from_millis(5))
}

fn in_time(deadline: Option<Instant>) -> Result<(), Error> {
    match deadline {
        Some(deadline) if Instant::now() >= deadline => Err(Error::deadline_exceeded(
            "the request's time was up before it was scored".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Does so much work here, or, if it is much, on a thread that may take its time.
async fn off_thread_if<T: Send + 'static>(
    walks: usize,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if walks <= INLINE_WALKS {
        return work();
    }
    let task = tokio::task::spawn_blocking(work);
    task.await
        .unwrap_or_else(|error| Err(Error::internal(format!("scoring stopped: {error}"))))
}
