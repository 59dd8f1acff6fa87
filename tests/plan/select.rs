//! What a spec wants of a list, and what of it cannot be honoured.

use crate::builders::{Case, name, shown};
use citrix_allowlist::crd::ProblemKind;
use citrix_allowlist::plan::{Coverage, KnownZones, Selection, Target};
use connectivity_allowlist::net::Direction;
use serde_json::{Value, json};

fn document() -> Value {
    json!({ "services": [
        {
            "name": "DaaS", "direction": "outbound", "tcpPorts": "80,443", "required": true,
            "endpoints": [
                { "geo": "us", "fqdns": ["agenthub-us.citrixworkspacesapi.net"] },
                { "geo": "eu", "fqdns": ["agenthub-eu.citrixworkspacesapi.net"] },
                { "geo": "mars", "fqdns": ["agenthub-mars.citrixworkspacesapi.net"] },
                { "fqdns": ["accounts.cloud.com"] }
            ]
        },
        {
            "name": "Gateway Service", "direction": "outbound", "tcpPorts": "443", "required": false,
            "endpoints": [{ "geo": "all", "fqdns": ["*.citrixworkspacesapi.net"] }]
        },
        {
            "name": "Workspace", "direction": "inbound", "tcpPorts": "443", "required": false,
            "endpoints": [{ "geo": "us", "ips": ["20.185.92.32/29"] }]
        }
    ]})
}

fn select(fields: Value) -> Selection {
    Case::new(fields, &document(), &[]).select()
}

/// `direction service target ports`, for comparison.
fn endpoints(selection: &Selection) -> Vec<String> {
    let target = |target: &Target| match target {
        Target::Name(name) => name.to_string(),
        Target::Network(network) => network.to_string(),
    };
    let endpoints = selection.endpoints.iter();
    endpoints.map(|e| format!("{} {}: {} on {}", e.direction, e.service, target(&e.target), e.ports)).collect()
}

fn names(selection: &Selection) -> Vec<&str> {
    selection.names.iter().map(|name| name.as_str()).collect()
}

#[test]
fn a_region_gets_its_own_endpoints_and_those_for_every_region() {
    let exact = json!({ "geo": "us", "expandWildcards": "None" });
    assert_eq!(names(&select(exact)), ["accounts.cloud.com", "agenthub-us.citrixworkspacesapi.net"]);
    let all = select(json!({ "geo": "all" }));
    assert!(
        all.names.contains(&name("agenthub-mars.citrixworkspacesapi.net")),
        "an unknown region serves those who ask for all"
    );
    assert_eq!(all.services, 2);
}

#[test]
fn directions_are_kept_apart() {
    assert_eq!(
        endpoints(&select(json!({ "direction": "inbound" }))),
        ["inbound Workspace: 20.185.92.32/29 on TCP 443"]
    );
    let both = select(json!({ "direction": "all" }));
    assert!(both.endpoints.iter().any(|endpoint| endpoint.direction == Direction::Inbound));
    assert!(both.endpoints.iter().any(|endpoint| endpoint.direction == Direction::Outbound));
}

#[test]
fn service_globs_ignore_case_and_unmatched_globs_are_reported() {
    let chosen = select(json!({ "services": { "include": ["gateway*", "DAAS"], "exclude": ["da?s"] } }));
    assert_eq!(endpoints(&chosen), Vec::<String>::new(), "excluded names lend nothing to the gateway's wildcard");
    let chosen = select(
        json!({ "geo": "eu", "services": { "include": ["daas", "Gatway*", "Workspace"], "exclude": ["Analytics"] } }),
    );
    assert_eq!(names(&chosen), ["accounts.cloud.com", "agenthub-eu.citrixworkspacesapi.net"]);
    assert_eq!(
        shown(&chosen.problems),
        [
            "NoMatch Analytics: services.exclude matches no service of the list: it leaves nothing out",
            "NoMatch Gatway*: services.include matches no service of the list: nothing is allowed for it",
            "NoMatch Workspace: services.include matches services of the list, but none in the geo and direction asked for",
            "NoMatch geo mars: the list's word for a region is none of us, eu, ap-s, jp and all: left out (names, wildcards and networks: 1); geo: all lets them in",
        ]
    );
    let required = select(json!({ "direction": "all", "services": { "requiredOnly": true } }));
    assert!(required.endpoints.iter().all(|endpoint| &*endpoint.service == "DaaS"));
    assert_eq!(
        (covered(&required).uncovered(), required.problems.len()),
        (0, 0),
        "what the filter leaves out is no problem"
    );
}

/// By what its wildcards are covered where nothing is forwarded.
fn covered(selection: &Selection) -> Coverage {
    Coverage::of(selection, &KnownZones::default())
}

#[test]
fn known_names_narrow_a_wildcard_and_only_the_spec_covers_it() {
    let selection = select(json!({ "geo": "us", "services": { "include": ["Gateway Service"] } }));
    assert_eq!(
        endpoints(&selection),
        ["outbound Gateway Service: agenthub-us.citrixworkspacesapi.net on TCP 443"],
        "on the wildcard's ports, and only names of the region asked for"
    );
    let coverage = covered(&selection);
    assert_eq!((coverage.uncovered(), coverage.is_required_uncovered), (1, false));
    assert_eq!(
        shown(&coverage.problems),
        [
            "Wildcard *.citrixworkspacesapi.net: only names known from the list are allowed: agenthub-us.citrixworkspacesapi.net; name what pods use under wildcards"
        ]
    );
    let fields = json!({ "geo": "us", "expandWildcards": "None", "services": { "include": ["Gateway Service"] }, "wildcards": [
        { "pattern": "*.CitrixWorkspacesApi.net", "names": ["trust.citrixworkspacesapi.net"] }
    ]});
    let selection = select(fields);
    assert_eq!(endpoints(&selection), ["outbound Gateway Service: trust.citrixworkspacesapi.net on TCP 443"]);
    assert_eq!((covered(&selection).uncovered(), selection.problems.len()), (0, 0));
    assert_eq!(
        selection.endpoints[0].stands_in_for.as_ref().map(|pattern| pattern.as_str()),
        Some("*.citrixworkspacesapi.net")
    );
}

#[test]
fn a_required_wildcard_says_so() {
    let document = json!({ "services": [{
        "name": "Certificates", "direction": "outbound", "tcpPorts": "80", "required": true,
        "endpoints": [{ "fqdns": ["*.digicert.com"] }]
    }]});
    let selection = Case::new(json!({}), &document, &[]).select();
    let coverage = covered(&selection);
    assert!(coverage.is_required_uncovered);
    assert_eq!(
        shown(&coverage.problems),
        ["Wildcard *.digicert.com: required; nothing under it is allowed; name what pods use under wildcards"]
    );
}

#[test]
fn thousands_of_names_and_wildcards_are_not_each_against_each() {
    let names = |from: &str| (0..1000).map(|number| format!("{from}{number}.example.net")).collect::<Vec<String>>();
    let wildcards = (0..1000).map(|number| format!("*b{number}*.example.net")).collect();
    let fqdns = [vec!["*.example.net".to_owned()], names("a"), wildcards].concat();
    let document = json!({ "services": [{
        "name": "DaaS", "direction": "outbound", "tcpPorts": "443", "endpoints": [{ "fqdns": fqdns }]
    }]});
    let selection = Case::new(json!({}), &document, &[]).select();
    assert_eq!(selection.names.len(), 1000, "a name that is listed stays allowed");
    let limits = selection.problems.iter().filter(|problem| problem.kind == ProblemKind::Limit);
    let limits: Vec<&str> = limits.map(|problem| &*problem.message).collect();
    assert_eq!(
        limits,
        [
            "901 wildcards of the list are not expanded, *b100*.example.net first: they and its names fit in more than 100000 ways; names that the list has are allowed only as it lists them"
        ]
    );
}

#[test]
fn wildcards_named_in_vain_or_wrongly_are_said() {
    let fields = json!({ "geo": "eu", "direction": "inbound", "wildcards": [
        { "pattern": "*.citrixworkspacesapi.net", "names": ["a.citrixworkspacesapi.net"] },
        { "pattern": "*.nowhere.example", "names": ["a.nowhere.example", "a.elsewhere.example", "-.example"] },
        { "pattern": "nowhere.example", "names": ["a.nowhere.example"] }
    ]});
    let problems = select(fields).problems;
    assert_eq!(
        shown(&problems),
        [
            "NoMatch *.citrixworkspacesapi.net: wildcards names a pattern of the list that geo, direction or services leave out: its names are not allowed",
            "NoMatch *.nowhere.example: wildcards names a pattern that the list does not have: its names are not allowed; additional can name them with ports",
            "Malformed -.example: wildcards.names: `-.example` has a label DNS does not allow: 1 to 63 letters, digits, hyphens inside, underscores",
            "Malformed a.elsewhere.example: does not match wildcards.pattern *.nowhere.example",
            "Malformed nowhere.example: wildcards.pattern: `nowhere.example` holds no `*`",
        ]
    );
}

#[test]
fn published_ports_become_the_pods_own_inbound_and_only_there() {
    let document = json!({ "services": [
        {
            "name": "Secure Private Access", "direction": "inbound", "tcpPorts": "440-445,65535", "udpPorts": "443",
            "endpoints": [{ "ips": ["40.119.12.0/27"] }]
        },
        { "name": "DaaS", "direction": "outbound", "tcpPorts": "443", "endpoints": [{ "fqdns": ["a.example.com"] }] }
    ]});
    let fields = json!({ "direction": "all", "inboundPorts": [
        { "listed": 443, "pod": 8443 }, { "listed": 440, "pod": 441 }, { "listed": 65535, "pod": 9000 }, { "listed": 80, "pod": 8080 }
    ]});
    let selection = Case::new(fields, &document, &[]).select();
    assert_eq!(
        endpoints(&selection),
        [
            "outbound DaaS: a.example.com on TCP 443",
            "inbound Secure Private Access: 40.119.12.0/27 on TCP 441-442,444-445,8443,9000; UDP 8443",
        ]
    );
    assert_eq!(
        shown(&selection.problems),
        ["NoMatch 80: inboundPorts maps a port that no inbound entry of the list names: it changes nothing"]
    );
}

#[test]
fn the_users_own_endpoints_may_be_private_but_never_everything() {
    let fields = json!({ "additional": [
        { "name": "domain", "cidrs": ["10.20.0.7/24", "0.0.0.0/0", "169.254.0.0/16", "nonsense"], "profile": "ActiveDirectory" },
        { "name": "proxy", "fqdns": ["Proxy.Example.com.", "*.example.com"], "tcpPorts": "3128", "udpPorts": "99999" },
        { "name": "empty", "fqdns": ["a.example.com"], "tcpPorts": "none" },
        { "name": "inward", "direction": "inbound", "cidrs": ["10.1.0.0/16"], "tcpPorts": 443 }
    ]});
    let selection = Case::new(fields, &json!({ "services": [] }), &[]).select();
    assert_eq!(
        endpoints(&selection),
        [
            "outbound domain: 10.20.0.0/24 on TCP 88,135,139,389,445,464,3268,49152-65535; UDP 88,137-138,389,464",
            "outbound proxy: proxy.example.com on TCP 3128",
        ]
    );
    assert_eq!((selection.services, selection.list_is_empty), (0, true));
    let problems: Vec<String> = selection
        .problems
        .iter()
        .map(|problem| format!("{:?} {} {}", problem.kind, problem.subject, problem.service.as_deref().unwrap_or("-")))
        .collect();
    assert_eq!(
        problems,
        [
            "NoPorts empty empty",
            "NoMatch inward inward",
            "Refused 0.0.0.0/0 domain",
            "Refused 169.254.0.0/16 domain",
            "Malformed *.example.com proxy",
            "Malformed empty empty",
            "Malformed nonsense domain",
            "Malformed proxy proxy",
        ]
    );
}

#[test]
fn forbidden_networks_of_the_list_are_refused_and_reported() {
    let document = json!({ "services": [{
        "name": "DaaS", "direction": "outbound", "tcpPorts": "443",
        "endpoints": [{ "ips": ["10.0.0.0/8", "20.1.2.0/24", "0.0.0.0/0"] }]
    }]});
    let selection = Case::new(json!({}), &document, &[]).select();
    assert_eq!(endpoints(&selection), ["outbound DaaS: 20.1.2.0/24 on TCP 443"]);
    assert_eq!(
        shown(&selection.problems),
        [
            "Refused 0.0.0.0/0: the listed network is not opened: wider than /8",
            "Refused 10.0.0.0/8: the listed network is not opened: private (10.0.0.0/8)",
        ]
    );
}

#[test]
fn a_problem_of_the_list_concerns_only_who_selects_that_part() {
    use connectivity_allowlist::{EntryGeo, ListProblem, ListProblemKind};
    let problem = |direction, geo, service: &str| ListProblem {
        kind: ListProblemKind::Malformed,
        direction,
        geo,
        service: Some(service.to_owned()),
        subject: "x".to_owned(),
        message: "cannot be read".to_owned(),
    };
    let mut case = Case::new(json!({ "geo": "us", "services": { "exclude": ["Gate*"] } }), &document(), &[]);
    let outbound = Some(Direction::Outbound);
    case.list.problems = vec![
        problem(None, EntryGeo::All, "DaaS"),
        problem(outbound, EntryGeo::Region("us".into()), "Workspace"),
        problem(outbound, EntryGeo::Region("eu".into()), "Elsewhere"),
        problem(Some(Direction::Inbound), EntryGeo::All, "Inward"),
        problem(outbound, EntryGeo::All, "Gateway Service"),
    ];
    let services: Vec<_> = case.select().problems.into_iter().filter_map(|problem| problem.service).collect();
    assert_eq!(services, ["DaaS", "Workspace"]);
}

/// Formerly 28 CIDRs of a tenant opened 86.7 % of IPv4, where the guard refuses `0.0.0.0/0`.
#[test]
fn additional_cidrs_open_at_most_a_quarter_of_all_addresses() {
    // Without those that hold a range or an address that is never opened.
    let all: Vec<String> = (1..=223u8)
        .filter(|first| ![100, 127, 168, 169, 192].contains(first))
        .map(|first| format!("{first}.0.0.0/8"))
        .collect();
    let entries: Vec<Value> = all
        .chunks(60)
        .enumerate()
        .map(|(number, cidrs)| json!({ "name": format!("part{number}"), "cidrs": cidrs, "tcpPorts": "443" }))
        .collect();
    let selection = select(json!({ "additional": entries }));
    let opened = selection.endpoints.iter().filter(|endpoint| matches!(endpoint.target, Target::Network(_))).count();
    assert_eq!(opened, 64, "each is 1 in 256");
    let beyond: Vec<String> =
        shown(&selection.problems).into_iter().filter(|problem| problem.starts_with("Limit ")).collect();
    assert_eq!(beyond.len(), all.len() - 64);
    let first = "Limit 65.0.0.0/8: this CIDR of additional is not opened: with it the outbound CIDRs would be more than 1 in 4 of all addresses; name what is needed";
    assert!(beyond.iter().any(|problem| problem == first), "{beyond:?}");
}
