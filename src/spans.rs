//! Spans of requests, for a collector of OpenTelemetry. Most requests are not sampled: for them each place that could make a
//! span checks one option.
//!
//! The standard variables configure the export, by OTLP over gRPC: `OTEL_EXPORTER_OTLP_ENDPOINT` turns it on,
//! `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` choose what is sampled, `OTEL_SERVICE_NAME` and
//! `OTEL_RESOURCE_ATTRIBUTES` say who reports.

#[cfg(feature = "otlp")]
mod export;
#[cfg(not(feature = "otlp"))]
mod no_export;
#[cfg(feature = "otlp")]
mod variables;

#[cfg(feature = "otlp")]
use export as backend;
#[cfg(not(feature = "otlp"))]
use no_export as backend;

pub use backend::Exporter;

/// The variables that turn the export on.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// The trace that a request belongs to, as its client sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentSpan {
    /// The trace.
    pub trace: u128,
    /// The client's span.
    pub span: u64,
    /// Whether the client's span is sampled.
    pub sampled: bool,
}

/// The span of a request, if it is sampled. Clones are the same span.
#[derive(Clone, Debug, Default)]
pub struct RequestSpan(Option<backend::Recorded>);

/// A part of a request. It ends when this is dropped.
#[derive(Debug)]
pub struct PartSpan(Option<backend::Recorded>);

impl RequestSpan {
    /// The trace and the span, if the request is sampled.
    pub fn ids(&self) -> Option<(u128, u64)> {
        self.0.as_ref().map(backend::Recorded::ids)
    }

    /// Starts a part.
    pub fn part(&self, name: &'static str) -> PartSpan {
        PartSpan(self.0.as_ref().map(|span| span.child(name)))
    }

    /// Names the request and adds attributes, which `describe` computes only if the request is sampled.
    pub fn describe(&self, describe: impl FnOnce() -> (String, Vec<(&'static str, String)>)) {
        if let Some(span) = &self.0 {
            let (name, attributes) = describe();
            span.rename(name);
            for (key, value) in attributes {
                span.set(key, value);
            }
        }
    }

    /// Adds an attribute.
    pub fn set(&self, key: &'static str, value: impl ToString) {
        if let Some(span) = &self.0 {
            span.set(key, value.to_string());
        }
    }

    /// Ends the request; `error` says that the server failed.
    pub fn end(&self, error: bool) {
        if let Some(span) = &self.0 {
            span.end(error);
        }
    }
}

impl PartSpan {
    /// Adds an attribute.
    pub fn set(&self, key: &'static str, value: impl ToString) {
        if let Some(span) = &self.0 {
            span.set(key, value.to_string());
        }
    }
}

impl Drop for PartSpan {
    fn drop(&mut self) {
        if let Some(span) = &self.0 {
            span.end(false);
        }
    }
}

/// The variable that turns the export on, if one does.
fn endpoint_variable() -> Option<&'static str> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let disabled = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
    let wanted = std::env::var("OTEL_TRACES_EXPORTER").is_ok_and(|value| value == "none");
    ENDPOINTS
        .into_iter()
        .find(|name| is_set(name) && !disabled && !wanted)
}
