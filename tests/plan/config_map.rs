//! The ConfigMap stays below its bound, and never loses a line of its lists.

use crate::builders::{Case, name};
use citrix_allowlist::crd::ProblemKind;
use citrix_allowlist::export::{self, ENDPOINTS_KEY, SCHEMA, is_owned_key};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// `names` names of `addresses` addresses each, in two services, with remarks.
fn case(names: u32, addresses: u32) -> Case {
    let texts: Vec<String> = (0..names).map(|number| format!("name{number}.example.com")).collect();
    let service = |service: &str| {
        json!({
            "name": service, "direction": "outbound", "tcpPorts": "443", "notes": "what it is for, at some length",
            "endpoints": [{ "fqdns": texts, "ips": ["20.1.2.0/24"] }]
        })
    };
    let mut case = Case::new(json!({}), &json!({ "services": [service("A"), service("B")] }), &[]);
    let answers: Vec<Vec<String>> = (0..names)
        .map(|number| {
            let address = |host| Ipv4Addr::from(0x3400_0000 + (number * addresses + host) * 2).to_string();
            (0..addresses).map(address).collect()
        })
        .collect();
    let answers: Vec<Vec<&str>> = answers.iter().map(|texts| texts.iter().map(String::as_str).collect()).collect();
    let by_name: Vec<(&str, &[&str])> =
        texts.iter().zip(&answers).map(|(text, answers)| (text.as_str(), answers.as_slice())).collect();
    case.addresses = crate::builders::answers(&by_name);
    case
}

fn data<'a>(map: &'a ConfigMap, key: &str) -> &'a str {
    map.data.as_ref().and_then(|data| data.get(key)).map_or("", String::as_str)
}

fn endpoints(map: &ConfigMap) -> Value {
    serde_json::from_str(data(map, ENDPOINTS_KEY)).expect("JSON")
}

#[test]
fn the_document_names_its_schema_and_is_whole_where_it_fits() {
    let objects = case(3, 2).objects();
    let document = endpoints(&objects.config_maps[0]);
    assert_eq!(document["schema"], SCHEMA);
    assert_eq!(document["shortened"], Value::Null);
    assert_eq!(document["endpoints"].as_array().map(Vec::len), Some(8));
    assert_eq!(document["endpoints"][0]["addresses"], json!(["52.0.0.0", "52.0.0.2"]));
    assert!(objects.problems.is_empty());
    assert!(objects.config_maps[0].data.iter().flatten().all(|(key, _)| is_owned_key(key)));
    assert!(!is_owned_key("egress.txt") && !is_owned_key("cidrs"));
}

#[test]
fn the_document_is_shortened_step_by_step_and_says_how() {
    let mut seen = Vec::new();
    for (names, addresses) in [(150, 1), (150, 3), (150, 6), (400, 2)] {
        let mut case = case(names, addresses);
        case.limits.bytes = 64 * 1024;
        let objects = case.objects();
        let document = endpoints(&objects.config_maps[0]);
        let marks: Vec<&str> =
            document["shortened"].as_array().expect("marks").iter().filter_map(Value::as_str).collect();
        seen.push(marks.join(" "));
        let kept = document["endpoints"].as_array().map_or(0, Vec::len) as u64;
        assert_eq!(kept + document["omitted"].as_u64().expect("a number"), u64::from(names) * 2 + 2);
        let kinds: Vec<_> = objects.problems.iter().map(|problem| problem.kind).collect();
        assert_eq!(kinds, [ProblemKind::Limit]);
        for map in &objects.config_maps {
            let size = serde_json::to_vec(map).expect("JSON").len();
            assert!(size <= case.limits.bytes, "{size} bytes");
        }
        if !seen.last().is_some_and(|marks| marks.contains(" addresses")) {
            let by_name = export::remembered(&objects.config_maps[0]);
            assert_eq!(by_name[&name("name7.example.com")].len(), addresses as usize, "no memory is lost yet");
        }
    }
    assert_eq!(
        seen,
        [
            "notes",
            "notes repeatedAddresses",
            "notes repeatedAddresses addresses",
            "notes repeatedAddresses addresses endpoints",
        ]
    );
}

#[test]
fn lists_go_on_in_the_next_object_and_lose_no_line() {
    let mut case = case(600, 20);
    case.limits.bytes = 64 * 1024;
    let objects = case.objects();
    assert!(objects.config_maps.len() > 3);
    let names: Vec<_> = objects.config_maps.iter().filter_map(|map| map.metadata.name.as_deref()).take(3).collect();
    assert_eq!(names, ["tokyo-cidrs", "tokyo-cidrs-2", "tokyo-cidrs-3"]);
    let whole = |key: &str| -> String { objects.config_maps.iter().map(|map| data(map, key)).collect() };
    assert_eq!(whole("egress.cidrs").lines().count(), 600 * 20 + 1);
    assert_eq!(whole("egress.fqdns").lines().count(), 600);
    let mut sorted: Vec<ipnet::IpNet> =
        whole("egress.cidrs").lines().map(|line| line.parse().expect("a CIDR")).collect();
    assert!(sorted.is_sorted());
    sorted.dedup();
    assert_eq!(sorted.len(), 600 * 20 + 1);
    for key in ["egress.cidrs", "egress.fqdns", "ingress.cidrs", "ingress.fqdns", ENDPOINTS_KEY] {
        assert!(objects.config_maps[0].data.as_ref().is_some_and(|data| data.contains_key(key)), "{key}");
    }
    for map in &objects.config_maps {
        let size = serde_json::to_vec(map).expect("JSON").len();
        assert!(size <= case.limits.bytes, "{size} bytes");
    }
}
