//! The trail: whatever changes what is in force leaves a line in the log that says what and why, and a row in the history.

use crate::common::trail::{Change, changes, replayed, seen};
use crate::common::watched::PATIENCE;
use crate::common::{BINARY, Stage, eventually, holds};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Instant;
use test_support::operator::Operator;
use test_support::standin::{StandinCloud, StandinConfig};
use tokio::process::Command;

const POLICY: &str = "daas-us-egress";
/// A name of the fixture.
const NAME: &str = "core-us.citrixworkspacesapi.net";

/// The causes of a change, and who did it.
fn causes(change: &Change) -> String {
    let causes = change.record["causes"].as_array().expect("causes").iter();
    let causes: Vec<&str> = causes.map(|cause| cause.as_str().expect("a word")).collect();
    match change.record["by"].as_str() {
        Some(by) => format!("{} by {by}", causes.join(",")),
        None => causes.join(","),
    }
}

async fn history(stage: &Stage, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(BINARY)
        .args(["history", "daas-us", "-n", stage.namespace.name()])
        .args(arguments)
        .env("KUBECONFIG", stage.cluster.kubeconfig_path())
        .output()
        .await
        .expect("the command runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

async fn events(stage: &Stage, reason: &str) -> Vec<Event> {
    let api: Api<Event> = Api::namespaced(stage.client.clone(), stage.namespace.name());
    let events = api.list(&ListParams::default()).await.expect("events");
    events.items.into_iter().filter(|event| event.reason.as_deref() == Some(reason)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_what_is_in_force_leaves_its_trail() {
    let stage = Stage::with(StandinConfig::unlimited()).await;
    let config = stage.operator_config().flag("log-format", "json");
    let mut operator = Operator::start(&config).await.expect("an operator");
    let policies = stage.watch_policies().await;
    let began = Instant::now();
    let kubectl = async |arguments: &[&str]| {
        let all = [&["-n", stage.namespace.name()], arguments].concat();
        stage.cluster.kubectl(&all).await.expect("kubectl")
    };

    stage
        .apply(
            "daas-us",
            "{ customerId: testcustomer, geo: us, direction: all, refresh: { minInterval: 1s, maxInterval: 1h } }",
        )
        .await;
    stage.ready("daas-us").await;

    // An answer.
    let new: IpAddr = "20.99.1.1".parse().expect("an address");
    stage.dns.set_addresses(NAME, &[new], 5);
    policies.until("the new address", |now| holds(&now[POLICY], new)).await;

    // A list.
    let listed: IpAddr = "51.105.70.7".parse().expect("an address");
    stage.standin.edit(StandinCloud::Global, |document| {
        let endpoints = document.services.iter_mut().flat_map(|service| &mut service.endpoints);
        endpoints
            .flat_map(|endpoint| &mut endpoint.ips)
            .filter(|ip| *ip == "52.141.208.0/24")
            .for_each(|ip| "51.105.70.0/24".clone_into(ip));
    });
    kubectl(&["annotate", "cal", "daas-us", "citrix-allowlist.io/refresh-requested-at=now"]).await;
    policies.until("the new list", |now| holds(&now[POLICY], listed)).await;

    // The spec, then its mode and back.
    let patch = async |kind: &str, name: &str, by: &str, spec: Value| {
        let (by, spec) = (format!("--field-manager={by}"), json!({ "spec": spec }).to_string());
        kubectl(&["patch", kind, name, "--type=merge", &by, "-p", &spec]).await;
    };
    patch("cal", "daas-us", "person", json!({ "direction": "outbound" })).await;
    policies.until("no ingress", |now| now.keys().eq([POLICY])).await;
    patch("cal", "daas-us", "person", json!({ "mode": "Audit" })).await;
    policies.until("no policy", |now| now.is_empty()).await;
    patch("cal", "daas-us", "person", json!({ "mode": "Enforce" })).await;
    policies.until("the policy", |now| now.contains_key(POLICY)).await;

    // Other clients.
    let edited = Instant::now();
    patch("netpol", POLICY, "kubectl-edit", json!({ "egress": [{}] })).await;
    policies.until_again("the rules are back", edited, |now| holds(&now[POLICY], listed)).await;
    let deleted = Instant::now();
    stage.policies().delete(POLICY, &DeleteParams::default()).await.expect("deleted");
    policies.until_again("the policy is back", deleted, |now| now.contains_key(POLICY)).await;
    stage.ready("daas-us").await;

    // The history has it all within a minute; a stop writes what it lacks.
    operator.process().signal("TERM").expect("a signal");
    operator.process().wait(PATIENCE).await.expect("an end");
    let mut log = operator.log();
    let address = new.to_string();
    let (is_success, told) = history(&stage, &["--address", &address, "-o", "json"]).await;
    assert!(is_success, "{told}");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let row = &told["rows"][0];
    assert_eq!((&row["change"], &row["peer"], &row["names"]), (&json!("Isolated"), &json!(""), &json!([])), "{told:#}");
    let added = told["rows"].as_array().expect("rows").iter().find(|row| row["change"] == "Added").expect("added");
    assert_eq!((&added["names"], &added["causes"]), (&json!([NAME]), &json!(["Answer"])), "{told:#}");

    // What is changed while no process leads is in the next one's first line.
    patch("netpol", POLICY, "kubectl-edit", json!({ "egress": [{}] })).await;
    let operator = Operator::start(&config).await.expect("an operator");
    policies.until("the rules are back", |now| holds(&now[POLICY], listed)).await;
    stage.ready("daas-us").await;

    // The end.
    stage.resources().delete("daas-us", &DeleteParams::default()).await.expect("deleted");
    policies.until("no policy", |now| now.is_empty()).await;
    let is_told = async || changes(&operator.log()).iter().any(|change| causes(change) == "Deletion").then_some(());
    eventually(PATIENCE, is_told).await.expect("the deletion is in the log");
    log.push_str(&operator.log());

    let all = changes(&log);
    let of: Vec<String> = all.iter().map(causes).collect();
    println!("{of:#?}");
    for expected in [
        "Spec by kubectl",
        "Answer",
        "List",
        "Spec by person",
        "Mode by person",
        "Drift by kubectl-edit",
        "Repair by kubectl-edit",
        "Drift",
        "Repair",
        "Restart",
        "Deletion",
    ] {
        assert!(of.iter().any(|causes| causes == expected), "{expected}: {of:#?}");
    }
    let opened: Vec<String> = all
        .iter()
        .filter(|change| {
            change.record["scopes"].as_array().expect("scopes").iter().any(|scope| scope["isolation"] == "Ended")
        })
        .inspect(|change| assert_eq!(change.level, "WARN", "{change:?}"))
        .map(causes)
        .collect();
    assert_eq!(opened, ["Spec by person", "Mode by person", "Drift", "Deletion"]);
    let (replayed, seen) = (replayed(&all), seen(&policies.since(began), "daas-us"));
    assert_eq!(replayed.len(), seen.len(), "as many states as the API server had: {of:#?}");
    assert_eq!(replayed, seen);
    assert!(all.iter().all(|change| change.resource == format!("{}/daas-us", stage.namespace.name())));

    let isolated = events(&stage, "Isolated").await;
    assert!(isolated.iter().all(|event| event.type_.as_deref() == Some("Warning")), "{isolated:?}");
    let notes: Vec<String> = events(&stage, "Opened").await.into_iter().filter_map(|event| event.note).collect();
    assert!(notes.iter().any(|note| note.contains("spec.mode changed (by person)")), "{notes:?}");
    let (is_success, told) = history(&stage, &[]).await;
    assert!(!is_success && told.contains("not"), "the history goes with the resource: {told}");
}
