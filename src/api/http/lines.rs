//! `POST /v1/models/{model}/scores`: a line in, a line out, for bulk. Any number of lines passes through bounded memory:
//! no more is read than is being scored, and a client that does not take its answers is waited for, then given up.

mod reader;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{timeout, timeout_at};
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::body;
use super::deadline::{DeadlineHeader, RequestHeaders};
use super::problem::Problems;
use super::score::ScoreQuery;
use super::score::wire::{EntityBody, ResultBody};
use super::{HttpState, StreamLimits};
use crate::api::context::about_model;
use crate::api::context::deadline::{earlier, within};
use crate::api::request_metrics::RequestCounters;
use crate::error::{Error, ErrorKind};
use crate::scoring::{Entity, ModelRef, ScoreRequest, Scorer, VersionSelector};
use reader::{BodyLine, LineReader, Text};

/// Lines scored at once: enough for the forest to work in bulk, few enough that answers flow.
const BATCH: usize = 512;

/// How long to wait when the server is at its limit: single requests go first.
const PAUSE: Duration = Duration::from_millis(20);

/// The answer to one line.
#[derive(Serialize, ToSchema)]
pub(super) struct LineBody<'a> {
    /// The line's number in the request, from 1. Empty lines are counted, but not answered.
    #[schema(example = 1)]
    line: u64,
    /// The version of the model that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 3)]
    version: Option<u64>,
    #[serde(flatten)]
    result: ResultBody<'a>,
}

/// Scores any number of entities, one JSON object a line, answered line by line in the same order.
///
/// Read the answers while sending: the server reads no further while they are not taken. What is wrong with one line
/// stands in its answer. When the whole cannot go on (the server stops, the time is up), the last answer says why, with
/// the number of the first line that has no score.
#[utoipa::path(
    post, path = "/v1/models/{model}/scores", tag = "score",
    params(("model" = String, Path, example = "churn"), ScoreQuery, RequestHeaders),
    request_body(content = EntityBody, content_type = "application/x-ndjson"),
    responses(
        (status = 200, body = LineBody, content_type = "application/x-ndjson"),
        Problems,
    )
)]
pub(super) async fn score_lines(
    State(rest): State<HttpState>,
    DeadlineHeader(deadline): DeadlineHeader,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<ScoreQuery>, QueryRejection>,
    body: Body,
) -> Result<Response, Error> {
    let prepare = || {
        let Path(name) = path.map_err(|rejection| Error::invalid(rejection.body_text()))?;
        let Query(query) = query.map_err(|rejection| Error::invalid(rejection.body_text()))?;
        about_model(&name);
        let deadline = deadline?;
        let model = ModelRef {
            name,
            version: VersionSelector::from_parts(query.version, query.label)?,
        };
        rest.scorer.live().find(&model)?.scorable()?;
        Ok((model, query.explain, deadline))
    };
    let (model, explain, deadline) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => return rest.counters.score_lines.count(Err(error)),
    };
    let longest = rest.streams.settings.line_bytes;
    let seconds = Duration::from_secs(rest.streams.settings.seconds);
    let bulk = Bulk {
        scorer: rest.scorer.clone(),
        counters: rest.counters.score_lines.clone(),
        streams: rest.streams,
        deadline: earlier(deadline, Instant::now().checked_add(seconds)),
        model,
        explain,
    };
    // One answer may wait while the next batch is scored.
    let (sender, mut receiver) = mpsc::channel(1);
    tokio::spawn(bulk.run(LineReader::new(body, longest), sender).in_current_span());
    // Compression asks on after the end, which a channel allows.
    let answers = stream::poll_fn(move |context| {
        let answer = receiver.poll_recv(context);
        answer.map(|bytes| bytes.map(Ok::<Bytes, Infallible>))
    });
    Ok((
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(answers),
    )
        .into_response())
}

/// One bulk request.
struct Bulk {
    scorer: Arc<Scorer>,
    counters: RequestCounters,
    streams: Arc<StreamLimits>,
    deadline: Option<Instant>,
    model: ModelRef,
    explain: usize,
}

impl Bulk {
    async fn run(self, mut lines: LineReader, answers: mpsc::Sender<Bytes>) {
        let result = self.answer_all(&mut lines, &answers).await;
        let number = result.as_ref().err().map_or(0, |&(number, _)| number);
        if let Err(error) = self.counters.count(result.map_err(|(_, error)| error)) {
            let last = line_body(number, None, ResultBody::failed(&error));
            if let Ok(text) = text(&[last]) {
                // A client that is gone has no use for it.
                let _ = timeout(self.idle(), answers.send(text)).await;
            }
        }
    }

    /// Answers batch after batch; an error ends it, with the number of the first line that was not answered.
    async fn answer_all(
        &self,
        lines: &mut LineReader,
        answers: &mpsc::Sender<Bytes>,
    ) -> Result<(), (u64, Error)> {
        loop {
            let next = lines.number() + 1;
            let batch = self.next(lines).await.map_err(|error| (next, error))?;
            let Some(first) = batch.first().map(|line| line.number) else {
                return Ok(());
            };
            let at_first = |error| (first, error);
            let bytes = self.answer(batch).await.map_err(at_first)?;
            match timeout(self.idle(), answers.send(bytes)).await {
                Ok(Ok(())) => {}
                // The client is gone: it has what it wanted.
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(at_first(self.idle_for_long("answers were not taken"))),
            }
        }
    }

    fn idle(&self) -> Duration {
        Duration::from_secs(self.streams.settings.idle_seconds)
    }

    fn idle_for_long(&self, what: &str) -> Error {
        Error::deadline_exceeded(format!(
            "{what} for {} s (`streams.idle_seconds`)",
            self.streams.settings.idle_seconds
        ))
    }

    /// The next lines; none at the end.
    async fn next(&self, lines: &mut LineReader) -> Result<Vec<BodyLine>, Error> {
        let most = BATCH.min(self.scorer.limits().batch);
        tokio::select! {
            biased;
            () = self.streams.closing.cancelled() => Err(Error::unavailable("the server is stopping: send the rest again".to_owned())),
            () = at(self.deadline) => Err(self.time_is_up()),
            batch = timeout(self.idle(), lines.batch(most)) => match batch {
                Ok(batch) => batch.map_err(|error| Error::invalid(format!("the body broke off: {error}"))),
                Err(_) => Err(self.idle_for_long("no line came")),
            },
        }
    }

    fn time_is_up(&self) -> Error {
        Error::deadline_exceeded(format!(
            "the time was up: the request's own, or {} s (`streams.seconds`)",
            self.streams.settings.seconds
        ))
    }

    /// The answers to some lines.
    async fn answer(&self, batch: Vec<BodyLine>) -> Result<Bytes, Error> {
        let mut entities = Vec::with_capacity(batch.len());
        let mut lines = Vec::with_capacity(batch.len());
        for line in batch {
            let entity = self.parse(line.text);
            lines.push((line.number, entity.as_ref().err().cloned()));
            entities.extend(entity.ok());
        }
        let scores = match entities.is_empty() {
            true => None,
            false => Some(self.score(entities).await?),
        };
        let model = scores.as_ref().map(|scores| &*scores.model);
        let mut results = scores.iter().flat_map(|scores| &scores.results);
        let bodies = lines.into_iter().map(|(number, error)| match error {
            Some(error) => Ok(line_body(number, None, ResultBody::failed(&error))),
            None => match model.zip(results.next()) {
                Some((model, result)) => {
                    let version = Some(model.version);
                    Ok(line_body(number, version, ResultBody::new(model, result)))
                }
                None => Err(Error::internal("a line without a result".to_owned())),
            },
        });
        text(&bodies.collect::<Result<Vec<_>, _>>()?)
    }

    fn parse(&self, text: Text) -> Result<Entity, Error> {
        match text {
            Text::Whole(text) => body::parse::<EntityBody>(&text).map(Into::into),
            Text::TooLong => Err(Error::too_large(format!(
                "the line is longer than {} bytes (`streams.line_bytes`)",
                self.streams.settings.line_bytes
            ))),
        }
    }

    /// Scores a batch; while the server is at its limit, waits: there is no hurry in bulk.
    async fn score(&self, entities: Vec<Entity>) -> Result<crate::scoring::Scores, Error> {
        loop {
            let request = ScoreRequest {
                model: self.model.clone(),
                entities: entities.clone(),
                explain: self.explain,
                deadline: self.deadline,
            };
            match within(self.deadline, self.scorer.answer(request)).await {
                Err(error) if error.kind() == ErrorKind::Overloaded => {
                    let pause = at(self.deadline);
                    if timeout(PAUSE, pause).await.is_ok() {
                        return Err(self.time_is_up());
                    }
                }
                result => return result,
            }
        }
    }
}

/// Waits until then, or for ever.
async fn at(deadline: Option<Instant>) {
    let forever = std::future::pending::<()>();
    match deadline {
        Some(deadline) => {
            let _ = timeout_at(deadline.into(), forever).await;
        }
        None => forever.await,
    }
}

/// One place for the version: the result's own goes before `version`.
fn line_body(line: u64, version: Option<u64>, mut result: ResultBody<'_>) -> LineBody<'_> {
    LineBody {
        line,
        version: result.version.take().or(version),
        result,
    }
}

/// Answers as lines.
fn text(bodies: &[LineBody<'_>]) -> Result<Bytes, Error> {
    let mut text = Vec::with_capacity(bodies.len() * 128);
    for body in bodies {
        serde_json::to_writer(&mut text, body).map_err(|error| Error::internal(error.to_string()))?;
        text.push(b'\n');
    }
    Ok(text.into())
}
