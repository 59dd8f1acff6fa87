//! The reference of all metrics as Markdown, from the table that registers them. Pure.

use super::generated;
use citrix_allowlist::telemetry::reference::ALL;
use std::fmt::Write as _;

/// The whole reference.
#[must_use]
pub fn markdown() -> String {
    let mut text = generated().to_owned();
    text.push_str(
        "# Metrics\n\n\
         Served as OpenMetrics at `/metrics` on `--listen` (port `http` of the chart's Service). A replica that stands by\n\
         says nothing of resources, lists and names; `citrix_allowlist_leader` tells which one leads. Label values are words of\n\
         the program, customers of the resources, and the cluster's DNS servers; the last two are forgotten when they go.\n\n\
         [operations.md](operations.md) says what to make of them, [runbook.md](runbook.md) what each alert means.\n\n\
         | metric | type | labels | what it says |\n| --- | --- | --- | --- |\n",
    );
    for doc in ALL {
        let labels: Vec<String> = doc.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(text, "| `{}` | {} | {} | {} |", doc.name, doc.kind, labels.join(", "), doc.help);
    }
    text
}
