//! The DNS of the demo: one zone at the root, with an address or several for every name of the fixture.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use crate::fixture;
use crate::standin::StandinCloud;

/// The zone's file.
pub(super) const FILE: &str = "root.db";

/// Serves the zone, and looks for a new one each second.
pub(super) const COREFILE: &str = "
.:{port} {
    bind {address}
    file {zones}/root.db . {
        reload 1s
    }
}
";

/// Seconds that answers may be kept: the shortest that the operator asks again after, unless told otherwise.
pub(super) const TTL: u32 = 5;

/// Names and their addresses, and how often they changed.
pub(super) struct Zone {
    serial: u32,
    records: BTreeMap<String, Vec<IpAddr>>,
}

impl Zone {
    /// Every exact name of the Global cloud's list for `customer`, and `more` beside them.
    pub(super) fn of(customer: &str, more: &[&str]) -> Self {
        let names =
            fixture::exact_names(StandinCloud::Global, customer).into_iter().chain(more.iter().map(|&s| s.to_owned()));
        Self { serial: 1, records: names.map(|name| (name.clone(), fixture::address_for(&name))).collect() }
    }

    /// How many names it knows.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The addresses of a name.
    pub(super) fn addresses(&self, name: &str) -> &[IpAddr] {
        self.records.get(name).map_or(&[], Vec::as_slice)
    }

    /// Gives a name this address and no other.
    pub(super) fn replace(&mut self, name: &str, address: IpAddr) {
        self.serial += 1;
        self.records.insert(name.to_owned(), vec![address]);
    }

    /// The zone's text.
    pub(super) fn text(&self) -> String {
        let mut text =
            format!("$TTL {TTL}\n. IN SOA ns.demo. host.demo. {} 60 60 600 {TTL}\n. IN NS ns.demo.\n", self.serial);
        for (name, addresses) in &self.records {
            for address in addresses {
                let kind = if address.is_ipv4() { "A" } else { "AAAA" };
                let _ = writeln!(text, "{name}. IN {kind} {address}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_address_is_alone_and_the_serial_number_moves() {
        let name = "testcustomer.xendesktop.net";
        let mut zone = Zone::of("testcustomer", &["new.cloud.com"]);
        assert_eq!(zone.addresses(name), fixture::address_for(name));
        assert!(zone.text().contains(" 1 60 60 "), "{}", zone.text());
        assert!(zone.text().contains("\nnew.cloud.com. IN A "));

        let address: IpAddr = "104.46.20.7".parse().expect("an address");
        zone.replace(name, address);
        assert!(zone.text().contains(" 2 60 60 "));
        let of_name: Vec<String> =
            zone.text().lines().filter(|line| line.starts_with(&format!("{name}. "))).map(str::to_owned).collect();
        assert_eq!(of_name, [format!("{name}. IN A 104.46.20.7")]);
    }
}
