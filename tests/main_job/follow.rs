//! What changes outside is followed in time: answers within their TTL, lists at their `validUntil`, specs at once.

use crate::common::watched::{Objects, PATIENCE, generations};
use crate::common::{Stage, cidrs, holds};
use citrix_allowlist::crd::{ADDITIONAL_ANNOTATION, CitrixAllowlist, REFRESH_ANNOTATION};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::json;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use test_support::standin::{StandinCloud, StandinConfig, Validity};

const POLICY: &str = "daas-us-egress";

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_changed_is_followed() {
    let stage = Stage::set().await;
    let name = "accounts.cloud.com";
    let (old, new) = (address("40.64.1.1"), address("40.64.2.2"));
    stage.dns.set_addresses(name, &[old], 5);
    let _operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    assert!(holds(&policies.now()[POLICY], old));

    let started = Instant::now();
    stage.dns.set_addresses(name, &[new], 5);
    let took = policies.until("the new address", |now| holds(&now[POLICY], new)).await;
    println!("a new answer was followed after {took:?}, at a TTL of 5 s");
    assert!(holds(&policies.now()[POLICY], old), "who still holds the old address is not cut off");
    let versions = policies.since(started);
    assert_eq!(versions.len(), 2, "one write for one change");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_list_is_followed_when_the_old_one_ends() {
    let validity = Validity::Rolling(Duration::from_secs(4));
    let stage = Stage::with(StandinConfig { validity, ..StandinConfig::unlimited() }).await;
    let _operator = stage.operator().await;
    stage
        .apply("daas-us", "{ customerId: testcustomer, geo: us, refresh: { minInterval: 1s, maxInterval: 1h } }")
        .await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    let (gone, added) = ("52.141.208.0/24", "51.105.70.0/24");
    let (gone, added) = (gone.parse().expect("a network"), added.parse().expect("a network"));
    assert!(cidrs(&policies.now()[POLICY]).contains(&gone));

    // A window that has just begun: nothing may be asked before it ends.
    let asked = stage.standin.requests().len();
    stage.standin.wait_for_requests(asked + 1, PATIENCE).await.expect("the next fetch");
    stage.standin.edit(StandinCloud::Global, |document| {
        for endpoint in document.services.iter_mut().flat_map(|service| &mut service.endpoints) {
            for network in &mut endpoint.ips {
                if network == "52.141.208.0/24" {
                    "51.105.70.0/24".clone_into(network);
                }
            }
        }
    });
    let took = policies.until("the new list", |now| cidrs(&now[POLICY]).contains(&added)).await;
    assert!(took > Duration::from_secs(2), "asked {took:?} after a fetch, long before validUntil");
    assert!(!cidrs(&policies.now()[POLICY]).contains(&gone), "a network published away goes at once");
    let document = stage.standin.document(StandinCloud::Global);
    let resources = stage.watch_resources().await;
    resources
        .until("the new version in status", |now| {
            let status = now["daas-us"].status.clone().unwrap_or_default();
            status.feed.and_then(|feed| feed.version).as_ref() == Some(&document.meta.version)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_spec_is_reconciled_at_once_despite_timers() {
    let stage = Stage::set().await;
    stage.dns.default_to_fixture(3600);
    let _operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    let gateway = "52.141.208.0/24".parse().expect("a network");
    assert!(cidrs(&policies.now()[POLICY]).contains(&gateway));

    // The timers that are pending here are hours.
    stage.patch("daas-us", json!({ "services": { "exclude": ["Gateway*"] } })).await;
    let took = policies.until("a filter", |now| !cidrs(&now[POLICY]).contains(&gateway)).await;
    println!("a changed spec was followed after {took:?}");
    stage.patch("daas-us", json!({ "services": { "exclude": [] } })).await;
    policies.until("the filter undone", |now| cidrs(&now[POLICY]).contains(&gateway)).await;
    let european = "52.142.80.0/25".parse().expect("a network");
    stage.patch("daas-us", json!({ "geo": "eu" })).await;
    policies.until("another geo", |now| cidrs(&now[POLICY]).contains(&european)).await;
    let own = json!([{ "name": "proxy", "cidrs": ["10.20.0.0/24"], "tcpPorts": 3128 }]);
    stage.patch("daas-us", json!({ "additional": own })).await;
    let proxy = "10.20.0.0/24".parse().expect("a network");
    policies.until("an endpoint of the user's own", |now| cidrs(&now[POLICY]).contains(&proxy)).await;
    stage.observed("daas-us").await;
    assert_eq!(stage.standin.requests().len(), 1, "a list that is there serves every spec of its customer");
}

/// The annotation that names what only the spec asks for is created with a policy, and goes with the last of that.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_spec_adds_is_taken_back_without_a_trace() {
    let stage = Stage::set().await;
    stage.dns.default_to_fixture(3600);
    let _operator = stage.operator().await;
    let own = "[{ name: proxy, cidrs: [10.20.0.0/24], tcpPorts: 3128 }]";
    stage.apply("daas-us", &format!("{{ customerId: testcustomer, geo: us, additional: {own} }}")).await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    let annotation = |policy: &NetworkPolicy| {
        policy.metadata.annotations.as_ref().and_then(|all| all.get(ADDITIONAL_ANNOTATION)).cloned()
    };
    assert_eq!(annotation(&policies.now()[POLICY]).as_deref(), Some("10.20.0.0/24"));
    stage.patch("daas-us", json!({ "additional": [] })).await;
    policies.until("the annotation gone", |now| annotation(&now[POLICY]).is_none()).await;
    stage.observed("daas-us").await;
    // The next reconcile finds everything as it should be.
    stage.patch("daas-us", json!({ "services": { "exclude": ["No such service"] } })).await;
    stage.observed("daas-us").await;
    stage.ready("daas-us").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_asked_for_is_made_at_once_and_once() {
    let stage = Stage::with(StandinConfig {
        validity: Validity::Rolling(Duration::from_secs(3600)),
        ..StandinConfig::unlimited()
    })
    .await;
    let _operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us, refresh: { minInterval: 1s } }").await;
    stage.ready("daas-us").await;
    assert_eq!(stage.standin.requests().len(), 1);
    let annotation = "citrix-allowlist.io/refresh-requested-at=2026-11-22T10:00:00Z";
    let namespace = stage.namespace.name();
    stage.cluster.kubectl(&["-n", namespace, "annotate", "cal", "daas-us", annotation]).await.expect("an annotation");
    let resources = stage.watch_resources().await;
    resources
        .until("the request acknowledged", |now| {
            let status = now["daas-us"].status.clone().unwrap_or_default();
            status.last_handled_refresh.as_deref() == Some("2026-11-22T10:00:00Z")
        })
        .await;
    assert_eq!(stage.standin.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_list_moves_its_date_and_nothing_else() {
    let validity = Validity::Rolling(Duration::from_secs(3600));
    let stage = Stage::with(StandinConfig { validity, ..StandinConfig::unlimited() }).await;
    let operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us, refresh: { minInterval: 1s } }").await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    let before = (generations(&policies.now()), stage.status("daas-us").await);
    let series = "citrix_allowlist_feed_fetches_total{cloud=\"Global\",result=\"Fetched\"}";
    assert_eq!(operator.metric(series).await.expect("metrics"), Some(1.0));
    // The times in status are whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    stage.annotate("daas-us", REFRESH_ANNOTATION, "again").await;
    let resources = stage.watch_resources().await;
    let handled = |now: &Objects<CitrixAllowlist>| {
        now["daas-us"].status.as_ref().is_some_and(|status| status.last_handled_refresh.is_some())
    };
    resources.until("the request acknowledged", handled).await;
    let request = stage.standin.requests().pop().expect("a request");
    assert!(request.header("if-modified-since").is_some(), "{request:?}");
    assert_eq!((request.header("accept-encoding"), request.status), (Some("gzip"), Some(304)));
    assert_eq!(operator.metric(series).await.expect("metrics"), Some(2.0));
    let after = stage.status("daas-us").await;
    let (feed, held) = (after.feed.clone().expect("a feed"), before.1.feed.clone().expect("a feed"));
    assert!(feed.fetched_at > held.fetched_at, "{feed:?}");
    assert_eq!((feed.version, &after.conditions), (held.version, &before.1.conditions));
    assert_eq!(generations(&policies.now()), before.0);
}
