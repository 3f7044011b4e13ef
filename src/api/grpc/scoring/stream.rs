//! `ScoreStream`: scores batches and answers them in order. The stream reads only the batches that it works on, so that
//! HTTP/2 flow control slows down a client that sends faster than the server answers.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{Instrument as _, Span};

use super::super::proto::score_stream_response::Outcome;
use super::super::{proto, status};
use super::{into_domain, response};
use crate::api::context::deadline::{earlier, within};
use crate::api::request_metrics::{RequestCounters, RequestMetrics};
use crate::app::App;
use crate::error::Error;
use crate::memory::{RequestMemory, Reservation};
use crate::scoring::{Client, Scorer, Scores};

/// The responses of one stream.
pub(in crate::api::grpc) type Answers =
    Pin<Box<dyn Stream<Item = Result<proto::ScoreStreamResponse, Status>> + Send>>;

/// Answers streams of batches.
pub(super) struct BatchStream {
    scorer: Arc<Scorer>,
    counters: RequestCounters,
    /// Maximum batches in progress per stream.
    concurrency: usize,
    max_duration: Duration,
    closing: CancellationToken,
}

impl BatchStream {
    pub(super) fn new(app: &App, metrics: &RequestMetrics) -> Self {
        Self {
            scorer: app.scorer.clone(),
            counters: metrics.stream_counters("grpc", "score_stream"),
            concurrency: app.config.streams.batches,
            max_duration: Duration::from_secs(app.config.streams.seconds),
            closing: app.closing.clone(),
        }
    }

    /// Answers `batches` until they end, the deadline passes or the server stops.
    pub(super) fn answers<B>(
        &self,
        client: Client,
        batches: B,
        deadline: Option<Instant>,
        memory: Option<RequestMemory>,
        window: Option<Reservation>,
    ) -> Answers
    where
        B: Stream<Item = Result<proto::ScoreStreamRequest, Status>> + Send + Unpin + 'static,
    {
        let deadline = earlier(deadline, Instant::now().checked_add(self.max_duration));
        let end = Box::pin(early_end(self.closing.clone(), deadline));
        let batch_scorer = BatchScorer {
            scorer: self.scorer.clone(),
            counters: self.counters.clone(),
            client,
            closing: self.closing.clone(),
            deadline,
        };
        let batch_scorer = Arc::new(batch_scorer);
        // The call's span ends when the stream begins; keep it, so that later log lines have the request id.
        let span = Span::current();
        let answers = take_until(batches, end)
            .map(move |batch| {
                let batch_scorer = batch_scorer.clone();
                // Held as long as the stream.
                let _window = &window;
                // The batch has its own share of the memory; the stream goes on.
                let held = memory.as_ref().map(RequestMemory::split_decoded);
                async move {
                    // Yield now and then, so that a fast client does not starve other tasks.
                    tokio::task::consume_budget().await;
                    let answer = batch_scorer.answer(batch?).await;
                    drop(held);
                    Ok(answer)
                }
                .instrument(span.clone())
            })
            .buffered(self.concurrency);
        Box::pin(answers)
    }
}

/// Waits for the stop of the server or the deadline, and returns the error for the client.
async fn early_end(closing: CancellationToken, deadline: Option<Instant>) -> Error {
    let deadline_exceeded = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = closing.cancelled() => stopping(),
        () = deadline_exceeded => Error::deadline_exceeded("the stream's deadline was exceeded (`grpc-timeout` or `streams.seconds`)".to_owned()),
    }
}

/// Passes batches on until `end` resolves, whose error becomes the last item.
fn take_until<B>(
    batches: B,
    end: impl Future<Output = Error> + Unpin,
) -> impl Stream<Item = Result<proto::ScoreStreamRequest, Status>>
where
    B: Stream<Item = Result<proto::ScoreStreamRequest, Status>> + Unpin,
{
    stream::unfold(Some((batches, end)), |state| async {
        let (mut batches, mut end) = state?;
        let next = tokio::select! {
            biased;
            error = &mut end => Err(error.into()),
            batch = batches.next() => batch?,
        };
        let state = next.is_ok().then_some((batches, end));
        Some((next, state))
    })
}

fn stopping() -> Error {
    Error::unavailable("the server is stopping: reconnect and send the unanswered batches again".to_owned())
}

/// Scores the batches of one stream.
struct BatchScorer {
    scorer: Arc<Scorer>,
    counters: RequestCounters,
    client: Client,
    closing: CancellationToken,
    deadline: Option<Instant>,
}

impl BatchScorer {
    /// Answers one batch. An error in the batch does not end the stream.
    async fn answer(&self, batch: proto::ScoreStreamRequest) -> proto::ScoreStreamResponse {
        let outcome = match self.counters.count(self.score(batch.request).await) {
            Ok(scores) => Outcome::Response(response(scores)),
            Err(error) => Outcome::Error(status::message(&error.into())),
        };
        proto::ScoreStreamResponse {
            batch_id: batch.batch_id,
            outcome: Some(outcome),
        }
    }

    /// Scores a batch once it is admitted. Flow control slows the client down meanwhile.
    async fn score(&self, request: Option<proto::ScoreRequest>) -> Result<Scores, Error> {
        let request = request
            .ok_or_else(|| Error::invalid("`request`: missing in the batch".to_owned()).about("request"))?;
        let request = into_domain(self.client.clone(), request, self.deadline)?;
        let score = async {
            let permit = tokio::select! {
                biased;
                permit = self.scorer.admit_in_time(&request) => permit?,
                () = self.closing.cancelled() => return Err(stopping()),
            };
            self.scorer.answer_with(permit, request).await
        };
        within(self.deadline, score).await
    }
}
