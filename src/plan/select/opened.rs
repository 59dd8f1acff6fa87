//! Bounds the part of all addresses that the networks under `additional` open in sum. Pure.

use connectivity_allowlist::net::cidr::{GLOBAL_UNICAST, IPV4_ADDRESSES};
use connectivity_allowlist::net::{Direction, cidr};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// The part of IPv4, and of 2000::/3, that the networks of one direction may open in sum: a quarter. The guard refuses
/// `0.0.0.0/0`, but 28 networks around the ranges that are never opened mean nearly the same. All networks that the large clouds
/// publish are under a tenth.
pub(super) const PART: u128 = 4;

/// What has been opened so far.
#[derive(Debug, Default)]
pub(super) struct Opened(BTreeMap<(Direction, bool), Family>);

/// The networks of one direction and family: disjoint and in order, with how many addresses they have.
#[derive(Debug, Default)]
struct Family {
    networks: Vec<IpNet>,
    sum: u128,
}

impl Opened {
    /// Opens a network if the sum stays within its bound. Returns whether it does.
    pub(super) fn open(&mut self, direction: Direction, network: IpNet) -> bool {
        let is_ipv4 = matches!(network, IpNet::V4(_));
        let most = if is_ipv4 { IPV4_ADDRESSES } else { cidr::addresses(&IpNet::V6(GLOBAL_UNICAST)) } / PART;
        let family = self.0.entry((direction, is_ipv4)).or_default();
        if cidr::covers(&family.networks, &network) {
            return true;
        }
        let within = family.networks.iter().filter(|known| network.contains(*known)).map(cidr::addresses);
        let added = cidr::addresses(&network).saturating_sub(within.sum());
        let sum = family.sum.saturating_add(added);
        if sum > most {
            return false;
        }
        family.sum = sum;
        family.networks.retain(|known| !network.contains(known));
        let at = family.networks.partition_point(|known| known < &network);
        family.networks.insert(at, network);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens(opened: &mut Opened, direction: Direction, text: &str) -> bool {
        opened.open(direction, text.parse().expect("a network"))
    }

    #[test]
    fn a_quarter_in_sum_for_each_direction_and_family() {
        let mut opened = Opened::default();
        for text in ["32.0.0.0/4", "48.0.0.0/4", "64.0.0.0/4", "80.0.0.0/5", "88.0.0.0/5"] {
            assert!(opens(&mut opened, Direction::Outbound, text), "{text}");
        }
        assert!(!opens(&mut opened, Direction::Outbound, "20.1.2.3/32"), "a quarter is full");
        assert!(opens(&mut opened, Direction::Outbound, "80.0.0.0/4"), "two halves of it are open already");
        assert!(opens(&mut opened, Direction::Outbound, "33.1.0.0/16"), "it is open already");
        assert!(opens(&mut opened, Direction::Inbound, "20.1.2.3/32"));
        assert!(opens(&mut opened, Direction::Outbound, "2000::/5"));
        assert!(!opens(&mut opened, Direction::Outbound, "2800::/32"));
        assert!(!opens(&mut opened, Direction::Inbound, "2000::/3"));
    }
}
