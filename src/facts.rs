//! What the cluster itself is, as far as policies depend on it. Pure: `cluster` finds it out.

use ipnet::{IpNet, Ipv6Net};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The port of DNS (RFC 1035).
pub const DNS_PORT: u16 = 53;

/// What the cluster tells about itself, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Ranges of Services: `ServiceCIDR` objects, or by flag.
    pub service_networks: Vec<IpNet>,
    /// Ranges of pods: nodes' `podCIDRs`, or by flag.
    pub pod_networks: Vec<IpNet>,
    /// Public addresses of nodes, of every type in their status, sorted: private ones are refused whosever they are.
    pub node_addresses: Vec<IpAddr>,
    /// Public addresses of the API server, sorted: the endpoints of the Service `kubernetes`, and the one it is asked at.
    pub api_servers: Vec<IpAddr>,
    /// The prefix under which IPv6-only pods reach IPv4 addresses, where the cluster has one.
    pub nat64_prefix: Option<Ipv6Net>,
    /// The DNS servers that pods are given.
    pub dns: Vec<ClusterDns>,
}

impl ClusterFacts {
    /// Whether pods have IPv4 and IPv6 addresses, in this order, judged by the pods' and else the Services' ranges;
    /// both where neither is known, since an unused family in a policy allows nothing that exists.
    #[must_use]
    pub fn families(&self) -> (bool, bool) {
        let ranges = if self.pod_networks.is_empty() { &self.service_networks } else { &self.pod_networks };
        let ipv4 = ranges.iter().any(|network| matches!(network, IpNet::V4(_)));
        let ipv6 = ranges.iter().any(|network| matches!(network, IpNet::V6(_)));
        if ipv4 || ipv6 { (ipv4, ipv6) } else { (true, true) }
    }

    /// The same without the endpoints behind DNS Services that no policy depends on, since pods come and go.
    #[must_use]
    pub fn as_policies_see(&self) -> Self {
        let mut facts = self.clone();
        for service in facts.dns.iter_mut().filter_map(|server| server.service.as_mut()) {
            service.endpoints = service.listed_endpoints(&self.pod_networks).collect();
        }
        facts
    }
}

/// A DNS server that pods are given in their `resolv.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDns {
    /// The address that pods ask: a Service's ClusterIP, a node-local cache, a cloud's resolver.
    pub address: IpAddr,
    /// The Service behind it, where it is one's ClusterIP.
    pub service: Option<DnsService>,
}

/// A Service that answers DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The labels of its pods; empty where the Service has no selector.
    pub selector: BTreeMap<String, String>,
    /// Ports that clients use (the Service's) and pods listen on (its targets), sorted: 53, 5353, 8053.
    pub ports: Vec<u16>,
    /// Its ready endpoints with the port each listens on, sorted.
    pub endpoints: Vec<std::net::SocketAddr>,
}

impl DnsService {
    /// The endpoints that a policy has to name by address: all of a Service without a selector, and of another those on
    /// hosts' networks, which its selector misses. Where the ranges of pods are not known, each counts as a pod.
    pub fn listed_endpoints(&self, pod_networks: &[IpNet]) -> impl Iterator<Item = std::net::SocketAddr> {
        let is_pod =
            |address: IpAddr| pod_networks.is_empty() || pod_networks.iter().any(|network| network.contains(&address));
        let listed = move |endpoint: &&std::net::SocketAddr| self.selector.is_empty() || !is_pod(endpoint.ip());
        self.endpoints.iter().filter(listed).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_policies_name_are_among_what_they_see() {
        let service = |selector: &[(&str, &str)]| DnsService {
            namespace: "kube-system".into(),
            name: "kube-dns".into(),
            selector: selector.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ports: vec![53],
            endpoints: ["10.128.0.9:53", "192.168.7.7:53"].map(|text| text.parse().expect("a socket")).to_vec(),
        };
        let seen = |service: DnsService, pods: &[&str]| {
            let server = ClusterDns { address: IpAddr::from([10, 96, 0, 10]), service: Some(service) };
            let pod_networks = pods.iter().map(|text| text.parse().expect("a network")).collect();
            let facts = ClusterFacts { dns: vec![server], pod_networks, ..ClusterFacts::default() }.as_policies_see();
            let services = facts.dns.into_iter().filter_map(|server| server.service);
            services.flat_map(|service| service.endpoints).map(|endpoint| endpoint.to_string()).collect::<Vec<_>>()
        };
        let selector = [("k8s-app", "kube-dns")];
        assert_eq!(seen(service(&[]), &["10.128.0.0/14"]), ["10.128.0.9:53", "192.168.7.7:53"]);
        assert_eq!(seen(service(&selector), &["10.128.0.0/14"]), ["192.168.7.7:53"]);
        assert_eq!(seen(service(&selector), &[]), Vec::<String>::new());
    }
}
