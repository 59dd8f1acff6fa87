//! What a selection means once DNS has answered.

use crate::builders::{Case, answered, name, overview, shown};
use citrix_allowlist::bound::{Full, Level};
use citrix_allowlist::names::{NameAddresses, NameState, Reached, RefusedAddress};
use citrix_allowlist::plan::{DirectionPlan, EmptyReason, PlanInputs, decide};
use connectivity_allowlist::net::{Direction, Protocol};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

fn document(names: &[&str]) -> Value {
    json!({ "services": [{
        "name": "DaaS", "direction": "outbound", "tcpPorts": "443", "required": true, "endpoints": [{ "fqdns": names }]
    }]})
}

fn state(state: NameState) -> NameAddresses {
    NameAddresses { state, ..answered(&[]) }
}

fn failing(stale: bool, ever_answered: bool) -> NameState {
    NameState::Failing { error: "10.96.0.10: SERVFAIL".into(), stale, ever_answered }
}

fn know(case: &mut Case, text: &str, known: NameAddresses) {
    case.addresses.by_name.insert(name(text), Arc::new(known));
}

/// `ports: networks`, rule by rule.
fn rules(plan: Option<&DirectionPlan>) -> Vec<String> {
    let rules = plan.into_iter().flat_map(|plan| plan.rules());
    let networks =
        |rule: &citrix_allowlist::plan::Rule| rule.peers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    rules.map(|rule| format!("{}: {}", rule.ports, networks(rule))).collect()
}

#[test]
fn an_address_of_several_entries_is_one_peer_with_all_ports() {
    let document = json!({ "services": [
        { "name": "A", "direction": "outbound", "tcpPorts": "443", "endpoints": [{ "fqdns": ["a.example.com"], "ips": ["52.9.0.0/24"] }] },
        { "name": "B", "direction": "outbound", "tcpPorts": "444", "udpPorts": "443", "endpoints": [{ "fqdns": ["b.example.com"] }] }
    ]});
    let addresses: &[(&str, &[&str])] =
        &[("a.example.com", &["52.1.1.1", "52.1.1.2", "52.9.0.7"]), ("b.example.com", &["52.1.1.1", "52.9.0.8"])];
    let plan = Case::new(json!({}), &document, addresses).plan();
    assert_eq!(
        rules(plan.outbound.as_ref()),
        ["TCP 443: 52.1.1.2/32 52.9.0.0/24", "TCP 443-444; UDP 443: 52.1.1.1/32", "TCP 444; UDP 443: 52.9.0.8/32",],
        "an address within a CIDR of the same ports vanishes into it, one with more ports keeps its own"
    );
    assert_eq!((plan.names, plan.names_resolved, plan.addresses, plan.services), (2, 2, 4, 2));
}

#[test]
fn every_state_of_a_name_that_leaves_a_gap_is_said() {
    let names = [
        "gone.a.com",
        "silent.a.com",
        "stale.a.com",
        "new.a.com",
        "unasked.a.com",
        "brief.a.com",
        "private.a.com",
        "full.a.com",
        "well.a.com",
    ];
    let mut case = Case::new(json!({}), &document(&names), &[("well.a.com", &["52.1.1.1"])]);
    know(&mut case, "gone.a.com", state(NameState::Absent));
    know(&mut case, "silent.a.com", state(failing(false, false)));
    know(&mut case, "stale.a.com", NameAddresses { state: failing(true, true), ..answered(&["52.1.1.2"]) });
    know(&mut case, "brief.a.com", NameAddresses { state: failing(false, true), ..answered(&["52.1.1.3"]) });
    know(&mut case, "new.a.com", state(NameState::Waiting));
    know(&mut case, "private.a.com", answered(&[]));
    let full = Full { level: Level::Resource, bound: 10_000 };
    let reached = Reached { left_out: Some(full), late: false };
    know(&mut case, "full.a.com", NameAddresses { reached, ..answered(&[]) });
    let plan = case.plan();
    assert_eq!(
        shown(&plan.problems),
        [
            "Unresolved full.a.com: there is no room for its addresses: see the Limit",
            "Unresolved gone.a.com: DNS says that the name has no addresses: it is gone, or the list is ahead of it",
            "Unresolved new.a.com: not answered yet",
            "Unresolved private.a.com: no address of the answer may be opened",
            "Unresolved silent.a.com: no server answers, and nothing is known: 10.96.0.10: SERVFAIL",
            "Unresolved stale.a.com: no server has answered for longer than --max-stale; what was known stays allowed: 10.96.0.10: SERVFAIL",
            "Unresolved unasked.a.com: not answered yet",
            "Limit addresses of the resource: new addresses of 1 names are left out, what is allowed stays: one resource may have 10000 (--max-addresses-per-resource): full.a.com",
        ],
        "a name that fails in passing and keeps its addresses is no problem"
    );
    assert_eq!(rules(plan.outbound.as_ref()), ["TCP 443: 52.1.1.1/32 52.1.1.2/32 52.1.1.3/32"]);
    assert_eq!(plan.waiting, [name("new.a.com"), name("silent.a.com"), name("unasked.a.com")]);
    assert_eq!((plan.names, plan.names_resolved), (9, 3));
}

#[test]
fn what_the_guard_refused_or_the_bound_evicted_is_said() {
    let mut case = Case::new(json!({}), &document(&["a.example.com"]), &[]);
    let refused = RefusedAddress {
        address: "127.0.0.1".parse().expect("an address"),
        server: "10.96.0.10:53".parse().expect("a socket"),
        reason: "loopback".into(),
    };
    let known = NameAddresses { refused: vec![refused], evicted: 3, ..answered(&["52.1.1.1", "10.0.0.1"]) };
    know(&mut case, "a.example.com", known);
    let plan = case.plan();
    assert_eq!(
        shown(&plan.problems),
        [
            "Refused a.example.com: the answer 10.0.0.1 is not opened: private (10.0.0.0/8); to allow it on purpose, pass --allow-private-cidr",
            "Refused a.example.com: the answer 127.0.0.1 is not opened: loopback; to allow it on purpose, pass --allow-private-cidr",
            "Limit a.example.com: 3 addresses are left out: the name has more than is held of one",
        ],
        "an address believed before the guard knew better is refused here too"
    );
    assert_eq!(rules(plan.outbound.as_ref()), ["TCP 443: 52.1.1.1/32"]);
}

#[test]
fn a_direction_with_nothing_to_allow_has_no_plan_and_says_why() {
    let unresolved = Case::new(json!({ "direction": "all" }), &document(&["a.example.com"]), &[]).plan();
    assert_eq!((unresolved.outbound, unresolved.inbound), (None, None), "not even a rule for DNS");
    assert_eq!(
        unresolved.absences,
        [(Direction::Outbound, EmptyReason::Unresolved), (Direction::Inbound, EmptyReason::NoMatch)]
    );
    assert_eq!(
        shown(&unresolved.problems)[..2],
        [
            "NoMatch inbound: the spec matches nothing of the list that could be allowed: no ingress policy is written, since it would cut everything",
            "Unresolved a.example.com: not answered yet",
        ]
    );
    let empty = Case::new(json!({}), &json!({ "services": [] }), &[]).plan();
    assert_eq!(empty.absence(Direction::Outbound), Some(EmptyReason::EmptyList));
    assert_eq!(empty.absence(Direction::Inbound), None, "not asked for");
}

#[test]
fn a_list_that_loses_its_ports_is_not_the_users_word() {
    let listed = |ports: Option<&str>, ips: &[&str], fqdns: &[&str]| {
        let endpoint = json!({ "geo": "us", "fqdns": fqdns, "ips": ips });
        let service = json!({ "name": "DaaS", "direction": "outbound", "endpoints": [endpoint], "tcpPorts": ports });
        json!({ "services": [service] })
    };
    let absence = |document: &Value| Case::new(json!({}), document, &[]).plan().absence(Direction::Outbound);
    assert_eq!(absence(&listed(None, &[], &["a.example.com"])), Some(EmptyReason::Unusable));
    assert_eq!(
        absence(&listed(Some("443"), &["10.0.0.0/24"], &[])),
        Some(EmptyReason::Unusable),
        "the guard refuses it"
    );
    let wildcard = listed(Some("443"), &[], &["*.example.com"]);
    assert_eq!(absence(&wildcard), Some(EmptyReason::NoMatch), "the names under it are the user's to give");
}

#[test]
fn dns_is_left_to_others_where_the_spec_says_so() {
    let addresses: &[(&str, &[&str])] = &[("testcustomer.xendesktop.net", &["20.42.65.90"])];
    let with = Case::new(json!({}), &overview(), addresses).plan();
    assert!(with.outbound.is_some_and(|plan| !plan.dns().is_empty()));
    let without = Case::new(json!({ "dnsEgress": "None" }), &overview(), addresses).plan();
    assert!(without.outbound.is_some_and(|plan| plan.dns().is_empty()));
}

#[test]
fn inbound_ports_that_no_pod_declares_are_said() {
    let document = json!({ "services": [{
        "name": "Workspace", "direction": "inbound", "tcpPorts": "443,8080-8090", "endpoints": [{ "ips": ["20.185.92.32/29"] }]
    }]});
    let case = Case::new(json!({ "direction": "inbound" }), &document, &[]);
    let problems = |declared: &[(Protocol, u16)]| {
        let declared: BTreeSet<(Protocol, u16)> = declared.iter().copied().collect();
        let plan = decide(&PlanInputs {
            spec: &case.spec,
            selection: &case.select(),
            addresses: &case.addresses,
            facts: &case.facts,
            guard: &case.guard(),
            inherited: &case.inherited,
            declared_ports: Some(&declared),
        });
        plan.problems.into_iter().map(|problem| format!("{:?} {}", problem.kind, problem.subject)).collect::<Vec<_>>()
    };
    assert!(problems(&[(Protocol::Tcp, 443), (Protocol::Tcp, 8085)]).is_empty());
    assert_eq!(problems(&[(Protocol::Tcp, 8443), (Protocol::Udp, 443)]), ["NoMatch TCP 443", "NoMatch TCP 8080-8090"]);
}
