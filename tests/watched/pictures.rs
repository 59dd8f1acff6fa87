//! The pictures of the dashboard and of the alerts in the documentation, from a real run that is made to fail.
//!
//! `DRAW=1 cargo test --test watched pictures -- --ignored` draws them again. Without a browser or Grafana: the queries are the
//! dashboard's, the values Prometheus', the layout Grafana's grid.

use super::files::{alerts, between, chart_file, dashboard};
use super::prometheus::{JOB, NAMESPACE, Prometheus};
use crate::common::Stage;
use serde_json::Value;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use test_support::dns::Behaviour;
use test_support::operator::Operator;
use test_support::picture::dashboard::{Panel, PanelSeries};
use test_support::picture::table::Row;
use test_support::picture::{dashboard as panels, table};
use test_support::standin::{Fault, Injection, Source, Validity};
use test_support::tools::workspace_root;

/// How long the operator is watched before the pictures are drawn.
const WATCHED: Duration = Duration::from_secs(75);
/// The largest a picture may be, in bytes.
const LARGEST: usize = 200_000;

fn picture(name: &str) -> PathBuf {
    workspace_root().join("docs/pictures").join(name)
}

/// A step's queries as Grafana would send them for a picture of a minute.
fn sent(expr: &str) -> String {
    expr.replace("$namespace", NAMESPACE).replace("$job", JOB).replace("$__rate_interval", "10s")
}

/// A legend with its labels filled in.
fn legend(format: &str, labels: &Value) -> String {
    let mut text = format.to_owned();
    for label in between(format, "{{", "}}") {
        let value = labels[&label].as_str().unwrap_or_default();
        text = text.replace(&format!("{{{{{label}}}}}"), value).replace(&format!("{{{{ {label} }}}}"), value);
    }
    text
}

async fn panel(prometheus: &Prometheus, panel: &Value, start: f64, end: f64) -> Panel {
    let mut series = Vec::new();
    for target in panel["targets"].as_array().into_iter().flatten() {
        let text = |key: &str| target[key].as_str().unwrap_or_default().to_owned();
        let (start, end) = (format!("{start:.3}"), format!("{end:.3}"));
        let data = prometheus
            .ask("query_range", &[("query", &sent(&text("expr"))), ("start", &start), ("end", &end), ("step", "1")])
            .await;
        let first: f64 = start.parse().expect("a time");
        for found in data["result"].as_array().expect("series") {
            let points = found["values"].as_array().into_iter().flatten();
            let points: Vec<(f64, f64)> = points
                .filter_map(|point| {
                    let value: f64 = point[1].as_str()?.parse().ok()?;
                    value.is_finite().then_some((point[0].as_f64()? - first, value))
                })
                .collect();
            series.push(PanelSeries { legend: legend(&text("legendFormat"), &found["metric"]), points });
        }
    }
    let place = |key: &str| panel["gridPos"][key].as_f64().expect("a place");
    Panel {
        title: panel["title"].as_str().expect("a title").to_owned(),
        kind: panel["type"].as_str().expect("a type").to_owned(),
        place: (place("x"), place("y"), place("w"), place("h")),
        unit: panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default().to_owned(),
        series,
    }
}

fn rows(answer: &Value) -> Vec<Row> {
    let rules = answer["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    rules
        .map(|rule| Row {
            name: text(&rule["name"]),
            state: text(&rule["state"]),
            severity: text(&rule["labels"]["severity"]),
            summaries: rule["alerts"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|alert| text(&alert["annotations"]["summary"]))
                .collect(),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "draws for a minute and a half: run with DRAW=1 after a change of dashboard or alerts"]
async fn draw() {
    let stage = Stage::set().await;
    stage.standin.set_validity(Validity::Rolling(Duration::from_secs(20)));
    stage.standin.inject(Injection::always(Fault::status(429)).of("limited"));
    let config = stage
        .operator_config_without("requests-per-minute")
        .flag("requests-per-minute", 20)
        .flag("dns-min-ttl", "1s")
        .flag("first-policy-wait", "1s");
    let operator = Operator::start(&config).await.expect("an operator");
    // What waits a quarter of an hour in a cluster waits five seconds here.
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("alerts.yaml");
    let text = std::fs::read_to_string(chart_file("alerts.yaml")).expect("the rules");
    let hasty: Vec<String> = text
        .lines()
        .map(|line| line.split_once("for: ").map_or_else(|| line.to_owned(), |(indent, _)| format!("{indent}for: 5s")))
        .collect();
    std::fs::write(&rules, hasty.join("\n")).expect("a file");
    let prometheus = Prometheus::start_with(operator.url().trim_start_matches("http://"), &rules).await;

    let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let started = Instant::now();
    let begun = jiff::Timestamp::now();
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us, refresh: { minInterval: 10s } }").await;
    stage.ready("daas-us").await;
    stage.dns.set("accounts.cloud.com", Behaviour::servfail());
    stage.dns.set_addresses("liar.example.com", &[address("127.0.0.1")], 1);
    let additional = "additional: [{ name: more, fqdns: [liar.example.com, moving.example.com], tcpPorts: \"443\" }]";
    stage.dns.set_addresses("moving.example.com", &[address("198.51.99.1")], 1);
    stage.apply("own", &format!("{{ customerId: testcustomer, geo: eu, {additional} }}")).await;
    stage.apply("nothing", "{ customerId: testcustomer, geo: us, services: { include: [None] } }").await;
    stage.apply("limited", "{ customerId: limited, geo: us }").await;
    let policy = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{ name: taken-egress, namespace: {} }}\n\
         spec: {{ podSelector: {{}}, policyTypes: [Ingress], ingress: [{{}}] }}\n",
        stage.namespace.name()
    );
    let mut turn = 1u8;
    while started.elapsed() < WATCHED {
        turn += 1;
        stage.dns.set_addresses("moving.example.com", &[address(&format!("198.51.99.{turn}"))], 1);
        if turn == 12 {
            stage.cluster.apply(&policy).await.expect("a policy");
            stage.apply("taken", "{ customerId: testcustomer, geo: us }").await;
        }
        if turn == 6 {
            stage.standin.inject(Injection::always(Fault::status(503)).on(Source::Japan));
            stage.apply("japan", "{ customerId: testcustomer, geo: jp }").await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    let now = jiff::Timestamp::now();
    let seconds = |time: jiff::Timestamp| time.as_duration().as_secs_f64();
    let (start, end) = (seconds(begun), seconds(now));
    let board = dashboard();
    let mut drawn = Vec::new();
    for one in board["panels"].as_array().expect("panels") {
        drawn.push(panel(&prometheus, one, start, end).await);
    }
    let note = "Drawn from Prometheus' answers to the dashboard's own queries, over a minute in which lists, DNS and writes were made to fail";
    let title = board["title"].as_str().expect("a title");
    let board = panels::draw(title, note, &drawn, end - start);
    let note = "The chart's rules in a real Prometheus; the time that each waits before it fires was shortened to 5 s for this picture";
    let fired = rows(&prometheus.ask("rules", &[("type", "alert")]).await);
    let table = table::draw("Alerts of a run that was made to fail", note, &fired);
    for (name, text) in [("dashboard.svg", board), ("alerts.svg", table)] {
        assert!(text.len() < LARGEST, "{name} has {} bytes", text.len());
        if std::env::var("DRAW").as_deref() == Ok("1") {
            std::fs::write(picture(name), text).expect("a picture");
        }
    }
    assert!(fired.iter().filter(|row| row.state == "firing").count() >= 4, "{fired:?}");
}

#[test]
fn the_pictures_show_every_panel_and_every_alert() {
    let escaped = |text: &str| text.replace('&', "&amp;");
    let drawn = std::fs::read_to_string(picture("dashboard.svg")).expect("the picture");
    for panel in dashboard()["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        assert!(drawn.contains(&format!(">{}<", escaped(title))), "{title}: draw the pictures again");
    }
    let drawn = std::fs::read_to_string(picture("alerts.svg")).expect("the picture");
    for alert in alerts() {
        assert!(drawn.contains(&format!(">{}<", alert.name)), "{}: draw the pictures again", alert.name);
    }
}
