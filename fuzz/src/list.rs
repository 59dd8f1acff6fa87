//! The vendor's list, as it may be served: every form of it, compressed or not, in whichever encoding.

use super::endpoints::objects;
use super::sight::{assert_calm, assert_outside};
use citrix_allowlist::crd::CitrixAllowlistSpec;
use citrix_allowlist::engines::network_policy;
use citrix_allowlist::facts::ClusterFacts;
use citrix_allowlist::guard::{Guard, GuardSettings};
use citrix_allowlist::names::{Addresses, NameAddresses, NameState, Reached};
use citrix_allowlist::plan::{self, Inherited, Selection, Target};
use connectivity_allowlist::client::LARGEST_DOCUMENT;
use connectivity_allowlist::document::{DocumentError, MOST_LIST_PROBLEMS, MOST_TARGETS, Reading, parse, to_json};
use connectivity_allowlist::gzip::decompress;
use connectivity_allowlist::net::{DomainName, NamePattern, canonical_set, cidr};
use connectivity_allowlist::{Allowlist, Directions, EntryGeo, Geo, ParsedDocument, growth, older, shrink};
use ipnet::IpNet;
use serde_json::json;
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

/// What the operator is asked to open of a list, here everything, and what it is used in.
struct Scene {
    spec: CitrixAllowlistSpec,
    guard: Guard,
    facts: ClusterFacts,
    known: Allowlist,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let spec = json!({
        "customerId": "testcustomer", "direction": "all", "expandWildcards": "Auto",
        "wildcards": [{ "pattern": "*.example.net", "names": ["a.example.net", "b.example.net"] }],
    });
    let facts = ClusterFacts::default();
    let known = include_bytes!("../../tests/fixtures/allowlist.json");
    Scene {
        spec: serde_json::from_value(spec).expect("a spec"),
        guard: Guard::new(GuardSettings::default(), &facts),
        facts,
        known: parse(known, &Reading::for_customer("testcustomer")).expect("a list").allowlist,
    }
});

fn readings() -> [Reading<'static>; 3] {
    [
        Reading::default(),
        Reading::for_customer("testcustomer"),
        Reading {
            template_customer: Some("templ8"),
            scope: Some((Geo::Us, Directions::All)),
            ..Reading::for_customer("x")
        },
    ]
}

/// Reads what was served, and opens what it lists.
pub fn judge(input: &[u8]) {
    let served = if input.starts_with(&[0x1f, 0x8b]) {
        let Ok(document) = decompress(input, LARGEST_DOCUMENT) else { return };
        assert!(document.len() <= LARGEST_DOCUMENT);
        Cow::Owned(document)
    } else {
        Cow::Borrowed(input)
    };
    for reading in readings() {
        match parse(&served, &reading) {
            Ok(document) => check(document),
            Err(error) => assert!(error.to_string().len() < 4096, "a reason of {} bytes", error.to_string().len()),
        }
    }
}

fn check(document: ParsedDocument) {
    let list = &document.allowlist;
    check_bounds(list);
    check_texts(list);
    check_writing(list);
    check_opening(list);
    let known = &SCENE.known;
    for (before, after) in [(known, list), (list, known)] {
        let _ = growth::judge(Some(before), None, after).map(|growth| assert_calm(&growth.to_string()));
        let _ = shrink::judge(before, Some(after), after);
        let _ = older::judge(before, after, None, "2026-06-01T00:00:00Z".parse().expect("a time"));
    }
    let received = document.received_at("2026-06-01T00:00:00Z".parse().expect("a time"));
    let _ = received.digest();
}

fn check_bounds(list: &Allowlist) {
    let mut targets = 0;
    for entry in &list.entries {
        let held = entry.names.len() + entry.patterns.len() + entry.networks.len();
        assert!(held > 0, "an entry of nothing");
        targets += held;
        assert!(entry.names.is_sorted() && entry.patterns.is_sorted() && entry.networks.is_sorted());
        assert!(entry.networks.iter().all(|network| *network == network.trunc()));
        assert!(entry.names.iter().all(|name| DomainName::parse(name.as_str()).as_ref() == Ok(name)));
        assert!(entry.patterns.iter().all(|pattern| NamePattern::parse(pattern.as_str()).as_ref() == Ok(pattern)));
    }
    assert!(targets <= MOST_TARGETS, "{targets} targets");
    assert!(list.problems.len() <= MOST_LIST_PROBLEMS + 1, "{} problems", list.problems.len());
}

fn check_texts(list: &Allowlist) {
    list.version.iter().for_each(|version| assert_calm(version));
    for entry in &list.entries {
        assert_calm(&entry.service);
        entry.notes.iter().for_each(|notes| assert_calm(notes));
        if let EntryGeo::Region(region) = &entry.geo {
            assert_calm(region);
        }
    }
    for listed in &list.problems {
        assert_calm(&listed.subject);
        assert_calm(&listed.message);
        listed.service.iter().for_each(|service| assert_calm(service));
    }
}

/// What was read and is written again reads the same.
fn check_writing(list: &Allowlist) {
    if list.entries.is_empty() {
        return;
    }
    match parse(to_json(list).to_string().as_bytes(), &Reading::default()) {
        Ok(again) => {
            assert!(again.allowlist.entries == list.entries, "{:?}\n{:?}", list.entries, again.allowlist.entries)
        }
        Err(DocumentError::TooHeavy | DocumentError::TooLong) => {}
        Err(error) => panic!("what was read is written as what cannot be read: {error}"),
    }
}

/// What policies allow is what the list names, or what its names were answered with, and nothing that may not be opened.
fn check_opening(list: &Allowlist) {
    let scene = &*SCENE;
    let selection = plan::select(&scene.spec, list, &scene.guard, &Arc::default());
    let addresses = answered(&selection);
    let plan = plan::decide(&plan::PlanInputs {
        spec: &scene.spec,
        selection: &selection,
        addresses: &addresses,
        facts: &scene.facts,
        guard: &scene.guard,
        inherited: &Inherited::default(),
        declared_ports: None,
    });
    let objects = objects(&scene.spec, &plan);
    let listed = selection.endpoints.iter().filter_map(|endpoint| match &endpoint.target {
        Target::Network(network) => Some(*network),
        Target::Name(_) => None,
    });
    let listed: Vec<IpNet> = listed.collect();
    listed.iter().for_each(assert_outside);
    let given = addresses.by_name.values().flat_map(|known| &known.addresses).map(|address| IpNet::from(*address));
    let asked = canonical_set(listed.iter().copied().chain(given));
    for policy in &objects.policies {
        let Some(spec) = &policy.spec else { panic!("a policy without a spec") };
        for rule in spec.egress.iter().flatten() {
            assert!(rule.to.as_ref().is_some_and(|peers| !peers.is_empty()), "a rule for everybody");
            assert!(rule.ports.as_ref().is_some_and(|ports| !ports.is_empty()), "a rule on every port");
        }
        for rule in spec.ingress.iter().flatten() {
            assert!(rule.from.as_ref().is_some_and(|peers| !peers.is_empty()), "a rule for everybody");
            assert!(rule.ports.as_ref().is_some_and(|ports| !ports.is_empty()), "a rule on every port");
        }
        for (_, _, networks) in network_policy::rules(spec) {
            assert!(
                networks.iter().all(|network| cidr::covers(&asked, network)),
                "{networks:?} is not within {asked:?}"
            );
        }
    }
    for problem in plan.problems.iter().chain(&selection.problems) {
        assert_calm(&problem.subject);
        assert_calm(&problem.message);
    }
}

/// Every name answered with an address of its own.
fn answered(selection: &Selection) -> Addresses {
    let known = |number: usize| {
        let number = u32::try_from(number).unwrap_or(u32::MAX) & 0xffff;
        NameAddresses {
            addresses: vec![std::net::Ipv4Addr::from(0x143c_0000 | number).into()],
            state: NameState::Answered,
            refused: Vec::new(),
            evicted: 0,
            reached: Reached::default(),
        }
    };
    let names = selection.names.iter().enumerate();
    Addresses { by_name: names.map(|(number, name)| (name.clone(), Arc::new(known(number)))).collect() }
}
