use super::*;

fn server(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 244, 0, last], 53))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

/// Metrics in which everything has happened once.
fn eventful() -> Metrics {
    let metrics = Metrics::new();
    metrics.leading(true);
    metrics.resources_counted(7, 2, 1);
    metrics.problems_counted(&BTreeMap::from([(ProblemKind::Wildcard, 3)]));
    metrics.reconciled(ReconcileOutcome::Changed, Duration::from_millis(30));
    metrics.wrote("NetworkPolicy", "apply", "ok");
    metrics.feed_requested("Global", "fetched");
    metrics.feed_current("Global", "testcustomer", at(1_000), Some(at(5_000)));
    metrics.limiter_queue(4);
    metrics.limiter_waited(Duration::from_secs(12));
    metrics.dns_asked(server(1), "answered", Duration::from_millis(2));
    metrics.dns_asked(server(2), "timeout", Duration::from_secs(2));
    metrics.dns_refused(server(2));
    metrics.names_held(197, 492);
    metrics.predicted_miss(Duration::from_millis(400));
    metrics
}

#[test]
fn the_reference_names_exactly_what_a_scrape_holds() {
    let text = eventful().render(at(1_600));
    let scraped: BTreeSet<(String, String, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| {
            let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            let help = text
                .lines()
                .find_map(|line| line.strip_prefix(&format!("# HELP {} ", name.trim_end_matches("_total"))));
            (name, kind.to_owned(), help.unwrap_or_default().to_owned())
        })
        .collect();
    let documented = Metrics::reference()
        .into_iter()
        .map(|doc| (doc.name.to_owned(), doc.kind.to_string(), format!("{}.", doc.help)))
        .collect();
    assert_eq!(scraped, documented);
}

#[test]
fn every_label_is_documented_and_every_documented_label_is_there() {
    let text = eventful().render(at(1_600));
    for doc in Metrics::reference() {
        let sample = text
            .lines()
            .find(|line| !line.starts_with('#') && line.starts_with(doc.name))
            .unwrap_or_else(|| panic!("{} has no sample in\n{text}", doc.name));
        let labels: Vec<&str> = sample
            .split_once('{')
            .and_then(|(_, rest)| rest.split_once('}'))
            .map(|(labels, _)| labels.split(',').filter_map(|pair| Some(pair.split_once('=')?.0)).collect())
            .unwrap_or_default();
        assert_eq!(labels, doc.labels, "{sample}");
    }
}

#[test]
fn names_and_units_are_as_prometheus_asks() {
    let mut seen = BTreeSet::new();
    for doc in Metrics::reference() {
        assert!(seen.insert(doc.name), "{} twice", doc.name);
        assert!(doc.name.starts_with("citrix_allowlist_"), "{}", doc.name);
        assert!(doc.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit()));
        assert_eq!(doc.kind == MetricKind::Counter, doc.name.ends_with("_total"), "{}", doc.name);
        assert!(doc.kind != MetricKind::Histogram || doc.name.ends_with("_seconds"), "{}", doc.name);
        assert!(!doc.help.ends_with('.') && doc.help.starts_with(|first: char| !first.is_lowercase()), "{}", doc.help);
    }
}

#[test]
fn values_are_what_happened() {
    let text = eventful().render(at(1_600));
    for line in [
        concat!("citrix_allowlist_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "citrix_allowlist_leader 1",
        "citrix_allowlist_resources{ready=\"False\"} 2",
        "citrix_allowlist_problems{kind=\"Wildcard\"} 3",
        "citrix_allowlist_problems{kind=\"Conflict\"} 0",
        "citrix_allowlist_reconciles_total{outcome=\"changed\"} 1",
        "citrix_allowlist_reconciles_total{outcome=\"failed\"} 0",
        "citrix_allowlist_reconcile_duration_seconds_bucket{le=\"0.05\"} 1",
        "citrix_allowlist_writes_total{kind=\"NetworkPolicy\",verb=\"apply\",result=\"ok\"} 1",
        "citrix_allowlist_feed_fetches_total{cloud=\"Global\",result=\"fetched\"} 1",
        "citrix_allowlist_feed_fetched_timestamp_seconds{cloud=\"Global\",customer=\"testcustomer\"} 1000.0",
        "citrix_allowlist_feed_age_seconds{cloud=\"Global\",customer=\"testcustomer\"} 600.0",
        "citrix_allowlist_feed_valid_until_timestamp_seconds{cloud=\"Global\",customer=\"testcustomer\"} 5000.0",
        "citrix_allowlist_limiter_queue_length 4",
        "citrix_allowlist_dns_questions_total{server=\"10.244.0.2:53\",result=\"timeout\"} 1",
        "citrix_allowlist_dns_refused_answers_total{server=\"10.244.0.2:53\"} 1",
        "citrix_allowlist_names 197",
        "citrix_allowlist_addresses 492",
        "citrix_allowlist_predicted_miss_seconds_count 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn what_goes_is_forgotten() {
    let metrics = eventful();
    let _ = metrics.render(at(1_600));
    metrics.feed_current("Global", "testcustomer", at(2_000), None);
    assert!(!metrics.render(at(2_000)).contains("feed_valid_until_timestamp_seconds{"));
    metrics.feed_forgotten("Global", "testcustomer");
    metrics.dns_servers(&BTreeSet::from([server(1)]));
    let text = metrics.render(at(2_100));
    assert!(!text.contains("testcustomer") && !text.contains("10.244.0.2"), "{text}");
    assert!(text.contains("10.244.0.1:53"));
    // A clock that was set back shows no negative age.
    metrics.feed_current("Japan", "other", at(3_000), None);
    let line = "citrix_allowlist_feed_age_seconds{cloud=\"Japan\",customer=\"other\"} 0.0\n";
    assert!(metrics.render(at(2_000)).contains(line));
}
