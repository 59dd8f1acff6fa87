//! The wildcards of a resource, and by what each is covered, for people. Pure.

use super::durations::when;
use crate::crd::{CitrixAllowlistStatus, CoveredBy, ForwarderStatus, WildcardStatus};
use crate::text::Tree;
use jiff::Timestamp;

/// The wildcards and the zones that status knows of; nothing where there are none.
pub(super) fn tree(status: &CitrixAllowlistStatus, now: Timestamp) -> Option<Tree> {
    if status.wildcards.is_empty() && status.forwarder.is_none() {
        return None;
    }
    let covered = status.summary.as_ref().map(|summary| summary.wildcards_covered.as_str()).unwrap_or_default();
    let lines = status.wildcards.iter().map(|wildcard| Tree::leaf(line(wildcard, now)));
    let children: Vec<Tree> = lines.chain(status.forwarder.iter().map(zones)).collect();
    Some(Tree::node(format!("wildcards: {covered} covered"), children))
}

fn line(wildcard: &WildcardStatus, now: Timestamp) -> String {
    let WildcardStatus { pattern, covered_by, names, learned, since, suggested_total, .. } = wildcard;
    let by = match covered_by {
        CoveredBy::Names => "covered by names of the spec",
        CoveredBy::Observed => "covered by the names that pods ask for",
        CoveredBy::Nobody => "covered by nothing",
    };
    let since = since.as_ref().map(|since| format!(" since {}", when(since, now))).unwrap_or_default();
    let of = |count: &i64, what: &str| if *count > 0 { format!(", {count} {what}") } else { String::new() };
    let (learned, suggested) = (of(learned, "learned"), of(suggested_total, "suggested"));
    format!("{pattern}: {by}{since}; names: {names}{learned}{suggested}")
}

fn zones(forwarder: &ForwarderStatus) -> Tree {
    let ForwarderStatus { zones, zones_total, forwarded, missing, looping, not_served } = forwarder;
    let list =
        |what: &str, zones: &[String]| (!zones.is_empty()).then(|| Tree::leaf(format!("{what}: {}", zones.join(", "))));
    let children = [
        list("served", zones),
        list("not forwarded (`citrix-allowlist forwarder config` prints the block)", missing),
        list("the forwarder's own upstream leads back to it", looping),
        list("not served: add them to --forward-zone", not_served),
    ];
    let text = format!("zones that the cluster's DNS forwards to the operator: {forwarded} of {zones_total}");
    Tree::node(text, children.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERN: &str = "*.blob.example.com";

    fn wildcard(covered_by: CoveredBy, suggested: &[&str]) -> WildcardStatus {
        WildcardStatus {
            pattern: PATTERN.to_owned(),
            covered_by,
            names: 3,
            learned: 1,
            since: Some("2026-06-01T00:00:00Z".to_owned()),
            suggested: suggested.iter().map(ToString::to_string).collect(),
            suggested_total: i64::try_from(suggested.len()).expect("few"),
        }
    }

    #[test]
    fn the_tree_lists_wildcards_and_missing_zones() {
        let now = "2026-06-01T01:00:00Z".parse().expect("a time");
        let observed = line(&wildcard(CoveredBy::Observed, &[]), now);
        assert!(observed.starts_with("*.blob.example.com: covered by the names that pods ask for since"), "{observed}");
        assert!(observed.ends_with("; names: 3, 1 learned"), "{observed}");
        let nobody = line(&wildcard(CoveredBy::Nobody, &["a.blob.example.com"]), now);
        assert!(nobody.contains(": covered by nothing since") && nobody.ends_with(", 1 suggested"), "{nobody}");
        let (missing, looping) = (vec!["a.example.com".to_owned(), "b.example.com".to_owned()], vec![]);
        let not_served = vec!["c.example.com".to_owned()];
        let forwarder =
            ForwarderStatus { zones: missing.clone(), zones_total: 3, forwarded: 1, missing, looping, not_served };
        let shown = zones(&forwarder).drawn();
        assert!(shown.contains("to the operator: 1 of 3") && shown.contains("b.example.com"), "{shown}");
        assert!(!shown.contains("leads back"), "{shown}");
        assert!(shown.contains("not served: add them to --forward-zone: c.example.com"), "{shown}");
        let status = CitrixAllowlistStatus { forwarder: Some(forwarder), ..CitrixAllowlistStatus::default() };
        assert!(tree(&status, now).is_some() && tree(&CitrixAllowlistStatus::default(), now).is_none());
    }
}
