//! When the vendor or DNS fails, policies stay exactly as they are, and status says what is the matter.

use crate::common::Stage;
use crate::common::watched::generations;
use serde_json::json;
use std::time::Duration;
use test_support::standin::{Fault, StandinConfig, Validity};

const WITHIN: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_feed_leaves_policies_alone_and_status_says_so() {
    let validity = Validity::Rolling(Duration::from_secs(2));
    let stage = Stage::with(StandinConfig { validity, ..StandinConfig::unlimited() }).await;
    let _operator = stage.operator().await;
    stage
        .apply(
            "daas-us",
            "{ customerId: testcustomer, geo: us, direction: all, refresh: { minInterval: 1s, maxInterval: 2s } }",
        )
        .await;
    stage.ready("daas-us").await;
    stage.condition("daas-us", "FeedCurrent", "True", WITHIN).await;
    let policies = stage.watch_policies().await;
    let before = generations(&policies.now());
    assert_eq!(before.len(), 2);
    let faults = [
        (Fault::status(500), "FeedUnavailable"),
        (Fault::Reset, "FeedUnavailable"),
        (Fault::MalformedJson, "FeedMalformed"),
        (Fault::HtmlPage, "FeedMalformed"),
        (Fault::EmptyServices, "FeedMalformed"),
    ];
    for (fault, reason) in faults {
        stage.standin.fail(fault.clone());
        let message = stage.reason("daas-us", "FeedCurrent", reason, WITHIN).await;
        assert!(message.len() > 20, "{fault:?}: {message}");
        assert_eq!(generations(&policies.now()), before, "{fault:?}");
        stage.standin.clear_faults();
        // After a failure it waits some seconds; a person who knows that it is over does not have to.
        stage.annotate("daas-us", "citrix-allowlist.io/refresh-requested-at", &format!("after {fault:?}")).await;
        stage.condition("daas-us", "FeedCurrent", "True", WITHIN).await;
    }
    let status = stage.status("daas-us").await;
    assert!(status.feed.is_some_and(|feed| feed.transaction_id.is_some()), "support asks for the id");
    assert_eq!(generations(&policies.now()), before);
    let told = stage.cluster.kubectl(&["-n", stage.namespace.name(), "get", "events"]).await.expect("events");
    assert!(told.contains("FeedUnavailable") && told.contains("FeedMalformed"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_the_vendor_does_not_know_is_the_users_to_mend() {
    let stage = Stage::set().await;
    stage.standin.forget_customer("nobody");
    let _operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: nobody, geo: us }").await;
    stage.reason("daas-us", "Ready", "FeedRejected", WITHIN).await;
    stage.condition("daas-us", "Stalled", "True", WITHIN).await;
    stage.patch("daas-us", json!({ "customerId": "testcustomer" })).await;
    stage.ready("daas-us").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_dns_leaves_policies_alone_and_status_says_so() {
    let stage = Stage::set().await;
    let _operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us, addressRetention: 1m }").await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    let before = generations(&policies.now());
    stage.dns.set_silent(true);
    let message = stage.reason("daas-us", "NamesResolved", "Unresolved", Duration::from_secs(20)).await;
    assert!(message.contains("no name is being answered"), "{message}");
    assert_eq!(stage.resource("daas-us").await.status.map(|status| status.policies.len()), Some(1));
    assert_eq!(generations(&policies.now()), before);
    stage.dns.set_silent(false);
    let reason = "WildcardsUnenforceable";
    stage.reason("daas-us", "NamesResolved", reason, Duration::from_secs(40)).await;
    assert_eq!(generations(&policies.now()), before);
}
