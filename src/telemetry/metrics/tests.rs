use super::*;
use crate::cluster::apply::WriteObserver as _;
use crate::crd::{Problem, ProblemKind, Summary};
use crate::feed::{CompletedFetch, FeedKey, FeedObserver as _};
use crate::names::{
    AddressSnapshot, Family as IpFamily, NameSnapshot, NameState, NamesObserver as _, RefusedAddress, ServerSnapshot,
    ZoneState,
};
use crate::reason::Reason;
use connectivity_allowlist::{Cloud, ListForm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

fn server(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 244, 0, last], 53))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn resource(name: &str) -> ResourceRef {
    ResourceRef::new("citrix", name)
}

/// Asserts that each of these lines is in a scrape.
fn has_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line} is not in\n{text}");
    }
}

fn status(ready: Option<&str>, problems: &[ProblemKind]) -> CitrixAllowlistStatus {
    let condition = |status: &str| -> Condition {
        let time = "2026-01-01T00:00:00Z";
        let fields = serde_json::json!({
            "type": "Ready", "status": status, "reason": "Applied", "message": "", "lastTransitionTime": time,
        });
        serde_json::from_value(fields).expect("a condition")
    };
    let problem = |kind: &ProblemKind| Problem::new(*kind, "subject", None, "message");
    CitrixAllowlistStatus {
        conditions: ready.map(condition).into_iter().collect(),
        problems: problems.iter().map(problem).collect(),
        summary: Some(Summary { wildcards: 2, ..Summary::default() }),
        ..CitrixAllowlistStatus::default()
    }
}

fn feed(customer: Option<&str>, age: u64, valid_until: Option<i64>) -> FeedSnapshot {
    FeedSnapshot {
        key: FeedKey { cloud: Cloud::Global, form: ListForm::Json, customer: customer.map(Into::into), scope: None },
        subscribers: 1,
        age: Some(Duration::from_secs(age)),
        valid_until: valid_until.map(at),
        version: None,
        next_fetch: Some(at(3_000)),
        queue_place: Some(1),
        reason: Reason::Fetched,
        held_back: false,
        failures: 0,
    }
}

fn names(servers: &[u8]) -> NamesSnapshot {
    let address = |refused: Option<&str>| AddressSnapshot {
        address: server(9).ip(),
        server: server(9),
        first_seen: Duration::ZERO,
        last_seen: Duration::ZERO,
        ttl: Duration::ZERO,
        missing: None,
        refused: refused.map(Into::into),
        in_force: None,
    };
    let name = NameSnapshot {
        name: "accounts.citrixcloud.jp".parse().expect("a name"),
        state: NameState::Answered,
        retention: Duration::ZERO,
        evicted: 0,
        next_question: None,
        addresses: vec![address(None), address(None), address(Some("loopback"))],
        learned: None,
    };
    let server = |last: &u8| ServerSnapshot {
        server: server(*last),
        answered: 1,
        failed: 0,
        failing: 0,
        last_answer: None,
        error: None,
        waiting: 4,
    };
    let servers = servers.iter().map(server).collect();
    NamesSnapshot {
        names: vec![name],
        servers,
        names_left_out: [0, 3, 0],
        addresses_left_out: [0, 0, 1],
        learned: 4,
        zones: [(ZoneState::Forwarded, 5), (ZoneState::Missing, 1)].into(),
        stretch: 2.5,
    }
}

/// Metrics in which everything has happened once.
fn eventful() -> Metrics {
    let metrics = Metrics::default();
    metrics.leading(true);
    metrics.resource(&resource("good"), &status(Some("True"), &[ProblemKind::Wildcard, ProblemKind::Wildcard]));
    metrics.resource(&resource("bad"), &status(Some("False"), &[ProblemKind::Wildcard, ProblemKind::Conflict]));
    metrics.resource(&resource("new"), &CitrixAllowlistStatus::default());
    metrics.reconciled(Counted::Changed, Duration::from_millis(30));
    metrics.wrote("NetworkPolicy", "apply", "ok");
    metrics.fetched(&CompletedFetch {
        key: &feed(None, 0, None).key,
        reason: Reason::Fetched,
        message: "fetched",
        changed: true,
        transaction_id: "7",
        took: Duration::from_millis(200),
    });
    metrics.feeds_are(&[feed(Some("testcustomer"), 600, Some(5_000))], [0; 3], at(1_600));
    metrics.limited_to(NonZeroU32::MIN.saturating_add(4));
    metrics.limiter_waited("api.cloud.com", Duration::from_secs(12));
    metrics.asked(server(1), IpFamily::V4, "answered", Duration::from_millis(2));
    metrics.asked(server(2), IpFamily::V4, "timeout", Duration::from_secs(2));
    let names = names(&[1, 2]);
    let name = &names.names[0].name;
    metrics.refused(name, &RefusedAddress { address: server(9).ip(), server: server(2), reason: "loopback".into() });
    metrics.names_are(&names);
    metrics.predicted_miss(name, Duration::from_millis(400));
    metrics
}

#[test]
fn the_reference_names_exactly_the_metrics_of_a_scrape() {
    let text = eventful().render();
    let read = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        let help = text.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} ")));
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        Some((name, kind.to_owned(), help.unwrap_or_default().to_owned()))
    };
    let scraped: BTreeSet<(String, String, String)> = text.lines().filter_map(read).collect();
    let documented = reference::ALL
        .iter()
        .map(|doc| (doc.name.to_owned(), doc.kind.to_string(), format!("{}.", doc.help)))
        .collect();
    assert_eq!(scraped, documented);
}

#[test]
fn labels_and_their_documentation_agree() {
    let text = eventful().render();
    for doc in reference::ALL {
        let sample = text.lines().find(|line| !line.starts_with('#') && line.starts_with(doc.name));
        let sample = sample.unwrap_or_else(|| panic!("{} has no sample in\n{text}", doc.name));
        let labels = sample.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(labels, _)| labels);
        let labels = labels.into_iter().flat_map(|labels| labels.split(','));
        let labels: Vec<&str> = labels.filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
        assert_eq!(labels, doc.labels, "{sample}");
    }
}

#[test]
fn names_and_units_are_as_prometheus_asks() {
    let mut seen = BTreeSet::new();
    for doc in reference::ALL {
        assert!(seen.insert(doc.name), "{} twice", doc.name);
        let is_common = doc.name.starts_with("process_");
        assert!(is_common || doc.name.starts_with("citrix_allowlist_"), "{}", doc.name);
        assert!(doc.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit()));
        assert_eq!(doc.kind == MetricKind::Counter, doc.name.ends_with("_total"), "{}", doc.name);
        assert!(doc.kind != MetricKind::Histogram || doc.name.ends_with("_seconds"), "{}", doc.name);
        assert!(!doc.help.ends_with('.') && doc.help.starts_with(|first: char| !first.is_lowercase()), "{}", doc.help);
    }
}

/// Every client of the port can read them: they contain customers' ids, and no more of tenants.
#[test]
fn no_label_names_a_resource_a_name_or_an_address_of_one() {
    let known = BTreeSet::from([
        "version", "ready", "type", "status", "reason", "kind", "outcome", "verb", "result", "cloud", "customer",
        "server", "state", "bound", "cause",
    ]);
    let used: BTreeSet<&str> = reference::ALL.iter().flat_map(|doc| doc.labels).copied().collect();
    assert_eq!(used, known);
}

#[test]
fn values_are_what_happened() {
    let text = eventful().render();
    let lines = [
        concat!("citrix_allowlist_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "citrix_allowlist_leader 1",
        "citrix_allowlist_resources{ready=\"True\"} 1",
        "citrix_allowlist_resources{ready=\"False\"} 1",
        "citrix_allowlist_resources{ready=\"Unknown\"} 1",
        "citrix_allowlist_conditions{type=\"Ready\",status=\"True\",reason=\"Applied\"} 1",
        "citrix_allowlist_problems{kind=\"Wildcard\"} 3",
        "citrix_allowlist_wildcards 4",
        "citrix_allowlist_problems{kind=\"Conflict\"} 1",
        "citrix_allowlist_problems{kind=\"Limit\"} 0",
        "citrix_allowlist_reconciles_total{outcome=\"changed\"} 1",
        "citrix_allowlist_reconciles_total{outcome=\"failed\"} 0",
        "citrix_allowlist_reconcile_duration_seconds_bucket{le=\"0.05\"} 1",
        "citrix_allowlist_writes_total{kind=\"NetworkPolicy\",verb=\"apply\",result=\"ok\"} 1",
        "citrix_allowlist_feed_fetches_total{cloud=\"Global\",result=\"Fetched\"} 1",
        "citrix_allowlist_feed_fetched_timestamp_seconds{cloud=\"Global\",customer=\"testcustomer\"} 1000.0",
        "citrix_allowlist_feed_age_seconds{cloud=\"Global\",customer=\"testcustomer\"} 600.0",
        "citrix_allowlist_feed_valid_until_timestamp_seconds{cloud=\"Global\",customer=\"testcustomer\"} 5000.0",
        "citrix_allowlist_feed_next_fetch_timestamp_seconds{cloud=\"Global\",customer=\"testcustomer\"} 3000.0",
        "citrix_allowlist_limiter_queue_length 1",
        "citrix_allowlist_limiter_requests_per_minute 5",
        "citrix_allowlist_dns_questions_total{server=\"10.244.0.2:53\",result=\"timeout\"} 1",
        "citrix_allowlist_dns_refused_answers_total{server=\"10.244.0.1:53\"} 0",
        "citrix_allowlist_dns_refused_answers_total{server=\"10.244.0.2:53\"} 1",
        "citrix_allowlist_names{state=\"answered\"} 1",
        "citrix_allowlist_names{state=\"absent\"} 0",
        "citrix_allowlist_addresses 2",
        "citrix_allowlist_predicted_miss_seconds_count 1",
    ];
    has_lines(&text, &lines);
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn what_is_gone_is_forgotten() {
    let metrics = eventful();
    metrics.feeds_are(&[feed(Some("testcustomer"), 10, None)], [0; 3], at(2_000));
    let text = metrics.render();
    assert!(!text.contains("feed_valid_until_timestamp_seconds{"), "{text}");
    let fetched = "citrix_allowlist_feed_fetched_timestamp_seconds{cloud=\"Global\",customer=\"testcustomer\"} 1990.0";
    has_lines(&text, &[fetched]);
    metrics.feeds_are(&[], [0; 3], at(2_100));
    metrics.names_are(&names(&[1]));
    metrics.forget(&resource("bad"));
    metrics.forget(&resource("never seen"));
    metrics.resource(&resource("good"), &status(Some("False"), &[]));
    let text = metrics.render();
    assert!(!text.contains("testcustomer") && !text.contains("10.244.0.2"), "{text}");
    let lines = [
        "citrix_allowlist_dns_questions_total{server=\"10.244.0.1:53\",result=\"answered\"} 1",
        "citrix_allowlist_limiter_queue_length 0",
        "citrix_allowlist_resources{ready=\"True\"} 0",
        "citrix_allowlist_resources{ready=\"False\"} 1",
        "citrix_allowlist_problems{kind=\"Wildcard\"} 0",
        "citrix_allowlist_problems{kind=\"Conflict\"} 0",
    ];
    has_lines(&text, &lines);
}

#[test]
fn of_a_list_in_parts_the_oldest_and_the_first_to_end_count() {
    let metrics = Metrics::default();
    metrics.feeds_are(&[feed(None, 5, Some(900)), feed(None, 70, Some(800)), feed(None, 6, None)], [0; 3], at(500));
    let lines = [
        "citrix_allowlist_feed_age_seconds{cloud=\"Global\",customer=\"*\"} 70.0",
        "citrix_allowlist_feed_valid_until_timestamp_seconds{cloud=\"Global\",customer=\"*\"} 800.0",
    ];
    has_lines(&metrics.render(), &lines);
}

#[test]
fn a_condition_that_no_resource_has_any_more_is_not_counted() {
    let metrics = eventful();
    metrics.resource(&resource("good"), &status(Some("False"), &[]));
    let text = metrics.render();
    assert!(!text.contains("type=\"Ready\",status=\"True\""), "{text}");
    has_lines(&text, &["citrix_allowlist_conditions{type=\"Ready\",status=\"False\",reason=\"Applied\"} 2"]);
    let mut strange = status(Some("False"), &[]);
    for condition in &mut strange.conditions {
        condition.reason = "Invented".to_owned();
    }
    metrics.resource(&resource("bad"), &strange);
    assert!(!metrics.render().contains("Invented"));
}

#[test]
fn a_standby_does_not_count_resources() {
    let metrics = eventful();
    metrics.leading(false);
    metrics.forget_resources();
    let text = metrics.render();
    let lines = [
        "citrix_allowlist_leader 0",
        "citrix_allowlist_resources{ready=\"False\"} 0",
        "citrix_allowlist_problems{kind=\"Wildcard\"} 0",
        "citrix_allowlist_wildcards 0",
    ];
    has_lines(&text, &lines);
    assert!(!text.contains("citrix_allowlist_conditions{"), "{text}");
}
