//! The rules by promtool's judgement, and what belongs to each alert.

use super::files::{alerts, between, chart_file, dashboard_queries, selectors};
use citrix_allowlist::explain_texts::Alert;
use citrix_allowlist::telemetry::{MetricDoc, MetricKind, reference};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use test_support::tools::workspace_root;

fn promtool(arguments: &[&str], file: &Path) -> String {
    let program = test_support::tool("promtool").expect("promtool");
    let output = Command::new(program).args(arguments).arg(file).output().expect("promtool starts");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

fn tests_of_rules() -> String {
    std::fs::read_to_string(workspace_root().join("tests/watched/alerts.test.yaml")).expect("the rules' tests")
}

#[test]
fn the_rules_are_sound_and_fire_when_they_should() {
    let said = promtool(&["check", "rules", "--lint-fatal"], &chart_file("alerts.yaml"));
    assert!(said.contains(&format!("{} rules found", alerts().len())), "{said}");
    promtool(&["test", "rules"], &workspace_root().join("tests/watched/alerts.test.yaml"));
    let tests = tests_of_rules();
    for alert in alerts() {
        let name = &alert.name;
        let cases = tests.split("- alertname: ").filter_map(|case| case.strip_prefix(&format!("{name}\n")));
        let (quiet, fires): (Vec<&str>, Vec<&str>) = cases.partition(|case| case.contains("exp_alerts: []"));
        assert!(!quiet.is_empty() && !fires.is_empty(), "{name} is not tested both ways");
    }
}

#[test]
fn what_the_chart_makes_of_them_is_sound_too() {
    let chart = workspace_root().join("charts/citrix-allowlist-operator");
    let helm = test_support::tool("helm").expect("helm");
    let mut command = Command::new(helm);
    command.args(["template", "release"]).arg(chart).args(["--set", "metrics.prometheusRule.enabled=true"]);
    let output = command.args(["--show-only", "templates/monitoring.yaml"]).output().expect("helm starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let object: serde_json::Value =
        serde_saphyr::from_str(&String::from_utf8(output.stdout).expect("UTF-8")).expect("one object");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, object["spec"].to_string()).expect("a file");
    promtool(&["check", "rules", "--lint-fatal"], &file);
    let rules = object["spec"]["groups"][0]["rules"].as_array().expect("rules");
    assert_eq!(rules.len(), alerts().len());
    for (rule, alert) in rules.iter().zip(alerts()) {
        assert_eq!((&rule["alert"], &rule["expr"]), (&alert.name.clone().into(), &alert.expr.into()));
        let link = rule["annotations"]["runbook_url"].as_str().expect("a link");
        let (page, anchor) = link.split_once('#').expect("an anchor");
        assert!(page.ends_with("/docs/runbook.md"), "{link}");
        assert_eq!(anchor, alert.name.to_lowercase());
    }
}

#[test]
fn every_alert_and_no_other_has_an_entry_in_the_runbook() {
    let text = std::fs::read_to_string(workspace_root().join("docs/runbook.md")).expect("the runbook");
    let entries: Vec<(&str, &str)> = text.split("\n## ").skip(1).filter_map(|entry| entry.split_once('\n')).collect();
    let headings: Vec<String> = entries.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let names: Vec<String> = alerts().into_iter().map(|alert| alert.name).collect();
    assert_eq!(headings, names, "in the rules' order");
    let known: Vec<String> = Alert::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(known, names, "what `explain --term` knows, in the rules' order");
    for ((heading, entry), alert) in entries.into_iter().zip(Alert::ALL) {
        let entry = entry.split_whitespace().collect::<Vec<_>>().join(" ");
        let says = format!("**Means.** {}", alert.text().means);
        assert!(entry.contains(&says), "{heading} does not say what `explain` says: {says}");
        for part in ["**Means.** ", "**Look.** ", "**Do.** "] {
            assert!(entry.contains(part), "{heading} lacks {part}");
        }
    }
}

/// The metric of a series: a histogram's parts are its own.
fn metric_of<'a>(series: &str, metrics: &'a [MetricDoc]) -> Option<&'a MetricDoc> {
    let parts = ["_bucket", "_count", "_sum"];
    metrics.iter().find(|doc| match doc.kind {
        MetricKind::Histogram => {
            parts.iter().any(|part| series.strip_suffix(part).is_some_and(|series| series == doc.name))
        }
        MetricKind::Counter | MetricKind::Gauge => doc.name == series,
    })
}

/// What a scrape adds to each series, and histograms to their buckets.
const ADDED: [&str; 4] = ["namespace", "job", "instance", "le"];

#[test]
fn only_metrics_and_labels_that_exist_are_asked_for() {
    let metrics = reference::ALL;
    let queries = dashboard_queries().into_iter().map(|query| query.expr);
    let mut asked = BTreeSet::new();
    for expr in alerts().into_iter().map(|alert| alert.expr).chain(queries) {
        for selector in selectors(&expr) {
            let (series, labels) = selector.split_once('{').unwrap_or((&selector, ""));
            let metric = metric_of(series, metrics).unwrap_or_else(|| panic!("{series} in {expr}"));
            asked.insert(metric.name);
            for label in labels.split(", ").filter_map(|pair| pair.split(['=', '!']).next()).filter(|l| !l.is_empty()) {
                assert!(metric.labels.contains(&label) || ADDED.contains(&label), "{label} of {series} in {expr}");
            }
        }
    }
    // What one page tells is not told twice: a fetch's time stands there as its age.
    let unasked: Vec<&str> = metrics.iter().map(|doc| doc.name).filter(|name| !asked.contains(name)).collect();
    assert_eq!(unasked, ["citrix_allowlist_feed_fetched_timestamp_seconds"]);
}

#[test]
fn documents_name_only_metrics_that_exist() {
    let metrics = reference::ALL;
    for file in ["docs/operations.md", "docs/runbook.md", "docs/reasons.md"] {
        let text = std::fs::read_to_string(workspace_root().join(file)).expect("a document");
        let named = between(&text, "`citrix_allowlist_", "`");
        for name in &named {
            let series = format!("citrix_allowlist_{}", name.split('{').next().unwrap_or_default());
            let known = metrics.iter().any(|doc| doc.name == series) || metric_of(&series, metrics).is_some();
            assert!(known, "{series} in {file}");
        }
        assert!(!named.is_empty(), "{file} names none");
    }
}
