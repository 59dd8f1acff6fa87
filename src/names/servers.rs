//! Whom to ask: the servers that pods ask. Pure.

use crate::facts::{ClusterFacts, DNS_PORT};
use crate::fnv::fnv1a;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Where a machine is told its nameservers.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How many endpoints stand for one Service: enough to see replicas that answer differently.
const ENDPOINTS_PER_SERVICE: usize = 4;

/// The nameservers of a `resolv.conf`, in its order, each once. As resolvers do, lines that make no sense are passed
/// over; so are addresses with a zone (`fe80::1%eth0`), which mean nothing away from their link.
#[must_use]
pub fn nameservers(resolv_conf: &str) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for line in resolv_conf.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        if let Some(server) = words.next().and_then(|word| word.parse().ok())
            && !servers.contains(&server)
        {
            servers.push(server);
        }
    }
    servers
}

/// Who is asked, sorted: the servers given by flag, and nobody else, where there are any. Otherwise those of
/// `resolv_conf`, or, where it names none, those the cluster gives to pods. Of these, one that is a Service stands for
/// its ready endpoints, at most four, since each replica caches apart and any of them may answer a pod. A Service
/// without ready endpoints is asked by its own address, which fails as it does for pods.
#[must_use]
pub fn servers_to_ask(resolv_conf: &[IpAddr], facts: &ClusterFacts, flags: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut servers = BTreeSet::new();
    if !flags.is_empty() {
        servers.extend(flags);
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

/// Of a Service's endpoints those with the highest weight for it (rendezvous hashing): when one comes or goes, the
/// others stay chosen, and not every cluster's first addresses bear the load.
fn chosen(service: IpAddr, endpoints: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut weighed: Vec<(u64, SocketAddr)> =
        endpoints.iter().map(|endpoint| (weight(service, *endpoint), *endpoint)).collect();
    weighed.sort_unstable();
    weighed.dedup();
    weighed.into_iter().rev().take(ENDPOINTS_PER_SERVICE).map(|(_, endpoint)| endpoint).collect()
}

/// FNV-1a over the two addresses and the port: the same in every process and every version.
fn weight(service: IpAddr, endpoint: SocketAddr) -> u64 {
    let text = format!("{service} {endpoint}");
    fnv1a(text.bytes())
}

#[cfg(test)]
mod tests;
