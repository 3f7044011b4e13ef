//! The whole ranking as CSV or JSON lines, written piece by piece as the client takes it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::super::body::held;
use super::parameters::Format;
use super::personal;
use super::table;
use super::wire::Items;
use crate::api::context::deadline::within;
use crate::api::http::HttpState;
use crate::api::ranking::{self, Contacts};
use crate::error::{Error, ErrorKind};
use crate::memory::RequestMemory;
use crate::scoring::Client;
use crate::scoring::ranking::{Fields, RankedItem, RankedList};
use crate::work::off_thread;

/// Customers of a piece: few enough for a steady flow, enough for the batch kernels.
const PIECE: usize = 500;

/// Bounds of the wait before a piece that was not admitted is tried again.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How long an export goes on when its ranking has been replaced. It holds the old snapshot, so not for ever.
const AFTER_REPLACED: Duration = Duration::from_secs(60);

/// An export in progress.
pub(super) struct Export {
    pub(super) state: HttpState,
    /// In bulk, so that other requests go first.
    pub(super) client: Client,
    pub(super) list: Arc<RankedList>,
    pub(super) fields: Arc<Fields>,
    pub(super) format: Format,
    pub(super) deadline: Option<Instant>,
    pub(super) memory: Option<RequestMemory>,
}

/// A piece of an answer, or why there will be no more: the connection is reset then, as the answer is not complete.
type Piece = Result<Bytes, Error>;

impl Export {
    /// Answers with the customers from `start` on. The first of them are there before the answer begins, so that what fails at
    /// once has a status.
    pub(super) async fn answer(self, start: usize) -> Result<Response, Error> {
        let (first, next) = self.piece(start, true).await?;
        let name = self.file_name();
        let media_type = match self.format {
            Format::Csv => "text/csv; charset=utf-8",
            Format::Lines | Format::Json => "application/x-ndjson",
        };
        let (sender, mut receiver) = mpsc::channel(1);
        tokio::spawn(self.run(first, next, sender).in_current_span());
        // Compression polls again after the end, which a channel allows.
        let pieces = stream::poll_fn(move |context| receiver.poll_recv(context));
        let mut response = Body::from_stream(pieces).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        let disposition = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
        let disposition = disposition.unwrap_or(HeaderValue::from_static("attachment"));
        headers.insert(header::CONTENT_DISPOSITION, disposition);
        Ok(personal(response))
    }

    /// The name of the file: the model's with plain letters, digits and a few signs only.
    fn file_name(&self) -> String {
        let plain = |letter: char| match letter.is_ascii_alphanumeric() || "._-".contains(letter) {
            true => letter,
            false => '_',
        };
        let model: String = self.list.ranking().model().name.chars().map(plain).collect();
        match self.format {
            Format::Csv => format!("{model}-ranking.csv"),
            Format::Lines | Format::Json => format!("{model}-ranking.ndjson"),
        }
    }

    async fn run(self, first: Bytes, mut next: usize, pieces: mpsc::Sender<Piece>) {
        let mut piece = Ok(first);
        let mut replaced = None;
        loop {
            let failed = piece.is_err();
            let sent = timeout(self.idle(), pieces.send(piece)).await;
            // The client has gone, does not read, or has all.
            if failed || !matches!(sent, Ok(Ok(()))) || next >= self.list.total() {
                return;
            }
            piece = tokio::select! {
                biased;
                () = pieces.closed() => return,
                () = self.state.streams.closing.cancelled() => Err(Error::unavailable("the server is stopping")),
                found = within(self.deadline, self.piece(next, false)) => found.map(|(piece, after)| {
                    next = after;
                    piece
                }),
            };
            if !self.state.rankings.is_last(&self.list)
                && replaced.get_or_insert_with(Instant::now).elapsed() > AFTER_REPLACED
            {
                piece = Err(Error::unavailable("the ranking was replaced; export the new one"));
            }
            // Counts the error and logs one of ours.
            piece = self.state.counters.export.count_errors(piece);
        }
    }

    fn idle(&self) -> Duration {
        Duration::from_secs(self.state.streams.settings.idle_seconds)
    }

    /// Writes the customers from `start` on, and returns where the next piece starts.
    async fn piece(&self, start: usize, with_header: bool) -> Result<(Bytes, usize), Error> {
        let items = self.items(start).await?;
        let next = start + items.len();
        let contacts = ranking::contacts(
            self.state.outcomes.as_ref(),
            &self.fields,
            self.list.ranking().model(),
            &items,
        )
        .await?;
        let (list, fields, format) = (self.list.clone(), self.fields.clone(), self.format);
        let text =
            off_thread(move || write(&list, &fields, format, &items, &contacts, with_header)).await??;
        Ok((held(self.memory.as_ref(), text.into()), next))
    }

    /// The next customers, once they are admitted: an export can wait.
    async fn items(&self, start: usize) -> Result<Vec<RankedItem>, Error> {
        let most = PIECE.min(self.state.scorer.limits().batch);
        loop {
            let rankings = &self.state.rankings;
            let items = self
                .list
                .items(rankings, &self.client, start, most, self.deadline);
            match items.await {
                Err(error) if matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::ClientLimit) => {
                    let wait = error.retry_after().unwrap_or_default();
                    let pause = tokio::time::sleep(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT));
                    within(self.deadline, async {
                        pause.await;
                        Ok(())
                    })
                    .await?;
                }
                result => return result,
            }
        }
    }
}

fn write(
    list: &RankedList,
    fields: &Fields,
    format: Format,
    items: &[RankedItem],
    contacts: &Contacts,
    with_header: bool,
) -> Result<Vec<u8>, Error> {
    let of_piece = Items {
        model: list.ranking().model(),
        fields,
        inputs: list.inputs(),
        items,
        contacts,
    };
    match format {
        Format::Csv => table::write(&of_piece, with_header),
        Format::Lines | Format::Json => lines(&of_piece),
    }
}

fn lines(items: &Items<'_>) -> Result<Vec<u8>, Error> {
    let mut text = Vec::with_capacity(items.items.len() * 128);
    for item in items.items {
        serde_json::to_writer(&mut text, &items.body(item))
            .map_err(|error| Error::internal(error.to_string()))?;
        text.push(b'\n');
    }
    Ok(text)
}
