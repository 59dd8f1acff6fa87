//! Every query of the dashboard and of the alerts against a real Prometheus that scrapes a running operator.

use super::files::{alerts, dashboard, dashboard_queries, selectors};
use super::prometheus::{JOB, NAMESPACE, Prometheus};
use crate::common::Stage;
use citrix_allowlist::crd::REFRESH_ANNOTATION;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use test_support::dns::Behaviour;
use test_support::fixture;
use test_support::free_port::free_port;
use test_support::operator::Operator;
use test_support::standin::{Fault, Injection, StandinCloud, Validity};
use tokio::net::UdpSocket;
use tokio_util::task::AbortOnDropHandle;

/// Alerts that cannot fire within a test of seconds, or not together with the others: there is one leader, no wake is lost, no pod is
/// opened, no list is held back, nothing is half an hour late, the limit of requests is out of reach, DNS answers most questions, and memory and room are plenty. All their series have to be there.
const QUIET: [&str; 12] = [
    "CitrixAllowlistNoLeader",
    "CitrixAllowlistNotReconciled",
    "CitrixAllowlistReconcileFailing",
    "CitrixAllowlistPodsOpened",
    "CitrixAllowlistListHeld",
    "CitrixAllowlistFeedOverdue",
    "CitrixAllowlistRateLimitNear",
    "CitrixAllowlistDnsFailing",
    "CitrixAllowlistDnsDead",
    "CitrixAllowlistRulesLate",
    "CitrixAllowlistMemoryShort",
    "CitrixAllowlistNoRoom",
];

/// How long every query may take to have a result, once what it tells has happened.
const PATIENCE: Duration = Duration::from_secs(60);

/// A query, and what has to be in its answer.
struct Expected {
    what: String,
    expr: String,
    labels: Vec<String>,
}

/// The queries of the dashboard, as Grafana sends them, of the alerts that fire, and the series of all alerts.
fn expected() -> Vec<Expected> {
    let sent =
        |expr: &str| expr.replace("$namespace", NAMESPACE).replace("$job", JOB).replace("$__rate_interval", "1m");
    let panels = dashboard_queries().into_iter().map(|query| Expected {
        what: format!("panel {}", query.panel),
        expr: sent(&query.expr),
        labels: query.labels,
    });
    let alerts = alerts().into_iter().flat_map(|alert| {
        let quiet = QUIET.contains(&alert.name.as_str());
        // One side of an `or` must not hide that the other finds nothing.
        let mut parts = selectors(&alert.expr);
        if !quiet {
            parts.push(alert.expr);
        }
        let what = format!("alert {}", alert.name);
        parts.into_iter().map(move |expr| Expected { what: what.clone(), expr, labels: vec![] })
    });
    panels.chain(alerts).collect()
}

/// Asks the forwarder for a name of the list, as the cluster's DNS does.
async fn ask(forwarder: SocketAddr) {
    let name = fixture::exact_names_of(StandinCloud::Global, "testcustomer", "us", "outbound").remove(0);
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
    let (socket, bytes) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket"), question.to_vec());
    let bytes = bytes.expect("bytes");
    loop {
        let _ = socket.send_to(&bytes, forwarder).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_has_an_answer() {
    let stage = Stage::set().await;
    stage.standin.set_validity(Validity::AsPublished);
    stage.standin.inject(Injection::always(Fault::status(429)).of("limited"));
    let forwarder = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().expect("a port")));
    let config = stage.operator_config().flag("dns-min-ttl", "1s").flag("first-policy-wait", "1s");
    let config = config.flag("forward-listen", forwarder).flag("forward-upstream", stage.dns.addr());
    let operator = Operator::start(&config).await.expect("an operator");
    let _asking = AbortOnDropHandle::new(tokio::spawn(ask(forwarder)));
    // Before anything happens: rates count from the first scrape.
    let prometheus = Prometheus::start(operator.url().trim_start_matches("http://")).await;
    let led = Instant::now();
    while prometheus.query("citrix_allowlist_leader == 1").await.is_empty() {
        assert!(led.elapsed() < PATIENCE, "nothing is scraped");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // One resource is as it should be, but for a name that fails and one that DNS lies about.
    stage.dns.set("accounts.cloud.com", Behaviour::servfail());
    stage.dns.set_addresses("liar.example.com", &["127.0.0.1".parse().expect("an address")], 1);
    stage.dns.set_addresses("moving.example.com", &["198.51.99.1".parse().expect("an address")], 1);
    let additional = "additional: [{ name: more, fqdns: [liar.example.com, moving.example.com], tcpPorts: \"443\" }]";
    stage.apply("good", &format!("{{ customerId: testcustomer, geo: us, {additional} }}")).await;
    stage.apply("nothing", "{ customerId: testcustomer, geo: us, services: { include: [None] } }").await;
    stage.ready("good").await;
    // The vendor renames the only service that one selects.
    let named = |name: &'static str| {
        stage.standin.edit(StandinCloud::Global, |document| {
            document.services.retain(|service| !service.name.starts_with("Fleeting"));
            let service = json!({
                "name": name, "direction": "outbound", "tcpPorts": "443", "endpoints": [{ "ips": ["20.192.0.0/24"] }],
            });
            document.services.push(serde_json::from_value(service).expect("a service"));
        });
    };
    named("Fleeting");
    stage.annotate("good", REFRESH_ANNOTATION, "fleeting").await;
    stage
        .apply(
            "kept",
            "{ customerId: testcustomer, geo: us, services: { include: [Fleeting] }, refresh: { minInterval: 1s } }",
        )
        .await;
    stage.ready("kept").await;
    named("Fleeting Service");
    stage.annotate("kept", REFRESH_ANNOTATION, "renamed").await;
    stage.reason("kept", "Ready", "LastPolicyKept").await;
    // From here on: a 429 keeps everybody from the vendor's host for a minute.
    stage.apply("limited", "{ customerId: limited, geo: us }").await;
    // Another's policy has the name that this one needs.
    let policy = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{ name: taken-egress, namespace: {} }}\n\
         spec: {{ podSelector: {{}}, policyTypes: [Ingress], ingress: [{{}}] }}\n",
        stage.namespace.name()
    );
    stage.cluster.apply(&policy).await.expect("a policy");
    stage.apply("taken", "{ customerId: testcustomer, geo: us }").await;
    stage.dns.set_addresses("moving.example.com", &["198.51.99.2".parse().expect("an address")], 1);

    let mut open = expected();
    assert!(open.len() > 40, "only {} queries are asked", open.len());
    let started = Instant::now();
    loop {
        let mut left = Vec::new();
        for query in open {
            let series = prometheus.query(&query.expr).await;
            let good = series.iter().any(|one| {
                let named = query.labels.iter().all(|label| one["metric"].get(label).is_some());
                named && one["value"][1] != "NaN"
            });
            if !good {
                left.push(query);
            }
        }
        open = left;
        if open.is_empty() {
            break;
        }
        let missing: Vec<String> = open.iter().map(|query| format!("{}: {}", query.what, query.expr)).collect();
        if started.elapsed() >= PATIENCE {
            let metrics = operator.get("/metrics").await.expect("metrics");
            panic!("without a result:\n{}\n{metrics}", missing.join("\n"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // One failed reconcile, as a loaded machine may have, is not an alert yet: the quarter of an hour that it has to last is
    // promtool's to test.
    let quiet = QUIET.iter().filter(|name| **name != "CitrixAllowlistReconcileFailing").collect::<Vec<_>>();
    for alert in alerts().into_iter().filter(|alert| quiet.contains(&&alert.name.as_str())) {
        let series = prometheus.query(&alert.expr).await;
        assert!(series.is_empty(), "{} is not quiet: {series:?}", alert.name);
    }
    for variable in dashboard()["templating"]["list"].as_array().expect("variables") {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let (series, label) = query
            .strip_prefix("label_values(")
            .and_then(|query| query.strip_suffix(')')?.split_once(", "))
            .expect("label_values");
        let values = prometheus.ask(&format!("label/{label}/values"), &[("match[]", series)]).await;
        assert_eq!(values.as_array().map(Vec::len), Some(1), "{query}: {values}");
    }
}
