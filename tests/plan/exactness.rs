//! The objects allow exactly what list, spec and answers ask for: judged packet by packet against the inputs themselves.

use crate::builders::{Case, Objects, allows, layout_of, name, spec};
use citrix_allowlist::crd::GeoChoice;
use citrix_allowlist::engines::{Layout, Limits};
use citrix_allowlist::names::{Addresses, NameAddresses, NameState};
use citrix_allowlist::plan::Inherited;
use connectivity_allowlist::net::{Direction, PortRange, PortSet, Protocol};
use connectivity_allowlist::{Allowlist, Directions, Entry, EntryGeo};
use ipnet::IpNet;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// An address by its place in a small stretch of either family, so that networks touch, nest and collide.
fn address(place: u16, ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::from((0x2603_1030_u128 << 96) + u128::from(place)).into()
    } else {
        Ipv4Addr::from(0x1401_0000 + u32::from(place)).into()
    }
}

fn network((place, width, ipv6): (u16, u8, bool)) -> IpNet {
    let length = if ipv6 { 128 } else { 32 } - width;
    IpNet::new(address(place % 2048, ipv6), length).expect("a network").trunc()
}

fn port_set(parts: Vec<(bool, u16, u16)>) -> Option<PortSet> {
    PortSet::new(parts.into_iter().map(|(tcp, first, width)| {
        let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
        (protocol, PortRange::new(first, first + width).expect("a range"))
    }))
}

fn entries() -> impl Strategy<Value = Vec<Arc<Entry>>> {
    let ports = prop::collection::vec((any::<bool>(), 80u16..90, 0u16..4), 0..3);
    let networks = prop::collection::vec((any::<u16>(), 0u8..6, any::<bool>()), 0..5);
    let names = prop::collection::vec(0usize..6, 0..4);
    let entry = (0u8..3, any::<bool>(), 0u8..3, ports, networks, names);
    let entry = entry.prop_map(|(service, inbound, geo, ports, networks, names)| {
        Arc::new(Entry {
            service: format!("Service {service}").into(),
            direction: if inbound { Direction::Inbound } else { Direction::Outbound },
            geo: match geo {
                0 => EntryGeo::All,
                1 => EntryGeo::Region("us".into()),
                _ => EntryGeo::Region("mars".into()),
            },
            names: names.into_iter().map(|number| name(&format!("name{number}.example.com"))).collect(),
            patterns: Vec::new(),
            networks: networks.into_iter().map(network).collect(),
            ports: port_set(ports),
            required: Some(false),
            notes: None,
        })
    });
    prop::collection::vec(entry, 0..10)
}

fn addresses() -> impl Strategy<Value = Addresses> {
    let of_name = prop::collection::btree_set((0u16..2048, any::<bool>()), 0..8);
    prop::collection::vec(of_name, 6).prop_map(|names| {
        let by_name = names.into_iter().enumerate().map(|(number, places)| {
            let mut addresses: Vec<IpAddr> = places.into_iter().map(|(place, ipv6)| address(place, ipv6)).collect();
            addresses.sort_unstable();
            let state = if addresses.is_empty() { NameState::Absent } else { NameState::Answered };
            let known = NameAddresses {
                addresses,
                state,
                refused: Vec::new(),
                evicted: 0,
                reached: citrix_allowlist::names::Reached::default(),
            };
            (name(&format!("name{number}.example.com")), Arc::new(known))
        });
        Addresses { by_name: by_name.collect() }
    })
}

pub fn case() -> impl Strategy<Value = Case> {
    let choices = (
        any::<bool>(),
        prop::sample::select(vec!["inbound", "outbound", "all"]),
        prop::sample::select(vec![1usize, 3, 8, 128, 1000]),
        0usize..5,
    );
    (entries(), addresses(), choices).prop_map(|(entries, addresses, (us, direction, peers, previous))| {
        let fields = json!({
            "geo": if us { "us" } else { "all" },
            "direction": direction,
            "dnsEgress": "None",
        });
        Case {
            spec: spec(fields),
            list: Allowlist { entries, ..Allowlist::default() },
            addresses,
            facts: Default::default(),
            inherited: Inherited::default(),
            limits: Limits { peers, ..Limits::default() },
            previous: Layout { outbound: previous, inbound: previous },
        }
    })
}

/// What the inputs ask for, entry by entry, as a person would check it.
fn asked(case: &Case) -> Vec<(Direction, IpNet, PortSet)> {
    let mut asked = Vec::new();
    for entry in &case.list.entries {
        let in_geo = match &entry.geo {
            EntryGeo::All => true,
            EntryGeo::Region(region) => case.spec.geo == GeoChoice::All || &**region == "us",
        };
        let in_direction = Directions::from(case.spec.direction).each().contains(&entry.direction);
        let Some(ports) = entry.ports.as_ref().filter(|_| in_geo && in_direction) else { continue };
        let of_names = entry.names.iter().flat_map(|name| &case.addresses.by_name[name].addresses);
        let peers = entry.networks.iter().copied().chain(of_names.map(|address| IpNet::from(*address)));
        asked.extend(peers.map(|peer| (entry.direction, peer, ports.clone())));
    }
    asked
}

fn next(address: IpAddr, up: bool) -> IpAddr {
    let step = |value: u128| if up { value.wrapping_add(1) } else { value.wrapping_sub(1) };
    match address {
        IpAddr::V4(address) => Ipv4Addr::from(step(u128::from(u32::from(address))) as u32).into(),
        IpAddr::V6(address) => Ipv6Addr::from(step(u128::from(address))).into(),
    }
}

/// First, last and neighbours of every network, of both protocols, on every port near a listed one.
fn check(asked: &[(Direction, IpNet, PortSet)], objects: &Objects) -> Result<(), TestCaseError> {
    for (_, peer, _) in asked {
        for address in [next(peer.network(), false), peer.network(), peer.broadcast(), next(peer.broadcast(), true)] {
            for direction in Direction::ALL {
                let mut expected: BTreeMap<(Protocol, u16), bool> = BTreeMap::new();
                for (protocol, port) in [Protocol::Tcp, Protocol::Udp]
                    .into_iter()
                    .flat_map(|protocol| (79..95).map(move |port| (protocol, port)))
                {
                    let wanted = asked.iter().any(|(held, network, ports)| {
                        *held == direction && network.contains(&address) && ports.contains(protocol, port)
                    });
                    expected.insert((protocol, port), wanted);
                }
                for ((protocol, port), wanted) in expected {
                    let allowed = allows(&objects.policies, direction, address, protocol, port);
                    prop_assert_eq!(allowed, wanted, "{} {} {} {}", direction, address, protocol, port);
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_objects_allow_what_the_inputs_ask_for_and_nothing_else(case in case()) {
        let asked = asked(&case);
        let objects = case.objects();
        check(&asked, &objects)?;
        let mut distinct: Vec<(Direction, IpNet)> = asked.iter().map(|(direction, peer, _)| (*direction, *peer)).collect();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert!(objects.figures.peers <= distinct.len(), "merged output is never larger than its input");
        for policy in &objects.policies {
            let spec = policy.spec.as_ref().expect("a spec");
            prop_assert_eq!(spec.policy_types.as_ref().map(Vec::len), Some(1));
            let egress = spec.egress.iter().flatten().map(|rule| (rule.ports.as_ref(), rule.to.as_ref()));
            let ingress = spec.ingress.iter().flatten().map(|rule| (rule.ports.as_ref(), rule.from.as_ref()));
            let rules: Vec<_> = egress.chain(ingress).collect();
            prop_assert!(!rules.is_empty(), "a policy without rules cuts everything");
            let peers: usize = rules.iter().map(|(_, peers)| peers.map_or(0, Vec::len)).sum();
            prop_assert!(peers <= case.limits.peers);
            for (ports, peers) in rules {
                prop_assert!(ports.is_some_and(|ports| !ports.is_empty()), "no ports mean every port");
                prop_assert!(peers.is_some_and(|peers| !peers.is_empty()), "no peers mean everybody");
            }
        }
    }

    #[test]
    fn the_order_of_services_names_and_answers_changes_no_byte(case in case(), turn in 0usize..10) {
        let objects = case.objects();
        let mut turned = case;
        let entries = &mut turned.list.entries;
        if !entries.is_empty() {
            let by = turn % entries.len();
            entries.rotate_left(by);
        }
        for entry in entries {
            let entry = Arc::make_mut(entry);
            entry.names.reverse();
            entry.networks.reverse();
        }
        for known in turned.addresses.by_name.values_mut() {
            Arc::make_mut(known).addresses.reverse();
        }
        prop_assert_eq!(turned.objects(), objects);
    }

    #[test]
    fn an_address_more_or_less_touches_one_object_of_its_direction(
        case in case(),
        which in 0usize..6,
        place in 0u16..2048,
        ipv6: bool,
    ) {
        let before = case.objects();
        let mut changed = case;
        changed.previous = layout_of(&before);
        // Laid out again from what is there, so that the one change is the address.
        let before = changed.objects();
        let known = changed.addresses.by_name.get_mut(&name(&format!("name{which}.example.com"))).expect("known");
        let addresses = &mut Arc::make_mut(known).addresses;
        let address = address(place, ipv6);
        match addresses.iter().position(|held| *held == address) {
            Some(at) => { addresses.remove(at); }
            None => addresses.push(address),
        }
        let after = changed.objects();
        for suffix in ["egress", "ingress"] {
            let of = |objects: &Objects| -> BTreeMap<String, String> {
                objects.policies.iter().filter_map(|policy| {
                    let name = policy.metadata.name.clone()?;
                    name.contains(suffix).then(|| (name, serde_json::to_string(policy).expect("JSON")))
                }).collect()
            };
            let (before, after) = (of(&before), of(&after));
            let all: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
            let touched = all.iter().filter(|name| before.get(**name) != after.get(**name)).count();
            // A new layout, which the bound forces now and then, touches more: ordinary tests say how rarely.
            let relaid = before.len().abs_diff(after.len()) > 1 || changed.limits.peers < 128;
            prop_assert!(touched <= 1 || relaid, "{} touched of {}", touched, all.len());
        }
    }
}
