//! By what wildcards are covered, and what status says of them.

use crate::builders::{Case, name, shown};
use citrix_allowlist::crd::{CitrixAllowlistStatus, CoveredBy, ForwarderStatus, WildcardStatus};
use citrix_allowlist::names::ZoneState;
use citrix_allowlist::plan::{Coverage, KnownZones};
use citrix_allowlist::status::{Findings, Outcome, notes, status};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

const BLOB: &str = "*.blob.example.com";
const BUS: &str = "*.bus.example.com";

/// A spec with these fields and a list with two wildcards, the first one required.
fn case(fields: Value) -> Case {
    let service = |service: &str, wildcard: &str, required: bool| {
        json!({ "name": service, "direction": "outbound", "tcpPorts": "443", "required": required,
            "endpoints": [{ "fqdns": [wildcard] }] })
    };
    Case::new(fields, &json!({ "services": [service("DaaS", BLOB, true), service("Workspace", BUS, false)] }), &[])
}

/// Whether the cluster's DNS forwards the zones of both.
fn zones(blob: ZoneState, bus: ZoneState) -> KnownZones {
    let states = [(name("blob.example.com"), blob), (name("bus.example.com"), bus)];
    KnownZones { states: Some(states.into()), ..KnownZones::default() }
}

fn by(coverage: &Coverage) -> Vec<(CoveredBy, usize)> {
    coverage.wildcards.iter().map(|wildcard| (wildcard.by, wildcard.names)).collect()
}

#[test]
fn a_wildcard_is_observed_only_while_its_zone_is_forwarded() {
    use ZoneState::{Forwarded, Looping, Missing, Unknown};
    let selection = case(json!({})).select_with(&["a.blob.example.com", "b.blob.example.com"]);
    let coverage = Coverage::of(&selection, &zones(Forwarded, Missing));
    assert_eq!(by(&coverage), [(CoveredBy::Observed, 2), (CoveredBy::Nobody, 0)]);
    assert_eq!((coverage.uncovered(), coverage.is_required_uncovered), (1, false));
    assert_eq!(
        shown(&coverage.problems),
        [
            "Wildcard *.bus.example.com: nothing under it is allowed; name what pods use under wildcards, or have the cluster's DNS forward bus.example.com to the operator"
        ]
    );
    let coverage = Coverage::of(&selection, &zones(Looping, Unknown));
    assert_eq!(by(&coverage), [(CoveredBy::Nobody, 2), (CoveredBy::Nobody, 0)]);
    assert!(coverage.is_required_uncovered);
    assert_eq!(
        shown(&coverage.problems),
        [
            "Wildcard *.blob.example.com: required; only what pods asked for is allowed: 2 learned; name what pods use under wildcards; the forwarder's upstream leads back to it for blob.example.com",
            "Wildcard *.bus.example.com: nothing under it is allowed; name what pods use under wildcards"
        ]
    );
    // A process that has just begun to lead has asked nothing yet.
    let reported = KnownZones { reported: [BUS.to_owned()].into(), ..zones(Unknown, Unknown) };
    assert_eq!(by(&Coverage::of(&selection, &reported)), [(CoveredBy::Nobody, 2), (CoveredBy::Observed, 0)]);
    let missing = KnownZones { reported: [BUS.to_owned()].into(), ..zones(Forwarded, Missing) };
    assert_eq!(by(&Coverage::of(&selection, &missing)), [(CoveredBy::Observed, 2), (CoveredBy::Nobody, 0)]);
    let nothing = Coverage::of(&selection, &KnownZones { reported: [BUS.to_owned()].into(), states: None });
    assert_eq!((nothing.uncovered(), nothing.zones), (2, None), "the forwarder is off");
}

#[test]
fn names_of_the_spec_cover_and_suggestions_do_not() {
    let fields = json!({
        "observeWildcards": "Suggest",
        "wildcards": [{ "pattern": BUS, "names": ["one.bus.example.com"] }],
    });
    let selection = case(fields).select_with(&["a.blob.example.com", "two.bus.example.com"]);
    assert_eq!(selection.names.len(), 1, "what is suggested is not allowed");
    let coverage = Coverage::of(&selection, &zones(ZoneState::Forwarded, ZoneState::Forwarded));
    assert_eq!(by(&coverage), [(CoveredBy::Nobody, 0), (CoveredBy::Names, 1)]);
    let suggested: Vec<_> = coverage.wildcards.iter().map(|wildcard| wildcard.suggested.clone()).collect();
    assert_eq!(suggested, [[name("a.blob.example.com")], [name("two.bus.example.com")]]);
    assert_eq!(
        shown(&coverage.problems),
        [
            "Wildcard *.blob.example.com: required; nothing under it is allowed; name what pods use under wildcards; pods asked for 1: `citrix-allowlist learn` prints them"
        ]
    );
    let off = case(json!({ "observeWildcards": "Off" })).select_with(&["a.blob.example.com"]);
    let coverage = Coverage::of(&off, &zones(ZoneState::Forwarded, ZoneState::Forwarded));
    assert_eq!((coverage.uncovered(), coverage.wildcards[0].suggested.len()), (2, 0));
}

fn reported(before: Option<&CitrixAllowlistStatus>, coverage: Option<Coverage>, at: &str) -> CitrixAllowlistStatus {
    let findings = Findings {
        generation: 1,
        outcome: Outcome::Applied,
        feed: None,
        names: None,
        coverage: coverage.map(Arc::new),
        summary: None,
        policies: vec![],
        problems: vec![],
        handled_refresh: None,
    };
    status(before, findings, at.parse::<Timestamp>().expect("a time"))
}

#[test]
fn status_says_since_when_each_wildcard_is_covered() {
    use ZoneState::{Forwarded, Looping, Missing};
    let selection = case(json!({})).select_with(&["a.blob.example.com"]);
    let covered = |blob, bus| Some(Coverage::of(&selection, &zones(blob, bus)));
    let wildcard = |pattern: &str, covered_by: CoveredBy, names: i64, since: &str| WildcardStatus {
        pattern: pattern.to_owned(),
        covered_by,
        names,
        learned: names,
        since: Some(since.to_owned()),
        ..WildcardStatus::default()
    };
    let first = reported(None, covered(Forwarded, Missing), "2026-06-01T00:00:00.4Z");
    let (blob, bus) = (CoveredBy::Observed, CoveredBy::Nobody);
    assert_eq!(
        first.wildcards,
        [wildcard(BLOB, blob, 1, "2026-06-01T00:00:00Z"), wildcard(BUS, bus, 0, "2026-06-01T00:00:00Z")]
    );
    let missing = vec!["bus.example.com".to_owned()];
    let zones = vec!["blob.example.com".to_owned(), "bus.example.com".to_owned()];
    let forwarder = ForwarderStatus { zones, zones_total: 2, forwarded: 1, missing, ..ForwarderStatus::default() };
    assert_eq!(first.forwarder, Some(forwarder));
    let later = reported(Some(&first), covered(Looping, Missing), "2026-06-01T01:00:00Z");
    assert_eq!(
        later.wildcards,
        [wildcard(BLOB, bus, 1, "2026-06-01T01:00:00Z"), wildcard(BUS, bus, 0, "2026-06-01T00:00:00Z")]
    );
    assert_eq!(later.forwarder.as_ref().expect("it is on").looping, ["blob.example.com"]);
    let without = reported(Some(&later), None, "2026-06-01T02:00:00Z");
    assert_eq!((without.wildcards, without.forwarder), (later.wildcards, later.forwarder), "no list: as before");
    let off = reported(Some(&first), Some(Coverage::of(&selection, &KnownZones::default())), "2026-06-01T03:00:00Z");
    assert_eq!((off.forwarder, off.wildcards[0].covered_by), (None, CoveredBy::Nobody));
}

#[test]
fn status_lists_a_bounded_number_and_uncovered_ones_first() {
    let fqdns: Vec<String> = (0..60).map(|number| format!("*.z{number:02}.example.com")).collect();
    let document = json!({ "services": [{ "name": "DaaS", "direction": "outbound", "tcpPorts": "443", "required": true,
        "endpoints": [{ "fqdns": fqdns }] }] });
    let named = json!({ "pattern": "*.z00.example.com", "names": ["a.z00.example.com"] });
    let fields = json!({ "observeWildcards": "Suggest", "wildcards": [named] });
    let learned: Vec<String> = (0..70).map(|number| format!("n{number:02}.z01.example.com")).collect();
    let learned: Vec<&str> = learned.iter().map(String::as_str).collect();
    let selection = Case::new(fields, &document, &[]).select_with(&learned);
    let status =
        reported(None, Some(Coverage::of(&selection, &KnownZones::default())), "2026-06-01T00:00:00Z").wildcards;
    assert_eq!((status.len(), status[0].pattern.as_str()), (50, "*.z01.example.com"), "the covered one is left out");
    assert_eq!((status[0].suggested.len(), status[0].suggested_total), (50, 70));
    assert!(status.is_sorted_by_key(|wildcard| wildcard.pattern.clone()));
}

#[test]
fn a_zone_that_the_flag_leaves_out_is_not_called_served() {
    use ZoneState::{Missing, NotServed};
    let selection = case(json!({})).select_with(&["a.blob.example.com"]);
    let coverage = Coverage::of(&selection, &zones(NotServed, Missing));
    assert_eq!(by(&coverage), [(CoveredBy::Nobody, 1), (CoveredBy::Nobody, 0)]);
    assert_eq!(
        shown(&coverage.problems),
        [
            "Wildcard *.blob.example.com: required; only what pods asked for is allowed: 1 learned; name what pods use under wildcards, or add blob.example.com to --forward-zone",
            "Wildcard *.bus.example.com: nothing under it is allowed; name what pods use under wildcards, or have the cluster's DNS forward bus.example.com to the operator"
        ]
    );
    let status = reported(None, Some(coverage), "2026-06-01T00:00:00Z").forwarder.expect("it is on");
    let (served, left_out) = (vec!["bus.example.com".to_owned()], vec!["blob.example.com".to_owned()]);
    let expected = ForwarderStatus {
        zones: served.clone(),
        zones_total: 1,
        missing: served,
        not_served: left_out,
        ..ForwarderStatus::default()
    };
    assert_eq!(status, expected);
}

#[test]
fn a_pattern_that_is_full_is_a_limit() {
    let names: Vec<String> = (0..256).map(|number| format!("n{number}.blob.example.com")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let limits = |fields: Value, learned: &[&str]| -> Vec<String> {
        let problems = case(fields).select_with(learned).problems;
        shown(&problems).into_iter().filter(|problem| problem.starts_with("Limit")).collect()
    };
    let full = "Limit *.blob.example.com: 256 names are learned under it, as many as may be: the next one takes the place of the one that nobody has asked for the longest; narrow it by within";
    assert_eq!(limits(json!({}), &names[..255]), [""; 0]);
    assert_eq!(limits(json!({}), &names), [full]);
    assert_eq!(limits(json!({ "observeWildcards": "Suggest" }), &names), [full]);
    assert_eq!(limits(json!({ "observeWildcards": "Off" }), &names), [""; 0]);
    let narrowed = json!({ "wildcards": [{ "pattern": BLOB, "within": ["n1*"] }] });
    assert_eq!(limits(narrowed, &names), [""; 0], "few of them count");
}

#[test]
fn the_first_learned_names_are_an_event_and_later_ones_are_not() {
    let forwarded = || zones(ZoneState::Forwarded, ZoneState::Forwarded);
    let with = |learned: &[&str], before: Option<&CitrixAllowlistStatus>| {
        let coverage = Coverage::of(&case(json!({})).select_with(learned), &forwarded());
        reported(before, Some(coverage), "2026-06-01T00:00:00Z")
    };
    let none = with(&[], None);
    let one = with(&["a.blob.example.com"], Some(&none));
    let events: Vec<String> =
        notes(Some(&none), &one, None).iter().map(|note| format!("{} {}", note.reason, note.message)).collect();
    let message = "NamesLearned *.blob.example.com: the first names that pods asked for are allowed (1); `citrix-allowlist learn` prints them";
    assert_eq!(events, [message]);
    let two = with(&["a.blob.example.com", "b.blob.example.com"], Some(&one));
    assert_eq!(notes(Some(&one), &two, None), []);
    assert_eq!(notes(None, &two, None).len(), notes(None, &none, None).len(), "after a restart it is not known");
}

/// A later version's word is no error to an older one.
#[test]
fn an_unknown_cover_counts_as_none() {
    let status: WildcardStatus = serde_json::from_value(json!({ "coveredBy": "Engine" })).expect("it is read");
    assert_eq!(status.covered_by, CoveredBy::Nobody);
}
