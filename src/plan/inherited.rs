//! What our own applied policies allow and no known name explains: recovered after a restart.

use super::families::{Families, Nat64};
use crate::guard::{Guard, Origin};
use connectivity_allowlist::net::cidr::{canonical_set, subtract};
use connectivity_allowlist::net::{Direction, PortSet};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// One rule read back from an applied policy.
pub type RememberedRule = (Direction, PortSet, Vec<IpNet>);

/// Networks that applied policies allow and no name explains. Each is kept on the ports that the selection still has in its
/// direction, and only while the guard allows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    by_ports: BTreeMap<(Direction, PortSet), Vec<IpNet>>,
}

impl Inherited {
    /// The networks of `rules` outside `explained`: the addresses of known names and the networks of the list or the spec, as they
    /// are known, IPv4 on clusters with NAT64 too.
    #[must_use]
    pub fn unexplained(
        rules: &[RememberedRule],
        explained: impl IntoIterator<Item = IpNet>,
        nat64: Option<Nat64>,
    ) -> Self {
        let explained = canonical_set(explained.into_iter().flat_map(|network| Self::explained_forms(network, nat64)));
        let mut by_ports: BTreeMap<(Direction, PortSet), Vec<IpNet>> = BTreeMap::new();
        for (direction, ports, networks) in rules {
            let left = subtract(networks.iter().copied(), &explained);
            if !left.is_empty() {
                by_ports.entry((*direction, ports.clone())).or_default().extend(left);
            }
        }
        for networks in by_ports.values_mut() {
            *networks = canonical_set(networks.iter().copied());
        }
        Self { by_ports }
    }

    /// The forms of a network in policies: itself, and behind the prefix of NAT64.
    #[must_use]
    pub fn explained_forms(network: IpNet, nat64: Option<Nat64>) -> Vec<IpNet> {
        match (network, nat64) {
            (IpNet::V4(embedded), Some(nat64)) => vec![network, IpNet::V6(nat64.embed(embedded))],
            _ => vec![network],
        }
    }

    /// Whether nothing is inherited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_ports.is_empty()
    }

    /// The networks of one direction that may stay, each with the ports that are still `asked` for.
    pub(super) fn requirements(
        &self,
        direction: Direction,
        asked: Option<&PortSet>,
        families: Families,
        guard: &Guard,
    ) -> Vec<(IpNet, PortSet)> {
        let Some(asked) = asked else { return Vec::new() };
        let mut requirements = Vec::new();
        for ((_, ports), networks) in self.by_ports.iter().filter(|((of, _), _)| *of == direction) {
            let Some(ports) = ports.intersection(asked) else { continue };
            for network in networks {
                // The embedded address is judged, not the translator's prefix, which is often private.
                let judged = match (network, families.nat64) {
                    (IpNet::V6(embedded), Some(nat64)) => nat64.extract(*embedded).map_or(*network, IpNet::V4),
                    _ => *network,
                };
                if families.written(Direction::Inbound, *network).is_some()
                    && guard.check_network(judged, Origin::Vendor).is_ok()
                {
                    requirements.push((*network, ports.clone()));
                }
            }
        }
        requirements
    }
}
