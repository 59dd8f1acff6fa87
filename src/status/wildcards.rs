//! The wildcards and zones in status. Pure.

use super::{NameFindings, plural};
use crate::crd::status::{MOST_SUGGESTED, MOST_WILDCARDS, MOST_ZONES};
use crate::crd::{CoveredBy, ForwarderStatus, WildcardStatus};
use crate::names::ZoneState;
use crate::plan::{Coverage, CoveredWildcard};
use crate::reason::Reason;
use connectivity_allowlist::net::DomainName;
use jiff::Timestamp;

/// The wildcards that fit into status, sorted by pattern; uncovered ones stay where there are too many. `since` moves only where
/// `coveredBy` does.
pub(super) fn wildcards(coverage: &Coverage, before: &[WildcardStatus], now: Timestamp) -> Vec<WildcardStatus> {
    let now = now.round(jiff::Unit::Second).unwrap_or(now).to_string();
    let mut shown: Vec<&CoveredWildcard> = coverage.wildcards.iter().collect();
    shown.sort_by_key(|wildcard| wildcard.by != CoveredBy::Nobody);
    shown.truncate(MOST_WILDCARDS);
    shown.sort_by(|a, b| a.pattern.cmp(&b.pattern));
    let of = |wildcard: &CoveredWildcard| {
        let pattern = wildcard.pattern.as_str();
        let same = before.iter().find(|known| known.pattern == pattern && known.covered_by == wildcard.by);
        WildcardStatus {
            pattern: pattern.to_owned(),
            covered_by: wildcard.by,
            names: count(wildcard.names),
            learned: count(wildcard.learned),
            since: same.and_then(|same| same.since.clone()).or_else(|| Some(now.clone())),
            suggested: texts(wildcard.suggested.iter(), MOST_SUGGESTED),
            suggested_total: count(wildcard.suggested.len()),
        }
    };
    shown.into_iter().map(of).collect()
}

/// The zones in status; `None` where the operator answers no questions.
pub(super) fn forwarder(coverage: &Coverage) -> Option<ForwarderStatus> {
    let zones = coverage.zones.as_ref()?;
    let of = |state: ZoneState| zones.iter().filter(move |(_, known)| **known == state).map(|(zone, _)| zone);
    let served = || zones.iter().filter(|(_, state)| **state != ZoneState::NotServed).map(|(zone, _)| zone);
    Some(ForwarderStatus {
        zones: texts(served(), MOST_ZONES),
        zones_total: count(served().count()),
        forwarded: count(of(ZoneState::Forwarded).count()),
        missing: texts(of(ZoneState::Missing), MOST_ZONES),
        looping: texts(of(ZoneState::Looping), MOST_ZONES),
        not_served: texts(of(ZoneState::NotServed), MOST_ZONES),
    })
}

fn texts<'a>(names: impl Iterator<Item = &'a DomainName>, most: usize) -> Vec<String> {
    names.take(most).map(ToString::to_string).collect()
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The condition of the wildcards.
pub(super) fn covered(names: &NameFindings) -> (Reason, String) {
    let NameFindings { wildcards, uncovered, is_required_uncovered, .. } = *names;
    let all = plural(wildcards, "wildcard", "wildcards");
    if wildcards == 0 {
        (Reason::WildcardsCovered, "the list has no wildcards for this spec".to_owned())
    } else if uncovered == 0 {
        (Reason::WildcardsCovered, format!("{wildcards} of {wildcards} {all} are covered"))
    } else {
        let required = if is_required_uncovered { ", and the vendor requires at least one of them" } else { "" };
        let message = format!(
            "{uncovered} of {wildcards} {all} are not covered{required}: DNS cannot list the names under a wildcard. Add the names that your pods use to spec.wildcards, or let the cluster's DNS forward the wildcards' zones to the operator"
        );
        (Reason::WildcardsUnenforceable, message)
    }
}
