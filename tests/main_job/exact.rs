//! The policies allow every listed address on its ports and nothing beside, in the opinion of cyclonus.

use crate::common::Stage;
use crate::common::listed::{Connection, Listed, Wildcards};
use connectivity_allowlist::net::Direction;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use std::collections::BTreeSet;
use test_support::cyclonus::{self, CasePeer};
use test_support::fixture;
use test_support::standin::{Document, StandinCloud};

const CUSTOMER: &str = "testcustomer";

/// What the vendor publishes for a geo and direction, with the customer's names.
fn document(geo: &str, direction: &str) -> Document {
    let cloud = if geo == "jp" { StandinCloud::Japan } else { StandinCloud::Global };
    fixture::document(cloud).filtered(geo, direction).substituted("CUSTOMER_ID", CUSTOMER)
}

fn ipv4(network: &IpNet) -> bool {
    matches!(network, IpNet::V4(_))
}

fn both(_: &IpNet) -> bool {
    true
}

fn directions(direction: &str) -> &'static [Direction] {
    match direction {
        "outbound" => &[Direction::Outbound],
        "inbound" => &[Direction::Inbound],
        _ => &Direction::ALL,
    }
}

/// Asks cyclonus about every listed pair and about near misses, in one run.
async fn judge(
    policies: &[NetworkPolicy],
    pod: &CasePeer,
    listed: &Listed,
    misses: usize,
    directions: &[Direction],
    others: &Listed,
) {
    let allowed: Vec<Connection> = listed.pairs().into_iter().collect();
    let missed: Vec<Connection> = listed.near_misses(misses, directions, others).into_iter().collect();
    assert!(!allowed.is_empty());
    assert_eq!(missed.len(), misses, "near misses to ask about");
    let traffic: Vec<_> = allowed.iter().chain(&missed).map(|connection| connection.traffic(pod)).collect();
    let verdicts = cyclonus::judge(policies, &traffic).await.expect("verdicts");
    let (of_allowed, of_missed) = verdicts.split_at(allowed.len());
    let cut: Vec<_> = allowed.iter().zip(of_allowed).filter(|(_, verdict)| !verdict.is_allowed()).collect();
    let open: Vec<_> = missed.iter().zip(of_missed).filter(|(_, verdict)| verdict.is_allowed()).collect();
    assert!(cut.is_empty(), "{} of {} listed pairs are cut: {:?}", cut.len(), allowed.len(), &cut[..cut.len().min(5)]);
    assert!(open.is_empty(), "{} of {misses} near misses are open: {:?}", open.len(), &open[..open.len().min(5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_geo_and_direction_allows_exactly_the_list() {
    let stage = Stage::set().await;
    let _operator = stage.operator().await;
    let policies = stage.watch_policies().await;
    let every: Vec<(&str, &str)> = ["us", "eu", "ap-s", "jp", "all"]
        .into_iter()
        .flat_map(|geo| ["outbound", "inbound", "all"].map(|direction| (geo, direction)))
        .collect();
    for (geo, direction) in &every {
        let spec = format!(
            "{{ customerId: {CUSTOMER}, geo: {geo}, direction: {direction}, ipFamilies: Dual, expandWildcards: None, \
             podSelector: {{ matchLabels: {{ app: {geo}-{direction} }} }} }}"
        );
        stage.apply(&format!("{geo}-{direction}"), &spec).await;
    }
    for (geo, direction) in &every {
        stage.ready(&format!("{geo}-{direction}")).await;
    }
    let written: Vec<NetworkPolicy> = policies.now().into_values().collect();
    for (geo, direction) in &every {
        // Every policy of the namespace takes part: a pod's verdict rests on those that select it.
        let pod = CasePeer::pod(stage.namespace.name(), [("app", format!("{geo}-{direction}").as_str())]);
        let document = document(geo, direction);
        let listed = Listed::of(&document, &document, Wildcards::Ignored, both);
        // What other geos list, and what the other direction does, is what a mistake would open.
        let everything = Listed::of(&self::document("all", "all"), &document, Wildcards::Ignored, both);
        judge(&written, &pod, &listed, 1000, directions(direction), &everything).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_allows_the_list_in_the_clusters_families() {
    let stage = Stage::set().await;
    let _operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us, direction: outbound }").await;
    stage.ready("daas-us").await;
    let written = stage.all_policies().await;
    let pod = CasePeer::pod(stage.namespace.name(), [("app", "anything")]);
    let (document, known) = (document("us", "outbound"), document("us", "all"));
    // The control plane's Services are IPv4, and exact names of the list stand in for its wildcards.
    let listed = Listed::of(&document, &known, Wildcards::Expanded, ipv4);
    let everything = Listed::of(&self::document("all", "all"), &known, Wildcards::Ignored, ipv4);
    judge(&written, &pod, &listed, 300, &[Direction::Outbound], &everything).await;
    let status = stage.status("daas-us").await;
    let summary = status.summary.expect("a summary");
    let with_ports =
        document.services.iter().filter(|service| service.tcp_ports.is_some() || service.udp_ports.is_some());
    let endpoints = with_ports.flat_map(|service| &service.endpoints);
    let names: BTreeSet<&String> =
        endpoints.flat_map(|endpoint| &endpoint.fqdns).filter(|name| !name.contains('*')).collect();
    let names = names.len();
    assert_eq!(summary.resolved, format!("{names}/{names}"), "every name of the list has an address");
    assert_eq!(status.policies, written.iter().filter_map(|policy| policy.metadata.name.clone()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_alone_allows_the_lists_ipv6_and_nothing_else() {
    let stage = Stage::set().await;
    let _operator = stage.operator().await;
    stage
        .apply("six", "{ customerId: testcustomer, geo: us, direction: all, ipFamilies: IPv6, expandWildcards: None }")
        .await;
    stage.ready("six").await;
    let written = stage.all_policies().await;
    let pod = CasePeer::pod(stage.namespace.name(), []);
    let document = document("us", "all");
    let listed = Listed::of(&document, &document, Wildcards::Ignored, |network| !ipv4(network));
    let of_ipv4 = Listed::of(&document, &document, Wildcards::Ignored, ipv4);
    judge(&written, &pod, &listed, 300, &Direction::ALL, &of_ipv4).await;
}
