//! `POST /v1/models/{model}/scores`: bulk scoring of JSON lines, in bounded memory for any number of lines. The server
//! reads only the lines that it scores, waits for a client that does not read its answers, and gives up after
//! `streams.idle_seconds`.

pub(super) mod reader;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{timeout, timeout_at};
use tracing::Instrument as _;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::body;
use super::deadline::{DeadlineHeader, RequestHeaders};
use super::parameters::{ExplainParameter, PathParameters, QueryParameters, VersionParameters, path};
use super::problem::{Problems, with_unread_body};
use super::schema::lines;
use super::score::wire::{EntityBody, ResultBody};
use super::{HttpState, StreamLimits};
use crate::api::client::RequestClient;
use crate::api::context::deadline::{earlier, within};
use crate::api::context::record_model;
use crate::api::request_metrics::RequestCounters;
use crate::error::{Error, ErrorKind};
use crate::memory;
use crate::memory::RequestMemory;
use crate::scoring::{Client, Entity, ModelRef, ScoreRequest, Scorer, Scores, Wanted};
use crate::work;
use reader::{BodyLine, BodyLines, LineText};

/// Maximum lines per batch: enough for the batch kernels, few enough for a steady flow of answers.
const BATCH: usize = 512;

/// How long a batch waits for memory. It holds some meanwhile, so not for ever.
const MOST_WAIT: Duration = Duration::from_secs(10);

/// Pause before the next attempt to get memory.
const PAUSE: Duration = Duration::from_millis(20);

/// Time between two looks at the memory while a request waits for its client.
const MEMORY_TICK: Duration = Duration::from_secs(2);

/// The answer to one line.
#[derive(Serialize, ToSchema)]
pub(super) struct LineBody<'a> {
    /// Line number in the request, from 1. Empty lines count, but have no answer.
    #[schema(example = 1)]
    line: u64,
    /// The version that gave this score.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 3)]
    version: Option<u64>,
    #[serde(flatten)]
    result: ResultBody<'a>,
}

/// The body of a bulk request: a line per entity.
pub(super) struct EntityLines;

impl PartialSchema for EntityLines {
    fn schema() -> RefOr<Schema> {
        lines("One entity per line, as a JSON object.", &EntityBody::name())
    }
}

impl ToSchema for EntityLines {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((EntityBody::name().into(), EntityBody::schema()));
        EntityBody::schemas(schemas);
    }
}

/// The body of a bulk answer: a line per entity.
pub(super) struct ScoreLines;

impl PartialSchema for ScoreLines {
    fn schema() -> RefOr<Schema> {
        lines("One answer per line, as a JSON object.", &LineBody::name())
    }
}

impl ToSchema for ScoreLines {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((LineBody::name().into(), LineBody::schema()));
        LineBody::schemas(schemas);
    }
}

/// Scores any number of entities: one JSON object per line in, one answer per line out, in the same order.
///
/// Read the answers while you send: the server stops reading when its answers are not taken. An invalid line gets an
/// error as its answer; the others are scored. If the request cannot continue (the server stops, the deadline is
/// exceeded), the last answer has the reason and the number of the first line without a score.
#[utoipa::path(
    post, path = "/v1/models/{model}/scores", tag = "score",
    params(("model" = String, Path, example = "churn"), VersionParameters, ExplainParameter, RequestHeaders),
    request_body(
        content = EntityLines, content_type = "application/x-ndjson",
        example = "{\"id\": \"C-1042\"}\n{\"id\": \"C-4\"}\n"
    ),
    responses(
        (status = 200, description = "One answer per line", body = ScoreLines, content_type = "application/x-ndjson"),
        Problems,
    )
)]
pub(super) async fn score_lines(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    DeadlineHeader(deadline): DeadlineHeader,
    parameters: PathParameters<String>,
    QueryParameters(query): QueryParameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let prepare = || {
        let name = path(parameters)?;
        let query = query?;
        record_model(&name);
        let deadline = deadline?;
        let model = ModelRef {
            name,
            version: query.version,
        };
        state.scorer.live().find(&model)?.scorable()?;
        Ok((model, query.explain, deadline))
    };
    let (model, explain, deadline) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => {
            let result = state.counters.score_lines.count(Err(error));
            return result.map_err(with_unread_body);
        }
    };
    let max_line_bytes = state.streams.settings.line_bytes;
    let seconds = Duration::from_secs(state.streams.settings.seconds);
    let memory = memory::current();
    let bulk = BulkRequest {
        memory: memory.clone(),
        scorer: state.scorer.clone(),
        counters: state.counters.score_lines.clone(),
        streams: state.streams,
        deadline: earlier(deadline, Instant::now().checked_add(seconds)),
        client: client.in_bulk(),
        model,
        explain,
    };
    let mut lines = BodyLines::new(body, max_line_bytes, memory);
    if expects_continue(&headers) {
        // Such a client sends its body only after `100 Continue`, which must precede the head of the response. Reading
        // makes hyper send it. An error or a timeout here shows again when the lines are read.
        let _ = timeout(bulk.idle(), lines.fill()).await;
    }
    // Capacity 1: one answer waits while the next batch is scored.
    let (sender, mut receiver) = mpsc::channel(1);
    tokio::spawn(bulk.run(lines, sender).in_current_span());
    // Compression polls again after the end, which a channel allows.
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

/// Whether the client waits for `100 Continue` before it sends the body.
fn expects_continue(headers: &HeaderMap) -> bool {
    let expect = headers.get(header::EXPECT).map(HeaderValue::as_bytes);
    expect.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// A bulk request in progress.
struct BulkRequest {
    /// The account of the request.
    memory: Option<RequestMemory>,
    scorer: Arc<Scorer>,
    counters: RequestCounters,
    streams: Arc<StreamLimits>,
    deadline: Option<Instant>,
    client: Client,
    model: ModelRef,
    explain: Wanted,
}

impl BulkRequest {
    async fn run(self, mut lines: BodyLines, answers: mpsc::Sender<Bytes>) {
        let result = self.answer_all(&mut lines, &answers).await;
        let number = result.as_ref().err().map_or(0, |&(number, _)| number);
        if let Err(error) = self.counters.count(result.map_err(|(_, error)| error)) {
            let last_line = line_body(number, None, ResultBody::failed(&error));
            if let Ok(text) = text(&[last_line]) {
                // Best effort: the client may have disconnected.
                let _ = timeout(self.idle(), answers.send(text)).await;
            }
        }
    }

    /// Answers all lines in batches.
    ///
    /// # Errors
    /// The number of the first line without an answer, and why.
    async fn answer_all(
        &self,
        lines: &mut BodyLines,
        answers: &mpsc::Sender<Bytes>,
    ) -> Result<(), (u64, Error)> {
        loop {
            let next = lines.number() + 1;
            let batch = tokio::select! {
                biased;
                // Client disconnected: not an error, and nobody needs the scores of the lines that have arrived.
                () = answers.closed() => return Ok(()),
                batch = self.next_batch(lines) => batch.map_err(|error| (next, error))?,
            };
            let Some(first) = batch.first().map(|line| line.number) else {
                return Ok(());
            };
            let at_first = |error| (first, error);
            let bytes = self.answer(batch).await.map_err(at_first)?;
            lines.release();
            match timeout(self.idle(), answers.send(bytes)).await {
                Ok(Ok(())) => {}
                // Client disconnected.
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(at_first(self.idle_error("the answers were not read"))),
            }
        }
    }

    fn idle(&self) -> Duration {
        Duration::from_secs(self.streams.settings.idle_seconds)
    }

    fn idle_error(&self, what: &str) -> Error {
        Error::deadline_exceeded(format!(
            "{what} for {} s (`streams.idle_seconds`)",
            self.streams.settings.idle_seconds
        ))
    }

    /// Waits for the next lines; returns none at the end of the body.
    async fn next_batch(&self, lines: &mut BodyLines) -> Result<Vec<BodyLine>, Error> {
        let most = BATCH.min(self.scorer.limits().batch);
        tokio::select! {
            biased;
            () = self.streams.closing.cancelled() => Err(stopping()),
            () = sleep_until(self.deadline) => Err(self.deadline_error()),
            () = self.memory_is_short() => Err(short_of_memory()),
            batch = timeout(self.idle(), lines.batch(most)) => match batch {
                Ok(batch) => batch,
                Err(_) => Err(self.idle_error("no line arrived")),
            },
        }
    }

    /// Waits until the memory is short. Not at once: the next line may be there already.
    async fn memory_is_short(&self) {
        loop {
            tokio::time::sleep(MEMORY_TICK).await;
            if self.memory.as_ref().is_some_and(RequestMemory::budget_is_short) {
                return;
            }
        }
    }

    fn deadline_error(&self) -> Error {
        Error::deadline_exceeded(format!(
            "deadline exceeded: the request's own, or {} s (`streams.seconds`)",
            self.streams.settings.seconds
        ))
    }

    /// Scores a batch of lines and returns the answers as bytes.
    async fn answer(&self, batch: Vec<BodyLine>) -> Result<Bytes, Error> {
        let most_bytes = self.streams.settings.line_bytes;
        let bytes = batch.iter().map(BodyLine::bytes).sum();
        let parsed = self.patiently(|| {
            let batch = batch.clone();
            body::parsed_in(self.memory.clone(), bytes, move || parse_all(batch, most_bytes))
        });
        let (lines, entities) = parsed.await?;
        let _parsed = self.memory.as_ref().map(RequestMemory::split_decoded);
        let scores = match entities.is_empty() {
            true => None,
            false => Some(self.score(entities).await?),
        };
        let bytes = LINE_BYTES * lines.len();
        let text = work::on_bytes(bytes, move || answers(lines, scores.as_ref())).await??;
        Ok(body::held(self.memory.as_ref(), text))
    }

    /// Scores a batch once it is admitted: bulk requests can wait, unless memory is short.
    async fn score(&self, entities: Vec<Entity>) -> Result<Scores, Error> {
        let request = ScoreRequest {
            client: self.client.clone(),
            model: self.model.clone(),
            entities,
            explain: self.explain,
            deadline: self.deadline,
        };
        let permit = tokio::select! {
            biased;
            permit = self.scorer.admit_in_time(&request) => permit?,
            () = self.streams.closing.cancelled() => return Err(stopping()),
            () = sleep_until(self.deadline) => return Err(self.deadline_error()),
            () = self.memory_is_short() => return Err(short_of_memory()),
        };
        within(self.deadline, self.scorer.answer_with(permit, request)).await
    }

    /// Retries while the memory is in use.
    async fn patiently<T, F: Future<Output = Result<T, Error>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Error> {
        let start = Instant::now();
        loop {
            match attempt().await {
                Err(error) if error.kind() == ErrorKind::Overloaded && start.elapsed() < MOST_WAIT => {
                    if timeout(PAUSE, sleep_until(self.deadline)).await.is_ok() {
                        return Err(self.deadline_error());
                    }
                }
                result => return result,
            }
        }
    }
}

fn stopping() -> Error {
    Error::unavailable("the server is stopping: send the remaining lines again".to_owned())
}

fn short_of_memory() -> Error {
    Error::overloaded(
        "the server is short of memory and ends bulk requests that wait: send the remaining lines again",
    )
}

/// Approximate size of the answer to a line.
const LINE_BYTES: usize = 256;

/// The numbers of lines, each with the error of one that is not valid.
type LineNumbers = Vec<(u64, Option<Error>)>;

/// Parses lines; those that are not valid have no entity.
///
/// # Errors
/// Too little memory is free.
fn parse_all(batch: Vec<BodyLine>, most_bytes: usize) -> Result<(LineNumbers, Vec<Entity>), Error> {
    let mut entities = Vec::with_capacity(batch.len());
    let mut lines = Vec::with_capacity(batch.len());
    for line in batch {
        let entity = match line.text {
            LineText::Whole(text) => body::parse::<EntityBody>(&text),
            LineText::TooLong => Err(Error::too_large(format!(
                "the line exceeds {most_bytes} bytes (`streams.line_bytes`)"
            ))),
        };
        if let Err(error) = &entity
            && error.kind() == ErrorKind::Overloaded
        {
            return Err(error.clone());
        }
        lines.push((line.number, entity.as_ref().err().cloned()));
        entities.extend(entity.ok().map(Into::into));
    }
    Ok((lines, entities))
}

/// Writes the answers to lines.
fn answers(lines: LineNumbers, scores: Option<&Scores>) -> Result<Bytes, Error> {
    let model = scores.map(|scores| &*scores.model);
    let mut results = scores.into_iter().flat_map(|scores| &scores.results);
    let bodies = lines.iter().map(|(number, error)| match error {
        Some(error) => Ok(line_body(*number, None, ResultBody::failed(error))),
        None => match model.zip(results.next()) {
            Some((model, result)) => {
                let version = Some(model.version);
                Ok(line_body(*number, version, ResultBody::new(model, result)))
            }
            None => Err(Error::internal("no result for a line".to_owned())),
        },
    });
    text(&bodies.collect::<Result<Vec<_>, _>>()?)
}

/// Waits until the deadline, or forever without one.
async fn sleep_until(deadline: Option<Instant>) {
    let forever = std::future::pending::<()>();
    match deadline {
        Some(deadline) => {
            let _ = timeout_at(deadline.into(), forever).await;
        }
        None => forever.await,
    }
}

/// Builds a line's answer. The result's own version overrides `version`.
fn line_body(line: u64, version: Option<u64>, mut result: ResultBody<'_>) -> LineBody<'_> {
    LineBody {
        line,
        version: result.version.take().or(version),
        result,
    }
}

/// Serializes answers, one per line.
fn text(bodies: &[LineBody<'_>]) -> Result<Bytes, Error> {
    let mut text = Vec::with_capacity(bodies.len() * 128);
    for body in bodies {
        serde_json::to_writer(&mut text, body).map_err(|error| Error::internal(error.to_string()))?;
        text.push(b'\n');
    }
    Ok(text.into())
}
