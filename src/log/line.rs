//! Turns events into lines and puts them into the queue.

use std::time::SystemTime;

use jiff::Timestamp;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::fields::Fields;
use super::{json, queue, text};

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Text for people.
    Plain,
    /// Text for people at a terminal.
    Coloured,
    /// JSON for machines.
    Json,
}

/// Writes events as lines of a style.
#[derive(Debug)]
pub(super) struct LineLayer {
    style: Style,
}

impl LineLayer {
    pub(super) fn new(style: Style) -> Self {
        Self { style }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LineLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut spans = Vec::new();
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                spans.push((span.name(), self.style.span(fields)));
            }
        }
        let metadata = event.metadata();
        let mut line = match self.style {
            Style::Json => json::line(now(), metadata, &fields, &spans),
            Style::Plain => text::line(now(), metadata, &fields, &spans, false),
            Style::Coloured => text::line(now(), metadata, &fields, &spans, true),
        };
        line.push('\n');
        queue::push(line.as_bytes());
    }
}

impl Style {
    /// The fields of a span as they stand in a line.
    fn span(self, fields: &Fields) -> String {
        match self {
            Self::Json => json::members(fields),
            Self::Plain => text::fields(fields, false),
            Self::Coloured => text::fields(fields, true),
        }
    }
}

/// The present time in UTC. A clock outside the years that can be written must not panic.
fn now() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH)
}
