//! `ScoreStream`: batch after batch, answered in order. The stream reads no further than the batches it works on, so
//! HTTP/2's own flow control holds a client back that sends faster than it is answered.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{Instrument as _, Span};

use super::super::proto::score_stream_response::Outcome;
use super::super::{proto, status};
use super::{domain, response};
use crate::api::context::deadline::{earlier, within};
use crate::api::request_metrics::{RequestCounters, RequestMetrics};
use crate::app::App;
use crate::error::Error;
use crate::scoring::{Scorer, Scores};

/// The answers of one stream.
pub(in crate::api::grpc) type Answers =
    Pin<Box<dyn Stream<Item = Result<proto::ScoreStreamResponse, Status>> + Send>>;

/// Answers streams of batches.
pub(super) struct BatchStream {
    scorer: Arc<Scorer>,
    counters: RequestCounters,
    /// How many are worked on at the same time.
    at_once: usize,
    longest: Duration,
    closing: CancellationToken,
}

impl BatchStream {
    pub(super) fn new(app: &App, metrics: &RequestMetrics) -> Self {
        Self {
            scorer: app.scorer.clone(),
            counters: metrics.counters("grpc", "score_stream"),
            at_once: app.config.streams.batches,
            longest: Duration::from_secs(app.config.streams.seconds),
            closing: app.closing.clone(),
        }
    }

    /// The answers to `batches`, until these end, the time is up or the server stops.
    pub(super) fn answers<B>(&self, batches: B, deadline: Option<Instant>) -> Answers
    where
        B: Stream<Item = Result<proto::ScoreStreamRequest, Status>> + Send + Unpin + 'static,
    {
        let deadline = earlier(deadline, Instant::now().checked_add(self.longest));
        let end = Box::pin(end(self.closing.clone(), deadline));
        let (scorer, counters) = (self.scorer.clone(), self.counters.clone());
        // The call itself is over when the stream begins; its log lines go on bearing its id.
        let span = Span::current();
        let answers = until(batches, end)
            .map(move |batch| {
                let (scorer, counters) = (scorer.clone(), counters.clone());
                async move {
                    // Others on this thread get their turn, however fast a client sends.
                    tokio::task::consume_budget().await;
                    Ok(answer(&scorer, &counters, batch?, deadline).await)
                }
                .instrument(span.clone())
            })
            .buffered(self.at_once);
        Box::pin(answers)
    }
}

/// Why a stream ends before its client ends it.
async fn end(closing: CancellationToken, deadline: Option<Instant>) -> Error {
    let time_is_up = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = closing.cancelled() => {
            Error::unavailable("the server is stopping: connect again, and send what was not answered".to_owned())
        }
        () = time_is_up => Error::deadline_exceeded("the stream's time was up: `grpc-timeout`, or `streams.seconds`".to_owned()),
    }
}

/// The batches, and as the last item why there are no more, if it is not the client's wish.
fn until<B>(
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

/// One batch's answer: an error of its own does not end the stream.
async fn answer(
    scorer: &Arc<Scorer>,
    counters: &RequestCounters,
    batch: proto::ScoreStreamRequest,
    deadline: Option<Instant>,
) -> proto::ScoreStreamResponse {
    let outcome = match counters.count(score(scorer, batch.request, deadline).await) {
        Ok(scores) => Outcome::Response(response(scores)),
        Err(error) => Outcome::Error(status::message(&error.into())),
    };
    proto::ScoreStreamResponse {
        batch_id: batch.batch_id,
        outcome: Some(outcome),
    }
}

async fn score(
    scorer: &Arc<Scorer>,
    request: Option<proto::ScoreRequest>,
    deadline: Option<Instant>,
) -> Result<Scores, Error> {
    let request = request.ok_or_else(|| Error::invalid("`request`: a batch needs one".to_owned()))?;
    within(deadline, scorer.answer(domain(request, deadline)?)).await
}
