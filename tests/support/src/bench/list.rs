//! The list and the names that are measured: as many names and addresses as the figures of other operators were taken
//! with, so that both can be put side by side.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::fixture;
use crate::standin::{Document, Endpoint, Meta, Service};

/// How many names the large services hold together: 197, of 492 addresses in all.
pub const NAMES: usize = 197;
/// How many names the service `Small` holds: 20, of 50 addresses in all.
pub const SMALL_NAMES: usize = 20;
/// TTL of every name, in seconds.
pub const TTL: u32 = 30;

/// Services with their ports; the names go round between them.
const SERVICES: [(&str, &str); 4] =
    [("DaaS", "443"), ("Gateway", "443"), ("Workspace", "80,443"), ("Agents", "443,8443")];

fn service(name: &str, ports: &str, fqdns: Vec<String>) -> Service {
    let endpoint = Endpoint { geo: Some("us".to_owned()), fqdns, ..Endpoint::default() };
    Service {
        name: name.to_owned(),
        direction: Some("outbound".to_owned()),
        endpoints: vec![endpoint],
        tcp_ports: Some(ports.to_owned()),
        required: Some(true),
        ..Service::default()
    }
}

/// The names of the large services.
#[must_use]
pub fn names() -> Vec<String> {
    (0..NAMES).map(|index| format!("endpoint-{index}.citrix-bench.net")).collect()
}

/// The names of the service `Small`.
#[must_use]
pub fn small_names() -> Vec<String> {
    (0..SMALL_NAMES).map(|index| format!("small-{index}.citrix-bench.net")).collect()
}

/// The document: four services of 197 names in the geo `us`, and the service `Small`.
#[must_use]
pub fn document() -> Document {
    let names = names();
    let mut services: Vec<Service> = SERVICES
        .iter()
        .enumerate()
        .map(|(number, (name, ports))| {
            let fqdns = names.iter().skip(number).step_by(SERVICES.len()).cloned().collect();
            service(name, ports, fqdns)
        })
        .collect();
    services.push(service("Small", "443", small_names()));
    let meta = Meta { version: "2026-06-01T00:00:00Z".to_owned(), ..Meta::default() };
    Document { meta, services, ..Document::default() }
}

/// The addresses of the name at a place: three and two in turns, all IPv4.
fn addresses(place: usize, name: &str) -> Vec<IpAddr> {
    let last = place + 1 == NAMES;
    fixture::pool(name, if place.is_multiple_of(2) && !last { 3 } else { 2 })
}

/// Names and the addresses that DNS gives each.
pub fn records() -> impl Iterator<Item = (String, Vec<IpAddr>)> {
    let large = names().into_iter().enumerate().map(|(place, name)| (addresses(place, &name), name));
    let small = small_names().into_iter().enumerate().map(|(place, name)| (addresses(place, &name), name));
    large.chain(small).map(|(addresses, name)| (name, addresses))
}

/// The zone at the root that holds them, as CoreDNS reads it.
#[must_use]
pub fn zone() -> String {
    let mut text = format!("$TTL {TTL}\n. IN SOA ns.bench. host.bench. 1 60 60 600 {TTL}\n. IN NS ns.bench.\n");
    for (name, addresses) in records() {
        for address in addresses {
            let _ = writeln!(text, "{name}. IN A {address}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_as_many_as_said() {
        let counted = |names: &[String]| -> usize {
            let held = |name: &String| records().find(|(held, _)| held == name).map_or(0, |(_, found)| found.len());
            names.iter().map(held).sum()
        };
        assert_eq!((names().len(), counted(&names())), (197, 492));
        assert_eq!((small_names().len(), counted(&small_names())), (20, 50));
    }
}
