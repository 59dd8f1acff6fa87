//! The files that people load into Prometheus and Grafana, as the chart ships them.

use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use test_support::tools::workspace_root;

/// An alert of the rules.
#[derive(Debug, Deserialize)]
pub struct Alert {
    #[serde(rename = "alert")]
    pub name: String,
    pub expr: String,
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

/// A file of the chart.
pub fn chart_file(name: &str) -> PathBuf {
    workspace_root().join("charts/citrix-allowlist-operator/files").join(name)
}

/// Every alert.
pub fn alerts() -> Vec<Alert> {
    let text = std::fs::read_to_string(chart_file("alerts.yaml")).expect("the rules");
    let rules: Rules = serde_saphyr::from_str(&text).expect("rules");
    rules.groups.into_iter().flat_map(|group| group.rules).collect()
}

/// A query of the dashboard.
#[derive(Debug)]
pub struct Query {
    pub panel: String,
    pub expr: String,
    /// The labels that its legend names.
    pub labels: Vec<String>,
}

/// The dashboard.
pub fn dashboard() -> Value {
    let text = std::fs::read_to_string(chart_file("dashboard.json")).expect("the dashboard");
    serde_json::from_str(&text).expect("JSON")
}

/// Every query of the dashboard's panels, as it stands there.
pub fn dashboard_queries() -> Vec<Query> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels").clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let queries = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| Query {
            panel: text(&panel["title"]),
            expr: text(&target["expr"]),
            labels: between(&text(&target["legendFormat"]), "{{", "}}"),
        })
    });
    queries.collect()
}

/// What stands between each pair of marks.
pub fn between(text: &str, open: &str, close: &str) -> Vec<String> {
    text.split(open).skip(1).filter_map(|rest| Some(rest.split_once(close)?.0.trim().to_owned())).collect()
}

/// The vector selectors of an expression that name the operator's metrics.
pub fn selectors(expr: &str) -> Vec<String> {
    let begins = |prefix| expr.match_indices(prefix).map(|(at, _)| &expr[at..]);
    let starts = begins("citrix_allowlist_").chain(begins("process_"));
    let selectors = starts.map(|text| {
        let name = text.find(|next: char| !next.is_ascii_alphanumeric() && next != '_').unwrap_or(text.len());
        match text[name..].strip_prefix('{').and_then(|labels| labels.find('}')) {
            Some(end) => text[..name + end + 2].to_owned(),
            None => text[..name].to_owned(),
        }
    });
    selectors.collect()
}

#[test]
fn selectors_are_found_with_their_labels() {
    let expr = "sum by (le) (rate(citrix_allowlist_a{x=\"y\", z!~\"b|c\"}[5m])) > citrix_allowlist_b";
    assert_eq!(selectors(expr), ["citrix_allowlist_a{x=\"y\", z!~\"b|c\"}", "citrix_allowlist_b"]);
    assert_eq!(between("{{a}}: {{ b }}", "{{", "}}"), ["a", "b"]);
}
