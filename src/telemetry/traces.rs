//! Traces of reconciles, sent by OTLP over HTTP where the environment names a collector.
//!
//! The variables are OpenTelemetry's own: `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`),
//! `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`,
//! `OTEL_SDK_DISABLED`. Without an endpoint nothing is collected.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::runtime::Tokio;
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use std::time::Duration;
use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

/// How long the last spans may take to reach the collector at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one batch may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The service's name unless the environment gives another.
const SERVICE: &str = "citrix-allowlist-operator";
/// The target of the sent spans: ours, not those of the libraries.
const TARGET: &str = "citrix_allowlist";

/// Why no traces can be sent, although the environment asks for them.
#[derive(Debug, Error)]
pub enum TracesError {
    /// The client cannot be made.
    #[error("traces cannot be sent: {0}")]
    Client(#[from] reqwest::Error),
    /// The endpoint or a header cannot be understood.
    #[error("traces cannot be sent, look at OTEL_EXPORTER_OTLP_ENDPOINT and _HEADERS: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// Sends spans, in batches.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Traces as the environment asks for them; `None` without an endpoint. To be called within the runtime that sends.
    ///
    /// # Errors
    /// The environment's settings cannot be used.
    pub fn from_environment() -> Result<Option<Self>, TracesError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        if !are_asked_for(variable) {
            return Ok(None);
        }
        let client = reqwest::Client::builder().timeout(EXPORT_TIMEOUT).build()?;
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build()?;
        let mut resource = Resource::builder();
        if variable("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(SERVICE);
        }
        let processor = BatchSpanProcessor::builder(exporter, Tokio).build();
        let provider =
            SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource.build()).build();
        Ok(Some(Self { provider }))
    }

    /// The layer that passes spans to it.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let tracer = self.provider.tracer(SERVICE);
        let spans = Targets::new().with_target(TARGET, tracing::Level::DEBUG);
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(spans)
    }

    /// Sends the remaining spans, for two seconds at most.
    pub async fn flush(self) {
        // It blocks, and what it waits for runs on this runtime.
        let ended = tokio::task::spawn_blocking(move || self.provider.shutdown());
        match tokio::time::timeout(FLUSH_TIMEOUT, ended).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the last traces did not reach the collector"),
            Ok(Err(_)) | Err(_) => tracing::warn!("the last traces did not reach the collector in time"),
        }
    }
}

/// Whether the environment names a collector, and does not switch traces off.
fn are_asked_for(variable: impl Fn(&str) -> Option<String>) -> bool {
    let endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    endpoints.into_iter().any(|name| variable(name).is_some()) && !disabled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_endpoint_turns_traces_on_and_a_switch_turns_them_off() {
        let with = |variables: &[(&str, &str)]| {
            are_asked_for(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(!with(&[]) && !with(&[("OTEL_SERVICE_NAME", "x"), ("OTEL_TRACES_SAMPLER", "always_on")]));
        assert!(with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")]));
        let of_traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces");
        assert!(with(&[of_traces, ("OTEL_SDK_DISABLED", "false")]));
        assert!(!with(&[of_traces, ("OTEL_SDK_DISABLED", "TRUE")]));
    }
}
