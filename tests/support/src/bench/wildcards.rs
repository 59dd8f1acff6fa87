//! The list and the names by which the forwarder is measured: exact names, and wildcards with names that pods ask for.

use crate::standin::{Document, Endpoint, Meta, Service};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// How many wildcards the list has, each a zone of its own.
pub const WILDCARDS: usize = 40;
/// How many services they are in.
pub const SERVICES: usize = 4;
/// How many exact names the list has.
pub const EXACT: usize = 100;
/// The zone that has all names.
pub const ZONE: &str = "forward-bench.net";
/// TTL of every name, in seconds.
const TTL: u32 = 300;

/// The exact names. A wildcard's star stands for one label, so no wildcard has them.
#[must_use]
pub fn exact() -> Vec<String> {
    (0..EXACT).map(|number| format!("exact-{number}.fixed.{}", zone_of(number))).collect()
}

/// Names under the wildcards in turns, which begin with `first`.
#[must_use]
pub fn under(first: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{first}-{number}.{}", zone_of(number))).collect()
}

fn zone_of(number: usize) -> String {
    format!("zone-{}.{ZONE}", number % WILDCARDS)
}

/// The service of a number below [`SERVICES`].
#[must_use]
pub fn service(number: usize) -> String {
    format!("Storage {number}")
}

/// The document: a service of exact names, and [`SERVICES`] with their wildcards.
#[must_use]
pub fn document() -> Document {
    let wildcards = |number: usize| {
        let zones = (0..WILDCARDS).filter(|zone| zone % SERVICES == number);
        zones.map(|zone| format!("*.{}", zone_of(zone))).collect()
    };
    let service = |name: String, fqdns: Vec<String>| Service {
        name,
        direction: Some("outbound".to_owned()),
        endpoints: vec![Endpoint { geo: Some("us".to_owned()), fqdns, ..Endpoint::default() }],
        tcp_ports: Some("443".to_owned()),
        required: Some(true),
        ..Service::default()
    };
    let mut services = vec![service("Exact".to_owned(), exact())];
    services.extend((0..SERVICES).map(|number| service(self::service(number), wildcards(number))));
    let meta = Meta { version: "2026-06-01T00:00:00Z".to_owned(), ..Meta::default() };
    Document { meta, services, ..Document::default() }
}

/// A zone at the root with these names, as CoreDNS reads it: each has one address, which merges with no other.
#[must_use]
pub fn zone<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let mut text = format!("$TTL {TTL}\n. IN SOA ns.bench. host.bench. 1 60 60 600 {TTL}\n. IN NS ns.bench.\n");
    let first = u32::from(Ipv4Addr::new(20, 64, 0, 0));
    for (number, name) in names.into_iter().enumerate() {
        let _ = writeln!(text, "{name}. IN A {}", Ipv4Addr::from(first + 2 * number as u32));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wildcard_is_in_one_service_and_has_its_share() {
        let wildcards: Vec<String> =
            document().names().filter(|name| name.starts_with('*')).map(str::to_owned).collect();
        assert_eq!((wildcards.len(), document().names().count()), (WILDCARDS, WILDCARDS + EXACT));
        let names = under("a", 2 * WILDCARDS);
        for wildcard in &wildcards {
            assert_eq!(names.iter().filter(|name| name.ends_with(&wildcard[1..])).count(), 2);
        }
        let text = zone(&names);
        assert!(text.contains("a-1.zone-1.forward-bench.net. IN A 20.64.0.2\n"), "{text}");
    }
}
