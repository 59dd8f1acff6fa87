//! The list that tests and the demo use: its documents, its names, and an address for each name.
//!
//! The documents have the real list's size and shape and are composed from public names; the addresses that
//! [`address_for`] gives are public ones too (a guard refuses private and may refuse documentation ranges), but
//! nobody's in particular: nothing here ever connects to them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::standin::{Document, StandinCloud};

/// The Global cloud's unfiltered document, `CUSTOMER_ID` placeholders in it.
pub const ALLOWLIST: &str = include_str!("../../fixtures/allowlist.json");
/// The Japan cloud's unfiltered document, `CUSTOMER_ID` placeholders in it.
pub const ALLOWLIST_JAPAN: &str = include_str!("../../fixtures/allowlist-japan.json");
/// The older static list, commercial: `<CUSTOMER_ID>` placeholders in it.
pub const STATIC_COMMERCIAL: &str = include_str!("../../fixtures/static-commercial.json");
/// The older static list of Japan: `<CUSTOMER_ID>` placeholders in it.
pub const STATIC_JAPAN: &str = include_str!("../../fixtures/static-japan.json");

/// IPv4 networks the invented addresses come from, each as its first address and the bits that vary.
const IPV4_POOLS: [(Ipv4Addr, u32); 4] = [
    (Ipv4Addr::new(13, 64, 0, 0), 21),
    (Ipv4Addr::new(20, 64, 0, 0), 22),
    (Ipv4Addr::new(40, 64, 0, 0), 20),
    (Ipv4Addr::new(52, 160, 0, 0), 21),
];
/// The IPv6 network the invented addresses come from: 2603:1030::/64 and its siblings up to /48.
const IPV6_POOL: u128 = 0x2603_1030_0000_0000_0000_0000_0000_0000;

/// The document of a cloud, as published: unfiltered, with placeholders.
///
/// # Panics
/// If the committed fixture is not a document.
#[must_use]
pub fn document(cloud: StandinCloud) -> Document {
    let text = match cloud {
        StandinCloud::Global => ALLOWLIST,
        StandinCloud::Japan => ALLOWLIST_JAPAN,
    };
    serde_json::from_str(text).expect("the committed fixture is a document")
}

/// The exact names of a cloud's document for one customer, sorted, each once; wildcards are left out.
#[must_use]
pub fn exact_names(cloud: StandinCloud, customer: &str) -> Vec<String> {
    names_where(&document(cloud).substituted("CUSTOMER_ID", customer), |name| !name.contains('*'))
}

/// The exact names that a filtered question gives, sorted, each once; `geo` and `direction` as the API takes them.
#[must_use]
pub fn exact_names_of(cloud: StandinCloud, customer: &str, geo: &str, direction: &str) -> Vec<String> {
    let document = document(cloud).filtered(geo, direction).substituted("CUSTOMER_ID", customer);
    names_where(&document, |name| !name.contains('*'))
}

/// The wildcards of a cloud's document, sorted, each once.
#[must_use]
pub fn wildcards(cloud: StandinCloud) -> Vec<String> {
    names_where(&document(cloud), |name| name.contains('*'))
}

fn names_where(document: &Document, keep: impl Fn(&str) -> bool) -> Vec<String> {
    let names: BTreeSet<String> = document.names().filter(|name| keep(name)).map(str::to_owned).collect();
    names.into_iter().collect()
}

/// The addresses a name has in the tests' DNS: one to three IPv4 ones and, for two names in three, an IPv6 one.
///
/// The same name (case and a trailing dot aside) always gives the same addresses; all are public.
#[must_use]
pub fn address_for(name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let hash = fnv1a(name.as_bytes());
    let mut addresses = pool(&name, 1 + (hash % 3) as usize);
    if !(hash >> 8).is_multiple_of(3) {
        addresses.push(IpAddr::V6(ipv6_of(hash)));
    }
    addresses
}

/// As many different IPv4 addresses of a name as asked for: what a rotating name draws its answers from.
#[must_use]
pub fn pool(name: &str, count: usize) -> Vec<IpAddr> {
    let mut addresses = Vec::with_capacity(count);
    let mut seen = BTreeSet::new();
    let mut index = 0_u64;
    while addresses.len() < count {
        let hash = fnv1a(format!("{name}#{index}").as_bytes());
        index += 1;
        let address = IpAddr::V4(ipv4_of(hash));
        if seen.insert(address) {
            addresses.push(address);
        }
    }
    addresses
}

/// The `width` addresses a rotating name answers with at its `step`th answer: a window that moves by its own width
/// and wraps around.
///
/// # Panics
/// If the pool is empty.
#[must_use]
pub fn rotation(pool: &[IpAddr], width: usize, step: usize) -> Vec<IpAddr> {
    assert!(!pool.is_empty(), "a rotation needs addresses");
    let width = width.min(pool.len());
    (0..width).map(|offset| pool[(step * width + offset) % pool.len()]).collect()
}

fn ipv4_of(hash: u64) -> Ipv4Addr {
    let (base, bits) = IPV4_POOLS[(hash % IPV4_POOLS.len() as u64) as usize];
    let host = ((hash >> 16) as u32) & ((1 << bits) - 1);
    // Never a network's first or last address: some clients treat .0 and .255 apart.
    let host = if matches!(host & 0xff, 0 | 0xff) { host ^ 0x11 } else { host };
    Ipv4Addr::from(u32::from(base) | host)
}

fn ipv6_of(hash: u64) -> Ipv6Addr {
    Ipv6Addr::from(IPV6_POOL | (u128::from(hash & 0xffff) << 64) | u128::from(hash.rotate_left(24) | 1))
}

/// The 64-bit FNV-1a hash (RFC 9923): unlike the standard library's, the same in every version.
fn fnv1a(bytes: &[u8]) -> u64 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    // FNV leaves the low bits of near names alike; one multiply-shift spreads them.
    let spread: u64 = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    spread ^ (spread >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixture_has_the_real_lists_size_and_shape() {
        let document = document(StandinCloud::Global);
        let services: BTreeSet<&str> = document.services.iter().map(|service| service.name.as_str()).collect();
        assert!((12..=20).contains(&services.len()), "{services:?}");
        assert!((190..=250).contains(&exact_names(StandinCloud::Global, "abc").len()));
        for wildcard in ["*.*.nssvc.jp", "*.digicert.com", "*.blob.core.windows.net", "*.apps.citrixworkspacesapi.net"]
        {
            assert!(wildcards(StandinCloud::Global).contains(&wildcard.to_owned()), "{wildcard}");
        }
        let geos: BTreeSet<Option<&str>> =
            document.services.iter().flat_map(|service| &service.endpoints).map(|e| e.geo.as_deref()).collect();
        assert_eq!(geos, BTreeSet::from([None, Some("all"), Some("ap-s"), Some("eu"), Some("jp"), Some("us")]));
        assert!(document.services.iter().any(|service| service.direction.as_deref() == Some("inbound")));
        let portless = document.services.iter().filter(|s| s.tcp_ports.is_none() && s.udp_ports.is_none()).count();
        assert_eq!(portless, 1, "one entry without ports");
        assert!(ALLOWLIST.contains("49152-65535") && ALLOWLIST.contains("8080-8090"));
        assert!(ALLOWLIST.contains("13.107.6.152/31"));
    }

    #[test]
    fn documents_survive_being_read_and_written() {
        for (text, cloud) in [(ALLOWLIST, StandinCloud::Global), (ALLOWLIST_JAPAN, StandinCloud::Japan)] {
            let committed: serde_json::Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(serde_json::to_value(document(cloud)).expect("JSON"), committed);
        }
    }

    #[test]
    fn every_name_has_public_addresses_of_its_own() {
        let mut seen = BTreeSet::new();
        let names: BTreeSet<String> = [StandinCloud::Global, StandinCloud::Japan]
            .into_iter()
            .flat_map(|cloud| exact_names(cloud, "testcustomer"))
            .collect();
        for name in names {
            let addresses = address_for(&name);
            assert!(addresses.iter().any(IpAddr::is_ipv4), "{name}");
            for address in addresses {
                assert!(seen.insert(address), "{address} of {name} is another name's too");
                let fits = match address {
                    IpAddr::V4(v4) => matches!(v4.octets()[0], 13 | 20 | 40 | 52),
                    IpAddr::V6(v6) => v6.segments()[..2] == [0x2603, 0x1030],
                };
                assert!(fits, "{address}");
            }
        }
    }

    #[test]
    fn names_are_compared_without_case_and_trailing_dot() {
        assert_eq!(address_for("Accounts.Cloud.com."), address_for("accounts.cloud.com"));
        assert_ne!(address_for("accounts.cloud.com"), address_for("api.cloud.com"));
    }

    #[test]
    fn a_rotation_moves_by_its_width_and_wraps() {
        let pool = pool("rotating.example", 5);
        assert_eq!(rotation(&pool, 2, 0), pool[0..2]);
        assert_eq!(rotation(&pool, 2, 1), pool[2..4]);
        assert_eq!(rotation(&pool, 2, 2), [pool[4], pool[0]]);
        assert_eq!(rotation(&pool, 9, 0), pool);
    }
}
