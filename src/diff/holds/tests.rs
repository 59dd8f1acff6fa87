use super::*;
use crate::engines::{Engines, Limits};
use crate::facts::ClusterFacts;
use crate::guard::{Guard, GuardSettings};
use crate::names::{Addresses, NameAddresses, NameState};
use crate::pipeline::Carry;
use crate::preview::{self, Assumptions};
use connectivity_allowlist::document::{self, Reading};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

fn resource(spec: Value) -> CitrixAllowlist {
    let mut resource = CitrixAllowlist::new("daas-us", serde_json::from_value(spec).expect("a spec"));
    resource.metadata.namespace = Some("citrix".to_owned());
    resource
}

fn plain() -> CitrixAllowlist {
    resource(json!({ "customerId": "testcustomer", "geo": "us" }))
}

/// The simulation of a list with these names; each has an address, except those that start with `x`.
fn work(resource: &CitrixAllowlist, names: &[&str]) -> Simulation {
    let service =
        json!({ "name": "DaaS", "direction": "outbound", "tcpPorts": "443", "endpoints": [{ "fqdns": names }] });
    work_of(resource, &json!({ "services": if names.is_empty() { json!([]) } else { json!([service]) } }))
}

fn work_of(resource: &CitrixAllowlist, list: &Value) -> Simulation {
    let reading = Reading::for_customer("testcustomer");
    let document = document::parse(list.to_string().as_bytes(), &reading).expect("a list");
    let allowlist = document.received_at("2026-06-01T00:00:00Z".parse().expect("a time"));
    let facts = Arc::new(ClusterFacts::default());
    let assumptions = Assumptions {
        engines: Engines::default(),
        guard: Arc::new(Guard::new(GuardSettings::default(), &facts)),
        facts,
        limits: Limits::default(),
        protected_namespaces: vec![],
    };
    let request = preview::request(resource, &assumptions).expect("a request");
    let allowlist = Arc::new(allowlist);
    let selection = Arc::new(plan::select(request.choices.spec(), &allowlist, &assumptions.guard, &Arc::default()));
    let answer = |name: &DomainName| {
        let is_absent = name.as_str().starts_with('x');
        let addresses = if is_absent { vec![] } else { vec![IpAddr::from([13, 64, 0, 1])] };
        let state = if is_absent { NameState::Absent } else { NameState::Answered };
        (name.clone(), Arc::new(NameAddresses { addresses, state, ..NameAddresses::default() }))
    };
    let addresses = Addresses { by_name: selection.names.iter().map(answer).collect() };
    let (nothing, carry) = (BTreeMap::new(), Carry::default());
    let list = (&allowlist, selection);
    let preview =
        preview::preview(&request, list, Arc::new(addresses), &assumptions, &nothing, carry).expect("objects");
    Simulation { allowlist, preview, unanswered: vec![], missing: vec![] }
}

fn endpoints(names: &[&str]) -> Vec<ExportedEndpoint> {
    let endpoint = |name: &&str| ExportedEndpoint {
        direction: Direction::Outbound,
        service: "DaaS".to_owned(),
        target: ExportedTarget::Name(DomainName::parse(name).expect("a name")),
        ports: None,
        addresses: vec![],
        learned: false,
    };
    names.iter().map(endpoint).collect()
}

fn applied() -> Layout {
    Layout { outbound: 1, inbound: 0 }
}

/// The notes on a list with these `names`, where the cluster has endpoints of the `current` ones.
fn found(names: &[&str], unchanged: bool, current: &[&str]) -> Vec<String> {
    let endpoints = endpoints(current);
    let resource = if unchanged { plain() } else { resource(json!({ "customerId": "testcustomer", "geo": "eu" })) };
    let live = LiveState { resource: Some(&resource), endpoints: &endpoints, applied: applied(), kept: &[] };
    notes(&plain(), &live, &work(&plain(), names))
}

const FIVE: [&str; 5] = ["a.example.com", "b.example.com", "c.example.com", "d.example.com", "e.example.com"];

#[test]
fn a_note_says_that_a_shrunken_list_is_held_back() {
    let shrunk = found(&FIVE[..2], true, &FIVE);
    assert!(shrunk.len() == 1 && shrunk[0].starts_with("this leaves 2 of 5 endpoints: "), "{shrunk:?}");
    assert!(found(&FIVE[..2], false, &FIVE).is_empty(), "the user changed the spec");
    assert!(found(&FIVE[..3], true, &FIVE).is_empty());
    let others = ["a.example.com", "b.example.com", "f.example.com", "g.example.com", "h.example.com"];
    let replaced = found(&others, true, &FIVE);
    assert!(replaced.len() == 1 && replaced[0].starts_with("3 of the 5 names, wildcards and networks"), "{replaced:?}");
}

#[test]
fn a_note_says_that_a_grown_list_is_held_back() {
    let many: Vec<String> = (0..201).map(|number| format!("n{number}.example.com")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let grew = |notes: Vec<String>| notes.into_iter().find(|note| note.contains("(FeedGrew)"));
    let grown = grew(found(&many, true, &FIVE[..2])).expect("a note");
    assert!(grown.starts_with("this opens 201 names where 2 are in use: "), "{grown}");
    assert_eq!(grew(found(&many[..200], true, &FIVE[..2])), None);
    assert_eq!(grew(found(&many, true, &[])), None, "what is first applied grew from nothing");
    assert_eq!(grew(found(&many, false, &FIVE[..2])), None, "the user changed the spec");
    let wide = json!({ "services": [{ "name": "DaaS", "direction": "outbound", "tcpPorts": "443",
        "endpoints": [{ "ips": ["20.0.0.0/8", "40.0.0.0/8"] }] }] });
    let mut live = LiveState { resource: None, endpoints: &[], applied: applied(), kept: &[] };
    let open = grew(notes(&plain(), &live, &work_of(&plain(), &wide))).expect("a note");
    assert!(open.contains("0.7 % of IPv4"), "{open}");
    let current = ["20.0.0.0/8", "40.0.0.0/8"].map(|text| ExportedEndpoint {
        target: ExportedTarget::Network(text.parse().expect("a network")),
        ..endpoints(&FIVE[..1]).remove(0)
    });
    live.endpoints = &current;
    assert_eq!(grew(notes(&plain(), &live, &work_of(&plain(), &wide))), None, "they are in use");
}

#[test]
fn an_empty_list_is_never_accepted_where_there_was_something() {
    let (five, nothing) = (endpoints(&FIVE), work(&plain(), &[]));
    let plain = plain();
    let live = LiveState { resource: Some(&plain), endpoints: &five, applied: applied(), kept: &[] };
    assert!(is_never_accepted(&plain, &live, &nothing));
    assert_eq!(notes(&plain, &live, &nothing).len(), 1);
    assert!(!is_never_accepted(&plain, &LiveState { endpoints: &[], ..live }, &nothing));
    assert!(!is_never_accepted(&plain, &live, &work(&plain, &FIVE)));
}

#[test]
fn an_empty_direction_says_what_happens_to_its_policies() {
    let none = resource(json!({ "customerId": "testcustomer", "geo": "us", "services": { "include": ["Nothing"] } }));
    let unchanged = |applied| LiveState { resource: None, endpoints: &[], applied, kept: &[] };
    let deleted = notes(&none, &unchanged(applied()), &work(&none, &FIVE));
    assert!(
        deleted.len() == 2 && deleted[0].starts_with("egress: the spec was changed and matches nothing of the list"),
        "{deleted:?}"
    );
    assert!(deleted[0].contains("policies are deleted"), "{deleted:?}");
    let first = notes(&none, &unchanged(Layout::default()), &work(&none, &FIVE));
    assert!(first[0].ends_with("no policy is written, since it would cut everything"), "{first:?}");
    let policies = vec!["daas-us-egress".to_owned()];
    let kept = [Kept { direction: Direction::Outbound, absence: EmptyReason::Unresolved, policies }];
    let live = LiveState { kept: &kept, ..unchanged(applied()) };
    let unresolved = notes(&plain(), &live, &work(&plain(), &["x.example.com"]));
    assert_eq!(
        unresolved[0],
        "egress: none of its names has an address that may be opened; daas-us-egress stays as it was applied, since without it the selected pods would be open (LastPolicyKept)"
    );
    assert!(unresolved[1].starts_with("new problem: Unresolved x.example.com (DaaS): "), "{unresolved:?}");
}

#[test]
fn new_problems_are_noted_up_to_five() {
    let simulation = work(&plain(), &["x1.example.com", "x2.example.com", "a.example.com"]);
    let noted = |status: Value| {
        let mut resource = plain();
        resource.status = serde_json::from_value(status).expect("a status");
        let live = LiveState { resource: Some(&resource), endpoints: &[], applied: applied(), kept: &[] };
        new_problems(&live, &simulation.preview)
    };
    let known = json!({ "kind": "Unresolved", "subject": "x1.example.com", "message": "another" });
    let found = noted(json!({ "problems": [known], "problemsTotal": 1 }));
    assert!(found.len() == 1 && found[0].contains(" x2.example.com "), "{found:?}");
    assert!(noted(json!({ "problems": [known], "problemsTotal": 60 })).is_empty(), "status does not list them all");
    let many: Vec<String> = (0..7).map(|number| format!("x{number}.example.com")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let live = LiveState { resource: None, endpoints: &[], applied: applied(), kept: &[] };
    let found = new_problems(&live, &work(&plain(), &many).preview);
    assert_eq!((found.len(), found[5].as_str()), (6, "and 2 more new problems: `render --summary` lists all"));
}

#[test]
fn addresses_that_answers_lack_are_named_up_to_five() {
    let name = DomainName::parse("a.example.com").expect("a name");
    let gone: Vec<_> = (1..8).map(|last| (name.clone(), IpAddr::from([13, 64, 0, last]))).collect();
    let note = missing(&plain(), &gone).expect("a note");
    assert!(note.starts_with("the answers lack 7 addresses that are applied: a.example.com 13.64.0.1, "), "{note}");
    assert!(note.contains("13.64.0.5 and 2 more; ") && note.ends_with("(1h)"), "{note}");
    assert_eq!(missing(&plain(), &[]), None);
}
