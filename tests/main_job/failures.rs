//! When the vendor or DNS fails, policies stay exactly as they are, and status says what is the matter.

use crate::common::Stage;
use crate::common::watched::generations;
use citrix_allowlist::crd::REFRESH_ANNOTATION;
use serde_json::json;
use std::time::Duration;
use test_support::operator::{Operator, OperatorConfig};
use test_support::standin::{ConnectProxy, Fault, ProxyConfig, RetryAfter, StandinConfig, TestAuthority, Validity};

/// What the API does wrong, and the reason that condition, event and metric give for it.
type Failure = (Fault, &'static str);

/// Each failure in turn on a running operator: policies stay untouched; the condition, an event and a metric tell the
/// reason; and the next good answer ends it. Nothing is asked for so long after a failure.
async fn survives(failures: &[Failure], pause: Duration) {
    let validity = Validity::Rolling(Duration::from_secs(3600));
    let stage = Stage::with(StandinConfig { validity, ..StandinConfig::unlimited() }).await;
    let operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us, direction: all }").await;
    stage.ready("daas-us").await;
    stage.condition("daas-us", "FeedCurrent", "True").await;
    let policies = stage.watch_policies().await;
    let before = generations(&policies.now());
    assert_eq!(before.len(), 2);
    let ask = async |token: String| stage.annotate("daas-us", REFRESH_ANNOTATION, &token).await;
    for (fault, reason) in failures {
        let series = format!("citrix_allowlist_feed_fetches_total{{cloud=\"Global\",result=\"{reason}\"}}");
        let count = async || operator.metric(&series).await.expect("metrics").unwrap_or_default();
        let counted = count().await;
        stage.standin.fail(fault.clone());
        ask(format!("during {fault:?}")).await;
        let message = stage.reason("daas-us", "FeedCurrent", reason).await;
        assert!(message.len() > 20, "{fault:?}: {message}");
        assert!(count().await > counted, "{fault:?}: {series}");
        assert_eq!(generations(&policies.now()), before, "{fault:?}");
        let told = stage.cluster.kubectl(&["-n", stage.namespace.name(), "get", "events"]).await.expect("events");
        assert!(told.contains(reason), "{fault:?}: {told}");
        stage.standin.clear_faults();
        let asked = stage.standin.requests().len();
        // After a failure it waits some seconds; a person who knows that it is over does not have to.
        // A request that was in flight when it ended has to run into its own limit first.
        ask(format!("after {fault:?}")).await;
        tokio::time::sleep(pause).await;
        assert!(pause.is_zero() || stage.standin.requests().len() == asked, "{fault:?}: the host is left alone");
        stage.condition("daas-us", "FeedCurrent", "True").await;
    }
    let status = stage.status("daas-us").await;
    assert!(status.feed.is_some_and(|feed| feed.transaction_id.is_some()), "support asks for the id");
    assert_eq!(generations(&policies.now()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_feed_leaves_policies_alone_and_everything_says_so() {
    let pause = Some(RetryAfter::Seconds(1));
    let failures = [
        (Fault::status(500), "FeedUnavailable"),
        (Fault::Status { status: 503, retry_after: pause }, "FeedUnavailable"),
        (Fault::Status { status: 429, retry_after: pause }, "RateLimited"),
        (Fault::status(400), "FeedRejected"),
        (Fault::status(404), "FeedRejected"),
        (Fault::Reset, "FeedUnavailable"),
        (Fault::TruncatedBody, "FeedUnavailable"),
        (Fault::RedirectOtherHost, "FeedUnavailable"),
        (Fault::MalformedJson, "FeedMalformed"),
        (Fault::HtmlPage, "FeedMalformed"),
        (Fault::EmptyServices, "FeedMalformed"),
        (Fault::WrongContentEncoding, "FeedMalformed"),
        (Fault::OversizedBody { padding: 5 << 20 }, "FeedMalformed"),
        (Fault::GzipBomb { padding: 6 << 20 }, "FeedMalformed"),
    ];
    survives(&failures, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_names_no_pause_is_followed_by_one_of_a_minute() {
    survives(&[(Fault::status(429), "RateLimited")], Duration::from_secs(50)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_never_ends_its_answer_leaves_policies_alone() {
    let slow = Fault::SlowBody { interval: Duration::from_secs(1) };
    survives(&[(Fault::Silence, "FeedUnavailable"), (slow, "FeedUnavailable")], Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_environments_proxy_with_an_authority_of_ones_own() {
    let authority = TestAuthority::new().expect("an authority");
    let config = StandinConfig { authority: Some(authority.clone()), ..StandinConfig::unlimited() };
    let stage = Stage::with(config).await;
    let routes = [("api.cloud.com:443".to_owned(), stage.standin.addr())].into_iter().collect();
    let credentials = Some(("operator".to_owned(), "hunter2".to_owned()));
    let proxy = ConnectProxy::start(ProxyConfig { credentials, routes }).await.expect("a proxy");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).expect("a file");
    let url = stage.standin.base_url_global().replace(&stage.standin.origin(), "https://api.cloud.com");
    let through = |config: OperatorConfig| {
        config
            .flag("global-url", &url)
            .variable("HTTPS_PROXY", proxy.url_with("operator", "hunter2"))
            .variable("NO_PROXY", "127.0.0.1,localhost")
    };
    let trusting = || through(stage.operator_config_without("global-url")).flag("extra-ca-file", file.display());
    let operator = Operator::start(&trusting()).await.expect("an operator");
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    let log = operator.log();
    drop(operator);
    let policies = stage.watch_policies().await;
    let before = generations(&policies.now());

    let distrustful =
        Operator::start(&through(stage.operator_config_without("global-url"))).await.expect("an operator");
    stage.annotate("daas-us", REFRESH_ANNOTATION, "without the authority").await;
    let message = stage.reason("daas-us", "FeedCurrent", "FeedUnavailable").await;
    assert!(message.contains("--extra-ca-file"), "{message}");
    let told = stage.cluster.kubectl(&["-n", stage.namespace.name(), "get", "events"]).await.expect("events");
    assert!(told.contains("FeedUnavailable"), "{told}");
    let series = "citrix_allowlist_feed_fetches_total{cloud=\"Global\",result=\"FeedUnavailable\"}";
    assert!(distrustful.metric(series).await.expect("metrics").is_some_and(|count| count >= 1.0));
    let log = log + &distrustful.log();
    drop(distrustful);

    let operator = Operator::start(&trusting()).await.expect("an operator");
    stage.annotate("daas-us", REFRESH_ANNOTATION, "with it again").await;
    // Should its first request fail on a busy machine, the next comes after a back-off.
    stage.reason("daas-us", "FeedCurrent", "FeedExpired").await;
    assert_eq!(generations(&policies.now()), before);
    let log = log + &operator.log();
    assert!(!log.contains("hunter2"), "credentials are nobody's to read");
    assert!(proxy.requests().iter().all(|request| request.target == "api.cloud.com:443"), "only the vendor's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_the_vendor_does_not_know_is_the_users_to_mend() {
    let stage = Stage::set().await;
    stage.standin.forget_customer("nobody");
    let _operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: nobody, geo: us }").await;
    stage.reason("daas-us", "Ready", "FeedRejected").await;
    stage.condition("daas-us", "Stalled", "True").await;
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
    let message = stage.reason("daas-us", "NamesResolved", "Unresolved").await;
    assert!(message.contains("no name is being answered"), "{message}");
    assert_eq!(stage.resource("daas-us").await.status.map(|status| status.policies.len()), Some(1));
    assert_eq!(generations(&policies.now()), before);
    stage.dns.set_silent(false);
    stage.reason("daas-us", "NamesResolved", "Resolved").await;
    assert_eq!(generations(&policies.now()), before);
}
