//! The DNS servers to query: those that pods use. Pure.

use crate::facts::{ClusterFacts, DNS_PORT};
use crate::fnv::fnv1a;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// The file with a machine's nameservers.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How many endpoints represent one Service: enough to see replicas that answer differently.
const ENDPOINTS_PER_SERVICE: usize = 4;

/// The nameservers of a `resolv.conf`, in its order, each once. Like resolvers, it skips lines without sense, and addresses
/// with a zone (`fe80::1%eth0`), which mean nothing away from their link.
#[must_use]
pub fn nameservers(resolv_conf: &str) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for line in resolv_conf.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("nameserver")
            && let Some(server) = words.next().and_then(|word| word.parse().ok())
            && !servers.contains(&server)
        {
            servers.push(server);
        }
    }
    servers
}

/// The servers to query, sorted. Servers given by flag replace all others. Otherwise those of `resolv_conf`, or, if it names
/// none, those the cluster gives to pods. A Service is represented by at most four of its ready endpoints, since each replica
/// caches apart and any of them may answer a pod. A Service without ready endpoints is queried by its own address, which fails
/// as it does for pods.
#[must_use]
pub fn servers_to_ask(resolv_conf: &[IpAddr], facts: &ClusterFacts, flags: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut servers: BTreeSet<SocketAddr> = flags.iter().copied().collect();
    if !servers.is_empty() {
        return servers.into_iter().collect();
    }
    let of_cluster: Vec<IpAddr> = facts.dns.iter().map(|server| server.address).collect();
    let addresses = if resolv_conf.is_empty() { &of_cluster } else { resolv_conf };
    for &address in addresses {
        let known = facts.dns.iter().find(|server| server.address == address);
        let service = known.and_then(|server| server.service.as_ref());
        let endpoints = service.map(|service| chosen(address, &service.endpoints)).unwrap_or_default();
        if endpoints.is_empty() {
            servers.insert(SocketAddr::new(address, DNS_PORT));
        }
        servers.extend(endpoints);
    }
    servers.into_iter().collect()
}

/// The endpoints of a Service with the highest weight for it (rendezvous hashing). When one comes or goes, the others stay
/// chosen, and the load does not fall on every cluster's first addresses. The weight is FNV-1a over the two addresses and the
/// port: the same in every process and version.
fn chosen(service: IpAddr, endpoints: &[SocketAddr]) -> Vec<SocketAddr> {
    let weight = |endpoint: &SocketAddr| fnv1a(format!("{service} {endpoint}").bytes());
    let mut weighed: Vec<_> = endpoints.iter().map(|endpoint| (weight(endpoint), *endpoint)).collect();
    weighed.sort_unstable();
    weighed.dedup();
    weighed.into_iter().rev().take(ENDPOINTS_PER_SERVICE).map(|(_, endpoint)| endpoint).collect()
}

#[cfg(test)]
mod tests;
