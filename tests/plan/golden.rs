//! Whole objects, compared with files that a person has read. `UPDATE_GOLDEN=1` writes the files.

use crate::builders::Objects;
use crate::builders::{Case, name, overview};
use citrix_allowlist::facts::{ClusterDns, ClusterFacts, DnsService};
use citrix_allowlist::names::{Addresses, NameAddresses, NameState};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

/// The objects as YAML documents, after a comment for each problem.
fn yaml(objects: &Objects, case: &Case) -> String {
    let mut text = String::new();
    for problem in case.problems().iter().chain(&objects.problems) {
        let service = problem.service.as_deref().map(|service| format!(" ({service})")).unwrap_or_default();
        writeln!(text, "# {:?} {}{service}: {}", problem.kind, problem.subject, problem.message).expect("a String");
    }
    let documents = objects.policies.iter().map(serde_saphyr::to_string);
    for document in documents.chain(objects.config_maps.iter().map(serde_saphyr::to_string)) {
        write!(text, "---\n{}", document.expect("YAML")).expect("a String");
    }
    text
}

fn compare(file: &str, case: &Case) {
    let objects = case.objects();
    let text = yaml(&objects, case);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("the golden file written");
    }
    let golden = std::fs::read_to_string(&path).expect("a golden file; UPDATE_GOLDEN=1 writes it");
    if golden != text {
        let (number, (expected, found)) = golden
            .lines()
            .chain([""])
            .zip(text.lines().chain([""]))
            .enumerate()
            .find(|(_, (expected, found))| expected != found)
            .unwrap_or((0, ("(one ends where the other goes on)", "")));
        panic!("{file} differs first in line {}:\n  golden: {expected}\n  found:  {found}", number + 1);
    }
}

fn fixture(file: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
    serde_json::from_str(&std::fs::read_to_string(path).expect("the fixture")).expect("JSON")
}

/// An IPv4 address for each name, and for every third an IPv6 one too: made from the name alone, and public.
fn made_up(case: &Case) -> Addresses {
    let hash = |text: &str| text.bytes().fold(5381u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte));
    let names = case.select().names;
    let by_name = names.iter().map(|name| {
        let [a, b, c, _] = hash(name.as_str()).to_be_bytes();
        let mut addresses = vec![IpAddr::V4(Ipv4Addr::new(52, a, b, c))];
        if c % 3 == 0 {
            let host = u16::from_be_bytes([b, c]);
            addresses.push(IpAddr::V6(Ipv6Addr::new(0x2603, 0x1030, u16::from(a), 0, 0, 0, 0, host)));
        }
        let known = NameAddresses {
            addresses,
            state: NameState::Answered,
            refused: Vec::new(),
            evicted: 0,
            reached: citrix_allowlist::names::Reached::default(),
        };
        (name.clone(), Arc::new(known))
    });
    Addresses { by_name: by_name.collect() }
}

#[test]
fn the_overviews_own_example() {
    let addresses: &[(&str, &[&str])] = &[("testcustomer.xendesktop.net", &["13.107.6.154", "20.42.65.90"])];
    compare("overview.yaml", &Case::new(json!({ "geo": "us" }), &overview(), addresses));
}

#[test]
fn ipv6_only_with_and_without_a_translator() {
    let document = json!({ "services": [
        {
            "name": "Gateway Service", "direction": "outbound", "tcpPorts": "443,8080-8090", "udpPorts": "443",
            "required": true,
            "endpoints": [{
                "fqdns": ["az-eu-w.g.nssvc.net", "aws-us-e.g.nssvc.net"],
                "ips": ["2603:1030:402:8::/64", "52.141.208.0/24"]
            }]
        },
        {
            "name": "Workspace", "direction": "inbound", "tcpPorts": "443", "required": false,
            "endpoints": [{ "ips": ["2603:1030:a:100::/60", "20.185.92.32/29"] }]
        }
    ]});
    let addresses: &[(&str, &[&str])] =
        &[("az-eu-w.g.nssvc.net", &["2603:1020::17", "20.50.1.7"]), ("aws-us-e.g.nssvc.net", &["52.1.2.3"])];
    let labels = BTreeMap::from([("k8s-app".to_owned(), "kube-dns".to_owned())]);
    let service = DnsService {
        namespace: "kube-system".to_owned(),
        name: "kube-dns".to_owned(),
        selector: labels,
        ports: vec![53],
        endpoints: vec!["[fd00:10:244::7]:53".parse().expect("a socket")],
    };
    let mut case = Case::new(json!({ "direction": "all" }), &document, addresses);
    case.facts = ClusterFacts {
        service_networks: vec!["fd00:10:96::/112".parse().expect("a network")],
        pod_networks: vec!["fd00:10:244::/56".parse().expect("a network")],
        nat64_prefix: None,
        dns: vec![ClusterDns { address: "fd00:10:96::a".parse().expect("an address"), service: Some(service) }],
        ..ClusterFacts::default()
    };
    compare("ipv6-only.yaml", &case);
    case.facts.nat64_prefix = Some("64:ff9b::/96".parse().expect("a prefix"));
    compare("ipv6-only-nat64.yaml", &case);
}

#[test]
fn wildcards_only() {
    let document = json!({ "services": [{
        "name": "DaaS", "direction": "outbound", "tcpPorts": "443", "required": true,
        "endpoints": [{ "geo": "jp", "fqdns": ["*.citrixworkspacesapi.jp", "*.*.nssvc.jp"] }]
    }]});
    compare("wildcards-only.yaml", &Case::new(json!({ "geo": "jp" }), &document, &[]));
    let fields = json!({ "geo": "jp", "wildcards": [
        { "pattern": "*.citrixworkspacesapi.jp", "names": ["agenthub-jp.citrixworkspacesapi.jp"] }
    ]});
    let addresses: &[(&str, &[&str])] = &[("agenthub-jp.citrixworkspacesapi.jp", &["20.43.66.70"])];
    compare("wildcards-named.yaml", &Case::new(fields, &document, addresses));
}

#[test]
fn no_ports() {
    let document = json!({ "services": [
        {
            "name": "Diagnostics", "direction": "outbound", "required": false,
            "endpoints": [{ "fqdns": ["cis.citrix.com"], "ips": ["40.90.64.0/24"] }]
        },
        {
            "name": "Session recording", "direction": "inbound", "required": false,
            "endpoints": [{ "ips": ["20.62.134.76/30"] }]
        }
    ]});
    compare("no-ports.yaml", &Case::new(json!({ "direction": "all" }), &document, &[]));
}

#[test]
fn a_name_of_five_thousand_addresses() {
    let document = json!({ "services": [{
        "name": "DaaS", "direction": "outbound", "tcpPorts": "443", "required": true,
        "endpoints": [{ "fqdns": ["storage.blob.core.windows.net"] }]
    }]});
    // Every third address, so that next to nothing can be merged.
    let texts: Vec<String> = (0..5000u32).map(|n| Ipv4Addr::from(0x3400_0000 + n * 3).to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    compare("five-thousand.yaml", &Case::new(json!({}), &document, &[("storage.blob.core.windows.net", &texts)]));
}

#[test]
fn the_fixture_for_each_region() {
    let document = fixture("allowlist.json");
    for geo in ["us", "eu", "ap-s", "jp"] {
        let mut case = Case::new(json!({ "geo": geo, "direction": "all" }), &document, &[]);
        case.addresses = made_up(&case);
        compare(&format!("fixture-{geo}.yaml"), &case);
    }
}

#[test]
fn an_entry_of_the_users_own_by_profile() {
    let fields = json!({ "direction": "all", "inboundPorts": [{ "listed": 443, "pod": 8443 }], "additional": [
        { "name": "domain", "cidrs": ["10.20.0.9/24"], "profile": "ActiveDirectory" },
        { "name": "proxy", "fqdns": ["proxy.example.com"], "tcpPorts": 3128 },
        { "name": "monitoring", "direction": "inbound", "cidrs": ["10.30.0.0/24"], "tcpPorts": "9100" }
    ]});
    let document = json!({ "services": [{
        "name": "Secure Private Access", "direction": "inbound", "tcpPorts": "440-445", "required": false,
        "endpoints": [{ "ips": ["40.119.12.0/27"] }]
    }]});
    let addresses: &[(&str, &[&str])] = &[("proxy.example.com", &["52.1.1.1"])];
    compare("additional.yaml", &Case::new(fields, &document, addresses));
    // The same name, whatever its spelling, is one name.
    assert_eq!(name("Proxy.Example.com."), name("proxy.example.com"));
}
