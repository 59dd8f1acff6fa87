//! The reference of all alerts as Markdown, from the table that `explain` prints. Pure.

use super::generated;
use citrix_allowlist::explain_texts::Alert;
use std::fmt::Write as _;

/// The whole reference.
#[must_use]
pub fn markdown() -> String {
    let mut text = generated().to_owned();
    text.push_str(
        "# Alerts\n\n\
         The rules are [alerts.yaml](../charts/citrix-allowlist-operator/files/alerts.yaml); the chart makes a PrometheusRule of\n\
         them (`metrics.prometheusRule.enabled`). Each name leads to its entry in the [runbook](runbook.md), and\n\
         `kubectl citrix-allowlist explain --term NAME` says the same sentences.\n\n\
         | alert | what it means | what to do |\n| --- | --- | --- |\n",
    );
    for alert in Alert::ALL {
        let explained = alert.text();
        let anchor = alert.as_str().to_lowercase();
        let _ = writeln!(text, "| [{alert}](runbook.md#{anchor}) | {} | {} |", explained.means, explained.remedy);
    }
    text.push_str(
        "\nHow they look while they fire:\n\n![Alerts of a run that was made to fail](pictures/alerts.svg)\n",
    );
    text
}
