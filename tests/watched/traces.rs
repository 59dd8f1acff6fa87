//! Traces, as a collector gets them: an HTTP server that takes what the operator sends and reads it.

use crate::common::Stage;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use test_support::operator::{Operator, OperatorConfig};
use tokio::net::TcpListener;

/// The stages of a reconcile, each a span of its own.
const STAGES: [&str; 7] = ["feed", "select", "names", "pods", "decide", "apply", "status"];
/// How long a process may take to leave.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

/// A collector of OTLP over HTTP.
struct Collector {
    taken: Taken,
    endpoint: String,
    running: tokio::task::JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Collector {
    async fn start() -> Self {
        let taken = Taken::default();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().route("/v1/traces", post(take)).with_state(taken.clone());
        let running = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { taken, endpoint, running }
    }

    /// Every span so far, each with the attributes of the process that sent it.
    fn spans(&self) -> Vec<(Vec<KeyValue>, Span)> {
        let taken = self.taken.0.lock().expect("unpoisoned");
        let mut spans = Vec::new();
        for sent in taken.iter().flat_map(|request| &request.resource_spans) {
            let process = sent.resource.clone().unwrap_or_default().attributes;
            let of_scopes = sent.scope_spans.iter().flat_map(|scope| &scope.spans);
            spans.extend(of_scopes.map(|span| (process.clone(), span.clone())));
        }
        spans
    }
}

async fn take(State(taken): State<Taken>, body: Bytes) -> StatusCode {
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => {
            taken.0.lock().expect("unpoisoned").push(request);
            StatusCode::OK
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

/// An attribute as text.
fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let AnyValue { value } = attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?;
    match value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(value) => Some(value.to_string()),
        _ => None,
    }
}

/// An operator that sends what it has only when a batch is full, or when it leaves.
fn batching(stage: &Stage, endpoint: &str) -> OperatorConfig {
    stage
        .operator_config()
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .variable("OTEL_BSP_SCHEDULE_DELAY", Duration::from_secs(600).as_millis())
        .variable("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 2048)
}

async fn leave(mut operator: Operator) {
    let asked = Instant::now();
    operator.process().signal("TERM").expect("sent");
    let status = operator.process().wait(LEAVES_WITHIN).await.expect("it leaves in time");
    println!("left {:?} after SIGTERM", asked.elapsed());
    assert!(status.success(), "{status}\n{}", operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconcile_is_a_trace_and_the_last_is_sent_on_shutdown() {
    let stage = Stage::set().await;
    let collector = Collector::start().await;
    let operator = Operator::start(&batching(&stage, &collector.endpoint)).await.expect("an operator");
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    assert_eq!(collector.spans().len(), 0, "sent in batches");
    leave(operator).await;

    let spans = collector.spans();
    let names: BTreeSet<&str> = spans.iter().map(|(_, span)| span.name.as_str()).collect();
    let known = STAGES.into_iter().chain(["reconcile"]).collect::<BTreeSet<_>>();
    assert_eq!(names, known, "each stage, and nothing of the libraries'");
    let who = format!("{}/daas-us", stage.namespace.name());
    let whole = spans.iter().find(|(_, span)| {
        span.name == "reconcile" && attribute(&span.attributes, "outcome").as_deref() == Some("changed")
    });
    let (process, reconcile) = whole.expect("the reconcile that wrote the policies");
    assert_eq!(attribute(process, "service.name").as_deref(), Some("citrix-allowlist-operator"));
    assert_eq!(attribute(&reconcile.attributes, "allowlist"), Some(who));
    assert_eq!(attribute(&reconcile.attributes, "generation").as_deref(), Some("1"));
    let asked: Vec<String> =
        stage.standin.requests().iter().filter_map(|request| request.transaction_id.clone()).collect();
    let transaction = attribute(&reconcile.attributes, "transaction").expect("a transaction");
    assert!(asked.contains(&transaction), "{transaction} is none of {asked:?}");
    assert!(reconcile.parent_span_id.is_empty(), "a trace begins with a reconcile");
    let of_trace: Vec<&Span> =
        spans.iter().map(|(_, span)| span).filter(|span| span.trace_id == reconcile.trace_id).collect();
    let stages: BTreeSet<&str> = of_trace
        .iter()
        .filter(|span| span.parent_span_id == reconcile.span_id)
        .map(|span| span.name.as_str())
        .collect();
    assert_eq!(stages, STAGES.into_iter().collect());
    for span in of_trace {
        assert!(span.start_time_unix_nano >= reconcile.start_time_unix_nano, "{}", span.name);
        assert!(span.end_time_unix_nano <= reconcile.end_time_unix_nano, "{}", span.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_off_sends_nothing() {
    let stage = Stage::set().await;
    let collector = Collector::start().await;
    let config = batching(&stage, &collector.endpoint).variable("OTEL_SDK_DISABLED", "true");
    let operator = Operator::start(&config).await.expect("an operator");
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    leave(operator).await;
    assert_eq!(collector.spans().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_dead_or_silent_holds_nothing_up() {
    let stage = Stage::set().await;
    // It takes connections and says nothing; the other takes none.
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let dead = test_support::free_port::free_port().expect("a port");
    for port in [silent.local_addr().expect("an address").port(), dead] {
        let config = stage
            .operator_config()
            .variable("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}"))
            .variable("OTEL_BSP_SCHEDULE_DELAY", 50);
        let operator = Operator::start(&config).await.expect("an operator");
        let name = format!("by-{port}");
        stage.apply(&name, "{ customerId: testcustomer, geo: us }").await;
        stage.ready(&name).await;
        for _ in 0..20 {
            // Each answers with a reconcile, and so with spans that nobody takes.
            stage.annotate(&name, "citrix-allowlist.io/refresh-requested-at", &format!("{:?}", Instant::now())).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stage.patch(&name, serde_json::json!({ "geo": "eu" })).await;
        stage.observed(&name).await;
        stage.ready(&name).await;
        operator.get("/livez").await.expect("alive");
        leave(operator).await;
    }
}
