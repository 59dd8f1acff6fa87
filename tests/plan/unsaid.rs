//! What a spec asks for and the list's form, or its words, cannot answer: kept or left out, and always reported.

use crate::builders::{Case, shown};
use citrix_allowlist::plan::Selection;
use connectivity_allowlist::Allowlist;
use connectivity_allowlist::document::{Reading, parse};
use connectivity_allowlist::net::Direction;
use serde_json::{Value, json};

fn read(document: &Value) -> Allowlist {
    parse(document.to_string().as_bytes(), &Reading::for_customer("testcustomer")).expect("a list").allowlist
}

fn case(fields: Value, document: &Value) -> Case {
    Case { list: read(document), ..Case::new(fields, &json!({ "services": [] }), &[]) }
}

fn select(fields: Value, document: &Value) -> Selection {
    case(fields, document).select()
}

fn in_json(required: Option<bool>) -> Value {
    let service = |name: &str, network: &str, required: Option<bool>| {
        let mut service = json!({ "name": name, "direction": "outbound", "tcpPorts": "443",
            "endpoints": [{ "geo": "us", "ips": [network] }] });
        if let Some(required) = required {
            service["required"] = json!(required);
        }
        service
    };
    json!({ "services": [service("DaaS", "20.1.1.0/24", required), service("Other", "20.1.2.0/24", None)] })
}

fn in_zscaler() -> Value {
    json!({ "usage": { "update_interval": 84 }, "services": [
        { "name": "DaaS outbound us tcp ipv4", "protocol": "tcp", "ports": "443", "cidrs": ["20.1.1.0/24"] },
        { "name": "Other outbound us tcp ipv4", "protocol": "tcp", "ports": "443", "cidrs": ["20.1.2.0/24"] }] })
}

#[test]
fn required_only_keeps_entries_of_forms_without_that_field() {
    let spec = json!({ "geo": "us", "services": { "requiredOnly": true } });
    let said = case(spec.clone(), &in_json(Some(true)));
    assert_eq!((said.select().endpoints.len(), said.select().problems.len()), (1, 0), "a list that says is obeyed");
    let static_list = json!({ "DaaS": { "AllowList": ["a.cloud.com", "b.cloud.com"] } });
    for (document, kept, words) in [
        (in_json(None), 2, "this list in format=json"),
        (in_zscaler(), 2, "format=zscaler"),
        (static_list, 1, "a static list"),
    ] {
        let case = case(spec.clone(), &document);
        let selection = case.select();
        assert_eq!(selection.endpoints.len(), 2, "{words}");
        let reported: Vec<String> =
            shown(&selection.problems).into_iter().filter(|shown| shown.contains("requiredOnly")).collect();
        assert_eq!(
            reported,
            [format!(
                "NoMatch services.requiredOnly: {words} does not say what is required: services.requiredOnly leaves nothing \
                 out of it (entries kept: {kept}); services.include can name services instead"
            )],
            "one problem, however many entries"
        );
        assert!(selection.endpoints.iter().all(|endpoint| !endpoint.required), "what endpoints.json has always said");
    }
    // The form of a list changes and the policy stays as it is.
    assert!(case(spec, &in_zscaler()).plan().direction(Direction::Outbound).is_some());
    let without = select(json!({ "geo": "us" }), &in_zscaler());
    assert_eq!(shown(&without.problems), Vec::<String>::new(), "who does not ask learns nothing");
}

#[test]
fn an_unknown_region_is_a_problem_unless_geo_is_all() {
    let document = json!({ "services": [
        { "name": "DaaS", "direction": "outbound", "tcpPorts": "443", "required": true, "endpoints": [
            { "geo": "us", "ips": ["20.1.1.0/24"] },
            { "geo": "global", "ips": ["20.1.2.0/24"], "fqdns": ["a.cloud.com", "*.cloud.com"] },
            { "geo": "ap-n", "ips": ["20.1.3.0/24"] },
            { "geo": "eu", "ips": ["20.1.4.0/24"] }] },
        { "name": "Other", "direction": "outbound", "tcpPorts": "443", "endpoints": [{ "geo": "ap-n", "ips": ["20.1.5.0/24"] }] },
        { "name": "Inbound", "direction": "inbound", "tcpPorts": "443", "endpoints": [{ "geo": "moon", "ips": ["20.1.6.0/24"] }] },
    ] });
    let us = select(json!({ "geo": "us" }), &document);
    assert_eq!(us.endpoints.len(), 1);
    let reported = |word: &str, count: usize| {
        format!(
            "NoMatch geo {word}: the list's word for a region is none of us, eu, ap-s, jp and all: left out (names, \
             wildcards and networks: {count}); geo: all lets them in"
        )
    };
    assert_eq!(shown(&us.problems), [reported("ap-n", 2), reported("global", 3)]);
    let chosen = select(json!({ "geo": "us", "services": { "requiredOnly": true } }), &document);
    assert_eq!(
        shown(&chosen.problems),
        [reported("ap-n", 1), reported("global", 3)],
        "what a filter leaves out is not reported"
    );
    let all = select(json!({ "geo": "all", "expandWildcards": "None" }), &document);
    assert_eq!(all.endpoints.len(), 6);
    assert_eq!(shown(&all.problems), Vec::<String>::new());
}

#[test]
fn many_unknown_regions_are_a_bounded_number_of_problems() {
    let endpoint = |n: usize| json!({ "geo": format!("x{n:03}"), "ips": ["20.1.1.0/24", "20.2.1.0/24"] });
    let document = json!({ "services": [{ "name": "DaaS", "direction": "outbound", "tcpPorts": "443", "required": true,
        "endpoints": (0..500).map(endpoint).collect::<Vec<_>>() }] });
    let problems = select(json!({ "geo": "us" }), &document).problems;
    assert_eq!(problems.len(), 17);
    let rest = problems.iter().find(|problem| problem.subject == "geo").expect("the rest");
    assert!(rest.message.starts_with("484 more of the list's words for regions are none of"), "{}", rest.message);
    assert!(rest.message.contains("networks: 968"), "{}", rest.message);
}

#[test]
fn a_static_list_says_that_it_cannot_choose_a_region() {
    let document = json!({ "Gateway": { "AllowList": ["aws-us-e.g.nssvc.net", "aws-eu-w.g.nssvc.net"] } });
    let reported = |fields: Value| shown(&select(fields, &document).problems);
    assert_eq!(
        reported(json!({ "geo": "us" })),
        [
            "NoMatch geo us: a static list names no regions: what it holds for every region of the Global cloud is allowed, whatever geo says"
        ]
    );
    assert_eq!(select(json!({ "geo": "us" }), &document).endpoints.len(), 2);
    assert_eq!(reported(json!({ "geo": "us", "cloud": "Japan" })).len(), 1);
    for fields in [json!({ "geo": "all" }), json!({ "geo": "jp" })] {
        assert_eq!(reported(fields), Vec::<String>::new(), "all of it is what was asked for");
    }
}
