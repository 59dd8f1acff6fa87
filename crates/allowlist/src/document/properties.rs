//! Properties over generated documents: nothing panics, and what is written reads the same.

use super::*;
use crate::net::{DomainName, NamePattern};
use ipnet::IpNet;
use proptest::prelude::*;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Words of real lists, between bars.
const WORDS: &str = "all|us|outbound|443|80-90,443|a.example.net|*.example.net|https://CUSTOMER_ID.example.net:443/x|\
    20.1.2.3/24|1.1.1.1-1.1.1.9|2603::/20|daas-outbound-ap-s-tcp-ipv4|DaaS all us udp ipv6|tcp|\
    2026-06-01T00:00:00Z|::ffff:1.2.3.4-::|[::]:1|:|-";
/// Fields of real lists.
const FIELDS: &str = "meta version validUntil services name direction endpoints geo fqdns ips tcpPorts udpPorts \
    required notes usage update_interval ipv6_services id protocol ports domains cidrs AllowList \
    LatestChangeLog";

/// Any JSON, often with the words of real lists in it.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(WORDS.split('|').collect::<Vec<_>>()).prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let field = prop::sample::select(FIELDS.split(' ').collect::<Vec<_>>()).prop_map(str::to_owned);
    leaf.prop_recursive(6, 96, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::hash_map(field.clone(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Reads a document in several ways, and checks whatever is read of it.
fn check_read(bytes: &[u8]) {
    let scope = Some((Geo::Us, Directions::All));
    let template = Reading { template_customer: Some("templ8"), scope, ..Reading::for_customer("x") };
    for reading in [Reading::default(), Reading::for_customer("Acme1"), template] {
        if let Ok(document) = parse(bytes, &reading) {
            check(&document);
        }
    }
}

/// Properties of everything that was read.
fn check(document: &ParsedDocument) {
    for entry in &document.allowlist.entries {
        assert!(entry.names.len() + entry.patterns.len() + entry.networks.len() > 0, "an entry of nothing");
        assert!(entry.names.is_sorted() && entry.networks.is_sorted() && entry.patterns.is_sorted());
        assert!(entry.networks.iter().all(|network| *network == network.trunc()));
    }
    let written = to_json(&document.allowlist);
    let again = parse(written.to_string().as_bytes(), &Reading::default());
    if let (Ok(again), false) = (again, document.allowlist.entries.is_empty()) {
        assert_eq!(again.allowlist.entries, document.allowlist.entries);
    }
}

fn port_set() -> impl Strategy<Value = Option<PortSet>> {
    let range = (any::<bool>(), 1u16..=u16::MAX, 0u16..100).prop_map(|(tcp, first, width)| {
        let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
        (protocol, PortRange::new(first, first.saturating_add(width)).expect("a range"))
    });
    prop::collection::vec(range, 0..5).prop_map(PortSet::new)
}

fn network() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<u32>(), 0u8..=32).prop_map(|(bits, length)| (IpAddr::V4(Ipv4Addr::from(bits)), length)),
        (any::<u128>(), 0u8..=128).prop_map(|(bits, length)| (IpAddr::V6(Ipv6Addr::from(bits)), length)),
    ]
    .prop_map(|(address, length)| IpNet::new(address, length).expect("a network").trunc())
}

fn entry() -> impl Strategy<Value = Arc<Entry>> {
    let name = "[a-z0-9_]{1,8}(\\.[a-z]{1,8}){1,3}".prop_filter_map("a name", |text| DomainName::parse(&text).ok());
    let pattern =
        "\\*(\\.\\*)?(\\.[a-z]{1,8}){1,3}".prop_filter_map("a wildcard", |text| NamePattern::parse(&text).ok());
    let geo = prop_oneof![Just(EntryGeo::All), "[a-z]{2}(-[a-z])?".prop_map(|region| EntryGeo::Region(region.into())),];
    let things = (
        prop::collection::btree_set(name, 0..5),
        prop::collection::btree_set(pattern, 0..3),
        prop::collection::btree_set(network(), 0..5),
    )
        .prop_filter("something", |(names, patterns, networks)| names.len() + patterns.len() + networks.len() > 0);
    let words = "[A-Za-z][A-Za-z ]{0,14}[a-z]";
    ((words, any::<bool>(), geo), things, port_set(), any::<bool>(), prop::option::of(words)).prop_map(
        |((service, outbound, geo), (names, patterns, networks), ports, required, notes)| {
            Arc::new(Entry {
                service: service.into(),
                direction: if outbound { Direction::Outbound } else { Direction::Inbound },
                geo,
                names: names.into_iter().collect(),
                patterns: patterns.into_iter().collect(),
                networks: networks.into_iter().collect(),
                ports,
                required: Some(required),
                notes: notes.map(Into::into),
            })
        },
    )
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused(value in any_json()) {
        check_read(value.to_string().as_bytes());
    }

    #[test]
    fn any_services_are_read_or_refused(services in prop::collection::vec(any_json(), 0..6), zscaler in any::<bool>()) {
        let mut value = json!({ "services": services });
        if zscaler {
            value["usage"] = json!({ "update_interval": 84 });
        }
        check_read(value.to_string().as_bytes());
    }

    #[test]
    fn mutated_documents_are_read_or_refused(
        entries in prop::collection::vec(entry(), 1..6),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let list = Allowlist { entries, ..Allowlist::default() };
        let mut bytes = to_json(&list).to_string().into_bytes();
        for (at, byte) in cuts {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        check_read(&bytes);
    }

    #[test]
    fn a_written_list_reads_the_same(
        entries in prop::collection::vec(entry(), 0..12),
        version in prop::option::of("[0-9TZ:-]{1,24}"),
        valid_until in prop::option::of(-9_000_000_000i64..200_000_000_000),
    ) {
        let list = Allowlist {
            form: ListForm::Json,
            version,
            valid_until: valid_until.map(|second| Timestamp::from_second(second).expect("a time")),
            entries,
            problems: Vec::new(),
        };
        let read = parse(to_json(&list).to_string().as_bytes(), &Reading::default()).expect("a list");
        prop_assert_eq!(read.allowlist.form, ListForm::Json);
        prop_assert_eq!(read.allowlist, list);
    }
}
