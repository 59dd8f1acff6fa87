//! Many peers: objects stay within their bounds, and stand still when one address comes or goes.

use crate::builders::{Case, Objects, allows, answers, layout_of, name, shown};
use citrix_allowlist::engines::network_policy::NETWORK_POLICY;
use citrix_allowlist::engines::{Layout, Limits};
use citrix_allowlist::objects::key::ObjectKey;
use connectivity_allowlist::net::{Direction, Protocol};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

const NAME: &str = "storage.blob.core.windows.net";

fn document() -> Value {
    json!({ "services": [
        {
            "name": "DaaS", "direction": "outbound", "tcpPorts": "443", "required": true,
            "endpoints": [{ "fqdns": [NAME] }]
        },
        {
            "name": "Gateway", "direction": "outbound", "tcpPorts": "443", "udpPorts": "443", "required": true,
            "endpoints": [{ "fqdns": ["gateway.example.com"] }]
        }
    ]})
}

/// The address with the given number: every second of a family, so that nothing merges.
fn address(number: u32) -> IpAddr {
    if number.is_multiple_of(4) {
        Ipv6Addr::from((0x2603_1030_u128 << 96) + u128::from(number) * 2).into()
    } else {
        Ipv4Addr::from(0x3400_0000 + number * 2).into()
    }
}

pub fn case(addresses: u32) -> Case {
    let mut case = Case::new(json!({ "dnsEgress": "None" }), &document(), &[(NAME, &[]), ("gateway.example.com", &[])]);
    for number in 0..addresses {
        let text = if number.is_multiple_of(5) { "gateway.example.com" } else { NAME };
        add(&mut case, text, address(number));
    }
    case
}

fn add(case: &mut Case, text: &str, address: IpAddr) {
    let known = case.addresses.by_name.get_mut(&name(text)).expect("known");
    Arc::make_mut(known).addresses.push(address);
}

fn by_name(objects: &Objects) -> BTreeMap<&str, &NetworkPolicy> {
    objects.policies.iter().filter_map(|policy| Some((policy.metadata.name.as_deref()?, policy))).collect()
}

fn touched(before: &Objects, after: &Objects) -> usize {
    let (before, after) = (by_name(before), by_name(after));
    let all: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    all.into_iter().filter(|name| before.get(name) != after.get(name)).count()
}

fn laid_out(case: &mut Case, objects: &Objects) {
    case.previous = layout_of(objects);
}

#[test]
fn twenty_thousand_peers_are_all_allowed_within_bounds() {
    let case = case(20_000);
    let objects = case.objects();
    assert_eq!(objects.figures.peers, 20_000, "nothing merges here");
    assert!((20..=64).contains(&objects.policies.len()), "{} policies", objects.policies.len());
    for policy in &objects.policies {
        let rules = policy.spec.as_ref().and_then(|spec| spec.egress.as_ref()).expect("egress");
        let peers: usize = rules.iter().filter_map(|rule| rule.to.as_ref()).map(Vec::len).sum();
        assert!(peers <= case.limits.peers, "{peers} peers");
        assert!(serde_json::to_vec(policy).expect("JSON").len() <= case.limits.bytes);
    }
    // A thousandth of them, with their neighbours and the protocol only one name has.
    for number in (0..20_000).step_by(997) {
        let allowed = |address, protocol| allows(&objects.policies, Direction::Outbound, address, protocol, 443);
        assert!(allowed(address(number), Protocol::Tcp), "{}", address(number));
        assert_eq!(allowed(address(number), Protocol::Udp), number.is_multiple_of(5), "{}", address(number));
        let IpAddr::V4(here) = address(number) else { continue };
        assert!(!allowed(Ipv4Addr::from(u32::from(here) + 1).into(), Protocol::Tcp), "next to {here}");
    }
}

#[test]
fn one_address_more_touches_one_object_and_rarely_the_layout() {
    let mut case = case(5_000);
    let mut before = case.objects();
    let objects_at_first = before.policies.len();
    for number in 5_000..5_100 {
        laid_out(&mut case, &before);
        add(&mut case, NAME, address(number));
        let after = case.objects();
        assert_eq!(touched(&before, &after), 1, "address {number}");
        before = after;
    }
    assert_eq!(before.policies.len(), objects_at_first);
}

#[test]
fn the_number_of_objects_does_not_swing_around_a_bound() {
    let mut case = case(0);
    case.limits.peers = 100;
    let mut objects = case.objects();
    let mut layouts = Vec::new();
    let mut held = 0;
    // Around the bound, far above, and back to half of it.
    for wanted in [99, 100, 101, 99, 101, 99, 350, 101, 60, 50, 20] {
        for number in held..wanted.max(held) {
            add(&mut case, NAME, address(number));
        }
        Arc::make_mut(case.addresses.by_name.get_mut(&name(NAME)).expect("known")).addresses.truncate(wanted as usize);
        held = wanted;
        laid_out(&mut case, &objects);
        objects = case.objects();
        assert_eq!(objects.figures.peers, wanted as usize);
        layouts.push(objects.policies.len());
    }
    assert_eq!(&layouts[..6], [1, 1, 2, 2, 2, 2], "grown when it must, not shrunk at once");
    assert!(layouts[6] >= 4, "{layouts:?}");
    assert_eq!(layouts.last(), Some(&1), "{layouts:?}");
    case.previous = Layout::default();
    assert_eq!(case.objects(), case.objects(), "without a former layout it is the inputs alone that decide");
}

#[test]
fn objects_stay_small_even_where_ports_are_many() {
    // Every second port: 32,767 ranges, of which one rule alone takes 1.6 MB.
    let many: Vec<String> = (1..=65_533u32).step_by(2).map(|port| port.to_string()).collect();
    let document = json!({ "services": [{
        "name": "DaaS", "direction": "outbound", "tcpPorts": many.join(","),
        "endpoints": [{ "ips": ["20.1.2.0/24", "2603::/64"] }]
    }]});
    let case = Case::new(json!({}), &document, &[]);
    let objects = case.objects();
    for policy in &objects.policies {
        assert!(serde_json::to_vec(policy).expect("JSON").len() <= case.limits.bytes);
    }
    let allowed = |text: &str, port| {
        allows(&objects.policies, Direction::Outbound, text.parse().expect("an address"), Protocol::Tcp, port)
    };
    assert!(allowed("20.1.2.255", 1) && allowed("2603::1", 65_533) && allowed("20.1.2.0", 32_767));
    assert!(!allowed("20.1.2.255", 2) && !allowed("20.1.3.0", 1));
}

#[test]
fn dense_neighbours_merge_within_an_object() {
    let texts: Vec<String> = (0..4096u32).map(|n| Ipv4Addr::from(0x3400_0000 + n).to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut case = case(0);
    case.addresses = answers(&[(NAME, &texts), ("gateway.example.com", &[])]);
    let objects = case.objects();
    assert_eq!((objects.policies.len(), objects.figures.peers), (1, 1), "4,096 addresses are one /20");
}

#[test]
fn a_layout_is_read_from_names_alone() {
    let names = ["tokyo-egress", "tokyo-egress-7", "tokyo-ingress", "tokyo-cidrs", "tokyo-egress-x"];
    let keys = names.map(|name| ObjectKey::new(&NETWORK_POLICY, "web", name));
    assert_eq!(Layout::of(&keys), Layout { outbound: 7, inbound: 1 });
    assert_eq!(Layout::of([]), Layout::default());
}

#[test]
fn bounds_of_nothing_still_give_exact_objects() {
    let mut case = case(40);
    case.limits = Limits { peers: 0, bytes: 0, cni: None };
    let objects = case.objects();
    assert_eq!(objects.figures.peers, 40);
    for number in 0..40 {
        assert!(allows(&objects.policies, Direction::Outbound, address(number), Protocol::Tcp, 443));
    }
}

#[test]
fn one_resource_cannot_fill_the_cluster() {
    let case = |ranges: usize| {
        let odd: Vec<String> = (0..ranges / 2).map(|n| (n * 2 + 1).to_string()).collect();
        let entry = |entry: usize| {
            // A port of its own for each, so that nothing merges.
            let ports = format!("{},{}", odd.join(","), 1000 + 2 * entry);
            let cidrs: Vec<String> = (0..64).map(|n| format!("20.{entry}.{n}.{}/32", (n * 7) % 250)).collect();
            json!({ "name": format!("e{entry}"), "cidrs": cidrs, "tcpPorts": ports, "udpPorts": ports })
        };
        let spec = json!({ "additional": (0..64).map(entry).collect::<Vec<_>>() });
        (spec.to_string().len(), Case::new(spec, &json!({ "services": [] }), &[]))
    };
    let (given, most) = case(62);
    let objects = most.objects();
    let written: usize = objects.policies.iter().map(|policy| serde_json::to_vec(policy).expect("JSON").len()).sum();
    assert_eq!(objects.figures.peers, 64 * 64);
    assert!(written < 16 * given, "{} policies of {written} bytes from a spec of {given}", objects.policies.len());
    let (_, beyond) = case(64);
    let selection = beyond.select();
    assert!(selection.endpoints.is_empty());
    let message = "66 port ranges are more than 64: nothing of this entry of additional is opened; name wider ranges, or split it";
    assert_eq!(selection.problems.len(), 64);
    assert_eq!(shown(&selection.problems)[0], format!("Limit e0: {message}"));
}

/// Each address in another half of 64 entries with 64 port ranges each: a rule for each address took 20 MB of policies, and unions that were never written more memory.
#[test]
fn ports_shared_in_every_way_cannot_fill_the_cluster() {
    let first = |entry: u32, range: u32| 1_000 + entry * 128 + range * 2;
    let ports = |entry: u32| (0..64).map(|range| first(entry, range).to_string()).collect::<Vec<_>>().join(",");
    let entry = |number: u32| json!({ "name": format!("e{number}"), "fqdns": [format!("e{number}.example.com")], "tcpPorts": ports(number) });
    let additional: Vec<_> = (0..64).map(entry).collect();
    let spec = json!({ "dnsEgress": "None", "additional": additional });
    let names: Vec<String> = (0..64).map(|entry| format!("e{entry}.example.com")).collect();
    let none: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &[] as &[&str])).collect();
    let mut case = Case::new(spec, &json!({ "services": [] }), &none);
    for number in 0..312 {
        for entry in (0..64).filter(|entry| is_in(number, *entry)) {
            add(&mut case, &names[entry as usize], address(number * 4 + 1));
        }
    }
    let objects = case.objects();
    let written: usize = objects.policies.iter().map(|policy| serde_json::to_vec(policy).expect("JSON").len()).sum();
    println!("{} policies of {written} bytes", objects.policies.len());
    assert!(written < 8_000_000, "{written} bytes");
    for (number, entry) in [(0, 0), (7, 3), (100, 63), (311, 32), (200, 1), (5, 5)] {
        for port in [first(entry, 0), first(entry, 63)] {
            let port = u16::try_from(port).expect("a port");
            let open = allows(&objects.policies, Direction::Outbound, address(number * 4 + 1), Protocol::Tcp, port);
            assert_eq!(open, is_in(number, entry), "address {number} in entry {entry}");
        }
    }
}

/// Half of all pairs, the same each time (Knuth's multiplicative hash).
fn is_in(number: u32, entry: u32) -> bool {
    ((number * 64 + entry).wrapping_mul(2_654_435_769) >> 24).is_multiple_of(2)
}
