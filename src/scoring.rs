//! The scoring path: a request takes one snapshot of what is live and uses it to its end.
//!
//! admit → model → features → vector → forest → answer. REST, gRPC and the offline command all come through here.

mod admission;
mod answer;
pub(crate) mod calibration;
mod domain;
mod infer;
pub(crate) mod live;
mod matrix;
pub mod rollout;
mod statistics;
pub mod tally;
pub mod tensor;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

pub use domain::{Entity, EntityScore, From, ModelRef, Outcome, Reason, ScoreRequest, Scored, Scores, Which};
pub use infer::{InferRequest, Inferred, OutputTensor, outputs};
pub use live::{Live, Served};
pub use statistics::Statistics;

use crate::error::Error;
use crate::telemetry::Metrics;
use admission::Admission;
use rollout::mirror::Mirror;
use rollout::split::Split;

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

/// Scores requests against what is live.
#[derive(Debug)]
pub struct Scorer {
    live: ArcSwap<Live>,
    limits: ArcSwap<Limits>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    mirror: Mirror,
}

impl Scorer {
    /// A scorer for `live`.
    ///
    /// # Errors
    /// The system gives no thread for scoring beside the answers.
    pub fn new(live: Live, limits: Limits, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        Ok(Self {
            live: ArcSwap::from_pointee(live),
            limits: ArcSwap::from_pointee(limits),
            admission: Arc::new(Admission::new(limits.in_flight)),
            metrics,
            mirror: Mirror::start()?,
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
    pub fn replace(&self, live: Live) -> Arc<Live> {
        self.live.swap(Arc::new(live))
    }

    /// What is live now.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Scores a request; a large one on a thread of its own.
    ///
    /// # Errors
    /// See [`Scorer::score`].
    pub async fn answer(self: &Arc<Self>, request: ScoreRequest) -> Result<Scores, Error> {
        let start = Instant::now();
        let permit = self.permit(request.entities.len())?;
        let live = self.live();
        let explain = if request.explain > 0 { WALKS_TO_EXPLAIN } else { 0 };
        let walks =
            request.entities.len() * (1 + explain) * live.find(&request.model)?.model.forest.summary().trees;
        let scorer = self.clone();
        off_thread_if(walks, move || {
            scorer.score_admitted(&live, request, &permit, start)
        })
        .await
    }

    /// Scores a request on this thread. Each entity has its own outcome.
    ///
    /// # Errors
    /// Only what concerns the request as a whole: no such model, no or too many entities, too much work at once.
    pub fn score(&self, request: ScoreRequest) -> Result<Scores, Error> {
        let start = Instant::now();
        let permit = self.permit(request.entities.len())?;
        self.score_admitted(&self.live(), request, &permit, start)
    }

    fn score_admitted(
        &self,
        live: &Live,
        request: ScoreRequest,
        _: &admission::Permit,
        start: Instant,
    ) -> Result<Scores, Error> {
        let served = live.find(&request.model)?;
        served.scorable()?;
        let trials = live.trials(&request.model);
        let scores = match trials {
            Some(rollout) => {
                let (metrics, mirror) = (&*self.metrics, &self.mirror);
                let split = Split {
                    served,
                    rollout,
                    metrics,
                    mirror,
                };
                split.score(request)?
            }
            None => Scores {
                model: served.model.clone(),
                results: answer::score_all(served, request, &self.metrics)?,
            },
        };
        self.metrics.whole.observe(start.elapsed().as_secs_f64());
        self.metrics
            .entities_scored(scores.results.iter().map(EntityScore::result));
        Ok(scores)
    }

    /// Leave to score so many entities or rows.
    fn permit(&self, entities: usize) -> Result<admission::Permit, Error> {
        if entities == 0 {
            return Err(Error::Invalid(
                "there is nothing to score; send at least one entity or row".to_owned(),
            ));
        }
        let most = self.limits().batch;
        if entities > most {
            return Err(Error::TooLarge(format!(
                "{entities} entities or rows in one request, at most {most} are allowed"
            )));
        }
        self.admission.enter(entities)
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
        .unwrap_or_else(|error| Err(Error::Internal(format!("scoring stopped: {error}"))))
}
