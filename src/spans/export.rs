//! Export by OpenTelemetry's own library, in batches on a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter as Export};

use super::{ParentSpan, RequestSpan, endpoint_variable, variables};
use crate::metrics::IntCounter;

/// The name of the service unless the environment has another one.
const SERVICE: &str = "evergreen";

/// Samples requests and exports their spans.
#[derive(Clone, Debug)]
pub struct Exporter {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// A sampled span.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    tracer: SdkTracer,
    /// With the span.
    context: Context,
}

impl Exporter {
    /// Starts the export, if the environment turns it on. Must be called on the runtime. `lost` counts spans that could not be
    /// sent.
    ///
    /// # Errors
    /// A variable is not valid. A collector that cannot be reached is not an error: spans are dropped until it can.
    pub fn from_environment(lost: IntCounter) -> Result<Option<Self>, String> {
        let Some(name) = endpoint_variable() else {
            return Ok(None);
        };
        variables::check(|name| std::env::var(name).ok())?;
        let exporter = SpanExporter::builder().with_tonic().build().map_err(|error| {
            format!("{name}: expected the address of a collector such as http://localhost:4317: {error}")
        })?;
        let resource = match std::env::var("OTEL_SERVICE_NAME") {
            Ok(_) => Resource::builder(),
            Err(_) => Resource::builder().with_service_name(SERVICE),
        };
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(CountedExporter {
                exporter,
                lost,
                failing: AtomicBool::new(false),
            })
            .with_resource(resource.with_attribute(version).build())
            .build();
        let tracer = provider.tracer(SERVICE);
        Ok(Some(Self { provider, tracer }))
    }

    /// Begins the span of a request, if it is sampled.
    pub fn request(&self, parent: Option<ParentSpan>) -> RequestSpan {
        let parent = parent.map_or_else(Context::new, |parent| {
            let flags = TraceFlags::default().with_sampled(parent.sampled);
            let (trace, span) = (
                TraceId::from_bytes(parent.trace.to_be_bytes()),
                SpanId::from_bytes(parent.span.to_be_bytes()),
            );
            Context::new().with_remote_span_context(SpanContext::new(
                trace,
                span,
                flags,
                true,
                TraceState::default(),
            ))
        });
        let builder = self.tracer.span_builder("request").with_kind(SpanKind::Server);
        let span = self.tracer.build_with_context(builder, &parent);
        let context = parent.with_span(span);
        let sampled = context.span().span_context().is_sampled();
        RequestSpan(sampled.then(|| Recorded {
            tracer: self.tracer.clone(),
            context,
        }))
    }

    /// Sends what is left. Blocks for a few seconds if the collector does not answer.
    pub fn shut_down(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "spans not exported");
        }
    }
}

/// Counts the spans that the exporter loses. The library would drop them without a word.
#[derive(Debug)]
struct CountedExporter {
    exporter: SpanExporter,
    lost: IntCounter,
    /// Whether the last export failed, which is logged once until one succeeds.
    failing: AtomicBool,
}

impl Export for CountedExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.exporter.export(batch).await;
        let failed_before = self.failing.swap(sent.is_err(), Ordering::Relaxed);
        if let Err(error) = &sent {
            self.lost.inc_by(spans as u64);
            if !failed_before {
                tracing::warn!(%error, spans, "spans not exported; evergreen_spans_lost_total counts them");
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl Recorded {
    pub(super) fn ids(&self) -> (u128, u64) {
        let span = self.context.span();
        let context = span.span_context();
        (
            u128::from_be_bytes(context.trace_id().to_bytes()),
            u64::from_be_bytes(context.span_id().to_bytes()),
        )
    }

    pub(super) fn child(&self, name: &'static str) -> Self {
        let builder = self.tracer.span_builder(name).with_kind(SpanKind::Internal);
        let span = self.tracer.build_with_context(builder, &self.context);
        Self {
            tracer: self.tracer.clone(),
            context: self.context.with_span(span),
        }
    }

    pub(super) fn rename(&self, name: String) {
        self.context.span().update_name(name);
    }

    pub(super) fn set(&self, key: &'static str, value: String) {
        self.context.span().set_attribute(KeyValue::new(key, value));
    }

    pub(super) fn end(&self, error: bool) {
        let span = self.context.span();
        if error {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}
